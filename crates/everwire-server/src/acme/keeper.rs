//! Keeps a certificate: does what the schedule says, for as long as the server runs.

use std::{sync::Arc, time::Duration};

use rustls::crypto::CryptoProvider;
use tokio::time::sleep;

use super::{
    account::on_disk,
    client::Client,
    failure::Failure,
    issued::Issued,
    schedule::{Alarm, Jitter, Schedule, Step, Trouble, Validity},
    storage::{Kept, Storage, StorageError},
};
use crate::{
    clock,
    metrics::Metrics,
    stop::Stopping,
    tls::{Certificate, CertificateError, Source},
};

/// Keeps the certificate of the names that the settings say.
pub(crate) struct Keeper {
    client: Client,
    storage: Storage,
    provider: Arc<CryptoProvider>,
    metrics: Arc<Metrics>,
    schedule: Schedule,
    /// What is shown now, if anything.
    shown: Option<Issued>,
}

impl Keeper {
    /// With what is stored, which is shown from now on.
    ///
    /// # Errors
    ///
    /// The folder cannot be used.
    pub fn new(
        client: Client,
        storage: Storage,
        provider: Arc<CryptoProvider>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StorageError> {
        let trouble = storage.read(Kept::Trouble)?;
        let trouble = trouble.and_then(|text| serde_json::from_str::<Trouble>(&text).ok());
        let mut this = Self {
            schedule: Schedule::new(None, trouble.clone(), jitter()),
            client,
            storage,
            provider,
            metrics,
            shown: None,
        };
        let held = this.stored()?.and_then(|stored| this.adopt(stored));
        this.schedule = Schedule::new(held, trouble, jitter());
        Ok(this)
    }

    /// Does what there is to do until the server stops.
    pub async fn keep(&mut self, stopping: Stopping) {
        if self.shown.is_none() {
            tracing::warn!(
                domains = self.domains(),
                "there is no certificate yet; TLS handshakes fail until the authority has issued one"
            );
        }
        loop {
            tokio::select! {
                () = self.step() => {}
                () = stopping.stopped() => return,
            }
        }
    }

    async fn step(&mut self) {
        let now_s = now_s();
        match self.schedule.next(now_s) {
            Step::Order => self.order().await,
            Step::AskWindow => self.ask_window().await,
            // The clock may be set, and a machine may sleep: it is looked at now and then.
            Step::Wait { until_s } => {
                sleep(Duration::from_secs(until_s - now_s).min(LOOK_AGAIN)).await;
            }
        }
    }

    async fn order(&mut self) {
        let storage = self.storage.clone();
        let lock = match on_disk(move || storage.lock()).await {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                tracing::info!(
                    "another process that shares acme.storage talks to the authority; looking again in a minute"
                );
                return sleep(OTHER_PROCESS).await;
            }
            Err(error) => return self.failed(&error.into()).await,
        };
        if self.is_done_by_another() {
            return;
        }
        let replaces = self.shown.as_ref().and_then(|shown| shown.id().cloned());
        let outcome = match self.client.order(replaces.as_ref()).await {
            Ok(issued) => self.accept(issued).await,
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(()) => self.metrics.acme_issued(now_s()),
            Err(failure) => self.failed(&failure).await,
        }
        drop(lock);
    }

    /// Stores what was issued, then shows it.
    async fn accept(&mut self, issued: Issued) -> Result<(), Failure> {
        let (storage, text) = (self.storage.clone(), issued.pem().to_owned());
        let stored = on_disk(move || {
            storage.write(Kept::Certificate, &text)?;
            storage.remove(Kept::Trouble)
        });
        // One that cannot be kept is still good for as long as this process runs.
        if let Err(error) = stored.await {
            tracing::error!(%error, "a certificate was issued and cannot be stored; the next start will ask for another");
        }
        let validity = issued.validity();
        self.show(issued).map_err(|error| {
            Failure::refused(format!(
                "the certificate and the key that were issued {error}"
            ))
        })?;
        self.schedule.on_issued(validity, now_s(), jitter());
        tracing::info!(
            domains = self.domains(),
            until = date(validity.not_after_s),
            "a certificate was issued"
        );
        Ok(())
    }

    async fn ask_window(&mut self) {
        let Some(id) = self.shown.as_ref().and_then(|shown| shown.id().cloned()) else {
            return self.schedule.on_window(None, now_s(), jitter());
        };
        match self.client.window(&id).await {
            Ok(told) => self.schedule.on_window(told, now_s(), jitter()),
            Err(failure) => {
                tracing::debug!(error = %failure, "the authority was not asked when to renew");
                self.schedule.on_window_missed(now_s());
            }
        }
    }

    /// No certificate came: the louder the less time is left.
    async fn failed(&mut self, failure: &Failure) {
        let now_s = now_s();
        let trouble = self.schedule.on_setback(failure.setback(), now_s, jitter());
        let retry_s = trouble.retry_at(now_s).saturating_sub(now_s);
        let (failures, error) = (trouble.failures(), failure);
        self.metrics.acme_failed(failure.setback().outcome());
        match (self.schedule.alarm(now_s), self.shown.as_ref()) {
            (Alarm::Low, Some(shown)) => tracing::warn!(
                %error, failures, retry_s,
                until = date(shown.validity().not_after_s),
                "the certificate could not be renewed; the one in use lasts for now"
            ),
            (Alarm::High, Some(shown)) => tracing::error!(
                %error, failures, retry_s,
                until = date(shown.validity().not_after_s),
                "the certificate could not be renewed, and expires soon"
            ),
            _ => tracing::error!(
                %error, failures, retry_s,
                "no certificate could be got; TLS handshakes for some name fail"
            ),
        }
        let storage = self.storage.clone();
        let text = serde_json::to_string(&trouble).expect("it is plain data");
        if let Err(error) = on_disk(move || storage.write(Kept::Trouble, &text)).await {
            tracing::warn!(%error, "what went wrong cannot be stored; the next start asks the authority at once");
        }
    }

