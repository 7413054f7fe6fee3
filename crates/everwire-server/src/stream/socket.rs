//! A WebSocket over an HTTP/2 stream (RFC 8441).

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use everwire_channel::PublisherId;
use everwire_websocket::{
    Event, Inbound, MessageKind, Role, Rules, Scratch, encode_close, encode_compressed_message,
    encode_message, encode_pong,
};
use everwire_wire::{Deflaters, Framing, Problem};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::mpsc::{self, Sender},
    time::timeout,
};

use super::{Counted, entries::Reader};
use crate::{
    auth::{Caller, has_ended, not_taken},
    clock,
    config::Action,
    http::Context,
    hub::Channel,
    publish::{self, RawMessage},
    rate::Account,
    shard::{Publishing, Wire},
};

/// Serves one WebSocket until it ends.
pub(super) async fn serve(
    context: Context,
    upgrade: OnUpgrade,
    wire: Wire,
    opening: Bytes,
    counted: Counted,
    account: Account,
) {
    let _counted = counted;
    let Ok(upgraded) = upgrade.await else { return };
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    // One writer, so that frames of entries and replies never mix.
    let (sender, batches) = mpsc::channel(1);
    let stall = Duration::from_millis(context.shared.live.config.limits.write_stall_ms);
    let writer = tokio::spawn(write_batches(write, batches, stall));
    match wire {
        Wire::Entries(mut entries) => {
            let _attendance = entries.channel.attend();
            let inbound = Peer::Reader {
                channel: entries.channel.clone(),
                publisher: entries.publisher.clone(),
                ends_ms: entries.ends_ms(),
                publish: std::mem::replace(&mut entries.publish, Publishing::Never),
                caller: entries.caller.clone(),
                account,
            };
            let deflate = entries.deflate;
            let message_bytes_max = context.shared.live.config.limits.message_bytes_max;
            let rules = Rules {
                role: Role::Server,
                message_bytes_max,
                deflate,
            };
            let mut reader = Reader::new(entries);
            tokio::select! {
                () = reader.drive(&context, opening, &sender) => {}
                () = read_messages(context.clone(), read, &rules, inbound, &sender) => {}
            }
        }
        Wire::Echo { deflate } => {
            let message_bytes_max = context.shared.live.config.echo.message_bytes_max;
            let rules = Rules {
                role: Role::Server,
                message_bytes_max,
                deflate,
            };
            let echo = Peer::Echo(Deflaters::default());
            let stops = tokio::select! {
                () = read_messages(context.clone(), read, &rules, echo, &sender) => false,
                () = context.stopping.stopped() => true,
            };
            if stops {
                let after_ms = fastrand::u64(0..=context.shared.live.config.stop.reconnect_ms_max);
                let mut goodbye = BytesMut::new();
                Framing::Raw { window: None }.encode_drain(after_ms, &mut goodbye);
                let _ = sender.send(goodbye.freeze()).await;
            }
        }
        // A session is carried by `session.rs`.
        Wire::Ended | Wire::Poll(_) | Wire::Session(_) => {
            let _ = sender.send(opening).await;
        }
    }
    drop(sender);
    let _ = writer.await;
}

/// What the messages that come in are for.
enum Peer {
    Reader {
        channel: Arc<Channel>,
        publisher: Option<PublisherId>,
        publish: Publishing,
        /// When the right to it ends, in Unix milliseconds.
        ends_ms: Option<u64>,
        caller: Caller,
        account: Account,
    },
    Echo(Deflaters),
}

impl Peer {
    /// Whether the application judges its messages.
    fn is_judged(&self) -> bool {
        let Self::Reader { publish, .. } = self else {
            return false;
        };
        matches!(publish, Publishing::Asked(_))
    }

    /// Publishes a message if the application says so.
    async fn publish_if_allowed(
        &self,
        context: &Context,
        kind: MessageKind,
        payload: Bytes,
    ) -> Result<(), Problem> {
        let Self::Reader {
            channel,
            publisher: named,
            publish: Publishing::Asked(evidence),
            ends_ms,
            caller,
            account,
        } = self
        else {
            return Ok(());
        };
        let live = &context.shared.live;
        let caller = &(live.authority.renew(caller)).map_err(|error| not_taken(&error))?;
        let Some(desk) =
            (live.desk.as_ref()).filter(|_| live.rules.is_decided(Action::Publish, channel.name()))
        else {
            return Err(publish::may_not(channel.name())); // the rules are others now
        };
        let publisher = context.shared.publisher(*account, clock::unix_ms());
        publisher.admit()?;
        publisher.admit_to(channel.name())?;
        let message = RawMessage::of(channel, named.as_ref(), kind, payload)?;
        let question = message.question(desk.settings(), (evidence, caller), channel)?;
        let decision = desk.decide(question).await;
        let now_ms = clock::unix_ms();
        let message = message.replaced_by(&*decision.permission(now_ms)?)?;
        if ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms) {
            return Err(has_ended());
        }
        let publisher = context.shared.publisher(*account, now_ms);
        publisher.raw_message(channel, message)
    }
}

