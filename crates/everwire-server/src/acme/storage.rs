//! The folder in which the account and the certificate outlive the process.
//!
//! ```text
//!  <acme.storage>/acme-v02.api.letsencrypt.org-directory/     0700, one for each authority
//!      account.json       the account's address and key       0600, as all files
//!      certificate.pem    the key, then the chain: one file, so that they are replaced as one
//!      trouble.json       what went wrong last, and when the next attempt may be; or what an order has come to so far
//!      lock               held by whoever talks to the authority
//! ```
//!
//! A file is written beside the old one, brought to the disk, and put in its place: whatever happens, one of the two is
//! there whole. Before anything is asked of the authority, room for it is [reserved](Storage::reserve).

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// The folder of one authority.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    folder: PathBuf,
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Account,
    Certificate,
    Trouble,
}

/// While it lives, no other process gets one.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Room in the folder that nobody else can take while this lives. Its file has no name, so it is gone with the process.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: File,
}

/// What an order brings, with the account and what is noted about both, and with room to spare: a key and a chain of
/// certificates are 4 to 10 KiB.
const ORDER_BYTES: usize = 64 * 1024;

/// How much of it stays reserved. The rest is for what is written meanwhile: the account and the notes.
const RESERVE_BYTES: u64 = 32 * 1024;

/// The folder or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} cannot be {what}: {error}; let the user that runs this server read and write the folder, see that its disk \
     has room, or name another in acme.storage"
)]
pub(crate) struct StorageError {
    path: String,
    what: &'static str,
    error: io::Error,
}

impl Storage {
    /// Makes the folder of an authority, if it is not there.
    pub fn open(storage: &Path, directory: &str) -> Result<Self, StorageError> {
        let folder = storage.join(folder_name(directory));
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder);
        made.map_err(|error| failed(&folder, "made", error))?;
        let this = Self { folder };
        // Found out now, and not when a certificate is needed. A disk that is full is told of when there is something to
        // order: until then, what is stored may be good for long.
        match this.beside() {
            Err(error) if !error.is_for_want_of_room() => Err(error),
            Ok(_) | Err(_) => Ok(this),
        }
    }

    /// Where it is, for people.
    pub fn path(&self, kept: Kept) -> PathBuf {
        self.folder.join(kept.file_name())
    }

    /// What is kept, if anything.
    pub fn read(&self, kept: Kept) -> Result<Option<String>, StorageError> {
        let path = self.path(kept);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, "read", error)),
        }
    }

    /// Keeps this from now on. It is on the disk when this returns.
    pub fn write(&self, kept: Kept, text: &str) -> Result<(), StorageError> {
        let path = self.path(kept);
        let mut file = self.beside()?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .and_then(|()| file.persist(&path).map_err(|error| error.error))
            // The name is in the folder, which is brought to the disk by itself.
            .and_then(|_| File::open(&self.folder)?.sync_all());
        written.map_err(|error| failed(&path, "written", error))
    }

    /// Proves that the folder can hold what an order brings, and keeps most of that room until it is dropped.
    pub fn reserve(&self) -> Result<Reserve, StorageError> {
        let unusable = |error| failed(&self.folder, "used for what an order brings", error);
        let mut file = tempfile::tempfile_in(&self.folder).map_err(unusable)?;
        // Not zeros, which some file systems do not store.
        let mut filler = vec![0; ORDER_BYTES];
        fastrand::Rng::new().fill(&mut filler);
        let written = file
            .write_all(&filler)
            // Some file systems look for room only now.
            .and_then(|()| file.sync_all())
            .and_then(|()| file.set_len(RESERVE_BYTES));
        written.map_err(unusable)?;
        Ok(Reserve { file })
    }

    /// Keeps it no longer.
    pub fn remove(&self, kept: Kept) -> Result<(), StorageError> {
        let path = self.path(kept);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(&path, "removed", error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Puts what is of no use any more aside, under a name that tells why, for whoever wants to look at it.
    pub fn put_aside(&self, kept: Kept, why: &str) -> Result<(), StorageError> {
        let path = self.path(kept);
        let aside = self.folder.join(format!("{}.{why}", kept.file_name()));
        fs::rename(&path, aside).map_err(|error| failed(&path, "put aside", error))
    }

    /// The right to talk to the authority, unless another process has it. The system takes it back when a process ends.
    pub fn lock(&self) -> Result<Option<Lock>, StorageError> {
        let path = self.folder.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| failed(&path, "opened", error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(&path, "locked", error)),
        }
    }

    /// A new file in the folder, for its owner alone.
    fn beside(&self) -> Result<tempfile::NamedTempFile, StorageError> {
        tempfile::NamedTempFile::new_in(&self.folder)
            .map_err(|error| failed(&self.folder, "written to", error))
    }
}

