//! The budget of bytes that are held for peers and are in no log: contents that are being collected, answers that are
//! not taken, messages that have not come whole.
//!
//! ```text
//!  take(account, bytes) ─▶ all together ≤ limits.in_flight_bytes_max            ─▶ Share ── drop ─▶ given back
//!                          strangers    ≤ three quarters of it
//!                          the account  ≤ limits.in_flight_bytes_per_caller_max
//! ```
//!
//! A share is taken *before* bytes are read or made, so that nobody's requests add up to more memory than there is. What
//! is left for callers with a credential, strangers cannot use up: addresses cost nothing.
//!
//! What is bounded otherwise and small takes no share ([`FREE_BYTES`]): then it is as many as there are connections.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};

use crate::rate::{Account, Kind};

/// What is held for all peers.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Bytes that are held for anybody.
    all: AtomicUsize,
    /// Bytes of them that are held for callers without a credential.
    strangers: AtomicUsize,
    /// Bytes that are held for each account that has some.
    parts: [Mutex<HashMap<Account, usize>>; PARTS],
}

/// How much may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// For all together, in bytes.
    pub all: usize,
    /// For one account, in bytes; 0 is any number.
    pub account: usize,
}

/// Why no more is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exhausted {
    /// As much is held as may be for all, or for all strangers.
    #[error("as much is held as may be for all callers")]
    All,
    /// As much is held as may be for this account.
    #[error("as much is held as may be for this caller")]
    Account,
}

/// Bytes that are held for one account, until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bounds: Bounds,
    account: Account,
    bytes: usize,
}

/// Bytes with the share that they take up.
struct Held {
    bytes: Bytes,
    _share: Share,
}

/// What one connection may have the server hold without a share, besides its buffers: it is bounded by the number of
/// connections, and most requests need no more.
pub(crate) const FREE_BYTES: usize = 16 * 1024;

/// Bytes by which a share is taken for what has no known size.
pub(crate) const STEP_BYTES: usize = 64 * 1024;

/// A request's content, whole, and the share of the budget that it takes up.
#[derive(Debug)]
pub(crate) struct Content {
    pub bytes: Bytes,
    /// To be kept for as long as the bytes are. None for what is small and came at once.
    pub share: Option<Share>,
}

impl Content {
    /// The bytes, which take their share along.
    pub fn into_bytes(self) -> Bytes {
        match self.share {
            Some(share) => share.with(self.bytes),
            None => self.bytes,
        }
    }
}

#[cfg(test)]
impl From<String> for Content {
    fn from(content: String) -> Self {
        Self {
            bytes: content.into(),
            share: None,
        }
    }
}

const PARTS: usize = 16;