async fn write_batches(
    mut write: WriteHalf<TokioIo<Upgraded>>,
    mut batches: mpsc::Receiver<Bytes>,
    stall: Duration,
) {
    while let Some(batch) = batches.recv().await {
        if !write_whole(&mut write, batch, stall).await {
            return;
        }
    }
    let _ = timeout(stall, write.shutdown()).await;
}

/// Writes all of it. False if the peer is gone, or takes nothing for too long.
pub(super) async fn write_whole(
    write: &mut WriteHalf<TokioIo<Upgraded>>,
    mut bytes: Bytes,
    stall: Duration,
) -> bool {
    while bytes.has_remaining() {
        match timeout(stall, write.write_buf(&mut bytes)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return false,
        }
    }
    matches!(timeout(stall, write.flush()).await, Ok(Ok(())))
}

async fn read_messages(
    // With the configuration that holds when a message comes.
    mut context: Context,
    mut read: ReadHalf<TokioIo<Upgraded>>,
    rules: &Rules,
    mut peer: Peer,
    sender: &Sender<Bytes>,
) {
    let mut inbound = Inbound::new();
    let mut scratch = Scratch::default();
    let mut bytes = BytesMut::new();
    loop {
        bytes.clear();
        bytes.reserve(16 * 1024);
        match read.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let mut replies = BytesMut::new();
        let mut ends = false;
        let mut asked = Vec::new();
        let outcome =
            inbound.handle_bytes(rules, &mut scratch, &mut bytes, &mut |event| match event {
                Event::Message(kind, payload) if peer.is_judged() => {
                    asked.push((kind, Bytes::copy_from_slice(payload)));
                }
                Event::Message(kind, payload) if !ends => {
                    ends = on_message(&mut context, &mut peer, rules, kind, payload, &mut replies);
                }
                Event::Message(..) | Event::Pong(_) => {}
                Event::Ping(payload) => encode_pong(payload, &mut replies),
                Event::Close(close) => {
                    ends = true;
                    encode_close(close.map(|(code, _)| (code, "")), &mut replies);
                }
            });
        // One after the other, so that they keep their order; nothing is read meanwhile.
        if context.shared.live.is_outdated() {
            context.shared.live.refresh();
        }
        for (kind, payload) in asked {
            if let Err(problem) = peer.publish_if_allowed(&context, kind, payload).await {
                context.shared.metrics.line_refused(&problem);
                let code = problem.kind.close_code();
                replies.clear();
                encode_close(Some((code, &problem.detail)), &mut replies);
                let _ = sender.send(replies.freeze()).await;
                return;
            }
        }
        if let Err(failure) = outcome {
            context.shared.metrics.line_failed(failure.close_code());
            encode_close(
                Some((failure.close_code(), &failure.reason())),
                &mut replies,
            );
            ends = true;
        }
        if !replies.is_empty() && sender.send(replies.freeze()).await.is_err() {
            return;
        }
        if ends {
            return;
        }
    }
}

/// Answers one message. True if the line ends with it.
fn on_message(
    context: &mut Context,
    peer: &mut Peer,
    rules: &Rules,
    kind: MessageKind,
    payload: &[u8],
    replies: &mut BytesMut,
) -> bool {
    let outcome = match peer {
        Peer::Echo(deflaters) => {
            match rules
                .deflate
                .and_then(|deflate| deflate.outbound_window(Role::Server))
            {
                Some(window) => {
                    encode_compressed_message(kind, payload, deflaters.of(window), replies);
                }
                None => encode_message(kind, payload, replies),
            }
            Ok(())
        }
        Peer::Reader {
            channel,
            publisher: named,
            publish,
            ends_ms,
            caller,
            account,
        } => {
            if context.shared.live.is_outdated() {
                context.shared.live.refresh();
                let live = &context.shared.live;
                let caller = live.authority.renew(caller);
                let may_publish = caller.is_ok_and(|caller| {
                    caller.permits(&live.rules, Action::Publish, channel.name())
                });
                if !may_publish {
                    *publish = Publishing::Never;
                }
            }
            let now_ms = clock::unix_ms();
            let publisher = context.shared.publisher(*account, now_ms);
            let may_publish =
                publish.is_granted() && ends_ms.is_none_or(|ends_ms| now_ms < ends_ms);
            publish::line_message(
                &publisher,
                channel,
                named.as_ref(),
                may_publish,
                kind,
                payload,
            )
        }
    };
    match outcome {
        Ok(()) => false,
        Err(problem) => {
            let code = problem.kind.close_code();
            context.shared.metrics.line_refused(&problem);
            encode_close(Some((code, &problem.detail)), replies);
            true
        }
    }
}
