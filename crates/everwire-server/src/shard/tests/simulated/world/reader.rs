//! A reader of the simulated world: what it does to its connection, and what it must hear.

use std::collections::VecDeque;

use everwire_channel::Offset;
use everwire_websocket::CloseCode;
use everwire_wire::{Framing, codes};
use serde_json::Value;

use super::{End, Life};

/// How a reader takes what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// All of it at once.
    All,
    /// So many bytes more, at most so many at a time.
    Bytes { room: usize, bite: usize },
}

/// One reader of one life of a channel. It checks all that it hears against what was published.
pub struct Reader {
    pub peer: End,
    /// The shard that its line is on.
    pub core: usize,
    /// Which life of which channel it reads.
    pub life: usize,
    pub framing: Framing,
    /// The last entry that it has or was told it missed.
    pub sequence: u64,
    pub state: State,
    /// It has always taken everything at once and answered each ping.
    pub prompt: bool,
    /// It answers no pings.
    pub deaf: bool,
    /// For how long it took nothing since it last heard something, in milliseconds.
    pub starved_ms: u64,
    /// What was heard and is not whole yet.
    unparsed: Vec<u8>,
    /// What it was about to say.
    unsaid: Vec<u8>,
    /// The pings it sent that were not answered yet.
    pings: VecDeque<u8>,
    pings_sent: u8,
    /// It published something.
    spoke: bool,
}

/// How a reader stands with its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// It has left by itself: whatever the line does now is right.
    Left,
    /// It was told why, and hears no more.
    Told,
    /// The connection ended.
    Over,
}

impl Reader {
    pub fn new(peer: End, core: usize, life: usize, framing: Framing, sequence: u64) -> Self {
        Self {
            peer,
            core,
            life,
            framing,
            sequence,
            state: State::Open,
            prompt: true,
            deaf: false,
            starved_ms: 0,
            unparsed: Vec::new(),
            unsaid: Vec::new(),
            pings: VecDeque::new(),
            pings_sent: 0,
            spoke: false,
        }
    }

    /// Takes more, as much as it pleases.
    pub fn eat(&mut self, appetite: Appetite) {
        match appetite {
            Appetite::All => self.peer.take(usize::MAX, usize::MAX),
            Appetite::Bytes { room, bite } => {
                self.prompt = false;
                self.peer.take(room, bite);
            }
        }
    }

    /// Sends a ping, of which the last `later` bytes wait until it says more.
    pub fn ping(&mut self, later: usize) {
        if self.framing.is_websocket() && self.state == State::Open {
            self.pings_sent = self.pings_sent.wrapping_add(1);
            self.pings.push_back(self.pings_sent);
            self.say(0x89, &[self.pings_sent], later);
        }
    }

    /// Publishes a message, of which the last `later` bytes wait until it says more.
    pub fn publish(&mut self, later: usize) {
        if matches!(self.framing, Framing::Raw { .. }) && self.state == State::Open {
            self.spoke = true;
            self.say(0x81, b"said by a reader", later);
        }
    }

    /// Closes its line in good order, where its wire has a way to.
    pub fn close(&mut self) {
        match self.framing.is_websocket() {
            true => self.say(0x88, &1000u16.to_be_bytes(), 0),
            false => self.peer.end(),
        }
    }

    /// Says what it was about to say.
    pub fn speak_out(&mut self) {
        let unsaid = std::mem::take(&mut self.unsaid);
        self.peer.say(&unsaid);
    }

    /// Hears what came, and answers pings.
    pub fn hear(&mut self, life: &Life) {
        let heard = self.peer.heard();
        if self.peer.has_taken(&heard) {
            self.starved_ms = 0;
        }
        self.unparsed.extend(heard);
        let mut at = 0;
        while let Some(length) = self.hear_one(at, life) {
            at += length;
        }
        self.unparsed.drain(..at);
        if self.peer.is_ended() && self.state != State::Over {
            let told = matches!(self.state, State::Told | State::Left);
            assert!(
                told || self.may_be_cut(life),
                "a reader was cut without cause"
            );
            assert!(
                self.state != State::Told || self.unparsed.is_empty(),
                "a torn frame"
            );
            self.state = State::Over;
            self.peer.end();
        }
    }

    /// Whether it has everything, was answered everything, and hears nothing half.
    pub fn assert_content(&self, life: &Life) {
        if self.state == State::Open {
            assert_eq!(
                self.sequence,
                life.entries.len() as u64,
                "{:?}",
                self.framing
            );
            assert_eq!(self.unparsed, b"", "a torn frame");
            assert!(self.pings.is_empty(), "a ping was not answered");
            assert!(!life.deleted, "the end was not told");
        }
    }

    /// Whether it gave cause to be cut: by taking nothing, by silence, or inside an entry that was gone before the
    /// line could hold it.
    fn may_be_cut(&self, life: &Life) -> bool {
        let is_inside = !self.unparsed.is_empty() || self.peer.is_torn();
        let lost = is_inside && life.oldest() > self.sequence;
        !self.prompt && (self.starved_ms >= STALL_MS || self.deaf || lost)
    }

