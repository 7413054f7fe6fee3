//! What a session costs that waits, and what each channel that it reads adds.

use anyhow::Result;

use super::{Begin, Plan, Session, subscribe};
use crate::{
    ledger::Ledger,
    scenario::{Bench, Floors, Load, Scene, Stage, idle::LINES_BEFORE},
    subject::Subject,
};

/// One load of this kind, over WebSockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionMemory {
    /// How many sessions are measured.
    pub sessions: usize,
    /// How many channels there are.
    pub channels: usize,
    /// What they add to their first subscription.
    pub addition: Addition,
}

/// What sessions add to their first subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addition {
    /// So many further ones.
    Subscriptions(usize),
    /// One further, as members of its channel, each as a user of its own.
    Membership,
}

impl Addition {
    /// How many things are added.
    fn count(self) -> usize {
        match self {
            Self::Subscriptions(further) => further,
            Self::Membership => 1,
        }
    }
}

/// Resident bytes that the subject grows by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Footprint {
    /// For each session with one subscription.
    pub session: f64,
    /// For each thing that it adds.
    pub addition: f64,
}

impl Load for SessionMemory {
    type Sample = Footprint;

    fn name(&self) -> String {
        let Self {
            sessions, channels, ..
        } = self;
        let with = match self.addition {
            Addition::Subscriptions(further) => format!("{further} further subscriptions"),
            Addition::Membership => "a membership".to_owned(),
        };
        format!("{sessions} sessions with {with}, {channels} channels")
    }

    /// The floor knows no sessions.
    fn floors(&self) -> Floors<Self> {
        Floors {
            floor: None,
            hyper: None,
            server: true,
        }
    }

    /// Memory does not vary from round to round.
    fn rounds(&self, rounds: usize) -> usize {
        rounds.min(1)
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Footprint> {
        let plan = Plan {
            first: 0,
            channels: self.channels,
            each: 1 + self.addition.count(),
        };
        let scene = Scene::of_channels(self.channels, PAYLOAD_BYTES);
        bench.on_stage(subject, &scene, |stage| {
            // These pay for what connecting leaves behind, and for what each channel has anyway.
            let before = stage.open_sessions(plan, 0..LINES_BEFORE, 1)?;
            self.add(stage, &before)?;
            let resident = |stage: &mut Stage<'_>| {
                stage.settle()?;
                stage.running.resident_bytes()
            };
            let start = resident(stage)?;
            let numbers = LINES_BEFORE..LINES_BEFORE + self.sessions;
            let sessions = stage.open_sessions(plan, numbers, 1)?;
            let open = resident(stage)?;
            self.add(stage, &sessions)?;
            let added = resident(stage)?;

            // Only now an entry to each channel: else these were not the sessions that they should be.
            let (mut entries, ledger) = (Vec::new(), &mut stage.ledger);
            for (channel, name) in stage.channels.iter().enumerate() {
                let request = stage.client.publish_request(name, ledger)?;
                request.write(ledger, channel, &mut entries);
            }
            stage.request(&entries, self.channels)?;
            while !stage.ledger.is_drained() {
                stage.client.turn(&mut stage.ledger)?;
            }
            let grown = |from: u64, to: u64| (to as f64 - from as f64) / self.sessions as f64;
            Ok(Footprint {
                session: grown(start, open),
                addition: grown(open, added) / self.addition.count() as f64,
            })
        })
    }
}

impl SessionMemory {
    fn add(&self, stage: &mut Stage<'_>, sessions: &[Session]) -> Result<()> {
        let commands = |session: &Session, ledger: &Ledger| {
            let readers = session.readers.start + 1..session.readers.end;
            let begin = match self.addition {
                Addition::Subscriptions(_) => Begin::Now,
                Addition::Membership => Begin::Present,
            };
            let count = readers.len();
            (subscribe(readers, &begin, ledger), count)
        };
        stage.command_all(sessions, commands)
    }
}

const PAYLOAD_BYTES: usize = 128;
