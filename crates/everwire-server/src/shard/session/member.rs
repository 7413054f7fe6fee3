//! A session among those present on its channels: a member by lease, who reads of others in the presence log.

use bytes::{BufMut, BytesMut};
use everwire_channel::{ChannelName, presence::Member};
use everwire_wire::{PresenceWish, Problem, offset_of_reply};

use super::{
    super::{LineKey, Net, Shard},
    Session, Wish,
    command::start_at,
};
use crate::{clock::Now, config::Action, presence::Snapshot, session_id::SessionId};

/// A session's place among those present on a channel.
pub(crate) struct Membership {
    pub channel: ChannelName,
    member: Member,
}

impl<N: Net> Shard<N> {
    /// Has a session be among those present, and read who comes and goes. `members` gets the reply's member
    /// `presence`.
    pub(super) fn attend(
        &mut self,
        key: LineKey,
        name: &ChannelName,
        wish: &PresenceWish<'_>,
        members: &mut BytesMut,
    ) -> Result<(), Problem> {
        self.permit(key, Action::Presence, name)?;
        let start = wish.offset.as_deref().map(start_at).transpose()?;
        let presences = self.shared.presences.clone();
        let now = self.clock();
        if wish.join
            && let Some(session) = self.session(key)
        {
            let id = session.id;
            let user = claimed(wish.user.as_deref(), id);
            let member = presences.member(&user, wish.info)?;
            presences.join(name, id, member.clone(), now)?;
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
        self.permit(key, Action::Presence, name)?;
        let snapshot = self.shared.presences.snapshot(name, self.clock())?;
        write_snapshot(&snapshot, members);
        Ok(())
    }

    /// A session reads a channel no longer: it is not there any more, and hears of nobody.
    pub(super) fn leave_presence(&mut self, key: LineKey, name: &ChannelName) {
        self.forget(key, name);
        let Some(session) = self.session(key) else {
            return;
        };
        let is_log = |feed: &u32| {
            let log = self.feeds[*feed as usize].channel.name().presence_of();
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
        let Some(session) = self.session(key) else {
            return;
        };
        for Membership { channel, member } in &session.memberships {
            let presences = &self.shared.presences;
            if !presences.renew(channel, session.id, now) {
                // This thread stood still for longer than a lease. It is told as one that came back.
                let _ = presences.join(channel, session.id, member.clone(), now);
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

/// The name of a user whom no credential names: what it claims, marked as a name that nobody vouches for.
fn claimed(user: Option<&str>, id: SessionId) -> String {
    match user {
        Some(user) => format!("~{user}"),
        None => format!("~{:08x}", id.0 >> 32),
    }
}

fn write_snapshot(snapshot: &Snapshot, out: &mut BytesMut) {
    offset_of_reply(&snapshot.offset, out);
    out.put_slice(b",");
    out.put_slice(&snapshot.members);
}
