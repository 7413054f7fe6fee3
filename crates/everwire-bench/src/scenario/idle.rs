//! What a line costs that waits.

use anyhow::{Result, bail};

use super::{Bench, Floors, Load, Scene};
use crate::{client::Turn, rival::Rival, subject::Subject, wire::Wire};

/// Lines that are opened before anything is measured, and stay open.
///
/// Connecting leaves a heap peak behind that depends on how many connect at once, not on how many
/// there are; these lines pay for it. They stay, since memory that closed lines gave back to the
/// allocator would be used again and make the measured ones look free.
pub const LINES_BEFORE: usize = 1_000;

/// One load of this kind: all lines are in one process and read the same channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The wire of the lines; a long poll is parked.
    pub wire: Wire,
    /// How many are measured.
    pub lines: usize,
}

impl Load for Idle {
    /// Resident bytes that each line adds to the subject.
    type Sample = f64;

    fn name(&self) -> String {
        format!("{} idle {} lines", self.lines, self.wire.name())
    }

    fn floors(&self) -> Floors<Self> {
        match self.wire {
            Wire::WebSocket | Wire::EventStream | Wire::Ndjson => Floors::floor(*self),
            Wire::LongPoll => Floors {
                floor: None,
                hyper: None,
                server: true,
            },
        }
    }

    /// Memory does not vary from round to round.
    fn rounds(&self, rounds: usize) -> usize {
        rounds.min(1)
    }

    fn suits(&self, rival: &Rival) -> bool {
        match self.wire {
            Wire::WebSocket => rival.publishes_over_websocket(),
            other => rival.speaks(other) && rival.publishes_over_http(),
        }
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<f64> {
        let Self { wire, lines } = *self;
        let scene = Scene::of_one_channel(1, PAYLOAD_BYTES);
        bench.on_stage(subject, &scene, |stage| {
            let first = stage.open_readers(wire, LINES_BEFORE)?[0];
            stage.settle()?;
            let before = stage.running.resident_bytes()?;
            stage.open_readers(wire, lines)?;
            stage.settle()?;
            let after = stage.running.resident_bytes()?;

            // Only now one entry, which every line must get: else they were not what was measured.
            let (mut entry, ledger) = (Vec::new(), &mut stage.ledger);
            let mut turns = match wire {
                Wire::WebSocket => {
                    stage.client.write_frame(first, ledger, 0, &mut entry)?;
                    stage.client.send(first, &entry, 0)?;
                    Turn::default()
                }
                Wire::EventStream | Wire::Ndjson | Wire::LongPoll => {
                    let request = stage.client.publish_request(&stage.channels[0], ledger)?;
                    request.write(ledger, 0, &mut entry);
                    stage.request(&entry, 1)?
                }
            };
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
}

const PAYLOAD_BYTES: usize = 128;
