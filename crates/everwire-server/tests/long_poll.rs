//! Long polls: parked as lines, answered, and back in HTTP.

mod common;

use common::{Peer, Site};

fn poll(peer: &mut Peer, offset: &str) {
    peer.send(poll_request(offset));
}

fn poll_request(offset: &str) -> String {
    format!("GET /channels/c?live=long-poll&offset={offset} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// Waits until so many polls are parked.
fn parked(site: &Site, count: u64) {
    site.until("the polls are parked", |site| {
        site.metric("everwire_lines") == count
    });
}

#[test]
fn one_connection_polls_through_the_whole_log() {
    let site = Site::start();
    let mut peer = site.connect();
    let mut offset = "-1".to_owned();
    for n in 0..30 {
        poll(&mut peer, &offset);
        parked(&site, 1);
        site.publish("c", "application/json", n.to_string());
        let answer = peer.response();
        assert_eq!((answer.status, answer.text()), (200, &*format!("[{n}]")));
        assert_eq!(answer.field("stream-up-to-date"), Some("true"));
        offset = answer.field("stream-next-offset").unwrap().to_owned();
    }
    parked(&site, 0);
}

#[test]
fn polls_from_different_places_each_get_what_they_lack() {
    let site = Site::start();
    site.publish("c", "application/json", "0");
    let beginning = site.connect().append("c", "application/json", b"1");
    let offset = beginning.field("stream-next-offset").unwrap();
    let mut peers: Vec<_> = (0..6).map(|_| site.connect()).collect();
    for peer in &mut peers {
        poll(peer, offset);
    }
    parked(&site, 6);
    // One in the middle leaves: the others keep their places.
    drop(peers.remove(2));
    parked(&site, 5);
    site.publish("c", "application/json", "[2,3]");
    for mut peer in peers {
        assert_eq!(peer.response().text(), "[2,3]");
        poll(&mut peer, "-1");
        assert_eq!(peer.response().text(), "[0,1,2,3]");
    }
    parked(&site, 0);
}

#[test]
fn requests_sent_behind_a_parked_poll_are_answered_after_it() {
    let site = Site::start();
    let mut peer = site.connect();
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    // Two polls, which park one after the other, and what follows them: in the first packet, and later.
    peer.send(format!(
        "{health}{}{}",
        poll_request("now"),
        poll_request("now")
    ));
    assert_eq!(peer.response().status, 200);
    parked(&site, 1);
    peer.send_append("c", "text/plain", "x".repeat(200_000).as_bytes());
    peer.send(health);
    site.say("c", "first");
    assert_eq!(peer.response().text(), "first");
    parked(&site, 1);
    site.say("c", "second");
    assert_eq!(peer.response().text(), "second");
    assert_eq!(peer.response().status, 204);
    assert_eq!(peer.response().status, 200);
}

#[test]
fn a_poll_ends_with_its_time_its_channel_or_its_peer() {
    let site = Site::start();
    site.say("c", "hello");
    let mut patient = site.connect();
    patient.send("GET /channels/c?offset=now HTTP/1.1\r\nHost: x\r\nPrefer: wait=0\r\n\r\n");
    let answer = patient.response();
    assert_eq!(
        (answer.status, answer.field("stream-up-to-date")),
        (204, Some("true"))
    );
    assert!(answer.field("stream-cursor").is_some());

    let (mut at_close, mut at_end) = (site.connect(), site.connect());
    poll(&mut at_close, "now");
    parked(&site, 1);
    let closed = site.ask(
        "POST /channels/c HTTP/1.1\r\nHost: x\r\nStream-Closed: true\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(closed.status, 204);
    let answer = at_close.response();
    assert_eq!(
        (answer.status, answer.field("stream-closed")),
        (204, Some("true"))
    );
    poll(&mut at_close, "now");
    assert_eq!(
        at_close.response().status,
        204,
        "at once: there is nothing to wait for"
    );

    at_end.send(poll_request("now").replace("/c?", "/d?"));
    parked(&site, 1);
    assert_eq!(
        site.ask("DELETE /channels/d HTTP/1.1\r\nHost: x\r\n\r\n")
            .status,
        204
    );
    assert_eq!(at_end.response().status, 404);
    at_end.send(poll_request("now").replace("/c?", "/e?"));
    parked(&site, 1);
    drop(at_end);
    parked(&site, 0);
}

/// `nc -N` and some proxies end their side once they have said all.
#[test]
fn a_poll_is_answered_though_its_peer_has_ended_its_side() {
    let site = Site::start();
    for (n, behind) in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
        .into_iter()
        .enumerate()
    {
        let name = format!("half{n}");
        let mut peer = site.connect();
        peer.send(poll_request("now").replace("/c?", &format!("/{name}?")) + behind);
        parked(&site, 1);
        peer.finish();
        site.say(&name, "after all");
        assert_eq!(peer.response().text(), "after all");
        if !behind.is_empty() {
            assert_eq!(peer.response().text(), "ok\n");
        }
        assert_eq!(peer.rest(), b"", "and that is the end");
        parked(&site, 0);
    }
    // It may be gone, so its place is not kept for as long as others may wait.
    let mut gone = site.connect();
    poll(&mut gone, "now");
    parked(&site, 1);
    gone.finish();
    let answer = gone.response();
    assert_eq!((answer.status, gone.rest()), (204, Vec::new()));
    parked(&site, 0);
}

/// HTTP/1.0, and a client that says so, close after the answer.
#[test]
fn the_last_answer_of_a_connection_ends_it() {
    let site = Site::start();
    for (n, request) in [
        "GET /channels/c?live=long-poll&offset=now HTTP/1.0\r\nHost: x\r\n\r\n",
        "GET /channels/c?live=long-poll&offset=now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut peer = site.connect();
        peer.send(request);
        parked(&site, 1);
        site.publish("c", "application/json", n.to_string());
        let answer = peer.response();
        assert_eq!((answer.text(), answer.field("connection")), (&*format!("[{n}]"), Some("close")));
        assert_eq!(peer.rest(), b"");
        drop(peer);
        parked(&site, 0);
    }
}

/// Its pages come one by one, and a poll that is not at the head never waits.
#[test]
fn a_poll_from_far_behind_reads_page_by_page() {
    let site = Site::with(|config| config.limits.page_bytes_max = 1000);
    let batch: Vec<String> = (100..400)
        .map(|n| format!("\"{n}{}\"", "x".repeat(95)))
        .collect();
    site.publish("c", "application/json", format!("[{}]", batch.join(",")));
    let (mut peer, mut offset, mut read) = (site.connect(), "-1".to_owned(), Vec::new());
    loop {
        poll(&mut peer, &offset);
        let answer = peer.response();
        assert!(answer.body.len() <= 1100);
        read.extend(
            answer
                .text()
                .trim_matches(['[', ']'])
                .split(',')
                .map(str::to_owned),
        );
        offset = answer.field("stream-next-offset").unwrap().to_owned();
        if answer.field("stream-up-to-date").is_some() {
            break;
        }
    }
    assert_eq!(read, batch);
}
