//! How much a caller may do a second: the generic cell rate algorithm, one time an account.
//!
//! ```text
//!  user of a token ─┐                       ┌─ until when its appends so far take, at its rate
//!  API key ─────────┼─▶ account (a number) ─┼─ the same in each channel whose rule paces it
//!  address ─────────┘                       └─ …
//! ```
//!
//! An account is a keyed hash of whom it is for, so that each line can keep its own in four bytes, and nobody can choose
//! whose account to share. Two callers in four billion share one by chance, and then share a rate.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use everwire_channel::{ChannelName, presence::Payer};

use crate::{
    auth::{Caller, Who},
    proxy::neighbourhood,
};

/// How much of their rates callers have used up.
pub(crate) struct Rate {
    hasher: RandomState,
    started: Instant,
    accounts: Mutex<Accounts>,
}

/// Who pays for an append, and for what is held for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Account(u32);

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Whoever comes from an address and shows no credential that names somebody.
    Address = 0,
    /// The user that tokens name.
    User = 1,
    /// A server, by its API key.
    Key = 2,
}

/// What else than appends has a rate, beside those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Opening connections.
    Connect = 1,
    /// Opening lines.
    Line = 2,
    /// Having channels made by reading them, of whoever does.
    Make = 3,
    /// What sessions ask for besides publishing.
    Command = 4,
    /// What is asked for by HTTP besides publishing.
    Read = 5,
}

/// How long to wait, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFast {
    pub wait_s: u64,
}

#[derive(Default)]
struct Accounts {
    /// When each would have used up what it was admitted for, in nanoseconds since the start.
    used_until: HashMap<u64, u64>,
    /// For those who came when all places were taken: they share one.
    crowd_until: u64,
    /// At so many, those whose time has passed are forgotten.
    sweep_at: usize,
    /// When that was done last.
    swept_ns: u64,
}

/// What is taken of a rate at once.
#[derive(Clone, Copy, Debug)]
struct Charge {
    /// What is used up.
    count: u32,
    /// What has to fit into the burst for that. Where it is less than all, the rest may be a debt.
    room_for: u32,
}

/// In a burst, a caller may be ahead of the sustained rate by so much.
const BURST: Duration = Duration::from_secs(2);

const BURST_NS: u64 = BURST.as_nanos() as u64;

/// Accounts that are kept at once at most, about 3 MB. Further callers share one, and its rate.
const ACCOUNTS_MAX: usize = 100_000;

/// Accounts that may be there before it is looked for some to forget.
const ACCOUNTS_FEW: usize = 10_000;

/// Accounts are not looked through more often.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

impl Default for Rate {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            started: Instant::now(),
            accounts: Mutex::default(),
        }
    }
}

impl Rate {
    /// Who pays for what this caller does at this address.
    pub fn account(&self, caller: &Caller, address: IpAddr) -> Account {
        self.account_of(caller)
            .unwrap_or_else(|| self.number(Kind::Address, neighbourhood(address)))
    }

    /// The same by its credential alone, if that names somebody.
    pub fn account_of(&self, caller: &Caller) -> Option<Account> {
        match &caller.as_known()?.who {
            Who::Token { user, .. } | Who::Named { user, .. } => {
                Some(self.number(Kind::User, user.as_ref()?.as_str()))
            }
            Who::Server(id) => Some(self.number(Kind::Key, id.as_str())),
        }
    }

    /// Admits one append of so many a second, or tells how long to wait. 0 a second is any number.
    pub fn admit(&self, account: Account, per_second: u32) -> Result<(), TooFast> {
        self.charge(account.0.into(), per_second, Charge::all(1))
    }

    /// Admits as many of so many appends as the rate has room for, and tells how many; with fewer, how long to wait for
    /// one more.
    pub fn admit_some(&self, account: Account, per_second: u32, count: u32) -> (u32, TooFast) {
        match interval_ns(per_second) {
            Some(interval) => {
                (self.accounts()).admit_some(account.0.into(), interval, count, self.now_ns())
            }
            None => (count, TooFast { wait_s: 0 }),
        }
    }

