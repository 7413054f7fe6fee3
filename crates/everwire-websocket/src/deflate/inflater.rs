//! Decompression of messages (RFC 7692, section 7.2.2), never beyond a limit.

use flate2::{Decompress, FlushDecompress, Status};

use super::{ContextTakeover, TAIL};

/// What several connections share because each needs it only while it handles bytes: a decompressor
/// and a buffer for messages that come in pieces.
///
/// A shell keeps one per thread. Without it each compressed message would cost an allocation of
/// 42 kB. `Scratch::default()` allocates nothing until the first use.
#[derive(Debug, Default)]
pub struct Scratch {
    inflater: Option<Box<Inflater>>,
    content: Vec<u8>,
}

impl Scratch {
    pub(crate) fn take_inflater(&mut self) -> Box<Inflater> {
        self.inflater.take().unwrap_or_default()
    }

    /// Takes back a decompressor that stands at the start of a stream.
    pub(crate) fn give_inflater(&mut self, inflater: Box<Inflater>) {
        self.inflater = Some(inflater);
    }

    /// An empty buffer, often with capacity.
    pub(crate) fn take_content(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.content)
    }

    /// Takes back a buffer, unless one large message would make it stay large.
    pub(crate) fn give_content(&mut self, mut content: Vec<u8>) {
        if (self.content.capacity()..=CONTENT_BYTES_KEPT).contains(&content.capacity()) {
            content.clear();
            self.content = content;
        }
    }
}

/// A decompressor, at the start of a stream or inside one.
#[derive(Debug)]
pub(crate) struct Inflater {
    stream: Decompress,
    /// The last byte fed was the end of a final block, and the stream started anew.
    at_end: bool,
}

/// Why a message could not be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// This is no DEFLATE data, or it is cut short.
    Invalid,
    /// The output would be larger than allowed.
    TooBig,
}

impl Default for Inflater {
    fn default() -> Self {
        // The library allocates the largest window for every size asked, and a larger one than the
        // sender's reads all it can write.
        Self {
            stream: Decompress::new_with_window_bits(false, 15),
            at_end: false,
        }
    }
}

impl Inflater {
    /// What one takes on the heap, about: most of it is the window.
    pub(crate) const BYTES: usize = 42 * 1024;

    /// Inflates the next piece of a message to the end of `content`, which grows to `bytes_max` at
    /// most, and one more byte to learn that there is more. After an error `content` has what came
    /// before it.
    pub(crate) fn inflate(
        &mut self,
        input: &[u8],
        content: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), InflateError> {
        let mut len = content.len();
        let outcome = self.inflate_behind(&mut len, input, content, bytes_max);
        content.truncate(len);
        outcome
    }

    /// Inflates to `content` from `len` on, which moves with the output. What lies behind is room that
    /// was zeroed before: a peer that sends thousands of tiny blocks must not have it zeroed for each.
    fn inflate_behind(
        &mut self,
        len: &mut usize,
        mut input: &[u8],
        content: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), InflateError> {
        let mut output_waits = false;
        while !input.is_empty() || output_waits {
            if *len == content.len() {
                let room = input.len().saturating_mul(4).clamp(ROOM_MIN, ROOM_MAX);
                let room = room.min(bytes_max.saturating_sub(*len).saturating_add(1));
                content.resize(*len + room, 0);
            }
            let (read_before, made_before) = (self.stream.total_in(), self.stream.total_out());
            let room = &mut content[*len..];
            let status = self.stream.decompress(input, room, FlushDecompress::None);
            let read = (self.stream.total_in() - read_before) as usize;
            let made = (self.stream.total_out() - made_before) as usize;
            output_waits = made == room.len();
            *len += made;
            input = &input[read..];
            let status = status.map_err(|_| InflateError::Invalid)?;
            if *len > bytes_max {
                return Err(InflateError::TooBig);
            }
            self.at_end = status == Status::StreamEnd;
            if self.at_end {
                // A block with BFINAL set (section 7.2.3.4): the compressor started a new stream, and
                // so do we. No compressor can refer to what lies before it.
                self.stream.reset(false);
                output_waits = false;
            } else if read == 0 && made == 0 && !input.is_empty() {
                return Err(InflateError::Invalid);
            }
        }
        Ok(())
    }

