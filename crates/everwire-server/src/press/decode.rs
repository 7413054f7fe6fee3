//! Content taken out of a coding, a step at a time, into memory that is there already: whoever decodes decides before each
//! step whether there may be more.

use std::io::{self, BufRead, Read};

use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, enc::StandardAlloc};
use bytes::{Buf, Bytes};
use flate2::bufread::GzDecoder;

use super::Coding;

/// A decoder, and the coded content that it has not taken yet.
pub(super) struct Decoder(Kind);

enum Kind {
    Brotli {
        state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
        coded: Bytes,
        /// Bytes that came of it so far, which the library counts.
        total: usize,
    },
    Gzip {
        /// The member that is being read. `gzip` holds one or several, one after the other (RFC 1952, section 2.2).
        member: Box<GzDecoder<Ration>>,
        members: usize,
    },
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do, perhaps with more memory.
    More,
    /// This was all.
    Done,
}

/// Why a content cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// It ends before its coding does.
    #[error("it ends too early")]
    Truncated,
    /// It is not what its coding says, or something follows it.
    #[error("it is damaged, or something follows it")]
    Corrupt,
    /// It is cut into more pieces than anybody needs, each of which costs a new decoder.
    #[error("it has more than {MEMBERS_MAX} members")]
    TooManyMembers,
}

/// Coded bytes that are taken in one step at most, since there may be much to do for a few of them, of which nothing comes.
const STEP_CODED_BYTES: usize = 16 * 1024;

/// Bytes that come of one step at most.
const STEP_BYTES: usize = 64 * 1024;

/// Members of a gzip content at most. Tools that write in blocks need one for each 64 KiB.
const MEMBERS_MAX: usize = 1024;

/// What a decoder of gzip holds: its window and its tables.
const GZIP_BYTES: usize = 64 * 1024;

/// What one of brotli holds besides its window: tables, of which an evil content can have ten times more.
const BROTLI_BYTES: usize = 256 * 1024;

impl Decoder {
    /// Begins with a coded content.
    pub fn new(coding: Coding, coded: Bytes) -> Self {
        Self(match coding {
            Coding::Brotli => Kind::Brotli {
                // Windows of more than 16 MiB are no part of `br` (RFC 7932, section 9.1).
                state: Box::new(BrotliState::new_strict(
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                )),
                coded,
                total: 0,
            },
            Coding::Gzip => Kind::Gzip {
                member: Box::new(GzDecoder::new(Ration { coded, left: 0 })),
                members: 1,
            },
        })
    }

    /// Bytes of memory that decoding this content takes besides what comes of it, as its first byte tells.
    pub fn own_bytes(coding: Coding, coded: &[u8]) -> usize {
        match coding {
            Coding::Gzip => GZIP_BYTES,
            Coding::Brotli => {
                BROTLI_BYTES + (1 << window_bits(coded.first().copied().unwrap_or(0)))
            }
        }
    }

    /// Adds some of the content to `out`, no more than that has room for.
    ///
    /// # Errors
    ///
    /// The content is not in the coding that it should be in.
    pub fn step(&mut self, out: &mut Vec<u8>) -> Result<Step, Broken> {
        let room = (out.capacity() - out.len()).min(STEP_BYTES);
        let begins = out.len();
        out.resize(begins + room, 0);
        let stepped = match &mut self.0 {
            Kind::Brotli {
                state,
                coded,
                total,
            } => step_brotli(state, coded, total, &mut out[begins..]),
            Kind::Gzip { member, members } => step_gzip(member, members, &mut out[begins..]),
        };
        let added = stepped.as_ref().map_or(0, |(added, _)| *added);
        out.truncate(begins + added);
        stepped.map(|(_, step)| step)
    }
}

fn step_brotli(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    coded: &mut Bytes,
    total: &mut usize,
    out: &mut [u8],
) -> Result<(usize, Step), Broken> {
    let (mut taken, mut added) = (0, 0);
    let mut left = coded.len().min(STEP_CODED_BYTES);
    let mut room = out.len();
    let result = BrotliDecompressStream(
        &mut left, &mut taken, coded, &mut room, &mut added, out, total, state,
    );
    coded.advance(taken);
    match result {
        BrotliResult::ResultSuccess if coded.is_empty() => Ok((added, Step::Done)),
        BrotliResult::ResultSuccess | BrotliResult::ResultFailure => Err(Broken::Corrupt),
        BrotliResult::NeedsMoreInput if coded.is_empty() => Err(Broken::Truncated),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok((added, Step::More)),
    }
}

