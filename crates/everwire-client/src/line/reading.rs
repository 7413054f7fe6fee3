//! One channel's part in a line: one state, and every transition of it, without IO.
//!
//! ```text
//!  Off ─▶ Joining ─▶ Live ─▶ Off        a lost line: ─▶ Off        any ─▶ Ended
//! ```
//!
//! The cursor survives them all. An entry at or before it was seen; so each entry is delivered once, and what
//! cannot be had is told as one gap. The presence log has a cursor of its own, and is told in the same way, but
//! that a snapshot of who is there takes the place of a gap.

use crate::decode::session::{Change, LogKind};
use crate::{Gap, Offset, Start};

use super::command::{Members, Snapshot};

/// Where a channel stands on the line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Where reading goes on: an offset as soon as the server told one.
    pub start: Start,
    standing: Standing,
    roster: Roster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Off,
    /// `subscribe` was sent; what still comes is of an earlier subscription.
    Joining,
    /// What comes is ours.
    Live,
    /// Nothing follows.
    Ended,
}

/// What is known of who is there.
#[derive(Clone, Debug, PartialEq)]
enum Roster {
    /// Nobody wants to know.
    Unwanted,
    /// The server is to tell; what comes before it does is held back. `after` is the position that was known.
    Awaited {
        after: Option<Offset>,
        held: Vec<Change>,
    },
    /// Known up to here.
    Known { after: Offset },
}

/// What happens to a channel's reading.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// Whether entries are wanted may have changed, or the line was opened.
    Settle {
        wanted: bool,
        open: bool,
    },
    /// The subscription begins after this offset.
    Began(Offset),
    Lost,
    /// An entry came, with this offset.
    Entry(Offset),
    Gap(Gap, LogKind),
    /// A member came or went.
    Change(Change),
    /// The server told who is there; nothing if it refused to.
    Roster(Option<Snapshot>),
    End,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    Subscribe,
    Unsubscribe,
    /// Hand the entry over that came.
    Deliver,
    TellGap(Gap),
    TellMembers(Members),
    TellChange(Change),
    AskMembers,
}

pub(crate) type Step = (Reading, Vec<Effect>);

impl Reading {
    /// A reading that begins there.
    pub fn new(start: Start, with_presence: bool) -> Self {
        let roster = match with_presence {
            true => Roster::Awaited {
                after: None,
                held: Vec::new(),
            },
            false => Roster::Unwanted,
        };
        Self {
            start,
            standing: Standing::Off,
            roster,
        }
    }

    /// The next state, and what has to be done.
    pub fn step(mut self, event: Event) -> Step {
        let effects = match (self.standing, event) {
            (Standing::Ended, _) => vec![],
            (_, Event::End) => {
                self.standing = Standing::Ended;
                vec![]
            }
            (_, Event::Settle { open: false, .. }) => vec![],
            (Standing::Off, Event::Settle { wanted: true, .. }) => {
                self.standing = Standing::Joining;
                self.roster = self.roster.awaited();
                vec![Effect::Subscribe]
            }
            (Standing::Joining | Standing::Live, Event::Settle { wanted: false, .. }) => {
                self.standing = Standing::Off;
                vec![Effect::Unsubscribe]
            }
            (_, Event::Settle { .. }) => vec![],
            (_, Event::Lost) => {
                self.standing = Standing::Off;
                vec![]
            }
            (Standing::Joining, Event::Began(offset)) => {
                self.standing = Standing::Live;
                if !matches!(self.start, Start::After(_)) {
                    self.start = Start::After(offset);
                }
                vec![]
            }
            (Standing::Joining | Standing::Live, Event::Roster(snapshot)) => self.roster(snapshot),
            // What comes before a subscription began, or after it was left, is read again from the cursor.
            (Standing::Off | Standing::Joining, _) | (Standing::Live, Event::Began(_)) => vec![],
            (Standing::Live, Event::Entry(offset)) => self.entry(offset),
            (Standing::Live, Event::Gap(gap, LogKind::Entries)) => {
                self.start = Start::After(gap.oldest.clone());
                vec![Effect::TellGap(gap)]
            }
            (Standing::Live, Event::Gap(_, LogKind::Presence)) => match self.roster {
                Roster::Unwanted => vec![],
                Roster::Awaited { .. } | Roster::Known { .. } => {
                    self.roster = Roster::Awaited {
                        after: None,
                        held: Vec::new(),
                    };
                    vec![Effect::AskMembers]
                }
            },
            (Standing::Live, Event::Change(change)) => self.change(change),
        };
        (self, effects)
    }