impl Reserve {
    /// Gives a half back, for a note that has to be written while the disk may have become full.
    pub fn halve(&self) {
        // If that fails, the note may still find room.
        let _ = self.file.set_len(RESERVE_BYTES / 2);
    }
}

impl StorageError {
    fn is_for_want_of_room(&self) -> bool {
        matches!(
            self.error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

impl Kept {
    fn file_name(self) -> &'static str {
        match self {
            Self::Account => "account.json",
            Self::Certificate => "certificate.pem",
            Self::Trouble => "trouble.json",
        }
    }
}

fn failed(path: &Path, what: &'static str, error: io::Error) -> StorageError {
    StorageError {
        path: path.display().to_string(),
        what,
        error,
    }
}

/// An authority's address as the name of a folder: a certificate that was issued for a trial is not taken for a real one.
fn folder_name(directory: &str) -> String {
    let address = directory.strip_prefix("https://").unwrap_or(directory);
    address
        .trim_end_matches('/')
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => c,
            _ => '-',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::tempdir;

    use super::*;

    const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_was_written_is_read_by_the_next_process_and_by_nobody_else() {
        let root = tempdir().unwrap();
        let storage = Storage::open(&root.path().join("acme"), DIRECTORY).unwrap();
        assert_eq!(storage.read(Kept::Account).unwrap(), None);
        for text in ["one", "another"] {
            storage.write(Kept::Account, text).unwrap();
            let next = Storage::open(&root.path().join("acme"), DIRECTORY).unwrap();
            assert_eq!(next.read(Kept::Account).unwrap().as_deref(), Some(text));
        }
        let path = storage.path(Kept::Account);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&root.path().join("acme")), 0o700);
        // Nothing is left over beside it.
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1);
    }

    #[test]
    fn each_authority_has_a_folder_of_its_own() {
        for (directory, expected) in [
            (DIRECTORY, "acme-v02.api.letsencrypt.org-directory"),
            ("https://127.0.0.1:14000/dir", "127.0.0.1-14000-dir"),
            ("https://ca.example/../../etc/", "ca.example-..-..-etc"),
            ("https://ca.example/", "ca.example"),
        ] {
            assert_eq!(folder_name(directory), expected);
        }
    }

    #[test]
    fn what_is_removed_or_put_aside_is_not_read_any_more() {
        let root = tempdir().unwrap();
        let storage = Storage::open(root.path(), DIRECTORY).unwrap();
        storage.write(Kept::Trouble, "{}").unwrap();
        storage.remove(Kept::Trouble).unwrap();
        storage.remove(Kept::Trouble).unwrap();
        assert_eq!(storage.read(Kept::Trouble).unwrap(), None);
        storage.write(Kept::Account, "{}").unwrap();
        storage.put_aside(Kept::Account, "refused").unwrap();
        assert_eq!(storage.read(Kept::Account).unwrap(), None);
        let aside = storage.path(Kept::Account).with_extension("json.refused");
        assert_eq!(fs::read_to_string(aside).unwrap(), "{}");
    }

    #[test]
    fn one_at_a_time_talks_to_the_authority() {
        let root = tempdir().unwrap();
        let storage = Storage::open(root.path(), DIRECTORY).unwrap();
        let lock = storage.lock().unwrap();
        assert!(lock.is_some());
        assert!(storage.lock().unwrap().is_none());
        drop(lock);
        assert!(storage.lock().unwrap().is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named_at_once() {
        let root = tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Storage::open(&file, DIRECTORY).unwrap_err().to_string();
        assert!(
            error.contains("file/acme-v02") && error.contains("acme.storage"),
            "{error}"
        );
    }
}
