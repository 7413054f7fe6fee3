//! UTF-8 that arrives in pieces (RFC 6455, section 8.1).
//!
//! A text message is UTF-8 as a whole; a fragment or a read may end inside a character. The check
//! fails at the first byte that no continuation can mend, not at the end of the message.

/// Checks a text piece by piece; remembers only the unfinished character at the end of the last piece.
#[derive(Debug, Default)]
pub(crate) struct Utf8Check {
    /// The bytes of a character whose end has not arrived, in front; at most three.
    unfinished: [u8; 4],
    unfinished_len: u8,
}

/// The bytes seen so far are the start of no UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

impl Utf8Check {
    /// Takes the next piece of the text.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.unfinished_len > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            piece = rest;
            self.unfinished[usize::from(self.unfinished_len)] = byte;
            self.unfinished_len += 1;
            match std::str::from_utf8(&self.unfinished[..usize::from(self.unfinished_len)]) {
                Ok(_) => self.unfinished_len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8),
            }
        }
        let Err(error) = simdutf8::compat::from_utf8(piece) else {
            return Ok(());
        };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        let tail = &piece[error.valid_up_to()..];
        self.unfinished[..tail.len()].copy_from_slice(tail);
        self.unfinished_len = u8::try_from(tail.len()).expect("a character has at most 4 bytes");
        Ok(())
    }

    /// The text ends here: no character may be left unfinished.
    pub(crate) fn finish(&self) -> Result<(), NotUtf8> {
        match self.unfinished_len {
            0 => Ok(()),
            _ => Err(NotUtf8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Index of the first byte that makes `text` unmendable when it arrives byte by byte.
    fn first_bad_byte(text: &[u8]) -> Option<usize> {
        let mut check = Utf8Check::default();
        (0..text.len()).find(|&i| check.push(&text[i..=i]).is_err())
    }

    #[test]
    fn the_first_unmendable_byte_is_told_at_once() {
        let rows: [(&[u8], usize, &str); 11] = [
            (b"\x80", 0, "a continuation byte without a start"),
            (b"ab\xc0\xaf", 2, "an overlong slash: no text has c0"),
            (b"\xe0\x80\xaf", 1, "an overlong slash in three bytes"),
            (b"\xf0\x80\x80\xaf", 1, "an overlong slash in four bytes"),
            (b"\xed\xa0\x80", 1, "a surrogate"),
            (b"\xf4\x90\x80\x80", 1, "beyond U+10FFFF"),
            (b"\xf5\x80\x80\x80", 0, "beyond U+10FFFF by the first byte"),
            (b"\xff", 0, "never in UTF-8"),
            (b"\xc3a", 1, "a character cut short"),
            (b"\xe2\x82a", 2, "a character cut short by one byte"),
            (b"\xf0\x9f\x98\xc3", 3, "a new start inside a character"),
        ];
        for (text, bad, why) in rows {
            assert_eq!(first_bad_byte(text), Some(bad), "{why}: {text:02x?}");
        }
    }

    #[test]
    fn an_unfinished_character_is_an_error_only_at_the_end() {
        for text in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x98", b"\xf4\x8f"] {
            let mut check = Utf8Check::default();
            assert_eq!(check.push(text), Ok(()), "{text:02x?}");
            assert_eq!(check.finish(), Err(NotUtf8), "{text:02x?}");
        }
    }

    /// Bytes that are often nearly UTF-8.
    fn nearly_utf8() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(0x80u8),
            Just(0x8f),
            Just(0x90),
            Just(0x9f),
            Just(0xa0),
            Just(0xbf),
            Just(0xc2),
            Just(0xe0),
            Just(0xed),
            Just(0xef),
            Just(0xf0),
            Just(0xf4),
            Just(b'a'),
            any::<u8>(),
        ];
        prop_oneof![
            proptest::collection::vec(byte, 0..12),
            "\\PC{0,12}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn pieces_are_judged_as_the_whole(text in nearly_utf8(), cuts in proptest::collection::vec(0usize..48, 0..4)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut check = Utf8Check::default();
            let verdict = cuts
                .windows(2)
                .try_for_each(|cut| check.push(&text[cut[0]..cut[1]]))
                .and_then(|()| check.finish());
            prop_assert_eq!(verdict.is_ok(), std::str::from_utf8(&text).is_ok());
        }

        #[test]
        fn failing_fast_agrees_with_the_standard_library(text in nearly_utf8()) {
            let expected = (1..=text.len()).find(|&len| {
                matches!(std::str::from_utf8(&text[..len]), Err(error) if error.error_len().is_some())
            });
            prop_assert_eq!(first_bad_byte(&text).map(|index| index + 1), expected);
        }
    }
}
