//! What the channels of all callers take together, and what of it each caller has taken.
//!
//! ```text
//!            ┌─ Held: channels, bytes ◀── Made     a channel, of whoever had it made
//!  account ──┤                        ◀── Piece    bytes of a log, of whoever appended them
//!            └─ forgotten with the last of these
//! ```
//!
//! A caller holds something for as long as it is there, whoever uses it and wherever the caller has gone. So what is
//! remembered of callers is no more than there are channels and entries.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::{
    live::Live,
    rate::Account,
    shares::{Pot, Short},
};

/// The bytes of all logs, and who holds what.
#[derive(Debug, Default)]
pub struct Pots {
    log_bytes: AtomicU64,
    by_account: Mutex<HashMap<Account, Weak<Held>>>,
}

/// Who pays for what is appended, and what there is for it.
#[derive(Clone, Copy, Debug)]
pub struct Payer {
    account: Account,
    log_bytes_max: u64,
    percent: u32,
}

/// What one account holds.
#[derive(Debug)]
pub(super) struct Held {
    pots: Arc<Pots>,
    account: Account,
    channels: AtomicUsize,
    bytes: AtomicU64,
}

/// One channel, of whoever had it made.
#[derive(Debug)]
pub(super) struct Made(Arc<Held>);

/// Bytes of a log that one account appended one after the other, or the server itself.
#[derive(Debug, Default)]
struct Piece {
    held: Option<Arc<Held>>,
    bytes: u64,
}

/// Whose the bytes of a log are, from the oldest to the newest.
#[derive(Debug)]
pub(super) struct Ledger {
    pots: Arc<Pots>,
    /// Most logs are of one account.
    newest: Piece,
    #[expect(
        clippy::box_collection,
        reason = "a word of each channel instead of four"
    )]
    older: Option<Box<VecDeque<Piece>>>,
    bytes: u64,
}

impl Payer {
    pub fn new(account: Account, live: &Live) -> Self {
        Self {
            account,
            log_bytes_max: live.config.limits.log_bytes_max,
            percent: live.share_percent(),
        }
    }

    /// For what retention alone bounds.
    pub(super) fn without_limit(account: Account) -> Self {
        Self {
            account,
            log_bytes_max: u64::MAX,
            percent: 100,
        }
    }

    pub(super) fn account(self) -> Account {
        self.account
    }
}

impl Pots {
    /// The bytes that all logs take.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Whether so many bytes more may be appended by somebody.
    pub fn admit_bytes(self: &Arc<Self>, payer: Payer, bytes: u64) -> Result<(), Short> {
        self.admit_to(&self.of(payer.account), payer, bytes)
    }

    /// One channel more of an account, where all have so many of so many.
    pub(super) fn make(self: &Arc<Self>, account: Account, channels: Pot) -> Result<Made, Short> {
        let held = self.of(account);
        channels.admit(held.channels.load(Ordering::Relaxed) as u64, 1)?;
        held.channels.fetch_add(1, Ordering::Relaxed);
        Ok(Made(held))
    }

    fn admit_to(&self, held: &Held, payer: Payer, bytes: u64) -> Result<(), Short> {
        let pot = Pot {
            size: payer.log_bytes_max,
            held: self.log_bytes(),
            percent: payer.percent,
        };
        pot.admit(held.bytes.load(Ordering::Relaxed), bytes)
    }

