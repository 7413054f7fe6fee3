use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{ClearText, Url};

const LIMITS: Limits = Limits {
    time_max: Duration::from_secs(20),
    content_bytes_max: 1_000,
};

/// A server on loopback that answers every request in the same way.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, answer).await,
                        // Who does not believe the certificate breaks off here.
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn get(&self) -> Request<Bytes> {
        get(&format!("http://{}/keys?code=secret", self.address))
    }
}

/// Answers each request, if there is an answer, and ends the connection after one that says so.
async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, answer: &'static str) {
    let mut asked = Vec::new();
    while let Ok(1..) = socket.read_buf(&mut asked).await {
        let text = String::from_utf8_lossy(&asked).to_lowercase();
        let end = match text.contains("content-length") {
            true => "content",
            false => "\r\n\r\n",
        };
        if !text.ends_with(end) || answer.is_empty() {
            continue;
        }
        let bytes = answer.replace("(asked)", &text);
        asked.clear();
        let _ = socket.write_all(bytes.as_bytes()).await;
        if !answer.contains("content-length") {
            return;
        }
    }
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn get(address: &str) -> Request<Bytes> {
    Request::get(address).body(Bytes::new()).unwrap()
}

fn outbound(settings: &config::Outbound, pem: &str) -> Outbound {
    let mut read = |_: &Path| Ok(pem.as_bytes().to_vec());
    Outbound::new(settings, Handle::current(), Arc::default(), &mut read).unwrap()
}

fn plain() -> Outbound {
    outbound(&config::Outbound::default(), "")
}

/// Sends a request to the address that it was made for.
async fn sent(
    outbound: &Outbound,
    request: Request<Bytes>,
    limits: Limits,
) -> Result<Response<Bytes>, OutboundError> {
    let url = Url::parse(&request.uri().to_string()).unwrap();
    let to = Address::of(&url, ClearText::OnLoopback).unwrap();
    outbound.send(&to, request, None, limits).await
}

async fn text_of(outbound: &Outbound, request: Request<Bytes>) -> String {
    let answer = sent(outbound, request, LIMITS).await.unwrap();
    String::from_utf8(answer.body().to_vec()).unwrap()
}

async fn error_of(answer: &'static str, time_max: Duration) -> OutboundError {
    let server = Server::start(answer, None).await;
    let limits = Limits { time_max, ..LIMITS };
    sent(&plain(), server.get(), limits).await.unwrap_err()
}

#[tokio::test]
async fn a_request_is_sent_as_it_was_made_and_the_whole_answer_comes_back() {
    let server = Server::start("HTTP/1.1 418 Teapot\r\netag: \"1\"\r\n\r\n(asked)", None).await;
    let request = Request::post(format!("http://{}/hooks?a=b", server.address))
        .header("x-own", "1")
        .body(Bytes::from_static(b"content"))
        .unwrap();
    let answer = sent(&plain(), request, LIMITS).await.unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.headers()["etag"], "\"1\"");
    let asked = String::from_utf8(answer.body().to_vec()).unwrap();
    let host = format!("host: {}\r\n", server.address);
    for part in [
        "post /hooks?a=b http/1.1\r\n",
        "x-own: 1\r\n",
        "content-length: 7\r\n",
        "user-agent: everwire/",
        &host,
        "\r\n\r\ncontent",
    ] {
        assert!(asked.contains(part), "{part:?} is in {asked:?}");
    }
}

