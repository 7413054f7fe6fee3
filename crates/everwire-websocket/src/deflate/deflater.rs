//! Compression of messages (RFC 7692, section 7.2.1).

use bytes::BytesMut;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::{ContextTakeover, TAIL, WindowBits};

/// A compressor for the messages of one connection, or, with [`ContextTakeover::No`], of all
/// connections that negotiated its window or a larger one.
pub struct Deflater {
    stream: Compress,
    context: ContextTakeover,
}

/// How hard the compressor tries: 1, the fastest, to 9, the smallest output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// 1; for 1 kB of JSON it takes less than half the time of level 3 for a third more bytes.
    pub const FASTEST: Self = Self(1);

    /// `None` if `level` is not in 1–9.
    pub const fn new(level: u8) -> Option<Self> {
        match level {
            1..=9 => Some(Self(level)),
            _ => None,
        }
    }
}

impl Default for Level {
    /// [`Level::FASTEST`].
    fn default() -> Self {
        Self::FASTEST
    }
}

impl Deflater {
    /// Allocates a compressor: 190 kB for 9 bits, 320 kB for 15.
    pub fn new(window: WindowBits<9>, level: Level, context: ContextTakeover) -> Self {
        let level = Compression::new(u32::from(level.0));
        Self {
            stream: Compress::new_with_window_bits(level, false, window.bits()),
            context,
        }
    }

    /// Whether messages refer to those before them.
    pub fn context_takeover(&self) -> ContextTakeover {
        self.context
    }

    /// Appends `payload`, compressed, to `out`: the payload of a message with RSV1 set.
    ///
    /// With [`ContextTakeover::Yes`] the result must reach the peer, or its context differs from ours.
    pub fn compress(&mut self, payload: &[u8], out: &mut BytesMut) {
        if payload.is_empty() {
            // Section 7.2.3.6. The compressor would refuse to flush nothing twice.
            return out.extend_from_slice(&[0x00]);
        }
        if self.context == ContextTakeover::No {
            self.stream.reset();
        }
        let mut input = payload;
        loop {
            let start = out.len();
            // With room for more than a flush marker the compressor never writes a second one.
            let room = (input.len() / 2).clamp(ROOM_MIN, ROOM_MAX);
            out.resize(start + room, 0);
            let (read_before, made_before) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .compress(input, &mut out[start..], FlushCompress::Sync)
                .expect("a compressor fails only if misused");
            let read = (self.stream.total_in() - read_before) as usize;
            let made = (self.stream.total_out() - made_before) as usize;
            out.truncate(start + made);
            input = &input[read..];
            // A full buffer may hide more output; `BufError` says that there was none.
            if input.is_empty() && (made < room || status == Status::BufError) {
                break;
            }
        }
        assert!(out.ends_with(&TAIL), "a sync flush ends with its marker");
        out.truncate(out.len() - TAIL.len());
    }
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// Least and most output asked for at a time, in bytes.
const ROOM_MIN: usize = 256;
const ROOM_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    fn deflater(context: ContextTakeover) -> Deflater {
        Deflater::new(WindowBits::MAX, Level::default(), context)
    }

    fn compress(deflater: &mut Deflater, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        deflater.compress(payload, &mut out);
        out
    }

    /// Section 7.2.3.2: with takeover the second "Hello" is a reference to the first.
    #[test]
    fn only_a_kept_context_makes_a_repetition_shorter() {
        for (context, shorter) in [(ContextTakeover::No, false), (ContextTakeover::Yes, true)] {
            let mut deflater = deflater(context);
            let first = compress(&mut deflater, b"Hello");
            let second = compress(&mut deflater, b"Hello");
            assert_eq!(&first[..], b"\xf2\x48\xcd\xc9\xc9\x07\x00", "{context:?}");
            assert_eq!(second.len() < first.len(), shorter, "{context:?}");
        }
    }

    #[test]
    fn an_empty_message_is_one_byte_however_often() {
        let mut deflater = deflater(ContextTakeover::Yes);
        for _ in 0..3 {
            assert_eq!(&compress(&mut deflater, b"")[..], b"\x00");
        }
    }

    #[test]
    fn a_level_is_one_to_nine() {
        for level in 0..=255 {
            assert_eq!(
                Level::new(level).is_some(),
                (1..=9).contains(&level),
                "level {level}"
            );
        }
    }

    proptest! {
        /// The oracle is the library's decompressor, used directly, with the negotiated window.
        #[test]
        fn a_sequence_of_messages_inflates_elsewhere(
            payloads in proptest::collection::vec(
                prop_oneof![
                    "[a-f ]{0,3000}".prop_map(String::into_bytes),
                    proptest::collection::vec(any::<u8>(), 0..3000),
                ],
                1..6,
            ),
            window in 9u8..=15,
            level in 1u8..=9,
            kept: bool,
        ) {
            let context = if kept { ContextTakeover::Yes } else { ContextTakeover::No };
            let mut deflater =
                Deflater::new(WindowBits::new(window).unwrap(), Level::new(level).unwrap(), context);
            let mut oracle = Decompress::new_with_window_bits(false, window);
            for payload in payloads {
                let mut compressed = compress(&mut deflater, &payload);
                compressed.extend_from_slice(&TAIL);
                if !kept {
                    oracle.reset(false);
                }
                let before = oracle.total_out() as usize;
                let mut inflated = vec![0; payload.len() + 1];
                oracle.decompress(&compressed, &mut inflated, FlushDecompress::Sync).unwrap();
                inflated.truncate(oracle.total_out() as usize - before);
                prop_assert_eq!(inflated, payload);
            }
        }
    }
}
