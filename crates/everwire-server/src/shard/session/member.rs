//! A session among those present on its channels: a member by lease, who reads of others in the presence log.

use bytes::{BufMut, BytesMut};
use everwire_channel::{ChannelName, Start, UserName, presence::Member};
use everwire_wire::{PresenceWish, Problem, ProblemKind, offset_of_reply};
use serde_json::{Value, value::RawValue};

use super::{
    super::{FeedKey, LineKey, Net, Shard},
    Session, Wish,
    decide::Answers,
};
use crate::{
    auth::{Caller, claimed},
    clock::Now,
    config::Action,
    cost::Cost,
    presence::Snapshot,
    session_id::SessionId,
};

/// A session's place among those present on a channel.
pub(crate) struct Membership {
    pub channel: ChannelName,
    pub(super) member: Member,
}

impl<N: Net> Shard<N> {
    /// Has a session be among those present, and read who comes and goes. `members` gets the reply's member
    /// `presence`.
    pub(super) fn attend(
        &mut self,
        key: LineKey,
        name: &ChannelName,
        wish: &PresenceWish<'_>,
        answers: &Answers,
        members: &mut BytesMut,
    ) -> Result<(), Problem> {
        self.permit(key, Action::Presence, name, answers)?;
        let start = wish
            .offset
            .as_deref()
            .map(str::parse::<Start>)
            .transpose()?;
        self.publisher(key)?.admit_to_presence(name)?;
        let presences = self.shared.presences.clone();
        let now = self.clock();
        if wish.join
            && let Some(session) = self.session(key)
        {
            let id = session.id;
            let user = user_of(&session.caller, wish.user.as_deref(), id)?;
            let allowed = answers.allowed(Action::Presence, name);
            let info = match allowed.and_then(|allowed| allowed.info.as_deref()) {
                Some(info) => Some(info),
                None => info_of(&session.caller, wish.info)?,
            };
            let member = presences.member(user, info)?;
            let publisher = self.publisher(key)?;
            let admit = |told| publisher.admit_told(name, told);
            let place = (id, publisher.account.payer());
            presences.join(name, place, member.clone(), admit, now)?;
            self.remember(key, name, member);
        } else {
            // It may have been a member until now.
            self.forget(key, name);
        }
        let log = presences.log(name, now)?;
        let place = start.and_then(|start| log.lock().core().log().locate(&start).ok());
        members.put_slice(b",\"presence\":{");
        let sequence = match place {
            Some(sequence) => {
                if let Some(offset) = log.lock().core().log().offset_at(sequence) {
                    offset_of_reply(&offset, members);
                }
                sequence
            }
            None => {
                let snapshot = presences.snapshot(name, now)?;
                // Who has come already is told who is there, however much that is.
                let bytes = snapshot.members.len();
                self.shared
                    .till()
                    .owe_bytes(self.account(key)?, Cost::CommandPage, bytes);
                write_snapshot(&snapshot, members);
                snapshot.offset.sequence
            }
        };
        members.put_slice(b"}");
        // Who was there and is read of again from the beginning.
        if let Some(feed) = self.feed_of_session(key, log.name()) {
            self.drop_subscription(key, feed);
        }
        self.add_subscription(key, &log, sequence, Wish::default());
        Ok(())
    }

    /// Tells who is there.
    pub(super) fn presence(
        &mut self,
        key: LineKey,
        name: &ChannelName,
        members: &mut BytesMut,
    ) -> Result<(), Problem> {
        self.publisher(key)?.admit_to_presence(name)?;
        let snapshot = self.shared.presences.snapshot(name, self.clock())?;
        let bytes = snapshot.members.len();
        self.shared
            .till()
            .charge_bytes(self.account(key)?, Cost::CommandPage, bytes)?;
        write_snapshot(&snapshot, members);
        Ok(())
    }

    /// A session reads a channel no longer: it is not there any more, and hears of nobody.
    pub(super) fn leave_presence(&mut self, key: LineKey, name: &ChannelName) {
        self.forget(key, name);
        let Some(session) = self.session(key) else {
            return;
        };
        let is_log = |feed: &FeedKey| {
            let log = self.feeds[*feed].channel.name().presence_of();
            log.is_some_and(|of| of == name.as_str())
        };
        let mut feeds = session.subscriptions.iter().map(|read| read.feed);
        if let Some(feed) = feeds.find(is_log) {
            self.drop_subscription(key, feed);
        }
    }