impl Budget {
    /// Holds the bytes of an answer for an account; a small one is among what its connection may have anyhow.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn take_answer(
        self: &Arc<Self>,
        account: Account,
        bytes: usize,
        bounds: Bounds,
    ) -> Result<Share, Exhausted> {
        let counted = if bytes > FREE_BYTES { bytes } else { 0 };
        self.take(account, counted, bounds)
    }

    /// Holds bytes for an account.
    ///
    /// # Errors
    ///
    /// Within the bounds there is no room for them. Nothing is held then that was not before.
    pub fn take(
        self: &Arc<Self>,
        account: Account,
        bytes: usize,
        bounds: Bounds,
    ) -> Result<Share, Exhausted> {
        let mut share = Share {
            budget: self.clone(),
            bounds,
            account,
            bytes: 0,
        };
        share.grow(bytes)?;
        Ok(share)
    }

    /// Bytes that are held now.
    pub fn bytes(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    fn add(&self, account: Account, bytes: usize, bounds: Bounds) -> Result<(), Exhausted> {
        add_to(&self.all, bytes, bounds.all).ok_or(Exhausted::All)?;
        if is_stranger(account) && add_to(&self.strangers, bytes, bounds.strangers()).is_none() {
            self.all.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Exhausted::All);
        }
        let mut part = self.part(account);
        let held = part.get(&account).copied().unwrap_or(0) + bytes;
        if bounds.account > 0 && held > bounds.account {
            drop(part);
            self.subtract_from_sums(account, bytes);
            return Err(Exhausted::Account);
        }
        part.insert(account, held);
        Ok(())
    }

    fn subtract(&self, account: Account, bytes: usize) {
        if let Entry::Occupied(mut entry) = self.part(account).entry(account) {
            *entry.get_mut() -= bytes;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        self.subtract_from_sums(account, bytes);
    }

    fn subtract_from_sums(&self, account: Account, bytes: usize) {
        if is_stranger(account) {
            self.strangers.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn part(&self, account: Account) -> MutexGuard<'_, HashMap<Account, usize>> {
        let part = &self.parts[account.spread(PARTS)];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bounds {
    /// Any number.
    const NONE: Self = Self {
        all: usize::MAX,
        account: 0,
    };

    /// For all callers without a credential together, in bytes.
    fn strangers(self) -> usize {
        match self {
            Self::NONE => usize::MAX,
            Self { all, .. } => all / 4 * 3,
        }
    }
}

impl Share {
    /// Holds so many bytes more.
    ///
    /// # Errors
    ///
    /// There is no room for them; the share stays as it is.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes > 0 {
            self.budget.add(self.account, bytes, self.bounds)?;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// Holds so many bytes at least.
    ///
    /// # Errors
    ///
    /// There is no room for what is missing; the share stays as it is.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.grow(bytes.saturating_sub(self.bytes))
    }

    /// Holds so many bytes, whether there is room for them or not: what was done has to be told. Whoever then has more
    /// than may be gets nothing more until it is given back.
    pub fn settle(&mut self, bytes: usize) {
        self.shrink_to(bytes);
        let bounds = std::mem::replace(&mut self.bounds, Bounds::NONE);
        let grown = self.grow_to(bytes);
        debug_assert_eq!(grown, Ok(()), "nothing is in its way");
        self.bounds = bounds;
    }

    /// A share of so many bytes of this one, or of all that it has.
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            budget: self.budget.clone(),
            bytes,
            ..*self
        }
    }

    /// Bytes that it is for: given back when the last piece of them is gone.
    pub fn with(self, bytes: Bytes) -> Bytes {
        match self.bytes {
            0 => bytes,
            _ => Bytes::from_owner(Held {
                bytes,
                _share: self,
            }),
        }
    }

    /// Holds so many bytes at most, and gives back what is more.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.bytes -= less;
            self.budget.subtract(self.account, less);
        }
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Exhausted {
    /// The limit that was met, if a line is cut for it.
    pub fn limit_of(error: &io::Error) -> Option<&'static str> {
        let exhausted = error.get_ref()?.downcast_ref::<Self>()?;
        exhausted.problem().limit
    }

    /// What whoever wanted to have something held is told.
    pub fn problem(self) -> Problem {
        match self {
            Self::All => Problem::new(
                ProblemKind::Overloaded,
                "this server holds as many bytes for requests and answers that are under way as it may \
                 (limits.in_flight_bytes_max); try again later",
            )
            .at_limit("in_flight_bytes_max"),
            Self::Account => Problem::new(
                ProblemKind::TooMany,
                "this server holds as many bytes for your requests and answers that are under way as it may \
                 (limits.in_flight_bytes_per_caller_max); finish some, and take their answers",
            )
            .at_limit("in_flight_bytes_per_caller_max"),
        }
    }
}

/// Whoever has no credential counts among the strangers.
fn is_stranger(account: Account) -> bool {
    account.kind() == Kind::Address
}

