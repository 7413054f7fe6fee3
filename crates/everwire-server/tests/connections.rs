//! Connections are counted from accept to close, whatever they are meanwhile, and no address has all of them.

mod common;

use common::{Frame, Peer, Site, client_frame, websocket_request};
use everwire_server::{Config, config::Action};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const POLL: &str = "GET /channels/c?live=long-poll&offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n";
const STREAM: &str = "GET /channels/c HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";

/// A server that limits callers, on which anybody may read and publish.
fn site(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        config.dev = false;
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        change(config);
    })
}

/// An offset at which nothing waits.
fn tail(site: &Site) -> String {
    let head = site.ask("HEAD /channels/c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    head.field("stream-next-offset").unwrap().to_owned()
}

#[test]
fn a_connection_stays_counted_through_a_long_poll_and_after_it() {
    let site = site(|config| config.limits.connections_per_address_max = 4);
    site.say("c", "first");
    site.until("only the asking one is left", |site| {
        site.metric("everwire_connections") == 1
    });
    let mut polls: Vec<Peer> = Vec::new();
    for _ in 0..3 {
        let mut poll = site.connect();
        poll.send(format!(
            "GET /channels/c?live=long-poll&offset={} HTTP/1.1\r\nHost: x\r\n\r\n",
            tail(&site)
        ));
        polls.push(poll);
        site.until("it waits", |site| {
            site.metric("everwire_lines") == polls.len() as u64
        });
    }
    let refuses_a_fifth = || {
        let mut fourth = site.connect();
        assert_eq!(fourth.try_ask(HEALTH), Some(200));
        assert_eq!(site.connect().rest(), b"", "closed at once");
        fourth
    };
    let mut fourth = refuses_a_fifth();
    assert_eq!(fourth.append("c", "text/plain", b"second").status, 204);
    drop(fourth);
    for poll in &mut polls {
        assert_eq!(poll.response().status, 200);
    }
    site.until("only the three are left", |site| {
        site.metric("everwire_connections") == 4
    });
    refuses_a_fifth();
    for poll in &mut polls {
        assert_eq!(poll.try_ask(HEALTH), Some(200), "it goes on");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Http,
    Poll,
    Line,
}

/// Walks connections through all that they can be, at random, and compares the counts with the sockets at each step.
#[test]
fn the_counts_are_the_sockets_that_are_open_whatever_becomes_of_them() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let site = site(|config| config.limits.lines_per_second_max = 0);
    let mut admin = site.connect();
    assert_eq!(admin.append("c", "text/plain", b"x").status, 204);
    let mut open: Vec<(State, Peer)> = Vec::new();
    for step in 0..120 {
        let at = (!open.is_empty()).then(|| random.usize(..open.len()));
        match (random.u8(..8), at) {
            (0..=2, _) | (_, None) => {
                let mut peer = site.connect();
                assert_eq!(peer.try_ask(HEALTH), Some(200), "step {step}");
                open.push((State::Http, peer));
            }
            (3, Some(at)) => drop(open.swap_remove(at)),
            (4, Some(at)) if open[at].0 == State::Http => {
                let offset = tail_over(&mut admin);
                open[at].1.send(POLL.replace("-1", &offset));
                open[at].0 = State::Poll;
            }
            (5, Some(at)) if open[at].0 == State::Http => {
                open[at].1.send(STREAM);
                assert!(open[at].1.head().starts_with("HTTP/1.1 200"), "step {step}");
                open[at].0 = State::Line;
            }
            (6, Some(at)) if open[at].0 == State::Http => {
                let peer = &mut open[at].1;
                peer.send(websocket_request("/channels/socket", ""));
                peer.head();
                peer.send(client_frame(0x8, &1000u16.to_be_bytes()));
                assert_eq!(peer.frame(), Frame::Close(1000));
                drop(open.swap_remove(at));
            }
            // All polls are answered, and go on as connections.
            (7, Some(_)) => {
                counted(&mut admin, &open, step);
                assert_eq!(admin.append("c", "text/plain", b"x").status, 204);
                for (state, peer) in &mut open {
                    if *state == State::Poll {
                        assert_eq!(peer.response().status, 200, "step {step}");
                        *state = State::Http;
                    }
                }
            }
            _ => {}
        }
        counted(&mut admin, &open, step);
    }
}

fn tail_over(admin: &mut Peer) -> String {
    admin.send("GET /channels/c?last=0 HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = admin.response();
    response.field("stream-next-offset").unwrap().to_owned()
}

/// Waits until the server's counts are those of the sockets that are open: it notices their ends in its own time.
fn counted(admin: &mut Peer, open: &[(State, Peer)], step: usize) {
    let count = |counts: &[State]| open.iter().filter(|peer| counts.contains(&peer.0)).count();
    let expected = (
        1 + count(&[State::Http, State::Poll]),
        count(&[State::Line, State::Poll]),
    );
    let began = std::time::Instant::now();
    loop {
        admin.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = admin.response();
        let metric = |name: &str| -> usize {
            let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
            response.text().lines().find_map(value).expect("a metric")
        };
        let found = (metric("everwire_connections"), metric("everwire_lines"));
        if found == expected {
            return;
        }
        assert!(
            began.elapsed() < common::PATIENCE,
            "step {step}: {found:?} are counted and {expected:?} are open"
        );
    }
}

#[test]
fn a_full_server_answers_who_looks_whether_it_is_well_and_nobody_else() {
    let site = site(|config| config.limits.connections_max = 3);
    let mut all: Vec<Peer> = (0..3).map(|_| site.connect()).collect();
    for peer in &mut all {
        assert_eq!(peer.try_ask(HEALTH), Some(200));
    }
    for from in [[127, 0, 0, 1], [127, 0, 0, 9]] {
        for (path, expected) in [
            ("/healthz", 200),
            ("/readyz", 200),
            ("/channels/c", 503),
            ("/connect", 503),
        ] {
            let mut peer = Peer::connect_from(from, site.address);
            peer.send(format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ));
            let response = peer.response();
            assert_eq!(response.status, expected, "{path}: {}", response.text());
            assert_eq!(response.field("connection"), Some("close"));
        }
    }
    assert!(site.metric("everwire_limits_met_total{limit=\"connections_max\"}") >= 8);
    drop(all);
    site.until("there is room", |site| {
        site.ask("GET /channels/c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .status
            != 503
    });
}

/// However the kernel spreads connections over threads.
#[test]
fn no_thread_refuses_connections_while_there_is_room() {
    let site = site(|config| {
        config.threads = 4;
        config.limits.connections_max = 24;
        config.limits.share_percent_max = 100;
    });
    let mut peers: Vec<Peer> = (0..24).map(|_| site.connect()).collect();
    for (index, peer) in peers.iter_mut().enumerate() {
        let found = peer.try_ask("GET /channels/c?last=0 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(found, Some(404), "connection {index}");
    }
}

#[test]
fn one_address_leaves_connections_lines_and_polls_for_others() {
    let site = site(|config| {
        let limits = &mut config.limits;
        limits.connections_max = 60;
        limits.lines_max = 40;
        limits.polls_max = 20;
        limits.lines_per_second_max = 0;
    });
    site.say("c", "x");
    let offset = tail(&site);
    let poll = POLL.replace("-1", &offset);
    let stranger = || Peer::connect_from([127, 0, 0, 7], site.address);
    let mut admin = stranger();
    let mut held = Vec::new();
    // It goes on until each is met: a busy server closes connections that are too many before it hears what others ask.
    for (request, limit) in [
        (poll.as_str(), "polls_share"),
        (STREAM, "lines_share"),
        (HEALTH, "connections_share"),
    ] {
        site.until(limit, |site| {
            let mut peer = site.connect();
            if peer.try_send(request) {
                held.push(peer);
            }
            admin.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            let metrics = admin.response();
            metrics.text().contains(&format!("{{limit=\"{limit}\"}}"))
        });
    }
    let (mut waits, mut reads) = (stranger(), stranger());
    waits.send(&poll);
    reads.send(STREAM);
    assert!(reads.head().starts_with("HTTP/1.1 200"));
    let mut publishes = stranger();
    site.until("it waits", |_| {
        publishes.append("c", "text/plain", b"y").status == 204
    });
    assert_eq!(waits.response().status, 200);
}
