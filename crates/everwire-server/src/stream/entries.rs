//! A stream of entries as the body of a response.

use std::{
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use everwire_channel::Read;
use everwire_websocket::encode_close;
use everwire_wire::{Deflaters, Notice, Problem, Standing, StreamCursor, codes};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::{Instant, sleep_until},
};

use super::{Counted, right::Right};
use crate::{
    auth, clock,
    http::Context,
    metrics::Metrics,
    shard::{Entries, gap_reason, source_of},
};

/// Entries are read in batches of about so many encoded bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// The receiving end of a stream of entries. Its task is one batch ahead at most, so a slow reader falls
/// behind in the log.
pub(crate) struct EntryStream {
    batches: Receiver<Bytes>,
}

impl EntryStream {
    /// Starts a stream.
    pub fn open(context: Context, entries: Entries, opening: Bytes, counted: Counted) -> Self {
        let (sender, batches) = mpsc::channel(1);
        tokio::spawn(async move {
            let _counted = counted;
            let _attendance = entries.channel.attend();
            Reader::new(entries).drive(&context, opening, &sender).await;
        });
        Self { batches }
    }

    /// The next bytes of the body.
    pub fn poll_bytes(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Bytes>> {
        self.batches.poll_recv(cx)
    }
}

/// A cursor over a channel, driven by a task.
pub(super) struct Reader {
    entries: Entries,
    sequence: u64,
    deflaters: Deflaters,
    /// The reader was told once that it has all there is, or will be by an entry.
    told_up_to_date: bool,
}

/// What a look at the log gave.
pub(super) enum Step {
    /// These bytes, and perhaps more at once.
    Bytes(Bytes),
    /// Nothing new.
    CaughtUp,
    /// These bytes, and then the end.
    End(Bytes),
}

impl Reader {
    pub fn new(entries: Entries) -> Self {
        let sequence = entries.sequence;
        Self {
            entries,
            sequence,
            deflaters: Deflaters::default(),
            told_up_to_date: false,
        }
    }

    /// Sends bytes until the stream ends or nobody reads it any more.
    pub async fn drive(&mut self, context: &Context, opening: Bytes, sender: &Sender<Bytes>) {
        let config = &context.shared.live.config;
        let heartbeat = Duration::from_millis(config.http.heartbeat_ms);
        let lifetime =
            Duration::from_millis(self.entries.lifetime_ms.unwrap_or(u64::from(u32::MAX)));
        let mut lifetime = std::pin::pin!(tokio::time::sleep(lifetime));
        let caller = self.entries.caller.clone();
        let ends_ms = self.entries.ends_ms();
        let left_ms = ends_ms.map(|ends_ms| ends_ms.saturating_sub(clock::unix_ms()));
        let mut right = Right::new(
            context,
            &caller,
            &self.entries.channel,
            self.entries.is_lent,
        );
        let expires_at = left_ms.map(|left_ms| Instant::now() + Duration::from_millis(left_ms));
        let has_expired = || expires_at.is_some_and(|at| at <= Instant::now());
        let mut expiry = std::pin::pin!(async {
            match expires_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        });
        if !give(context, sender, opening).await {
            return;
        }
        let channel = self.entries.channel.clone();
        loop {
            // Enabled before the look: what changes after the look wakes it.
            let mut changed = std::pin::pin!(channel.changed());
            changed.as_mut().enable();
            if has_expired() {
                return self.expire(context, sender, &auth::has_ended()).await;
            }
            if let Err(problem) = right.check() {
                return self.expire(context, sender, &problem).await;
            }
            match self.step(&context.shared.metrics) {
                Step::Bytes(bytes) => {
                    if !give(context, sender, bytes).await {
                        return;
                    }
                    // A reader that is always behind has its time too.
                    if !lifetime.is_elapsed() && !context.stopping.is_stopping() {
                        continue;
                    }
                }
                Step::End(bytes) => {
                    give(context, sender, bytes).await;
                    return;
                }
                Step::CaughtUp => {}
            }
            let mut heartbeat_due = false;
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(heartbeat) => heartbeat_due = true,
                () = lifetime.as_mut() => {}
                () = expiry.as_mut() => continue,
                () = right.changed() => continue,
                () = context.stopping.stopped() => {}
                () = sender.closed() => return,
            }
            if lifetime.is_elapsed() || context.stopping.is_stopping() {
                return self.end(context, sender).await;
            }
            if heartbeat_due {
                let mut beat = BytesMut::new();
                self.entries.framing.encode_heartbeat(&mut beat);
                if !give(context, sender, beat.freeze()).await {
                    return;
                }
            }
        }
    }

