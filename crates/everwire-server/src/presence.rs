//! Who is in the channels of this server.
//!
//! ```text
//!  sessions ─▶ join, renew, leave ─┐
//!                                  ├─▶ Roster of the channel ─▶ joins and leaves ─▶ the log $presence/{name}
//!  workers  ─▶ expire ─────────────┘            │
//!                                               └─▶ Snapshot: who is there, and the offset from which to read on
//! ```
//!
//! A roster's changes are in its log before the roster's lock is released. So the offset of a snapshot and its
//! members agree: who reads on from there misses nobody and sees nobody twice. Locks are taken in this order: the
//! roster's, a part of the hub, the channel.

mod alarm;
mod encode;
mod expire;
mod rosters;
#[cfg(test)]
mod tests;

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use everwire_channel::{
    ChannelName, Entry, Info, InfoError, Member, Offset, RosterFull, SessionId, UserName,
    presence::{Change, Payer},
};
use everwire_wire::{Problem, ProblemKind};
use serde_json::value::RawValue;

pub(crate) use self::expire::expire;
use self::{alarm::Alarm, encode::draft, rosters::Rosters};
use crate::{
    clock::Now,
    hub::{self, Hub, Own, no_channel, no_room},
    live::{Live, Settings},
    metrics::Metrics,
    rate::Account,
};

/// The rosters of all channels that have members, by name.
pub(crate) struct Presences {
    /// Each roster in the part that the hash of its name chooses.
    parts: Vec<Mutex<Rosters>>,
    hasher: RandomState,
    /// When somebody may have left next.
    alarm: Alarm,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    settings: Settings,
    /// From which leases count: the time of day may be set back.
    started: Instant,
}

/// Who is in a channel at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// From which the presence log tells what changed since.
    pub offset: Offset,
    /// How many there are and who, by name, as members of a JSON object:
    /// `"total":1,"members":[{"user":"ada","info":{…},"count":1}]`. Encoded once for all who
    /// ask between two changes.
    pub members: Bytes,
}

const PARTS: usize = 64;

