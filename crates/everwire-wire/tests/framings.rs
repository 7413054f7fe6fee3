//! Each framing's words for each thing, as a table. `@` stands for the offset.

mod common;

use ContentKind::{Binary, Json, Text};
use common::{BARE, One, TIME_MS, chunked, dechunk};
use everwire_channel::{ContentKind, Gap};
use everwire_wire::{Carrier, Framing, Notice, StreamCursor, Transfer};

const EVENTS: Framing = Framing::EventStream(Transfer::Bare);
const DURABLE: Framing = Framing::DurableEventStream(Transfer::Bare);
const NDJSON: Framing = Framing::Ndjson(Transfer::Bare);
const RAW: Framing = Framing::Raw { window: None };
const SESSION: Framing = Framing::Session(Carrier::WebSocket { window: None });

/// The text with the offset in place.
fn with_offset(one: &One, text: &str) -> String {
    text.replace('@', &one.offset().to_token())
}

/// The payload of the one unmasked frame that this is, and its first byte.
fn unframe(frame: &[u8]) -> (u8, &[u8]) {
    let start = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    (frame[0], &frame[start..])
}

#[test]
fn an_entry_in_an_event_stream() {
    let rows: &[(ContentKind, &[u8], Option<&str>, &str)] = &[
        (Json, b"{\"a\":1}", None, "id: @\ndata: {\"a\":1}\n\n"),
        (Json, b"1", Some("tick"), "id: @\nevent: tick\ndata: 1\n\n"),
        (Text, b"hello", None, "id: @\ndata: hello\n\n"),
        (Text, b"", None, "id: @\ndata: \n\n"),
        (Text, b" two spaces", None, "id: @\ndata:  two spaces\n\n"),
        (Text, b"a\nb", None, "id: @\ndata: a\ndata: b\n\n"),
        (Text, b"a\r\nb", None, "id: @\ndata: a\ndata: b\n\n"),
        (Text, b"a\rb", None, "id: @\ndata: a\ndata: b\n\n"),
        (Text, b"a\n\rb", None, "id: @\ndata: a\ndata: \ndata: b\n\n"),
        (Text, b"\r\n", None, "id: @\ndata: \ndata: \n\n"),
        // A payload that would like to be a field, and one that would like to be the end of the event.
        (
            Text,
            b"x\nid: 7\nevent: y",
            None,
            "id: @\ndata: x\ndata: id: 7\ndata: event: y\n\n",
        ),
        (Text, b"x\n\ny", None, "id: @\ndata: x\ndata: \ndata: y\n\n"),
        (Text, b"nul \0 stays", None, "id: @\ndata: nul \0 stays\n\n"),
        (Binary, b"", None, "id: @\ndata: \n\n"),
        (
            Binary,
            b"\0\xff\n",
            Some("raw"),
            "id: @\nevent: raw\ndata: AP8K\n\n",
        ),
    ];
    for (kind, payload, event, expected) in rows {
        let one = One::new("c", *kind, payload, *event);
        let got = String::from_utf8(one.encode(EVENTS)).unwrap();
        assert_eq!(got, with_offset(&one, expected), "{payload:?}");
    }
}

/// In a channel whose type nobody stated each entry is read by its own kind, whatever the others are.
#[test]
fn an_entry_with_a_kind_of_its_own_is_written_in_that_kind_in_every_framing() {
    for own in [Json, Text, Binary] {
        for kind in [Json, Text, Binary] {
            let stated = One::new("c", own, b"[1]", None);
            let guessed = One::with("c", kind, Some(own), b"[1]", None);
            for framing in BARE {
                let (expected, got) = (stated.encode(framing), guessed.encode(framing));
                let name = match own {
                    Json => "json",
                    Text => "text",
                    Binary => "bytes",
                };
                let got = match framing {
                    // The one framing whose data do not show what they are.
                    Framing::EventStream(_) | Framing::PulsingEventStream(_) => {
                        String::from_utf8(got)
                            .unwrap()
                            .replacen(&format!("\nkind: {name}\n"), "\n", 1)
                            .into_bytes()
                    }
                    _ => got,
                };
                assert_eq!(got, expected, "{own:?} in {kind:?}, {framing:?}");
            }
        }
    }
    let one = One::with("c", Json, Some(Text), b"hi", Some("say"));
    let got = String::from_utf8(one.encode(EVENTS)).unwrap();
    assert_eq!(
        got,
        with_offset(&one, "id: @\nevent: say\nkind: text\ndata: hi\n\n")
    );
}

