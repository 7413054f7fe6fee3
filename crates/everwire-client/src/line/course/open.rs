//! An open line: heartbeats, replies, tokens, and the way back to a better wire beside it.

use std::time::{Duration, Instant};

use super::facts::{Facts, plan};
use super::{Effect, Event, Moment, NORMAL, SILENT, Stage, Step, WireEvent, after};
use crate::LineWire;
use crate::line::credential::Credential;
use crate::line::ending::Verdict;

/// An open line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Open {
    pub wire: LineWire,
    /// The number of the wire; what others still say is not heard.
    pub serial: u64,
    /// Why it is this wire.
    pub reason: String,
    since: Instant,
    heard: Instant,
    heartbeat: Duration,
    /// A ping was sent since something was heard.
    pinged: bool,
    /// When the oldest unanswered command has to be answered.
    reply_by: Option<Instant>,
    /// A reply came on this wire: it carries messages both ways.
    proven: bool,
    refresh_at: Option<Instant>,
    trial: Trial,
}

/// The way back to a better wire.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trial {
    None,
    Planned {
        at: Instant,
    },
    Running {
        wire: LineWire,
        serial: u64,
        deadline: Instant,
        heartbeat: Duration,
    },
}

impl Open {
    pub(super) fn new(
        facts: &Facts,
        wire: LineWire,
        serial: u64,
        heartbeat: Option<Duration>,
        proven: bool,
        reason: String,
        at: &Moment<'_>,
    ) -> Self {
        Self {
            wire,
            serial,
            reason,
            since: at.now,
            heard: at.now,
            heartbeat: heartbeat.unwrap_or(at.options.heartbeat),
            pinged: false,
            reply_by: None,
            proven,
            refresh_at: facts.credential.refresh_at(at.now, at.options.refresh),
            trial: facts.plan_trial(wire, at),
        }
    }

    /// When time changes something.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let trial = match self.trial {
            Trial::None => None,
            Trial::Planned { at } => Some(at),
            Trial::Running { deadline, .. } => Some(deadline),
        };
        [
            Some(self.silent_at()),
            self.reply_by,
            self.refresh_at,
            trial,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lets go of the wire, and of the one on trial.
    pub(super) fn leave(&self, code: u16) -> Vec<Effect> {
        let serial = self.serial;
        let mut effects = vec![Effect::Suspend, Effect::Close { serial, code }];
        if let Trial::Running { serial, .. } = self.trial {
            effects.push(Effect::Close {
                serial,
                code: NORMAL,
            });
        }
        effects
    }

    fn silent_at(&self) -> Instant {
        self.heard + self.heartbeat * if self.pinged { 2 } else { 1 }
    }
}

/// What an event means for an open line.
pub(super) fn while_open(mut facts: Facts, mut open: Open, event: Event, at: &Moment<'_>) -> Step {
    let effects = match event {
        Event::Wire(from, event) if from != open.serial => {
            return on_trial(facts, open, from, &event, at);
        }
        Event::Wire(_, event) => match event {
            WireEvent::Heard => {
                open.heard = at.now;
                open.pinged = false;
                vec![]
            }
            WireEvent::Answered { more } => {
                facts.refusals = 0;
                open.proven = true;
                open.reply_by = more.then(|| at.now + at.options.reply);
                vec![]
            }
            WireEvent::Drain { after } => return Stage::Open(open).with(facts).drained(after, at),
            WireEvent::Ended(ending) => return lost(facts, open, ending.judge(), NORMAL, at),
            WireEvent::Welcome { .. } => vec![],
        },
        Event::Asked => {
            let patience = match open.proven {
                true => at.options.reply,
                false => facts.prove(at),
            };
            open.reply_by = open.reply_by.or(Some(at.now + patience));
            vec![]
        }
        Event::Token { lifetime } => {
            facts.credential = Credential::Held {
                until: lifetime.map(|lifetime| at.now + lifetime),
            };
            open.refresh_at = facts.credential.refresh_at(at.now, at.options.refresh);
            vec![Effect::Authenticate]
        }
        Event::TokenFailed { .. } => {
            // The old token may still serve; if not, the server says so.
            open.refresh_at = Some(at.now + at.options.reply);
            vec![]
        }
        Event::TokenRefused { reason } => {
            return lost(facts, open, Verdict::Credential { reason }, NORMAL, at);
        }
        Event::Wake => {
            // Whether the line survived is not left to the next heartbeat.
            let soon = at.now + at.options.prove;
            open.reply_by = Some(open.reply_by.map_or(soon, |by| by.min(soon)));
            open.pinged = true;
            let serial = open.serial;
            vec![Effect::Ping { serial }]
        }
        Event::Tick => return on_time(facts, open, at),
        Event::Start | Event::Close => vec![],
    };
    (Stage::Open(open).with(facts), effects)
}

