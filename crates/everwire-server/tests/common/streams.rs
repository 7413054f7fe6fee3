//! HTTP/2 as a client speaks it that opens its windows no further than it wants to (RFC 9113).

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use super::Peer;

/// One connection, and what was heard on its streams.
pub struct Streams {
    peer: Peer,
    next: u32,
    /// Bytes that may be sent on the connection, and on streams by their number.
    window: usize,
    windows: HashMap<u32, usize>,
    window_of_new: usize,
    heard: HashMap<u32, Stream>,
    /// What is heard is given back to the server's windows.
    gives_back: bool,
}

/// What was heard on one stream.
#[derive(Default)]
struct Stream {
    /// The block of fields that a response begins with.
    head: Option<Vec<u8>>,
    content: VecDeque<u8>,
    end: Option<End>,
}

/// How a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Ended,
    /// By a reset.
    Cut,
}

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;

impl Streams {
    /// A client that takes all that it is sent.
    pub fn connect(address: SocketAddr) -> Self {
        Self::begin(address, 65_535, true)
    }

    /// A client that takes so many bytes of each stream, and no more.
    pub fn that_take(address: SocketAddr, bytes: u32) -> Self {
        Self::begin(address, bytes, false)
    }

    fn begin(address: SocketAddr, window: u32, gives_back: bool) -> Self {
        let mut peer = Peer::connect(address, None);
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let initial = [&[0, 4][..], &window.to_be_bytes()].concat();
        peer.send(frame(SETTINGS, 0, 0, &initial));
        let mut streams = Self {
            peer,
            next: 1,
            window: 65_535,
            windows: HashMap::new(),
            window_of_new: 65_535,
            heard: HashMap::new(),
            gives_back,
        };
        // The server's settings, by which it takes WebSockets, have come with its answer.
        streams.round_trip();
        streams
    }