    /// Admits what one append holds beyond what it was admitted for, unless more than a burst is still to be paid for.
    /// All of it may be far more than a burst: what comes after it waits until it is paid for.
    pub fn admit_rest(&self, account: Account, per_second: u32, count: u32) -> Result<(), TooFast> {
        self.charge(account.0.into(), per_second, Charge::rest(count))
    }

    /// Admits one of something else than appends.
    pub fn admit_for(
        &self,
        purpose: Purpose,
        account: Account,
        per_second: u32,
    ) -> Result<(), TooFast> {
        self.charge(purpose.key(account), per_second, Charge::all(1))
    }

    /// The same for what one of these turns out to be beyond what it was admitted for.
    pub fn admit_rest_for(
        &self,
        purpose: Purpose,
        account: Account,
        per_second: u32,
        count: u32,
    ) -> Result<(), TooFast> {
        self.charge(purpose.key(account), per_second, Charge::rest(count))
    }

    /// Charges what was done already, whether there is room for it or not: what comes after it waits.
    pub fn owe(&self, purpose: Purpose, account: Account, per_second: u32, count: u32) {
        let owed = self.charge(purpose.key(account), per_second, Charge::debt(count));
        debug_assert_eq!(owed, Ok(()), "a debt needs no room");
    }

    /// Admits so many entries to a channel that takes so many a second from each caller: all of them or none.
    pub fn admit_to(
        &self,
        channel: &ChannelName,
        account: Account,
        per_second: u32,
        count: u32,
    ) -> Result<(), TooFast> {
        if per_second == 0 {
            return Ok(()); // without a look at the name
        }
        let channel = self.hasher.hash_one(channel.as_str()) | 1 << 63;
        let key = channel ^ u64::from(account.0);
        self.charge(key, per_second, Charge::all(count))
    }

    /// The account of somebody, by what it is for.
    pub fn number(&self, kind: Kind, who: impl Hash) -> Account {
        let hash = self.hasher.hash_one((kind, who)) as u32;
        Account(hash & !0b11 | kind as u32)
    }

    fn charge(&self, key: u64, per_second: u32, charge: Charge) -> Result<(), TooFast> {
        match interval_ns(per_second) {
            Some(interval) => (self.accounts()).charge(key, interval, charge, self.now_ns()),
            None => Ok(()), // without asking the clock
        }
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Charge {
    /// All of so many, or none.
    fn all(count: u32) -> Self {
        Self {
            count,
            room_for: count,
        }
    }

    /// So many, however many they are, if there is room for one.
    fn rest(count: u32) -> Self {
        Self { count, room_for: 1 }
    }

    /// So many in any case.
    fn debt(count: u32) -> Self {
        Self { count, room_for: 0 }
    }
}

impl Purpose {
    /// What an account has used up for this purpose is kept under.
    fn key(self, account: Account) -> u64 {
        u64::from(account.0) | (self as u64) << 32
    }
}

impl TooFast {
    /// When one that would be so far ahead, in nanoseconds, is no further ahead than a burst.
    fn after(ahead_ns: u64) -> Self {
        Self {
            wait_s: (ahead_ns.saturating_sub(BURST_NS) / 1_000_000_000).max(1),
        }
    }
}

impl Account {
    /// The same as who pays for a place among those present.
    pub fn payer(self) -> Payer {
        Payer(self.0.into())
    }

    /// The account of who pays for a place.
    pub fn of(payer: Payer) -> Self {
        Self(payer.0 as u32)
    }

    /// What it is for.
    pub fn kind(self) -> Kind {
        match self.0 & 0b11 {
            0 => Kind::Address,
            1 => Kind::User,
            _ => Kind::Key,
        }
    }

    /// Which of so many parts has it, where accounts are spread over several.
    pub fn spread(self, parts: usize) -> usize {
        (self.0 >> 2) as usize % parts
    }
}

impl Kind {
    /// The setting of its rate.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Address => "appends_per_second_max",
            Self::User => "appends_per_second_user_max",
            Self::Key => "appends_per_second_key_max",
        }
    }
}

/// Time that one of so many a second takes up, in nanoseconds; none where there is no limit.
fn interval_ns(per_second: u32) -> Option<NonZeroU32> {
    match per_second {
        0 => None,
        count => NonZeroU32::new((1_000_000_000 / count).max(1)),
    }
}