    /// Where the presence log is to be resumed.
    pub fn presence_after(&self) -> Option<&Offset> {
        match &self.roster {
            Roster::Unwanted => None,
            Roster::Awaited { after, .. } => after.as_ref(),
            Roster::Known { after } => Some(after),
        }
    }

    /// How many updates are held back.
    pub fn held(&self) -> usize {
        match &self.roster {
            Roster::Awaited { held, .. } => held.len(),
            Roster::Unwanted | Roster::Known { .. } => 0,
        }
    }

    /// Whether what comes is ours.
    pub fn is_live(&self) -> bool {
        self.standing == Standing::Live
    }

    pub fn is_ended(&self) -> bool {
        self.standing == Standing::Ended
    }

    fn entry(&mut self, offset: Offset) -> Vec<Effect> {
        // Offsets of one channel sort in log order.
        if matches!(&self.start, Start::After(cursor) if offset <= *cursor) {
            return vec![];
        }
        self.start = Start::After(offset);
        vec![Effect::Deliver]
    }

    fn change(&mut self, change: Change) -> Vec<Effect> {
        match &mut self.roster {
            Roster::Known { after } if change.offset > *after => {
                after.clone_from(&change.offset);
                vec![Effect::TellChange(change)]
            }
            Roster::Awaited { held, .. } => {
                held.push(change);
                vec![]
            }
            Roster::Unwanted | Roster::Known { .. } => vec![],
        }
    }

    fn roster(&mut self, snapshot: Option<Snapshot>) -> Vec<Effect> {
        let (after, held) = match (&mut self.roster, &snapshot) {
            (Roster::Awaited { after, held }, _) => (after, held),
            // Told anew, although changes after it were told already: it has to be newer than these.
            (
                Roster::Known { after },
                Some(Snapshot {
                    offset,
                    members: Some(members),
                }),
            ) => {
                if offset < after {
                    return vec![Effect::AskMembers];
                }
                after.clone_from(offset);
                return vec![Effect::TellMembers(members.clone())];
            }
            (Roster::Known { .. } | Roster::Unwanted, _) => return vec![],
        };
        let (position, members) = match snapshot {
            Some(Snapshot { offset, members }) => match (members, after.take()) {
                (Some(members), _) => (Some(offset), Some(members)),
                // Resumed: what was missed follows.
                (None, Some(after)) => (Some(after), None),
                (None, None) => (Some(offset), None),
            },
            None => (after.take(), None),
        };
        let held = std::mem::take(held);
        let held: Vec<_> = (held.into_iter())
            .filter(|change| position.as_ref().is_none_or(|after| change.offset > *after))
            .collect();
        let position = held.last().map(|change| change.offset.clone()).or(position);
        if let Some(after) = position {
            self.roster = Roster::Known { after };
        }
        let mut effects: Vec<_> = members.map(Effect::TellMembers).into_iter().collect();
        effects.extend(held.into_iter().map(Effect::TellChange));
        effects
    }
}

impl Roster {
    fn awaited(self) -> Self {
        match self {
            Self::Unwanted => Self::Unwanted,
            Self::Awaited { after, .. } => Self::Awaited {
                after,
                held: Vec::new(),
            },
            Self::Known { after } => Self::Awaited {
                after: Some(after),
                held: Vec::new(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