    /// Ends the message whose pieces were fed to `content`: puts back the tail and makes sure that the
    /// data was not cut short. With [`ContextTakeover::No`] the next message may start a new stream.
    pub(crate) fn finish(
        &mut self,
        context: ContextTakeover,
        content: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), InflateError> {
        if self.at_end {
            // The sender forgot the empty block that follows a final one. Nothing is missing.
            return Ok(());
        }
        let len = content.len();
        self.inflate(&TAIL, content, bytes_max)?;
        if self.at_end {
            return Err(InflateError::Invalid);
        }
        if context == ContextTakeover::No {
            // Only between two blocks does an empty final one end the stream. With context takeover
            // the stream must live on, and cut data shows in the next message.
            self.inflate(&FINAL_BLOCK, content, bytes_max)?;
            if !self.at_end {
                return Err(InflateError::Invalid);
            }
        }
        if content.len() == len {
            Ok(())
        } else {
            Err(InflateError::Invalid)
        }
    }
}

/// An empty stored block with BFINAL set.
const FINAL_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// Least and most output asked for at a time, in bytes.
const ROOM_MIN: usize = 512;
const ROOM_MAX: usize = 64 * 1024;

/// Largest buffer that is kept between messages, in bytes.
const CONTENT_BYTES_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Inflates one message with a fresh decompressor.
    fn inflate(payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
        let (mut inflater, mut content) = (Inflater::default(), Vec::new());
        inflater.inflate(payload, &mut content, bytes_max)?;
        inflater.finish(ContextTakeover::No, &mut content, bytes_max)?;
        Ok(content)
    }

    /// RFC 7692, sections 7.2.3.1 to 7.2.3.6.
    #[test]
    fn the_examples_of_section_7_2_3_inflate() {
        let rows: [(&str, &[u8], &[u8]); 6] = [
            ("one block", b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
            (
                "no compression",
                b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
                b"Hello",
            ),
            ("BFINAL", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
            (
                "two blocks",
                b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
                b"Hello",
            ),
            ("empty", b"\x00", b""),
            ("empty, flushed twice", b"\x02\x00", b""),
        ];
        for (what, payload, expected) in rows {
            assert_eq!(inflate(payload, 5).as_deref(), Ok(expected), "{what}");
        }
    }

    #[test]
    fn a_kept_context_lets_a_message_refer_to_the_one_before() {
        let mut inflater = Inflater::default();
        for payload in [
            &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
            b"\xf2\x00\x11\x00\x00",
        ] {
            let mut content = Vec::new();
            inflater.inflate(payload, &mut content, 99).unwrap();
            inflater
                .finish(ContextTakeover::Yes, &mut content, 99)
                .unwrap();
            assert_eq!(content, b"Hello");
        }
    }

    #[test]
    fn a_final_block_may_lack_the_empty_block_after_it() {
        assert_eq!(
            inflate(b"\xf3\x48\xcd\xc9\xc9\x07\x00", 5).unwrap(),
            b"Hello"
        );
    }

    #[test]
    fn data_that_is_cut_short_is_told_from_a_shorter_message() {
        let payloads: [&[u8]; 2] = [
            b"\xf2\x48\xcd\xc9\xc9\x07\x00",
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        ];
        for payload in payloads {
            // One zero byte, the start of the second, is a whole message: an empty one.
            for len in 2..payload.len() {
                assert_eq!(
                    inflate(&payload[..len], 99),
                    Err(InflateError::Invalid),
                    "{len} bytes"
                );
            }
        }
    }

    #[test]
    fn a_buffer_is_kept_unless_it_grew_large() {
        let mut scratch = Scratch::default();
        scratch.give_content(Vec::with_capacity(CONTENT_BYTES_KEPT + 1));
        assert_eq!(scratch.take_content().capacity(), 0);
        scratch.give_content(vec![1, 2, 3]);
        let content = scratch.take_content();
        assert!(content.is_empty() && content.capacity() >= 3);
    }
}
