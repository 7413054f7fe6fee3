//! Lines of the client over the real server: each wire, cuts, presence.

mod proxy;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use everwire_client::{
    AskError, Backoff, Info, Line, LineOptions, LineStatus, LineWire, Presence, Publication,
    ServerUrl, Start, SubscribeOptions, Subscription, Update,
};
use everwire_server::{Config, Server, config::ApiKey};
use fastrand::Rng;
use proxy::Proxy;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A server, stopped when it is dropped.
struct Running(Option<Server>);

impl Running {
    fn address(&self) -> SocketAddr {
        self.0.as_ref().expect("it runs").address()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its threads are not ended where tasks run.
        let server = self.0.take().expect("it runs");
        std::thread::spawn(move || server.stop())
            .join()
            .expect("stopped")
            .expect("stopped");
    }
}

/// An API key, which is as good as a token to a client, and what the server keeps of it (`everwire key wallet`).
const KEY: &str = "ewk_wallet_e171d879915e8ff2a01f6acc22ded581a4017b77211547fa0a9ff6394285553d";
const KEY_SHA256: &str = "f42f9f4fa1a966beacc8579c5c55a7421c812164b099428ed7a1968b9ba3f961";

fn start() -> Running {
    let mut config = Config {
        dev: true,
        threads: 2,
        ..Config::default()
    };
    config.listen.set_port(0);
    config.stop.drain_ms = 1;
    config.presence.linger_ms = 1000;
    config.keys.push(ApiKey {
        id: "wallet".to_owned(),
        sha256: KEY_SHA256.to_owned(),
        channels: Vec::new(),
        can: Vec::new(),
    });
    Running(Some(
        Server::start(config).expect("the server starts on a free port"),
    ))
}

fn url(address: SocketAddr) -> ServerUrl {
    format!("http://{address}").parse().expect("a server's URL")
}

fn options(wires: &[LineWire]) -> LineOptions {
    LineOptions {
        wires: wires.to_vec(),
        backoff: Backoff {
            first: Duration::from_millis(1),
            max: Duration::from_millis(20),
        },
        ..LineOptions::default()
    }
}

fn from_the_beginning() -> SubscribeOptions {
    SubscribeOptions {
        start: Start::Beginning,
        ..SubscribeOptions::default()
    }
}

/// The data of the next entry.
async fn next(subscription: &mut Subscription) -> String {
    match subscription.next().await.expect("the channel is read") {
        Some(Update::Entry(entry)) => String::from_utf8(entry.data.as_bytes().to_vec()).unwrap(),
        Some(update) => panic!("{update:?} came, and no entry"),
        None => panic!("the channel ended"),
    }
}

#[tokio::test]
async fn each_wire_carries_many_channels_both_ways() {
    let server = start();
    for wire in LineWire::ALL {
        let line = Line::connect(url(server.address()), options(&[wire])).unwrap();
        let a = line.channel(&format!("{wire}/a")).unwrap();
        let b = line.channel(&format!("{wire}/b")).unwrap();
        let mut from_a = a.subscribe(from_the_beginning()).unwrap();
        let mut from_b = b.subscribe(from_the_beginning()).unwrap();
        let receipt = a.publish(Publication::json(&[1]).unwrap()).await.unwrap();
        b.publish("hello".into()).await.unwrap();
        a.publish("again".into()).await.unwrap();
        assert_eq!(next(&mut from_a).await, "[1]", "{wire}");
        assert_eq!(
            from_a.resume(),
            Some(Start::After(receipt.offset)),
            "{wire}"
        );
        assert_eq!(next(&mut from_a).await, "again", "{wire}");
        assert_eq!(next(&mut from_b).await, "hello", "{wire}");
        let history = a.history(&Start::Last(1), 10).await.unwrap();
        assert_eq!(history.entries.len(), 1, "{wire}");
        assert_eq!(
            Some(Start::After(history.offset)),
            from_a.resume(),
            "{wire}"
        );
        match line.status() {
            LineStatus::Open { wire: used, .. } => assert_eq!(used, wire),
            status => panic!("{wire}: {status:?}"),
        }
        // Left and read again, from where it was left.
        let resume = SubscribeOptions {
            start: from_a.resume().unwrap(),
            ..SubscribeOptions::default()
        };
        drop(from_a);
        a.publish("meanwhile".into()).await.unwrap();
        let mut from_a = a.subscribe(resume).unwrap();
        assert_eq!(next(&mut from_a).await, "meanwhile", "{wire}");
        line.close().await;
        assert_eq!(from_a.next().await, Ok(None), "{wire}");
        assert_eq!(
            a.publish("late".into()).await,
            Err(AskError::Closed),
            "{wire}"
        );
    }
}

