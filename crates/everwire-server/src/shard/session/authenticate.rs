//! A fresh credential on the open line: the session goes on as the same caller, with other rights perhaps.

use bytes::BytesMut;
use everwire_channel::{ChannelName, presence::Member};
use everwire_wire::{Carrier, Problem, ProblemKind, encode_revoked};

use super::{
    super::{LineKey, Net, Shard},
    Speech,
    decide::Answers,
};
use crate::{
    auth::{Caller, right_to_read},
    clock::Now,
};

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
        if let (Some(account), Some(seat)) = (account, &mut self.lines[key as usize].address) {
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

    /// Has a session end when its caller's credential does.
    pub(in super::super) fn watch_expiry(&mut self, key: LineKey) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        // Who shows one token after the other has one timer: it sees for itself what has become of its time.
        if let Some(ends_ms) = session.caller.ends_ms()
            && session.expiry_ms.is_none_or(|armed_ms| ends_ms < armed_ms)
        {
            session.expiry_ms = Some(ends_ms);
            self.arm_expiry(key, Some(ends_ms));
        }
    }

    /// A session's timer has come. True if its credential has ended, and was not renewed meanwhile.
    pub(in super::super) fn has_expired(&mut self, key: LineKey) -> bool {
        let now_ms = self.now_ms;
        let Some(session) = self.session_mut(key) else {
            return false;
        };
        session.expiry_ms = None;
        let has_ended = session.caller.has_ended(now_ms);
        if !has_ended {
            self.watch_expiry(key);
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
            let feed = &self.feeds[subscription.feed as usize];
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