#[tokio::test]
async fn a_connection_serves_one_exchange_after_the_other() {
    let server = Server::start(FINE, None).await;
    let outbound = plain();
    for _ in 0..5 {
        assert_eq!(text_of(&outbound, server.get()).await, "{}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn no_more_connections_are_made_to_a_host_than_may_be() {
    let server = Server::start(FINE, None).await;
    let settings = config::Outbound {
        connections_per_host_max: 2,
        ..config::Outbound::default()
    };
    let outbound = outbound(&settings, "");
    let exchanges: Vec<_> = (0..20)
        .map(|_| {
            let (outbound, request) = (outbound.clone(), server.get());
            tokio::spawn(async move { text_of(&outbound, request).await })
        })
        .collect();
    for exchange in exchanges {
        assert_eq!(exchange.await.unwrap(), "{}");
    }
    assert!((1..=2).contains(&server.connections()));
}

#[tokio::test]
async fn who_finds_all_connections_in_use_waits_no_longer_than_for_an_answer() {
    let server = Server::start("", None).await;
    let settings = config::Outbound {
        connections_per_host_max: 1,
        ..config::Outbound::default()
    };
    let outbound = outbound(&settings, "");
    let (first, request) = (outbound.clone(), server.get());
    let first = tokio::spawn(async move { sent(&first, request, LIMITS).await });
    while server.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let limits = Limits {
        time_max: Duration::from_millis(1),
        ..LIMITS
    };
    let error = sent(&outbound, server.get(), limits).await.unwrap_err();
    assert!(matches!(error, OutboundError::Busy { .. }), "{error}");
    first.abort();
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = Server::start(FINE, None).await;
    let moved = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
        target.address
    );
    let server = Server::start(moved.leak(), None).await;
    let answer = sent(&plain(), server.get(), LIMITS).await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_taken_whether_or_not_it_says_so() {
    let long = "a".repeat(1_001);
    for head in [
        "content-length: 1001\r\n\r\n",
        "\r\n",
        "transfer-encoding: chunked\r\n\r\n3e9\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}{long}\r\n0\r\n\r\n");
        let error = error_of(answer.leak(), LIMITS.time_max).await;
        assert!(
            matches!(
                error,
                OutboundError::TooLarge {
                    bytes_max: 1_000,
                    ..
                }
            ),
            "{head:?} gave {error}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_whole_is_none() {
    let (short, enough) = (Duration::from_millis(1), LIMITS.time_max);
    for (answer, time_max, expected) in [
        ("", short, "did not answer within 1 ms"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            enough,
            "did not answer as HTTP does",
        ),
        (
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            enough,
            "did not answer as HTTP does",
        ),
    ] {
        let error = error_of(answer, time_max).await;
        let text = error.to_string();
        assert!(text.contains(expected), "{answer:?} gave {text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn who_does_not_listen_is_named_with_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let request = get(&format!("http://{address}/keys?code=secret"));
    let text = sent(&plain(), request, LIMITS)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains(&format!("no connection to {address}: ")),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn https_is_spoken_with_who_has_a_certificate_of_a_known_authority() {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![certificate.der().clone()],
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    )
    .unwrap();
    let server = Server::start(FINE, Some(Arc::new(config).into())).await;
    let settings = config::Outbound {
        ca_file: "ca.pem".into(),
        ..config::Outbound::default()
    };
    let port = server.address.port();
    let known = outbound(&settings, &authority.pem());
    let answer = text_of(&known, get(&format!("https://localhost:{port}/"))).await;
    assert_eq!(answer, "{}");

    // The name has to be the certificate's, and the authority known.
    let by_address = get(&format!("https://127.0.0.1:{port}/"));
    let by_name = get(&format!("https://localhost:{port}/"));
    for (outbound, request) in [(known, by_address), (plain(), by_name)] {
        let text = sent(&outbound, request, LIMITS)
            .await
            .unwrap_err()
            .to_string();
        assert!(text.contains("invalid peer certificate"), "{text}");
    }
}

#[tokio::test]
async fn a_file_of_certificates_that_cannot_be_used_is_told_at_start() {
    let settings = config::Outbound {
        ca_file: "ca.pem".into(),
        ..config::Outbound::default()
    };
    let key = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, expected) in [
        (Err(io::ErrorKind::NotFound.into()), "cannot be read"),
        (Ok(Vec::new()), "holds no certificate"),
        (Ok(key.into()), "not valid"),
    ] {
        let mut content = Some(content);
        let mut read = |_: &Path| content.take().unwrap();
        let made = Outbound::new(&settings, Handle::current(), Arc::default(), &mut read);
        let text = made.unwrap_err().to_string();
        assert!(text.contains("outbound.ca_file"), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}
