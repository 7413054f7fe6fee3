//! Members of channels, on a clock of their own.

use std::{future::poll_fn, time::Duration};

use everwire_channel::{Mark, Read, Start};

use super::*;
use crate::{
    config::Config, hub::WatchKey, live::Settings, metrics::Standing, shard::Mailbox, stop::Stop,
};

/// A server's presences, and a clock that shows what it is told to.
struct World {
    presences: Presences,
    start: Now,
    after_ms: u64,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let start = Now {
            instant: Instant::now(),
            unix_ms: 1_700_000_000_000,
        };
        let settings = Settings::from(config);
        let hub = Arc::new(Hub::new(settings.clone(), None, Mark(7), start.unix_ms));
        Self {
            presences: Presences::new(settings, hub, Arc::default(), start),
            start,
            after_ms: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            instant: self.start.instant + Duration::from_millis(self.after_ms),
            unix_ms: self.start.unix_ms + self.after_ms,
        }
    }

    fn join(&self, channel: &str, session: u64, user: &str) -> Result<(), Problem> {
        let member = self.presences.member(UserName::new(user).unwrap(), None)?;
        self.presences.join(
            &name(channel),
            place(session),
            member,
            |_| Ok(()),
            self.now(),
        )
    }

    fn leave(&self, channel: &str, session: u64) {
        self.presences
            .leave(&name(channel), SessionId(session), self.now());
    }

    /// Time passes, and the workers look after who is due.
    fn wait(&mut self, ms: u64) {
        self.after_ms += ms;
        self.presences.expire(self.now());
    }

    fn snapshot(&self, channel: &str) -> Snapshot {
        self.presences.snapshot(&name(channel), self.now()).unwrap()
    }

    fn members(&self, channel: &str) -> String {
        String::from_utf8(self.snapshot(channel).members.to_vec()).unwrap()
    }

    /// What the log tells from an offset on.
    fn told_since(&self, channel: &str, offset: Offset) -> Vec<String> {
        let log = self.presences.log(&name(channel), self.now()).unwrap();
        let state = log.lock();
        let after = state.core().log().locate(&Start::After(offset));
        let entry = |entry: &Entry| {
            let payload = std::str::from_utf8(&entry.payload).unwrap();
            assert!(payload.starts_with(&format!("{{\"ev\":\"{}\",", entry.event().unwrap())));
            payload.to_owned()
        };
        match state.core().log().after(after.expect("the log goes on")) {
            Read::Entries(entries) => entries.map(|(_, found)| entry(found)).collect(),
            Read::CaughtUp => Vec::new(),
            Read::Gap(gap) => panic!("{gap:?}"),
        }
    }

    fn is_empty(&self) -> bool {
        (self.presences.parts.iter()).all(|part| lock(part).is_empty())
    }
}

/// Waits for what a worker does in its own time; only one that does not is found by a time limit.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let found = tokio::time::timeout(Duration::from_secs(8), future).await;
    found.expect("it happens soon")
}

/// A session's place, which is for nobody else to pay.
fn place(session: u64) -> (SessionId, Payer) {
    (SessionId(session), Payer(session))
}

fn name(name: &str) -> ChannelName {
    name.parse().unwrap()
}

