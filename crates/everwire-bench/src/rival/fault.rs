//! What goes wrong with a rival: it is a result, and no reason to end the run.

use anyhow::{Error, Result};

use crate::{client::Stalled, decode::DecodeError, interrupt::Interrupted, ledger::Violation};

/// Why a load was not measured to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happened, for a cell of the report.
    pub kind: FaultKind,
    /// The whole story, on one line.
    pub story: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An entry came before its turn: those between were lost, or come out of order.
    Skipped,
    /// Entries did not come, though all was waited for.
    Lost,
    /// An entry came twice.
    Doubled,
    /// Something came that was not published.
    Foreign,
    /// It refused, closed, or did not start.
    Failed,
}

impl FaultKind {
    /// The word in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Foreign => "foreign",
            Self::Failed => "failed",
        }
    }
}

impl Fault {
    /// What `error` tells about the rival that was measured.
    ///
    /// # Errors
    /// The same, if it says nothing of the rival: the run was told to stop.
    pub fn of(error: Error) -> Result<Self> {
        if error.is::<Interrupted>() {
            return Err(error);
        }
        let violation = match error.downcast_ref::<DecodeError>() {
            Some(DecodeError::Violation(violation)) => Some(violation),
            _ => None,
        };
        let kind = match violation {
            Some(Violation::Lost { .. }) => FaultKind::Skipped,
            Some(Violation::Repeated { .. }) => FaultKind::Doubled,
            Some(
                Violation::Unpublished { .. }
                | Violation::Astray { .. }
                | Violation::Unasked { .. }
                | Violation::Misplaced { .. }
                | Violation::NotOurs(_),
            ) => FaultKind::Foreign,
            None => match error.downcast_ref::<Stalled>() {
                Some(Stalled { missing: 1.. }) => FaultKind::Lost,
                Some(Stalled { missing: 0 }) | None => FaultKind::Failed,
            },
        };
        // First the cause, then what the rival said, which may be long: a story may be cut.
        let mut chain = error.chain().map(ToString::to_string);
        let outermost = chain.next().unwrap_or_default();
        let causes: Vec<String> = chain.collect();
        let story = format!("{}; {outermost}", causes.join(": "));
        let words: Vec<&str> = story.split_whitespace().collect();
        let story = words.join(" ").chars().take(STORY_CHARS_MAX).collect();
        Ok(Self { kind, story })
    }
}

/// A story is a note, not a log.
const STORY_CHARS_MAX: usize = 600;

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::{ledger::Ledger, payload::Payloads};

    /// What a reader's line fails with when it gets `delivered` of three entries.
    fn fail(delivered: &[usize]) -> Error {
        let mut ledger = Ledger::new(Payloads::new(32), 1);
        let reader = ledger.join(0);
        let payloads: Vec<Vec<u8>> = (0..3)
            .map(|_| {
                let mut payload = Vec::new();
                ledger.publish(0, &mut payload);
                payload
            })
            .collect();
        let deliver = |entry: &usize| ledger.deliver(reader, &payloads[*entry]);
        let violation = delivered.iter().map(deliver).find_map(Result::err).unwrap();
        let error = Error::new(DecodeError::from(violation));
        error.context("line 7 failed").context("x failed")
    }

    #[test]
    fn what_went_wrong_is_told_apart() {
        let foreign = Ledger::new(Payloads::new(32), 1).deliver(0, b"hello");
        let foreign = DecodeError::from(foreign.unwrap_err());
        for (error, kind) in [
            (fail(&[0, 2]), FaultKind::Skipped),
            (fail(&[0, 1, 1]), FaultKind::Doubled),
            (Error::new(foreign), FaultKind::Foreign),
            (Stalled { missing: 3 }.into(), FaultKind::Lost),
            (Stalled { missing: 0 }.into(), FaultKind::Failed),
            (anyhow!("it refused\n  | a line"), FaultKind::Failed),
        ] {
            let fault = Fault::of(error.context("outermost")).unwrap();
            assert_eq!(fault.kind, kind, "{}", fault.story);
            assert!(fault.story.ends_with("; outermost"), "{}", fault.story);
            assert!(!fault.story.contains('\n'), "{}", fault.story);
        }
    }

    #[test]
    fn an_interrupt_tells_nothing_of_the_rival() {
        let interrupted = Error::new(Interrupted).context("x failed");
        assert!(Fault::of(interrupted).is_err());
    }
}
