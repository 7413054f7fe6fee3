//! Logs: appending, reading from a position, and the small grammars around them.

use std::hint::black_box;

use bytes::Bytes;
use everwire_channel::{
    Append, Channel, ChannelName, ContentKind, ContentType, Draft, Epoch, IdempotencyKey, Mark,
    Offset, Producer, Read, Retention, Setup, Start, split,
};

use super::{JSON_128, NOW_MS, OFFSET};
use crate::measure::{MANY, operation, repeated};

pub fn run() {
    appending();
    reading();
    splitting();
    grammars();
}

fn appending() {
    let content_type = ContentType::json();
    let plain = || Append {
        entries: vec![Draft::from(Bytes::from(JSON_128))],
        content_type: Some(&content_type),
        ..Append::default()
    };
    let mut channel = filled(1000, 1_000_000);
    operation("append an entry", MANY, plain, |append| {
        take(&mut channel, append);
    });
    let mut channel = filled(1000, 1000);
    operation(
        "append an entry, at the limit of entries",
        MANY,
        plain,
        |append| {
            take(&mut channel, append);
        },
    );
    let mut channel = filled(1000, 1000);
    let mut seq = 0..;
    operation(
        "append an entry of a producer",
        MANY,
        || {
            let seq = seq.next().expect("numbers do not end");
            let producer = Producer::new("order-service-1", 0, seq).expect("a producer");
            Append {
                producer: Some(producer),
                ..plain()
            }
        },
        |append| take(&mut channel, append),
    );
    // As many as are remembered, so that each new one makes the channel forget one.
    let keys: Vec<String> = (0..2000)
        .map(|n| format!("0198f3c2-7d1e-7a44-9c1b-{n:012}"))
        .collect();
    let keyed = |key| Append {
        idempotency_key: Some(IdempotencyKey::new(key).expect("a key")),
        ..plain()
    };
    let mut channel = filled(1000, 1000);
    let mut next = keys.iter();
    for key in next.by_ref().take(1024) {
        take(&mut channel, &mut keyed(key));
    }
    operation(
        "append an entry with an idempotency key",
        MANY,
        || keyed(next.next().expect("there are enough keys")),
        |append| take(&mut channel, append),
    );
    let known = &keys[1500..1501];
    take(&mut channel, &mut keyed(&known[0]));
    operation(
        "repeat an append with an idempotency key",
        MANY,
        || keyed(&known[0]),
        |append| take(&mut channel, append),
    );
}

fn reading() {
    let channel = filled(1000, 1000);
    let log = channel.log();
    repeated("read a page of 100 entries", || {
        let Read::Entries(entries) = black_box(log).after(800) else {
            panic!("entries follow");
        };
        for (sequence, entry) in entries.take(100) {
            black_box((sequence, entry.payload.len()));
        }
    });
    repeated("read the newest entry", || {
        let Read::Entries(entries) = black_box(log).after(999) else {
            panic!("an entry follows");
        };
        for (sequence, entry) in entries {
            black_box((sequence, entry.payload.len()));
        }
    });
    let start = Start::After(log.offset_at(900).expect("it is kept"));
    repeated("find an offset in the log", || {
        black_box(black_box(log).locate(&start)).expect("it is kept");
    });
}

fn splitting() {
    let one = Bytes::from(JSON_128);
    let batch = Bytes::from(format!("[{}]", vec![JSON_128; 100].join(",")));
    for (name, kind, body) in [
        ("split a JSON body of one entry", ContentKind::Json, &one),
        (
            "split a JSON batch of 100 entries",
            ContentKind::Json,
            &batch,
        ),
        ("split a text body", ContentKind::Text, &one),
    ] {
        operation(
            name,
            MANY,
            || body.clone(),
            |body| {
                black_box(split(kind, body.clone(), 1000)).expect("the body is valid");
            },
        );
    }
}

fn grammars() {
    repeated("write an offset", || {
        black_box(black_box(OFFSET).to_token());
    });
    let token = OFFSET.to_string();
    repeated("parse an offset", || {
        black_box(black_box(&token).parse::<Offset>()).expect("a token");
    });
    for (name, path) in [
        ("parse a channel's name", "chat/lobby/the-quiet-room/42"),
        (
            "parse a percent-encoded name",
            "chat/caf%C3%A9/the-quiet-room/42",
        ),
    ] {
        repeated(name, || {
            black_box(ChannelName::from_path(black_box(path))).expect("a name");
        });
    }
    for (name, text) in [
        ("parse a content type", "application/json"),
        (
            "parse a content type with a parameter",
            "application/json; charset=utf-8",
        ),
    ] {
        repeated(name, || {
            let parsed = black_box(text).parse::<ContentType>();
            black_box(parsed).expect("a content type");
        });
    }
}

/// A channel with entries in it, whose log has as much room as it will need.
fn filled(entries: usize, entries_max: u64) -> Channel {
    let setup = Setup {
        retention: Retention {
            entries_max,
            bytes_max: u64::MAX,
            age_max_ms: None,
        },
        ..Setup::new(Epoch(7), Mark(7))
    };
    let mut channel = Channel::new(setup, NOW_MS);
    let content_type = ContentType::json();
    for _ in 0..entries {
        let mut append = Append {
            entries: vec![Draft::from(Bytes::from(JSON_128))],
            content_type: Some(&content_type),
            ..Append::default()
        };
        take(&mut channel, &mut append);
    }
    channel
}

fn take(channel: &mut Channel, append: &mut Append<'_>) {
    let answer = channel.append(std::mem::take(append), NOW_MS);
    black_box(answer).expect("the append is valid");
}
