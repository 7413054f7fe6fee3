//! Client-to-server masking (RFC 6455, section 5.3).
//!
//! ```text
//!  key      a b c d
//!  payload  0 1 2 3 | 4 5 6 7 | 8 …        byte i is XORed with key[i mod 4]
//! ```
//!
//! Masking and unmasking are the same operation. It keeps proxies from being poisoned by payloads
//! that look like HTTP; it hides nothing.

/// The key that masks one frame; a client takes a fresh unpredictable one for each frame.
pub type MaskingKey = [u8; 4];

/// Masks or unmasks `bytes` in place, where the first of them stands `offset` bytes into the payload.
pub fn mask(key: MaskingKey, offset: usize, bytes: &mut [u8]) {
    let key = rotate(key, offset);
    let pattern = u64::from_ne_bytes([
        key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3],
    ]);
    let mask_word = |word: &mut [u8; 8]| {
        *word = (u64::from_ne_bytes(*word) ^ pattern).to_ne_bytes();
    };
    // Whole chunks of a constant size become vector instructions; the rest is at most 31 bytes.
    let (chunks, rest) = bytes.as_chunks_mut::<32>();
    for chunk in chunks {
        chunk.as_chunks_mut().0.iter_mut().for_each(mask_word);
    }
    let (words, rest) = rest.as_chunks_mut();
    words.iter_mut().for_each(mask_word);
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key as the byte `offset` bytes further on sees it: what unmasks the rest of a frame.
pub(crate) fn rotate(key: MaskingKey, offset: usize) -> MaskingKey {
    let bits = 8 * (offset % 4) as u32;
    u32::from_le_bytes(key).rotate_right(bits).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition of section 5.3, letter by letter.
    fn mask_as_the_rfc_says(key: MaskingKey, offset: usize, bytes: &mut [u8]) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte ^= key[(offset + i) % 4];
        }
    }

    #[test]
    fn the_example_of_section_5_7_unmasks() {
        let mut bytes = *b"\x7f\x9f\x4d\x51\x58";
        mask([0x37, 0xfa, 0x21, 0x3d], 0, &mut bytes);
        assert_eq!(&bytes, b"Hello");
    }

    proptest! {
        #[test]
        fn the_fast_way_equals_the_definition(
            key: MaskingKey,
            offset in 0usize..9,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            start in 0usize..9,
        ) {
            let start = start.min(payload.len());
            let (mut fast, mut plain) = (payload.clone(), payload);
            mask(key, offset, &mut fast[start..]);
            mask_as_the_rfc_says(key, offset, &mut plain[start..]);
            prop_assert_eq!(fast, plain);
        }

        #[test]
        fn masking_in_parts_equals_masking_at_once(
            key: MaskingKey,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0usize..200,
        ) {
            let cut = cut.min(payload.len());
            let (mut whole, mut parts) = (payload.clone(), payload);
            mask(key, 0, &mut whole);
            mask(key, 0, &mut parts[..cut]);
            mask(key, cut, &mut parts[cut..]);
            prop_assert_eq!(whole, parts);
        }
    }
}
