//! The opening handshake (RFC 6455, section 4; RFC 8441, section 5).
//!
//! ```text
//!  over HTTP/1.1   GET, Upgrade: websocket, Sec-WebSocket-Key   ─▶ 101, Sec-WebSocket-Accept
//!  over HTTP/2, 3  CONNECT, :protocol = websocket               ─▶ 200, neither key nor accept
//! ```
//!
//! Version, subprotocol and extensions are negotiated in the same fields on both. A request is judged
//! from its parsed head; nothing is read or sent here.

mod client;
pub(crate) mod field;
mod server;

pub use client::{Established, HandshakeError, InvalidSubprotocol, Offer};
pub use server::{Accepted, Policy, Refusal, Request, accept, wants_websocket};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use http::HeaderValue;
use http::header::HeaderName;
use sha1::{Digest, Sha1};

/// Proof that the key was read by a WebSocket server (RFC 6455, section 4.2.2): the value of
/// `Sec-WebSocket-Accept` for that of `Sec-WebSocket-Key`.
pub fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// A field value made of base64, tokens and digits.
fn field_value(text: impl TryInto<HeaderValue>) -> HeaderValue {
    text.try_into()
        .unwrap_or_else(|_| unreachable!("made of visible ASCII"))
}

/// The fields of a head and the empty line that ends it.
fn write_fields<'a>(
    fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    out: &mut BytesMut,
) {
    for (name, value) in fields {
        write_field(name, value, out);
    }
    out.put_slice(b"\r\n");
}

fn write_field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        out.put_slice(part);
    }
}

/// The only version of the protocol (section 4.1).
const VERSION: &str = "13";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_of_section_1_3() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
