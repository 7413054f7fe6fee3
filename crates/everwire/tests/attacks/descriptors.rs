//! Few file descriptors: one address has its share of them, and others are served.

use crate::{
    common::{Peer, websocket_request},
    victim::{Victim, raise_own_descriptors},
};

const EVE: [u8; 4] = [127, 0, 0, 66];

#[test]
fn one_address_at_its_worst_shuts_nobody_out_where_descriptors_are_few() {
    raise_own_descriptors();
    let victim = Victim::start_with_descriptors((256, 1_024), "");
    assert_eq!(victim.descriptors(), 1_024, "the soft limit was raised");
    let stream = "GET /channels/target HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    let poll = "GET /channels/target?live=long-poll&offset=now HTTP/1.1\r\nHost: x\r\n\r\n";
    let socket = websocket_request("/channels/target", "");
    let mut held = Vec::new();
    let lines = [stream, &socket].into_iter().cycle().take(700);
    for request in lines.chain([poll, ""].into_iter().cycle().take(600)) {
        let mut peer = Peer::connect_from(EVE, victim.address);
        if peer.try_send(request) {
            held.push(peer);
        }
        if held.len() % 200 == 0 {
            victim.serves_others("some of its connections");
        }
    }
    for _ in 0..10 {
        victim.serves_others("all of its connections");
        let healthy = victim.ask("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(healthy.status, 200);
    }
    for limit in ["lines_share", "connections_share"] {
        let met = victim.ask("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(
            met.text().contains(&format!("limit=\"{limit}\"")),
            "{limit}"
        );
    }
    drop(held);
    let log = victim.log();
    assert!(!log.contains("could not be accepted"), "there were enough");
    let told = log
        .lines()
        .filter(|line| line.contains("fewer file descriptors"));
    assert_eq!(told.count(), 1, "it is said once");
}