#[test]
fn an_entry_in_an_event_stream_of_durable_streams() {
    let rows: &[(ContentKind, &[u8], &str)] = &[
        (Json, b"{\"a\":1}", "data:[{\"a\":1}]\n"),
        (Text, b"hello", "data:hello\n"),
        (Text, b"", "data:\n"),
        // A parser takes one space away, so one that belongs to the text is doubled.
        (Text, b" one space", "data:  one space\n"),
        (Text, b"a\n b\r\nc", "data:a\ndata:  b\ndata:c\n"),
        (Binary, b"\0\xff\n", "data:AP8K\n"),
    ];
    for (kind, payload, data) in rows {
        let one = One::new("c", *kind, payload, Some("names are not told here"));
        let expected = format!(
            "event: data\n{data}\nevent: control\n\
             data:{{\"streamNextOffset\":\"@\",\"streamCursor\":\"77\",\"upToDate\":true}}\n\n"
        );
        let got = String::from_utf8(one.encode(DURABLE)).unwrap();
        assert_eq!(got, with_offset(&one, &expected), "{payload:?}");
    }
}

#[test]
fn an_entry_as_json() {
    let rows: &[(ContentKind, &[u8], Option<&str>, &str)] = &[
        (Json, b"[1, 2]", None, "\"data\":[1, 2]"),
        (
            Json,
            b"1",
            Some("a \"b\""),
            "\"event\":\"a \\\"b\\\"\",\"data\":1",
        ),
        (Text, b"a\n\"\\\0", None, "\"data\":\"a\\n\\\"\\\\\\u0000\""),
        (Text, b"", None, "\"data\":\"\""),
        (
            Text,
            "\u{e9}\u{2028}".as_bytes(),
            None,
            "\"data\":\"\u{e9}\\u2028\"",
        ),
        (Binary, b"\0\xff\n", None, "\"data64\":\"AP8K\""),
    ];
    for (kind, payload, event, members) in rows {
        let one = One::new("a \"b\"/c", *kind, payload, *event);
        let members = with_offset(
            &one,
            &format!("\"offset\":\"@\",\"time\":{TIME_MS},{members}"),
        );
        let line = String::from_utf8(one.encode(NDJSON)).unwrap();
        assert_eq!(line, format!("{{{members}}}\n"), "{payload:?}");
        let frame = one.encode(SESSION);
        let (head, message) = unframe(&frame);
        let message = std::str::from_utf8(message).unwrap();
        let expected = format!("{{\"ev\":\"entry\",\"channel\":\"a \\\"b\\\"/c\",{members}}}");
        assert_eq!((head, message), (0x81, &*expected), "{payload:?}");
    }
}

#[test]
fn an_entry_as_a_message_of_a_raw_websocket() {
    for (kind, payload, head) in [
        (Json, "{}".as_bytes(), 0x81),
        (Text, b"", 0x81),
        (Text, b"a\r\n", 0x81),
        (Binary, b"\0\xff", 0x82),
        (Binary, &[7; 70_000], 0x82),
    ] {
        let one = One::new("c", kind, payload, Some("names are not told here"));
        let frame = one.encode(RAW);
        assert_eq!(unframe(&frame), (head, payload));
    }
}

#[test]
fn what_a_reader_is_told_besides_entries() {
    let one = One::new("c", Text, b"hello", None);
    let offset = one.offset();
    let gap = Gap {
        oldest: offset,
        newest: offset,
    };
    let cursor = StreamCursor(77);
    let told = |framing, notice| with_lines(&one.notice(framing, notice));
    let rows = [
        (
            EVENTS,
            Notice::Gap(&gap),
            "id: @\nevent: gap\ndata: {\"oldest\":\"@\",\"newest\":\"@\"}\n\n",
        ),
        (
            EVENTS,
            Notice::Closed(&offset),
            "id: @\nevent: closed\ndata: {\"offset\":\"@\"}\n\n",
        ),
        (
            NDJSON,
            Notice::Gap(&gap),
            "{\"gap\":{\"oldest\":\"@\",\"newest\":\"@\"}}\n",
        ),
        (NDJSON, Notice::Closed(&offset), "{\"closed\":true}\n"),
        (
            DURABLE,
            Notice::UpToDate(&offset, cursor),
            "event: control\ndata:{\"streamNextOffset\":\"@\",\"streamCursor\":\"77\",\"upToDate\":true}\n\n",
        ),
        (
            DURABLE,
            Notice::Closed(&offset),
            "event: control\ndata:{\"streamNextOffset\":\"@\",\"upToDate\":true,\"streamClosed\":true}\n\n",
        ),
        (
            RAW,
            Notice::Closed(&offset),
            "\u{88}\u{17}\u{3}\u{e8}the channel is closed",
        ),
        (
            SESSION,
            Notice::Closed(&offset),
            "\u{81}\u{43}{\"ev\":\"closed\",\"channel\":\"c\",\"offset\":\"@\"}",
        ),
        (
            SESSION,
            Notice::Gap(&gap),
            "\u{81}\u{67}{\"ev\":\"gap\",\"channel\":\"c\", \"oldest\":\"@\",\"newest\":\"@\"}",
        ),
    ];
    for (framing, notice, expected) in rows {
        assert_eq!(
            told(framing, notice),
            with_offset(&one, expected),
            "{framing:?}"
        );
    }
}