fn step_gzip(
    member: &mut GzDecoder<Ration>,
    members: &mut usize,
    out: &mut [u8],
) -> Result<(usize, Step), Broken> {
    if out.is_empty() {
        return Ok((0, Step::More)); // else nothing read would look like the end
    }
    member.get_mut().left = STEP_CODED_BYTES;
    match member.read(out) {
        Ok(0) if member.get_ref().coded.is_empty() => Ok((0, Step::Done)),
        Ok(0) if *members >= MEMBERS_MAX => Err(Broken::TooManyMembers),
        Ok(0) => {
            let coded = member.get_ref().coded.clone();
            *member = GzDecoder::new(Ration { coded, left: 0 });
            *members += 1;
            Ok((0, Step::More))
        }
        Ok(added) => Ok((added, Step::More)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Ok((0, Step::More)),
            io::ErrorKind::UnexpectedEof => Err(Broken::Truncated),
            _ => Err(Broken::Corrupt),
        },
    }
}

/// The base-two logarithm of a brotli stream's window, from the bits that it begins with (RFC 7932, section 9.1). Of one
/// that is none, the least.
fn window_bits(first: u8) -> u32 {
    let (is_stated, few, many) = (first & 1, first >> 1 & 0b111, first >> 4 & 0b111);
    match (is_stated, few, many) {
        (0, ..) => 16,
        (_, 1.., _) => 17 + u32::from(few),
        (_, _, 0) => 17,
        (_, _, 1) => 10, // reserved, and refused by the decoder
        (_, _, many) => 8 + u32::from(many),
    }
}

/// Coded bytes, of which a decoder gets so many at a time. When it has had them it is told that more will come.
struct Ration {
    coded: Bytes,
    left: usize,
}

