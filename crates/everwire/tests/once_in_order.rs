//! The promise, against the real server: each reader sees each entry once, in order, or is told of one explicit
//! gap, over any sequence of cuts, pauses and changes of wire.
//!
//! What publishers and readers do comes from a seed that a failure prints; `EVERWIRE_SEED` repeats it. The network's
//! timing and the reader's own jitter are not repeatable, and need not be: the promise holds for all of them.

use std::{env, time::Duration};

use everwire_client::{
    Backoff, ChannelUrl, Item, Line, LineOptions, LineWire, Message, Publisher, Reader,
    ReaderOptions, Start, SubscribeOptions, Update, Wire,
};
use everwire_server::{Config, Server};
use fastrand::Rng;
use tokio::task::JoinSet;

const WIRES: [Wire; 5] = [
    Wire::WebSocket,
    Wire::EventStream,
    Wire::Ndjson,
    Wire::LongPoll,
    Wire::Polling,
];

/// What one reader saw: the numbers of entries, and where it was told of a gap.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Entry(u64),
    Gap,
}

fn seed() -> u64 {
    env::var("EVERWIRE_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("EVERWIRE_SEED is a number"),
    )
}

fn start(retain_entries: u64) -> Server {
    let mut config = Config {
        dev: true,
        threads: 2,
        ..Config::default()
    };
    config.listen.set_port(0);
    config.channels.retain_entries = retain_entries;
    // Small pages, so that a poll rarely has all there is.
    config.limits.page_bytes_max = 600;
    config.limits.long_poll_ms_max = 200;
    Server::start(config).expect("the server starts on a free port")
}

fn url(server: &Server, name: &str) -> ChannelUrl {
    format!("http://{}/channels/{name}", server.address())
        .parse()
        .expect("a channel's URL")
}

/// Publishes `count` entries, in an order of its own among other publishers, padded so that some are larger than
/// what one read of a socket holds.
async fn publish(url: ChannelUrl, publisher: u64, count: u64, mut rng: Rng) {
    let mut to = Publisher::new(url);
    for n in 0..count {
        let size = if rng.u8(..) < 8 {
            100_000
        } else {
            rng.usize(..300)
        };
        let data = format!(
            "{{\"id\":{},\"pad\":\"{}\"}}",
            publisher * 1_000_000 + n,
            "x".repeat(size)
        );
        to.publish(Message {
            data: data.into(),
            ..Message::default()
        })
        .await
        .expect("published");
        if rng.u8(..) < 40 {
            tokio::task::yield_now().await;
        }
    }
}

/// Reads to the end of the channel, and makes trouble for itself on the way.
async fn read(url: ChannelUrl, mut rng: Rng) -> Vec<Seen> {
    let options = ReaderOptions {
        backoff: Backoff {
            first: Duration::from_millis(1),
            max: Duration::from_millis(20),
        },
        poll_interval: Duration::from_millis(5),
        ..ReaderOptions::default()
    };
    let wire = WIRES[rng.usize(..WIRES.len())];
    let mut reader = Reader::with_options(url, wire, Start::Beginning, options);
    let mut seen = Vec::new();
    while let Some(item) = reader.next().await.expect("the reader goes on") {
        match item {
            Item::Entry(entry) => {
                let value: serde_json::Value = entry.data.to_json().expect("an entry is JSON");
                seen.push(Seen::Entry(
                    value["id"].as_u64().expect("an entry has its number"),
                ));
            }
            Item::Gap(_) => seen.push(Seen::Gap),
            _ => {}
        }
        match rng.u8(..) {
            0..6 => reader.cut(),
            6..12 => reader.switch(WIRES[rng.usize(..WIRES.len())]),
            12..14 => tokio::time::sleep(Duration::from_millis(rng.u64(..30))).await,
            _ => {}
        }
    }
    seen
}

