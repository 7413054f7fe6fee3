//! The life of a line: one enum, and every transition of it. No socket, clock or chance is touched here.
//!
//! ```text
//!  Authorizing ─▶ Connecting ─▶ Open ─▶ Waiting ─▶ Authorizing or Connecting …      any ─▶ Closed
//!    token          welcome      lost     until
//!
//!  step(event, at) ─▶ the next state, and effects that have to be carried out in order
//!  wake_at()       ─▶ when `Event::Tick` is due
//! ```

mod facts;
mod open;

use std::time::{Duration, Instant};

use super::credential::Credential;
use super::ending::{Ending, Verdict};
use crate::{LineError, LineOptions, LineWire};
use facts::Facts;
pub(crate) use open::Open;
use open::while_open;

/// A line's state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Course {
    pub facts: Facts,
    pub stage: Stage,
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stage {
    /// The next attempt is due at `until`.
    Waiting {
        until: Instant,
        /// The server named that time, so that nothing shortens it.
        ordered: bool,
        reason: String,
    },
    /// A token is being fetched.
    Authorizing { deadline: Instant },
    /// `wire` was opened and has to welcome us; `rest` is to be tried after it.
    Connecting {
        wire: LineWire,
        rest: Vec<LineWire>,
        reason: String,
        deadline: Instant,
    },
    /// Messages flow.
    Open(Open),
    /// The end; without an error if the program asked for it.
    Closed(Option<LineError>),
}

/// What happens to a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Start,
    Tick,
    /// The platform tells that the network came back.
    Wake,
    /// The program ends the line.
    Close,
    /// A token was fetched, and lives that long if that is known.
    Token {
        lifetime: Option<Duration>,
    },
    TokenFailed {
        reason: String,
    },
    /// The server refused the token on the open line.
    TokenRefused {
        reason: String,
    },
    /// A command was sent.
    Asked,
    /// The wire of this number tells something.
    Wire(u64, WireEvent),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WireEvent {
    Welcome {
        heartbeat: Option<Duration>,
    },
    Heard,
    /// A reply came, and `more` are awaited.
    Answered {
        more: bool,
    },
    Drain {
        after: Duration,
    },
    Ended(Ending),
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Open {
        wire: LineWire,
        serial: u64,
    },
    Close {
        serial: u64,
        code: u16,
    },
    Ping {
        serial: u64,
    },
    FetchToken,
    /// Show the fresh token on the open line.
    Authenticate,
    /// What was sent and not answered has to be sent again on the next wire.
    Suspend,
    /// This wire is the line now: subscribe, and send what waits.
    Resume,
    /// The line is over: tell all who wait.
    Finish,
}

/// When it is, how chance fell (from 0 up to 1), and what is set.
pub(crate) struct Moment<'a> {
    pub now: Instant,
    pub roll: f64,
    pub options: &'a LineOptions,
}

pub(crate) type Step = (Course, Vec<Effect>);

impl Course {
    /// A line before its `Start`. `options.wires` names at least one.
    pub fn new(options: &LineOptions, with_token: bool, now: Instant) -> Self {
        Self {
            facts: Facts::new(options, with_token),
            stage: Stage::Waiting {
                until: now,
                ordered: false,
                reason: "the line was started".into(),
            },
        }
    }

    /// The next state, and what has to be done.
    pub fn step(self, event: Event, at: &Moment<'_>) -> Step {
        match (self.stage, event) {
            (stage @ Stage::Closed(_), _) => (stage.with(self.facts), vec![]),
            (stage, Event::Close) => {
                let line = stage.with(self.facts);
                let left = line.leave(NORMAL);
                after(left, line.facts.finish(None))
            }
            (
                Stage::Waiting {
                    until,
                    ordered,
                    reason,
                },
                event,
            ) => match event {
                Event::Tick if at.now >= until => self.facts.begin(reason, at),
                Event::Wake if !ordered => self.facts.begin(reason, at),
                Event::Start => self.facts.begin(reason, at),
                _ => {
                    let stage = Stage::Waiting {
                        until,
                        ordered,
                        reason,
                    };
                    (stage.with(self.facts), vec![])
                }
            },
            (Stage::Authorizing { deadline }, event) => {
                while_authorizing(self.facts, deadline, event, at)
            }
            (
                stage @ Stage::Connecting { .. },
                event @ (Event::Tick | Event::Wire(..) | Event::Wake),
            ) => while_connecting(stage.with(self.facts), event, at),
            (stage @ Stage::Connecting { .. }, _) => (stage.with(self.facts), vec![]),
            (Stage::Open(open), event) => while_open(self.facts, open, event, at),
        }
    }

