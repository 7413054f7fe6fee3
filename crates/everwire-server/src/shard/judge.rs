//! Judging open lines anew: other rules or keys hold than those that they were let in by.

use bytes::BytesMut;

use super::{
    LineKey, LocalKey, Net, Role, SLICE, Seat, Shard,
    session::{Session, Speech},
};
use crate::{
    auth::{self, Caller},
    config::Action,
    tls::{Refusal, Security},
};

/// What a line is judged by.
enum Judged {
    /// A line of one channel, or a poll.
    Reader {
        channel: LocalKey,
        caller: Caller,
        is_lent: bool,
    },
    /// A session, each of whose channels is judged.
    Session(Caller),
}

impl<N: Net> Shard<N> {
    /// Goes on with the configuration that holds now.
    pub(super) fn look_at_settings(&mut self) {
        if self.shared.live.is_outdated() {
            self.shared.live.refresh();
            self.is_reloaded = true;
            self.judging = self.lines.iter().map(|(key, _)| key).collect();
        }
    }

    /// A line that has just come may have been let in by a configuration that holds no longer.
    pub(super) fn judge_newcomer(&mut self, key: LineKey) {
        if self.is_reloaded {
            self.judging.push(key);
        }
    }

    /// Whether lines are left to be judged.
    pub(super) fn is_judging(&self) -> bool {
        !self.judging.is_empty()
    }

    /// Judges the next lines. A million at once would hold up all others.
    pub(super) fn judge_some(&mut self) {
        for _ in 0..SLICE {
            let Some(key) = self.judging.pop() else {
                return;
            };
            self.judge_one(key);
        }
    }

    /// Judges a line that does something before its turn to be judged has come: what it asks for is not granted by what
    /// held before.
    pub(super) fn judge_at_once(&mut self, key: LineKey) {
        if self.is_judging() {
            self.judge_one(key);
        }
    }

    /// Judges whether a line's connection would be let in now, and then its rights.
    fn judge_one(&mut self, key: LineKey) {
        match self.refusal(key) {
            Some(refusal) => match &self.lines[key].seat {
                Seat::Alone(alone) => match &alone.role {
                    Role::Poll(_) => self.end_right(key, &refusal.ends_line()),
                    Role::Echo => self.close(key),
                    // It says its last words, and is judged again with the next request.
                    Role::Answering { .. } | Role::Lingering => {}
                },
                Seat::Feed { .. } | Seat::Session(_) | Seat::Vacant => {
                    self.end_right(key, &refusal.ends_line());
                }
            },
            None => {
                if let Some(judged) = self.judged(key) {
                    self.judge(key, judged);
                }
            }
        }
    }

    /// Tells why a line's connection would not be let in now, if so.
    fn refusal(&self, key: LineKey) -> Option<Refusal> {
        let line = self.lines.get(key)?;
        let security = match &line.seat {
            Seat::Feed { .. } => Some(Security::Clear),
            Seat::Session(session) => session.outlet.security(),
            Seat::Alone(alone) => alone.outlet.security(),
            Seat::Vacant => None,
        };
        self.shared.admit(security?).permit(false).err()
    }

    fn judged(&self, key: LineKey) -> Option<Judged> {
        let line = self.lines.get(key)?;
        let reader = |channel| {
            let known = self.credentials.get(&key).cloned();
            let caller = known.map_or(Caller::Anybody, Caller::Known);
            let is_lent = self.lent.contains(&key);
            Some(Judged::Reader {
                channel,
                caller,
                is_lent,
            })
        };
        match &line.seat {
            Seat::Feed { feed, .. } => reader(self.feeds[*feed].local),
            Seat::Session(session) => match session.speech {
                Speech::Messages(_) => Some(Judged::Session(session.caller.clone())),
                Speech::Plain(_) => Some(Judged::Reader {
                    channel: self.only_channel(session)?,
                    caller: session.caller.clone(),
                    is_lent: session.is_lent,
                }),
            },
            Seat::Alone(alone) => match &alone.role {
                Role::Poll(poll) => Some(Judged::Reader {
                    channel: poll.local,
                    caller: poll.request.caller.clone(),
                    is_lent: poll.request.is_lent,
                }),
                Role::Answering { .. } | Role::Echo | Role::Lingering => None,
            },
            Seat::Vacant => None,
        }
    }

    /// The channel of a line that reads one as a session does.
    fn only_channel(&self, session: &Session<N::Socket>) -> Option<LocalKey> {
        let read = session.subscriptions.first()?;
        Some(self.feeds[read.feed].local)
    }

    fn judge(&mut self, key: LineKey, judged: Judged) {
        match judged {
            Judged::Reader {
                channel,
                caller,
                is_lent,
            } => {
                let name = self.locals[channel].channel.name().clone();
                match self
                    .shared
                    .live
                    .judge_reader(&caller, &name, is_lent, self.now_ms)
                {
                    Ok(caller) => {
                        let rules = &self.shared.live.rules;
                        let is_asked = rules.is_decided(Action::Publish, &name)
                            && (self.session(key)).is_some_and(|session| session.asks.is_some());
                        let may_publish = is_asked || caller.permits(rules, Action::Publish, &name);
                        self.lines[key].rights.publish &= may_publish;
                        if let Seat::Feed { .. } = self.lines[key].seat {
                            self.remember_caller(key, &caller);
                        }
                    }
                    Err(problem) => self.end_right(key, &problem),
                }
            }
            Judged::Session(caller) => match self.shared.live.authority.renew(&caller, self.now_ms)
            {
                Ok(caller) => {
                    if let Some(session) = self.session_mut(key) {
                        session.caller = caller;
                    }
                    let mut notices = BytesMut::new();
                    self.revoke(key, &mut notices);
                    if !notices.is_empty() {
                        self.reply(key, &notices);
                    }
                }
                Err(error) => self.end_right(key, &auth::not_taken(&error)),
            },
        }
    }
}