/// Reads to the end of the channel on one line after the other, each over a wire of its own and with little patience
/// for a reader that makes trouble.
async fn read_on_lines(url: ChannelUrl, mut rng: Rng) -> Vec<Seen> {
    let (server, name) = url.server_and_name().expect("it is below /channels/");
    let mut start = Start::Beginning;
    let mut seen = Vec::new();
    loop {
        let options = LineOptions {
            wires: vec![LineWire::ALL[rng.usize(..LineWire::ALL.len())]],
            ..LineOptions::default()
        };
        let line = Line::connect(server.clone(), options).expect("options are valid");
        let options = SubscribeOptions {
            start: start.clone(),
            waiting_max: rng.usize(8..100),
            ..SubscribeOptions::default()
        };
        let channel = line.channel(&name).expect("a channel's name");
        let mut updates = channel.subscribe(options).expect("read once");
        // Others that a line reads must not get in each other's way.
        let besides = line.channel(&format!("{name}/besides")).expect("a name");
        let _besides = besides.subscribe(SubscribeOptions::default());
        loop {
            match updates.next().await.expect("the subscription goes on") {
                Some(Update::Entry(entry)) => {
                    let value: serde_json::Value = entry.data.to_json().expect("an entry is JSON");
                    let id = value["id"].as_u64().expect("an entry has its number");
                    seen.push(Seen::Entry(id));
                }
                Some(Update::Gap(_)) => seen.push(Seen::Gap),
                Some(_) => {}
                None => return seen,
            }
            match rng.u8(..) {
                0..6 => break,
                12..14 => tokio::time::sleep(Duration::from_millis(rng.u64(..30))).await,
                _ => {}
            }
        }
        start = updates.resume().unwrap_or(start);
    }
}

/// Closes the channel: readers end when they have read everything.
async fn close(url: &ChannelUrl) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (authority, path) = url
        .to_string()
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .map(|(a, p)| (a.to_owned(), p.to_owned()))
        .unwrap();
    let mut stream = tokio::net::TcpStream::connect(&authority).await.unwrap();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {authority}\r\nStream-Closed: true\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

/// All entries of the channel, as one catch-up after another has them.
async fn log_of(url: &ChannelUrl) -> Vec<Seen> {
    let mut reader = Reader::new(url.clone(), Wire::Polling, Start::Beginning);
    let mut seen = Vec::new();
    while let Some(item) = reader.next().await.unwrap() {
        if let Item::Entry(entry) = item {
            let value: serde_json::Value = entry.data.to_json().unwrap();
            seen.push(Seen::Entry(value["id"].as_u64().unwrap()));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_sees_every_entry_once_and_in_order() {
    let seed = seed();
    println!("EVERWIRE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let server = start(1_000_000);
    for round in 0..3 {
        let url = url(&server, &format!("round/{round}"));
        let mut publishers = JoinSet::new();
        for publisher in 0..3 {
            publishers.spawn(publish(url.clone(), publisher, 150, rng.fork()));
        }
        let mut readers = JoinSet::new();
        for _ in 0..10 {
            readers.spawn(read(url.clone(), rng.fork()));
        }
        for _ in 0..4 {
            readers.spawn(read_on_lines(url.clone(), rng.fork()));
        }
        publishers.join_all().await;
        close(&url).await;
        let log = log_of(&url).await;
        assert_eq!(
            log.len(),
            450,
            "seed {seed}: everything that was acknowledged is in the log"
        );
        for seen in readers.join_all().await {
            let at = seen.iter().zip(&log).position(|(seen, log)| seen != log);
            assert!(
                seen == log,
                "seed {seed}: a reader saw {} of {} entries, the first difference at {at:?}: {:?} and not {:?}",
                seen.len(),
                log.len(),
                at.map(|at| &seen[at]),
                at.map(|at| &log[at]),
            );
        }
    }
    tokio::task::spawn_blocking(move || server.stop())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_too_late_is_told_of_each_gap() {
    let seed = seed();
    println!("EVERWIRE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    // So few entries are kept that readers who pause are too late.
    let server = start(8);
    let url = url(&server, "short");
    let mut readers = JoinSet::new();
    for _ in 0..10 {
        readers.spawn(read(url.clone(), rng.fork()));
    }
    for _ in 0..4 {
        readers.spawn(read_on_lines(url.clone(), rng.fork()));
    }
    // One publisher, so that the numbers tell what is missing.
    publish(url.clone(), 0, 1_500, rng.fork()).await;
    close(&url).await;
    let mut gaps = 0;
    for seen in readers.join_all().await {
        // Nothing was promised before the first entry that a reader gets from the beginning.
        let mut last = None;
        let mut told = true;
        for seen in &seen {
            match seen {
                Seen::Gap => {
                    told = true;
                    gaps += 1;
                }
                Seen::Entry(n) => {
                    let next = last.map_or(0, |last| last + 1);
                    assert!(
                        *n >= next,
                        "seed {seed}: entry {n} after {last:?}: doubled or out of order"
                    );
                    assert!(
                        *n == next || told,
                        "seed {seed}: entries {next}..{n} are missing and no gap was told"
                    );
                    (last, told) = (Some(*n), false);
                }
            }
        }
        assert_eq!(
            last,
            Some(1_499),
            "seed {seed}: the newest entry is always kept, so every reader ends with it"
        );
    }
    println!("{gaps} gaps were told");
    tokio::task::spawn_blocking(move || server.stop())
        .await
        .unwrap()
        .unwrap();
}
