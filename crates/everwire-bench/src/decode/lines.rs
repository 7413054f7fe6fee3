//! Cuts a body into lines, without copying those that arrive whole.

use super::DecodeError;

/// The lines of a body that arrives in pieces.
#[derive(Debug, Default)]
pub struct Lines {
    /// The start of a line whose end has not come yet; mostly empty.
    unfinished: Vec<u8>,
}

/// No line of a load payload comes near this size, in bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;

impl Lines {
    /// Gives each line that ends in `input` to `on_line`, without its LF or CRLF.
    ///
    /// # Errors
    /// If a line has no end within bounds, and whatever `on_line` fails with.
    pub fn decode(
        &mut self,
        mut input: &[u8],
        mut on_line: impl FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        while let Some(end) = memchr::memchr(b'\n', input) {
            let (line, rest) = (&input[..end], &input[end + 1..]);
            if self.unfinished.is_empty() {
                on_line(line.strip_suffix(b"\r").unwrap_or(line))?;
            } else {
                self.unfinished.extend_from_slice(line);
                let line = self.unfinished.as_slice();
                on_line(line.strip_suffix(b"\r").unwrap_or(line))?;
                self.unfinished.clear();
            }
            input = rest;
        }
        self.unfinished.extend_from_slice(input);
        if self.unfinished.len() > LINE_BYTES_MAX {
            return Err(DecodeError::EndlessLine);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_wherever_the_input_is_split() {
        let input = b"one\ntwo\r\n\n\r\nthree\nunfinished";
        for cut in 0..=input.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in [&input[..cut], &input[cut..]] {
                lines
                    .decode(piece, |line| {
                        found.push(String::from_utf8(line.to_vec()).unwrap());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(found, ["one", "two", "", "", "three"], "split at {cut}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let endless = vec![b'x'; LINE_BYTES_MAX + 1];
        let decoded = Lines::default().decode(&endless, |_| Ok(()));
        assert_eq!(decoded, Err(DecodeError::EndlessLine));
    }
}
