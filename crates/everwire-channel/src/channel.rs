//! A channel: a log, and the rules by which appends are admitted to it.
//!
//! An append is judged in this order, and the first reason counts:
//!
//! ```text
//!   nothing to do         ─▶ Empty
//!   idempotency key known ─▶ the first answer again, or KeyReused
//!   channel closed        ─▶ Duplicate for a retry of the closing append and for a close alone,
//!                            StaleEpoch, else Closed
//!   media type            ─▶ ContentTypeMismatch
//!   producer              ─▶ Duplicate, StaleEpoch, ProducerGap, EpochMustStartAtZero
//!   Stream-Seq            ─▶ StreamSeqNotRising
//!   guard                 ─▶ TailMoved
//! ```
//!
//! So a retry is recognised before its order is checked, and a repeated key even after the
//! channel was closed.

mod append;
mod confirm;
mod guard;
mod repeats;
mod setup;
#[cfg(test)]
mod tests;

use crate::content_type::{ContentKind, ContentType};
use crate::expiry::Expiry;
use crate::log::Log;
use crate::producer::{Producer, ProducerAnswer, Verdict};

use repeats::{Repeats, RetryMarks};

pub use append::{Append, AppendError, Appended};
pub use confirm::{Confirmed, Mismatch};
pub use guard::{Guard, Tail};
pub use setup::{RepeatLimits, Setup};

/// A channel. It neither knows its name nor removes itself: whoever keeps it asks
/// [`Channel::is_expired`] before each use.
#[derive(Debug, Clone)]
pub struct Channel {
    log: Log,
    /// The media type that somebody stated.
    content_type: Option<ContentType>,
    /// The kinds of all entries that the log has ever taken.
    holds: Holds,
    /// True once a request or an append created the channel; false while only a waiting reader made it.
    is_created: bool,
    state: State,
    expiry: Option<Expiry>,
    /// When it was last read or written, in Unix milliseconds.
    touched_ms: u64,
    repeat_limits: RepeatLimits,
    /// Boxed, and made when first needed: most channels have no producers and no keys.
    repeats: Option<Box<Repeats>>,
}

#[derive(Debug, Clone)]
enum State {
    Open,
    Closed {
        /// Which producer's append closed it, if it was a producer's.
        by: Option<Box<ClosingAppend>>,
    },
}

/// The producer's append that closed a channel, to recognise its retry.
#[derive(Debug, Clone)]
struct ClosingAppend {
    producer_id: Box<str>,
    answer: ProducerAnswer,
}

impl Channel {
    /// A new channel without entries.
    ///
    /// # Panics
    ///
    /// If the epoch is beyond [`Epoch::MAX`](crate::Epoch::MAX).
    pub fn new(setup: Setup, now_ms: u64) -> Self {
        let Setup {
            epoch,
            mark,
            content_type,
            expiry,
            closed,
            created,
            retention,
            repeats,
        } = setup;
        Self {
            log: Log::new(epoch, mark, retention),
            is_created: created || content_type.is_some(),
            content_type,
            holds: Holds::default(),
            state: if closed {
                State::Closed { by: None }
            } else {
                State::Open
            },
            expiry,
            touched_ms: now_ms,
            repeat_limits: repeats,
            repeats: None,
        }
    }

    /// Appends, closes, or both; or recognises that this was done before. Counts as a write for
    /// the expiry, unless it is refused.
    ///
    /// # Errors
    ///
    /// [`AppendError`]; the channel is then as it was.
    pub fn append(&mut self, append: Append<'_>, now_ms: u64) -> Result<Appended, AppendError> {
        let marks = RetryMarks::of(&append);
        let answer = match self.judge(&append, marks, now_ms)? {
            Judgement::Repeat(answer) => answer,
            Judgement::New => {
                let answer = self.accept(append, now_ms);
                if !marks.is_empty() {
                    let repeats = self.repeats.get_or_insert_default();
                    repeats.remember(marks, &answer, now_ms, &self.repeat_limits);
                }
                answer
            }
        };
        self.touch(now_ms);
        Ok(answer)
    }

    /// Counts as a read or a write: a sliding expiry starts again. Not for `HEAD`.
    pub fn touch(&mut self, now_ms: u64) {
        self.touched_ms = self.touched_ms.max(now_ms);
    }

