//! The server's own certificate: got from an authority by ACME (RFC 8555), kept, and renewed.
//!
//! ```text
//!  clock, storage ─▶ schedule ─▶ keeper ─▶ client ─▶ authority
//!                                  │          └─▶ challenges ◀─ the authority looks whether the names lead here
//!                                  └─▶ storage, tls::Certificates
//! ```
//!
//! In reading order: [`schedule`] decides when to do what, without IO; [`keeper`] does it; [`client`] talks to the
//! authority about one order, by way of [`told`] and on behalf of an [`account`]; [`challenges`] answers what the
//! authority asks this server; [`storage`] holds what outlives the process, [`issued`] reads a certificate, [`failure`]
//! says why none came. All of it runs on the workers. The server starts and serves before the first certificate is
//! there; handshakes fail until then.

mod account;
mod challenges;
mod client;
mod failure;
mod issued;
mod keeper;
mod schedule;
mod storage;
mod told;

use std::{io, path::Path, sync::Arc};

use rustls::crypto::CryptoProvider;

use self::{
    account::{Accounts, External},
    client::Client,
    storage::Storage,
    told::Listener,
};
pub(crate) use self::{challenges::Challenges, keeper::Keeper};
use crate::{
    config::{Acme, ConfigError},
    metrics::Metrics,
    outbound::Outbound,
    tls::Certificates,
};

/// Whoever gets the certificate that the settings ask for, if they ask for one. What is stored is shown from now on.
/// `read` gets the content of the files that the settings name.
///
/// # Errors
///
/// The folder cannot be used, or the key of the external account is none.
pub(crate) fn open(
    settings: &Acme,
    outbound: &Outbound,
    challenges: &Arc<Challenges>,
    certificates: &Arc<Certificates>,
    provider: Arc<CryptoProvider>,
    metrics: &Arc<Metrics>,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<Option<Keeper>, ConfigError> {
    if !settings.is_on() {
        return Ok(None);
    }
    let external = External::read(settings, read)?;
    let unusable = |error: storage::StorageError| {
        ConfigError::value("acme.storage", format!("cannot be used: {error}"))
    };
    let storage = Storage::open(&settings.storage, &settings.directory).map_err(unusable)?;
    let client = Client::new(
        settings,
        Accounts::new(settings, storage.clone(), external),
        Listener::new(outbound.clone()),
        challenges.clone(),
        certificates.clone(),
    );
    let keeper = Keeper::new(client, storage, provider, metrics.clone()).map_err(unusable)?;
    Ok(Some(keeper))
}
