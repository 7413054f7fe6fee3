//! Streams of HTTP/2 that were reset for what their client did wrong, as the frames tell that are sent.
//!
//! ```text
//!  RST_STREAM:  length 4 · type 3 · flags · stream · error code
//!               └──────────── 9 bytes ────────────┘ └─ 4 bytes ─┘
//! ```
//!
//! Who has streams reset has work begun that it does not wait for (CVE-2025-8671), so a flood ends its connection. The
//! library counts them too, for as long as the connection lives: one between a proxy and this server lives for weeks,
//! and was ended at last for one wrong length a day, with the streams of everybody on it. So here they have a rate.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// Streams that may be reset for their client's errors at once.
pub(super) const BURST: u32 = 256;

/// After so long one more may be.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection whose streams' errors are counted.
pub(super) struct Counted<S> {
    inner: S,
    frames: Frames,
    allowance: Allowance,
    /// Told once there are too many.
    too_many: Arc<Notify>,
}

/// Where the frames begin that are sent.
#[derive(Debug)]
enum Frames {
    /// In a frame's header, or an error code behind it.
    Head { bytes: [u8; 13], filled: usize },
    /// So many bytes before the next.
    Content(usize),
}

/// How many more errors there may be.
#[derive(Debug, Default)]
struct Allowance {
    /// When those so far would have been spread over time.
    used_until: Option<Instant>,
}

const RST_STREAM: u8 = 0x3;

/// What a stream is reset with when its client made the error (RFC 9113, section 7). `NO_ERROR`, `CANCEL` and
/// `INTERNAL_ERROR` are ours: an answer before the whole content has come, or a line that was cut.
const ERRORS: [u32; 6] = [
    0x1, // PROTOCOL_ERROR
    0x3, // FLOW_CONTROL_ERROR
    0x5, // STREAM_CLOSED
    0x6, // FRAME_SIZE_ERROR
    0x7, // REFUSED_STREAM
    0xb, // ENHANCE_YOUR_CALM
];

impl<S> Counted<S> {
    /// Counts from a connection's first byte on.
    pub fn new(inner: S, too_many: Arc<Notify>) -> Self {
        Self {
            inner,
            frames: Frames::default(),
            allowance: Allowance::default(),
            too_many,
        }
    }

    fn sent(&mut self, bytes: &[u8]) {
        let errors = self.frames.errors_in(bytes);
        if errors > 0 && !self.allowance.admits(errors, Instant::now()) {
            self.too_many.notify_one();
        }
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::Head {
            bytes: [0; 13],
            filled: 0,
        }
    }
}

impl Frames {
    /// How many streams are reset by what is sent now for their client's errors.
    fn errors_in(&mut self, mut sent: &[u8]) -> u32 {
        let mut errors = 0;
        while !sent.is_empty() {
            match self {
                Self::Content(left) => {
                    let passed = sent.len().min(*left);
                    *left -= passed;
                    sent = &sent[passed..];
                    if *left == 0 {
                        *self = Self::default();
                    }
                }
                Self::Head { bytes, filled } => {
                    let is_reset = *filled >= 9 && bytes[3] == RST_STREAM;
                    let wanted = if is_reset { 13 } else { 9 };
                    let passed = sent.len().min(wanted - *filled);
                    bytes[*filled..*filled + passed].copy_from_slice(&sent[..passed]);
                    *filled += passed;
                    sent = &sent[passed..];
                    match *filled {
                        9 if bytes[3] != RST_STREAM => {
                            let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
                            *self = match length {
                                0 => Self::default(),
                                length => Self::Content(length as usize),
                            };
                        }
                        13 => {
                            let code = [bytes[9], bytes[10], bytes[11], bytes[12]];
                            errors += u32::from(ERRORS.contains(&u32::from_be_bytes(code)));
                            *self = Self::default();
                        }
                        _ => {}
                    }
                }
            }
        }
        errors
    }
}

impl Allowance {
    /// Whether there may be so many more now.
    fn admits(&mut self, errors: u32, now: Instant) -> bool {
        let from = self.used_until.map_or(now, |until| until.max(now));
        let until = from + PAUSE * errors;
        self.used_until = Some(until);
        until.duration_since(now) <= PAUSE * BURST
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(mut count)) = written {
            for slice in slices {
                let part = &slice[..slice.len().min(count)];
                self.sent(part);
                count -= part.len();
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], content].concat()
    }

    #[test]
    fn resets_for_a_clients_errors_are_found_among_frames_in_pieces_of_any_size() {
        let reset = |code: u8| frame(RST_STREAM, &[0, 0, 0, code]);
        // What looks like a frame inside of another is its content.
        let data = frame(0x0, &[reset(1), reset(1)].concat());
        let all = [
            frame(0x4, &[]),
            reset(0x1),
            data,
            reset(0x0),
            reset(0x8),
            reset(0x2),
            frame(0x6, &[3; 8]),
            reset(0x7),
            frame(0x0, &[]),
            reset(0x3),
            frame(0x7, &[0; 8]),
        ]
        .concat();
        for piece in 1..=all.len() {
            let mut frames = Frames::default();
            let errors: u32 = all.chunks(piece).map(|part| frames.errors_in(part)).sum();
            assert_eq!(errors, 3, "by {piece}");
        }
    }

    /// A connection that lives for weeks is not ended for errors that are rare, and a flood ends any.
    #[test]
    fn errors_have_a_rate_and_no_number() {
        let start = Instant::now();
        let hour = Duration::from_secs(3600);
        let mut rare = Allowance::default();
        assert!((0..10_000).all(|n| rare.admits(1, start + hour * n)));
        let mut steady = Allowance::default();
        assert!((0..100_000).all(|n| steady.admits(1, start + PAUSE * n)));
        // Bursts, as of a proxy whose client comes back again and again.
        let mut bursts = Allowance::default();
        assert!((0..1_000).all(|n| bursts.admits(BURST, start + hour * n)));
        let mut flood = Allowance::default();
        assert!((0..BURST).all(|_| flood.admits(1, start)));
        assert!(!flood.admits(1, start));
        let mut twice = Allowance::default();
        let too_many = (0..10_000).find(|n| !twice.admits(1, start + PAUSE * *n / 2));
        assert_eq!(too_many, Some(511), "at twice the rate");
    }
}
