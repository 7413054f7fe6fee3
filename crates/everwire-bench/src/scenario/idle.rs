//! What a line costs that waits.

use anyhow::{Result, bail};

use super::{Bench, CHANNEL};
use crate::{publish::PublishRequest, subject::Subject, wire::Wire};

/// Lines that are opened before anything is measured, and stay open.
///
/// Connecting leaves a heap peak behind that depends on how many connect at once, not on how many
/// there are; these lines pay for it. They stay, since memory that closed lines gave back to the
/// allocator would be used again and make the measured ones look free.
pub const LINES_BEFORE: usize = 1_000;

/// Resident bytes that each of `lines` idle lines of `wire` adds to the subject.
///
/// # Errors
/// If the subject fails, or a line turns out not to be subscribed.
pub fn measure(bench: &Bench, subject: &Subject, wire: Wire, lines: usize) -> Result<f64> {
    bench.on_stage(subject, 1, |stage| {
        stage.open_readers(wire, LINES_BEFORE)?;
        stage.settle()?;
        let before = stage.running.resident_bytes()?;
        stage.open_readers(wire, lines)?;
        stage.settle()?;
        let after = stage.running.resident_bytes()?;

        // Only now one entry, which every line must get: else they were not what was measured.
        let mut request = Vec::new();
        let requests = PublishRequest::new(stage.client.server(), CHANNEL, &stage.ledger);
        requests.write(&mut stage.ledger, 0, &mut request);
        let mut turns = stage.request(&request)?;
        while !stage.ledger.is_drained() {
            turns += stage.client.turn(&mut stage.ledger)?;
        }
        let polls_answered = turns.polls_answered;
        if wire == Wire::LongPoll && polls_answered != LINES_BEFORE + lines {
            bail!(
                "{polls_answered} long polls were answered of {}",
                LINES_BEFORE + lines
            );
        }
        Ok((after as f64 - before as f64) / lines as f64)
    })
}
