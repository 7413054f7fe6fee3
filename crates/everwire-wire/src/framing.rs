//! The one place where a framing is chosen: each way to write a channel's entries, and what a cursor can meet.

use bytes::{BufMut, BytesMut};
use everwire_channel::{ChannelName, ContentKind, Entry, Gap, Offset};
use everwire_websocket::{
    CloseCode, ContextTakeover, Deflater, Level, WindowBits, encode_close, encode_ping,
};

use crate::{
    carrier::Carrier,
    codes,
    cursor::StreamCursor,
    envelope,
    event_stream::{self, Control},
    ndjson,
    session::message,
    transfer::{LAST_CHUNK, Transfer},
    websocket,
};

/// One way to write a channel's entries as bytes. Lines of the same framing share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// WebSocket, one message an entry; compressed where a window was negotiated.
    Raw {
        /// The server's window of permessage-deflate.
        window: Option<WindowBits<9>>,
    },
    /// A session's JSON messages.
    Session(Carrier),
    /// An event stream for a bare `EventSource`.
    EventStream(Transfer),
    /// The same with heartbeats that a page sees: events in the place of comments.
    PulsingEventStream(Transfer),
    /// An event stream as Durable Streams defines it.
    DurableEventStream(Transfer),
    /// A JSON object a line.
    Ndjson(Transfer),
}

/// What an encoder must know of the channel.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Whose entries these are.
    pub name: &'a ChannelName,
    /// How the payloads of entries without a [kind](Entry::kind) of their own are to be read.
    pub kind: ContentKind,
}

impl Source<'_> {
    /// How the payload of an entry is to be read.
    pub(crate) fn kind_of(&self, entry: &Entry) -> ContentKind {
        entry.kind().unwrap_or(self.kind)
    }
}

/// Where a reader stands after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// It has all there is.
    pub up_to_date: bool,
    /// The cursor to come back with.
    pub cursor: StreamCursor,
}

