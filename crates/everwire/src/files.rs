//! The files that a configuration is read from, and when they change.
//!
//! ```text
//!  folders ─▶ something happened ─▶ quiet for a moment ─▶ another content? ─▶ reload
//! ```
//!
//! Not the files are watched but the folders that they are in, since editors and Kubernetes put another file or link in
//! their place. What happened there is only a hint: what counts is whether a file holds something else than when the
//! configuration was read, so a folder where much happens costs a look and no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Looks after files.
pub struct Files {
    /// Without one nothing is ever noticed.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    happened: Arc<Notify>,
    /// Something has happened, and may go on.
    unsettled: Option<Unsettled>,
    known: Reading,
}

#[derive(Clone, Copy)]
struct Unsettled {
    first: Instant,
    last: Instant,
}

/// Reads files, and knows what each held.
#[derive(Clone, Default)]
pub struct Reading {
    hasher: RandomState,
    /// The hash of each file's content, `None` where it could not be read.
    content: BTreeMap<PathBuf, Option<u64>>,
}

/// Who writes several files is waited for until so long nothing has happened.
const QUIET: Duration = Duration::from_millis(100);

/// But not for longer than this.
const UNSETTLED_MAX: Duration = Duration::from_secs(2);

/// Links that lead to one file.
const LINKS_MAX: usize = 16;

impl Reading {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn read(&mut self, file: &Path) -> io::Result<Vec<u8>> {
        let content = fs::read(file);
        let hash = self.hash(content.as_deref().ok());
        self.content.insert(file.to_path_buf(), hash);
        content
    }

    fn hash(&self, content: Option<&[u8]>) -> Option<u64> {
        content.map(|content| self.hasher.hash_one(content))
    }

    /// Whether a file holds something else than when it was read.
    fn is_outdated(&self) -> bool {
        self.content
            .iter()
            .any(|(file, known)| self.hash(fs::read(file).ok().as_deref()) != *known)
    }
}

impl Files {
    /// Looks after nothing yet; and if `noticing` is false, never does.
    pub fn new(noticing: bool) -> Self {
        let happened = Arc::new(Notify::new());
        let watcher = noticing.then(|| {
            let happened = happened.clone();
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // To read a file is an event too, and is not answered by reading it again.
                if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                    happened.notify_one();
                }
            })
        });
        Self {
            watcher: watcher
                .and_then(|watcher| watcher.map_err(|error| cannot_notice(&error)).ok()),
            watched: BTreeSet::new(),
            happened,
            unsettled: None,
            known: Reading::default(),
        }
    }

    /// Reads a configuration from here. Files have the same hashes as before.
    pub fn reading(&self) -> Reading {
        Reading {
            hasher: self.known.hasher.clone(),
            content: BTreeMap::new(),
        }
    }

    /// A configuration was read and holds: its files are looked after, and no others.
    pub fn holds(&mut self, reading: Reading) {
        self.known = reading;
        self.watch();
    }

    /// A configuration was read and cannot be used: its files are looked after, besides those of the one that holds.
    pub fn failed(&mut self, reading: Reading) {
        self.known.content.extend(reading.content);
        self.watch();
    }

    /// Resolves when a file holds something else than when it was read. Who gives up waiting misses nothing.
    pub async fn changed(&mut self) {
        loop {
            let happened = self.happened.notified();
            let Some(Unsettled { first, last }) = self.unsettled else {
                happened.await;
                let first = Instant::now();
                self.unsettled = Some(Unsettled { first, last: first });
                continue;
            };
            match timeout_at((last + QUIET).min(first + UNSETTLED_MAX), happened).await {
                Ok(()) => {
                    let last = Instant::now();
                    self.unsettled = Some(Unsettled { first, last });
                }
                Err(_) => {
                    self.unsettled = None;
                    if self.known.is_outdated() {
                        return;
                    }
                }
            }
        }
    }

    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        // All anew: under the name of a folder there may be another one now.
        for folder in std::mem::take(&mut self.watched) {
            // One that is gone is not watched any more.
            let _ = watcher.unwatch(&folder);
        }
        self.watched = self
            .known
            .content
            .keys()
            .flat_map(|file| folders_of(file))
            .collect();
        for folder in &self.watched {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                cannot_notice(&error);
            }
        }
        // Something may have changed while nobody watched.
        self.happened.notify_one();
    }
}

/// The folders where something has to happen for a file to be another one: its own, and that of each link on the way.
fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut file = file.to_path_buf();
    for _ in 0..LINKS_MAX {
        folders.insert(folder_of(&file));
        let links = file
            .ancestors()
            .skip(1)
            .filter(|folder| folder.is_symlink());
        folders.extend(links.map(folder_of));
        match fs::read_link(&file) {
            // A target that is relative begins where its link is.
            Ok(target) => file = folder_of(&file).join(target),
            Err(_) => break,
        }
    }
    folders
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn cannot_notice(error: &notify::Error) {
    tracing::warn!(%error, "changes of files may not be noticed; send SIGHUP after a change");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_link_on_the_way_to_a_file_has_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("mounted/..1")).unwrap();
        fs::write(at("mounted/..1/key"), "a").unwrap();
        // As Kubernetes lays out a volume.
        symlink("..1", at("mounted/..data")).unwrap();
        symlink("..data/key", at("mounted/key")).unwrap();
        symlink("mounted", at("etc")).unwrap();
        let expected = ["", "etc", "etc/..data"].map(|path| match path {
            "" => root.path().to_path_buf(),
            path => at(path),
        });
        let found = folders_of(&at("etc/key"));
        assert_eq!(found, BTreeSet::from(expected));
    }

    /// The server waits for much else besides, and asks anew after each.
    #[tokio::test(start_paused = true)]
    async fn who_asks_again_and_again_is_told_once_it_is_quiet() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        let mut files = Files::new(false);
        let mut reading = files.reading();
        let _ = reading.read(&file);
        files.holds(reading);
        fs::write(&file, "a").unwrap();
        files.happened.notify_one();
        let began = Instant::now();
        let mut last = began;
        while tokio::time::timeout(QUIET / 10, files.changed())
            .await
            .is_err()
        {
            // Who writes on is waited for.
            if began.elapsed() < QUIET * 5 {
                files.happened.notify_one();
                last = Instant::now();
            }
        }
        let quiet = last.elapsed();
        assert!(quiet >= QUIET && quiet < QUIET * 2, "{quiet:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_stops_writing_is_waited_for_no_longer_than_two_seconds() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        let mut files = Files::new(false);
        let mut reading = files.reading();
        let _ = reading.read(&file);
        files.holds(reading);
        fs::write(&file, "a").unwrap();
        let began = Instant::now();
        files.happened.notify_one();
        while tokio::time::timeout(QUIET / 2, files.changed())
            .await
            .is_err()
        {
            files.happened.notify_one();
        }
        assert!(
            began.elapsed() < UNSETTLED_MAX + QUIET,
            "{:?}",
            began.elapsed()
        );
    }

    #[test]
    fn a_file_is_outdated_when_it_holds_something_else() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        let mut reading = Reading::default();
        assert!(reading.read(&file).is_err());
        assert!(!reading.is_outdated(), "as it was: not there");
        fs::write(&file, "a").unwrap();
        assert!(reading.is_outdated());
        reading.read(&file).unwrap();
        fs::write(&file, "a").unwrap();
        assert!(!reading.is_outdated(), "written anew with the same content");
        fs::remove_file(&file).unwrap();
        assert!(reading.is_outdated());
    }
}
