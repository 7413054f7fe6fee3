//! What a line knows that outlives a single attempt, and how it goes on from there.

use std::time::Duration;

use super::open::{Open, Trial};
use super::{Effect, Moment, Stage, Step};
use crate::line::credential::Credential;
use crate::line::ending::Verdict;
use crate::{LineError, LineOptions, LineWire};

/// What outlives a single attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    /// The number of the wire opened last.
    pub serial: u64,
    /// Attempts that failed since a line was good.
    pub failed: u32,
    /// Times in a row that an open line went silent, or ended soon.
    pub flaps: u32,
    /// Refusals of the credential in a row.
    pub refusals: u32,
    /// The wire to try first.
    pub preferred: LineWire,
    pub credential: Credential,
    pub try_better: Duration,
}

impl Facts {
    pub fn new(options: &LineOptions, with_token: bool) -> Self {
        let credential = match with_token {
            true => Credential::Wanted,
            false => Credential::None,
        };
        Self {
            serial: 0,
            failed: 0,
            flaps: 0,
            refusals: 0,
            preferred: options.first_wire.unwrap_or(options.wires[0]),
            credential,
            try_better: options.try_better,
        }
    }

    /// Begins a cycle of attempts.
    pub fn begin(self, reason: String, at: &Moment<'_>) -> Step {
        if self.credential.is_wanted(at.now) {
            let deadline = at.now + at.options.reply;
            return (
                Stage::Authorizing { deadline }.with(self),
                vec![Effect::FetchToken],
            );
        }
        let wires = plan(&at.options.wires, self.preferred, self.failed);
        self.connect(wires, reason, at)
    }

    /// Opens the first of these wires.
    pub fn connect(mut self, mut wires: Vec<LineWire>, reason: String, at: &Moment<'_>) -> Step {
        let wire = wires.remove(0);
        self.serial += 1;
        let serial = self.serial;
        let stage = Stage::Connecting {
            wire,
            rest: wires,
            reason,
            deadline: at.now + self.prove(at),
        };
        (stage.with(self), vec![Effect::Open { wire, serial }])
    }

    /// Waits for the next cycle of attempts.
    pub fn wait(mut self, reason: String, after: Option<Duration>, at: &Moment<'_>) -> Step {
        let backoff = &at.options.backoff;
        let until = match after {
            // Whoever is told the same time must not come in the same moment.
            Some(after) => at.now + after + backoff.wait(0, at.roll),
            None => at.now + backoff.wait(self.failed, at.roll),
        };
        self.failed = self.failed.saturating_add(1);
        let stage = Stage::Waiting {
            until,
            ordered: after.is_some(),
            reason,
        };
        (stage.with(self), vec![])
    }

    /// Does as the verdict says, where no other wire is to be tried at once.
    pub fn follow(mut self, verdict: Verdict, at: &Moment<'_>) -> Step {
        match verdict {
            Verdict::Wire { reason } => self.wait(reason, None, at),
            Verdict::Server { reason, after } => self.wait(reason, after, at),
            Verdict::Credential { reason } => {
                self.refusals += 1;
                if self.credential == Credential::None || self.refusals > REFUSALS_MAX {
                    return self.finish(Some(LineError::Unauthorized { detail: reason }));
                }
                self.credential = Credential::Wanted;
                match self.refusals {
                    1 => self.begin(reason, at),
                    _ => self.wait(reason, None, at),
                }
            }
            Verdict::Stop(error) => self.finish(Some(error)),
        }
    }

    /// Ends the line.
    pub fn finish(self, error: Option<LineError>) -> Step {
        (Stage::Closed(error).with(self), vec![Effect::Finish])
    }

    /// How long a wire may take to prove itself. A slow network swallows nothing: each failed attempt leaves
    /// more time, up to four times as much.
    pub fn prove(&self, at: &Moment<'_>) -> Duration {
        at.options.prove * self.failed.saturating_add(1).min(4)
    }

    /// This wire is the line now.
    pub fn opened(
        mut self,
        wire: LineWire,
        serial: u64,
        heartbeat: Option<Duration>,
        proven: bool,
        reason: String,
        at: &Moment<'_>,
    ) -> Step {
        self.preferred = wire;
        let open = Open::new(&self, wire, serial, heartbeat, proven, reason, at);
        (Stage::Open(open).with(self), vec![Effect::Resume])
    }

    /// When the best wire is tried beside this one.
    pub(super) fn plan_trial(&self, wire: LineWire, at: &Moment<'_>) -> Trial {
        if wire == at.options.wires[0] {
            return Trial::None;
        }
        // Half of it by chance, so that clients that lost the wire together do not come back together.
        let delay = self.try_better.mul_f64(0.5 + at.roll);
        Trial::Planned { at: at.now + delay }
    }
}

/// The wires of one cycle of attempts. The preferred one comes first. The others rotate with the attempts, since
/// a failure that may be the server's ends a cycle early, and else the last ones would never have their turn.
pub(super) fn plan(wires: &[LineWire], preferred: LineWire, failed: u32) -> Vec<LineWire> {
    let first = match wires.contains(&preferred) {
        true => preferred,
        false => wires[0],
    };
    let mut others: Vec<_> = wires
        .iter()
        .copied()
        .filter(|wire| *wire != first)
        .collect();
    if !others.is_empty() {
        let turn = failed as usize % others.len();
        others.rotate_left(turn);
    }
    others.insert(0, first);
    others
}

/// So often in a row may a fresh credential be refused.
const REFUSALS_MAX: u32 = 2;
