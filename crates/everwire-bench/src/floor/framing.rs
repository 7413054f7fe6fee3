//! How the floor puts an entry on each wire: as many bytes as Everwire, none of them computed.

/// How a reader's entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One unmasked text frame (RFC 6455, section 5.2).
    WebSocket,
    /// One event with an id, in a chunk of its own.
    EventStream,
    /// One object with offset and time on a line, in a chunk of its own.
    Ndjson,
}

/// As long as a real offset; readers of the load do not look at it.
const OFFSET: &str = "00000000000000000000000000";
/// As long as the milliseconds since 1970.
const TIME: &str = "1700000000000";

impl Framing {
    /// The head of the response that opens a reader.
    pub fn head(self) -> &'static [u8] {
        match self {
            // The accept key is that of the one key the load client sends (RFC 6455, section 1.3).
            Self::WebSocket => {
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                  Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            }
            Self::EventStream => {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                  Transfer-Encoding: chunked\r\n\r\n"
            }
            Self::Ndjson => {
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\
                  Transfer-Encoding: chunked\r\n\r\n"
            }
        }
    }

    /// Appends the entry of `payload` to `out`.
    pub fn write(self, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::WebSocket => {
                write_frame_head(payload.len(), out);
                out.extend_from_slice(payload);
            }
            Self::EventStream => {
                write_chunk(
                    &[b"id: ", OFFSET.as_bytes(), b"\ndata: ", payload, b"\n\n"],
                    out,
                );
            }
            Self::Ndjson => write_chunk(
                &[
                    b"{\"offset\":\"",
                    OFFSET.as_bytes(),
                    b"\",\"time\":",
                    TIME.as_bytes(),
                    b",\"data\":\"",
                    payload,
                    b"\"}\n",
                ],
                out,
            ),
        }
    }
}

/// The head of an unmasked text frame with `bytes` of payload.
pub fn write_frame_head(bytes: usize, out: &mut Vec<u8>) {
    out.push(0x81);
    match u16::try_from(bytes) {
        Ok(short @ ..126) => out.push(short as u8),
        Ok(medium) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
}

fn write_chunk(parts: &[&[u8]], out: &mut Vec<u8>) {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(format!("{bytes:x}\r\n").as_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_as_its_wire_asks() {
        let cases = [
            (Framing::WebSocket, "\u{1}\u{2}hi".to_owned()),
            (
                Framing::EventStream,
                format!("29\r\nid: {OFFSET}\ndata: hi\n\n\r\n"),
            ),
            (
                Framing::Ndjson,
                format!("49\r\n{{\"offset\":\"{OFFSET}\",\"time\":{TIME},\"data\":\"hi\"}}\n\r\n"),
            ),
        ];
        for (framing, expected) in cases {
            let mut out = Vec::new();
            framing.write(b"hi", &mut out);
            // The first byte of a frame is no text; its low bits are.
            out[0] &= 0x7f;
            assert_eq!(String::from_utf8_lossy(&out), expected, "{framing:?}");
        }
    }

    #[test]
    fn a_frame_takes_the_shortest_length() {
        for (bytes, head) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            write_frame_head(bytes, &mut out);
            assert_eq!(out.len(), head, "payload of {bytes} bytes");
        }
    }
}
