//! Lines of a stream, each ended by a line feed.

use super::{Undecodable, append};

/// Cuts a stream into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The line that has not ended yet.
    line: Vec<u8>,
    bytes_max: usize,
}

impl Lines {
    /// `bytes_max` bounds a line.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            line: Vec::new(),
            bytes_max,
        }
    }

    /// Takes the next piece of the stream, and hands over each line that it ends, with its line feed.
    pub fn cut(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            append(&mut self.line, piece, self.bytes_max)?;
            if piece.ends_with(b"\n") {
                each(&self.line)?;
                self.line.clear();
            }
        }
        Ok(())
    }
}
