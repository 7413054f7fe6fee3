//! How much is heard of all lines in one turn.
//!
//! ```text
//!  turn ─▶ those who waited ─▶ those who have something to say now ─ ─ 64 KiB ─ ─▶ the others wait for the next turn
//! ```
//!
//! A thousand lines can say 64 KiB each at once. So a turn hears no more than this of all of them together, and then sends
//! what is new to everybody. A command of a session is more work than its few bytes tell, and counts for 256 of them. What is not heard waits in its socket, so that a
//! flood slows down who sends it. Who waited speaks first, a little at a time while others wait, so that who has little to
//! say has said it after a round.

use std::collections::VecDeque;

use super::{LineKey, Net, READ_BYTES, Shard};

/// What was heard in a turn, and who still has something to say.
#[derive(Default)]
pub(super) struct Hearing {
    /// Bytes that were heard of all lines in this turn, and what counts as such.
    heard: usize,
    /// Lines that wait for their turn.
    speakers: VecDeque<LineKey>,
}

/// Once so much was heard in one turn, those who have more to say wait for the next.
pub(super) const HEARD_BYTES: usize = 64 * 1024;

/// Of one line at once, while others wait, and of a session: so many bytes can be a thousand commands.
const LITTLE_BYTES: usize = 16 * 1024;

/// Bytes that a command counts for.
const COMMAND_BYTES: usize = 256;

impl Hearing {
    /// How much to read of one line at once; nothing if enough was heard in this turn.
    pub fn bytes_max(&self, is_session: bool) -> Option<usize> {
        if self.heard >= HEARD_BYTES {
            return None;
        }
        Some(match is_session || !self.speakers.is_empty() {
            true => LITTLE_BYTES,
            false => READ_BYTES,
        })
    }

    /// So many bytes were heard.
    pub fn note(&mut self, bytes: usize) {
        self.heard += bytes;
    }

    /// A command is carried out.
    pub fn note_command(&mut self) {
        self.heard += COMMAND_BYTES;
    }

    /// Bytes that were heard in this turn, or counted for commands.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.heard
    }

    /// Whether nobody waits.
    pub fn is_over(&self) -> bool {
        self.speakers.is_empty()
    }

    /// The next who waited, unless enough was heard.
    fn next(&mut self) -> Option<LineKey> {
        match self.heard < HEARD_BYTES {
            true => self.speakers.pop_front(),
            false => None,
        }
    }
}

impl<N: Net> Shard<N> {
    /// A turn begins: hears those who had to wait, before anybody else.
    pub(super) fn hear_speakers(&mut self) {
        self.hearing.heard = 0;
        while let Some(key) = self.hearing.next() {
            self.go_on(key);
        }
    }

    /// Has a line speak when the others have had their turn. One that asks to go on is heard then.
    pub(super) fn wait_to_speak(&mut self, key: LineKey) {
        if let Some(line) = self.lines.get_mut(key)
            && !std::mem::replace(&mut line.asks_again, true)
        {
            self.hearing.speakers.push_back(key);
        }
    }
}
