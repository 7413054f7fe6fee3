//! A request's head as it passes, for what the library takes without a word and another reader may see otherwise.
//!
//! ```text
//!  awaited ─▶ method ─▶ target ─▶ fields ─▶ whole ─── the request is handled ──▶ taken ─┐
//!     ▲──────────────── the next one is waited for, and nothing of it has come ─────────┘
//! ```
//!
//! - **A fragment** in the target. The library cuts it off, so a proxy that guards addresses would have compared
//!   `/channels/a#b` and we would serve `/channels/a`. A target has none (RFC 9112, section 3.2), and is not to be set
//!   right, for that very reason (section 3).
//! - **A line that ends in a bare LF.** One may take it for a line's end (section 2.2), and who passes it on inside of a
//!   value has another view of where fields, lengths and requests end. Nobody needs it: clients send CRLF.
//!
//! What lies between two requests is known where a client waits for an answer before it asks again, as proxies do. Heads
//! that were sent ahead of that are not looked at: nobody but their client has read them.

use std::mem;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The target has a fragment.
    #[error(
        "the request target has a fragment, which is for clients alone; send it without what begins with #"
    )]
    Fragment,
    /// A line ends in LF without CR.
    #[error("a line of the request head ends in a bare LF; end each in CRLF")]
    BareLf,
}

/// How much of a head has passed.
#[derive(Debug, Default)]
pub(super) struct RequestHead {
    at: At,
    fault: Option<Fault>,
}

#[derive(Debug, Default)]
enum At {
    /// Nothing has come but ends of lines, which may stand before a request.
    #[default]
    Awaited,
    Method,
    Target,
    /// In the line of the target, behind it, or in that of a field.
    Fields(Line),
    /// All of it has come, or it is none.
    Whole,
    /// It is handled. What comes is its content, or the next head ahead of time.
    Taken,
}

/// As much of a line as there is.
#[derive(Clone, Copy, Debug)]
enum Line {
    Empty,
    /// A CR alone: with LF, the end of the head.
    Cr,
    /// More, and whether that ends in CR.
    Text {
        ends_in_cr: bool,
    },
}

impl RequestHead {
    /// The next request is waited for, if the last one was handled.
    pub fn is_awaited(&mut self) {
        if let At::Taken = self.at {
            self.at = At::Awaited;
        }
    }

    /// A request is handled: its head has passed.
    pub fn is_taken(&mut self) -> Option<Fault> {
        self.at = At::Taken;
        mem::take(&mut self.fault)
    }

    /// These bytes pass.
    pub fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = match &mut self.at {
                At::Whole | At::Taken => return,
                At::Awaited => {
                    let begins = bytes.iter().position(|byte| !b"\r\n".contains(byte));
                    let Some(at) = begins else { return };
                    self.at = At::Method;
                    at
                }
                At::Method => {
                    let ends = bytes.iter().position(|byte| !byte.is_ascii_alphabetic());
                    let Some(at) = ends else { return };
                    self.at = match bytes[at] {
                        b' ' => At::Target,
                        // No request that is common; the library judges it.
                        _ => At::Fields(Line::Text { ends_in_cr: false }),
                    };
                    at + usize::from(bytes[at] == b' ')
                }
                At::Target => {
                    let Some(at) = memchr::memchr3(b'#', b' ', b'\n', bytes) else {
                        return;
                    };
                    match bytes[at] {
                        b'#' => {
                            self.fault.get_or_insert(Fault::Fragment);
                        }
                        _ => self.at = At::Fields(Line::Text { ends_in_cr: false }),
                    }
                    at + usize::from(bytes[at] == b'#')
                }
                At::Fields(line) => match memchr::memchr(b'\n', bytes) {
                    None => {
                        *line = line.with(bytes);
                        return;
                    }
                    Some(at) => {
                        match line.with(&bytes[..at]) {
                            Line::Cr => self.at = At::Whole,
                            Line::Text { ends_in_cr: true } => *line = Line::Empty,
                            Line::Empty | Line::Text { ends_in_cr: false } => {
                                self.fault.get_or_insert(Fault::BareLf);
                                self.at = At::Whole;
                            }
                        }
                        at + 1
                    }
                },
            };
            bytes = &bytes[passed..];
        }
    }
}

