//! Lines that are tasks, on a clock of their own.

use std::{future::Future, sync::Arc};

use everwire_channel::{Append, ContentType, Draft, Mark};
use everwire_wire::{Framing, Transfer};

use super::{entries::Step, *};
use crate::{
    config::Config,
    hub::{Channel, Hub, Occasion},
    metrics::Metrics,
    rate::Rate,
    shard::{Entries, PollShape, Shared},
    stop::{AllGone, Stop},
};

fn context() -> Context {
    let mut config = Config::default();
    config.channels.retain_entries = 3;
    let (_, alive) = AllGone::new();
    let (stop, stopping) = Stop::new();
    // The order to stop is never given.
    std::mem::forget(stop);
    Context {
        shared: Shared {
            hub: Arc::new(Hub::new(&config, Mark(7), 0)),
            census: Arc::new(Census::new(&config)),
            metrics: Arc::new(Metrics::new()),
            config: Arc::new(config),
        },
        rate: Arc::new(Rate::per_second(0)),
        stopping,
        _alive: alive,
    }
}

fn channel(context: &Context) -> Arc<Channel> {
    let name = "c".parse().unwrap();
    context.shared.hub.open(&name, Occasion::Append, 0).unwrap()
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
    let seat = census.enter([127, 0, 0, 1].into()).ok();
    Counted { census, seat }
}

fn entries(channel: &Arc<Channel>, framing: Framing) -> Entries {
    Entries {
        channel: channel.clone(),
        framing,
        sequence: 0,
        deflate: None,
        publish: false,
        fail_on_gap: false,
        cursor: None,
        lifetime_ms: None,
    }
}

/// A client that resets its stream drops the future that waits for it.
#[tokio::test(start_paused = true)]
async fn a_poll_that_is_dropped_leaves_no_trace() {
    let context = context();
    let channel = channel(&context);
    let request = PollRequest {
        channel: channel.clone(),
        shape: PollShape {
            sequence: 0,
            cursor: None,
            allow_origin: None,
        },
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
