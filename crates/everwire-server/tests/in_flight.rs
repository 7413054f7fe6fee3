//! What the server holds for peers and is in no log: each way to have it hold something takes its share of one budget,
//! of which each caller has a part. The outcome is that of docs/limits.md, and what is let go of is given back.

mod common;

use common::{
    Carrier, Peer, Session, Site,
    application::{Application, Door},
};
use everwire_server::{Config, config::Action};
use serde_json::{Value, json};

/// A server that limits callers, on which anybody may read and publish.
fn site(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        config.dev = false;
        // It is looked at again and again.
        config.limits.connections_per_second_max = 0;
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        change(config);
    })
}

fn problem(content: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(content).unwrap();
    let kind = problem["type"].as_str().unwrap();
    kind.rsplit('/').next().unwrap().to_owned()
}

/// A request of which so much has come, and the rest has not.
fn begin(site: &Site, request: &str, length: usize, sent: usize) -> Peer {
    let mut peer = site.connect();
    peer.send(format!("{request}Content-Length: {length}\r\n\r\n"));
    peer.send(vec![b'1'; sent]);
    peer
}

const APPEND: &str = "POST /channels/c HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n";

/// Each row: how much may be held, and how who needs more is told.
#[test]
fn contents_that_are_being_collected_share_one_budget() {
    type Set = fn(&mut Config);
    let rows: [(&str, Set, u16, &str); 2] = [
        (
            "in_flight_bytes_per_caller_max",
            |config| config.limits.in_flight_bytes_per_caller_max = 500_000,
            429,
            "too-many",
        ),
        (
            "in_flight_bytes_max",
            // Of which those without a credential have three quarters.
            |config| config.limits.in_flight_bytes_max = 600_000,
            503,
            "overloaded",
        ),
    ];
    for (limit, set, status, kind) in rows {
        let site = site(set);
        let mut first = begin(&site, APPEND, 300_000, 290_000);
        site.until("the first is held", |site| {
            site.metric("everwire_in_flight_bytes") >= 290_000
        });
        let mut second = begin(&site, APPEND, 300_000, 300_000);
        let refused = second.response();
        assert_eq!((refused.status, &*problem(&refused.body)), (status, kind));
        assert!(refused.field("retry-after").is_some(), "{limit}");
        let counted = format!("everwire_limits_met_total{{limit=\"{limit}\"}}");
        assert_eq!(site.metric(&counted), 1, "{limit}");
        // Who needs little is served all the same.
        assert_eq!(
            site.connect()
                .append("c", "text/plain", &[b'1'; 9_000])
                .status,
            204
        );
        first.send(vec![b'1'; 10_000]);
        assert_eq!(first.response().status, 204);
        assert_eq!(site.metric("everwire_in_flight_bytes"), 0, "{limit}");
        let mut third = begin(&site, APPEND, 300_000, 300_000);
        assert_eq!(third.response().status, 204, "{limit}");
    }
}

#[test]
fn whoever_gives_up_gives_back() {
    let site = site(|config| config.http.content_ms = 60_000);
    let peers: Vec<Peer> = (0..5)
        .map(|_| begin(&site, APPEND, 300_000, 100_000))
        .collect();
    site.until("they are held", |site| {
        site.metric("everwire_in_flight_bytes") >= 500_000
    });
    drop(peers);
    site.until("they are gone", |site| {
        site.metric("everwire_in_flight_bytes") == 0
    });
}

/// Each row: what anybody may do, and how much the commands of one request may take.
#[test]
fn commands_take_less_than_what_is_published() {
    let rows: [(&[Action], usize); 2] = [
        (&[Action::Read, Action::Publish], 1024 * 1024),
        (&[Action::Read], 64 * 1024),
    ];
    for (anonymous, bytes_max) in rows {
        let site = site(|config| config.channels.anonymous = anonymous.to_vec());
        let session = Session::open(&site, Carrier::LongPoll, "");
        let fitting = format!("[{}]", " ".repeat(bytes_max - 2));
        assert_eq!(session.post(&fitting).text(), "[]");
        let refused = session.post(&format!("{fitting} "));
        assert_eq!(
            (refused.status, &*problem(&refused.body)),
            (413, "too-large")
        );
        let counted = "everwire_limits_met_total{limit=\"content_bytes_max\"}";
        assert_eq!(site.metric(counted), 1);
    }
}

/// Each row: a request that is answered with one entry of 8 MB, and how who asks for one more than may be held is told.
#[test]
fn answers_that_are_not_taken_share_one_budget() {
    let page = "GET /channels/c?offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let poll = "GET /channels/c?live=long-poll&offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n";
    for request in [page, poll] {
        let site = site(|config| config.limits.in_flight_bytes_per_caller_max = 20_000_000);
        site.publish("c", "text/plain", vec![b'x'; 8_000_000]);
        let answered: Vec<(Peer, String)> = (0..3)
            .map(|_| {
                let mut peer = site.connect_narrow();
                peer.send(request);
                let head = peer.head();
                (peer, head)
            })
            .collect();
        let statuses: Vec<&str> = answered.iter().map(|(_, head)| &head[9..12]).collect();
        assert_eq!(statuses, ["200", "200", "429"], "{request}");
        assert_eq!(site.metric("everwire_in_flight_bytes"), 16_000_000);
        let counted = "everwire_limits_met_total{limit=\"in_flight_bytes_per_caller_max\"}";
        assert_eq!(site.metric(counted), 1);
        drop(answered);
        site.until("they are let go", |site| {
            site.metric("everwire_in_flight_bytes") == 0
        });
    }
}

