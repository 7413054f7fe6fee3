//! What servers are told of readers that come and go, without waiting for the worker.

use everwire_channel::{Guard, Mark, Read, Start};

use super::*;
use crate::{
    config::Config,
    hub::{Occasion, WatchKey},
    live::Settings,
    shard::Mailbox,
};

/// A hub that tells what happens, and all that it has told.
struct World {
    lifecycle: Arc<Lifecycle>,
    hub: Hub,
    metrics: Metrics,
}

impl World {
    fn new(enabled: bool) -> Self {
        let mut config = Config::default();
        config.events.enabled = enabled;
        let lifecycle = Arc::new(Lifecycle::new(enabled));
        let hub = Hub::new(Settings::from(config), lifecycle.audience(), Mark(7), 0);
        open(&lifecycle, &hub, 0);
        Self {
            lifecycle,
            hub,
            metrics: Metrics::new(),
        }
    }

    fn channel(&self, name: &str) -> Arc<crate::hub::Channel> {
        let name = name.parse().unwrap();
        let rules = &self.hub.settings().now().rules;
        (self.hub)
            .open(rules, &name, (Occasion::LiveRead, None), 0)
            .unwrap()
    }

    /// The events that a channel of the server's own has told, each with its payload.
    #[track_caller]
    fn told(&self, name: &str, expected: &[(&str, &str)]) {
        self.lifecycle.tell(&self.hub, &self.metrics, 0);
        let channel = self.hub.find(&name.parse().unwrap(), 0).unwrap();
        let state = channel.lock();
        let log = state.core().log();
        let found: Vec<_> = match log.after(log.locate(&Start::Beginning).unwrap()) {
            Read::Entries(entries) => entries
                .map(|(_, entry)| {
                    let payload = std::str::from_utf8(&entry.payload).unwrap();
                    (entry.event().unwrap(), payload)
                })
                .collect(),
            Read::CaughtUp | Read::Gap(_) => Vec::new(),
        };
        assert_eq!(found, expected);
    }
}

/// A shard that watches a channel, until it is dropped.
struct Reader(Arc<crate::hub::Channel>, Arc<Mailbox>);

impl Reader {
    fn of(channel: &Arc<crate::hub::Channel>) -> Self {
        let mailbox: Arc<Mailbox> = Arc::default();
        channel.lock().watch(mailbox.clone(), WatchKey(0));
        Self(channel.clone(), mailbox)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().unwatch(&*self.1, WatchKey(0));
    }
}

#[test]
fn a_channel_is_occupied_by_its_first_reader_and_vacated_by_its_last() {
    let world = World::new(true);
    let channel = world.channel("chat");
    world.told(CHANNELS, &[]);
    let first = Reader::of(&channel);
    let last = Reader::of(&channel);
    let occupied = ("occupied", r#"{"channels":["chat"]}"#);
    world.told(CHANNELS, &[occupied]);
    drop(first);
    world.told(CHANNELS, &[occupied]);
    drop(last);
    world.told(
        CHANNELS,
        &[occupied, ("vacated", r#"{"channels":["chat"]}"#)],
    );
}

#[test]
fn a_channel_that_is_removed_is_vacated_before_the_next_of_its_name_is_occupied() {
    let world = World::new(true);
    let first = world.channel("chat");
    let reader = Reader::of(&first);
    world.hub.delete(first.name(), &Guard::default()).unwrap();
    let second = world.channel("chat");
    let other = Reader::of(&second);
    // It notices only now.
    drop(reader);
    let names = r#"{"channels":["chat"]}"#;
    let expected = [("occupied", names), ("vacated", names), ("occupied", names)];
    world.told(CHANNELS, &expected);
    drop(other);
}

#[test]
fn who_reads_what_is_told_is_not_told_of() {
    let world = World::new(true);
    let own = world.hub.find(&CHANNELS.parse().unwrap(), 0).unwrap();
    let reader = Reader::of(&own);
    world.told(CHANNELS, &[]);
    drop(reader);
}

#[test]
fn sessions_are_told_as_they_come_and_go() {
    let world = World::new(true);
    let lifecycle = &world.lifecycle;
    let ada = UserName::new("ada").unwrap();
    lifecycle.connected(SessionId(1), None);
    lifecycle.connected(SessionId(2), Some(&ada));
    lifecycle.disconnected(SessionId(1), None);
    let one = r#"{"session":"0000000000000001"}"#;
    let two = r#"{"session":"0000000000000002","user":"ada"}"#;
    world.told(
        SESSIONS,
        &[
            ("connected", &format!(r#"{{"sessions":[{one},{two}]}}"#)),
            ("disconnected", &format!(r#"{{"sessions":[{one}]}}"#)),
        ],
    );
}

#[test]
fn nothing_is_noted_unless_it_is_enabled() {
    let world = World::new(false);
    let reader = Reader::of(&world.channel("chat"));
    world.lifecycle.connected(SessionId(1), None);
    assert!(world.lifecycle.lock().sessions.is_empty());
    assert!(world.lifecycle.lock().channels.is_empty());
    assert!(world.hub.find(&CHANNELS.parse().unwrap(), 0).is_none());
    drop(reader);
}
