//! How many bytes of WebSocket messages the codec takes in a second.
//!
//! A masked message of 1 MiB is given to it in reads of some size, from a buffer into which each read was
//! copied before, as the system does it. Only the codec is timed. Beside it stands a plain copy of as many
//! bytes, since the machine's memory is the limit of both.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use everwire_websocket::{
    Event, Inbound, MessageKind, Role, Rules, Scratch,
    frame::{FrameHead, FrameKind},
    mask,
};

/// Measures and prints the table.
pub fn print() {
    let (from, mut to) = (vec![1_u8; BYTES], vec![0_u8; BYTES]);
    let copy = median(|| {
        let before = Instant::now();
        black_box(&mut to).copy_from_slice(black_box(&from));
        before.elapsed()
    });
    row("copy 1 MiB", copy, copy);
    for (name, unit) in [
        ("ASCII", "The tide is in, and so are we. "),
        ("mixed", "Grüße aus 東京, это прилив 🌊! "),
    ] {
        let text = text(unit);
        let whole = framed(&text, usize::MAX);
        let fragments = framed(&text, 16 << 10);
        for (how, bytes, reads) in [
            ("one read", &whole, Reads::Of(usize::MAX)),
            ("64 KiB reads", &whole, Reads::Of(64 << 10)),
            ("16 KiB reads", &whole, Reads::Of(16 << 10)),
            ("reads of up to 32 KiB", &whole, Reads::UpTo(32 << 10)),
            (
                "16 KiB fragments, 64 KiB reads",
                &fragments,
                Reads::Of(64 << 10),
            ),
        ] {
            let mut decoder = Decoder::default();
            let time = median(|| decoder.decode(bytes, reads));
            row(&format!("{name} text, {how}"), time, copy);
        }
    }
}

fn row(what: &str, time: Duration, copy: Duration) {
    let gigabytes = BYTES as f64 / 1e9 / time.as_secs_f64();
    let ratio = copy.as_secs_f64() / time.as_secs_f64();
    println!("{what:44} {gigabytes:>6.2} GB/s  {ratio:>5.2} of the copy");
}

/// How the bytes of a message arrive.
#[derive(Clone, Copy)]
enum Reads {
    /// In reads of this size.
    Of(usize),
    /// In reads of any size from 1 to this.
    UpTo(usize),
}

impl Reads {
    /// The size of the next read, drawn from `state` where it varies.
    fn next(self, state: &mut u64) -> usize {
        match self {
            Self::Of(bytes) => bytes,
            Self::UpTo(bytes_max) => {
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                1 + (*state >> 33) as usize % bytes_max
            }
        }
    }
}

/// One connection's receiving half, and the buffer that it is read into.
#[derive(Default)]
struct Decoder {
    inbound: Inbound,
    scratch: Scratch,
    buffer: Vec<u8>,
    draws: u64,
}

impl Decoder {
    /// Decodes a message, and tells how long the codec took.
    fn decode(&mut self, mut bytes: &[u8], reads: Reads) -> Duration {
        let (mut spent, mut delivered) = (Duration::ZERO, 0);
        while !bytes.is_empty() {
            let len = reads.next(&mut self.draws).min(bytes.len());
            let (read, rest) = bytes.split_at(len);
            bytes = rest;
            self.buffer.clear();
            self.buffer.extend_from_slice(read);
            let before = Instant::now();
            self.inbound
                .handle_bytes(&RULES, &mut self.scratch, &mut self.buffer, &mut |event| {
                    if let Event::Message(_, payload) = black_box(event) {
                        delivered += payload.len();
                    }
                })
                .expect("the frames are valid");
            spent += before.elapsed();
        }
        assert!(delivered > BYTES - 64, "the message was delivered whole");
        spent
    }
}

fn median(mut measure: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| measure()).collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

/// Nearly 1 MiB of a text, whole characters only.
fn text(unit: &str) -> Vec<u8> {
    unit.repeat(BYTES / unit.len()).into_bytes()
}

/// The text as one message of a client, in frames of at most `frame_bytes` each.
fn framed(text: &[u8], frame_bytes: usize) -> BytesMut {
    let mut out = BytesMut::new();
    let frames = text.len().div_ceil(frame_bytes);
    for (index, payload) in text.chunks(frame_bytes).enumerate() {
        let fin = index + 1 == frames;
        let kind = match index {
            0 => FrameKind::First {
                kind: MessageKind::Text,
                compressed: false,
                fin,
            },
            _ => FrameKind::Continuation { fin },
        };
        let head = FrameHead {
            kind,
            mask: Some(KEY),
            payload_len: payload.len() as u64,
        };
        head.encode(&mut out);
        let start = out.len();
        out.extend_from_slice(payload);
        mask(KEY, 0, &mut out[start..]);
    }
    out
}

const BYTES: usize = 1 << 20;

const ROUNDS: usize = 401;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const RULES: Rules = Rules {
    role: Role::Server,
    message_bytes_max: BYTES,
    deflate: None,
};