    /// Removes what has become too old: entries, producers and keys.
    pub fn trim(&mut self, now_ms: u64) {
        self.log.trim(now_ms);
        if let Some(repeats) = &mut self.repeats {
            repeats.forget(now_ms, &self.repeat_limits);
            if repeats.is_empty() {
                self.repeats = None;
            }
        }
    }

    /// The entries, and where readers stand in them.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What the channel keeps of what it was sent, in bytes: the [accounted](crate::Entry::accounted_bytes) ones of its
    /// log, and about what the producers and keys take that are remembered.
    pub fn bytes(&self) -> u64 {
        let repeats = self.repeats.as_ref().map_or(0, |repeats| repeats.bytes());
        self.log.bytes() + repeats
    }

    /// Where the log ends, and whether for good.
    pub fn tail(&self) -> Tail {
        Tail {
            offset: self.log.head(),
            closed: self.is_closed(),
        }
    }

    /// Whether no entry will ever be appended again.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// The media type that a publisher or the channel's creator stated; `None` while nobody has. Entries that were
    /// appended before keep the [kind](crate::Entry::kind) that they have.
    pub fn content_type(&self) -> Option<&ContentType> {
        self.content_type.as_ref()
    }

    /// How the entries are told together, on a page of history: in the stated media type or, where nobody stated one,
    /// by the one kind that they all have. `None` while there is neither.
    pub fn whole(&self) -> Option<Whole> {
        match (&self.content_type, self.holds.kind()) {
            (Some(stated), Held::Nothing) => Some(Whole::Of(stated.clone())),
            (Some(stated), Held::One(kind)) if kind == stated.kind() => {
                Some(Whole::Of(stated.clone()))
            }
            (None, Held::Nothing) => None,
            (None, Held::One(kind)) => Some(Whole::Of(kind.media_type().clone())),
            (Some(_), Held::One(_)) | (_, Held::Several) => Some(Whole::Mixed),
        }
    }

    /// When the channel ends by itself; `None` for never.
    pub fn expiry(&self) -> Option<Expiry> {
        self.expiry
    }

