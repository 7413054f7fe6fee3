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
//! neither left nor joined.
//!
//! The clock counts milliseconds and has to go forward only: leases are no matter of the time of day.

mod member;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

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
}

/// How members are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How many members a channel takes.
    pub members_max: usize,
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

/// The channel has as many members as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel has {members_max} members and takes no more; come back when some have left")]
pub struct RosterFull {
    /// The limit.
    pub members_max: usize,
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
    /// Nobody; the member goes at that moment.
    Nobody { until_ms: u64 },
}

#[derive(Debug, Clone)]
struct Lease {
    user: UserName,
    ends_ms: u64,
    /// The moment of its item in `Roster::due`, at or before its end: renewing is so common that
    /// it leaves the item where it is.
    due_ms: u64,
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
        }
    }

    /// A session comes as this member, or renews its lease and brings other info. Info that is left
    /// out leaves what is known. A session that comes as somebody else leaves as who it was.
    ///
    /// # Errors
    ///
    /// [`RosterFull`]; the roster is then as it was.
    pub fn join(
        &mut self,
        session: SessionId,
        member: Member,
        now_ms: u64,
    ) -> Result<Vec<Change>, RosterFull> {
        let members_max = self.terms.members_max;
        if self.members.len() >= members_max && !self.members.contains_key(&member.user) {
            return Err(RosterFull { members_max });
        }
        let mut changes = Vec::new();
        let known = self.leases.get(&session).map(|lease| &lease.user);
        if known == Some(&member.user) {
            self.renew(session, now_ms);
        } else {
            changes.extend(self.leave(session, now_ms));
            self.hold(session, &member.user, now_ms);
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
        let lease = self.leases.remove(&session)?;
        self.due.remove(&(lease.due_ms, Due::Lease(session)));
        self.let_go(lease.user, now_ms)
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
    fn hold(&mut self, session: SessionId, user: &UserName, now_ms: u64) {
        let ends_ms = now_ms.saturating_add(self.terms.lease_ms);
        self.due.insert((ends_ms, Due::Lease(session)));
        let lease = Lease {
            user: user.clone(),
            ends_ms,
            due_ms: ends_ms,
        };
        self.leases.insert(session, lease);
        // Of a user who is new, telling makes a member.
        if let Some(held) = self.members.get_mut(user) {
            held.by = match held.by {
                By::Sessions(count) => By::Sessions(count + 1),
                By::Nobody { until_ms } => {
                    self.due.remove(&(until_ms, Due::Linger(user.clone())));
                    By::Sessions(1)
                }
            };
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
    fn let_go(&mut self, user: UserName, now_ms: u64) -> Option<Change> {
        let held = self.members.get_mut(&user)?;
        match held.by {
            By::Sessions(count) if count > 1 => {
                held.by = By::Sessions(count - 1);
                None
            }
            By::Sessions(_) | By::Nobody { .. } if self.terms.linger_ms == 0 => self.remove(user),
            By::Sessions(_) | By::Nobody { .. } => {
                let until_ms = now_ms.saturating_add(self.terms.linger_ms);
                held.by = By::Nobody { until_ms };
                self.due.insert((until_ms, Due::Linger(user)));
                None
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
        self.let_go(lease.user, lease.ends_ms)
    }

    fn remove(&mut self, user: UserName) -> Option<Change> {
        let info = self.members.remove(&user)?.info;
        Some(Change::Left(Member { user, info }))
    }
}
