//! TLS on the server's port: who is let in, what is shown to whom, and what a peer can do to a line under it.

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use common::{
    Frame, Peer, Site, client_frame,
    identity::{self, AUTHORITY, Authority, client_config, client_of},
};
use everwire_server::{
    Reloaded,
    config::{ClientAuth, Config, TlsMode, TlsVersion},
};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, pem::PemObject},
    version::{TLS12, TLS13},
};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn secure(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        config.tls = identity::settings();
        change(config);
    })
}

fn anonymous() -> Arc<ClientConfig> {
    Arc::new(identity::anonymous())
}

fn peer(site: &Site, client: ClientConnection) -> Peer {
    Peer::connect_tls(site.address, None, client)
}

/// Whether a client is let in as far as to be answered.
fn is_answered(site: &Site, client: ClientConnection) -> bool {
    let mut peer = peer(site, client);
    peer.try_send(HEALTH) && peer.try_take(12).as_deref() == Some(b"HTTP/1.1 200")
}

fn failed(site: &Site, reason: &str) -> u64 {
    site.metric_or_0(&format!(
        "everwire_tls_handshakes_failed_total{{reason=\"{reason}\"}}"
    ))
}

#[test]
fn who_speaks_clear_text_where_only_tls_is_spoken_is_told_so() {
    let site = secure(|_| {});
    let mut clear = Peer::connect(site.address, None);
    clear.send(HEALTH);
    let refused = clear.response();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("https://"), "{}", refused.text());
    assert_eq!(clear.rest(), b"");
    // Who speaks neither is told nothing.
    let mut other = Peer::connect(site.address, None);
    other.send([0, 1, 2, 3]);
    assert_eq!(other.rest(), b"");
    assert_eq!(failed(&site, "clear_text"), 2);
    assert!(is_answered(&site, identity::client()));
}

