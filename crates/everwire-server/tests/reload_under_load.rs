//! A hundred reloads while everything goes on: no line is dropped, and nobody is served by half of one configuration and
//! half of another.

mod common;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use common::{
    Carrier, Frame, Peer, Session, Site,
    issuer::{Issuer, trust_all},
};
use everwire_server::{Config, config::Action};
use serde_json::{Value, json};

const RELOADS: usize = 100;

/// Lines of each kind, and those who ask for pages.
const PEERS: usize = 2;

/// Two settings that always change together: whether everybody may read, and how large a page is.
fn set(config: &mut Config, open: bool) {
    config.channels.anonymous = match open {
        true => vec![Action::Read],
        false => vec![],
    };
    config.limits.page_bytes_max = if open { 1 } else { 20 };
}

/// What a page shows of both: whether caches may give it to anybody, and how many entries it has.
fn seen(page: &common::Response) -> (bool, usize) {
    let cache = page.field("cache-control").unwrap();
    let entries: Vec<Value> = serde_json::from_slice(&page.body).unwrap();
    (cache.starts_with("public"), entries.len())
}

struct Load<'s> {
    site: &'s Site,
    token: String,
    /// The last number was published.
    ends: AtomicBool,
    /// Pages that were served, and numbers that were published.
    pages: AtomicUsize,
    numbers: AtomicUsize,
}

impl Load<'_> {
    /// Asks for a page again and again, on one connection.
    fn read_pages(&self) -> BTreeSet<(bool, usize)> {
        let mut peer = self.site.connect();
        let mut all = BTreeSet::new();
        while !self.ends.load(Ordering::SeqCst) {
            peer.send(format!(
                "GET /channels/pages?token={} HTTP/1.1\r\nHost: x\r\n\r\n",
                self.token
            ));
            let page = peer.response();
            assert_eq!(page.status, 200, "{}", page.text());
            all.insert(seen(&page));
            self.pages.fetch_add(1, Ordering::SeqCst);
        }
        all
    }

    /// Publishes 0, 1, 2 …, and at the end `null`.
    fn publish_numbers(&self) {
        let mut peer = self.site.connect();
        let mut say = |text: &str| {
            peer.send(format!(
                "POST /channels/numbers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                self.token,
                text.len()
            ));
            let said = peer.response();
            assert_eq!(said.status, 204, "{}", said.text());
        };
        while !self.ends.load(Ordering::SeqCst) {
            say(&self.numbers.load(Ordering::SeqCst).to_string());
            self.numbers.fetch_add(1, Ordering::SeqCst);
        }
        say("null");
    }

    /// Sees 0, 1, 2 … `null`, each once and in order.
    fn read_numbers(&self, mut next: impl FnMut() -> Value) {
        for expected in 0.. {
            match next() {
                Value::Null => {
                    assert_eq!(expected, self.numbers.load(Ordering::SeqCst));
                    return;
                }
                number => assert_eq!(number, json!(expected)),
            }
        }
    }

    /// Waits until something more of both was done.
    fn goes_on(&self) {
        let done = || [&self.pages, &self.numbers].map(|count| count.load(Ordering::SeqCst));
        let before = done();
        while done()
            .iter()
            .zip(before)
            .any(|(now, before)| *now <= before)
        {
            thread::yield_now();
        }
    }
}

fn next_on_websocket(peer: &mut Peer) -> Value {
    match peer.frame() {
        Frame::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?} instead of an entry"),
    }
}

#[test]
fn no_line_is_dropped_and_nobody_sees_half_of_a_configuration() {
    let mut config = Config::default();
    let site = Site::with(|start| {
        trust_all(start);
        start.threads = 2;
        start.channels.retain_entries = 1_000_000;
        start.limits.appends_per_second_user_max = 0;
        set(start, true);
        config = start.clone();
    });
    let may = json!([{"match": "*", "can": ["read", "publish"]}]);
    let load = Load {
        token: Issuer::shared().token(json!({"sub": "ada", "channels": may})),
        site: &site,
        ends: AtomicBool::new(false),
        pages: AtomicUsize::new(0),
        numbers: AtomicUsize::new(0),
    };
    let batch = "[\"entry 1\",\"entry 2\",\"entry 3\"]";
    let said = site.ask(&format!(
        "POST /channels/pages?token={} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{batch}",
        load.token,
        batch.len()
    ));
    assert_eq!(said.status, 204, "{}", said.text());
    let query = format!("?token={}", load.token);
    let mut sockets: Vec<_> = (0..PEERS)
        .map(|_| site.websocket("numbers", &query))
        .collect();
    let mut streams: Vec<_> = (0..PEERS)
        .map(|_| site.stream("numbers", &query, "application/x-ndjson"))
        .collect();
    let mut sessions: Vec<_> = [Carrier::WebSocket, Carrier::EventStream]
        .map(|carrier| Session::open(&site, carrier, &query))
        .into();
    for session in &mut sessions {
        session.ok(json!({"id": 1, "op": "subscribe", "channel": "numbers"}));
    }
    let load = &load;
    thread::scope(|scope| {
        let pages: Vec<_> = (0..PEERS)
            .map(|_| scope.spawn(|| load.read_pages()))
            .collect();
        scope.spawn(|| load.publish_numbers());
        for peer in &mut sockets {
            scope.spawn(move || load.read_numbers(|| next_on_websocket(peer)));
        }
        for peer in &mut streams {
            scope.spawn(move || {
                load.read_numbers(|| {
                    loop {
                        let line: Value = serde_json::from_str(&peer.event()).unwrap();
                        if let Some(data) = line.get("data") {
                            return data.clone();
                        }
                    }
                });
            });
        }
        for session in &mut sessions {
            scope.spawn(move || load.read_numbers(|| session.entry().1));
        }
        for reload in 1..=RELOADS {
            set(&mut config, reload % 2 == 0);
            let _ = site.server.reloader().reload(config.clone()).unwrap();
            load.goes_on();
        }
        load.ends.store(true, Ordering::SeqCst);
        let seen: BTreeSet<_> = pages
            .into_iter()
            .flat_map(|all| all.join().unwrap())
            .collect();
        assert_eq!(seen, BTreeSet::from([(false, 2), (true, 1)]));
    });
    let lines = 2 * PEERS + sessions.len();
    assert_eq!(
        site.metric("everwire_lines"),
        lines as u64,
        "all are open still"
    );
}
