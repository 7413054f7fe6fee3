//! Lines that are tasks, on a clock of their own.

use std::{future::Future, sync::Arc, time::Instant};

use everwire_channel::{Append, ContentType, Draft, Mark};
use everwire_wire::{Framing, Transfer};
use tokio::runtime::Handle;

use super::{
    entries::{Reader, Step},
    *,
};
use crate::{
    auth::{Caller, Known, Proof, Who},
    census::Stay,
    clock::Now,
    config::Config,
    hub::{Channel, Occasion},
    live::Live,
    outbound::Outbound,
    shard::{Entries, PollShape, Publishing, Shared},
    stop::{AllGone, Stop},
};

fn context() -> Context {
    let (stop, context) = with_stop();
    // The order to stop is never given.
    std::mem::forget(stop);
    context
}

fn with_stop() -> (Stop, Context) {
    let mut config = Config::default();
    config.channels.retain_entries = 3;
    let (_, alive) = AllGone::new();
    let (stop, stopping) = Stop::new();
    let now = Now {
        instant: Instant::now(),
        unix_ms: 0,
    };
    let shared = Shared::new(
        Live::without_credentials(config),
        Mark(7),
        vec![Arc::default()],
        now,
    );
    let outbound = Outbound::new(
        &shared.live.config.outbound,
        Handle::current(),
        shared.metrics.clone(),
        &mut |_| unreachable!("no file of certificates is set"),
    );
    let context = Context {
        shared,
        outbound: outbound.unwrap(),
        challenges: Arc::default(),
        stopping,
        _alive: alive,
        busy: None,
    };
    (stop, context)
}

fn channel(context: &Context) -> Arc<Channel> {
    let name = "c".parse().unwrap();
    let rules = &context.shared.live.rules;
    (context.shared.hub)
        .open(rules, &name, Occasion::Append, 0)
        .unwrap()
}

fn append(channel: &Channel, size: usize) {
    let text = ContentType::text();
    let append = Append {
        entries: vec![Draft::from(Bytes::from(vec![b'x'; size]))],
        content_type: Some(&text),
        ..Append::default()
    };
    channel.append(append, 0).unwrap().unwrap();
}

fn counted(context: &Context) -> Counted {
    let census = context.shared.census.clone();
    let here = [127, 0, 0, 1].into();
    let account = context.shared.rate.account(&Caller::Anybody, here);
    let seat = context.shared.enter(here, Stay::Open, account).ok();
    Counted { census, seat }
}

fn entries(channel: &Arc<Channel>, framing: Framing) -> Entries {
    Entries {
        channel: channel.clone(),
        framing,
        sequence: 0,
        deflate: None,
        publish: Publishing::Never,
        fail_on_gap: false,
        cursor: None,
        publisher: None,
        lifetime_ms: None,
        is_lent: false,
        until_ms: None,
        caller: Caller::Anybody,
    }
}

/// A client that resets its stream drops the future that waits for it.
#[tokio::test(start_paused = true)]
async fn a_poll_that_is_dropped_leaves_no_trace() {
    let context = context();
    let channel = channel(&context);
    let request = PollRequest {
        is_lent: false,
        channel: channel.clone(),
        shape: PollShape {
            sequence: 0,
            cursor: None,
            publisher: None,
            allow_origin: None,
        },
        caller: Caller::Anybody,
        wait_ms: 20_000,
        keep_alive: true,
    };
    {
        let mut waits = Box::pin(wait(&context, &request, counted(&context)));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        assert!(channel.lock().is_watched());
        assert_eq!(context.shared.census.lines(), 1);
    }
    assert!(!channel.lock().is_watched());
    assert_eq!(context.shared.census.lines(), 0);
}

