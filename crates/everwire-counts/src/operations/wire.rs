//! Entries as bytes, in each framing; sessions' messages; pages.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use everwire_channel::{ChannelName, ContentKind, Draft, Entry, Epoch, Log, Mark, Read, Retention};
use everwire_websocket::WindowBits;
use everwire_wire::{
    Carrier, Command, Deflaters, Framing, PageForm, Source, Standing, StreamCursor, Tail, Transfer,
    encode_ok, offset_of_reply, page,
};

use super::{JSON_128, NOW_MS, OFFSET};
use crate::measure::{MANY, operation, repeated};

pub fn run() {
    framings();
    tails();
    sessions();
    pages();
}

fn framings() {
    let name = name();
    let log = log();
    let entry = first(&log);
    let (mut deflaters, mut out) = (Deflaters::default(), BytesMut::with_capacity(4096));
    let window = None;
    let compressing = Some(WindowBits::MAX);
    let chunked = Transfer::Chunked;
    for (what, kind, framing) in [
        ("WebSocket", ContentKind::Json, Framing::Raw { window }),
        (
            "compressing WebSocket",
            ContentKind::Json,
            Framing::Raw {
                window: compressing,
            },
        ),
        (
            "session",
            ContentKind::Json,
            Framing::Session(Carrier::WebSocket { window }),
        ),
        (
            "session, text",
            ContentKind::Text,
            Framing::Session(Carrier::WebSocket { window }),
        ),
        (
            "event stream",
            ContentKind::Json,
            Framing::EventStream(chunked),
        ),
        (
            "event stream, text",
            ContentKind::Text,
            Framing::EventStream(chunked),
        ),
        (
            "Durable Streams",
            ContentKind::Json,
            Framing::DurableEventStream(chunked),
        ),
        ("ndjson", ContentKind::Json, Framing::Ndjson(chunked)),
        (
            "ndjson, bytes",
            ContentKind::Binary,
            Framing::Ndjson(chunked),
        ),
    ] {
        let source = Source { name: &name, kind };
        repeated(&format!("write an entry: {what}"), || {
            out.clear();
            framing.encode_entry(&source, &OFFSET, entry, STANDING, &mut deflaters, &mut out);
        });
    }
}

/// What a feed does for each entry beside the framing: one batch of one entry, passed by all.
fn tails() {
    let mut tail = Tail::new(0);
    let mut sequence = 0;
    repeated("pass an entry through a tail", || {
        sequence += 1;
        tail.push_entry(sequence, |out| out.extend_from_slice(JSON_128.as_bytes()));
        tail.seal();
        tail.release(tail.end());
    });
}

fn sessions() {
    let command = format!(
        r#"{{"id":2,"op":"publish","channel":"chat/lobby","data":{JSON_128},"key":"c1-17"}}"#
    );
    repeated("parse a session's publish", || {
        black_box(Command::parse(black_box(&command))).expect("a command");
    });
    let subscribe =
        r#"{"id":1,"op":"subscribe","channel":"chat/lobby","offset":"1k7t2bjma00000000011auafpk"}"#;
    repeated("parse a session's subscribe", || {
        black_box(Command::parse(black_box(subscribe))).expect("a command");
    });
    let mut out = BytesMut::with_capacity(4096);
    repeated("write a session's reply", || {
        out.clear();
        encode_ok(Some("2"), &mut out, |out| offset_of_reply(&OFFSET, out));
    });
}

fn pages() {
    let log = log();
    operation(
        "write a page of 100 entries",
        MANY,
        || (),
        |()| {
            let Read::Entries(entries) = log.after(0) else {
                panic!("entries follow");
            };
            black_box(page(PageForm::Array, 0, entries, None, 1 << 20));
        },
    );
}

fn name() -> ChannelName {
    ChannelName::new("chat/lobby").expect("a name")
}

fn log() -> Log {
    let mut log = Log::new(Epoch(7), Mark(7), Retention::default());
    for _ in 0..100 {
        log.append(Draft::from(Bytes::from(JSON_128)), NOW_MS);
    }
    log
}

fn first(log: &Log) -> &Entry {
    match log.after(0) {
        Read::Entries(mut entries) => entries.next().expect("an entry").1,
        Read::CaughtUp | Read::Gap(_) => panic!("entries follow"),
    }
}

const STANDING: Standing = Standing {
    up_to_date: true,
    cursor: StreamCursor(104_729),
};
