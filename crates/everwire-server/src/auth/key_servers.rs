//! The key servers of a configuration, as those see them who check tokens and those who fetch keys.
//!
//! ```text
//!  judge ─▶ KeyServers ─▶ Asked ◀── a task that fetches (crate::key_servers)
//!                          └─ KeyServer: when, and which keys came last
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use tokio::sync::{Notify, watch};

use super::{
    Proof,
    jwks::{DocumentError, KeySet},
    key_server::{KeyServer, Prospect, Terms},
};
use crate::config::{Address, Config, ConfigError, Url};

/// All key servers, in the order of the configuration.
#[derive(Debug, Default)]
pub(crate) struct KeyServers(Vec<Trusted>);

/// A key server, and what its keys are good for.
#[derive(Debug)]
struct Trusted {
    /// Who has to have issued a token that is signed with its keys; nothing is as `tokens.issuer` says.
    issuer: Option<String>,
    asked: Arc<Asked>,
}

/// A key server that is asked for its keys by somebody.
#[derive(Debug)]
pub(crate) struct Asked {
    address: Address,
    state: Mutex<State>,
    /// An unknown key was seen: keys are to be fetched earlier than planned.
    hastened: Arc<Notify>,
    /// Counts the fetches that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    core: KeyServer,
    limits: FetchLimits,
    /// The keys of the document that came last, also when they are stale for too long to be used: lines that were opened
    /// with one go on until a document shows that it is gone.
    published: Vec<Proof>,
    /// Of the document that came last.
    digest: Option<[u8; 32]>,
    /// Rises when other keys than before are good.
    generation: u64,
    /// Somebody fetches.
    is_kept: bool,
}

/// What one fetch may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchLimits {
    pub time_max: Duration,
    pub bytes_max: usize,
    keys_max: usize,
}

/// What has become of a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many keys there are now.
    pub keys: usize,
    /// They are not those of the last time.
    pub is_new: bool,
    /// Why keys were left out, if some were.
    pub left_out: Option<String>,
}

/// A fetch that has begun. If it is dropped before a document has come, it was in vain: a task that fetches may panic, and
/// the next one is to ask again.
#[must_use]
pub(crate) struct Fetch<'a> {
    asked: &'a Asked,
    began: Instant,
    has_ended: bool,
}

/// Keys that are being fetched.
pub(crate) struct Fetching {
    ended: Vec<watch::Receiver<u64>>,
    time_max: Duration,
}