/// What a reader is told besides entries.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// Entries are gone that the reader still needed; it goes on from the oldest kept one.
    Gap(&'a Gap),
    /// The channel is closed, at this offset; the framing's own end is included.
    Closed(&'a Offset),
    /// The reader has all there is, and no entry said so. Only the Durable Streams dialect does.
    UpToDate(&'a Offset, StreamCursor),
}

/// The compressors of one owner, one for each window in use, made when first needed (190–320 kB each). A
/// broadcast is compressed once per window, never per line.
#[derive(Default)]
pub struct Deflaters {
    by_window: [Option<Box<Deflater>>; 7],
}

impl Deflaters {
    /// The compressor of a window.
    pub fn of(&mut self, window: WindowBits<9>) -> &mut Deflater {
        let slot = &mut self.by_window[usize::from(window.bits() - 9)];
        slot.get_or_insert_with(|| {
            Box::new(Deflater::new(window, Level::FASTEST, ContextTakeover::No))
        })
    }
}

impl Framing {
    /// The media type of a response body in this framing; `None` for WebSocket.
    pub fn content_type(self) -> Option<&'static str> {
        match self {
            Self::Raw { .. } => None,
            Self::Session(carrier) => carrier.content_type(),
            Self::EventStream(_) | Self::PulsingEventStream(_) | Self::DurableEventStream(_) => {
                Some("text/event-stream")
            }
            Self::Ndjson(_) => Some("application/x-ndjson"),
        }
    }

    /// Whether messages of this framing are WebSocket frames.
    pub fn is_websocket(self) -> bool {
        match self {
            Self::Raw { .. } => true,
            Self::Session(carrier) => carrier.is_websocket(),
            Self::EventStream(_)
            | Self::PulsingEventStream(_)
            | Self::DurableEventStream(_)
            | Self::Ndjson(_) => false,
        }
    }

    /// The wire's name, as settings, metrics and the command line have it.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Raw { .. } => "websocket",
            Self::Session(carrier) => carrier.wire(),
            Self::EventStream(_) | Self::PulsingEventStream(_) | Self::DurableEventStream(_) => {
                "event-stream"
            }
            Self::Ndjson(_) => "ndjson",
        }
    }

    /// Writes an entry; `offset` is the position after it. The same entry is always written in the same bytes,
    /// but for what the Durable Streams dialect says after it by `standing`.
    pub fn encode_entry(
        self,
        source: &Source<'_>,
        offset: &Offset,
        entry: &Entry,
        standing: Standing,
        deflaters: &mut Deflaters,
        out: &mut BytesMut,
    ) {
        let kind = source.kind_of(entry);
        match self {
            Self::Raw { window } => websocket::raw_entry(source, entry, window, deflaters, out),
            Self::Session(carrier) => {
                let bytes_max = message::entry_bytes_max(source, entry);
                carrier.message(bytes_max, deflaters, out, |out| {
                    message::entry(source, offset, entry, out);
                });
            }
            Self::EventStream(transfer) | Self::PulsingEventStream(transfer) => {
                transfer.piece(out, event_stream::entry_bytes_max(kind, entry), |out| {
                    event_stream::entry(kind, offset, entry, out);
                });
            }
            Self::DurableEventStream(transfer) => {
                transfer.piece(out, event_stream::entry_bytes_max(kind, entry), |out| {
                    event_stream::durable_entry(kind, entry, out);
                });
                // Its own piece: what varies stands after what does not.
                transfer.piece(out, event_stream::CONTROL_BYTES_MAX, |out| {
                    let control = match standing.up_to_date {
                        true => Control::UpToDate(standing.cursor),
                        false => Control::Behind(standing.cursor),
                    };
                    event_stream::control(offset, &control, out);
                });
            }
            Self::Ndjson(transfer) => {
                transfer.piece(out, envelope::entry_bytes_max(kind, entry) + 3, |out| {
                    ndjson::entry(kind, offset, entry, out);
                });
            }
        }
    }

    /// What stands before everything else in the stream: the reconnection time for an event stream.
    pub fn encode_preamble(self, retry_ms: u64, out: &mut BytesMut) {
        match self {
            Self::EventStream(transfer) | Self::PulsingEventStream(transfer) => {
                transfer.piece(out, 32, |out| event_stream::retry(retry_ms, out));
            }
            Self::Raw { .. } | Self::Session(_) | Self::DurableEventStream(_) | Self::Ndjson(_) => {
            }
        }
    }

    /// Writes a notice. A framing that has no words for it writes nothing, or what keeps the line awake.
    pub fn encode_notice(self, source: &Source<'_>, notice: Notice<'_>, out: &mut BytesMut) {
        match self {
            Self::Raw { .. } => raw_notice(notice, out),
            // A session goes on when one of its channels has ended.
            Self::Session(carrier) => return session_notice(carrier, source, notice, out),
            Self::EventStream(transfer) | Self::PulsingEventStream(transfer) => {
                transfer.piece(out, NOTICE_BYTES_MAX, |out| match notice {
                    Notice::Gap(gap) => event_stream::gap(gap, out),
                    Notice::Closed(offset) => event_stream::closed(offset, out),
                    Notice::UpToDate(..) => event_stream::heartbeat(out),
                });
            }
            Self::DurableEventStream(transfer) => {
                transfer.piece(out, NOTICE_BYTES_MAX, |out| match notice {
                    // This dialect has no gap notice: such a reader is refused with 410, or ended.
                    Notice::Gap(_) => event_stream::heartbeat(out),
                    Notice::Closed(offset) => event_stream::control(offset, &Control::Closed, out),
                    Notice::UpToDate(offset, cursor) => {
                        event_stream::control(offset, &Control::UpToDate(cursor), out);
                    }
                });
            }
            Self::Ndjson(transfer) => transfer.piece(out, NOTICE_BYTES_MAX, |out| match notice {
                Notice::Gap(gap) => ndjson::gap(gap, out),
                Notice::Closed(_) => ndjson::closed(out),
                Notice::UpToDate(..) => ndjson::heartbeat(out),
            }),
        }
        if let Notice::Closed(_) = notice {
            self.encode_end(out);
        }
    }

    /// Shows that the line is alive while nothing happens: a Ping, a comment, an empty object.
    pub fn encode_heartbeat(self, out: &mut BytesMut) {
        match self {
            Self::Raw { .. } => encode_ping(b"", out),
            Self::Session(carrier) => carrier.encode_heartbeat(true, out),
            Self::EventStream(transfer) | Self::DurableEventStream(transfer) => {
                transfer.piece(out, 3, event_stream::heartbeat);
            }
            Self::PulsingEventStream(transfer) => {
                transfer.piece(out, 32, event_stream::heartbeat_event);
            }
            Self::Ndjson(transfer) => transfer.piece(out, 3, ndjson::heartbeat),
        }
    }

    /// Ends a line because the server stops, with the hint to come back after that many milliseconds.
    pub fn encode_drain(self, after_ms: u64, out: &mut BytesMut) {
        match self {
            Self::Raw { .. } => drain_close(after_ms, out),
            Self::Session(carrier) => return carrier.encode_drain(after_ms, out),
            Self::EventStream(transfer) | Self::PulsingEventStream(transfer) => {
                transfer.piece(out, 64, |out| event_stream::retry(after_ms, out));
            }
            Self::DurableEventStream(_) => {}
            Self::Ndjson(transfer) => transfer.piece(out, 64, |out| ndjson::drain(after_ms, out)),
        }
        self.encode_end(out);
    }

    /// Ends a response body; a WebSocket is ended by its Close frame.
    pub fn encode_end(self, out: &mut BytesMut) {
        if let Some(Transfer::Chunked) = self.transfer() {
            out.put_slice(LAST_CHUNK);
        }
    }

    /// Whether a reader in this framing is told when it has all there is.
    pub fn tells_up_to_date(self) -> bool {
        matches!(self, Self::DurableEventStream(_))
    }

    /// Whether a reader in this framing can be told of a gap and go on. The others are ended: a raw WebSocket
    /// carries entries alone, and Durable Streams knows only the answer 410.
    pub fn tells_gaps(self) -> bool {
        match self {
            Self::Raw { .. } | Self::DurableEventStream(_) => false,
            Self::Session(_)
            | Self::EventStream(_)
            | Self::PulsingEventStream(_)
            | Self::Ndjson(_) => true,
        }
    }

    fn transfer(self) -> Option<Transfer> {
        match self {
            Self::Raw { .. } => None,
            Self::Session(carrier) => carrier.transfer(),
            Self::EventStream(transfer)
            | Self::PulsingEventStream(transfer)
            | Self::DurableEventStream(transfer)
            | Self::Ndjson(transfer) => Some(transfer),
        }
    }
}

