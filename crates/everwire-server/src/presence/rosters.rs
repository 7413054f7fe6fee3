//! Rosters by channel, and which of them is to be looked after next.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use everwire_channel::{ChannelName, Roster, presence::Terms};

use super::encode::members_json;

/// The rosters of some channels. None is empty but while it is changed.
#[derive(Default)]
pub(super) struct Rosters {
    by_channel: HashMap<ChannelName, Tracked>,
    /// When each of them may have something to tell by itself, or earlier.
    due: BTreeSet<(u64, ChannelName)>,
}

struct Tracked {
    roster: Roster,
    /// Its moment in `Rosters::due`.
    due_ms: Option<u64>,
    /// The members as JSON, if somebody has asked since the last change.
    members: Option<Bytes>,
}

impl Rosters {
    /// The roster of a channel that has members. Tell of what is changed in it: [`Rosters::changed`].
    pub fn get(&mut self, channel: &ChannelName) -> Option<&mut Roster> {
        let tracked = self.by_channel.get_mut(channel)?;
        Some(&mut tracked.roster)
    }

    /// The same for a channel that will have members.
    pub fn open(&mut self, channel: &ChannelName, terms: impl FnOnce() -> Terms) -> &mut Roster {
        let tracked = self.by_channel.entry(channel.clone());
        let fresh = || Tracked {
            roster: Roster::new(terms()),
            due_ms: None,
            members: None,
        };
        &mut tracked.or_insert_with(fresh).roster
    }

    /// Something may have changed in a channel's roster. Returns how many members it has now, and when to look
    /// after it if that is earlier than was known. An empty roster is forgotten.
    pub fn changed(&mut self, channel: &ChannelName) -> (usize, Option<u64>) {
        let Some(tracked) = self.by_channel.get_mut(channel) else {
            return (0, None);
        };
        tracked.members = None;
        let count = tracked.roster.members().len();
        // Only what is earlier is put down: looking too early finds the true moment.
        let earlier = (tracked.roster.wake_at_ms())
            .filter(|at_ms| tracked.due_ms.is_none_or(|due_ms| *at_ms < due_ms));
        if count > 0 && earlier.is_none() {
            return (count, None);
        }
        if let Some(due_ms) = tracked.due_ms.take() {
            self.due.remove(&(due_ms, channel.clone()));
        }
        tracked.due_ms = earlier;
        if count == 0 {
            self.by_channel.remove(channel);
            return (0, None);
        }
        if let Some(at_ms) = earlier {
            self.due.insert((at_ms, channel.clone()));
        }
        (count, earlier)
    }

    /// A channel to look after by now. It counts as looked after: tell of it by [`Rosters::changed`].
    pub fn take_due(&mut self, now_ms: u64) -> Option<ChannelName> {
        if self.wake_at_ms()? > now_ms {
            return None;
        }
        let (_, channel) = self.due.pop_first()?;
        if let Some(tracked) = self.by_channel.get_mut(&channel) {
            tracked.due_ms = None;
        }
        Some(channel)
    }

    /// When to look after the first of them.
    pub fn wake_at_ms(&self) -> Option<u64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    /// Who is in a channel, as members of a JSON object.
    pub fn members_json(&mut self, channel: &ChannelName, listed_max: usize) -> Bytes {
        match self.by_channel.get_mut(channel) {
            Some(Tracked {
                roster, members, ..
            }) => members
                .get_or_insert_with(|| members_json(roster, listed_max))
                .clone(),
            None => Bytes::from_static(b"\"total\":0,\"members\":[]"),
        }
    }

    /// Whether it holds nothing.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_channel.is_empty() && self.due.is_empty()
    }
}