/// A control character of text takes six bytes as JSON.
#[test]
fn a_reply_that_is_too_large_to_be_held_is_an_error_in_its_place() {
    let site = site(|config| config.limits.in_flight_bytes_per_caller_max = 3_000_000);
    site.publish("c", "text/plain", vec![1; 1_000_000]);
    let session = Session::open(&site, Carrier::LongPoll, "");
    let commands = json!([
        {"id": 1, "op": "ping"},
        {"id": 2, "op": "history", "channel": "c"},
        {"id": 3, "op": "publish", "channel": "d", "data": "told"},
    ]);
    let replies = session.post(&commands.to_string());
    let replies: Value = serde_json::from_slice(&replies.body).unwrap();
    assert_eq!(replies[0]["re"], 1);
    let refused = (&replies[1]["re"], &replies[1]["error"]["type"]);
    assert_eq!(refused, (&json!(2), &json!("too-many")), "{replies}");
    assert!(replies[2]["ok"]["offset"].is_string(), "{replies}");
    assert_eq!(site.metric("everwire_in_flight_bytes"), 0);
}

/// Six bytes for each control character again, and each session would have them once more.
#[test]
fn a_session_by_polls_ends_whose_answer_is_too_large_to_be_held() {
    let site = site(|config| config.limits.in_flight_bytes_per_caller_max = 10_000_000);
    let sessions: Vec<Session<'_>> = (0..4)
        .map(|_| {
            let mut session = Session::open(&site, Carrier::LongPoll, "");
            session.ok(common::subscribe("c"));
            assert_eq!(session.poll_briefly("?ack=1").status, 200, "it is told so");
            session
        })
        .collect();
    site.publish("c", "text/plain", vec![1; 700_000]);
    let counted = "everwire_limits_met_total{limit=\"in_flight_bytes_per_caller_max\"}";
    site.until("two of four have no room", |site| {
        site.metric_or_0(counted) == 2
    });
    site.until("and are gone", |site| site.metric("everwire_sessions") == 2);
    assert_eq!(site.metric("everwire_in_flight_bytes") / 4_200_000, 2);
    let answered = sessions
        .iter()
        .map(|session| session.poll_briefly("?ack=2").status)
        .filter(|status| *status == 200);
    assert_eq!(answered.count(), 2);
    for session in sessions {
        session.request("DELETE", "", "");
    }
    site.until("what they were told is let go", |site| {
        site.metric("everwire_in_flight_bytes") == 0
    });
}

/// Requests of a session stand behind one that the application has to judge: as many as may, each with what it sent.
#[test]
fn what_waits_behind_a_decision_is_held_in_the_budget() {
    const WAITING: usize = 16;
    const BYTES: usize = 100_000;
    let door = Door::default();
    let shut = door.clone();
    let application = Application::start(move |question: &Value| {
        if question["question"] == "publish" {
            shut.pass();
        }
        json!({"allow": true})
    });
    let site = site(|config| {
        application.decides(config);
        config.webhooks.session_waiting_max = WAITING;
        config.limits.in_flight_bytes_per_caller_max = WAITING * BYTES + BYTES / 2;
    });
    let session = Session::open(&site, Carrier::Ndjson, "");
    let send = |content: &str| {
        let (id, secret) = (&session.welcome["session"], &session.welcome["secret"]);
        let mut peer = site.connect();
        peer.send(format!(
            "POST /connect/{} HTTP/1.1\r\nHost: x\r\nEverwire-Secret: {}\r\nContent-Length: {}\r\n\r\n{content}",
            id.as_str().unwrap(),
            secret.as_str().unwrap(),
            content.len()
        ));
        peer
    };
    let publish = json!({"op": "publish", "channel": "c", "data": 1});
    let mut judged = send(&publish.to_string());
    application.until_asked(1);
    let ping = json!({"op": "ping"}).to_string();
    let large = format!("{ping}{}", " ".repeat(BYTES - ping.len()));
    let mut waiting: Vec<Peer> = (0..WAITING).map(|_| send(&large)).collect();
    site.until("all of them are held", |site| {
        site.metric("everwire_in_flight_bytes") == (WAITING * BYTES) as u64
    });
    let refused = send(&large).response();
    assert_eq!(
        (refused.status, &*problem(&refused.body)),
        (429, "too-many")
    );
    let counted = "everwire_limits_met_total{limit=\"in_flight_bytes_per_caller_max\"}";
    assert_eq!(site.metric(counted), 1);
    door.open(1);
    for peer in std::iter::once(&mut judged).chain(&mut waiting) {
        let replies = peer.response();
        assert_eq!(replies.status, 200, "{}", replies.text());
    }
    site.until("they are let go", |site| {
        site.metric("everwire_in_flight_bytes") == 0
    });
}