/// Who takes nothing is cut, as on a socket of its own.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_is_cut() {
    let context = context();
    let channel = channel(&context);
    append(&channel, 1_000_000);
    let framing = Framing::Ndjson(Transfer::Bare);
    let stall = Duration::from_millis(context.shared.live.config.limits.write_stall_ms);
    let mut stream = EntryStream::open(
        context.clone(),
        entries(&channel, framing),
        Bytes::new(),
        counted(&context),
    );
    // A slow reader takes a piece now and then; it may take as long as it likes for all of them.
    let mut taken = 0;
    for _ in 0..10 {
        tokio::time::sleep(stall - Duration::from_secs(1)).await;
        let bytes = std::future::poll_fn(|cx| stream.poll_bytes(cx)).await;
        taken += bytes.expect("it goes on").len();
    }
    assert!(taken < 1_000_000, "a large entry comes in pieces");
    assert_eq!(context.shared.census.lines(), 1);
    tokio::time::sleep(stall + Duration::from_secs(1)).await;
    assert_eq!(context.shared.census.lines(), 0);
    assert!(!channel.lock().is_watched());
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_ends_a_websocket_says_so_in_its_close_code() {
    let context = context();
    let channel = channel(&context);
    for _ in 0..10 {
        append(&channel, 1);
    }
    let raw = Framing::Raw { window: None };
    for (framing, fail_on_gap, close) in [(raw, false, true), (raw, true, true)] {
        let mut entries = entries(&channel, framing);
        entries.fail_on_gap = fail_on_gap;
        let step = Reader::new(entries).step(&context.shared.metrics);
        match step {
            Step::End(bytes) => {
                assert!(close, "{framing:?} {fail_on_gap}");
                assert_eq!(bytes[0], 0x88, "{framing:?} {fail_on_gap}");
                assert_eq!(bytes[2..4], 4410u16.to_be_bytes());
            }
            Step::Bytes(bytes) => {
                assert!(!close, "{framing:?} {fail_on_gap}");
                assert_eq!(bytes[0], 0x81);
            }
            Step::CaughtUp => panic!("entries are gone"),
        }
    }
}

/// The order to stop comes together with an entry; which of them a task hears of first is chance.
#[tokio::test(start_paused = true)]
async fn what_was_published_is_sent_before_the_goodbye() {
    for round in 0..30 {
        let (stop, context) = with_stop();
        let channel = channel(&context);
        let entries = entries(&channel, Framing::Ndjson(Transfer::Bare));
        let counted = counted(&context);
        let mut stream = EntryStream::open(context, entries, Bytes::new(), counted);
        tokio::task::yield_now().await;
        append(&channel, 5);
        stop.stop();
        let mut all = Vec::new();
        while let Some(bytes) = std::future::poll_fn(|cx| stream.poll_bytes(cx)).await {
            all.extend_from_slice(&bytes);
        }
        let all = String::from_utf8(all).unwrap();
        assert!(
            all.contains("\"data\":\"xxxxx\"}\n{\"drain\":"),
            "round {round}: {all}"
        );
    }
}

/// Nothing of what there still is follows the end of the right to it.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_credential_that_opened_it() {
    let context = context();
    let channel = channel(&context);
    let mut entries = entries(&channel, Framing::Ndjson(Transfer::Bare));
    entries.caller = Caller::known(Known {
        proof: Proof::KeyServer,
        who: Who::Server(String::new()),
        grants: Vec::new(),
        can: Vec::new(),
        ends_ms: Some(clock::unix_ms() + 60_000),
    });
    let counted = counted(&context);
    let mut stream = EntryStream::open(context.clone(), entries, Bytes::new(), counted);
    append(&channel, 5);
    let first = std::future::poll_fn(|cx| stream.poll_bytes(cx)).await;
    assert!(first.is_some());
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(context.shared.census.lines(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    append(&channel, 6);
    let mut rest = Vec::new();
    while let Some(bytes) = std::future::poll_fn(|cx| stream.poll_bytes(cx)).await {
        rest.extend_from_slice(&bytes);
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(!rest.contains("xxxxxx"), "{rest}");
    assert_eq!(context.shared.census.lines(), 0);
}
