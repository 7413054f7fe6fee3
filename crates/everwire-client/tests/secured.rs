//! Credentials and encryption: a reader and a publisher against a real server that asks for both.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use everwire_client::{
    Backoff, ChannelUrl, Credential, Item, Line, LineOptions, PublishError, Publisher,
    PublisherOptions, ReadError, Reader, ReaderOptions, ServerUrl, Start, SubscribeOptions, Trust,
    Update, Wire,
};
use everwire_server::auth::{GENERATED_BYTES, NewKey};
use everwire_server::config::{Action, ApiKey, Grant};
use everwire_server::{Config, Server};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A server, stopped when it is dropped, that lets in who shows its key and nobody else.
struct Site {
    server: Option<Server>,
    config: Config,
}

impl Site {
    fn start() -> Self {
        let mut config = Config {
            threads: 1,
            keys: vec![listed("first")],
            ..Config::default()
        };
        config.listen.set_port(0);
        config.stop.drain_ms = 1;
        let server = Some(Server::start(config.clone()).unwrap());
        Self { server, config }
    }

    fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    fn channel(&self) -> ChannelUrl {
        format!("http://{}/channels/c", self.address())
            .parse()
            .unwrap()
    }

    /// From now on it takes this key and no other.
    fn takes(&mut self, id: &str) {
        self.config.keys = vec![listed(id)];
        let reloader = self.server.as_ref().unwrap().reloader();
        let _ = reloader.reload(self.config.clone()).unwrap();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Its threads are not ended where tasks run.
        let server = self.server.take().unwrap();
        std::thread::spawn(move || server.stop())
            .join()
            .unwrap()
            .unwrap();
    }
}

fn made(id: &str) -> NewKey {
    NewKey::new(id, [7; GENERATED_BYTES]).unwrap()
}

fn listed(id: &str) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        sha256: made(id).sha256,
        channels: vec![Grant {
            pattern: "**".parse().unwrap(),
            can: vec![Action::Read, Action::Publish],
        }],
        can: Vec::new(),
    }
}

/// A wallet that gives the key of this name at present, and counts how often it was asked.
#[derive(Clone, Default)]
struct Wallet {
    id: Arc<Mutex<&'static str>>,
    asked: Arc<AtomicUsize>,
}

impl Wallet {
    fn with(id: &'static str) -> Self {
        let wallet = Self::default();
        wallet.holds(id);
        wallet
    }

