//! What carries a line over HTTP/2, and the shard that the line lives on.

use std::{future::Future, pin::pin, task::Context as TaskContext};

use bytes::BytesMut;
use everwire_channel::{Append, ContentType, Draft, Mark};
use everwire_wire::{Framing, Transfer};

use super::*;
use crate::{
    answer::PollShape,
    auth::Caller,
    census::Stay,
    clock::Now,
    config::Config,
    hub::{Channel, Occasion},
    live::Live,
    shard::{Entries, Kernel, Mailbox, PIPE_BYTES_MAX, Publishing, Shard},
};

/// A server of one shard, which turns when it is told to.
struct World {
    carrier: Carrier,
    shard: Shard<Kernel>,
}

impl World {
    fn new() -> Self {
        let mailbox: Arc<Mailbox> = Arc::default();
        let now = Now::read();
        let live = Live::without_credentials(Config::default());
        let shared = Shared::new(live, Mark(7), vec![mailbox.clone()], now);
        let shard = Shard::new(shared.clone(), mailbox, Kernel::new().unwrap(), now);
        Self {
            carrier: Carrier { shared, busy: None },
            shard,
        }
    }

    fn channel(&self) -> Arc<Channel> {
        let name = "c".parse().unwrap();
        let rules = &self.carrier.shared.live.rules;
        (self.carrier.shared.hub)
            .open(rules, &name, (Occasion::Append, None), 0)
            .unwrap()
    }

    fn counted(&self) -> Counted {
        let here = [127, 0, 0, 1].into();
        let shared = &self.carrier.shared;
        let account = shared.rate.account(&Caller::Anybody, here);
        Counted {
            census: shared.census.clone(),
            seat: shared.enter(here, Stay::Open, account).ok(),
        }
    }

    fn turn(&mut self) {
        while self.shard.turn(Now::read(), true).unwrap() {}
    }

    /// The lines that the shard has, and those that are counted.
    fn lines(&self) -> (usize, usize) {
        let counted = self.carrier.shared.census.lines();
        (self.shard.len(), counted)
    }
}

fn append(channel: &Channel, size: usize) {
    let text = ContentType::text();
    let append = Append {
        entries: vec![Draft::from(Bytes::from(vec![b'x'; size]))],
        content_type: Some(&text),
        ..Append::default()
    };
    channel.append(append, None, 0).unwrap().unwrap();
}

fn poll(channel: &Arc<Channel>) -> PollRequest {
    let (nobody, _) = oneshot::channel();
    PollRequest {
        request_id: None,
        is_lent: false,
        channel: channel.clone(),
        shape: PollShape {
            sequence: 0,
            cursor: None,
            publisher: None,
            allow_origin: None,
        },
        account: crate::rate::Rate::default().account(&Caller::Anybody, [127, 0, 0, 1].into()),
        caller: Caller::Anybody,
        wait_ms: 20_000,
        answer_to: AnswerTo::Stream(nobody),
    }
}

/// A client that resets its stream drops the future that waits for it, whatever has become of its line by then.
#[tokio::test]
async fn a_poll_that_is_dropped_leaves_no_trace() {
    for turns_before in [true, false] {
        let mut world = World::new();
        let channel = world.channel();
        let carrier = world.carrier.clone();
        {
            let mut waits = Box::pin(carrier.wait(poll(&channel), world.counted()));
            let mut cx = TaskContext::from_waker(std::task::Waker::noop());
            assert!(waits.as_mut().poll(&mut cx).is_pending());
            if turns_before {
                world.turn();
                assert!(channel.lock().is_watched());
                assert_eq!(world.lines(), (1, 1));
            }
        }
        world.turn();
        assert!(!channel.lock().is_watched(), "{turns_before}");
        assert_eq!(world.lines(), (0, 0), "{turns_before}");
    }
}

#[tokio::test]
async fn polls_of_one_shape_share_the_content_of_their_answer() {
    let mut world = World::new();
    let channel = world.channel();
    let carrier = world.carrier.clone();
    let mut first = pin!(carrier.wait(poll(&channel), world.counted()));
    let mut second = pin!(carrier.wait(poll(&channel), world.counted()));
    let mut cx = TaskContext::from_waker(std::task::Waker::noop());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    world.turn();
    append(&channel, 10_000);
    world.turn();
    let (first, second) = (
        first.await.unwrap().into_body(),
        second.await.unwrap().into_body(),
    );
    assert_eq!(first.len(), 10_000);
    assert_eq!(first.as_ptr(), second.as_ptr());
    assert_eq!(world.lines(), (0, 0));
}

/// A reader that takes its stream's bytes now and then is sent a large entry whole; one that goes is gone.
#[tokio::test]
async fn a_stream_is_one_pipe_ahead_of_its_reader() {
    let mut world = World::new();
    let channel = world.channel();
    append(&channel, 1_000_000);
    let entries = Entries {
        channel: channel.clone(),
        framing: Framing::Ndjson(Transfer::Bare),
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
    };
    let carrier = world.carrier.clone();
    let opening = Bytes::from_static(b"{}\n");
    let mut stream = Piped::open(&carrier, opening, Wire::Entries(entries), world.counted());
    let mut cx = TaskContext::from_waker(std::task::Waker::noop());
    let mut all = BytesMut::new();
    while all.len() < 1_000_000 {
        assert!(stream.poll_bytes(&mut cx).is_pending());
        world.turn();
        match stream.poll_bytes(&mut cx) {
            std::task::Poll::Ready(Some(Ok(bytes))) => {
                assert!(bytes.len() <= PIPE_BYTES_MAX);
                all.extend_from_slice(&bytes);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(all.starts_with(b"{}\n{\"offset\":"));
    assert!(all.ends_with(b"xxx\"}\n"));
    assert_eq!(world.lines(), (1, 1));
    drop(stream);
    world.turn();
    assert_eq!(world.lines(), (0, 0));
    assert!(!channel.lock().is_watched());
}