/// Bytes as text, one character each, so that frames can stand in a table.
fn with_lines(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Whatever is told in chunks is told without them over HTTP/2, in the same bytes; only an end is complete.
#[test]
fn chunks_say_what_a_bare_body_says() {
    let one = One::new("c", Text, b"a\nb", Some("tick"));
    let offset = one.offset();
    let gap = Gap {
        oldest: offset,
        newest: offset,
    };
    for bare in BARE {
        let Some(chunked) = chunked(bare) else {
            continue;
        };
        assert_eq!(dechunk(&one.encode(chunked)), (one.encode(bare), false));
        for (notice, ends) in [
            (Notice::Gap(&gap), false),
            (Notice::UpToDate(&offset, StreamCursor(u64::MAX)), false),
            (Notice::Closed(&offset), true),
        ] {
            // A session goes on when one of its channels has ended.
            let ends = ends && !matches!(bare, Framing::Session(_));
            assert_eq!(
                dechunk(&one.notice(chunked, notice)),
                (one.notice(bare, notice), ends),
                "{bare:?} {notice:?}"
            );
        }
        let words = |write: &dyn Fn(Framing, &mut bytes::BytesMut)| {
            let (mut in_chunks, mut plain) = (bytes::BytesMut::new(), bytes::BytesMut::new());
            write(chunked, &mut in_chunks);
            write(bare, &mut plain);
            let (said, ends) = dechunk(&in_chunks);
            assert_eq!(said, plain, "{bare:?}");
            ends
        };
        assert!(!words(&|framing, out| framing.encode_heartbeat(out)));
        assert!(!words(
            &|framing, out| framing.encode_preamble(u64::MAX, out)
        ));
        assert!(words(&|framing, out| framing.encode_drain(u64::MAX, out)));
        assert!(words(&|framing, out| framing.encode_end(out)));
    }
}

/// Parsers in several languages make a message of whatever stands before an empty line, and some remember an id while
/// they do. So an empty line stands after data alone, and a line of its own is enough for all else.
#[test]
fn nothing_in_an_event_stream_is_an_empty_message() {
    let one = One::new("c", Text, b"a\n\nb", Some("tick"));
    let offset = one.offset();
    let gap = Gap {
        oldest: offset,
        newest: offset,
    };
    for framing in [
        EVENTS,
        Framing::PulsingEventStream(Transfer::Bare),
        DURABLE,
        Framing::Session(Carrier::EventStream(Transfer::Bare)),
    ] {
        let mut parts = vec![
            one.encode(framing).to_vec(),
            one.notice(framing, Notice::Gap(&gap)).to_vec(),
            one.notice(framing, Notice::Closed(&offset)).to_vec(),
            one.notice(framing, Notice::UpToDate(&offset, StreamCursor(1)))
                .to_vec(),
        ];
        for write in [
            |framing: Framing, out: &mut bytes::BytesMut| framing.encode_preamble(2000, out),
            |framing: Framing, out: &mut bytes::BytesMut| framing.encode_heartbeat(out),
            |framing: Framing, out: &mut bytes::BytesMut| framing.encode_drain(2000, out),
        ] {
            let mut out = bytes::BytesMut::new();
            write(framing, &mut out);
            parts.push(out.to_vec());
        }
        // In any order: what is said of one thing never ends within what is said of another.
        for first in &parts {
            for second in &parts {
                let said = String::from_utf8([&first[..], second, first].concat()).unwrap();
                let (ended, _) = said.rsplit_once("\n\n").unwrap_or(("", ""));
                for block in ended.split("\n\n").filter(|_| !ended.is_empty()) {
                    let has_data = block.lines().any(|line| line.starts_with("data:"));
                    assert!(has_data, "{framing:?}: {block:?} is an empty message");
                }
            }
        }
    }
    let mut out = bytes::BytesMut::new();
    Framing::PulsingEventStream(Transfer::Bare).encode_heartbeat(&mut out);
    assert_eq!(out, "event: heartbeat\ndata: {}\n\n");
}
