//! Presence: who is in one channel.
//!
//! ```text
//!  join, renew ─▶ ┌── Roster ───────────────────────────┐ ─▶ Change::Joined
//!  leave       ─▶ │ ada   held by sessions 3 and 7      │
//!  clock       ─▶ │ bob   held by nobody, until 12:00:03│ ─▶ Change::Left
//!                 └─────────────────────────────────────┘ ─▶ members, wake_at_ms
//! ```
//!
//! A member is a user. Each of its sessions holds it by a lease, which is renewed for as long as the
//! session lives: who vanishes without a word is gone when the lease is over. When the last session
//! is gone the member *lingers*, so that one who comes back meanwhile, as a reloaded page does, has
//! neither left nor joined. A session is one member at a time: one that takes another name has left
//! as who it was at once.
//!
//! Each place, a session's or a lingering name's, is somebody's who pays for it, and nobody has more
//! than a share of a channel.
//!
//! The clock counts milliseconds and has to go forward only: leases are no matter of the time of day.

mod member;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry};

use crate::session_id::SessionId;

pub use member::{Info, InfoError, Member, UserName};

/// Who is in one channel. Maps are trees: callers choose the names, and members are told in order.
#[derive(Debug, Clone)]
pub struct Roster {
    terms: Terms,
    members: BTreeMap<UserName, Held>,
    leases: BTreeMap<SessionId, Lease>,
    /// What is to be looked after, and when: one item for each lease, and one for each member who
    /// lingers. A lease's moment may have been put off since.
    due: BTreeSet<(u64, Due)>,
    /// How many places each has who pays for some.
    places: HashMap<Payer, usize>,
}

/// Who pays for a session's place: a caller, by a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Payer(pub u64);

/// How members are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How many members a channel takes.
    pub members_max: usize,
    /// How many places one who pays for them has at most: sessions, and names that linger after its
    /// sessions.
    pub places_per_payer_max: usize,
    /// How long a lease lasts without being renewed, in milliseconds.
    pub lease_ms: u64,
    /// How long a member whom no session holds is still there, in milliseconds. 0 is not at all.
    pub linger_ms: u64,
}

/// What others are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Somebody is there now; or was, and says something else about itself.
    Joined(Member),
    /// Somebody is not there any more.
    Left(Member),
}

/// Why nobody more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RosterFull {
    /// The channel has as many members as it takes.
    #[error(
        "the channel has {members_max} members and takes no more; come back when some have left"
    )]
    All {
        /// The limit.
        members_max: usize,
    },
    /// One who pays has as many places as it may.
    #[error(
        "{places_max} sessions and names of this caller are in the channel, which are as many as may be; leave with \
         some of them"
    )]
    OfPayer {
        /// The limit.
        places_max: usize,
    },
}

#[derive(Debug, Clone)]
struct Held {
    info: Option<Info>,
    by: By,
}

/// Who holds a member.
#[derive(Debug, Clone, Copy)]
enum By {
    /// So many sessions, at least one.
    Sessions(u32),
    /// Nobody; the member goes at that moment. The last who held it pays for its place until then.
    Nobody { until_ms: u64, payer: Payer },
}

#[derive(Debug, Clone)]
struct Lease {
    user: UserName,
    payer: Payer,
    ends_ms: u64,
    /// The moment of its item in `Roster::due`, at or before its end: renewing is so common that
    /// it leaves the item where it is.
    due_ms: u64,
}

/// Whether a member whom no session holds is still there for a while.
#[derive(Debug, Clone, Copy)]
enum Lingering {
    From(u64),
    Not,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Lease(SessionId),
    Linger(UserName),
}

