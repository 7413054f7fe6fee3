//! Another server, put beside Everwire: what its description says, and how it is spoken to.
//!
//! ```text
//!  bench/nchan.toml ─▶ Description ─┬─▶ start    how it comes to run
//!                                   └─▶ speech   requests and messages of its wires
//! ```
//!
//! What a description does not have is not measured. Every delivery of a rival is checked as
//! Everwire's are; a rival that fails the check has that as its result.

mod description;
mod fault;
mod place;
mod speech;
mod start;
mod template;

use std::{
    fs,
    path::{self, Path, PathBuf},
};

use anyhow::{Context, Result};

use self::description::Description;
#[cfg(test)]
pub use self::fault::FaultKind;
pub use self::{fault::Fault, place::Finder};

/// A server that a file describes.
#[derive(Clone, Debug)]
pub struct Rival {
    description: Description,
    /// Where the file is, and where commands run.
    folder: PathBuf,
}

impl Rival {
    /// Reads the description at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or says something that means nothing; the message tells the line and
    /// what is expected there.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the description of a rival, {shown}"))?;
        // Absolute, since commands run there and name programs from there.
        let absolute = path::absolute(path).with_context(|| format!("no such path: {shown}"))?;
        let folder = absolute
            .parent()
            .map_or_else(PathBuf::new, Path::to_path_buf);
        Self::parse(&text, folder).with_context(|| format!("{shown} does not describe a server"))
    }

    /// The server that `text` describes, whose commands run in `folder`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn parse(text: &str, folder: PathBuf) -> Result<Self> {
        let description = toml::from_str(text)?;
        Ok(Self {
            description,
            folder,
        })
    }

    /// The name in the report.
    pub fn name(&self) -> &str {
        self.description.name.as_str()
    }
}

#[cfg(test)]
mod tests;