    /// The moment at which it ends, in Unix milliseconds, if it is not touched before.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.expiry.map(|expiry| expiry.ends_at_ms(self.touched_ms))
    }

    /// Whether it has ended: the moment of its expiry is there or past.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms()
            .is_some_and(|ends_at_ms| ends_at_ms <= now_ms)
    }

    /// Whether the append is new, a repeat, or to be refused. Changes nothing.
    fn judge(
        &self,
        append: &Append<'_>,
        marks: RetryMarks<'_>,
        now_ms: u64,
    ) -> Result<Judgement, AppendError> {
        let limits = &self.repeat_limits;
        let repeats = self.repeats.as_deref();
        if append.entries.is_empty() && !append.close {
            return Err(AppendError::Empty);
        }
        if let Some((key, fingerprint)) = marks.keyed
            && let Some(first) = repeats.and_then(|repeats| repeats.key(key, now_ms, limits))
        {
            return match first.fingerprint == fingerprint {
                true => Ok(Judgement::Repeat(first.again())),
                false => Err(AppendError::KeyReused),
            };
        }
        let known = |producer| repeats?.producer(producer, now_ms, limits);
        if let State::Closed { by } = &self.state {
            let known = append.producer.and_then(known);
            return self.judge_after_close(append, by.as_deref(), known);
        }
        if !append.entries.is_empty() {
            self.check_content_type(append)?;
        }
        if let Some(producer) = append.producer {
            match producer.judge(known(producer))? {
                Verdict::New => {}
                Verdict::Duplicate(state) => return Ok(self.repeat(Some(state))),
            }
        }
        let last = repeats.and_then(|repeats| repeats.stream_seq.as_deref());
        if let (Some(received), Some(last)) = (append.stream_seq, last)
            && received.as_str() <= last
        {
            let (last, received) = (last.into(), received.as_str().into());
            return Err(AppendError::StreamSeqNotRising { last, received });
        }
        // After whatever recognises a retry: who won, and asks again, is told that it won.
        if let Some(guard) = append.guard
            && !guard.admits(self.tail())
        {
            return Err(AppendError::TailMoved { tail: self.tail() });
        }
        Ok(Judgement::New)
    }

    fn judge_after_close(
        &self,
        append: &Append<'_>,
        by: Option<&ClosingAppend>,
        known: Option<ProducerAnswer>,
    ) -> Result<Judgement, AppendError> {
        if let (Some(producer), Some(by)) = (append.producer, by)
            && *producer.id() == *by.producer_id
            && producer.answer() == by.answer
        {
            return Ok(self.repeat(Some(by.answer)));
        }
        if let (Some(producer), Some(known)) = (append.producer, known)
            && producer.epoch() < known.epoch
        {
            return Err(AppendError::StaleEpoch {
                current: known.epoch,
            });
        }
        match append.entries.is_empty() {
            true => Ok(self.repeat(known)),
            false => Err(AppendError::Closed {
                tail: self.log.head(),
            }),
        }
    }

    fn check_content_type(&self, append: &Append<'_>) -> Result<(), AppendError> {
        let Some(channel) = &self.content_type else {
            return Ok(());
        };
        let unfit = match append.content_type {
            Some(stated) => (stated != channel).then(|| stated.clone()),
            // Its kind was guessed before somebody stated the channel's type.
            None => (append.entries.iter())
                .filter_map(|draft| draft.kind)
                .find(|kind| !kind.fits(channel.kind()))
                .map(|kind| kind.media_type().clone()),
        };
        match unfit {
            None => Ok(()),
            Some(received) => Err(AppendError::ContentTypeMismatch {
                channel: channel.clone(),
                received,
            }),
        }
    }

    fn repeat(&self, producer: Option<ProducerAnswer>) -> Judgement {
        let (next, closed) = (self.log.head(), self.is_closed());
        Judgement::Repeat(Appended::Duplicate {
            next,
            closed,
            producer,
        })
    }

    /// Does what was judged to be new.
    fn accept(&mut self, append: Append<'_>, now_ms: u64) -> Appended {
        let Append {
            entries,
            content_type,
            close,
            producer,
            ..
        } = append;
        if !entries.is_empty() {
            self.is_created = true;
            if self.content_type.is_none() {
                self.content_type = content_type.cloned();
            }
        }
        let stated = self.content_type.as_ref().map(ContentType::kind);
        for mut draft in entries {
            draft.kind = match stated {
                Some(_) => None,
                None => draft.kind.or(Some(ContentKind::Binary)),
            };
            self.holds.note(stated.or(draft.kind));
            self.log.append(draft, now_ms);
        }
        if close {
            self.state = State::Closed {
                by: producer.map(ClosingAppend::of).map(Box::new),
            };
        }
        Appended::New {
            next: self.log.head(),
            closed: close,
            producer: producer.map(|producer| producer.answer()),
        }
    }
}

/// How a channel's entries are told together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whole {
    /// All of them are payloads of this media type.
    Of(ContentType),
    /// They are of several kinds, so each has to be told with its own.
    Mixed,
}

/// The kinds of all entries that a log has ever taken.
#[derive(Debug, Clone, Copy, Default)]
struct Holds {
    json: bool,
    text: bool,
    binary: bool,
}

impl Holds {
    fn note(&mut self, kind: Option<ContentKind>) {
        match kind {
            Some(ContentKind::Json) => self.json = true,
            Some(ContentKind::Text) => self.text = true,
            Some(ContentKind::Binary) | None => self.binary = true,
        }
    }

    /// The one kind that all have.
    fn kind(self) -> Held {
        match (self.json, self.text, self.binary) {
            (false, false, false) => Held::Nothing,
            (true, false, false) => Held::One(ContentKind::Json),
            (false, true, false) => Held::One(ContentKind::Text),
            (false, false, true) => Held::One(ContentKind::Binary),
            _ => Held::Several,
        }
    }
}

enum Held {
    Nothing,
    One(ContentKind),
    Several,
}

enum Judgement {
    New,
    Repeat(Appended),
}

impl ClosingAppend {
    fn of(producer: Producer<'_>) -> Self {
        Self {
            producer_id: producer.id().into(),
            answer: producer.answer(),
        }
    }
}
