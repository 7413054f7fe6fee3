//! A fresh credential on the open line: the session goes on as the same caller, with other rights perhaps.

use bytes::BytesMut;
use everwire_channel::{ChannelName, presence::Member};
use everwire_wire::{Carrier, Problem, ProblemKind, encode_revoked};

use super::{
    super::{
        LineKey, Net, Shard,
        timers::{End, Timer},
    },
    Speech,
    decide::Answers,
};
use crate::{
    auth::{Caller, right_to_read},
    clock::Now,
};

/// When a session's credential ends, beside its date: in the shard's milliseconds.
#[derive(Debug)]
pub(crate) struct Expiry {
    /// When it ends if the clock is not set forward.
    ends_ms: u64,
    /// When the timer comes that looks whether it has ended.
    armed_ms: u64,
}

const NEVER: u64 = u64::MAX;

impl Default for Expiry {
    fn default() -> Self {
        Self {
            ends_ms: NEVER,
            armed_ms: NEVER,
        }
    }
}

impl<N: Net> Shard<N> {
    /// Has a session go on with another credential. `notices` tell what it may not read any more.
    pub(super) fn authenticate(
        &mut self,
        key: LineKey,
        shown: &str,
        answers: &Answers,
        notices: &mut BytesMut,
    ) -> Result<(), Problem> {
        let now = Now {
            instant: self.now,
            unix_ms: self.now_ms,
        };
        let introduced = answers.introduced();
        let caller = match introduced {
            Some(allowed) => allowed.caller.clone(),
            None => (self.shared.live.authority).caller_at_once(shown, now)?,
        };
        let Some(session) = self.session(key) else {
            return Ok(());
        };
        if !session.caller.may_become(&caller) {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "the credential is another caller's than this session's; open a session for each",
            ));
        }
        let members = self.members_of(key, &caller)?;
        let account = self.shared.rate.account_of(&caller);
        if let Some(session) = self.session_mut(key) {
            session.caller = caller;
            if introduced.is_some()
                && let Some(asks) = &mut session.asks
            {
                asks.show_token(shown);
            }
        }
        if let (Some(account), Some(seat)) = (account, &mut self.lines[key].address) {
            seat.account = account;
        }
        // Requests that speak for it are taken with its new rights.
        if let (Some(session), Some(speaker)) = (self.session(key), self.speaker(key))
            && let Some(remote) = self.shared.sessions.find(session.id)
        {
            remote.speak_for(speaker);
        }
        self.watch_expiry(key);
        self.revoke(key, notices);
        self.become_members(key, members);
        Ok(())
    }

    /// Has a session end when its caller's credential does, which was shown just now.
    pub(in super::super) fn watch_expiry(&mut self, key: LineKey) {
        let ends_ms = (self.session(key)).and_then(|session| session.caller.ends_ms());
        let end = ends_ms.map(|ends_ms| self.end_at(ends_ms));
        let elapsed_ms = self.elapsed_ms;
        let Some(session) = self.session_mut(key) else {
            return;
        };
        let expiry = &mut session.expiry;
        expiry.ends_ms = end.map_or(NEVER, |end| end.elapsed_ms);
        // Who shows one token after the other has one timer: it sees for itself what has become of its time.
        let is_armed = (elapsed_ms..=expiry.ends_ms).contains(&expiry.armed_ms);
        if let Some(end) = end.filter(|_| !is_armed) {
            expiry.armed_ms = end.elapsed_ms;
            self.arm_end(key, end, Timer::expiry);
        }
    }

    /// A session's timer has come. True if its credential has ended, and was not renewed meanwhile.
    pub(in super::super) fn has_expired(&mut self, key: LineKey) -> bool {
        let Some(session) = self.session_mut(key) else {
            return false;
        };
        let expiry = &mut session.expiry;
        let Some(unix_ms) = session.caller.ends_ms() else {
            expiry.armed_ms = NEVER;
            return false;
        };
        let end = End::new(unix_ms, expiry.ends_ms);
        let is_armed = std::mem::replace(&mut expiry.armed_ms, end.elapsed_ms) == end.elapsed_ms;
        let has_ended = self.has_come(end);
        // It was the timer of an earlier credential. That of this one may be armed: each is armed by two clocks.
        if !has_ended && !is_armed {
            self.arm_end(key, end, Timer::expiry);
        }
        has_ended
    }

    /// Ends what a session reads and may not read any more. Who reads a channel with its members asked for both at
    /// once, and loses both at once.
    pub(in super::super) fn revoke(&mut self, key: LineKey, notices: &mut BytesMut) {
        let Some(session) = self.session(key) else {
            return;
        };
        let Speech::Messages(carrier) = session.speech else {
            return;
        };
        let names = session.subscriptions.iter().map(|subscription| {
            let feed = &self.feeds[subscription.feed];
            feed.channel.name().clone()
        });
        let names: Vec<ChannelName> = names.collect();
        for read in names {
            let (action, name) = right_to_read(&read);
            // What it has left by itself, or lost a moment ago, it is not told of. What the application let it have, it
            // keeps until the time that the application said.
            if let Err(problem) = self.permit(key, action, &name, &Answers::NONE)
                && !self.is_lent(key, action, &name)
                && self.feed_of_session(key, &read).is_some()
            {
                self.take_away(key, &name, (carrier, &problem.detail), notices);
            }
        }
    }

    /// Ends the reading of a channel and of its members, and says why.
    pub(super) fn take_away(
        &mut self,
        key: LineKey,
        name: &ChannelName,
        (carrier, detail): (Carrier, &str),
        notices: &mut BytesMut,
    ) {
        if self.unsubscribe(key, name).is_err() {
            self.leave_presence(key, name);
        }
        let bytes_max = 64 + 6 * (name.as_str().len() + detail.len());
        carrier.plain(bytes_max, notices, |out| encode_revoked(name, detail, out));
    }

    /// Who a session will be among those present with another caller's credential, by channel, where that is another
    /// than now.
    fn members_of(
        &self,
        key: LineKey,
        caller: &Caller,
    ) -> Result<Vec<(ChannelName, Member)>, Problem> {
        let memberships = self.session(key).map(|session| &session.memberships);
        let mut members = Vec::new();
        for membership in memberships.into_iter().flatten() {
            let known = &membership.member;
            let mut member = match caller.info() {
                Some(info) => {
                    let presences = &self.shared.presences;
                    presences.member(known.user.clone(), Some(info))?
                }
                None => known.clone(),
            };
            if let Some(user) = caller.user() {
                member.user = user.clone();
            }
            if member != *known {
                members.push((membership.channel.clone(), member));
            }
        }
        Ok(members)
    }
}
