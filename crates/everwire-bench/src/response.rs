//! Heads of HTTP/1.1 responses (RFC 9112), as far as a load client needs them.

use memchr::memmem;

/// What a response head says about what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// How the content is delimited.
    pub framing: Framing,
    /// Size of the head in bytes, with the empty line that ends it.
    pub bytes: usize,
}

/// Where the content of a response ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes; none for 1xx, 204 and 304.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// The server's answer is not an HTTP/1.1 response head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer beginning {start:?} is not an http/1.1 response head; is this an Everwire server?"
)]
pub struct HeadError {
    start: String,
}

/// The largest head that is read, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

impl ResponseHead {
    /// The head at the start of `input`, or `None` while its end is not there yet.
    ///
    /// # Errors
    /// If `input` cannot be the start of a response head.
    pub fn parse(input: &[u8]) -> Result<Option<Self>, HeadError> {
        let malformed = || HeadError {
            start: excerpt(input),
        };
        let Some(end) = memmem::find(input, b"\r\n\r\n") else {
            return if input.len() > HEAD_BYTES_MAX {
                Err(malformed())
            } else {
                Ok(None)
            };
        };
        let head = str::from_utf8(&input[..end]).map_err(|_| malformed())?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|line| line.get(..3))
            .and_then(|status| status.parse().ok())
            .ok_or_else(malformed)?;
        let mut framing = match status {
            100..=199 | 204 | 304 => Framing::Length(0),
            _ => Framing::UntilClose,
        };
        if framing == Framing::UntilClose {
            for line in lines {
                let (name, value) = line.split_once(':').ok_or_else(malformed)?;
                if name.eq_ignore_ascii_case("transfer-encoding") {
                    framing = Framing::Chunked; // chunked overrides a length (section 6.3)
                    break;
                }
                if name.eq_ignore_ascii_case("content-length") {
                    framing = Framing::Length(value.trim().parse().map_err(|_| malformed())?);
                }
            }
        }
        Ok(Some(Self {
            status,
            framing,
            bytes: end + 4,
        }))
    }
}

/// The value of field `name` in the response head that `received` starts with.
pub fn field<'a>(received: &'a [u8], name: &str) -> Option<&'a str> {
    let end = memmem::find(received, b"\r\n\r\n")?;
    let mut lines = str::from_utf8(&received[..end]).ok()?.split("\r\n");
    lines.find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The start of `bytes` for an error message.
pub fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framing_follows_from_status_and_fields() {
        let cases = [
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                200,
                Framing::Chunked,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n",
                200,
                Framing::Length(12),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 12\r\ntransfer-encoding: chunked\r\n\r\n",
                200,
                Framing::Chunked,
            ),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
                200,
                Framing::UntilClose,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, Framing::Length(0)),
            (
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
                101,
                Framing::Length(0),
            ),
        ];
        for (head, status, framing) in cases {
            let bytes = head.len();
            let expected = ResponseHead {
                status,
                framing,
                bytes,
            };
            let followed = format!("{head}more");
            assert_eq!(
                ResponseHead::parse(followed.as_bytes()),
                Ok(Some(expected)),
                "{head}"
            );
            for cut in 0..bytes {
                assert_eq!(
                    ResponseHead::parse(&head.as_bytes()[..cut]),
                    Ok(None),
                    "{cut} of {head}"
                );
            }
        }
    }

    #[test]
    fn a_field_is_found_whatever_its_case() {
        let head = b"HTTP/1.1 200 OK\r\nStream-Next-Offset: 1k7\r\n\r\nother: x\r\n\r\n";
        for (name, expected) in [("stream-next-offset", Some("1k7")), ("other", None)] {
            assert_eq!(field(head, name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_response_head_is_refused() {
        let long = vec![b'a'; HEAD_BYTES_MAX + 1];
        let cases: [&[u8]; 5] = [
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            &long,
        ];
        for head in cases {
            assert!(ResponseHead::parse(head).is_err(), "{}", excerpt(head));
        }
    }
}