impl Line {
    /// The line with more of it.
    fn with(self, more: &[u8]) -> Self {
        match (self, more) {
            (line, []) => line,
            (Self::Empty, b"\r") => Self::Cr,
            (_, [.., last]) => Self::Text {
                ends_in_cr: *last == b'\r',
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in heads that come one after another, each in pieces of so many bytes.
    fn found(heads: &[&str], piece: usize) -> Vec<Option<Fault>> {
        let mut head = RequestHead::default();
        let each = heads.iter().map(|bytes| {
            head.is_awaited();
            bytes
                .as_bytes()
                .chunks(piece)
                .for_each(|part| head.hear(part));
            head.is_taken()
        });
        each.collect()
    }

    #[test]
    fn what_a_head_says_is_the_same_in_pieces_of_any_size() {
        use Fault::{BareLf, Fragment};
        let cases: [(&str, Option<Fault>); 17] = [
            ("GET /channels/a HTTP/1.1\r\nHost: x\r\n\r\n", None),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", None),
            ("GET /a?b=c#d HTTP/1.1\r\nHost: x\r\n\r\n", Some(Fragment)),
            ("GET /a# HTTP/1.1\r\n\r\n", Some(Fragment)),
            ("GET /a?b#c#d HTTP/1.1\r\n\r\n", Some(Fragment)),
            ("GET http://x#a HTTP/1.1\r\n\r\n", Some(Fragment)),
            ("GET # HTTP/1.1\r\n\r\n", Some(Fragment)),
            ("GET /a%23b HTTP/1.1\r\n\r\n", None),
            // Where it is data.
            ("GET /a HTTP/1.1\r\nReferer: /b#c\r\nX: #\r\n\r\n", None),
            ("POST /a HTTP/1.1\r\n\r\n#\nGET /a#b HTTP/1.1\n\n", None),
            ("GET /a HTTP/1.1\nHost: x\r\n\r\n", Some(BareLf)),
            ("GET /a HTTP/1.1\r\nHost: x\n\r\n", Some(BareLf)),
            ("GET /a HTTP/1.1\r\nHost: x\r\n\n", Some(BareLf)),
            ("GET /a HTTP/1.1\r\nX: a\nY: b\r\n\r\n", Some(BareLf)),
            ("GET /a HTTP/1.1\r\nX: a\r\r\n\r\r\nY: \n\r\n", Some(BareLf)),
            ("GET /a#b HTTP/1.1\n\n", Some(Fragment)),
            ("\u{16}\u{3}\u{1} what TLS begins with #\n", Some(BareLf)),
        ];
        for piece in 1..60 {
            for (head, expected) in cases {
                assert_eq!(found(&[head], piece), [expected], "{head:?} by {piece}");
                let good = "GET / HTTP/1.1\r\n\r\n";
                let after = found(&[good, head, good], piece);
                assert_eq!(after, [None, expected, None], "{head:?} by {piece}");
            }
        }
    }

    /// Content comes while its request is handled, and is data whatever it looks like.
    #[test]
    fn what_comes_while_a_request_is_handled_is_no_head() {
        let mut head = RequestHead::default();
        head.hear(b"POST /a HTTP/1.1\r\nContent-Length: 22\r\n\r\n");
        assert_eq!(head.is_taken(), None);
        head.hear(b"GET /a#b HTTP/1.1\n\n");
        assert_eq!(head.is_taken(), None);
        head.is_awaited();
        head.hear(b"GET /a#b");
        // A head that has begun is not awaited anew.
        head.is_awaited();
        head.hear(b" HTTP/1.1\r\n\r\n");
        assert_eq!(head.is_taken(), Some(Fault::Fragment));
    }
}