fn on_time(mut facts: Facts, mut open: Open, at: &Moment<'_>) -> Step {
    let now = at.now;
    let is_due = |time: Option<Instant>| time.is_some_and(|time| now >= time);
    if is_due(open.reply_by) {
        let reason = "no reply came in time".into();
        return lost(facts, open, Verdict::Wire { reason }, SILENT, at);
    }
    let effects = match &open.trial {
        _ if now >= open.heard + 2 * open.heartbeat => {
            let verdict = Verdict::Server {
                reason: "heartbeats are missing".into(),
                after: None,
            };
            return lost(facts, open, verdict, SILENT, at);
        }
        _ if !open.pinged && now >= open.heard + open.heartbeat => {
            open.pinged = true;
            let serial = open.serial;
            vec![Effect::Ping { serial }]
        }
        _ if is_due(open.refresh_at) => {
            open.refresh_at = None;
            vec![Effect::FetchToken]
        }
        Trial::Planned { at: planned } if now >= *planned => {
            facts.serial += 1;
            let (wire, serial) = (at.options.wires[0], facts.serial);
            open.trial = Trial::Running {
                wire,
                serial,
                deadline: now + at.options.prove,
                heartbeat: at.options.heartbeat,
            };
            vec![Effect::Open { wire, serial }]
        }
        Trial::Running {
            serial, deadline, ..
        } if now >= *deadline => {
            let serial = *serial;
            return trial_failed(facts, open, serial, at);
        }
        Trial::None | Trial::Planned { .. } | Trial::Running { .. } => vec![],
    };
    (Stage::Open(open).with(facts), effects)
}

/// The better wire is open beside the line. It has to carry a ping and its reply before the line moves over.
fn on_trial(
    mut facts: Facts,
    mut open: Open,
    from: u64,
    event: &WireEvent,
    at: &Moment<'_>,
) -> Step {
    let (wire, heartbeat) = match &mut open.trial {
        Trial::Running {
            wire,
            serial,
            heartbeat,
            ..
        } if *serial == from => (*wire, heartbeat),
        Trial::None | Trial::Planned { .. } | Trial::Running { .. } => {
            return (Stage::Open(open).with(facts), vec![]);
        }
    };
    match event {
        WireEvent::Welcome { heartbeat: told } => {
            *heartbeat = told.unwrap_or(at.options.heartbeat);
            let effects = vec![Effect::Ping { serial: from }];
            (Stage::Open(open).with(facts), effects)
        }
        WireEvent::Answered { .. } => {
            facts.try_better = at.options.try_better;
            facts.flaps = 0;
            let heartbeat = Some(*heartbeat);
            let left = vec![
                Effect::Suspend,
                Effect::Close {
                    serial: open.serial,
                    code: NORMAL,
                },
            ];
            let reason = "the better wire works again".into();
            after(left, facts.opened(wire, from, heartbeat, true, reason, at))
        }
        WireEvent::Drain { .. } | WireEvent::Ended(_) => trial_failed(facts, open, from, at),
        WireEvent::Heard => (Stage::Open(open).with(facts), vec![]),
    }
}

fn trial_failed(mut facts: Facts, mut open: Open, serial: u64, at: &Moment<'_>) -> Step {
    facts.try_better = (facts.try_better * 2).min(TRY_BETTER_MAX);
    open.trial = facts.plan_trial(open.wire, at);
    let effects = vec![Effect::Close {
        serial,
        code: NORMAL,
    }];
    (Stage::Open(open).with(facts), effects)
}

/// An open line ended, or is given up for its silence.
fn lost(mut facts: Facts, open: Open, verdict: Verdict, code: u16, at: &Moment<'_>) -> Step {
    let silent = code == SILENT;
    let stable = at.now - open.since >= at.options.stable;
    facts.flaps = match silent || !stable {
        true => facts.flaps + 1,
        false => 0,
    };
    if stable {
        facts.failed = 0;
    }
    let wires = &at.options.wires;
    let lesser = wires.iter().skip_while(|wire| **wire != open.wire).nth(1);
    let swallows = silent && !open.proven;
    let (wire, line) = (open.wire, Stage::Open(open).with(facts));
    let left = line.leave(code);
    let mut facts = line.facts;
    match (&verdict, lesser) {
        (Verdict::Wire { reason } | Verdict::Server { reason, .. }, Some(&lesser))
            if swallows || facts.flaps >= FLAPS_MAX =>
        {
            facts.flaps = 0;
            facts.preferred = lesser;
            if swallows {
                let reason = format!("{wire}: {reason}");
                let wires = plan(wires, lesser, 0);
                return after(left, facts.connect(wires, reason, at));
            }
        }
        _ => {}
    }
    after(left, facts.follow(verdict, at))
}

/// So often in a row may an open wire go silent or end soon before a lesser one takes its place.
const FLAPS_MAX: u32 = 3;

/// The longest stay on a lesser wire before the better one is tried again.
const TRY_BETTER_MAX: Duration = Duration::from_secs(3600);