impl Presences {
    /// Nobody is anywhere yet.
    pub fn new(settings: Settings, hub: Arc<Hub>, metrics: Arc<Metrics>, now: Now) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            alarm: Alarm::default(),
            hub,
            metrics,
            settings,
            started: now.instant,
        }
    }

    /// A member from what a session says, or why it cannot be one.
    pub fn member(&self, user: UserName, info: Option<&RawValue>) -> Result<Member, Problem> {
        let bytes_max = self.settings.now().config.presence.info_bytes_max;
        let info = info.map(|info| Info::new(info, bytes_max)).transpose();
        Ok(Member {
            user,
            info: info.map_err(|error| info_problem(&error))?,
        })
    }

    /// A session comes to a channel as this member, and has its place until it leaves or its lease is over. It may
    /// join again, to renew its lease and bring other info. `admit` gets how many changes others are told of it, if any,
    /// and may refuse that.
    pub fn join(
        &self,
        channel: &ChannelName,
        (session, payer): (SessionId, Payer),
        member: Member,
        admit: impl FnOnce(NonZeroU32) -> Result<(), Problem>,
        now: Now,
    ) -> Result<(), Problem> {
        // What is told of it is held by the same account.
        let by = Account::of(payer);
        self.check_room(&member, by)?;
        // Before anybody is put down whose coming could not be told.
        self.log(channel, now)?;
        let mut part = self.part(channel);
        let roster = part.open(channel, || self.settings.now().presence_terms());
        let before = roster.members().len();
        let joined = roster
            .check(session, &member, payer)
            .map_err(full_problem)
            .and_then(|told| NonZeroU32::new(told).map_or(Ok(()), admit))
            .and_then(|()| {
                let joined = roster.join(session, member, payer, self.clock_ms(now));
                joined.map_err(full_problem)
            });
        let changes = joined.as_deref().unwrap_or_default();
        self.changed(&mut part, (channel, Some(by)), before, changes, now);
        joined.map(drop)
    }

    /// Renews a session's lease. False if it has none any more: then it joins again.
    pub fn renew(&self, channel: &ChannelName, session: SessionId, now: Now) -> bool {
        let now_ms = self.clock_ms(now);
        self.part(channel)
            .get(channel)
            .is_some_and(|roster| roster.renew(session, now_ms))
    }

    /// A session goes from a channel. That it is not there is no error.
    pub fn leave(&self, channel: &ChannelName, session: SessionId, now: Now) {
        let mut part = self.part(channel);
        if let Some(roster) = part.get(channel) {
            let before = roster.members().len();
            let left = roster.leave(session, self.clock_ms(now));
            self.changed(&mut part, (channel, None), before, left.as_slice(), now);
        }
    }

    /// Who is in a channel.
    pub fn snapshot(&self, channel: &ChannelName, now: Now) -> Result<Snapshot, Problem> {
        let mut part = self.part(channel);
        let log = self.log(channel, now)?;
        let offset = log.lock().core().log().head();
        let members = part.members_json(channel, self.settings.now().config.presence.listed_max);
        Ok(Snapshot { offset, members })
    }

    /// The log of who comes to a channel and leaves it, made if there is none.
    pub fn log(&self, channel: &ChannelName, now: Now) -> Result<Arc<hub::Channel>, Problem> {
        let log = self.hub.open_own(&self.own(channel), now.unix_ms);
        log.map_err(|none| no_channel(channel, none))
    }
    /// Puts down and tells what a roster's change has brought.
    fn changed(
        &self,
        part: &mut Rosters,
        (channel, by): (&ChannelName, Option<Account>),
        members_before: usize,
        changes: &[Change],
        now: Now,
    ) {
        if !changes.is_empty() {
            let entries = changes.iter().map(draft).collect();
            // Without room for one more channel the log is not made again that was forgotten for being empty. Nobody
            // reads it then, and its offsets are a gap to who comes back.
            let _ = self
                .hub
                .append_own(&self.own(channel), entries, by, now.unix_ms);
        }
        let (members, wake_at_ms) = part.changed(channel);
        self.metrics
            .presence_changed(members_before, members, changes.len());
        if let Some(at_ms) = wake_at_ms {
            self.alarm.set(at_ms);
        }
    }

    /// Whether the logs take what is told of one more who comes.
    fn check_room(&self, member: &Member, by: Account) -> Result<(), Problem> {
        let live = self.settings.now();
        let pots = self.hub.pots();
        let info = member.info.as_ref().map_or(0, |info| info.as_str().len());
        let bytes = Entry::OVERHEAD_BYTES + (member.user.as_str().len() + info) as u64;
        pots.admit_bytes(hub::Payer::new(by, &live), bytes)
            .map_err(no_room)
    }

    fn own(&self, channel: &ChannelName) -> Own {
        own(channel, &self.settings.now())
    }

    /// What the clock of leases shows.
    fn clock_ms(&self, now: Now) -> u64 {
        let since = now.instant.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn part(&self, channel: &ChannelName) -> MutexGuard<'_, Rosters> {
        let index = self.hasher.hash_one(channel) as usize % PARTS;
        lock(&self.parts[index])
    }
}

/// The log of who comes to a channel and leaves it.
pub(crate) fn own(channel: &ChannelName, live: &Live) -> Own {
    Own {
        name: channel.presence_log(),
        retention: live.config.presence.retention(),
        by: None,
        kept: false,
    }
}

fn lock(part: &Mutex<Rosters>) -> MutexGuard<'_, Rosters> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full_problem(full: RosterFull) -> Problem {
    let detail = full.to_string();
    match full {
        RosterFull::All { members_max } => Problem::new(ProblemKind::Overloaded, detail)
            .with("members_max", members_max)
            .at_limit("members_max"),
        RosterFull::OfPayer { places_max } => {
            let detail = format!("{detail} (presence.members_per_caller_max)");
            Problem::new(ProblemKind::TooMany, detail)
                .with("members_per_caller_max", places_max)
                .at_limit("members_per_caller_max")
        }
    }
}

fn info_problem(error: &InfoError) -> Problem {
    let detail = error.to_string();
    match error {
        InfoError::TooLong { bytes_max, .. } => Problem::new(ProblemKind::TooLarge, detail)
            .with("bytes_max", *bytes_max)
            .at_limit("info_bytes_max"),
        InfoError::TooDeep => Problem::new(ProblemKind::BadContent, detail),
    }
}