    /// Whether another process has stored a certificate meanwhile; then it is shown.
    fn is_done_by_another(&mut self) -> bool {
        match self.stored() {
            Ok(Some(stored)) if Some(stored.pem()) != self.shown.as_ref().map(Issued::pem) => {
                if let Some(held) = self.adopt(stored) {
                    self.schedule.on_issued(held, now_s(), jitter());
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the stored certificate cannot be read"),
        }
        self.schedule.next(now_s()) != Step::Order
    }

    fn stored(&self) -> Result<Option<Issued>, StorageError> {
        let Some(text) = self.storage.read(Kept::Certificate)? else {
            return Ok(None);
        };
        let issued = Issued::read(text);
        if issued.is_none() {
            let path = self.storage.path(Kept::Certificate);
            tracing::warn!(path = %path.display(), "the stored certificate is none; getting another");
        }
        Ok(issued)
    }

    /// Shows what was stored, if that can be shown, and tells its life if it is for all names.
    fn adopt(&mut self, stored: Issued) -> Option<Validity> {
        let (validity, covers) = (stored.validity(), stored.covers(&self.client.domains));
        let path = self.storage.path(Kept::Certificate);
        if let Err(error) = self.show(stored) {
            tracing::warn!(path = %path.display(), "the stored key and certificate {error}; getting others");
            return None;
        }
        tracing::info!(
            path = %path.display(),
            until = date(validity.not_after_s),
            "the stored certificate is used"
        );
        if !covers {
            tracing::info!(
                domains = self.domains(),
                "the stored certificate is not for all of acme.domains; getting another"
            );
        }
        covers.then_some(validity)
    }

    fn show(&mut self, issued: Issued) -> Result<(), CertificateError> {
        let pem = issued.pem().as_bytes();
        let certificate = Certificate::from_pem(pem, pem, &self.provider, clock::unix_ms())?;
        (self.client.certificates).replace(Source::Acme, &[certificate]);
        self.metrics.acme_expires(issued.validity().not_after_s);
        self.shown = Some(issued);
        Ok(())
    }

    fn domains(&self) -> String {
        let domains: Vec<String> = self
            .client
            .domains
            .iter()
            .map(ToString::to_string)
            .collect();
        domains.join(", ")
    }
}

fn now_s() -> u64 {
    clock::unix_ms() / 1000
}

fn jitter() -> Jitter {
    Jitter(fastrand::f64())
}

fn date(unix_s: u64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(unix_s))
}

/// How long to sleep at most before the clock is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);

/// How long to leave it to another process.
const OTHER_PROCESS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::aws_lc_rs;
    use tempfile::{TempDir, tempdir};
    use tokio::{runtime::Handle, time::Instant};

    use super::*;
    use crate::{
        acme::{account::Accounts, told::Listener},
        config::{Acme, Outbound as OutboundSettings},
        outbound::Outbound,
        tls::Certificates,
    };

    /// An authority that is not there.
    const DIRECTORY: &str = "https://127.0.0.1:1/dir";

    fn keeper(folder: &TempDir) -> Keeper {
        let settings = Acme {
            domains: vec!["live.example.org".parse().unwrap()],
            directory: DIRECTORY.to_owned(),
            ..Acme::default()
        };
        let metrics = Arc::new(Metrics::new());
        let outbound = Outbound::new(
            &OutboundSettings::default(),
            Handle::current(),
            metrics.clone(),
            &mut |_| unreachable!("no file of certificates is set"),
        );
        let storage = Storage::open(folder.path(), DIRECTORY).unwrap();
        let client = Client::new(
            &settings,
            Accounts::new(&settings, storage.clone(), None),
            Listener::new(outbound.unwrap()),
            Arc::default(),
            Arc::new(Certificates::default()),
        );
        let provider = Arc::new(aws_lc_rs::default_provider());
        Keeper::new(client, storage, provider, metrics).unwrap()
    }

    fn certificate() -> String {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["live.example.org".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        format!("{}{}", key.serialize_pem(), certificate.pem())
    }

    #[tokio::test]
    async fn a_certificate_that_another_process_got_is_taken_over() {
        let folder = tempdir().unwrap();
        let mut keeper = keeper(&folder);
        assert_eq!(keeper.schedule.next(now_s()), Step::Order);
        assert!(!keeper.is_done_by_another());
        let pem = certificate();
        keeper.storage.write(Kept::Certificate, &pem).unwrap();
        keeper.step().await;
        assert_eq!(keeper.shown.as_ref().unwrap().pem(), pem);
        assert!(keeper.client.certificates.ends_ms().is_some());
        assert_ne!(keeper.schedule.next(now_s()), Step::Order);
        assert!(keeper.storage.read(Kept::Trouble).unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_authority_is_left_to_another_process_while_that_talks_to_it() {
        let folder = tempdir().unwrap();
        let mut keeper = keeper(&folder);
        let lock = keeper.storage.lock().unwrap();
        let began = Instant::now();
        keeper.step().await;
        assert!(began.elapsed() >= OTHER_PROCESS);
        assert!(keeper.storage.read(Kept::Trouble).unwrap().is_none());
        drop(lock);
    }
}