    /// Asks for something by GET; tells the stream.
    pub fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> u32 {
        let target = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "x"),
            (":path", path),
        ];
        self.request(&[&target, fields].concat(), 0x5)
    }

    /// Opens a WebSocket; tells the stream.
    pub fn websocket(&mut self, path: &str, fields: &[(&str, &str)]) -> u32 {
        let target = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "x"),
            (":path", path),
            ("sec-websocket-version", "13"),
        ];
        self.request(&[&target, fields].concat(), 0x4)
    }

    /// Asks by fields of one's own; tells the stream. The flags are END_STREAM (1) and END_HEADERS (4).
    pub fn request(&mut self, fields: &[(&str, &str)], flags: u8) -> u32 {
        let stream = self.next;
        self.next += 2;
        let literals = fields.iter().flat_map(|(name, value)| literal(name, value));
        let block: Vec<u8> = literals.collect();
        self.peer.send(frame(HEADERS, flags, stream, &block));
        self.windows.insert(stream, self.window_of_new);
        stream
    }

    /// Sends on a stream, as its windows allow.
    pub fn send(&mut self, stream: u32, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.end(stream).is_none() {
            let sent = self.send_some(stream, bytes);
            if sent == 0 {
                self.hear_one();
            }
            bytes = &bytes[sent..];
        }
    }

    /// Sends what the windows allow now, a frame at most.
    pub fn send_some(&mut self, stream: u32, bytes: &[u8]) -> usize {
        let window = self.windows.get_mut(&stream).expect("an open stream");
        let count = bytes.len().min(*window).min(self.window).min(16_384);
        if count > 0 {
            *window -= count;
            self.window -= count;
            self.peer.send(frame(DATA, 0, stream, &bytes[..count]));
        }
        count
    }

    /// Has no more interest in a stream (CANCEL).
    pub fn reset(&mut self, stream: u32) {
        self.peer.send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }

    /// Asks the same so often, all at once, and hears nothing more than the end of the connection.
    pub fn until_ended_by(mut self, count: u32, fields: &[(&str, &str)], flags: u8) {
        let block: Vec<u8> = (fields.iter())
            .flat_map(|(name, value)| literal(name, value))
            .collect();
        let asks = (0..count).flat_map(|n| frame(HEADERS, flags, self.next + 2 * n, &block));
        let asks: Vec<u8> = asks.collect();
        self.peer.try_send(asks);
        self.peer.rest();
    }

    /// Hears all that the server has sent before it answers a ping.
    pub fn round_trip(&mut self) {
        self.peer.send(frame(PING, 0, 0, b"are you?"));
        while self.hear_one() != (PING, 0x1) {}
    }

    /// Whether a response has come, and the status 200 with it.
    pub fn is_ok(&mut self, stream: u32) -> bool {
        self.status(stream) == 200
    }

    /// The status of a response, when it has come.
    pub fn status(&mut self, stream: u32) -> u16 {
        while self.heard.entry(stream).or_default().head.is_none() {
            self.hear_one();
        }
        status(self.heard[&stream].head.as_ref().unwrap())
    }

    /// Exactly so many bytes of a stream.
    pub fn take(&mut self, stream: u32, count: usize) -> Vec<u8> {
        while self.heard.entry(stream).or_default().content.len() < count {
            assert_eq!(self.end(stream), None, "{count} bytes are to come");
            self.hear_one();
        }
        let heard = self.heard.get_mut(&stream).expect("it was heard");
        heard.content.drain(..count).collect()
    }

    /// What is left of a stream until it ends, and how it does.
    pub fn rest(&mut self, stream: u32) -> (Vec<u8>, End) {
        loop {
            if let Some(end) = self.end(stream) {
                let heard = self.heard.get_mut(&stream).expect("it has ended");
                return (heard.content.drain(..).collect(), end);
            }
            self.hear_one();
        }
    }

    /// How a stream has ended, as far as that was heard.
    pub fn end(&self, stream: u32) -> Option<End> {
        self.heard.get(&stream)?.end
    }

    /// What was heard of a stream and not taken.
    pub fn heard(&self, stream: u32) -> Vec<u8> {
        let heard = self.heard.get(&stream);
        heard.map_or(Vec::new(), |heard| heard.content.iter().copied().collect())
    }

    /// Hears one frame; tells its kind and its flags.
    fn hear_one(&mut self) -> (u8, u8) {
        let head = self.peer.take(9);
        let number = |bytes: &[u8]| {
            let digits = bytes.iter();
            digits.fold(0, |all, byte| all << 8 | u32::from(*byte))
        };
        let payload = self.peer.take(number(&head[..3]) as usize);
        let (kind, flags, stream) = (head[3], head[4], number(&head[5..]));
        let heard = self.heard.entry(stream).or_default();
        match kind {
            HEADERS => heard.head = Some(payload),
            DATA => {
                heard.content.extend(&payload);
                if self.gives_back && !payload.is_empty() {
                    let count = (payload.len() as u32).to_be_bytes();
                    for stream in [0, stream] {
                        self.peer.try_send(frame(WINDOW_UPDATE, 0, stream, &count));
                    }
                }
            }
            // After its end a server may still say that it hears no more (section 8.1).
            RST_STREAM => heard.end = heard.end.or(Some(End::Cut)),
            SETTINGS if flags == 0 => {
                for setting in payload.chunks(6) {
                    if setting[..2] == [0, 4] {
                        self.window_of_new = number(&setting[2..]) as usize;
                    }
                }
                self.peer.send(frame(SETTINGS, 0x1, 0, &[]));
            }
            PING if flags == 0 => {
                self.peer.try_send(frame(PING, 0x1, 0, &payload));
            }
            WINDOW_UPDATE if stream == 0 => self.window += number(&payload) as usize,
            WINDOW_UPDATE => {
                if let Some(window) = self.windows.get_mut(&stream) {
                    *window += number(&payload) as usize;
                }
            }
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & 0x1 != 0 {
            let heard = self.heard.entry(stream).or_default();
            heard.end = Some(End::Ended);
        }
        (kind, flags)
    }
}

/// The status that a connection's first response with it begins with (RFC 7541, appendix A): one of the static table, or
/// three digits in the code of appendix B. Of later ones the connection's own table would have to be kept.
pub fn status(block: &[u8]) -> u16 {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [index @ 0x88..=0x8e, ..] => STATIC[usize::from(index - 0x88)],
        [0x48, length @ 0x82..=0x83, digits @ ..] => {
            let bytes = &digits[..usize::from(length & 0x7f)];
            let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
            let (mut rest, mut status) = (&bits[..], 0);
            for _ in 0..3 {
                let short = u16::from_str_radix(&rest[..5], 2).unwrap();
                let (digit, length) = match short {
                    0..=2 => (short, 5),
                    _ => (u16::from_str_radix(&rest[..6], 2).unwrap() - 0x19 + 3, 6),
                };
                status = status * 10 + digit;
                rest = &rest[length..];
            }
            status
        }
        other => panic!("a response begins with {other:x?}"),
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as it is, neither indexed nor compressed (RFC 7541, section 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        // Section 5.1: a prefix of seven bits, and then seven at a time.
        let mut length = match text.len() {
            short @ ..127 => vec![short as u8],
            long => {
                let rest = long - 127;
                vec![127, (rest & 0x7f) as u8 | 0x80, (rest >> 7) as u8]
            }
        };
        length.extend_from_slice(text.as_bytes());
        length
    };
    [vec![0], text(name), text(value)].concat()
}