    fn say(&mut self, head: u8, payload: &[u8], later: usize) {
        self.unsaid
            .extend([head, 0x80 | payload.len() as u8, 0, 0, 0, 0]);
        self.unsaid.extend(payload);
        let now = self.unsaid.len().saturating_sub(later);
        let now: Vec<u8> = self.unsaid.drain(..now).collect();
        self.peer.say(&now);
    }

    /// Hears the frame or chunk that begins at `at`, and tells how long it is, once it is whole.
    fn hear_one(&mut self, at: usize, life: &Life) -> Option<usize> {
        let bytes = &self.unparsed[at..];
        assert!(
            bytes.is_empty() || self.state != State::Told,
            "something follows the end"
        );
        if !self.framing.is_websocket() {
            let (chunk, length) = chunk(bytes)?;
            match chunk.is_empty() {
                true => self.state = State::Told,
                false => self.hear_json(&chunk, life),
            }
            return Some(length);
        }
        let (opcode, payload, length) = frame(bytes)?;
        match opcode {
            0x81 => match self.framing {
                Framing::Raw { .. } => self.hear_entry(&payload, life),
                _ => self.hear_json(&payload, life),
            },
            0x88 => self.hear_close(&payload, life),
            0x89 if self.deaf => self.prompt = false,
            0x89 => self.say(0x8a, b"", 0),
            0x8a => assert_eq!(self.pings.pop_front(), payload.first().copied(), "a pong"),
            other => panic!("a frame that begins with {other:#x}"),
        }
        Some(length)
    }

    fn hear_json(&mut self, text: &[u8], life: &Life) {
        let told: Value = serde_json::from_slice(text).expect("whole JSON");
        let sequence = |token: &Value| {
            let offset: Offset = token.as_str().unwrap().parse().unwrap();
            offset.sequence
        };
        let gap = told
            .get("gap")
            .or_else(|| told.get("oldest").map(|_| &told));
        if let Some(data) = told.get("data") {
            assert_eq!(
                sequence(&told["offset"]),
                self.sequence + 1,
                "each entry once"
            );
            self.hear_entry(data.as_str().unwrap().as_bytes(), life);
        } else if let Some(gap) = gap {
            let oldest = sequence(&gap["oldest"]);
            assert!(oldest > self.sequence, "a gap in which nothing was lost");
            assert!(oldest <= life.oldest(), "a gap over entries that are kept");
            assert!(!self.prompt || self.sequence < life.oldest());
            self.sequence = oldest;
        } else if told.get("closed").is_some() || told["ev"] == "closed" {
            self.hear_end(life);
        } else if told.get("drain").is_none() && told["ev"] != "drain" {
            let is_heartbeat = told == serde_json::json!({}) || told["ev"] == "ping";
            assert!(is_heartbeat, "{told}");
        }
    }

    fn hear_entry(&mut self, payload: &[u8], life: &Life) {
        let expected = life.entries.get(self.sequence as usize);
        let expected = expected.expect("an entry that was not published");
        assert_eq!(payload, expected, "entry {}", self.sequence + 1);
        self.sequence += 1;
    }

    fn hear_close(&mut self, payload: &[u8], life: &Life) {
        let code = CloseCode::from_wire(u16::from_be_bytes([payload[0], payload[1]])).unwrap();
        match code {
            CloseCode::NORMAL if self.state == State::Left => {}
            CloseCode::NORMAL => self.hear_end(life),
            codes::GAP => assert!(life.oldest() > self.sequence, "nothing was lost"),
            codes::HEARTBEAT_MISSED => assert!(!self.prompt, "it answered each ping"),
            CloseCode::GOING_AWAY => {}
            code => assert!(self.spoke && life.deleted, "{code:?}"),
        }
        self.state = State::Told;
    }

    fn hear_end(&self, life: &Life) {
        assert!(life.deleted, "the channel goes on");
        assert_eq!(
            self.sequence,
            life.entries.len() as u64,
            "the end came early"
        );
    }
}

/// The frame that `bytes` begin with: its first byte, payload and length, once it is whole.
pub fn frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (start, length) = match *bytes.get(1)? {
        126 => (
            4,
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())),
        ),
        127 => (
            10,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()),
        ),
        length => (2, u64::from(length)),
    };
    let end = start + length as usize;
    Some((bytes[0], bytes.get(start..end)?.to_vec(), end))
}

/// The chunk that `bytes` begin with and its whole length, once it is whole; the last chunk is empty.
pub fn chunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let start = bytes.windows(2).position(|end| end == b"\r\n")? + 2;
    let digits = std::str::from_utf8(&bytes[..start - 2]).unwrap();
    let end = start + usize::from_str_radix(digits, 16).expect("a chunk's size");
    let whole = bytes.get(..end + 2)?;
    assert_eq!(whole[end..], *b"\r\n", "a chunk's end");
    Some((whole[start..end].to_vec(), end + 2))
}

/// As long as `limits.write_stall_ms` of the default settings.
const STALL_MS: u64 = 30_000;