impl KeyServers {
    /// The key servers of these settings. Those that are known already go on with their keys.
    ///
    /// # Errors
    ///
    /// One of them may not be asked.
    pub fn new(config: &Config, known: &Self, now: Instant) -> Result<Self, ConfigError> {
        let settings = &config.tokens;
        let s = Duration::from_secs;
        let terms = Terms {
            fresh: s(settings.jwks_refresh_s),
            interval: Duration::from_millis(settings.jwks_interval_ms),
            stale_max: s(settings.jwks_stale_s_max),
        };
        let limits = FetchLimits {
            time_max: Duration::from_millis(settings.jwks_fetch_ms),
            bytes_max: settings.jwks_bytes_max,
            keys_max: settings.jwks_keys_max,
        };
        let trusted = settings.jwks.iter().enumerate().map(|(index, said)| {
            let address =
                Address::of(&said.url, config.outbound.clear_text()).map_err(|exposed| {
                    ConfigError::value(format!("tokens.jwks[{index}].url"), exposed.to_string())
                })?;
            let is_it = |known: &&Trusted| known.asked.address == address;
            let asked = match known.0.iter().find(is_it) {
                Some(known) => known.asked.clone(),
                None => Arc::new(Asked::new(address, terms, limits, now)),
            };
            asked.set_terms(terms, limits);
            Ok(Trusted {
                issuer: said.issuer.clone(),
                asked,
            })
        });
        trusted.collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys of each, with who has to have issued what they sign.
    pub fn keys(&self) -> impl Iterator<Item = (Arc<KeySet>, Option<&str>)> {
        self.0.iter().filter_map(|trusted| {
            let keys = trusted.asked.lock().core.keys()?.clone();
            Some((keys, trusted.issuer.as_deref()))
        })
    }

    /// Who has to have issued what is signed with a key of one of them, as the document says that came last from it;
    /// nothing if none of them has it (any more).
    pub fn issuer_by(&self, proof: Proof) -> Option<Option<&str>> {
        let has = |trusted: &&Trusted| trusted.asked.lock().published.contains(&proof);
        let trusted = self.0.iter().find(has)?;
        Some(trusted.issuer.as_deref())
    }

    /// Rises when other keys than before are good.
    pub fn generation(&self) -> u64 {
        let generation = |trusted: &Trusted| trusted.asked.lock().generation;
        self.0.iter().map(generation).sum()
    }

    /// Whether one of them did not answer when it was asked last.
    pub fn is_one_down(&self) -> bool {
        (self.0.iter()).any(|trusted| trusted.asked.lock().core.is_down())
    }

    /// A token names a key that none of them has given. Has those asked that may be, and tells what can be waited for.
    pub fn hasten(&self, now: Instant) -> Option<Fetching> {
        let ended: Vec<_> = (self.0.iter())
            .filter_map(|trusted| trusted.asked.hasten(now))
            .collect();
        let longest = (self.0.iter()).map(|trusted| trusted.asked.limits().time_max);
        let time_max = longest.max()?;
        (!ended.is_empty()).then_some(Fetching { ended, time_max })
    }

    /// Those that nobody fetches from yet, and whoever asks does from now on.
    pub fn unkept(&self) -> impl Iterator<Item = Arc<Asked>> {
        let unkept = |asked: &Arc<Asked>| !std::mem::replace(&mut asked.lock().is_kept, true);
        (self.0.iter())
            .map(|trusted| trusted.asked.clone())
            .filter(unkept)
    }
}

impl Asked {
    fn new(address: Address, terms: Terms, limits: FetchLimits, now: Instant) -> Self {
        Self {
            address,
            state: Mutex::new(State {
                core: KeyServer::new(terms, now),
                limits,
                published: Vec::new(),
                digest: None,
                generation: 0,
                is_kept: false,
            }),
            hastened: Arc::default(),
            ended: watch::Sender::new(0),
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn url(&self) -> &Url {
        self.address.url()
    }

    pub fn limits(&self) -> FetchLimits {
        self.lock().limits
    }

    /// Told when keys are to be fetched earlier than planned.
    pub fn hastened(&self) -> Arc<Notify> {
        self.hastened.clone()
    }

    /// The keys have to be fetched now, by whoever gets this.
    pub fn poll_fetch(&self, now: Instant) -> Option<Fetch<'_>> {
        let mut state = self.lock();
        let had_keys = state.core.keys().is_some();
        let fetches = state.core.poll_fetch(now);
        if had_keys && state.core.keys().is_none() {
            state.generation += 1;
            state.digest = None;
        }
        // Made only if it is: one that is dropped takes the lock, and tells that it was in vain.
        fetches.then(|| Fetch {
            asked: self,
            began: now,
            has_ended: false,
        })
    }

    /// When [`poll_fetch`](Self::poll_fetch) has to be asked again.
    pub fn wake_at(&self) -> Option<Instant> {
        self.lock().core.wake_at()
    }

    fn take_document(
        &self,
        document: &[u8],
        fresh: Option<Duration>,
        now: Instant,
    ) -> Result<Taken, DocumentError> {
        let parsed = KeySet::parse(
            document,
            self.limits().keys_max,
            &self.address.as_uri().to_string(),
        );
        let digest = digest::digest(&digest::SHA256, document);
        let digest: [u8; 32] = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        let mut state = self.lock();
        let taken = parsed.map(|keys| {
            let taken = Taken {
                keys: keys.keys.len(),
                is_new: state.digest != Some(digest),
                left_out: (!keys.left_out.is_empty()).then(|| keys.reasons()),
            };
            let published = keys.keys.iter().map(|key| key.proof).collect();
            state.core.handle_fetched(now, Some((keys, fresh)));
            // Nothing below can fail: all of it is of the same document.
            state.published = published;
            state.digest = Some(digest);
            state.generation += u64::from(taken.is_new);
            taken
        });
        if taken.is_err() {
            state.core.handle_fetched(now, None);
        }
        drop(state);
        self.tell_end();
        taken
    }

    fn take_failure(&self, now: Instant) {
        self.lock().core.handle_fetched(now, None);
        self.tell_end();
    }

    /// Whether its keys are used beyond their time, or there are none.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.lock().core.is_stale(now)
    }

    /// Whether there are keys.
    pub fn has_keys(&self) -> bool {
        self.lock().core.keys().is_some()
    }

    fn set_terms(&self, terms: Terms, limits: FetchLimits) {
        let mut state = self.lock();
        state.core.set_terms(terms);
        state.limits = limits;
    }

    fn hasten(&self, now: Instant) -> Option<watch::Receiver<u64>> {
        // Before the look: a fetch that ends meanwhile is seen to have ended.
        let ended = self.ended.subscribe();
        match self.lock().core.handle_unknown(now) {
            Prospect::Fetch => {
                self.hastened.notify_one();
                Some(ended)
            }
            Prospect::Nothing => None,
        }
    }

    fn tell_end(&self) {
        self.ended.send_modify(|ended| *ended += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetch<'_> {
    /// A document came, which says for how long it is fresh or does not.
    pub fn take_document(
        mut self,
        document: &[u8],
        fresh: Option<Duration>,
        now: Instant,
    ) -> Result<Taken, DocumentError> {
        let taken = self.asked.take_document(document, fresh, now);
        self.has_ended = true;
        taken
    }

    /// No document came.
    pub fn fail(mut self, now: Instant) {
        self.asked.take_failure(now);
        self.has_ended = true;
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.asked.take_failure(self.began);
        }
    }
}

impl Fetching {
    /// Waits until they have come, or will not in time.
    pub async fn end(mut self) {
        let all = async {
            for ended in &mut self.ended {
                // An error says that the key server is trusted no more.
                let _ = ended.changed().await;
            }
        };
        let _ = tokio::time::timeout(self.time_max, all).await;
    }
}
