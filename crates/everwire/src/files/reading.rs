//! What files held when they were read.

use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
};

/// Reads files, and knows what each held.
#[derive(Clone, Default)]
pub struct Reading {
    hasher: RandomState,
    /// What each file held, `None` where it could not be read.
    held: BTreeMap<PathBuf, Option<Content>>,
    /// What files have to hold, where they were looked at before.
    agreed: BTreeMap<PathBuf, Option<Content>>,
}

/// As much of a file's content as is remembered of it: there may be a key in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    hash: u64,
    is_empty: bool,
    /// Its last line has an end.
    ends_a_line: bool,
}

impl Reading {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// What the system says, or that it holds something else than was agreed on.
    pub fn read(&mut self, file: &Path) -> io::Result<Vec<u8>> {
        let content = fs::read(file);
        let held = content.as_deref().ok().map(|content| self.content(content));
        if self.agreed.get(file).is_some_and(|agreed| *agreed != held) {
            return Err(io::Error::other(
                "it was changed while it was read, and is read again when that is done",
            ));
        }
        self.held.insert(file.to_path_buf(), held);
        content
    }

    /// Another reading, with the same hashes.
    pub fn anew(&self) -> Self {
        Self {
            hasher: self.hasher.clone(),
            ..Self::default()
        }
    }

    /// Another reading, of what files hold that were looked at.
    pub fn of_what_was_seen(&self, seen: &Changes) -> Self {
        Self {
            agreed: seen.0.clone(),
            ..self.anew()
        }
    }

    /// Files that were read besides these count too.
    pub fn extend(&mut self, other: Self) {
        self.held.extend(other.held);
    }

    /// The files that were read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.held.keys()
    }

    /// What a file held when it was read.
    pub fn held(&self, file: &Path) -> Option<Content> {
        self.held.get(file).copied().flatten()
    }

    /// The files that hold something else than when they were read, with what they hold now.
    pub fn changes(&self) -> Changes {
        let now = self.held.iter().map(|(file, known)| {
            let content = fs::read(file).ok();
            let held = content.map(|content| self.content(&content));
            (file, known, held)
        });
        let changed = now.filter(|(_, known, held)| held != *known);
        Changes(
            changed
                .map(|(file, _, held)| (file.clone(), held))
                .collect(),
        )
    }

    fn content(&self, content: &[u8]) -> Content {
        Content {
            hash: self.hasher.hash_one(content),
            is_empty: content.is_empty(),
            ends_a_line: content.ends_with(b"\n"),
        }
    }
}

/// Files that hold something else than when they were read, with what they hold; `None` is none that can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeMap<PathBuf, Option<Content>>);

impl Content {
    /// Why a file that held something else before does not look whole, though nobody writes it any more.
    pub fn looks_cut(self, before: Content, is_placed: bool) -> Option<&'static str> {
        match self {
            Self { is_empty: true, .. } if !before.is_empty => Some("it is empty, and was not"),
            // What was put in its place as a whole was meant so.
            Self {
                ends_a_line: false, ..
            } if before.ends_a_line && !is_placed => Some(
                "its last line has no end, as if it were cut off (a full disk does that); its last lines had one before",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_changed_when_it_holds_something_else() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        let mut reading = Reading::default();
        let is_changed = |reading: &Reading| reading.changes() != Changes::default();
        assert!(reading.read(&file).is_err());
        assert!(!is_changed(&reading), "as it was: not there");
        fs::write(&file, "a").unwrap();
        assert!(is_changed(&reading));
        reading.read(&file).unwrap();
        fs::write(&file, "a").unwrap();
        assert!(!is_changed(&reading), "written anew with the same content");
        fs::remove_file(&file).unwrap();
        assert!(is_changed(&reading));
    }

    #[test]
    fn what_was_looked_at_is_read_or_nothing() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "a").unwrap();
        let mut reading = Reading::default();
        reading.read(&file).unwrap();
        fs::write(&file, "b").unwrap();
        let changes = reading.changes();
        assert_eq!(
            reading.of_what_was_seen(&changes).read(&file).unwrap(),
            b"b"
        );
        fs::write(&file, "").unwrap();
        let error = reading.of_what_was_seen(&changes).read(&file).unwrap_err();
        assert!(error.to_string().contains("while it was read"), "{error}");
        assert_eq!(
            reading.anew().read(&file).unwrap(),
            b"",
            "the operator's word"
        );
    }

    #[test]
    fn a_file_that_is_empty_or_ends_within_a_line_looks_cut() {
        let reading = Reading::default();
        for (before, after, is_placed, is_cut) in [
            ("a\n", "", false, true),
            ("a\n", "", true, true),
            ("", "", false, false),
            ("", "a", false, false),
            ("a\nb\n", "a\nb = \"c", false, true),
            ("a\nb\n", "a\nb = \"c", true, false),
            ("secret", "another", false, false),
            ("secret", "another\n", false, false),
        ] {
            let [before, content] = [before, after].map(|text| reading.content(text.as_bytes()));
            let found = content.looks_cut(before, is_placed).is_some();
            assert_eq!(found, is_cut, "{before:?} became {after:?}");
        }
    }
}
