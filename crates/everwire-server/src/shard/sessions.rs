//! The sessions that are spoken to by requests: those over HTTP wires, by id.
//!
//! A session lives on a shard. A request that concerns it may come in on any thread: it finds here which shard
//! that is, and whether it may speak for the session.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Mailbox, Pipe};
use crate::{auth::Caller, rate::Account, session_id::SessionId};

/// All sessions over HTTP wires.
pub(crate) struct Sessions {
    parts: Vec<Mutex<HashMap<SessionId, Arc<Remote>>>>,
    hasher: RandomState,
    /// One for each core thread.
    shards: Vec<Arc<Mailbox>>,
    next_shard: AtomicUsize,
}

/// A session as requests see it.
pub(crate) struct Remote {
    pub shard: Arc<Mailbox>,
    secret: Secret,
    speaker: Mutex<Speaker>,
    /// What it is told by polls, if it is not told by a stream.
    pub polls: Option<Polls>,
}

/// Whom a session speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    pub caller: Caller,
    /// Who pays for what it asks for.
    pub account: Account,
}

/// What proves that a request comes from a session's client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secret([u8; 16]);

/// A session's long polls.
pub(crate) struct Polls {
    pub pipe: Arc<Pipe>,
    answers: Mutex<Answers>,
}

/// The answers that were given.
pub(crate) struct Answers {
    /// The number of the newest.
    pub last: u64,
    /// Its content, until it is acknowledged.
    pub unacknowledged: Option<Bytes>,
    /// The number of polls that have come; only the newest waits.
    pub polls: u64,
    /// When a poll last came or was answered, or until when the one waits that came last.
    attended: Instant,
}

const PARTS: usize = 16;

impl Sessions {
    /// No sessions, on these shards.
    pub fn new(shards: Vec<Arc<Mailbox>>) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            shards,
            next_shard: AtomicUsize::new(0),
        }
    }

    /// The shard for one more session that has no socket.
    pub fn some_shard(&self) -> Arc<Mailbox> {
        let next = self.next_shard.fetch_add(1, Ordering::Relaxed);
        self.shards[next % self.shards.len()].clone()
    }

    /// All shards, one for each core thread.
    pub fn shards(&self) -> &[Arc<Mailbox>] {
        &self.shards
    }

    /// Makes a session known.
    pub fn insert(&self, id: SessionId, remote: Remote) -> Arc<Remote> {
        let remote = Arc::new(remote);
        self.part(id).insert(id, remote.clone());
        remote
    }

    /// A session, if it is there.
    pub fn find(&self, id: SessionId) -> Option<Arc<Remote>> {
        self.part(id).get(&id).cloned()
    }

    /// A session is gone.
    pub fn remove(&self, id: SessionId) {
        self.part(id).remove(&id);
    }

    fn part(&self, id: SessionId) -> MutexGuard<'_, HashMap<SessionId, Arc<Remote>>> {
        let part = &self.parts[self.hasher.hash_one(id) as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remote {
    /// A session on a shard.
    pub fn new(
        shard: Arc<Mailbox>,
        secret: Secret,
        speaker: Speaker,
        polls: Option<Polls>,
    ) -> Self {
        Self {
            shard,
            secret,
            speaker: Mutex::new(speaker),
            polls,
        }
    }

    /// Whom it speaks for.
    pub fn speaker(&self) -> Speaker {
        self.lock_speaker().clone()
    }

    /// From now on it speaks for somebody else, or for the same with other rights.
    pub fn speak_for(&self, speaker: Speaker) {
        *self.lock_speaker() = speaker;
    }

    fn lock_speaker(&self) -> MutexGuard<'_, Speaker> {
        self.speaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request that shows this secret speaks for the session.
    pub fn is_opened_by(&self, secret: &str) -> bool {
        let own = self.secret.to_string();
        // Takes the same time wherever they differ, so that a secret cannot be guessed piece by piece.
        let differs = |(a, b): (u8, u8)| a ^ b;
        own.len() == secret.len()
            && own
                .bytes()
                .zip(secret.bytes())
                .map(differs)
                .fold(0, |all, one| all | one)
                == 0
    }
}

impl Polls {
    /// The polls of a session that was given these answers.
    pub fn new(pipe: Arc<Pipe>, answers: Answers) -> Self {
        Self {
            pipe,
            answers: Mutex::new(answers),
        }
    }

    /// The answers, for as long as the guard lives.
    pub fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    /// A session was opened, and its welcome is the first answer.
    pub fn new(welcome: Bytes, now: Instant) -> Self {
        Self {
            last: 1,
            unacknowledged: Some(welcome),
            polls: 0,
            attended: now,
        }
    }

    /// A poll has come, which may wait for so long. What was not acknowledged comes again.
    pub fn repeat(
        &mut self,
        acknowledged: Option<u64>,
        now: Instant,
        wait: Duration,
    ) -> Option<Bytes> {
        self.polls += 1;
        self.attended = now + wait;
        if acknowledged == Some(self.last) {
            self.unacknowledged = None;
        }
        let again = self.unacknowledged.clone();
        if again.is_some() {
            self.attended = now;
        }
        again
    }

    /// A poll is answered with one more.
    pub fn give(&mut self, content: Bytes, now: Instant) {
        self.last += 1;
        self.unacknowledged = Some(content);
        self.rest(now);
    }

    /// No poll waits any more.
    pub fn rest(&mut self, now: Instant) {
        self.attended = now;
    }

    /// For how long nobody has polled.
    pub fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.attended)
    }
}

