//! Reloading: a running server goes on with another configuration, whole or not at all.

use std::{fs, io, path::Path, sync::Arc};

use crate::{
    clock,
    config::{Config, ConfigError},
    key_servers,
    live::{Live, Settings},
    metrics::Metrics,
    outbound::Outbound,
    parts::Parts,
    shard::{Mail, Mailbox},
    tls::Acceptor,
};

/// Gives a running server another configuration. Clones are for the same server.
#[derive(Clone)]
pub struct Reloader {
    pub(crate) settings: Settings,
    pub(crate) tls: Arc<Acceptor>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) outbound: Outbound,
    pub(crate) parts: Parts,
}

/// A configuration was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "it tells what was not applied"]
pub struct Reloaded {
    /// Settings that it says otherwise than before and that take a restart: they hold as they did.
    pub kept: Vec<&'static str>,
}

/// Tells whether a server would take a configuration, whose files `read` gets.
///
/// # Errors
///
/// A key or a certificate is not what it should be; the error tells which and what to do.
pub fn check(
    config: Config,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<(), ConfigError> {
    Acceptor::new(&config.tls, read, clock::unix_ms())?;
    Live::new(config, read).map(drop)
}

impl Reloader {
    /// Applies a configuration, and reads its files anew: to requests, lines and commands that begin from now on, and to
    /// the rights of lines that are open, which keep the certificate that they were shown.
    ///
    /// # Errors
    ///
    /// A key or a certificate is not what it should be, or what is new makes no sense with a setting that takes a
    /// restart. The old configuration holds on, whole.
    pub fn reload(&self, config: Config) -> Result<Reloaded, ConfigError> {
        self.reload_with(config, &mut |path| fs::read(path))
    }

    /// The same, where `read` gets the content of the files.
    ///
    /// # Errors
    ///
    /// As [`reload`](Self::reload).
    pub fn reload_with(
        &self,
        config: Config,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Reloaded, ConfigError> {
        let running = self.settings.now();
        let live = config.succeed(&running.config).and_then(|(config, kept)| {
            let terms = self.tls.prepare(&config.tls, read, clock::unix_ms())?;
            let live = running.succeeded_by(config, read)?;
            Ok((live, terms, kept))
        });
        match live {
            Ok((live, terms, kept)) => {
                key_servers::keep(
                    &live.authority,
                    &self.outbound,
                    &self.metrics,
                    &self.mailboxes,
                    &self.parts,
                );
                if let Some(desk) = &live.desk {
                    desk.connect(&self.outbound, &self.metrics);
                }
                // Before the rest: lines are judged by it when they see that another configuration holds.
                self.tls.apply(terms);
                self.settings.replace(live);
                // Those who sleep see it at once, and not with the next byte; and what it revokes.
                for mailbox in &self.mailboxes {
                    mailbox.post(Mail::Revoked);
                }
                self.metrics.reloaded(clock::unix_ms());
                Ok(Reloaded { kept })
            }
            Err(error) => {
                self.refused();
                Err(error)
            }
        }
    }

    /// How long the server goes on serving after it was told to stop, in milliseconds.
    pub fn delay_ms(&self) -> u64 {
        self.settings.now().config.stop.delay_ms
    }

    /// How long open lines and requests may take to end when the server stops, in milliseconds.
    pub fn drain_ms(&self) -> u64 {
        self.settings.now().config.stop.drain_ms
    }

    /// Counts a configuration that could not even be read.
    pub fn refused(&self) {
        self.metrics.reload_refused();
    }
}
