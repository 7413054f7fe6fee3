//! Each append is charged before anything is done for it, whichever way it comes, however it is packed and whoever decides
//! about it.

mod common;

use std::time::Instant;

use common::{
    Carrier, Frame, Peer, Session, Site, application::Application, client_frame, websocket_request,
};
use everwire_server::{Config, config::Action};
use serde_json::{Value, json};

/// How often each way is tried. One a second is admitted, and a burst of two.
const TRIES: usize = 25;
const ADMITTED: usize = 3;

/// Which of a caller's rates is one a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rate {
    Account,
    Channel,
}

impl Rate {
    fn limit(self) -> &'static str {
        match self {
            Self::Account => "appends_per_second_max",
            Self::Channel => "appends_per_caller_max",
        }
    }

    fn set(self, config: &mut Config) {
        config.dev = false;
        match self {
            Self::Account => config.limits.appends_per_second_max = 1,
            Self::Channel => config.channels.appends_per_caller_max = 1,
        }
    }
}

fn site(rate: Rate, is_decided: bool) -> Site {
    Site::with(|config| {
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        if is_decided {
            Application::start(|_| json!({"allow": true})).decides(config);
            config.channels.decide = vec![Action::Publish];
        }
        rate.set(config);
    })
}

fn post(target: &str, content: &str) -> String {
    let length = content.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{content}"
    )
}

/// So many items for one channel.
fn batch(items: usize) -> String {
    let items: Vec<_> = (0..items)
        .map(|n| json!({"channel": "c", "data": n}))
        .collect();
    Value::from(items).to_string()
}

/// How many items of a batch's answer were refused for their number.
fn refused_items(response: &common::Response) -> usize {
    if response.status == 429 {
        return 1;
    }
    let answer: Value = serde_json::from_slice(&response.body).unwrap();
    let results = answer["results"].as_array().unwrap();
    let is_refused = |result: &&Value| result["error"]["status"] == 429;
    let others = |result: &&Value| result["offset"].is_string() || is_refused(result);
    assert!(results.iter().all(|result| others(&result)), "{answer}");
    results.iter().filter(is_refused).count()
}

fn posts(site: &Site) -> usize {
    let mut peer = site.connect();
    let refused = |_: &usize| {
        peer.send(post("/channels/c", "7"));
        peer.response().status == 429
    };
    (0..TRIES).filter(refused).count()
}

fn creations(site: &Site) -> usize {
    let mut peer = site.connect();
    let refused = |_: &usize| {
        peer.send(post("/channels/c", "7").replace("POST", "PUT"));
        peer.response().status == 429
    };
    (0..TRIES).filter(refused).count()
}

fn one_batch(site: &Site) -> usize {
    refused_items(&site.ask(&post("/publish", &batch(TRIES))))
}

/// Their heads come first: all are let in before any of them is known to be large.
fn batches_at_once(site: &Site) -> usize {
    let content = batch(5);
    let request = post("/publish", &content);
    let (head, content) = request.split_at(request.len() - content.len());
    let mut peers: Vec<Peer> = (0..TRIES / 5).map(|_| site.connect()).collect();
    for peer in &mut peers {
        peer.send(head);
    }
    for peer in &mut peers {
        peer.send(content);
    }
    let answers = peers.iter_mut().map(|peer| match peer.response() {
        // Not let in at all.
        response if response.status == 429 => 5,
        response => refused_items(&response),
    });
    answers.sum()
}

fn commands(site: &Site) -> usize {
    let mut session = Session::open(site, Carrier::WebSocket, "");
    let refused = |_: &usize| {
        let reply = session.ask(json!({"id": 1, "op": "publish", "channel": "c", "data": 7}));
        reply["error"]["type"] == "too-many"
    };
    (0..TRIES).filter(refused).count()
}

fn messages(site: &Site) -> usize {
    let refused = |_: &usize| {
        let mut peer = site.connect();
        peer.send(websocket_request("/channels/c", ""));
        peer.head();
        peer.send(client_frame(0x1, b"7"));
        match peer.frame() {
            Frame::Close(4429) => true,
            Frame::Text(text) => {
                assert_eq!(text, "7");
                false
            }
            other => panic!("{other:?}"),
        }
    };
    (0..TRIES).filter(refused).count()
}

#[test]
fn a_caller_gets_its_rate_and_one_burst_whichever_way_it_appends() {
    type Way = (&'static str, fn(&Site) -> usize);
    let ways: [Way; 6] = [
        ("POST", posts),
        ("PUT with content", creations),
        ("one batch", one_batch),
        ("batches at once", batches_at_once),
        ("commands of a session", commands),
        ("messages of a WebSocket", messages),
    ];
    for rate in [Rate::Account, Rate::Channel] {
        for is_decided in [false, true] {
            for (way, append) in ways {
                let site = site(rate, is_decided);
                let began = Instant::now();
                let refused = append(&site);
                let later = began.elapsed().as_secs() as usize + 1;
                let row = format!("{way}, {rate:?}, decided: {is_decided}");
                let refused_min = TRIES.saturating_sub(ADMITTED + later);
                assert!(refused >= refused_min, "{row}: {refused} were refused");
                assert!(refused <= TRIES - ADMITTED, "{row}: {refused} were refused");
                let appended = site.metric("everwire_entries_published_total") as usize;
                assert!(
                    appended <= ADMITTED + later,
                    "{row}: {appended} were appended"
                );
                let met = format!("everwire_limits_met_total{{limit=\"{}\"}}", rate.limit());
                assert!(site.metric(&met) > 0, "{row}");
            }
        }
    }
}

/// A channel's rule is for entries. What a caller may append to all channels goes by appends that may be large, and what
/// comes after a large one waits.
#[test]
fn entries_count_as_appends_however_many_one_append_holds() {
    let array = format!("[{}1]", "1,".repeat(99));
    let channel = site(Rate::Channel, false);
    let refused = channel.ask(&post("/channels/c", &array));
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(channel.ask(&post("/channels/c", "[1,2]")).status, 204);
    let account = site(Rate::Account, false);
    let mut peers: Vec<Peer> = (0..3).map(|_| account.connect()).collect();
    let mut statuses = Vec::new();
    for peer in &mut peers {
        peer.send(post("/channels/c", &array));
        statuses.push(peer.response().status);
    }
    assert_eq!(statuses, [204, 429, 429]);
    assert_eq!(account.metric("everwire_entries_published_total"), 100);
}