impl Secret {
    /// A new secret from the system's randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;

    fn somebody() -> Speaker {
        let caller = Caller::Anybody;
        let account = Rate::default().account(&caller, [192, 0, 2, 1].into());
        Speaker { caller, account }
    }

    #[test]
    fn only_the_whole_secret_opens_a_session() {
        let secret = Secret(*b"sixteen bytes 00");
        let remote = Remote::new(Arc::default(), secret, somebody(), None);
        let text = secret.to_string();
        assert!(remote.is_opened_by(&text));
        for wrong in [
            "",
            &text[1..],
            &text[..31],
            &text.replace('3', "4"),
            &format!("{text}0"),
        ] {
            assert!(!remote.is_opened_by(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn what_was_not_acknowledged_comes_again() {
        let (now, wait) = (Instant::now(), Duration::from_millis(500));
        let mut answers = Answers::new(Bytes::from_static(b"welcome"), now);
        assert_eq!(answers.repeat(Some(1), now, wait), None);
        answers.give(Bytes::from_static(b"a,"), now);
        for acknowledged in [None, Some(0), Some(1), Some(7)] {
            let again = answers.repeat(acknowledged, now, wait);
            assert_eq!(again.as_deref(), Some(&b"a,"[..]), "{acknowledged:?}");
        }
        assert_eq!(answers.repeat(Some(2), now, wait), None);
        assert_eq!((answers.last, answers.polls), (2, 6));
    }

    #[test]
    fn a_client_is_silent_from_when_its_last_poll_ended() {
        let (now, s) = (Instant::now(), Duration::from_secs);
        let mut answers = Answers::new(Bytes::from_static(b"welcome"), now);
        assert_eq!(answers.silent_for(now + s(3)), s(3));
        answers.repeat(Some(1), now + s(3), s(20));
        assert_eq!(answers.silent_for(now + s(10)), s(0), "it waits");
        answers.give(Bytes::from_static(b"a,"), now + s(10));
        assert_eq!(answers.silent_for(now + s(12)), s(2));
        answers.repeat(None, now + s(12), s(20));
        assert_eq!(answers.silent_for(now + s(13)), s(1), "it had it at once");
    }

    #[test]
    fn a_session_is_found_until_it_is_gone() {
        let sessions = Sessions::new(vec![Arc::default()]);
        let id = SessionId(3);
        assert!(sessions.find(id).is_none());
        sessions.insert(
            id,
            Remote::new(sessions.some_shard(), Secret([0; 16]), somebody(), None),
        );
        assert!(sessions.find(id).is_some());
        sessions.remove(id);
        assert!(sessions.find(id).is_none());
    }
}
