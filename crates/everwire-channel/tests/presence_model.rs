//! The roster against a naive model: a list of sessions and a list of who lingers, searched afresh
//! for each question.

use everwire_channel::presence::{Change, Payer, Terms};
use everwire_channel::{Info, Member, Roster, SessionId, UserName};
use proptest::prelude::*;
use serde_json::value::RawValue;

/// What happens to a roster.
#[derive(Debug, Clone)]
enum Step {
    Join(u64, &'static str, Option<u8>, u64),
    Renew(u64),
    Leave(u64),
    Wait(u64),
}

struct Session {
    id: u64,
    user: &'static str,
    payer: u64,
    ends_ms: u64,
}

struct Model {
    terms: Terms,
    sessions: Vec<Session>,
    lingering: Vec<(&'static str, u64, u64)>,
    info: Vec<(&'static str, Option<u8>)>,
}

/// A change as the model tells it: who, whether it is there, and its info.
type Told = (String, bool, Option<u8>);

impl Model {
    fn count(&self, user: &str) -> usize {
        let of_user = self.sessions.iter().filter(|session| session.user == user);
        of_user.count()
    }

    fn info(&self, user: &str) -> Option<u8> {
        self.info.iter().find(|(name, _)| *name == user)?.1
    }

    fn join(
        &mut self,
        id: u64,
        user: &'static str,
        info: Option<u8>,
        payer: u64,
        now_ms: u64,
    ) -> Option<Vec<Told>> {
        let known = self.info.iter().any(|(name, _)| *name == user);
        if !known && self.info.len() >= self.terms.members_max {
            return None;
        }
        let own = self.sessions.iter();
        let own = own.filter(|session| session.id != id && session.payer == payer);
        let names = self.lingering.iter();
        let names = names.filter(|(name, _, of)| *name != user && *of == payer);
        if own.count() + names.count() >= self.terms.places_per_payer_max {
            return None;
        }
        let is_same = |session: &Session| session.id == id && session.user == user;
        let mut told = match self.sessions.iter().any(is_same) {
            true => Vec::new(),
            false => self.leave_at_once(id),
        };
        self.sessions.retain(|session| session.id != id);
        let ends_ms = now_ms + self.terms.lease_ms;
        self.sessions.push(Session {
            id,
            user,
            payer,
            ends_ms,
        });
        self.lingering.retain(|(name, ..)| *name != user);
        if !known || (info.is_some() && info != self.info(user)) {
            self.info.retain(|(name, _)| *name != user);
            self.info.push((user, info));
            told.push((user.to_owned(), true, info));
        }
        Some(told)
    }

    fn leave_at_once(&mut self, id: u64) -> Vec<Told> {
        let linger_ms = std::mem::replace(&mut self.terms.linger_ms, 0);
        let lingering = std::mem::take(&mut self.lingering);
        let told = self.leave(id, 0);
        self.lingering = lingering;
        self.terms.linger_ms = linger_ms;
        told
    }

    fn leave(&mut self, id: u64, at_ms: u64) -> Vec<Told> {
        let Some(index) = self.sessions.iter().position(|session| session.id == id) else {
            return Vec::new();
        };
        let Session { user, payer, .. } = self.sessions.remove(index);
        if self.count(user) > 0 {
            return Vec::new();
        }
        (self.lingering).push((user, at_ms + self.terms.linger_ms, payer));
        match self.terms.linger_ms {
            0 => self.gone(at_ms),
            _ => Vec::new(),
        }
    }

    fn left(&mut self, now_ms: u64) -> Vec<Told> {
        let mut told = Vec::new();
        let over = |session: &&Session| session.ends_ms <= now_ms;
        // The one that ended first goes first, since the last to go decides when lingering begins, and who pays for it.
        while let Some(session) =
            (self.sessions.iter().filter(over)).min_by_key(|s| (s.ends_ms, s.id))
        {
            let (id, ends_ms) = (session.id, session.ends_ms);
            told.extend(self.leave(id, ends_ms));
        }
        told.extend(self.gone(now_ms));
        told
    }

    fn gone(&mut self, now_ms: u64) -> Vec<Told> {
        let is_gone = |(_, until_ms, _): &(&str, u64, u64)| *until_ms <= now_ms;
        let gone: Vec<_> = self
            .lingering
            .extract_if(.., |item| is_gone(item))
            .collect();
        let mut told = Vec::new();
        for (user, ..) in gone {
            told.push((user.to_owned(), false, self.info(user)));
            self.info.retain(|(name, _)| *name != user);
        }
        told
    }

    fn members(&self) -> Vec<(String, Option<u8>, usize)> {
        let member = |(user, info): &(&str, _)| (user.to_string(), *info, self.count(user));
        let mut members: Vec<_> = self.info.iter().map(member).collect();
        members.sort();
        members
    }
}

fn info(number: u8) -> Info {
    let value = RawValue::from_string(number.to_string()).unwrap();
    Info::new(&value, 8).unwrap()
}

fn number(info: Option<&Info>) -> Option<u8> {
    info.map(|info| info.as_str().parse().unwrap())
}

fn told(change: &Change) -> Told {
    let (member, is_there) = match change {
        Change::Joined(member) => (member, true),
        Change::Left(member) => (member, false),
    };
    let info = number(member.info.as_ref());
    (member.user.to_string(), is_there, info)
}

fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    told.sort();
    told
}

fn step() -> impl Strategy<Value = Step> {
    let user = prop::sample::select(vec!["ada", "bob", "cy", "dee"]);
    prop_oneof![
        4 => (0..6u64, user, prop::option::of(0..2u8), 0..2u64)
            .prop_map(|(session, user, info, payer)| Step::Join(session, user, info, payer)),
        2 => (0..6u64).prop_map(Step::Renew),
        3 => (0..6u64).prop_map(Step::Leave),
        4 => (0..30u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Any sessions of any users, on any clock, are told as the model tells them.
    #[test]
    fn a_roster_tells_what_the_model_tells(
        steps in prop::collection::vec(step(), 1..80),
        members_max in 1..4usize,
        places_per_payer_max in 1..4usize,
        lease_ms in 1..40u64,
        linger_ms in 0..20u64,
    ) {
        let terms = Terms { members_max, places_per_payer_max, lease_ms, linger_ms };
        let mut roster = Roster::new(terms);
        let mut model = Model { terms, sessions: vec![], lingering: vec![], info: vec![] };
        let mut now_ms = 0;
        for step in steps {
            match step {
                Step::Join(session, user, said, payer) => {
                    let expected = model.join(session, user, said, payer, now_ms);
                    let user = UserName::new(user).unwrap();
                    let member = Member { user, info: said.map(info) };
                    let payer = Payer(payer);
                    let check = roster.check(SessionId(session), &member, payer);
                    let found = roster.join(SessionId(session), member, payer, now_ms);
                    let count = found.as_ref().map(|changes| changes.len() as u32);
                    prop_assert_eq!(check, count.map_err(|full| *full));
                    let found = found.ok().map(|changes| changes.iter().map(told).collect());
                    prop_assert_eq!(found, expected);
                }
                Step::Renew(session) => {
                    let known = model.sessions.iter_mut().find(|known| known.id == session);
                    prop_assert_eq!(roster.renew(SessionId(session), now_ms), known.is_some());
                    if let Some(known) = known {
                        known.ends_ms = now_ms + lease_ms;
                    }
                }
                Step::Leave(session) => {
                    let found: Vec<_> = roster.leave(SessionId(session), now_ms).iter().map(told).collect();
                    prop_assert_eq!(found, model.leave(session, now_ms));
                }
                Step::Wait(ms) => {
                    now_ms += ms;
                    let wakes = roster.wake_at_ms().is_some_and(|at_ms| at_ms <= now_ms);
                    let mut found = Vec::new();
                    while let Some(change) = roster.poll_left(now_ms) {
                        found.push(told(&change));
                    }
                    prop_assert!(wakes || found.is_empty(), "nobody leaves before the time to wake");
                    prop_assert_eq!(sorted(found), sorted(model.left(now_ms)));
                }
            }
            let members: Vec<_> = roster
                .members()
                .map(|(user, info, count)| (user.to_string(), number(info), count as usize))
                .collect();
            prop_assert_eq!(members, model.members());
            prop_assert_eq!(roster.is_empty(), roster.wake_at_ms().is_none());
        }
    }
}