#[test]
fn a_snapshot_and_what_the_log_tells_after_it_are_the_whole_story() {
    let mut world = World::new();
    let before = world.snapshot("chat");
    assert_eq!(before.members, r#""total":0,"members":[]"#);
    world.join("chat", 1, "ada").unwrap();
    world.join("chat", 2, "ada").unwrap();
    world.join("other", 3, "cy").unwrap();
    let between = world.snapshot("chat");
    assert_eq!(
        between.members,
        r#""total":1,"members":[{"user":"ada","count":2}]"#
    );
    let info = RawValue::from_string("{\"mood\":\"a\\\"b\"}".to_owned()).unwrap();
    let bob = world
        .presences
        .member(UserName::new("bob \"b\"").unwrap(), Some(&info))
        .unwrap();
    let joined = world
        .presences
        .join(&name("chat"), place(4), bob, |_| Ok(()), world.now());
    joined.unwrap();
    assert_eq!(
        world.members("chat"),
        r#""total":2,"members":[{"user":"ada","count":2},{"user":"bob \"b\"","info":{"mood":"a\"b"},"count":1}]"#
    );
    world.leave("chat", 1);
    world.leave("chat", 2);
    assert!(
        world
            .members("chat")
            .contains(r#"{"user":"ada","count":0}"#)
    );
    world.wait(3_000);
    let since = [
        r#"{"ev":"join","user":"bob \"b\"","info":{"mood":"a\"b"}}"#,
        r#"{"ev":"leave","user":"ada"}"#,
    ];
    assert_eq!(world.told_since("chat", between.offset), since);
    assert_eq!(world.told_since("chat", before.offset).len(), 3);
}

#[test]
fn who_vanishes_is_told_when_its_lease_is_over_and_nothing_is_left_behind() {
    let mut world = World::new();
    let start = world.snapshot("chat").offset;
    for (session, user) in [(1, "ada"), (2, "bob")] {
        world.join("chat", session, user).unwrap();
    }
    for _ in 0..4 {
        world.wait(25_000);
        let renewed = world
            .presences
            .renew(&name("chat"), SessionId(1), world.now());
        assert!(renewed);
    }
    assert_eq!(
        world.members("chat"),
        r#""total":1,"members":[{"user":"ada","count":1}]"#
    );
    assert!(
        !world
            .presences
            .renew(&name("chat"), SessionId(2), world.now())
    );
    world.wait(63_000);
    assert_eq!(world.told_since("chat", start).len(), 4);
    assert!(world.is_empty(), "an empty roster is forgotten");
    assert!(
        !world
            .presences
            .renew(&name("chat"), SessionId(1), world.now())
    );
    world.leave("chat", 1);
    assert!(world.is_empty());
}

#[test]
fn a_storm_of_leaves_is_told_whole_and_wakes_the_worker_for_the_first_alone() {
    let mut world = World::with(|config| config.presence.retain_entries = 100_000);
    let start = world.snapshot("chat").offset;
    for session in 0..10_000 {
        world
            .join("chat", session, &format!("user {session}"))
            .unwrap();
    }
    for session in 0..10_000 {
        world.leave("chat", session);
    }
    world.wait(2_999);
    assert_eq!(world.told_since("chat", start).len(), 10_000);
    world.wait(1);
    assert_eq!(world.told_since("chat", start).len(), 20_000);
    assert!(world.is_empty());
}

#[test]
fn the_alarm_is_set_to_the_moment_at_which_somebody_may_have_left() {
    let mut world = World::new();
    let at_ms = |world: &World| world.presences.alarm.at_ms();
    assert_eq!(at_ms(&world), None);
    world.join("chat", 1, "ada").unwrap();
    assert_eq!(at_ms(&world), Some(60_000));
    world.join("chat", 2, "bob").unwrap();
    world.join("other", 1, "ada").unwrap();
    world.leave("other", 1);
    assert_eq!(at_ms(&world), Some(3_000));
    world.wait(3_000);
    assert_eq!(at_ms(&world), Some(60_000));
    world.wait(57_000);
    assert_eq!(at_ms(&world), Some(63_000), "both linger");
    world.wait(3_000);
    assert_eq!(at_ms(&world), None);
}

#[test]
fn what_cannot_be_a_member_is_refused_with_its_limit() {
    let world = World::with(|config| {
        config.presence.members_max = 1;
        config.presence.info_bytes_max = 4;
        config.limits.channels_max = 2;
    });
    let refused = |refusal: Result<(), Problem>| {
        let problem = refusal.unwrap_err();
        (problem.kind.status(), problem.limit)
    };
    let info = RawValue::from_string("12345".to_owned()).unwrap();
    let member = world
        .presences
        .member(UserName::new("ada").unwrap(), Some(&info))
        .map(drop);
    assert_eq!(refused(member), (413, Some("info_bytes_max")));
    world.join("chat", 1, "ada").unwrap();
    assert_eq!(
        refused(world.join("chat", 2, "bob")),
        (503, Some("members_max"))
    );
    world.join("chat", 2, "ada").unwrap();
    world.join("other", 2, "ada").unwrap();
    assert_eq!(
        refused(world.join("third", 2, "ada")),
        (503, Some("channels_max"))
    );
    assert!(
        !world
            .presences
            .renew(&name("third"), SessionId(2), world.now())
    );
}

#[test]
fn nobody_joins_while_the_logs_are_full_and_leaves_are_told() {
    let mut world = World::with(|config| config.limits.log_bytes_max = 100);
    let start = world.snapshot("chat").offset;
    world.join("chat", 1, "ada").unwrap();
    let problem = world.join("chat", 2, "bob").unwrap_err();
    assert_eq!(problem.limit, Some("log_bytes_max"));
    world.leave("chat", 1);
    world.wait(3_000);
    assert_eq!(world.told_since("chat", start).len(), 2);
}

#[test]
fn a_log_that_was_forgotten_is_another_log_and_its_members_are_still_there() {
    let mut world = World::with(|config| {
        config.presence.retain_ms = 1_000;
        config.channels.forget_ms = 1_000;
    });
    world.join("chat", 1, "ada").unwrap();
    let first = world.snapshot("chat");
    for _ in 0..3 {
        world.wait(2_000);
        hub::sweep(&world.presences.hub, world.now().unix_ms);
    }
    assert_eq!(world.presences.hub.count(), 0);
    let second = world.snapshot("chat");
    assert_eq!(second.members, first.members);
    assert!(second.offset.epoch > first.offset.epoch);
}

#[test]
fn leaves_by_many_threads_are_each_told_once() {
    let mut world = World::new();
    let start = world.snapshot("chat").offset;
    let presences = &world.presences;
    let now = world.now();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..100 {
                    let session = SessionId(thread * 100 + number);
                    let member = {
                        let user = UserName::new(&session.to_string()).unwrap();
                        presences.member(user, None).unwrap()
                    };
                    let place = (session, Payer(0));
                    let joined = presences.join(&name("chat"), place, member, |_| Ok(()), now);
                    joined.unwrap();
                    presences.leave(&name("chat"), session, now);
                }
            });
        }
    });
    world.wait(3_000);
    assert_eq!(world.told_since("chat", start).len(), 800);
    assert!(world.is_empty());
}

