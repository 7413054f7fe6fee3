//! Keeps a certificate: does what the schedule says, for as long as the server runs.

use std::{sync::Arc, time::Duration};

use rustls::crypto::CryptoProvider;
use tokio::time::sleep;

use super::{
    account::on_disk,
    client::Client,
    failure::Failure,
    issued::Issued,
    schedule::{Alarm, Jitter, Reach, Schedule, Setback, Step, Trouble, Validity},
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
    shown: Option<Shown>,
}

/// A certificate that is shown.
struct Shown {
    issued: Issued,
    /// Whether it outlives the process.
    is_stored: bool,
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
        let trouble = trouble.and_then(|text| trouble_from(&storage, &text));
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
                let rest = match self.is_stored() || self.store_late().await {
                    true => LOOK_AGAIN,
                    false => STORE_AGAIN,
                };
                sleep(Duration::from_secs(until_s - now_s).min(rest)).await;
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
            Err(error) => return self.failed(&Failure::no_room(&error)).await,
        };
        if self.is_done_by_another() {
            return;
        }
        match self.reserved_order().await {
            Ok(issued) => match self.accept(issued).await {
                Ok(()) => self.metrics.acme_issued(now_s()),
                Err(failure) => self.failed(&failure).await,
            },
            Err(failure) => self.failed(&failure).await,
        }
        drop(lock);
    }

    /// Asks the authority while room for what it gives is reserved. What it would mean if the process ended meanwhile
    /// is noted before: so a certificate that is lost on its way is not ordered again by each start.
    async fn reserved_order(&mut self) -> Result<Issued, Failure> {
        let storage = self.storage.clone();
        let begun = self.note(Reach::Begun);
        let room = on_disk(move || {
            let room = storage.reserve()?;
            begun().map(|()| room)
        });
        let room = room.await.map_err(|error| Failure::no_room(&error))?;
        let before_issue = async {
            room.halve();
            let note = on_disk(self.note(Reach::Issuing)).await;
            note.map_err(|error| Failure::no_room(&error))
        };
        let replaces = self.shown.as_ref().and_then(|shown| shown.issued.id());
        self.client.order(replaces, before_issue).await
    }

    /// Stores what was issued and can be used, then shows it.
    async fn accept(&mut self, issued: Issued) -> Result<(), Failure> {
        let certificate = self.certificate(&issued).map_err(|error| {
            Failure::wasted(format!(
                "the certificate and the key that were issued {error}"
            ))
        })?;
        let is_stored = match self.store(&issued).await {
            Ok(()) => true,
            // It is still good for as long as this process runs.
            Err(error) => {
                self.metrics.acme_failed(Setback::Wasted.outcome());
                tracing::error!(
                    %error,
                    "a certificate was issued and cannot be stored; that is tried each minute, and a start before it was \
                     stored has none for an hour"
                );
                false
            }
        };
        let validity = issued.validity();
        self.show(certificate, Shown { issued, is_stored });
        self.schedule.on_issued(validity, now_s(), jitter());
        tracing::info!(
            domains = self.domains(),
            until = date(validity.not_after_s),
            "a certificate was issued"
        );
        Ok(())
    }

    /// Notes how far an order has come, for the next start.
    fn note(&self, reach: Reach) -> impl FnOnce() -> Result<(), StorageError> + Send + use<> {
        let storage = self.storage.clone();
        let trouble = self.schedule.foresee(reach, now_s(), jitter());
        move || storage.write(Kept::Trouble, &text_of(&trouble))
    }

    async fn store(&self, issued: &Issued) -> Result<(), StorageError> {
        let (storage, text) = (self.storage.clone(), issued.pem().to_owned());
        on_disk(move || {
            storage.write(Kept::Certificate, &text)?;
            storage.remove(Kept::Trouble)
        })
        .await
    }

    /// Whether a start would find the certificate that is shown.
    fn is_stored(&self) -> bool {
        self.shown.as_ref().is_none_or(|shown| shown.is_stored)
    }

    /// Stores what could not be stored before. True if that went well.
    async fn store_late(&mut self) -> bool {
        let Some(shown) = &self.shown else {
            return true;
        };
        let stored = self.store(&shown.issued).await.is_ok();
        if let (true, Some(shown)) = (stored, &mut self.shown) {
            shown.is_stored = true;
            tracing::info!("the certificate that could not be stored is stored now");
        }
        stored
    }

    async fn ask_window(&mut self) {
        let id = self.shown.as_ref().and_then(|shown| shown.issued.id());
        let Some(id) = id.cloned() else {
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
        let is_told = self.schedule.is_told(failure.setback(), now_s);
        let trouble = self.schedule.on_setback(failure.setback(), now_s, jitter());
        let retry_s = trouble.retry_at(now_s).saturating_sub(now_s);
        let (failures, error) = (trouble.failures(), failure);
        self.metrics.acme_failed(failure.setback().outcome());
        match (self.schedule.alarm(now_s), self.shown.as_ref()) {
            _ if is_told => tracing::debug!(%error, failures, retry_s, "there is still no room"),
            (Alarm::Low, Some(shown)) => tracing::warn!(
                %error, failures, retry_s,
                until = date(shown.issued.validity().not_after_s),
                "the certificate could not be renewed; the one in use lasts for now"
            ),
            (Alarm::High, Some(shown)) => tracing::error!(
                %error, failures, retry_s,
                until = date(shown.issued.validity().not_after_s),
                "the certificate could not be renewed, and expires soon"
            ),
            _ => tracing::error!(
                %error, failures, retry_s,
                "no certificate could be got; TLS handshakes for some name fail"
            ),
        }
        // The next start looks for room by itself; what was stored about the authority stays.
        if failure.setback() == Setback::NoRoom {
            return;
        }
        let (storage, text) = (self.storage.clone(), text_of(&trouble));
        if let Err(error) = on_disk(move || storage.write(Kept::Trouble, &text)).await {
            tracing::warn!(%error, "what went wrong cannot be stored; the next start knows only how far the order came");
        }
    }

    /// Whether another process has stored a certificate meanwhile; then it is shown.
    fn is_done_by_another(&mut self) -> bool {
        match self.stored() {
            Ok(Some(stored)) if self.is_news(&stored) => {
                if let Some(held) = self.adopt(stored) {
                    self.schedule.on_issued(held, now_s(), jitter());
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the stored certificate cannot be read"),
        }
        self.schedule.next(now_s()) != Step::Order
    }

    /// Whether what is stored is not what is shown, nor what that was to replace when it could not be stored.
    fn is_news(&self, stored: &Issued) -> bool {
        self.shown.as_ref().is_none_or(|shown| {
            let is_older = stored.validity().not_after_s <= shown.issued.validity().not_after_s;
            stored.pem() != shown.issued.pem() && (shown.is_stored || !is_older)
        })
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
        match self.certificate(&stored) {
            Ok(certificate) => self.show(
                certificate,
                Shown {
                    issued: stored,
                    is_stored: true,
                },
            ),
            Err(error) => {
                tracing::warn!(path = %path.display(), "the stored key and certificate {error}; getting others");
                return None;
            }
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

    /// Reads the whole of a key and its chain, and judges whether they can be shown now.
    fn certificate(&self, issued: &Issued) -> Result<Certificate, CertificateError> {
        let pem = issued.pem().as_bytes();
        Certificate::from_pem(pem, pem, &self.provider, clock::unix_ms())
    }

    fn show(&mut self, certificate: Certificate, shown: Shown) {
        (self.client.certificates).replace(Source::Acme, &[certificate]);
        (self.metrics).acme_expires(shown.issued.validity().not_after_s);
        self.shown = Some(shown);
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

/// What went wrong before the process ended, if that can be read.
fn trouble_from(storage: &Storage, text: &str) -> Option<Trouble> {
    let read = serde_json::from_str(text);
    if let Err(error) = &read {
        let path = storage.path(Kept::Trouble);
        tracing::warn!(path = %path.display(), %error, "what went wrong before cannot be read; asking the authority at once");
    }
    read.ok()
}

fn text_of(trouble: &Trouble) -> String {
    serde_json::to_string(trouble).expect("it is plain data")
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

/// How long to sleep before a certificate is stored that could not be.
const STORE_AGAIN: Duration = Duration::from_secs(60);

/// How long to leave it to another process.
const OTHER_PROCESS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, path::Path, process::Command};

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

    /// A disk of its own that is small enough to be filled. Who may not mount one gets a folder that has been taken away
    /// while it is full, which fails in the same places.
    struct SmallDisk {
        folder: TempDir,
        is_mounted: bool,
    }

    impl SmallDisk {
        fn new() -> Self {
            let folder = tempdir().unwrap();
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "size=160k,mode=700", "tmpfs"]);
            let mounted = mount.arg(folder.path()).output();
            let is_mounted = mounted.is_ok_and(|output| output.status.success());
            Self { folder, is_mounted }
        }

        /// Leaves as many bytes as this on it.
        fn fill(&self, storage: &Storage, free: u64) {
            if !self.is_mounted {
                return fs::rename(place(storage), self.filler()).unwrap();
            }
            let mut filler = fs::File::create(self.filler()).unwrap();
            while filler.write_all(&[1; 4096]).is_ok() {}
            let full = filler.metadata().unwrap().len();
            filler.set_len(full - free).unwrap();
        }

        fn empty(&self, storage: &Storage) {
            match self.is_mounted {
                true => fs::remove_file(self.filler()).unwrap(),
                false => fs::rename(self.filler(), place(storage)).unwrap(),
            }
        }

        fn filler(&self) -> std::path::PathBuf {
            self.folder.path().join("filler")
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            if self.is_mounted {
                let _ = Command::new("umount").arg(self.folder.path()).output();
            }
        }
    }

    fn place(storage: &Storage) -> std::path::PathBuf {
        storage.path(Kept::Account).parent().unwrap().to_owned()
    }

    fn keeper(folder: &TempDir) -> Keeper {
        keeper_in(folder.path())
    }

    fn keeper_in(folder: &Path) -> Keeper {
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
        let storage = Storage::open(folder, DIRECTORY).unwrap();
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

    /// How often it came to this.
    fn outcomes(keeper: &Keeper, outcome: &'static str) -> u64 {
        keeper.metrics.acme_outcomes(outcome)
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
        assert_eq!(keeper.shown.as_ref().unwrap().issued.pem(), pem);
        assert!(keeper.client.certificates.ends_ms().is_some());
        assert_ne!(keeper.schedule.next(now_s()), Step::Order);
        assert!(keeper.storage.read(Kept::Trouble).unwrap().is_none());
    }

    #[tokio::test]
    async fn nothing_is_ordered_while_the_disk_could_not_hold_what_an_order_brings() {
        let disk = SmallDisk::new();
        let mut keeper = keeper_in(disk.folder.path());
        let storage = keeper.storage.clone();
        // There would be room for the account and for a note, and so an order would be begun.
        disk.fill(&storage, 48 * 1024);
        for _ in 0..3 {
            keeper.schedule = Schedule::new(None, None, jitter());
            keeper.order().await;
        }
        assert_eq!(outcomes(&keeper, "no-room"), 3);
        assert_eq!(outcomes(&keeper, "unreachable"), 0, "nobody was asked");
        disk.empty(&storage);
        assert!(storage.read(Kept::Trouble).unwrap().is_none());
        keeper.schedule = Schedule::new(None, None, jitter());
        keeper.order().await;
        assert_eq!(outcomes(&keeper, "unreachable"), 1, "it was asked");
        assert!(storage.read(Kept::Trouble).unwrap().is_some());
        let left = fs::read_dir(place(&storage)).unwrap().count();
        assert_eq!(left, 2, "the note and the lock, and nothing of the reserve");
    }

    #[tokio::test]
    async fn a_certificate_that_could_not_be_stored_is_shown_and_stored_later() {
        let disk = SmallDisk::new();
        let mut keeper = keeper_in(disk.folder.path());
        let storage = keeper.storage.clone();
        let old = certificate();
        storage.write(Kept::Certificate, &old).unwrap();
        keeper.note(Reach::Issuing)().unwrap();
        disk.fill(&storage, 0);
        let pem = certificate();
        let issued = Issued::read(pem.clone()).unwrap();
        keeper.accept(issued).await.unwrap();
        assert_eq!(outcomes(&keeper, "wasted"), 1);
        keeper.is_done_by_another();
        let shown = keeper.shown.as_ref().unwrap().issued.pem();
        assert_eq!(shown, pem, "and not the old one, which is stored");
        assert!(!keeper.store_late().await);
        disk.empty(&storage);
        assert!(keeper.store_late().await);
        assert!(keeper.is_stored());
        let kept = storage.read(Kept::Certificate).unwrap();
        assert_eq!(kept.as_deref(), Some(&*pem));
        assert!(storage.read(Kept::Trouble).unwrap().is_none());
    }

    /// The process ended while the certificate was on its way, so that it is lost: nobody knows that better than the
    /// authority, which counts it.
    #[tokio::test]
    async fn a_start_after_a_certificate_was_lost_does_not_order_at_once() {
        for (reach, orders) in [(Reach::Begun, true), (Reach::Issuing, false)] {
            let folder = tempdir().unwrap();
            keeper(&folder).note(reach)().unwrap();
            let next = keeper(&folder).schedule.next(now_s());
            assert_eq!(next == Step::Order, orders, "{reach:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_whole_is_neither_shown_nor_put_in_place_of_what_is() {
        let (whole, other) = (certificate(), certificate());
        let (key, chain) = whole.split_at(whole.find("-----BEGIN CERTIFICATE").unwrap());
        let (_, others) = other.split_at(other.find("-----BEGIN CERTIFICATE").unwrap());
        let chain_and = |rest: &str| format!("{key}{chain}{rest}");
        for (text, what) in [
            (String::new(), "nothing"),
            (key.to_owned(), "a key alone"),
            (chain.to_owned(), "a certificate alone"),
            (whole[..whole.len() / 2].to_owned(), "the first half"),
            (whole[..whole.len() - 30].to_owned(), "all but the end"),
            (chain_and(&others[..others.len() / 2]), "half of a chain"),
            (format!("{key}{others}"), "another's key"),
            (format!("{}{chain}", &key[..key.len() / 2]), "half of a key"),
        ] {
            let folder = tempdir().unwrap();
            let storage = Storage::open(folder.path(), DIRECTORY).unwrap();
            storage.write(Kept::Certificate, &text).unwrap();
            let mut keeper = keeper(&folder);
            assert!(keeper.shown.is_none(), "{what} is shown");
            assert!(keeper.client.certificates.ends_ms().is_none(), "{what}");
            assert_eq!(keeper.schedule.next(now_s()), Step::Order, "{what}");
            // From the authority.
            storage.write(Kept::Certificate, &other).unwrap();
            if let Some(issued) = Issued::read(text) {
                let failure = keeper.accept(issued).await.unwrap_err();
                assert_eq!(failure.setback(), Setback::Wasted, "{what}");
            }
            let kept = storage.read(Kept::Certificate).unwrap();
            assert_eq!(kept.as_deref(), Some(&*other), "{what} was stored");
        }
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
