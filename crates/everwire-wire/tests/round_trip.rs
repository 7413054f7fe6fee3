//! What was published comes back out of every framing, read as its own standard says.

mod common;

use base64::{Engine, prelude::BASE64_STANDARD};
use common::{BARE, One, chunked, dechunk};
use everwire_channel::ContentKind;
use everwire_wire::{Framing, Transfer};
use proptest::prelude::*;

/// What an event stream dispatches (WHATWG HTML, section 9.2.6): last event ID, event type, data.
fn dispatched(stream: &[u8]) -> Vec<(String, String, String)> {
    let text = std::str::from_utf8(stream).unwrap();
    let (mut events, mut id, mut event, mut data) =
        (Vec::new(), String::new(), String::new(), String::new());
    // Every line is ended by a line feed alone, but a carriage return would end one too.
    for line in text.split(['\n', '\r']) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                if data.pop().is_some() {
                    events.push((
                        id.clone(),
                        std::mem::take(&mut event),
                        std::mem::take(&mut data),
                    ));
                }
                event.clear();
            }
            "id" if !value.contains('\0') => id = value.to_owned(),
            "event" => event = value.to_owned(),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            _ => {}
        }
    }
    events
}

/// The kind of a channel and a payload that it may hold.
fn payload() -> impl Strategy<Value = (ContentKind, Vec<u8>)> {
    let text = prop_oneof!["[ :\r\n\0a-c]{0,40}", "\\PC{0,40}", "[x\n]{0,3000}"];
    let json = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        "\\PC{0,40}".prop_map(|text| serde_json::to_string(&[text]).unwrap()),
    ];
    prop_oneof![
        text.prop_map(|text| (ContentKind::Text, text.into_bytes())),
        json.prop_map(|json| (ContentKind::Json, json.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(|bytes| (ContentKind::Binary, bytes)),
    ]
}

/// A text as an event stream can carry it: of line breaks it knows one kind.
fn with_line_feeds(text: &[u8]) -> String {
    let text = std::str::from_utf8(text).unwrap();
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// What the data of an event stream stands for.
fn expected_data(kind: ContentKind, payload: &[u8]) -> String {
    match kind {
        ContentKind::Text => with_line_feeds(payload),
        ContentKind::Json => String::from_utf8(payload.to_vec()).unwrap(),
        ContentKind::Binary => BASE64_STANDARD.encode(payload),
    }
}

proptest! {
    #[test]
    fn an_event_source_gets_what_was_published((kind, payload) in payload(), event in "[ a-z:]{1,12}") {
        let one = One::new("c", kind, &payload, Some(&event));
        let events = dispatched(&one.encode(Framing::EventStream(Transfer::Bare)));
        // A parser takes one space after the colon away; ours is the first.
        let expected = (one.offset().to_token().to_string(), event, expected_data(kind, &payload));
        prop_assert_eq!(events, vec![expected]);
    }

    #[test]
    fn a_durable_stream_gets_what_was_published((kind, payload) in payload()) {
        let one = One::new("c", kind, &payload, None);
        let events = dispatched(&one.encode(Framing::DurableEventStream(Transfer::Bare)));
        prop_assert_eq!(events.len(), 2);
        let expected = match kind {
            ContentKind::Json => format!("[{}]", expected_data(kind, &payload)),
            ContentKind::Text | ContentKind::Binary => expected_data(kind, &payload),
        };
        prop_assert_eq!((&*events[0].1, &events[0].2), ("data", &expected));
        let control: serde_json::Value = serde_json::from_str(&events[1].2).unwrap();
        prop_assert_eq!(&events[1].1, "control");
        prop_assert_eq!(&control["streamNextOffset"], &one.offset().to_token().to_string());
    }

    #[test]
    fn a_line_of_json_gets_what_was_published((kind, payload) in payload(), event in "\\PC{1,12}") {
        let one = One::new("c", kind, &payload, Some(&event));
        let line = one.encode(Framing::Ndjson(Transfer::Bare));
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let object: serde_json::Value = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(&object["offset"], &one.offset().to_token().to_string());
        prop_assert_eq!(&object["event"], &event);
        match kind {
            ContentKind::Text => prop_assert_eq!(object["data"].as_str().unwrap().as_bytes(), payload),
            ContentKind::Json => prop_assert_eq!(
                &object["data"],
                &serde_json::from_slice::<serde_json::Value>(&payload).unwrap()
            ),
            ContentKind::Binary => {
                let data = object["data64"].as_str().unwrap();
                prop_assert_eq!(BASE64_STANDARD.decode(data).unwrap(), payload);
            }
        }
    }

    /// However long: the size of a chunk is announced by a bound, which must hold.
    #[test]
    fn a_chunk_holds_the_whole_piece((kind, payload) in payload(), event in "\\PC{1,16}") {
        let one = One::new("c", kind, &payload, Some(&event));
        for bare in BARE {
            if let Some(chunked) = chunked(bare) {
                prop_assert_eq!(dechunk(&one.encode(chunked)), (one.encode(bare), false));
            }
        }
    }
}
