//! How a streamed response body is delimited (RFC 9112, section 7.1).

use bytes::{BufMut, BytesMut};

/// How the pieces of a streamed body are delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transfer {
    /// As they are: an HTTP/2 stream, or HTTP/1.0, where closing the connection ends the body.
    Bare,
    /// Each piece is one chunk of the chunked transfer coding of HTTP/1.1, so that its receiver can tell a
    /// complete body from one that was cut.
    Chunked,
}

/// The chunk that ends a chunked body, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Transfer {
    /// Writes what `write` writes as one piece. `bytes_max` is at least its length; a closer bound only
    /// saves leading zeros in the chunk's size.
    pub(crate) fn piece(
        self,
        out: &mut BytesMut,
        bytes_max: usize,
        write: impl FnOnce(&mut BytesMut),
    ) {
        match self {
            Self::Bare => write(out),
            Self::Chunked => {
                // The size is not known before the piece is written, so its digits are filled in afterwards.
                let digits = hex_digits(bytes_max);
                let head = out.len();
                out.put_bytes(b'0', digits);
                out.put_slice(b"\r\n");
                let body = out.len();
                write(out);
                let mut size = out.len() - body;
                for digit in out[head..head + digits].iter_mut().rev() {
                    *digit = b"0123456789abcdef"[size & 15];
                    size >>= 4;
                }
                assert!(size == 0, "a piece is no longer than its announced bound");
                out.put_slice(b"\r\n");
            }
        }
    }
}

fn hex_digits(mut n: usize) -> usize {
    let mut digits = 1;
    while n > 15 {
        n >>= 4;
        digits += 1;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_tells_its_size_in_hexadecimal() {
        for (body, bound, expected) in [
            ("hello", 5, "5\r\nhello\r\n"),
            ("hello", 15, "5\r\nhello\r\n"),
            ("hello", 16, "05\r\nhello\r\n"),
            (
                "hello there, my friend",
                22,
                "16\r\nhello there, my friend\r\n",
            ),
        ] {
            let mut out = BytesMut::from("before");
            Transfer::Chunked.piece(&mut out, bound, |out| out.put_slice(body.as_bytes()));
            assert_eq!(
                out,
                format!("before{expected}"),
                "{body:?} announced as at most {bound}"
            );
        }
    }

    #[test]
    fn a_bare_piece_is_written_as_it_is() {
        let mut out = BytesMut::new();
        Transfer::Bare.piece(&mut out, 5, |out| out.put_slice(b"hello"));
        assert_eq!(out, "hello");
    }
}