    fn holds(&self, id: &'static str) {
        *self.id.lock().unwrap() = id;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn credential(&self) -> Credential {
        let wallet = self.clone();
        Credential::fetched(move || {
            wallet.asked.fetch_add(1, Ordering::Relaxed);
            let key = made(*wallet.id.lock().unwrap()).key;
            async move { Ok::<_, String>(key) }
        })
    }
}

fn quick() -> Backoff {
    Backoff {
        first: Duration::from_millis(1),
        max: Duration::from_millis(10),
    }
}

fn publisher(url: ChannelUrl) -> Publisher {
    let options = PublisherOptions {
        backoff: quick(),
        ..PublisherOptions::default()
    };
    Publisher::with_options(url, options)
}

fn reader(url: ChannelUrl, wire: Wire) -> Reader {
    let options = ReaderOptions {
        backoff: quick(),
        poll_interval: Duration::from_millis(10),
        ..ReaderOptions::default()
    };
    Reader::with_options(url, wire, Start::Beginning, options)
}

async fn entry(reader: &mut Reader) -> String {
    loop {
        match reader.next().await.unwrap() {
            Some(Item::Entry(entry)) => {
                return String::from_utf8(entry.data.as_bytes().to_vec()).unwrap();
            }
            Some(_) => {}
            None => panic!("the reader ended"),
        }
    }
}

#[tokio::test]
async fn a_credential_is_shown_on_every_wire() {
    let site = Site::start();
    let wallet = Wallet::with("first");
    let mut publisher = publisher(site.channel()).showing(wallet.credential());
    publisher.publish("[1]".into()).await.unwrap();
    publisher.publish("[2]".into()).await.unwrap();
    assert_eq!(wallet.asked(), 1, "one is held");
    for wire in Wire::ALL {
        let mut reader = reader(site.channel(), wire).showing(Credential::fixed(made("first").key));
        assert_eq!(entry(&mut reader).await, "1", "{wire}");
    }
}

#[tokio::test]
async fn without_a_credential_or_with_one_that_cannot_be_replaced_a_refusal_is_final() {
    let site = Site::start();
    let wrong = || Credential::fixed(made("second").key);
    for (mut publisher, expected) in [
        (publisher(site.channel()), "show one"),
        (publisher(site.channel()).showing(wrong()), "API key"),
    ] {
        match publisher.publish("[1]".into()).await {
            Err(PublishError::Refused {
                status: 401,
                detail,
            }) => {
                assert!(detail.contains(expected), "{detail}");
            }
            other => panic!("{other:?}"),
        }
    }
    for wire in Wire::ALL {
        let mut reader = reader(site.channel(), wire).showing(wrong());
        let refused = loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                ended => break ended,
            }
        };
        assert!(
            matches!(refused, Err(ReadError::Refused { status: 401, .. })),
            "{wire}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_credential_that_is_refused_is_fetched_anew_a_few_times() {
    let mut site = Site::start();
    let wallet = Wallet::with("first");
    let mut publisher = publisher(site.channel()).showing(wallet.credential());
    publisher.publish("[1]".into()).await.unwrap();
    site.takes("second");
    wallet.holds("second");
    publisher.publish("[2]".into()).await.unwrap();
    assert_eq!(wallet.asked(), 2);
    for wire in [
        Wire::LongPoll,
        Wire::Polling,
        Wire::EventStream,
        Wire::WebSocket,
    ] {
        wallet.holds("first");
        let mut reader = reader(site.channel(), wire).showing(wallet.credential());
        // The first attempt is refused; the wallet has the right one by the second.
        let told = reader.next().await.unwrap();
        assert!(
            matches!(told, Some(Item::Disconnected { .. })),
            "{wire}: {told:?}"
        );
        wallet.holds("second");
        assert_eq!(entry(&mut reader).await, "1", "{wire}");
        assert_eq!(entry(&mut reader).await, "2", "{wire}");
    }
    // One that stays wrong is given up.
    wallet.holds("first");
    let before = wallet.asked();
    let mut hopeless = reader(site.channel(), Wire::Ndjson).showing(wallet.credential());
    while let Ok(Some(_)) = hopeless.next().await {}
    assert_eq!(wallet.asked() - before, 3);
}

/// Speaks TLS before a server that speaks clear text, with a certificate for `localhost`; the port, and the authority as
/// PEM.
async fn encrypted(server: SocketAddr) -> (u16, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not believe the certificate breaks off.
                if let Ok(mut socket) = acceptor.accept(socket).await {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut socket, &mut server).await;
                }
            });
        }
    });
    (port, authority.pem())
}

#[tokio::test]
async fn everything_works_encrypted_with_who_has_a_certificate_that_is_believed() {
    let site = Site::start();
    let (port, pem) = encrypted(site.address()).await;
    let trust = Trust::and_pem(pem.as_bytes()).unwrap();
    let shown = Credential::fixed(made("first").key);
    let channel: ChannelUrl = format!("https://localhost:{port}/channels/c")
        .parse()
        .unwrap();
    let mut publisher = publisher(channel.clone().trusting(&trust)).showing(shown.clone());
    publisher.publish("[1]".into()).await.unwrap();
    for wire in Wire::ALL {
        let url = channel.clone().trusting(&trust);
        let mut reader = reader(url, wire).showing(shown.clone());
        assert_eq!(entry(&mut reader).await, "1", "{wire}");
    }
    let server: ServerUrl = format!("wss://localhost:{port}").parse().unwrap();
    let line = Line::connect_as(server.trusting(&trust), LineOptions::default(), shown).unwrap();
    let options = SubscribeOptions {
        start: Start::Beginning,
        ..SubscribeOptions::default()
    };
    let mut subscription = line.channel("c").unwrap().subscribe(options).unwrap();
    let update = subscription.next().await.unwrap();
    assert!(matches!(update, Some(Update::Entry(_))), "{update:?}");
    line.close().await;
}

#[tokio::test]
async fn who_has_none_or_another_name_is_not_spoken_to() {
    let site = Site::start();
    let (port, pem) = encrypted(site.address()).await;
    let trust = Trust::and_pem(pem.as_bytes()).unwrap();
    for (host, trust, expected) in [
        ("localhost", Trust::system(), "invalid peer certificate"),
        ("127.0.0.1", trust, "invalid peer certificate"),
    ] {
        let url: ChannelUrl = format!("https://{host}:{port}/channels/c").parse().unwrap();
        let options = PublisherOptions {
            patience: Duration::ZERO,
            ..PublisherOptions::default()
        };
        let publisher = Publisher::with_options(url.trusting(&trust), options);
        let mut publisher = publisher.showing(Credential::fixed(made("first").key));
        let error = publisher
            .publish("[1]".into())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{host}: {error}");
        assert!(!error.contains("ewk_"), "{error}");
    }
}
