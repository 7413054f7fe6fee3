//! Response heads as HTTP/1.1 has them on the wire (RFC 9112), for connections that have left hyper.

use bytes::{BufMut, Bytes, BytesMut};
use everwire_wire::Transfer;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    response::Parts,
};

use super::stamp;
use crate::budget::FREE_BYTES;

/// A response as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    /// Sent first; empty where all of it is in one piece.
    pub head: Bytes,
    pub rest: Bytes,
}

/// A whole response with its length. Large content stays what it is, with the share that is held for it.
pub(crate) fn encode_answer(response: Response<Bytes>, keep_alive: bool) -> Encoded {
    let (parts, body) = response.into_parts();
    if body.len() <= FREE_BYTES {
        let response = Response::from_parts(parts, body);
        return Encoded {
            head: Bytes::new(),
            rest: encode_response(response, keep_alive),
        };
    }
    Encoded {
        head: encode_with(parts, body.len(), &[], keep_alive),
        rest: body,
    }
}

/// A whole response with its length, in one piece.
pub(crate) fn encode_response(response: Response<Bytes>, keep_alive: bool) -> Bytes {
    let (parts, body) = response.into_parts();
    encode_with(parts, body.len(), &body, keep_alive)
}

/// A response's head and as much of its content as follows at once.
fn encode_with(mut parts: Parts, length: usize, body: &[u8], keep_alive: bool) -> Bytes {
    if parts.status != StatusCode::NO_CONTENT {
        parts
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if !keep_alive {
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut out = BytesMut::with_capacity(512 + body.len());
    encode_head(parts.status, parts.headers, &mut out);
    out.put_slice(body);
    out.freeze()
}

/// The head of a response whose body is streamed, and of one that switches protocols.
pub(crate) fn encode_stream_head(response: Response<()>, transfer: Option<Transfer>) -> Bytes {
    let (mut parts, ()) = response.into_parts();
    match transfer {
        Some(Transfer::Chunked) => {
            parts
                .headers
                .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            // The line serves this one response and ends with it.
            parts
                .headers
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Some(Transfer::Bare) => {
            parts
                .headers
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        None => {}
    }
    let mut out = BytesMut::with_capacity(512);
    encode_head(parts.status, parts.headers, &mut out);
    out.freeze()
}

fn encode_head(status: StatusCode, mut headers: HeaderMap, out: &mut BytesMut) {
    stamp(&mut headers);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in &headers {
        field(name, value, out);
    }
    out.put_slice(b"\r\n");
}

fn field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.lines()
            .filter(|line| !line.starts_with("date: "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_whole_response_has_its_length() {
        let response = Response::builder()
            .header("x-a", "b")
            .body(Bytes::from("hello"))
            .unwrap();
        assert_eq!(
            text(&encode_response(response, true)),
            "HTTP/1.1 200 OK\nx-a: b\ncontent-length: 5\n\nhello"
        );
    }

    #[test]
    fn no_content_has_no_length_and_the_last_answer_says_so() {
        let response = Response::builder().status(204).body(Bytes::new()).unwrap();
        assert_eq!(
            text(&encode_response(response, false)),
            "HTTP/1.1 204 No Content\nconnection: close\n"
        );
    }

    #[test]
    fn a_stream_is_chunked_where_the_client_knows_chunks() {
        let head = |transfer| text(&encode_stream_head(Response::new(()), transfer));
        assert_eq!(
            head(Some(Transfer::Chunked)),
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\nconnection: close\n"
        );
        assert_eq!(
            head(Some(Transfer::Bare)),
            "HTTP/1.1 200 OK\nconnection: close\n"
        );
        assert_eq!(head(None), "HTTP/1.1 200 OK\n");
    }
}