#[tokio::test]
async fn a_line_leaves_out_its_own_entries_where_it_wants_no_echo() {
    let server = start();
    for wire in LineWire::ALL {
        let line = Line::connect(url(server.address()), options(&[wire])).unwrap();
        let other = Line::connect(url(server.address()), options(&[wire])).unwrap();
        let name = format!("echo/{wire}");
        let channel = line.channel(&name).unwrap();
        let no_echo = SubscribeOptions {
            echo: false,
            ..from_the_beginning()
        };
        let mut entries = channel.subscribe(no_echo).unwrap();
        channel.publish("mine".into()).await.unwrap();
        other
            .channel(&name)
            .unwrap()
            .publish("another's".into())
            .await
            .unwrap();
        assert_eq!(next(&mut entries).await, "another's", "{wire}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_until_it_can_be_had_and_shown() {
    let server = start();
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let fetch = move || {
        let asked = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match asked {
                0 => Err("the wallet is locked"),
                _ => Ok(KEY.to_owned()),
            }
        }
    };
    let line = Line::connect_with_token(url(server.address()), options(&[]), fetch).unwrap();
    let mut status = line.watch();
    // A server refuses what it does not know, also where everybody may read.
    let is_open = |status: &LineStatus| matches!(status, LineStatus::Open { .. });
    status.wait_for(is_open).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// Who is there and how that changes, in short.
async fn presence(subscription: &mut Subscription) -> String {
    match subscription.next().await.expect("the channel is read") {
        Some(Update::Members(members)) => {
            let users: Vec<_> = members.listed.iter().map(|member| &*member.user).collect();
            format!("here: {}", users.join(" "))
        }
        Some(Update::Join { user, info }) => match info {
            Some(info) => format!("{user} came with {info}"),
            None => format!("{user} came"),
        },
        Some(Update::Leave { user }) => format!("{user} left"),
        update => panic!("{update:?} came, and nothing about presence"),
    }
}

#[tokio::test]
async fn two_lines_see_each_other_come_and_go_and_who_watches_is_not_seen() {
    let server = start();
    // Together, since who leaves is seen a second later.
    let mut wires = JoinSet::new();
    for wire in LineWire::ALL {
        wires.spawn(come_and_go(server.address(), wire));
    }
    while let Some(end) = wires.join_next().await {
        end.unwrap();
    }
}

async fn come_and_go(server: SocketAddr, wire: LineWire) {
    let proxy = Proxy::start(server).await;
    let name = format!("lobby/{wire}");
    let present = |user: Option<&str>, info: Option<Value>| SubscribeOptions {
        presence: Some(Presence {
            user: user.map(str::to_owned),
            info: info.map(Info::from),
            join: user.is_some(),
        }),
        ..SubscribeOptions::default()
    };
    let connect = |address| Line::connect(url(address), options(&[wire])).unwrap();
    let watcher = connect(server).channel(&name).unwrap();
    let mut watched = watcher.subscribe(present(None, None)).unwrap();
    assert_eq!(presence(&mut watched).await, "here: ", "{wire}");

    let mood = Some(json!({"mood": "fine"}));
    let ada = connect(proxy.address);
    let ada_there = ada
        .channel(&name)
        .unwrap()
        .subscribe(present(Some("ada"), mood))
        .unwrap();
    assert_eq!(
        presence(&mut watched).await,
        r#"~ada came with {"mood":"fine"}"#,
        "{wire}"
    );

    let bob = connect(server);
    let mut bob_there = bob
        .channel(&name)
        .unwrap()
        .subscribe(present(Some("bob"), None))
        .unwrap();
    assert_eq!(presence(&mut bob_there).await, "here: ~ada ~bob", "{wire}");
    assert_eq!(presence(&mut watched).await, "~bob came", "{wire}");
    assert_eq!(watcher.members().await.unwrap().total, 2, "{wire}");

    // A line that is cut comes back within the time that is given it, and nobody sees that.
    proxy.cut();
    bob.close().await;
    assert_eq!(presence(&mut watched).await, "~bob left", "{wire}");
    drop(ada_there);
    assert_eq!(presence(&mut watched).await, "~ada left", "{wire}");
}

/// Every connection is cut after so many bytes; each next one lives longer, so that the line gets on.
#[tokio::test]
async fn a_line_that_is_cut_at_any_byte_loses_and_repeats_nothing() {
    let server = start();
    let proxy = Proxy::start(server.address()).await;
    for wire in LineWire::ALL {
        let publisher = Line::connect(url(server.address()), options(&[])).unwrap();
        let name = format!("cut/{wire}");
        let channel = publisher.channel(&name).unwrap();
        for n in 0..5 {
            channel
                .publish(Publication::json(&n).unwrap())
                .await
                .unwrap();
        }
        for bytes in (1..1200).step_by(13) {
            proxy.cut_after(bytes);
            let line = Line::connect(url(proxy.address), options(&[wire])).unwrap();
            let mut entries = line
                .channel(&name)
                .unwrap()
                .subscribe(from_the_beginning())
                .unwrap();
            let mut statuses = line.watch();
            let mut seen = Vec::new();
            while seen.len() < 5 {
                tokio::select! {
                    entry = next(&mut entries) => seen.push(entry),
                    // Once it was cut, the network works.
                    _ = statuses.wait_for(|status| matches!(status, LineStatus::Waiting { .. })) => {
                        proxy.cut_after(0);
                    }
                }
            }
            assert_eq!(
                seen,
                ["0", "1", "2", "3", "4"],
                "{wire} cut after {bytes} bytes"
            );
        }
    }
}

/// Lines that are cut at random publish and read several channels; each publication is there once, and each reader
/// sees each channel as its log is. What happens comes from a seed that a failure prints; `EVERWIRE_SEED` repeats it.
#[tokio::test]
async fn over_any_sequence_of_cuts_each_entry_is_there_once_and_read_once_in_order() {
    let seed = std::env::var("EVERWIRE_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("EVERWIRE_SEED is a number"),
    );
    println!("EVERWIRE_SEED={seed}");
    const CHANNELS: [&str; 3] = ["any/a", "any/b", "any/c"];
    const ENTRIES: u64 = 60;
    let mut rng = Rng::with_seed(seed);
    let server = start();
    let proxy = Proxy::start(server.address()).await;
    let mut publishers = JoinSet::new();
    let mut readers = JoinSet::new();
    for wires in [
        &LineWire::ALL[..],
        &LineWire::ALL[..1],
        &LineWire::ALL[1..2],
        &LineWire::ALL[2..3],
        &LineWire::ALL[3..],
    ] {
        let line = Line::connect(url(proxy.address), options(wires)).unwrap();
        let publishing = line.clone();
        let mut own = Rng::with_seed(rng.u64(..));
        publishers.spawn(async move {
            for n in 0..ENTRIES {
                let channel = publishing
                    .channel(CHANNELS[n as usize % CHANNELS.len()])
                    .unwrap();
                let text = format!(
                    "{:?} {n} {}",
                    publishing.status(),
                    "x".repeat(own.usize(..400))
                );
                channel
                    .publish(Publication::json(&text).unwrap())
                    .await
                    .expect("published");
                if own.u8(..) < 40 {
                    tokio::time::sleep(Duration::from_millis(own.u64(..5))).await;
                }
            }
        });
        for name in CHANNELS {
            // So few that they are full at times.
            let options = SubscribeOptions {
                waiting_max: 8,
                ..from_the_beginning()
            };
            let mut entries = line.channel(name).unwrap().subscribe(options).unwrap();
            let keep = line.clone();
            readers.spawn(async move {
                let mut seen = Vec::new();
                while seen.len() < ENTRIES as usize / CHANNELS.len() * 5 {
                    seen.push(next(&mut entries).await);
                }
                drop(keep);
                (name, seen)
            });
        }
    }
    let trouble = async {
        loop {
            tokio::time::sleep(Duration::from_millis(rng.u64(1..30))).await;
            match rng.u8(..) {
                0..100 => proxy.cut(),
                100..200 => proxy.cut_after(rng.usize(500..20_000)),
                _ => proxy.cut_after(0),
            }
        }
    };
    tokio::select! {
        () = trouble => {}
        () = async { while publishers.join_next().await.is_some_and(|end| end.is_ok()) {} } => {}
    }
    proxy.cut_after(0);
    proxy.cut();
    let line = Line::connect(url(server.address()), options(&[])).unwrap();
    while let Some(read) = readers.join_next().await {
        let (name, seen) = read.unwrap();
        let history = line
            .channel(name)
            .unwrap()
            .history(&Start::Beginning, 1000)
            .await
            .unwrap();
        let log: Vec<_> = (history.entries.iter())
            .map(|entry| String::from_utf8(entry.data.as_bytes().to_vec()).unwrap())
            .collect();
        assert_eq!(
            log.len() as u64,
            ENTRIES / CHANNELS.len() as u64 * 5,
            "the log of {name}"
        );
        assert_eq!(seen, log, "{name}");
    }
}