    /// Ends a stream whose reader is not permitted any more, however much there still is for it.
    async fn expire(&self, context: &Context, sender: &Sender<Bytes>, problem: &Problem) {
        let mut goodbye = BytesMut::new();
        match self.entries.framing.is_websocket() {
            true => {
                let code = problem.kind.close_code();
                context.shared.metrics.line_failed(code);
                encode_close(Some((code, &problem.detail)), &mut goodbye);
            }
            false => self.entries.framing.encode_end(&mut goodbye),
        }
        give(context, sender, goodbye.freeze()).await;
    }

    /// Ends a stream that has lived its time, or whose server stops. Before that it gets what came in the same
    /// moment, a batch at most: one that is far behind reads on when it comes back.
    async fn end(&mut self, context: &Context, sender: &Sender<Bytes>) {
        match self.step(&context.shared.metrics) {
            Step::Bytes(bytes) => {
                if !give(context, sender, bytes).await {
                    return;
                }
            }
            Step::End(bytes) => {
                give(context, sender, bytes).await;
                return;
            }
            Step::CaughtUp => {}
        }
        let mut goodbye = BytesMut::new();
        let framing = self.entries.framing;
        if context.stopping.is_stopping() {
            let after_ms = fastrand::u64(0..=context.shared.live.config.stop.reconnect_ms_max);
            framing.encode_drain(after_ms, &mut goodbye);
        } else {
            framing.encode_end(&mut goodbye);
        }
        give(context, sender, goodbye.freeze()).await;
    }

    /// Looks at the log once.
    pub fn step(&mut self, metrics: &Metrics) -> Step {
        let Entries {
            channel,
            framing,
            fail_on_gap,
            cursor,
            publisher,
            ..
        } = &self.entries;
        let state = channel.lock();
        let log = state.core().log();
        let source = source_of(channel, &state);
        let mut out = BytesMut::new();
        match log.after(self.sequence) {
            Read::Entries(entries) => {
                let head = log.head_sequence();
                let cursor = StreamCursor::answer(clock::unix_ms(), *cursor, fastrand::u64(..));
                for (sequence, entry) in entries {
                    let offset = log.offset_of(sequence, entry);
                    let standing = Standing {
                        up_to_date: sequence == head,
                        cursor,
                    };
                    if publisher.is_none() || entry.publisher() != publisher.as_ref() {
                        framing.encode_entry(
                            &source,
                            &offset,
                            entry,
                            standing,
                            &mut self.deflaters,
                            &mut out,
                        );
                    }
                    self.sequence = sequence;
                    if out.len() >= BATCH_BYTES {
                        break;
                    }
                }
                self.told_up_to_date = true;
                Step::Bytes(out.freeze())
            }
            Read::Gap(gap) => {
                metrics.gap_told();
                if framing.is_websocket() && (*fail_on_gap || !framing.tells_gaps()) {
                    let reason = gap_reason(&gap);
                    encode_close(Some((codes::GAP, &reason)), &mut out);
                    metrics.line_failed(codes::GAP);
                    return Step::End(out.freeze());
                }
                framing.encode_notice(&source, Notice::Gap(&gap), &mut out);
                if *fail_on_gap || !framing.tells_gaps() {
                    return Step::End(out.freeze());
                }
                self.sequence = gap.oldest.sequence;
                Step::Bytes(out.freeze())
            }
            Read::CaughtUp if state.is_ended() => {
                framing.encode_notice(&source, Notice::Closed(&log.head()), &mut out);
                Step::End(out.freeze())
            }
            Read::CaughtUp if framing.tells_up_to_date() && !self.told_up_to_date => {
                self.told_up_to_date = true;
                let cursor = StreamCursor::answer(clock::unix_ms(), *cursor, fastrand::u64(..));
                framing.encode_notice(&source, Notice::UpToDate(&log.head(), cursor), &mut out);
                Step::Bytes(out.freeze())
            }
            Read::CaughtUp => Step::CaughtUp,
        }
    }
}

/// Hands bytes on piece by piece. False if their reader is gone or has taken nothing for too long.
async fn give(context: &Context, sender: &Sender<Bytes>, mut bytes: Bytes) -> bool {
    let stall = Duration::from_millis(context.shared.live.config.limits.write_stall_ms);
    while !bytes.is_empty() {
        // In pieces, so that whoever reads a large entry slowly is seen to read.
        let piece = bytes.split_to(bytes.len().min(BATCH_BYTES));
        match tokio::time::timeout(stall, sender.send(piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return false,
            Err(_) => {
                context.shared.metrics.line_stalled();
                return false;
            }
        }
    }
    true
}
