//! What may change while the server runs: one immutable whole, replaced at once.
//!
//! ```text
//!  reload ─▶ Live ─▶ Settings ─┬─▶ each request: one whole, from its beginning to its end
//!                              ├─▶ each shard: the current one, once a turn
//!                              └─▶ what looks after itself (the sweep, rosters): the current one at each look
//! ```
//!
//! Nobody is served by half of one configuration and half of another: whoever judges holds an [`Arc<Live>`], and a new
//! configuration is another `Live`, whole before anybody sees it. Open lines keep what they were opened with, but for
//! their rights, which are judged anew.

use std::{io, path::Path, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use everwire_channel::{ChannelName, presence::Terms};
use everwire_wire::Problem;

use crate::{
    auth::{Authority, Caller, not_taken, right_to_read},
    budget::Bounds,
    config::{Config, ConfigError, Rules},
    rate::Kind,
    webhook::{Application, Desk},
};

/// One configuration, with what is made from it.
#[derive(Debug)]
pub(crate) struct Live {
    pub config: Config,
    /// The rules for channels, each complete.
    pub rules: Rules,
    /// What credentials are checked with.
    pub authority: Authority,
    /// Where the application is asked, if it decides anything.
    pub desk: Option<Arc<Desk>>,
}

/// The configuration that holds now. Clones are of the same.
#[derive(Clone, Debug)]
pub(crate) struct Settings(Arc<Holds>);

#[derive(Debug)]
struct Holds {
    live: ArcSwap<Live>,
}

/// A configuration that its holder works with until it looks for a newer one.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    live: Arc<Live>,
    settings: Settings,
}

impl Live {
    /// Completes a configuration. `read` gets the content of a key's file.
    ///
    /// # Errors
    ///
    /// A key is not what it should be; the error tells which and what to do.
    pub fn new(
        config: Config,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        Self::without_credentials(Config::default()).succeeded_by(config, read)
    }

    /// The same, where this one holds until then: what others have given it, keys of key servers and the application's
    /// answers, is taken over.
    ///
    /// # Errors
    ///
    /// A key is not what it should be; the error tells which and what to do.
    pub fn succeeded_by(
        &self,
        config: Config,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            authority: self.authority.succeeded_by(&config, read)?,
            desk: Application::desk(&config, self.desk.as_ref(), read)?,
            ..Self::without_credentials(config)
        })
    }

    /// The same where no credential is taken.
    pub fn without_credentials(config: Config) -> Self {
        Self {
            rules: Rules::new(&config),
            authority: Authority::default(),
            desk: None,
            config,
        }
    }

    /// Who reads a channel by a line that is open, judged anew: with what its credential grants now.
    ///
    /// # Errors
    ///
    /// Its credential is good no longer, or does not grant it any more, nor do the rules.
    pub fn judge_reader(
        &self,
        caller: &Caller,
        read: &ChannelName,
        is_lent: bool,
        now_ms: u64,
    ) -> Result<Caller, Problem> {
        let caller = (self.authority.renew(caller, now_ms)).map_err(|error| not_taken(&error))?;
        let (action, name) = right_to_read(read);
        // What the application let it have, it keeps for as long as that decides.
        if !(is_lent && self.rules.is_decided(action, &name)) {
            caller.permit(&self.rules, action, &name)?;
        }
        Ok(caller)
    }

    /// So many appends a second are taken from one caller of a kind; 0 is any number.
    pub fn appends_per_second_max(&self, kind: Kind) -> u32 {
        let limits = &self.config.limits;
        match kind {
            _ if self.config.dev => 0,
            Kind::Address => limits.appends_per_second_max,
            Kind::User => limits.appends_per_second_user_max,
            Kind::Key => limits.appends_per_second_key_max,
        }
    }

    /// What one caller may hold who is alone, of what all share, in percent.
    pub fn share_percent(&self) -> u32 {
        match self.config.dev {
            true => 100,
            false => self.config.limits.share_percent_max,
        }
    }

    /// How members of a channel are kept.
    pub fn presence_terms(&self) -> Terms {
        let terms = self.config.presence.terms();
        match self.config.dev {
            true => Terms {
                places_per_payer_max: usize::MAX,
                ..terms
            },
            false => terms,
        }
    }

    /// So many lines a second are opened by one address; 0 is any number.
    pub fn lines_per_second_max(&self) -> u32 {
        match self.config.dev {
            true => 0,
            false => self.config.limits.lines_per_second_max,
        }
    }

    /// So many requests that read are taken a second from one caller; 0 is any number.
    pub fn reads_per_second_max(&self) -> u32 {
        match self.config.dev {
            true => 0,
            false => self.config.limits.reads_per_second_max,
        }
    }

    /// So many commands of sessions are taken a second from one caller; 0 is any number.
    pub fn commands_per_second_max(&self) -> u32 {
        match self.config.dev {
            true => 0,
            false => self.config.limits.commands_per_second_max,
        }
    }

    /// How much is held for peers.
    pub fn in_flight_bounds(&self) -> Bounds {
        let limits = &self.config.limits;
        Bounds {
            all: limits.in_flight_bytes_max,
            account: match self.config.dev {
                true => 0,
                false => limits.in_flight_bytes_per_caller_max,
            },
        }
    }

    /// So many lines are taken from one address; 0 is any number.
    pub fn lines_per_address_max(&self) -> usize {
        match self.config.dev {
            true => 0,
            false => self.config.limits.lines_per_address_max,
        }
    }
}

