//! Tokens that were taken back before their time is over: one by its name (`jti`), or all of a user (`sub`) that were
//! issued before a moment.
//!
//! What was said is kept until no token that it concerns can be valid any more, and then forgotten. When there is no room
//! for more, more is refused: to forget what is still needed would let somebody in again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use everwire_channel::UserName;

use super::{Known, Who};
use crate::config::{Revoked, Tokens};

/// What was taken back, without IO and locks.
#[derive(Debug, Default)]
pub(super) struct List {
    tokens: HashMap<String, Token>,
    /// By the name of the user.
    users: HashMap<String, Before>,
}

/// Before when a user was vouched for whose credentials are taken back, in Unix seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    /// By whoever issues tokens, whose clock may be ahead.
    issued_s: u64,
    /// By the application, which is asked by this server's own clock.
    decided_s: u64,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    /// When it ends by itself, in Unix seconds, if that was said.
    ends_s: Option<u64>,
    revoked_s: u64,
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl List {
    /// What a configuration says.
    pub fn of(all: &[Revoked]) -> Self {
        let mut list = Self::default();
        for one in all {
            list.insert(one, 0);
        }
        list
    }

    /// How many are named.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    /// Adds one, if there is room or it is there already.
    pub fn add(&mut self, revoked: &Revoked, settings: &Tokens, now_s: u64) -> Result<(), Full> {
        let is_there = match revoked {
            Revoked::Token { id, .. } => self.tokens.contains_key(id),
            Revoked::User { user, .. } => self.users.contains_key(user.as_str()),
        };
        if !is_there && self.len() >= settings.revocations_max {
            self.forget(settings, now_s);
            if self.len() >= settings.revocations_max {
                return Err(Full);
            }
        }
        self.insert(revoked, now_s);
        Ok(())
    }

    /// Whether it concerns the holder of a token.
    pub fn concerns(&self, known: &Known) -> bool {
        let before = |user: &Option<UserName>| self.users.get(user.as_ref()?.as_str()).copied();
        match &known.who {
            Who::Token {
                user, id, issued_s, ..
            } => {
                let is_named = id.as_ref().is_some_and(|id| self.tokens.contains_key(id));
                let was_issued_before =
                    |before: Before| issued_s.is_none_or(|issued_s| issued_s < before.issued_s);
                is_named || before(user).is_some_and(was_issued_before)
            }
            Who::Named {
                user, decided_s, ..
            } => before(user).is_some_and(|before| *decided_s < before.decided_s),
            Who::Server(_) => false,
        }
    }

    /// Forgets what concerns no token any more that could be valid.
    pub fn forget(&mut self, settings: &Tokens, now_s: u64) {
        self.tokens
            .retain(|_, token| token.is_needed(settings, now_s));
        self.users
            .retain(|_, before| is_needed(last_end(before.issued_s, settings), settings, now_s));
    }

    /// All that is named.
    pub fn all(&self) -> impl Iterator<Item = Revoked> {
        let tokens = self.tokens.iter().map(|(id, token)| Revoked::Token {
            id: id.clone(),
            ends_s: token.ends_s,
        });
        let users = self.users.iter().filter_map(|(user, before)| {
            Some(Revoked::User {
                user: UserName::new(user).ok()?,
                before_s: before.issued_s,
            })
        });
        tokens.chain(users)
    }

    fn insert(&mut self, revoked: &Revoked, now_s: u64) {
        match revoked {
            Revoked::Token { id, ends_s } => {
                let token = Token {
                    ends_s: *ends_s,
                    revoked_s: now_s,
                };
                self.tokens.insert(id.clone(), token);
            }
            Revoked::User { user, before_s } => {
                // What was decided after it was said is not meant, unless a configuration says it, at no time.
                let decided_s = match now_s {
                    0 => *before_s,
                    _ => (*before_s).min(now_s + 1),
                };
                let known = self.users.entry(user.as_str().to_owned()).or_default();
                known.issued_s = known.issued_s.max(*before_s);
                known.decided_s = known.decided_s.max(decided_s);
            }
        }
    }
}

impl Token {
    fn is_needed(self, settings: &Tokens, now_s: u64) -> bool {
        let ends_s = self.ends_s.or_else(|| last_end(self.revoked_s, settings));
        is_needed(ends_s, settings, now_s)
    }
}

/// The last `exp` of any token that was issued by then, in Unix seconds; nothing where a token may be without an end.
fn last_end(issued_s: u64, settings: &Tokens) -> Option<u64> {
    let life_s = settings.life_s_max.saturating_add(settings.leeway_s);
    (settings.exp_required).then(|| issued_s.saturating_add(life_s))
}

fn is_needed(ends_s: Option<u64>, settings: &Tokens, now_s: u64) -> bool {
    ends_s.is_none_or(|ends_s| now_s < ends_s.saturating_add(settings.leeway_s))
}

/// What was taken back while the server runs, for all who check and all who serve.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    list: Mutex<List>,
}

impl Revocations {
    /// Takes tokens back, if there is room; how many are named now.
    pub fn add(&self, revoked: &Revoked, settings: &Tokens, now_ms: u64) -> Result<usize, Full> {
        let mut list = self.lock();
        list.add(revoked, settings, now_ms / 1000)?;
        Ok(list.len())
    }

    /// All that are needed.
    pub fn all(&self, settings: &Tokens, now_ms: u64) -> Vec<Revoked> {
        let mut list = self.lock();
        list.forget(settings, now_ms / 1000);
        list.all().collect()
    }