    /// Keeps a session's places for as long as it lives.
    pub(super) fn renew_members(&mut self, key: LineKey) {
        let now = self.clock();
        let (Some(session), Ok(account)) = (self.session(key), self.account(key)) else {
            return;
        };
        for Membership { channel, member } in &session.memberships {
            let presences = &self.shared.presences;
            if !presences.renew(channel, session.id, now) {
                // This thread stood still for longer than a lease. It is told as one that came back.
                let place = (session.id, account.payer());
                let _ = presences.join(channel, place, member.clone(), |_| Ok(()), now);
            }
        }
    }

    /// A session is gone from all channels.
    pub(super) fn leave_all(&self, session: &Session<N::Socket>) {
        for membership in &session.memberships {
            let presences = &self.shared.presences;
            presences.leave(&membership.channel, session.id, self.clock());
        }
    }

    /// A channel has ended, or is left.
    pub(super) fn forget(&mut self, key: LineKey, name: &ChannelName) {
        let now = self.clock();
        let presences = self.shared.presences.clone();
        if let Some(session) = self.session_mut(key) {
            let before = session.memberships.len();
            session
                .memberships
                .retain(|membership| membership.channel != *name);
            if session.memberships.len() < before {
                presences.leave(name, session.id, now);
            }
        }
    }

    /// Has a session be others on its channels than it was.
    pub(super) fn become_members(&mut self, key: LineKey, members: Vec<(ChannelName, Member)>) {
        let now = self.clock();
        let presences = self.shared.presences.clone();
        for (channel, member) in members {
            let (Some(session), Ok(publisher)) = (self.session(key), self.publisher(key)) else {
                return;
            };
            let is_it = |membership: &Membership| membership.channel == channel;
            if !session.memberships.iter().any(is_it) {
                continue;
            }
            let admit = |told| publisher.admit_told(&channel, told);
            let place = (session.id, publisher.account.payer());
            match presences.join(&channel, place, member.clone(), admit, now) {
                Ok(()) => self.remember(key, &channel, member),
                // It stays who it was.
                Err(problem) => self.shared.metrics.refused(&problem),
            }
        }
    }

    fn remember(&mut self, key: LineKey, name: &ChannelName, member: Member) {
        if let Some(session) = self.session_mut(key) {
            session
                .memberships
                .retain(|membership| membership.channel != *name);
            session.memberships.push(Membership {
                channel: name.clone(),
                member,
            });
        }
    }

    fn clock(&self) -> Now {
        Now {
            instant: self.now,
            unix_ms: self.now_ms,
        }
    }
}

/// The name of a member: that of its credential, else what it claims, marked as a name that nobody vouches for.
fn user_of(caller: &Caller, said: Option<&str>, id: SessionId) -> Result<UserName, Problem> {
    let claimed_by = |name: &str| {
        claimed(name).map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))
    };
    match (caller.user(), said) {
        (Some(user), Some(said)) if said != user.as_str() => Err(not_yours("user")),
        (Some(user), _) => Ok(user.clone()),
        (None, Some(name)) => claimed_by(name),
        (None, None) => claimed_by(&format!("{:08x}", id.0 >> 32)),
    }
}

/// What others are shown with the name: what the credential says, else what the client says.
fn info_of<'i>(
    caller: &'i Caller,
    said: Option<&'i RawValue>,
) -> Result<Option<&'i RawValue>, Problem> {
    let value = |json: &RawValue| serde_json::from_str::<Value>(json.get()).ok();
    match (caller.info(), said) {
        (Some(info), Some(said)) if value(info) != value(said) => Err(not_yours("info")),
        (Some(info), _) => Ok(Some(info)),
        (None, said) => Ok(said),
    }
}

fn not_yours(member: &str) -> Problem {
    let detail = format!(
        "`{member}` is another than in this session's token, which says who is shown to others; leave it out"
    );
    Problem::new(ProblemKind::Forbidden, detail)
}

fn write_snapshot(snapshot: &Snapshot, out: &mut BytesMut) {
    offset_of_reply(&snapshot.offset, out);
    out.put_slice(b",");
    out.put_slice(&snapshot.members);
}