#[test]
fn both_are_told_apart_by_the_first_byte() {
    let site = secure(|config| config.tls.mode = TlsMode::Both);
    for (peer, scheme) in [
        (Peer::connect(site.address, None), "http"),
        (peer(&site, identity::client()), "https"),
    ] {
        let mut peer = peer;
        peer.send(format!(
            "PUT /channels/{scheme} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        ));
        let created = peer.response();
        let location = format!("{scheme}://localhost/channels/{scheme}");
        assert_eq!(created.field("location"), Some(&location[..]));
        peer.open_websocket("c", "", "");
        peer.send(client_frame(0x1, b"hello"));
        assert_eq!(peer.text(), "hello");
    }
}

/// RFC 6797, section 7.2: in clear text the field is not sent, since nobody may believe it there.
#[test]
fn browsers_are_told_to_stay_with_tls_where_that_is_set() {
    for (hsts_s, expected) in [(0, None), (31_536_000, Some("max-age=31536000"))] {
        let site = secure(|config| {
            config.tls.mode = TlsMode::Both;
            config.tls.hsts_s = hsts_s;
        });
        for (mut peer, expected) in [
            (peer(&site, identity::client()), expected),
            (Peer::connect(site.address, None), None),
        ] {
            peer.send(HEALTH);
            let answer = peer.response();
            assert_eq!(answer.field("strict-transport-security"), expected);
            let head = peer.open_stream("c", "", "text/event-stream");
            assert_eq!(
                head.contains("strict-transport-security"),
                expected.is_some(),
                "{head}"
            );
        }
    }
}

#[test]
fn a_client_is_shown_the_certificate_for_the_host_that_it_asks_for() {
    let files = [
        ("first", &["localhost"][..]),
        ("second", &["a.example", "*.b.example"]),
    ]
    .map(|(file, names)| AUTHORITY.issue(file, names));
    let shown = files.each_ref().map(|files| {
        let pem = fs::read(&files.cert_file).unwrap();
        CertificateDer::from_pem_slice(&pem).unwrap()
    });
    let site = secure(|config| config.tls.certificates = files.to_vec());
    for (name, expected) in [("localhost", 0), ("a.example", 1), ("x.b.example", 1)] {
        let mut peer = peer(&site, client_of(&anonymous(), name));
        peer.send(HEALTH);
        assert_eq!(peer.response().status, 200, "{name}");
        let found = peer.tls().peer_certificates().unwrap();
        assert_eq!(found, [shown[expected].clone()], "{name}");
    }
    // The first is shown, which is not for that name.
    assert!(!is_answered(&site, client_of(&anonymous(), "c.example")));
    assert_eq!(failed(&site, "refused_by_client"), 1);
}

#[test]
fn versions_below_the_lowest_are_refused() {
    let only = |version| {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(identity::roots())
            .with_no_client_auth();
        Arc::new(config)
    };
    for (lowest, version, expected) in [
        (TlsVersion::V1_2, &TLS12, true),
        (TlsVersion::V1_2, &TLS13, true),
        (TlsVersion::V1_3, &TLS12, false),
        (TlsVersion::V1_3, &TLS13, true),
    ] {
        let site = secure(|config| config.tls.min_version = lowest);
        let mut peer = peer(&site, client_of(&only(version), "localhost"));
        assert_eq!(
            peer.try_send(HEALTH),
            expected,
            "{lowest:?} and {version:?}"
        );
        if expected {
            assert_eq!(peer.response().status, 200);
            peer.open_websocket("c", "", "");
            peer.send(client_frame(0x1, b"hello"));
            assert_eq!(peer.text(), "hello");
        }
        assert_eq!(failed(&site, "nothing_in_common"), u64::from(!expected));
    }
}

#[test]
fn the_protocol_is_agreed_upon_or_told_by_the_first_bytes() {
    let site = secure(|_| {});
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const SETTINGS: u8 = 4;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let mut config = identity::anonymous();
        config.alpn_protocols = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let config = Arc::new(config);
        if agreed != Some("h2") {
            let mut peer = peer(&site, client_of(&config, "localhost"));
            peer.send(HEALTH);
            assert_eq!(peer.response().status, 200, "{offered:?}");
            assert_eq!(peer.tls().alpn_protocol(), agreed.map(str::as_bytes));
        }
        if agreed != Some("http/1.1") {
            let mut peer = peer(&site, client_of(&config, "localhost"));
            // Divided where it could still be a request of HTTP/1.1.
            peer.send(&PREFACE[..2]);
            peer.send(&PREFACE[2..]);
            assert_eq!(peer.take(4)[3], SETTINGS, "{offered:?}");
            assert_eq!(peer.tls().alpn_protocol(), agreed.map(str::as_bytes));
        }
    }
    // Nothing in common, and challenges that nobody waits for.
    for offered in ["h3", "acme-tls/1"] {
        let mut config = identity::anonymous();
        config.alpn_protocols = vec![offered.as_bytes().to_vec()];
        assert!(
            !is_answered(&site, client_of(&Arc::new(config), "localhost")),
            "{offered}"
        );
    }
    assert_eq!(failed(&site, "nothing_in_common"), 1);
    assert_eq!(failed(&site, "no_certificate"), 1);
}

#[test]
fn clients_show_certificates_where_they_are_asked_for_them() {
    let stranger = Authority::new("stranger");
    let showing = |authority: &Authority| {
        let (chain, key) = authority.issue_client();
        let config = client_config(|config| config.with_client_auth_cert(chain, key).unwrap());
        Arc::new(config)
    };
    let clients = [
        ("nobody", anonymous()),
        ("ours", showing(&AUTHORITY)),
        ("a stranger", showing(&stranger)),
    ];
    for (asked, expected) in [
        (ClientAuth::Off, [true, true, true]),
        (ClientAuth::Optional, [true, true, false]),
        (ClientAuth::Required, [false, true, false]),
    ] {
        let site = secure(|config| {
            config.tls.client_auth = asked;
            config.tls.client_ca_file = AUTHORITY.file();
        });
        for ((who, client), expected) in clients.iter().zip(expected) {
            let client = client_of(client, "localhost");
            assert_eq!(is_answered(&site, client), expected, "{asked:?} of {who}");
        }
        let mut ours = peer(&site, client_of(&clients[1].1, "localhost"));
        ours.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let metrics = ours.response();
        for (reason, is_counted) in [
            ("no_client_certificate", !expected[0]),
            ("bad_client_certificate", !expected[2]),
        ] {
            let counted = format!("_failed_total{{reason=\"{reason}\"}} 1\n");
            assert_eq!(
                metrics.text().contains(&counted),
                is_counted,
                "{asked:?}, {reason}"
            );
        }
    }
}

#[test]
fn who_comes_back_resumes_without_early_data() {
    let site = secure(|_| {});
    let mut config = identity::anonymous();
    config.resumption = Resumption::in_memory_sessions(4);
    config.enable_early_data = true;
    let config = Arc::new(config);
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = client_of(&config, "localhost");
        assert!(
            client.early_data().is_none(),
            "what could be played again is not taken"
        );
        let mut peer = peer(&site, client);
        peer.send(HEALTH);
        assert_eq!(peer.response().status, 200);
        assert_eq!(peer.tls().handshake_kind(), Some(expected));
        assert_eq!(
            peer.tls().protocol_version(),
            Some(ProtocolVersion::TLSv1_3)
        );
    }
    assert_eq!(
        site.metric_or_0("everwire_tls_handshakes_total{kind=\"resumed\"}"),
        1
    );
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up_and_counted() {
    let site = secure(|config| config.tls.handshake_ms = 100);
    let mut hello = Vec::new();
    identity::client().write_tls(&mut hello).unwrap();
    for sent in [1, 5, hello.len() / 2, hello.len()] {
        let mut socket = TcpStream::connect(site.address).unwrap();
        socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
        socket.write_all(&hello[..sent]).unwrap();
        let mut answer = Vec::new();
        socket
            .read_to_end(&mut answer)
            .expect("the server gives up");
    }
    assert_eq!(failed(&site, "timeout"), 4);
    assert_eq!(
        site.metric_or_0("everwire_limits_met_total{limit=\"handshake_ms\"}"),
        4
    );
}

/// RFC 8446, section 4.6.3: either side may change its keys at any time, and ask the other to.
#[test]
fn keys_may_change_in_the_middle_of_a_line() {
    let site = secure(|_| {});
    let mut line = site.websocket("c", "");
    for round in 0..5 {
        line.tls().refresh_traffic_keys().unwrap();
        line.send(client_frame(0x1, format!("mine {round}").as_bytes()));
        assert_eq!(line.text(), format!("mine {round}"));
        site.say("c", "another's");
        assert_eq!(line.text(), "another's");
    }
}

#[test]
fn who_breaks_a_record_is_told_so_and_disturbs_nobody() {
    let site = secure(|_| {});
    let mut other = site.websocket("c", "");
    for broken in [
        &b"\x17\x03\x03\x00\x20garbage that decrypts to nothing"[..],
        b"\x17\x03\x03\xff\xff",
        b"\x15\x03\x03\x00\x02\x02\x50",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut line = site.websocket("c", "");
        line.socket().write_all(broken).unwrap();
        assert!(line.try_take(1).is_none(), "it ends with an alert");
        site.say("c", "hello");
        assert_eq!(other.text(), "hello");
    }
    site.until("all others are gone", |site| {
        site.metric("everwire_lines") == 1
    });
}

#[test]
fn a_reader_that_never_reads_is_cut_and_the_others_read_on() {
    let site = secure(|config| config.limits.write_stall_ms = 300);
    let mut reader = site.websocket("c", "");
    let mut narrow = site.connect_narrow();
    narrow.open_websocket("c", "", "");
    let text = "x".repeat(100_000);
    for _ in 0..100 {
        site.say("c", &text);
        assert_eq!(reader.text(), text);
    }
    site.until("the one that reads nothing is gone", |site| {
        site.metric("everwire_lines_stalled_total") == 1
    });
    site.say("c", "hello");
    assert_eq!(reader.text(), "hello");
    assert_eq!(site.metric("everwire_lines"), 1);
}

/// What is cut off has no `close_notify` after it, by which it is told from what ended.
#[test]
fn the_end_of_a_line_is_told_where_it_is_one() {
    let site = secure(|_| {});
    site.publish("c", "text/plain", "hello");
    let mut websocket = site.websocket("c", "?offset=-1");
    let mut stream = site.connect();
    stream.send("GET /channels/c?offset=-1 HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n");
    stream.head();
    websocket.send(client_frame(0x8, &1000u16.to_be_bytes()));
    assert_eq!(websocket.text(), "hello");
    assert_eq!(websocket.frame(), Frame::Close(1000));
    assert_eq!(websocket.rest(), b"");
    let closed =
        "POST /channels/c HTTP/1.1\r\nHost: x\r\nStream-Closed: true\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(site.ask(closed).status, 204);
    assert!(stream.rest().ends_with(b"{\"closed\":true}\n"));
}

/// A certificate that cannot be used keeps the one that can, and says what is wrong.
#[test]
fn a_certificate_is_replaced_while_lines_are_open() {
    let files = AUTHORITY.issue("replaced", &["localhost"]);
    let mut config = Config {
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        threads: 1,
        dev: true,
        ..Config::default()
    };
    config.tls = identity::settings();
    config.tls.certificates = vec![files.clone()];
    let site = secure(|theirs| *theirs = config.clone());
    let reloader = site.server.reloader();
    let shown = |site: &Site| {
        let mut peer = peer(site, client_of(&anonymous(), "localhost"));
        peer.send(HEALTH);
        assert_eq!(peer.response().status, 200);
        peer.tls().peer_certificates().unwrap()[0].clone()
    };
    let before = shown(&site);
    let mut lines = [
        site.websocket("c", ""),
        site.stream("c", "", "text/event-stream"),
    ];
    let good = AUTHORITY.issue("replaced", &["localhost"]);
    let Reloaded { kept } = reloader.reload(config.clone()).unwrap();
    assert!(kept.is_empty(), "{kept:?}");
    let after = shown(&site);
    assert!(after != before, "new connections are shown the new one");
    let another = fs::read(AUTHORITY.issue("another", &["localhost"]).key_file).unwrap();
    fs::write(&good.key_file, another).unwrap();
    let refused = reloader.reload(config.clone()).unwrap_err().to_string();
    for expected in [
        "tls.certificates[0]",
        "replaced.pem",
        "the key is not that of the first certificate",
    ] {
        assert!(refused.contains(expected), "{refused}");
    }
    fs::remove_file(&good.cert_file).unwrap();
    let refused = reloader.reload(config.clone()).unwrap_err().to_string();
    assert!(
        refused.contains("cert_file") && refused.contains("cannot be read"),
        "{refused}"
    );
    assert_eq!(shown(&site), after);
    site.say("c", "hello");
    assert_eq!(lines[0].text(), "hello");
    assert!(lines[1].event().starts_with("retry"));
    let event = lines[1].event();
    assert!(event.contains("hello"), "{event}");
    // A client that resumes has shown that it may: not after a change of who may.
    config.tls.certificates = vec![AUTHORITY.issue("replaced", &["localhost"])];
    config.tls.client_auth = ClientAuth::Required;
    config.tls.client_ca_file = AUTHORITY.file();
    let resuming = Arc::new(identity::anonymous());
    assert!(is_answered(&site, client_of(&resuming, "localhost")));
    let Reloaded { kept } = reloader.reload(config).unwrap();
    assert!(kept.is_empty(), "{kept:?}");
    assert!(!is_answered(&site, client_of(&resuming, "localhost")));
    site.server.stop().unwrap();
}