#[test]
fn members_and_changes_are_counted() {
    let mut world = World::new();
    let counted = |world: &World, name: &str| -> u64 {
        let text = world.presences.metrics.encode(&Standing::default());
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{name} is in\n{text}"))
    };
    for (session, channel, user) in [
        (1, "a", "ada"),
        (1, "b", "ada"),
        (2, "a", "bob"),
        (3, "a", "bob"),
    ] {
        world.join(channel, session, user).unwrap();
    }
    assert_eq!(counted(&world, "everwire_members "), 3);
    world.leave("a", 1);
    assert_eq!(counted(&world, "everwire_members "), 3);
    world.wait(3_000);
    assert_eq!(counted(&world, "everwire_members "), 2);
    assert_eq!(counted(&world, "everwire_presence_changes_total "), 4);
}

#[tokio::test]
async fn the_worker_wakes_when_somebody_has_left_and_ends_with_the_server() {
    let mut world = World::with(|config| config.presence.linger_ms = 1);
    let (stop, stopping) = Stop::new();
    // The worker reads the clock by itself.
    world.start = Now::read();
    let presences = Arc::new(world.presences);
    let worker = tokio::spawn(expire(presences.clone(), stopping));
    tokio::task::yield_now().await;
    let log = presences.log(&name("chat"), world.start).unwrap();
    let mailbox = Arc::new(Mailbox::default());
    log.lock().watch(mailbox.clone(), WatchKey(0));
    let ada = presences
        .member(UserName::new("ada").unwrap(), None)
        .unwrap();
    let joined = presences.join(&name("chat"), place(1), ada, |_| Ok(()), Now::read());
    joined.unwrap();
    let mut told = Vec::new();
    mailbox.take(&mut told);
    log.lock().looked(&*mailbox);
    presences.leave(&name("chat"), SessionId(1), Now::read());
    soon(poll_fn(|cx| mailbox.poll(cx))).await;
    assert_eq!(log.lock().core().log().head_sequence(), 2);
    stop.stop();
    soon(worker).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_alarm_rings_at_its_moment_also_where_that_is_set_earlier_while_it_waits() {
    let alarm = Alarm::default();
    let start = tokio::time::Instant::now();
    let set = async {
        alarm.set(50_000);
        tokio::time::sleep(Duration::from_millis(10)).await;
        alarm.set(60_000);
        alarm.set(3_000);
    };
    tokio::join!(alarm.ring(start.into_std()), set);
    assert_eq!(start.elapsed().as_millis(), 3_000);
    alarm.reset();
    let never = tokio::time::timeout(Duration::from_secs(1_000), alarm.ring(start.into_std()));
    assert!(never.await.is_err());
}