impl Read for Ration {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let some = self.fill_buf()?;
        let count = some.len().min(into.len());
        into[..count].copy_from_slice(&some[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Ration {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match (self.coded.is_empty(), self.left) {
            (true, _) => Ok(&[]),
            (false, 0) => Err(io::ErrorKind::WouldBlock.into()),
            (false, left) => Ok(&self.coded[..left.min(self.coded.len())]),
        }
    }

    fn consume(&mut self, count: usize) {
        self.coded.advance(count);
        self.left -= count;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn coded(coding: Coding, content: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => {
                let mut coder = GzEncoder::new(Vec::new(), Compression::best());
                coder.write_all(content).unwrap();
                coder.finish().unwrap()
            }
            Coding::Brotli => {
                let mut coder = brotli::CompressorWriter::new(Vec::new(), 4096, 9, 22);
                coder.write_all(content).unwrap();
                coder.into_inner()
            }
        }
    }

    /// What comes of a content, where there is room for so many bytes more each time; and the steps that it took.
    fn decode(coding: Coding, coded: &[u8], room: usize) -> Result<(Vec<u8>, usize), Broken> {
        let mut decoder = Decoder::new(coding, Bytes::copy_from_slice(coded));
        let (mut out, mut steps) = (Vec::new(), 0);
        loop {
            out.reserve_exact(room);
            let before = out.len();
            let step = decoder.step(&mut out)?;
            steps += 1;
            assert!(out.len() - before <= STEP_BYTES);
            if step == Step::Done {
                return Ok((out, steps));
            }
        }
    }

    #[test]
    fn a_content_is_whole_or_it_is_broken() {
        let content = b"{\"text\":\"hello, hello, hello\"}".repeat(40);
        for coding in Coding::ALL {
            let whole = coded(coding, &content);
            for room in [1, 7, 1_000, 1_000_000] {
                assert_eq!(
                    decode(coding, &whole, room).unwrap().0,
                    content,
                    "{coding:?}"
                );
            }
            for end in 0..whole.len() {
                let found = decode(coding, &whole[..end], 1_000);
                assert_eq!(
                    found,
                    Err(Broken::Truncated),
                    "{coding:?}, {end} bytes of it"
                );
            }
            let followed = [&whole[..], b"x"].concat();
            assert!(
                decode(coding, &followed, 1_000).is_err(),
                "{coding:?}: something follows"
            );
            assert!(
                decode(coding, b"hello, hello", 1_000).is_err(),
                "{coding:?}"
            );
        }
        let mut flipped = coded(Coding::Gzip, &content);
        let sum = flipped.len() - 8;
        flipped[sum] ^= 1;
        assert_eq!(
            decode(Coding::Gzip, &flipped, 1_000),
            Err(Broken::Corrupt),
            "another checksum"
        );
    }

    #[test]
    fn a_bomb_comes_out_in_steps() {
        let zeros = vec![0; 4 << 20];
        for coding in Coding::ALL {
            let (out, steps) = decode(coding, &coded(coding, &zeros), 1 << 20).unwrap();
            assert_eq!(out.len(), zeros.len());
            assert!(
                steps >= zeros.len() / STEP_BYTES,
                "{coding:?}: {steps} steps"
            );
        }
    }

    #[test]
    fn gzip_has_as_many_members_as_may_be() {
        let member = coded(Coding::Gzip, b"ab");
        let two = [&member[..], &member[..]].concat();
        assert_eq!(decode(Coding::Gzip, &two, 1_000).unwrap().0, b"abab");
        let most = member.repeat(MEMBERS_MAX);
        assert_eq!(
            decode(Coding::Gzip, &most, 1_000).unwrap().0.len(),
            2 * MEMBERS_MAX
        );
        let more = member.repeat(MEMBERS_MAX + 1);
        assert_eq!(
            decode(Coding::Gzip, &more, 1_000),
            Err(Broken::TooManyMembers)
        );
    }

    /// Of blocks that hold nothing, as many may come as a content has bytes.
    #[test]
    fn what_says_nothing_is_taken_in_steps_too() {
        let mut coded = coded(Coding::Gzip, b"");
        let empty_blocks = [0, 0, 0, 0xff, 0xff].repeat(100_000);
        coded.splice(10..10, empty_blocks);
        let (out, steps) = decode(Coding::Gzip, &coded, 1_000).unwrap();
        assert_eq!(out, b"");
        assert!(steps > coded.len() / STEP_CODED_BYTES, "{steps} steps");
    }

    #[test]
    fn a_window_is_as_large_as_the_stream_says() {
        for bits in 10..=24 {
            let mut coder = brotli::CompressorWriter::new(Vec::new(), 4096, 9, bits);
            coder.write_all(&vec![7; 100_000]).unwrap();
            let coded = coder.into_inner();
            assert!(
                window_bits(coded[0]) >= bits.min(17),
                "{bits}: {:08b}",
                coded[0]
            );
            assert!(
                window_bits(coded[0]) <= bits.max(18),
                "{bits}: {:08b}",
                coded[0]
            );
        }
        // RFC 7932, section 9.1: all that there are.
        for (first, bits) in [
            (0b0000_0000, 16),
            (0b0000_0001, 17),
            (0b0000_0011, 18),
            (0b0000_0101, 19),
            (0b0000_0111, 20),
            (0b0000_1001, 21),
            (0b0000_1011, 22),
            (0b0000_1101, 23),
            (0b0000_1111, 24),
            (0b0010_0001, 10),
            (0b0011_0001, 11),
            (0b0100_0001, 12),
            (0b0101_0001, 13),
            (0b0110_0001, 14),
            (0b0111_0001, 15),
        ] {
            assert_eq!(window_bits(first), bits, "{first:08b}");
        }
        let large_window = [0x11, 0x1e, 0, 0, 0, 0];
        assert_eq!(
            decode(Coding::Brotli, &large_window, 1_000),
            Err(Broken::Corrupt)
        );
    }

    proptest! {
        /// Whatever a stranger sends: it ends, and takes no more memory than was given.
        #[test]
        fn anything_is_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), room in 1_usize..2_000) {
            for (coding, begins) in [(Coding::Brotli, &b""[..]), (Coding::Gzip, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0])] {
                let _ = decode(coding, &[begins, &bytes[..]].concat(), room);
            }
        }
    }
}