impl Accounts {
    /// As many of so many as there is room for.
    fn admit_some(
        &mut self,
        key: u64,
        interval: NonZeroU32,
        count: u32,
        now_ns: u64,
    ) -> (u32, TooFast) {
        let until = self.used_until(key, now_ns);
        let interval = u64::from(interval.get());
        let used = (*until).max(now_ns);
        let room = (BURST_NS + interval).saturating_sub(used - now_ns) / interval;
        let admitted = count.min(u32::try_from(room).unwrap_or(u32::MAX));
        *until = used + interval * u64::from(admitted);
        (admitted, TooFast::after(*until - now_ns + interval))
    }

    fn charge(
        &mut self,
        key: u64,
        interval: NonZeroU32,
        Charge { count, room_for }: Charge,
        now_ns: u64,
    ) -> Result<(), TooFast> {
        let until = self.used_until(key, now_ns);
        let interval = u64::from(interval.get());
        let used = (*until).max(now_ns);
        let ahead = used - now_ns + interval * u64::from(room_for);
        if room_for > 0 && ahead > BURST_NS + interval {
            return Err(TooFast::after(ahead));
        }
        *until = used + interval * u64::from(count);
        Ok(())
    }

    fn used_until(&mut self, key: u64, now_ns: u64) -> &mut u64 {
        let count = self.used_until.len();
        if count >= self.sweep_at.max(ACCOUNTS_FEW)
            && now_ns >= self.swept_ns + SWEEP_PAUSE.as_nanos() as u64
        {
            self.swept_ns = now_ns;
            self.used_until.retain(|_, until| *until > now_ns);
            // Looking through them costs as much as there are: only when there are twice as many.
            self.sweep_at = (self.used_until.len() * 2).min(ACCOUNTS_MAX);
        }
        let has_room = self.used_until.len() < ACCOUNTS_MAX;
        if !has_room && !self.used_until.contains_key(&key) {
            return &mut self.crowd_until;
        }
        self.used_until.entry(key).or_insert(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    impl Accounts {
        fn admit(&mut self, key: u64, rate: NonZeroU32, now_ns: u64) -> Result<(), TooFast> {
            self.charge(key, rate, Charge::all(1), now_ns)
        }
    }

    fn interval(per_second: u32) -> NonZeroU32 {
        interval_ns(per_second).unwrap()
    }

    #[test]
    fn a_caller_gets_its_rate_and_a_burst_of_two_seconds() {
        let mut accounts = Accounts::default();
        let rate = interval(10);
        let burst = (0..100)
            .take_while(|_| accounts.admit(1, rate, SECOND).is_ok())
            .count();
        assert_eq!(burst, 21, "what two seconds hold, and the one that is due");
        let refused = Err(TooFast { wait_s: 1 });
        assert_eq!(accounts.admit(1, rate, SECOND), refused);
        assert!(
            accounts.admit(2, rate, SECOND).is_ok(),
            "nobody pays for another"
        );
        let admitted = (1..=50)
            .filter(|tenth| {
                accounts
                    .admit(1, rate, SECOND + tenth * SECOND / 10)
                    .is_ok()
            })
            .count();
        assert_eq!(admitted, 50, "the sustained rate goes on");
    }

    #[test]
    fn however_appends_are_packed_a_caller_gets_its_rate_and_one_burst() {
        let rate = interval(10);
        for packed in [1, 2, 7, 21, 1_000] {
            let mut accounts = Accounts::default();
            let admitted: u32 = (0..1_000)
                .map(|_| accounts.admit_some(1, rate, packed, SECOND).0)
                .sum();
            assert_eq!(admitted, 21, "{packed} at once");
            let (none, wait) = accounts.admit_some(1, rate, packed, SECOND);
            assert_eq!((none, wait), (0, TooFast { wait_s: 1 }));
            assert_eq!(
                accounts.admit_some(1, rate, packed, 2 * SECOND).0,
                packed.min(10)
            );
        }
        let mut accounts = Accounts::default();
        assert!(
            accounts.charge(1, rate, Charge::all(22), SECOND).is_err(),
            "all or none"
        );
        assert!(accounts.charge(1, rate, Charge::all(21), SECOND).is_ok());
    }

    #[test]
    fn what_comes_after_a_large_append_waits_until_that_is_paid_for() {
        let mut accounts = Accounts::default();
        let rate = interval(10);
        assert!(accounts.admit(1, rate, SECOND).is_ok());
        assert!(accounts.charge(1, rate, Charge::rest(99), SECOND).is_ok());
        assert!(
            accounts.charge(1, rate, Charge::rest(99), SECOND).is_err(),
            "one at a time"
        );
        let refused = Err(TooFast { wait_s: 8 });
        assert_eq!(
            accounts.admit(1, rate, SECOND),
            refused,
            "ten seconds of work, two ahead"
        );
        assert!(accounts.admit(1, rate, 10 * SECOND).is_ok());
    }

    #[test]
    fn what_was_done_already_is_owed_whatever_room_there_is() {
        let mut accounts = Accounts::default();
        let rate = interval(10);
        for _ in 0..3 {
            let owed = accounts.charge(1, rate, Charge::debt(40), SECOND);
            assert_eq!(owed, Ok(()));
        }
        let refused = Err(TooFast { wait_s: 10 });
        assert_eq!(
            accounts.admit(1, rate, SECOND),
            refused,
            "twelve, two ahead"
        );
    }

    #[test]
    fn callers_beyond_what_is_remembered_share_one_rate() {
        let mut accounts = Accounts::default();
        let rate = interval(1);
        for key in 0..ACCOUNTS_MAX as u64 {
            assert!(accounts.admit(key, rate, SECOND).is_ok());
        }
        let admitted = (0..1_000)
            .filter(|more| {
                accounts
                    .admit(ACCOUNTS_MAX as u64 + more, rate, SECOND)
                    .is_ok()
            })
            .count();
        assert_eq!(admitted, 3, "as many as one of them");
        assert_eq!(accounts.used_until.len(), ACCOUNTS_MAX);
        assert!(
            accounts.admit(0, rate, SECOND).is_ok(),
            "who was there has its own"
        );
        // All but the one that came again have used up what they had.
        assert!(accounts.admit(u64::MAX, rate, 2 * SECOND).is_ok());
        assert!(
            accounts.used_until.len() <= 2,
            "{}",
            accounts.used_until.len()
        );
    }

    #[test]
    fn neighbours_by_ipv6_share_an_account_and_others_have_their_own() {
        let rate = Rate::default();
        let of = |text: &str| rate.account(&Caller::Anybody, text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3:4"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1").kind(), Kind::Address);
    }

    #[test]
    fn zero_is_no_limit() {
        let rate = Rate::default();
        let account = rate.account(&Caller::Anybody, IpAddr::from([10, 0, 0, 1]));
        assert!((0..10_000).all(|_| rate.admit(account, 0).is_ok()));
        assert_eq!(rate.admit_some(account, 0, u32::MAX).0, u32::MAX);
        assert!(rate.admit_rest(account, 0, u32::MAX).is_ok());
        let channel = "c".parse().unwrap();
        assert!((0..10_000).all(|_| rate.admit_to(&channel, account, 0, 9).is_ok()));
    }

    #[test]
    fn what_is_used_up_for_one_purpose_is_left_for_the_others() {
        let rate = Rate::default();
        let account = rate.account(&Caller::Anybody, IpAddr::from([10, 0, 0, 1]));
        let channel = "c".parse().unwrap();
        let uses: [&dyn Fn() -> bool; 7] = [
            &|| rate.admit(account, 1).is_ok(),
            &|| rate.admit_for(Purpose::Connect, account, 1).is_ok(),
            &|| rate.admit_for(Purpose::Line, account, 1).is_ok(),
            &|| rate.admit_for(Purpose::Make, account, 1).is_ok(),
            &|| rate.admit_for(Purpose::Command, account, 1).is_ok(),
            &|| rate.admit_for(Purpose::Read, account, 1).is_ok(),
            &|| rate.admit_to(&channel, account, 1, 1).is_ok(),
        ];
        for admit in uses {
            assert!((0..3).all(|_| admit()), "its own burst");
            assert!(!admit(), "and no more");
        }
    }
}