    /// Whether one concerns the holder of a token.
    pub fn concerns(&self, known: &Known) -> bool {
        self.lock().concerns(known)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_S: u64 = 1_790_000_000;

    fn known(user: &str, id: Option<&str>, issued_s: Option<u64>) -> Known {
        Known {
            proof: crate::auth::Proof::KeyServer([0; 32]),
            who: Who::Token {
                user: Some(UserName::new(user).unwrap()),
                info: None,
                id: id.map(str::to_owned),
                issued_s,
            },
            grants: Vec::new(),
            told: None,
            can: Vec::new(),
            ends_ms: None,
        }
    }

    fn user(name: &str, before_s: u64) -> Revoked {
        Revoked::User {
            user: UserName::new(name).unwrap(),
            before_s,
        }
    }

    fn token(id: &str) -> Revoked {
        Revoked::Token {
            id: id.to_owned(),
            ends_s: None,
        }
    }

    #[test]
    fn one_token_is_named_or_all_of_a_user_that_were_issued_before() {
        let list = List::of(&[token("t"), user("ada", NOW_S)]);
        for (known, expected) in [
            (known("bob", Some("t"), None), true),
            (known("bob", Some("T"), None), false),
            (known("bob", None, Some(0)), false),
            (known("ada", Some("u"), Some(NOW_S - 1)), true),
            (known("ada", Some("u"), Some(NOW_S)), false),
            (known("ada", None, None), true),
            (known("ada", Some("t"), Some(NOW_S)), true),
        ] {
            assert_eq!(list.concerns(&known), expected, "{known:?}");
        }
        let server = Known {
            proof: crate::auth::Proof::KeyServer([0; 32]),
            who: Who::Server("ada".to_owned()),
            ..known("ada", None, None)
        };
        assert!(
            !list.concerns(&server),
            "an API key is taken back by its entry"
        );
    }

    #[test]
    fn a_later_moment_counts_and_an_earlier_one_changes_nothing() {
        let list = List::of(&[user("ada", 5), user("ada", 9), user("ada", 7)]);
        assert!(list.concerns(&known("ada", None, Some(8))));
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn when_there_is_no_room_more_is_refused_and_nothing_is_forgotten_that_is_needed() {
        let settings = Tokens {
            revocations_max: 2,
            ..Tokens::default()
        };
        let mut list = List::default();
        list.add(&token("a"), &settings, NOW_S).unwrap();
        list.add(&user("ada", NOW_S), &settings, NOW_S).unwrap();
        assert_eq!(list.add(&token("b"), &settings, NOW_S), Err(Full));
        // What is there already may be said again.
        list.add(&token("a"), &settings, NOW_S + 10).unwrap();
        list.add(&user("ada", NOW_S + 10), &settings, NOW_S)
            .unwrap();
        let over_s = NOW_S + settings.life_s_max + 2 * settings.leeway_s;
        assert_eq!(list.add(&token("b"), &settings, over_s), Err(Full));
        list.add(&token("b"), &settings, over_s + 10).unwrap();
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn what_is_said_is_needed_until_its_last_token_has_ended() {
        let settings = Tokens::default();
        let (life_s, leeway_s) = (settings.life_s_max, settings.leeway_s);
        let endless = Tokens {
            exp_required: false,
            ..Tokens::default()
        };
        let ending = Revoked::Token {
            id: "a".to_owned(),
            ends_s: Some(NOW_S + 60),
        };
        for (settings, revoked, needed_s) in [
            (&settings, token("a"), Some(NOW_S + life_s + 2 * leeway_s)),
            (
                &settings,
                user("ada", NOW_S),
                Some(NOW_S + life_s + 2 * leeway_s),
            ),
            (
                &settings,
                user("ada", NOW_S - 60),
                Some(NOW_S - 60 + life_s + 2 * leeway_s),
            ),
            (&settings, ending.clone(), Some(NOW_S + 60 + leeway_s)),
            (&endless, token("a"), None),
            (&endless, user("ada", NOW_S), None),
            (&endless, ending, Some(NOW_S + 60 + leeway_s)),
        ] {
            let len_at = |at_s: u64| {
                let mut list = List::default();
                list.add(&revoked, settings, NOW_S).unwrap();
                list.forget(settings, at_s);
                list.len()
            };
            let needed_s = needed_s.unwrap_or(u64::MAX / 2);
            assert_eq!(len_at(needed_s - 1), 1, "{revoked:?}");
            let after = usize::from(needed_s == u64::MAX / 2);
            assert_eq!(len_at(needed_s), after, "{revoked:?}");
        }
    }

    proptest! {
        /// Whatever is said and whenever room is made: a token that was taken back, and could be valid, is not taken.
        #[test]
        fn who_was_taken_back_is_so_for_as_long_as_the_token_could_be_valid(
            said in prop::collection::vec((0_u8..4, any::<bool>(), 0_u64..200_000), 1..50),
            issued_s in 0_u64..200_000,
            at_s in 0_u64..400_000,
        ) {
            let settings = Tokens { revocations_max: 5, ..Tokens::default() };
            let mut list = List::default();
            let mut is_revoked = false;
            let name = |n: u8| char::from(b'a' + n).to_string();
            let mut said = said;
            said.sort_by_key(|(_, _, now_s)| *now_s);
            for (n, by_name, now_s) in said.into_iter().filter(|(_, _, now_s)| *now_s <= at_s) {
                let revoked = if by_name { token(&name(n)) } else { user(&name(n), now_s) };
                let taken = list.add(&revoked, &settings, now_s).is_ok();
                let is_its = n == 0 && (if by_name { issued_s <= now_s } else { issued_s < now_s });
                is_revoked |= taken && is_its;
            }
            list.forget(&settings, at_s);
            let ends_s = issued_s + settings.life_s_max + settings.leeway_s;
            let is_valid = at_s < ends_s + settings.leeway_s;
            if is_revoked && is_valid {
                prop_assert!(list.concerns(&known("a", Some("a"), Some(issued_s))));
            }
        }
    }
}