impl Settings {
    /// Begins with this.
    pub fn new(live: Live) -> Self {
        Self(Arc::new(Holds {
            live: ArcSwap::from_pointee(live),
        }))
    }

    /// What holds now, for one look that does not wait for anything.
    pub fn now(&self) -> Guard<Arc<Live>> {
        self.0.live.load()
    }

    /// What holds now, to work with.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            live: self.0.live.load_full(),
            settings: self.clone(),
        }
    }

    /// From now on this holds.
    pub fn replace(&self, live: Live) {
        self.0.live.store(Arc::new(live));
    }
}

impl Snapshot {
    /// Whether there is a newer one.
    pub fn is_outdated(&self) -> bool {
        !Arc::ptr_eq(&self.live, &self.settings.now())
    }

    /// Goes on with what holds now.
    pub fn refresh(&mut self) {
        self.live = self.settings.0.live.load_full();
    }

    /// Where newer ones come from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl std::ops::Deref for Snapshot {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.live
    }
}

#[cfg(test)]
impl From<Config> for Settings {
    fn from(config: Config) -> Self {
        Self::new(Live::without_credentials(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(threads: usize) -> Live {
        Live::without_credentials(Config {
            threads,
            ..Config::default()
        })
    }

    #[test]
    fn who_holds_a_configuration_keeps_it_until_asking_for_a_newer_one() {
        let settings = Settings::new(live(1));
        let mut snapshot = settings.snapshot();
        assert!(!snapshot.is_outdated());
        settings.replace(live(2));
        assert!(snapshot.is_outdated());
        assert_eq!(
            (snapshot.config.threads, settings.now().config.threads),
            (1, 2)
        );
        snapshot.refresh();
        assert!(!snapshot.is_outdated());
        assert_eq!(snapshot.config.threads, 2);
    }

    #[test]
    fn for_development_nothing_is_limited_by_address() {
        for (dev, expected) in [(false, (1_000, 1_000)), (true, (0, 0))] {
            let live = Live::without_credentials(Config {
                dev,
                ..Config::default()
            });
            let found = (
                live.appends_per_second_max(Kind::Address),
                live.lines_per_address_max(),
            );
            assert_eq!(found, expected, "dev = {dev}");
        }
    }
}
