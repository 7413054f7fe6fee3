//! A channel's log with entries to write, and every framing to write them in.

#![allow(dead_code, reason = "each test file uses its part")]

use bytes::{Bytes, BytesMut};
use everwire_channel::{
    ChannelName, ContentKind, Draft, Entry, Epoch, EventName, Log, Mark, Offset, Read, Retention,
};
use everwire_wire::{
    Carrier, Deflaters, Framing, Notice, Source, Standing, StreamCursor, Transfer,
};

/// The time of every entry.
pub const TIME_MS: u64 = 1_790_000_000_000;

pub const CURSOR: StreamCursor = StreamCursor(77);

/// The framings that are not divided into chunks.
pub const BARE: [Framing; 9] = [
    Framing::Raw { window: None },
    Framing::Session(Carrier::WebSocket { window: None }),
    Framing::Session(Carrier::EventStream(Transfer::Bare)),
    Framing::Session(Carrier::Ndjson(Transfer::Bare)),
    Framing::Session(Carrier::Poll),
    Framing::EventStream(Transfer::Bare),
    Framing::PulsingEventStream(Transfer::Bare),
    Framing::DurableEventStream(Transfer::Bare),
    Framing::Ndjson(Transfer::Bare),
];

/// One entry in a log of its own.
pub struct One {
    pub name: ChannelName,
    pub kind: ContentKind,
    log: Log,
}

impl One {
    pub fn new(name: &str, kind: ContentKind, payload: &[u8], event: Option<&str>) -> Self {
        Self::with(name, kind, None, payload, event)
    }

    /// An entry with a kind of its own, in a channel whose type would read it as `kind`.
    pub fn with(
        name: &str,
        kind: ContentKind,
        own: Option<ContentKind>,
        payload: &[u8],
        event: Option<&str>,
    ) -> Self {
        let retention = Retention {
            entries_max: 10,
            bytes_max: u64::MAX,
            age_max_ms: None,
        };
        let mut log = Log::new(Epoch(5), Mark(6), retention);
        let draft = Draft {
            payload: Bytes::copy_from_slice(payload),
            kind: own,
            event: event.map(|event| EventName::new(event).unwrap()),
            publisher: None,
        };
        log.append(draft, TIME_MS);
        Self {
            name: name.parse().unwrap(),
            kind,
            log,
        }
    }

    pub fn offset(&self) -> Offset {
        self.log.head()
    }

    pub fn source(&self) -> Source<'_> {
        Source {
            name: &self.name,
            kind: self.kind,
        }
    }

    pub fn entry(&self) -> &Entry {
        let Read::Entries(mut entries) = self.log.after(0) else {
            unreachable!("there is one entry")
        };
        entries.next().unwrap().1
    }

    /// The entry, for a reader that has all there is after it.
    pub fn encode(&self, framing: Framing) -> Vec<u8> {
        let standing = Standing {
            up_to_date: true,
            cursor: CURSOR,
        };
        let mut out = BytesMut::new();
        framing.encode_entry(
            &self.source(),
            &self.offset(),
            self.entry(),
            standing,
            &mut Deflaters::default(),
            &mut out,
        );
        out.to_vec()
    }

    pub fn notice(&self, framing: Framing, notice: Notice<'_>) -> Vec<u8> {
        let mut out = BytesMut::new();
        framing.encode_notice(&self.source(), notice, &mut out);
        out.to_vec()
    }
}

/// The same framing with a body in chunks; `None` for WebSocket.
pub fn chunked(framing: Framing) -> Option<Framing> {
    let transfer = Transfer::Chunked;
    match framing {
        Framing::Raw { .. } | Framing::Session(Carrier::WebSocket { .. } | Carrier::Poll) => None,
        Framing::Session(Carrier::EventStream(_)) => {
            Some(Framing::Session(Carrier::EventStream(transfer)))
        }
        Framing::Session(Carrier::Ndjson(_)) => Some(Framing::Session(Carrier::Ndjson(transfer))),
        Framing::EventStream(_) => Some(Framing::EventStream(transfer)),
        Framing::PulsingEventStream(_) => Some(Framing::PulsingEventStream(transfer)),
        Framing::DurableEventStream(_) => Some(Framing::DurableEventStream(transfer)),
        Framing::Ndjson(_) => Some(Framing::Ndjson(transfer)),
    }
}

/// What a chunked body says (RFC 9112, section 7.1), and whether it is complete.
pub fn dechunk(mut body: &[u8]) -> (Vec<u8>, bool) {
    let mut said = Vec::new();
    while !body.is_empty() {
        let line = body.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = std::str::from_utf8(&body[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let (chunk, rest) = body[line + 2..].split_at(size);
        said.extend_from_slice(chunk);
        body = rest
            .strip_prefix(b"\r\n")
            .expect("a chunk ends where it said");
        if size == 0 {
            assert!(body.is_empty(), "nothing follows the last chunk");
            return (said, true);
        }
    }
    (said, false)
}
