//! Content put into a coding, a slice at a time.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::Coding;

/// An encoder, and the content that it still has to take. Of the same content it always makes the same bytes, so that an
/// entity tag that is strong tells the truth.
pub(crate) struct Encoder {
    content: Bytes,
    coder: Coder,
}

enum Coder {
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

/// Content that is taken in one step: half a millisecond's work.
const SLICE_BYTES: usize = 32 * 1024;

/// Speed is what counts where a page is compressed for one reader. Of 1 MiB of JSON, 2 leaves 31 % in 11 ms and 6 leaves
/// 26 % in 47 ms; 1 is no faster than 2 and leaves 42 %.
const GZIP_LEVEL: u32 = 2;

/// The same for brotli: 1 leaves 29 % in 15 ms, 4 no less in 35 ms, 5 leaves 27 % in 79 ms.
const BROTLI_QUALITY: u32 = 1;

/// The base-two logarithm of brotli's window. A larger one gains nothing at this quality, and costs who decodes it.
const BROTLI_WINDOW: u32 = 18;

impl Encoder {
    /// Begins with a content.
    pub fn new(coding: Coding, content: Bytes) -> Self {
        let out = Vec::with_capacity(Self::bytes_max(content.len()));
        let coder = match coding {
            Coding::Brotli => Coder::Brotli(Box::new(brotli::CompressorWriter::new(
                out,
                4096,
                BROTLI_QUALITY,
                BROTLI_WINDOW,
            ))),
            Coding::Gzip => {
                let coder = GzEncoder::new(out, Compression::new(GZIP_LEVEL));
                Coder::Gzip(Box::new(coder))
            }
        };
        Self { content, coder }
    }

    /// Most bytes that come of so many: what cannot be compressed is stored, in blocks with a few bytes before each.
    pub fn bytes_max(bytes: usize) -> usize {
        bytes + bytes / 512 + 256
    }

    /// Whether there is more to do than one step.
    pub fn is_long(bytes: usize) -> bool {
        bytes > SLICE_BYTES / 2
    }

    /// Takes some of the content. True once it has all.
    pub fn step(&mut self) -> bool {
        let slice = self.content.split_to(self.content.len().min(SLICE_BYTES));
        let taken = match &mut self.coder {
            Coder::Brotli(coder) => coder.write_all(&slice),
            Coder::Gzip(coder) => coder.write_all(&slice),
        };
        taken.expect("memory takes what is written to it");
        self.content.is_empty()
    }

    /// Ends the coding, after the last step.
    pub fn finish(self) -> Vec<u8> {
        let mut coded = match self.coder {
            Coder::Brotli(coder) => coder.into_inner(),
            Coder::Gzip(coder) => coder.finish().expect("memory takes what is written to it"),
        };
        coded.shrink_to_fit();
        coded
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::decode::{Decoder, Step},
        *,
    };

    fn encode(coding: Coding, content: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(coding, Bytes::copy_from_slice(content));
        while !encoder.step() {}
        encoder.finish()
    }

    fn decode(coding: Coding, coded: Vec<u8>) -> Vec<u8> {
        let mut decoder = Decoder::new(coding, coded.into());
        let mut out = Vec::new();
        loop {
            out.reserve(1 + out.len() / 2);
            if decoder.step(&mut out).unwrap() == Step::Done {
                return out;
            }
        }
    }

    /// Content as pages have it: some of it again and again, some of it never again.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            (any::<u8>(), 0_usize..40_000).prop_map(|(byte, count)| vec![byte; count]),
            proptest::collection::vec(any::<u8>(), 0..2_000),
            (0_usize..3_000).prop_map(|count| b"{\"user\":\"ada\",\"n\":1},".repeat(count)),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_decoded_is_what_was_encoded(content in content()) {
            for coding in Coding::ALL {
                let coded = encode(coding, &content);
                prop_assert!(coded.len() <= Encoder::bytes_max(content.len()), "{} of {}", coded.len(), content.len());
                prop_assert_eq!(&encode(coding, &content), &coded, "the same each time");
                prop_assert_eq!(&decode(coding, coded), &content);
            }
        }
    }

    #[test]
    fn what_repeats_becomes_small_and_what_does_not_hardly_larger() {
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
            .take(300_000)
            .collect();
        let json = b"{\"user\":\"ada\",\"text\":\"hello\"},".repeat(10_000);
        for coding in Coding::ALL {
            assert!(encode(coding, &json).len() < json.len() / 50, "{coding:?}");
            let coded = encode(coding, &noise);
            assert!(
                coded.len() <= Encoder::bytes_max(noise.len()),
                "{coding:?}: {}",
                coded.len()
            );
            assert_eq!(decode(coding, coded), noise);
        }
    }
}
