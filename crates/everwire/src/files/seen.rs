//! What events tell of the files that matter: which are being written, and which came as a whole.
//!
//! ```text
//!  CREATE and OPEN, MODIFY ─▶ CLOSE_WRITE ─▶ Closed ─┐
//!  MOVED_TO, CREATE alone (a link) ────────▶ Placed ─┴─▶ whole
//! ```
//!
//! Without IO. TOML and lists have no end, so half of a file is often a valid one; that nobody wrote for a moment does not
//! tell that a file is whole. Only its writer does: by closing it, or by putting it in its place.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is there since now: a link, or a file that is about to be written.
    Made,
    /// Somebody opened it, to read or to write.
    Opened,
    /// Something was written to it.
    Written,
    /// Whoever had it open to write has closed it.
    Closed,
    /// Another file or link was put there.
    Placed,
    /// It is not there any more.
    Gone,
}

/// How a file came to hold what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Nothing was seen of it.
    Unseen,
    /// It is being written.
    Unfinished,
    /// It was written where it is, and closed.
    Closed,
    /// It was put in its place as a whole.
    Placed,
}

/// What was seen of the paths that matter, since they were last read.
#[derive(Debug, Default)]
pub struct Seen {
    matter: BTreeSet<PathBuf>,
    last: BTreeMap<PathBuf, Event>,
}

impl Seen {
    /// From now on these paths matter, and no others.
    pub fn look_after(&mut self, paths: BTreeSet<PathBuf>) {
        self.last.retain(|path, _| paths.contains(path));
        self.matter = paths;
    }

    /// All files were read: what is whole now is known. What is being written still is.
    pub fn all_read(&mut self) {
        self.last.retain(|_, event| *event == Event::Written);
    }

    /// Something happened to a path. False if that does not matter.
    pub fn on_event(&mut self, path: &Path, event: Event) -> bool {
        if !self.matter.contains(path) {
            return false;
        }
        let last = self.last.get(path);
        match event {
            // Who makes a file opens it with that; nobody opens a link to make it.
            Event::Opened if last == Some(&Event::Made) => {
                self.last.insert(path.to_owned(), Event::Written);
            }
            // To read a file is an event too, and is not answered by reading it again.
            Event::Opened => return false,
            // It was not written, only opened so.
            Event::Closed if last.is_none() => {}
            // A link or a renamed file whose other name is closed later.
            Event::Closed if last == Some(&Event::Placed) => {}
            _ => {
                self.last.insert(path.to_owned(), event);
            }
        }
        true
    }

    /// It was quiet for a moment: what was made and not opened is a link.
    pub fn quiet(&mut self) {
        for event in self
            .last
            .values_mut()
            .filter(|event| **event == Event::Made)
        {
            *event = Event::Placed;
        }
    }

    /// How a file came that is reached by way of these paths: its own and the links that lead to it.
    pub fn came<'a>(&self, steps: impl IntoIterator<Item = &'a PathBuf>) -> Came {
        let mut came = Came::Unseen;
        for step in steps {
            came = match (self.last.get(step), came) {
                (Some(Event::Made | Event::Written), _) | (_, Came::Unfinished) => Came::Unfinished,
                (Some(Event::Closed), _) | (_, Came::Closed) => Came::Closed,
                (Some(Event::Placed), _) | (_, Came::Placed) => Came::Placed,
                (Some(Event::Gone | Event::Opened) | None, Came::Unseen) => Came::Unseen,
            };
        }
        came
    }
}

#[cfg(test)]
mod tests {
    use Event::*;

    use super::*;

    #[test]
    fn a_file_is_whole_when_its_writer_says_so() {
        let file = PathBuf::from("/etc/everwire.toml");
        for (what, events, expected) in [
            ("nothing", &[][..], Came::Unseen),
            ("made for writing", &[Made, Opened], Came::Unfinished),
            (
                "made, written and closed",
                &[Made, Opened, Written, Closed],
                Came::Closed,
            ),
            ("a link that is made", &[Made], Came::Placed),
            ("and read", &[Placed, Opened], Came::Placed),
            ("written over", &[Written], Came::Unfinished),
            ("written and closed", &[Written, Closed], Came::Closed),
            (
                "written again",
                &[Written, Closed, Written],
                Came::Unfinished,
            ),
            ("renamed into place", &[Placed], Came::Placed),
            (
                "renamed, then written",
                &[Placed, Written],
                Came::Unfinished,
            ),
            ("opened and closed unwritten", &[Closed], Came::Unseen),
            (
                "moved away and made anew",
                &[Gone, Written],
                Came::Unfinished,
            ),
            ("and closed", &[Gone, Written, Closed], Came::Closed),
            ("gone", &[Placed, Gone], Came::Unseen),
            (
                "renamed by its writer, who closes it then",
                &[Placed, Closed],
                Came::Placed,
            ),
        ] {
            let mut seen = Seen::default();
            seen.look_after(BTreeSet::from([file.clone()]));
            for event in events {
                seen.on_event(&file, *event);
            }
            seen.quiet();
            assert_eq!(seen.came([&file]), expected, "{what}");
        }
    }

    #[test]
    fn a_link_that_is_changed_on_the_way_makes_the_file_another() {
        let [link, file] = ["/secrets/..data", "/secrets/..1/key"].map(PathBuf::from);
        let mut seen = Seen::default();
        seen.look_after(BTreeSet::from([link.clone(), file.clone()]));
        seen.on_event(&link, Placed);
        assert_eq!(seen.came([&link, &file]), Came::Placed);
        seen.on_event(&file, Written);
        assert_eq!(seen.came([&link, &file]), Came::Unfinished);
    }

    #[test]
    fn what_was_read_is_known_but_for_what_is_being_written() {
        let [whole, half] = ["/a", "/b"].map(PathBuf::from);
        let mut seen = Seen::default();
        seen.look_after(BTreeSet::from([whole.clone(), half.clone()]));
        assert!(!seen.on_event(Path::new("/c"), Placed), "a neighbour");
        seen.on_event(&whole, Placed);
        seen.on_event(&half, Written);
        seen.all_read();
        assert_eq!(seen.came([&whole]), Came::Unseen);
        assert_eq!(seen.came([&half]), Came::Unfinished);
    }
}
