//! The chunked transfer coding (RFC 9112, section 7.1).

use super::DecodeError;

/// Takes the coding off a body that arrives in pieces.
#[derive(Debug)]
pub struct Chunked {
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In the hexadecimal digits, of which `digits` were read.
    Size {
        size: u64,
        digits: u32,
    },
    /// In a chunk extension or the CR of a size line.
    SizeLineEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// After the last chunk, in the trailer section; its fields are not looked at.
    Trailer {
        line_is_empty: bool,
    },
    Ended,
}

/// A size line of more digits could not be a real chunk.
const SIZE_DIGITS_MAX: u32 = 8;

impl Chunked {
    /// The coding before its first chunk.
    pub fn new() -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
        }
    }

    /// Gives the content in `input` to `on_content`, in pieces that follow the input's.
    ///
    /// # Errors
    /// If the coding is broken, and whatever `on_content` fails with.
    pub fn decode(
        &mut self,
        mut input: &[u8],
        mut on_content: impl FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        while let Some((&byte, rest)) = input.split_first() {
            self.state = match self.state {
                State::Data { left } => {
                    let (content, after) = input.split_at(input.len().min(left as usize));
                    on_content(content)?;
                    input = after;
                    self.state = match left - content.len() as u64 {
                        0 => State::DataCr,
                        left => State::Data { left },
                    };
                    continue;
                }
                State::Size { size, digits } => match char::from(byte).to_digit(16) {
                    Some(digit) if digits < SIZE_DIGITS_MAX => State::Size {
                        size: size * 16 + u64::from(digit),
                        digits: digits + 1,
                    },
                    None if digits > 0 && matches!(byte, b'\r' | b';' | b' ' | b'\t') => {
                        State::SizeLineEnd { size }
                    }
                    _ => return Err(DecodeError::Chunk { byte }),
                },
                State::SizeLineEnd { size } => match (byte, size) {
                    (b'\n', 0) => State::Trailer {
                        line_is_empty: true,
                    },
                    (b'\n', left) => State::Data { left },
                    _ => self.state,
                },
                State::DataCr if byte == b'\r' => State::DataLf,
                State::DataLf if byte == b'\n' => State::Size { size: 0, digits: 0 },
                State::DataCr | State::DataLf => return Err(DecodeError::Chunk { byte }),
                State::Trailer { line_is_empty } => match byte {
                    b'\n' if line_is_empty => State::Ended,
                    b'\n' => State::Trailer {
                        line_is_empty: true,
                    },
                    b'\r' => self.state,
                    _ => State::Trailer {
                        line_is_empty: false,
                    },
                },
                State::Ended => return Err(DecodeError::Chunk { byte }),
            };
            input = rest;
        }
        Ok(())
    }

    /// Whether the last chunk and the trailer section were read.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), DecodeError> {
        let (mut chunked, mut content) = (Chunked::new(), Vec::new());
        for piece in pieces {
            chunked.decode(piece, |bytes| {
                content.extend_from_slice(bytes);
                Ok(())
            })?;
        }
        Ok((content, chunked.is_ended()))
    }

    #[test]
    fn content_is_the_same_wherever_the_input_is_split() {
        let coded = b"5\r\nhello\r\nb;x=y\r\n everwire!\n\r\n0\r\na: b\r\n\r\n";
        for cut in 0..=coded.len() {
            let (first, second) = coded.split_at(cut);
            let decoded = decode(&[first, second]).unwrap();
            assert_eq!(
                decoded,
                (b"hello everwire!\n".to_vec(), true),
                "split at {cut}"
            );
        }
        let single: Vec<&[u8]> = coded.chunks(1).collect();
        assert_eq!(
            decode(&single).unwrap(),
            (b"hello everwire!\n".to_vec(), true)
        );
    }

    #[test]
    fn a_broken_coding_is_refused() {
        for coded in [
            "\r\n",
            "x\r\n",
            "2\r\nabc",
            "2\r\nab\rx",
            "123456789\r\n",
            "0\r\n\r\n0",
        ] {
            assert!(decode(&[coded.as_bytes()]).is_err(), "{coded:?}");
        }
    }

    #[test]
    fn the_body_is_not_ended_before_the_line_after_its_last_chunk() {
        for coded in [
            "2\r\nab\r\n",
            "2\r\nab\r\n0\r\n",
            "2\r\nab\r\n0\r\na: b\r\n",
        ] {
            assert_eq!(
                decode(&[coded.as_bytes()]).unwrap(),
                (b"ab".to_vec(), false),
                "{coded:?}"
            );
        }
    }
}