fn raw_notice(notice: Notice<'_>, out: &mut BytesMut) {
    match notice {
        Notice::Gap(_) => encode_close(
            Some((codes::GAP, "entries are gone that this line needed")),
            out,
        ),
        Notice::Closed(_) => encode_close(Some((CloseCode::NORMAL, CLOSED)), out),
        Notice::UpToDate(..) => {}
    }
}

fn session_notice(carrier: Carrier, source: &Source<'_>, notice: Notice<'_>, out: &mut BytesMut) {
    // A character of a JSON string takes at most six bytes (`\u001f`).
    let bytes_max = NOTICE_BYTES_MAX + 6 * source.name.as_str().len();
    match notice {
        Notice::Gap(gap) => {
            carrier.plain(bytes_max, out, |out| message::gap(source.name, gap, out));
        }
        Notice::Closed(offset) => {
            carrier.plain(bytes_max, out, |out| {
                message::closed(source.name, offset, out);
            });
        }
        Notice::UpToDate(..) => {}
    }
}

pub(crate) fn drain_close(after_ms: u64, out: &mut BytesMut) {
    let reason = format!("the server is stopping; reconnect after {after_ms} ms");
    encode_close(Some((CloseCode::GOING_AWAY, &reason)), out);
}

/// The reason of the Close frame at a channel's end.
const CLOSED: &str = "the channel is closed";

/// No notice is longer than this.
const NOTICE_BYTES_MAX: usize = 255;