    fn of(self: &Arc<Self>, account: Account) -> Arc<Held> {
        let mut accounts = self.accounts();
        if let Some(held) = accounts.get(&account).and_then(Weak::upgrade) {
            return held;
        }
        let held = Arc::new(Held {
            pots: self.clone(),
            account,
            channels: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        });
        accounts.insert(account, Arc::downgrade(&held));
        held
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Account, Weak<Held>>> {
        self.by_account
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut accounts = self.pots.accounts();
        // Another may have begun meanwhile.
        if let Some(last) = accounts.get(&self.account)
            && last.strong_count() == 0
        {
            accounts.remove(&self.account);
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.0.channels.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Made {
    pub fn account(&self) -> Account {
        self.0.account
    }
}

impl Piece {
    fn grow(&mut self, bytes: u64) {
        self.bytes += bytes;
        if let Some(held) = &self.held {
            held.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn shrink(&mut self, bytes: u64) {
        self.bytes -= bytes;
        if let Some(held) = &self.held {
            held.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn account(&self) -> Option<Account> {
        self.held.as_ref().map(|held| held.account)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

impl Ledger {
    pub fn new(pots: Arc<Pots>) -> Self {
        Self {
            pots,
            newest: Piece::default(),
            older: None,
            bytes: 0,
        }
    }

    /// Whether so many bytes more may be appended by somebody.
    pub fn admit(&self, payer: Payer, bytes: u64) -> Result<(), Short> {
        match &self.newest.held {
            Some(held) if held.account == payer.account => self.pots.admit_to(held, payer, bytes),
            Some(_) | None => self.pots.admit_bytes(payer, bytes),
        }
    }

    /// The log takes so many bytes now, after an account appended about so many; the server itself is no account.
    pub fn append(&mut self, by: Option<Account>, added: u64, now_takes: u64) {
        if self.newest.account() != by {
            let next = Piece {
                held: by.map(|account| self.pots.of(account)),
                bytes: 0,
            };
            let last = std::mem::replace(&mut self.newest, next);
            if last.bytes > 0 {
                self.older.get_or_insert_default().push_back(last);
            }
        }
        self.newest.grow(added);
        self.pots.log_bytes.fetch_add(added, Ordering::Relaxed);
        self.bytes += added;
        self.settle(now_takes);
    }

    /// The log takes so many bytes now: what is gone was the oldest.
    pub fn settle(&mut self, now_takes: u64) {
        if now_takes >= self.bytes {
            let more = now_takes - self.bytes;
            self.newest.grow(more);
            self.pots.log_bytes.fetch_add(more, Ordering::Relaxed);
        } else {
            let gone = self.bytes - now_takes;
            self.pots.log_bytes.fetch_sub(gone, Ordering::Relaxed);
            self.forget(gone);
        }
        self.bytes = now_takes;
    }

    fn forget(&mut self, mut gone: u64) {
        while let Some(older) = &mut self.older
            && gone > 0
        {
            match older.front_mut() {
                Some(piece) if piece.bytes > gone => {
                    piece.shrink(gone);
                    return;
                }
                Some(piece) => {
                    gone -= piece.bytes;
                    older.pop_front();
                    if older.len() < older.capacity() / 4 {
                        older.shrink_to(older.len() * 2);
                    }
                }
                None => self.older = None,
            }
        }
        self.newest.shrink(gone);
        if self.newest.bytes == 0 && self.older.is_none() {
            self.newest.held = None;
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.pots.log_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use everwire_channel::UserName;

    use super::*;
    use crate::rate::{Kind, Rate};

    fn accounts() -> [Account; 3] {
        let rate = Rate::default();
        ["ada", "bob", "cy"].map(|user| {
            let user = UserName::new(user).unwrap();
            rate.number(Kind::User, user.as_str())
        })
    }

    fn held(pots: &Pots, account: Account) -> u64 {
        let held = pots.accounts().get(&account).and_then(Weak::upgrade);
        held.map_or(0, |held| held.bytes.load(Ordering::Relaxed))
    }

    /// Random appends of three accounts and the server to five logs that keep their newest, against a naive list.
    #[test]
    fn each_holds_what_it_appended_for_as_long_as_that_is_kept() {
        let accounts = accounts();
        let pots = Arc::new(Pots::default());
        let mut random = fastrand::Rng::with_seed(7);
        type Naive = VecDeque<(Option<Account>, u64)>;
        let mut logs: Vec<(Ledger, Naive)> = (0..5)
            .map(|_| (Ledger::new(pots.clone()), VecDeque::new()))
            .collect();
        for _ in 0..20_000 {
            let (ledger, entries) = &mut logs[random.usize(..5)];
            let kept = |entries: &VecDeque<_>| entries.iter().map(|(_, bytes)| bytes).sum::<u64>();
            match random.u8(..20) {
                0 => {
                    *ledger = Ledger::new(pots.clone());
                    entries.clear();
                }
                1..=4 => {
                    entries.drain(..entries.len().min(random.usize(..10)));
                    ledger.settle(kept(entries));
                }
                who => {
                    let by = accounts.get(usize::from(who % 4)).copied();
                    let bytes = random.u64(1..1_000);
                    entries.push_back((by, bytes));
                    while kept(entries) > 5_000 {
                        entries.pop_front();
                    }
                    ledger.append(by, bytes, kept(entries));
                }
            }
            let of = |by: Option<Account>| -> u64 {
                let all = logs.iter().flat_map(|(_, entries)| entries);
                let own = all.filter(|(whose, _)| by.is_none() || *whose == by);
                own.map(|(_, bytes)| bytes).sum()
            };
            assert_eq!(pots.log_bytes(), of(None));
            for account in accounts {
                assert_eq!(held(&pots, account), of(Some(account)));
            }
        }
        drop(logs);
        assert_eq!(pots.log_bytes(), 0);
        assert!(pots.accounts().is_empty(), "nobody is remembered");
    }

    #[test]
    fn a_log_of_one_account_keeps_few_words_about_it() {
        assert!(size_of::<Ledger>() <= 40, "{}", size_of::<Ledger>());
    }
}