    /// When `Event::Tick` is due; `None` if time changes nothing.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Waiting { until, .. } => Some(*until),
            Stage::Authorizing { deadline } | Stage::Connecting { deadline, .. } => Some(*deadline),
            Stage::Open(open) => open.wake_at(),
            Stage::Closed(_) => None,
        }
    }

    /// The server goes away, and says when to come back.
    fn drained(mut self, after: Duration, at: &Moment<'_>) -> Step {
        let effects = self.leave(NORMAL);
        self.facts.failed = 0;
        self.facts.flaps = 0;
        // The server spread its clients already; more chance would only delay them.
        let stage = Stage::Waiting {
            until: at.now + after,
            ordered: true,
            reason: "the server is going away".into(),
        };
        (stage.with(self.facts), effects)
    }

    /// Lets go of whatever is open.
    fn leave(&self, code: u16) -> Vec<Effect> {
        match &self.stage {
            Stage::Connecting { .. } => vec![Effect::Close {
                serial: self.facts.serial,
                code,
            }],
            Stage::Open(open) => open.leave(code),
            Stage::Waiting { .. } | Stage::Authorizing { .. } | Stage::Closed(_) => vec![],
        }
    }
}

impl Stage {
    fn with(self, facts: Facts) -> Course {
        Course { facts, stage: self }
    }
}

fn while_authorizing(facts: Facts, deadline: Instant, event: Event, at: &Moment<'_>) -> Step {
    match event {
        Event::Token { lifetime } => {
            let credential = Credential::Held {
                until: lifetime.map(|lifetime| at.now + lifetime),
            };
            let facts = Facts {
                credential,
                ..facts
            };
            facts.begin("a token was fetched".into(), at)
        }
        Event::TokenFailed { reason } => facts.wait(reason, None, at),
        Event::Tick if at.now >= deadline => {
            facts.wait("the token did not come in time".into(), None, at)
        }
        _ => (Stage::Authorizing { deadline }.with(facts), vec![]),
    }
}

fn while_connecting(course: Course, event: Event, at: &Moment<'_>) -> Step {
    let Stage::Connecting {
        wire,
        ref rest,
        ref reason,
        deadline,
    } = course.stage
    else {
        unreachable!("asked for a line that connects");
    };
    let serial = course.facts.serial;
    let next = |facts: Facts, verdict: Verdict| match verdict {
        Verdict::Wire { reason } if !rest.is_empty() => {
            facts.connect(rest.clone(), format!("{wire}: {reason}"), at)
        }
        verdict => facts.follow(verdict, at),
    };
    match event {
        Event::Tick if at.now >= deadline => {
            let reason = "no welcome came in time".into();
            let left = vec![Effect::Close {
                serial,
                code: SILENT,
            }];
            after(left, next(course.facts.clone(), Verdict::Wire { reason }))
        }
        Event::Wire(from, event) if from == serial => match event {
            WireEvent::Welcome { heartbeat } => {
                course
                    .facts
                    .opened(wire, serial, heartbeat, false, reason.clone(), at)
            }
            WireEvent::Drain { after } => course.drained(after, at),
            WireEvent::Ended(ending) => next(course.facts.clone(), ending.judge()),
            WireEvent::Heard | WireEvent::Answered { .. } => (course, vec![]),
        },
        _ => (course, vec![]),
    }
}

/// A step after which others were done.
fn after(mut effects: Vec<Effect>, (course, more): Step) -> Step {
    effects.extend(more);
    (course, effects)
}

/// The close code of a line that is left in peace, and of one that went silent.
const NORMAL: u16 = 1000;
const SILENT: u16 = 4408;

#[cfg(test)]
mod tests;