/// Adds, if the sum is within a bound.
fn add_to(sum: &AtomicUsize, bytes: usize, max: usize) -> Option<usize> {
    sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
        held.checked_add(bytes).filter(|held| *held <= max)
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{auth::Caller, rate::Rate};

    const BOUNDS: Bounds = Bounds {
        all: 400,
        account: 200,
    };

    /// Accounts of three addresses, and of a user and a server.
    fn accounts() -> [Account; 5] {
        let rate = Rate::default();
        let address = |last| rate.account(&Caller::Anybody, [192, 0, 2, last].into());
        let number = |kind, name: &str| rate.number(kind, name);
        [
            address(1),
            address(2),
            address(3),
            number(Kind::User, "ada"),
            number(Kind::Key, "backend"),
        ]
    }

    /// What a naive budget holds: each share by itself, added up anew for each question.
    #[derive(Default)]
    struct Naive(Vec<(usize, usize)>);

    impl Naive {
        fn sum(&self, counts: impl Fn(usize) -> bool) -> usize {
            let held = self.0.iter().filter(|(account, _)| counts(*account));
            held.map(|(_, bytes)| bytes).sum()
        }

        /// Whether an account may have so many more.
        fn check(&self, account: usize, bytes: usize) -> Result<(), Exhausted> {
            if bytes == 0 {
                return Ok(()); // whoever asks for nothing is not told of what was settled
            }
            let is_stranger = |account: usize| account < 3;
            let all = self.sum(|_| true) + bytes;
            let strangers = self.sum(is_stranger) + bytes;
            if all > BOUNDS.all || is_stranger(account) && strangers > BOUNDS.all / 4 * 3 {
                return Err(Exhausted::All);
            }
            match self.sum(|other| other == account) + bytes > BOUNDS.account {
                true => Err(Exhausted::Account),
                false => Ok(()),
            }
        }
    }

    proptest! {
        #[test]
        fn it_holds_what_the_naive_one_does(
            steps in proptest::collection::vec((0_u8..6, 0_usize..5, 0_usize..120, any::<prop::sample::Index>()), 0..200)
        ) {
            let (budget, accounts) = (Arc::new(Budget::default()), accounts());
            let (mut naive, mut shares) = (Naive::default(), Vec::new());
            for (step, account, bytes, which) in steps {
                let which = (!shares.is_empty()).then(|| which.index(shares.len()));
                match (step, which) {
                    (0, _) => {
                        let expected = naive.check(account, bytes);
                        let taken = budget.take(accounts[account], bytes, BOUNDS);
                        prop_assert_eq!(taken.as_ref().err().copied(), expected.err());
                        if let Ok(share) = taken {
                            shares.push(share);
                            naive.0.push((account, bytes));
                        }
                    }
                    (1, Some(which)) => {
                        let expected = naive.check(naive.0[which].0, bytes);
                        prop_assert_eq!(shares[which].grow(bytes), expected);
                        if expected.is_ok() {
                            naive.0[which].1 += bytes;
                        }
                    }
                    (2, Some(which)) => {
                        shares[which].shrink_to(bytes);
                        naive.0[which].1 = naive.0[which].1.min(bytes);
                    }
                    (3, Some(which)) => {
                        shares.swap_remove(which);
                        naive.0.swap_remove(which);
                    }
                    (4, Some(which)) => {
                        shares[which].settle(bytes);
                        naive.0[which].1 = bytes;
                    }
                    (5, Some(which)) => {
                        let (account, held) = naive.0[which];
                        let bytes = bytes.min(held);
                        let split = shares[which].split(bytes);
                        shares.push(split);
                        naive.0[which].1 -= bytes;
                        naive.0.push((account, bytes));
                    }
                    _ => {}
                }
                prop_assert_eq!(budget.bytes(), naive.sum(|_| true));
                let held: Vec<_> = shares.iter().map(Share::bytes).collect();
                let expected: Vec<_> = naive.0.iter().map(|(_, bytes)| *bytes).collect();
                prop_assert_eq!(held, expected);
            }
            drop(shares);
            prop_assert_eq!((budget.bytes(), budget.strangers.load(Ordering::Relaxed)), (0, 0));
            prop_assert!(budget.parts.iter().all(|part| part.lock().unwrap().is_empty()), "nobody is remembered");
        }
    }

    #[test]
    fn strangers_leave_something_for_who_has_a_credential() {
        let (budget, [first, second, third, user, key]) = (Arc::new(Budget::default()), accounts());
        let take = |account, bytes| budget.take(account, bytes, BOUNDS);
        let _first = take(first, 200).unwrap();
        assert_eq!(take(first, 1).unwrap_err(), Exhausted::Account);
        let _second = take(second, 100).unwrap();
        assert_eq!(take(third, 1).unwrap_err(), Exhausted::All);
        let _user = take(user, 100).unwrap();
        assert_eq!(take(key, 1).unwrap_err(), Exhausted::All);
    }

    #[test]
    fn bytes_have_their_share_until_the_last_piece_is_gone() {
        let (budget, [account, ..]) = (Arc::new(Budget::default()), accounts());
        let mut bytes = budget
            .take(account, 5, BOUNDS)
            .unwrap()
            .with(Bytes::from_static(b"bytes"));
        let piece = bytes.split_off(4);
        drop(bytes);
        assert_eq!((&piece[..], budget.bytes()), (&b"s"[..], 5));
        drop(piece);
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn threads_that_take_at_the_same_time_never_hold_more_than_may_be() {
        let (budget, accounts) = (Arc::new(Budget::default()), accounts());
        std::thread::scope(|scope| {
            for account in accounts {
                let budget = &budget;
                scope.spawn(move || {
                    let mut shares = Vec::new();
                    for turn in 0..2_000 {
                        shares.extend(budget.take(account, turn % 50, BOUNDS));
                        assert!(budget.bytes() <= BOUNDS.all);
                        if turn % 3 == 0 {
                            shares.clear();
                        }
                    }
                });
            }
        });
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn zero_is_no_limit_for_one_account() {
        let (budget, [account, ..]) = (Arc::new(Budget::default()), accounts());
        let bounds = Bounds {
            account: 0,
            ..BOUNDS
        };
        let share = budget.take(account, 300, bounds).unwrap();
        assert_eq!(share.bytes(), 300);
        assert_eq!(budget.take(account, 1, bounds).unwrap_err(), Exhausted::All);
    }
}