impl Roster {
    /// Nobody is there.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            members: BTreeMap::new(),
            leases: BTreeMap::new(),
            due: BTreeSet::new(),
            places: HashMap::new(),
        }
    }

    /// How many changes others would be told if a session came as this member.
    ///
    /// # Errors
    ///
    /// [`RosterFull`]: it cannot come.
    pub fn check(
        &self,
        session: SessionId,
        member: &Member,
        payer: Payer,
    ) -> Result<u32, RosterFull> {
        let Terms {
            members_max,
            places_per_payer_max: places_max,
            ..
        } = self.terms;
        let known = self.members.get(&member.user);
        if self.members.len() >= members_max && known.is_none() {
            return Err(RosterFull::All { members_max });
        }
        let lease = self.leases.get(&session);
        let has_place = lease.is_some_and(|lease| lease.payer == payer);
        let lingers = known.is_some_and(|held| match held.by {
            By::Nobody { payer: of, .. } => of == payer,
            By::Sessions(_) => false,
        });
        let others = self.places(payer) - usize::from(has_place) - usize::from(lingers);
        if others >= places_max {
            return Err(RosterFull::OfPayer { places_max });
        }
        let joins = known.is_none_or(|held| member.info.is_some() && held.info != member.info);
        let leaves = lease.is_some_and(|lease| {
            let held = self.members.get(&lease.user);
            lease.user != member.user && held.is_some_and(|held| matches!(held.by, By::Sessions(1)))
        });
        Ok(u32::from(joins) + u32::from(leaves))
    }

    /// A session comes as this member, or renews its lease and brings other info. Info that is left
    /// out leaves what is known. A session that comes as somebody else leaves as who it was, at once.
    ///
    /// # Errors
    ///
    /// [`RosterFull`]; the roster is then as it was.
    pub fn join(
        &mut self,
        session: SessionId,
        member: Member,
        payer: Payer,
        now_ms: u64,
    ) -> Result<Vec<Change>, RosterFull> {
        self.check(session, &member, payer)?;
        let mut changes = Vec::new();
        match self.leases.get_mut(&session) {
            Some(lease) if lease.user == member.user => {
                let before = std::mem::replace(&mut lease.payer, payer);
                self.give_place(payer);
                self.take_place(before);
                self.renew(session, now_ms);
            }
            Some(_) | None => {
                changes.extend(self.end(session, Lingering::Not));
                self.hold(session, &member.user, payer, now_ms);
            }
        }
        changes.extend(self.tell(member));
        Ok(changes)
    }

    /// Renews a session's lease. False if it has none, because it never joined or the lease was
    /// over: then it has to join again.
    pub fn renew(&mut self, session: SessionId, now_ms: u64) -> bool {
        match self.leases.get_mut(&session) {
            Some(lease) => {
                lease.ends_ms = now_ms.saturating_add(self.terms.lease_ms);
                true
            }
            None => false,
        }
    }

    /// A session goes. The member has left only if it does not linger.
    pub fn leave(&mut self, session: SessionId, now_ms: u64) -> Option<Change> {
        self.end(session, Lingering::From(now_ms))
    }

    fn end(&mut self, session: SessionId, lingering: Lingering) -> Option<Change> {
        let lease = self.leases.remove(&session)?;
        self.due.remove(&(lease.due_ms, Due::Lease(session)));
        self.let_go(lease, lingering)
    }

    /// The next who has left by now, because its lease or its time to linger is over. Ask until
    /// there is none.
    pub fn poll_left(&mut self, now_ms: u64) -> Option<Change> {
        while self.due.first().is_some_and(|(at_ms, _)| *at_ms <= now_ms) {
            let left = match self.due.pop_first()? {
                (_, Due::Linger(user)) => self.remove(user),
                (_, Due::Lease(session)) => self.look_after(session),
            };
            if left.is_some() {
                return left;
            }
        }
        None
    }

    /// When to ask [`Roster::poll_left`] again; `None` while nobody is there.
    pub fn wake_at_ms(&self) -> Option<u64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    /// Who is there, in the order of names, and how many sessions each has: 0 while it lingers.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&UserName, Option<&Info>, u32)> {
        self.members.iter().map(|(user, held)| {
            let count = match held.by {
                By::Sessions(count) => count,
                By::Nobody { .. } => 0,
            };
            (user, held.info.as_ref(), count)
        })
    }

    /// Whether nobody is there, not even lingering.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Has a session, which holds nobody, hold a user.
    fn hold(&mut self, session: SessionId, user: &UserName, payer: Payer, now_ms: u64) {
        self.give_place(payer);
        let ends_ms = now_ms.saturating_add(self.terms.lease_ms);
        self.due.insert((ends_ms, Due::Lease(session)));
        let lease = Lease {
            user: user.clone(),
            payer,
            ends_ms,
            due_ms: ends_ms,
        };
        self.leases.insert(session, lease);
        let mut left = None;
        // Of a user who is new, telling makes a member.
        if let Some(held) = self.members.get_mut(user) {
            held.by = match held.by {
                By::Sessions(count) => By::Sessions(count + 1),
                By::Nobody { until_ms, payer } => {
                    self.due.remove(&(until_ms, Due::Linger(user.clone())));
                    left = Some(payer);
                    By::Sessions(1)
                }
            };
        }
        if let Some(payer) = left {
            self.take_place(payer);
        }
    }

    /// Puts down what is new about a user whom a session holds, if anything is.
    fn tell(&mut self, member: Member) -> Option<Change> {
        match self.members.entry(member.user.clone()) {
            Entry::Vacant(place) => {
                place.insert(Held {
                    info: member.info.clone(),
                    by: By::Sessions(1),
                });
            }
            Entry::Occupied(mut known) => {
                if member.info.is_none() || known.get().info == member.info {
                    return None;
                }
                known.get_mut().info.clone_from(&member.info);
            }
        }
        Some(Change::Joined(member))
    }

    /// One session fewer holds the user.
    fn let_go(&mut self, lease: Lease, lingering: Lingering) -> Option<Change> {
        let Lease { user, payer, .. } = lease;
        let linger_ms = self.terms.linger_ms;
        let held = self.members.get_mut(&user)?;
        match (held.by, lingering) {
            (By::Sessions(count), _) if count > 1 => {
                held.by = By::Sessions(count - 1);
                self.take_place(payer);
                None
            }
            // The place stays its payer's until the name is gone.
            (_, Lingering::From(now_ms)) if linger_ms > 0 => {
                let until_ms = now_ms.saturating_add(linger_ms);
                held.by = By::Nobody { until_ms, payer };
                self.due.insert((until_ms, Due::Linger(user)));
                None
            }
            (By::Sessions(_) | By::Nobody { .. }, _) => {
                self.take_place(payer);
                self.remove(user)
            }
        }
    }

    /// A lease's item has come up: the lease is over, or was renewed since.
    fn look_after(&mut self, session: SessionId) -> Option<Change> {
        let lease = self.leases.get_mut(&session)?;
        if lease.ends_ms > lease.due_ms {
            // Also where that is past: leases end in their order, since the last decides how long a
            // member lingers.
            lease.due_ms = lease.ends_ms;
            self.due.insert((lease.ends_ms, Due::Lease(session)));
            return None;
        }
        let lease = self.leases.remove(&session)?;
        // Lingering begins where the lease ended, however late anybody looks.
        let ends_ms = lease.ends_ms;
        self.let_go(lease, Lingering::From(ends_ms))
    }

    fn remove(&mut self, user: UserName) -> Option<Change> {
        let Held { info, by } = self.members.remove(&user)?;
        if let By::Nobody { payer, .. } = by {
            self.take_place(payer);
        }
        Some(Change::Left(Member { user, info }))
    }

    fn places(&self, payer: Payer) -> usize {
        self.places.get(&payer).copied().unwrap_or(0)
    }

    fn give_place(&mut self, payer: Payer) {
        *self.places.entry(payer).or_default() += 1;
    }

    fn take_place(&mut self, payer: Payer) {
        if let Some(count) = self.places.get_mut(&payer) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&payer);
            }
        }
    }
}
