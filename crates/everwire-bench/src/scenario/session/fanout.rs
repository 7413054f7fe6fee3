//! What it takes to deliver entries to sessions.

use anyhow::Result;

use super::Plan;
use crate::{
    publisher::{Pace, Publishers},
    scenario::{Bench, Count, Floors, Load, Scene, Work},
    session, subject,
    subject::Subject,
    wire::{self, Wire},
};

/// One load of this kind: each session reads all channels, and one of them publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFanout {
    /// The wire of the readers: WebSocket or event stream. The publisher is a WebSocket.
    pub wire: Wire,
    /// How many read.
    pub readers: usize,
    /// What is published and when.
    pub flow: Flow,
    /// Size of each payload.
    pub payload_bytes: usize,
    /// Whom the load is for.
    pub form: Form,
}

/// What is published and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To one channel, so many entries of which may be unseen by some session.
    Window(usize),
    /// To so many channels at once, when every session has seen all of the last.
    Burst(usize),
}

/// How the same load is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By sessions.
    Sessions,
    /// By raw WebSockets of one channel, with payloads as long as a session's whole messages.
    Raw,
}

/// What a delivery to a session takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivery {
    /// The work for each.
    pub work: Work,
    /// System calls that sent to lines, for each; where the subject counts them.
    pub sends: Option<f64>,
}

impl SessionFanout {
    fn channels(&self) -> usize {
        match self.flow {
            Flow::Window(_) => 1,
            Flow::Burst(channels) => channels,
        }
    }

    fn plan(&self) -> Plan {
        let channels = self.channels();
        Plan {
            first: 0,
            channels,
            each: channels,
        }
    }
}

impl Load for SessionFanout {
    type Sample = Delivery;

    fn name(&self) -> String {
        let (readers, wire) = (self.readers, self.wire.name());
        match self.flow {
            Flow::Window(in_flight) => {
                format!("{readers} {wire} sessions, {in_flight} in flight")
            }
            Flow::Burst(channels) => {
                format!("{readers} {wire} sessions, {channels} channels at once")
            }
        }
    }

    /// The floor knows no sessions: it sends as many bytes in as many messages.
    fn floors(&self) -> Floors<Self> {
        let besides = session::entry_bytes_besides(&wire::channel_name(0));
        let of_floor = match self.wire {
            Wire::EventStream => EVENT_ID_BYTES,
            Wire::WebSocket | Wire::Ndjson | Wire::LongPoll => 0,
        };
        Floors::floor(Self {
            payload_bytes: self.payload_bytes + besides - of_floor,
            form: Form::Raw,
            ..*self
        })
    }

    fn rounds(&self, rounds: usize) -> usize {
        rounds.min(ROUNDS_MAX)
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Delivery> {
        let pace = match self.flow {
            Flow::Window(in_flight) => Pace::Readers { in_flight },
            Flow::Burst(entries) => Pace::Bursts { entries },
        };
        let scene = match self.form {
            Form::Sessions => Scene::of_channels(self.channels(), self.payload_bytes),
            Form::Raw => Scene::of_one_channel(1, self.payload_bytes),
        };
        bench.on_stage(subject, &scene, |stage| {
            let mut publishers = match self.form {
                Form::Sessions => {
                    let plan = self.plan();
                    let by_websocket = match self.wire {
                        Wire::WebSocket => self.readers,
                        Wire::EventStream | Wire::Ndjson | Wire::LongPoll => 1,
                    };
                    let sessions = stage.open_sessions(plan, 0..by_websocket, plan.each)?;
                    stage.open_stream_sessions(plan, by_websocket..self.readers)?;
                    Publishers::over_session(sessions[0].line, &stage.channels, pace)
                }
                Form::Raw => {
                    let lines = stage.open_readers(Wire::WebSocket, 1)?;
                    stage.open_readers(self.wire, self.readers - 1)?;
                    Publishers::over_websockets(&lines[..1], pace)
                }
            };
            stage.settle()?;
            let sends = |address| match self.form {
                Form::Sessions => subject::counter(address, "everwire_sends_total").map(Some),
                Form::Raw => Ok(None),
            };
            let address = stage.running.address();
            let (before, delivered) = (sends(address)?, stage.ledger.deliveries());
            let work = stage.drive(&mut publishers, Count::Deliveries)?;
            let delivered = (stage.ledger.deliveries() - delivered) as f64;
            let sends = sends(address)?.zip(before);
            Ok(Delivery {
                work,
                sends: sends.map(|(after, before)| (after - before) / delivered),
            })
        })
    }
}

/// A session's events have no `id:` line, the floor's have.
const EVENT_ID_BYTES: usize = "id: 00000000000000000000000000\n".len();
/// So that a run stays short.
const ROUNDS_MAX: usize = 5;
