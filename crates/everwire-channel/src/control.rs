//! Control characters, which no name and no label has: C0 and DEL, one byte each, and C1, two.

/// Where the first control character starts, in bytes.
pub(crate) fn first_control(text: &str) -> Option<usize> {
    // Nearly every text is printable ASCII, and looking at all of it without a branch is cheapest.
    let is_printable_ascii = text
        .bytes()
        .fold(true, |so_far, byte| so_far & matches!(byte, b' '..=b'~'));
    if is_printable_ascii {
        return None;
    }
    let (position, _) = text.char_indices().find(|(_, c)| c.is_control())?;
    Some(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn c0_del_and_c1_are_control_characters() {
        for (text, position) in [
            ("", None),
            (" ~", None),
            ("é\u{a0}日", None),
            ("a\0", Some(1)),
            ("\u{1f}", Some(0)),
            ("é\x7f", Some(2)),
            ("\u{80}\u{9f}", Some(0)),
            ("ab\u{9f}", Some(2)),
        ] {
            assert_eq!(first_control(text), position, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_quick_look_finds_what_a_look_at_each_character_finds(text in "[ -~]{0,40}|.{0,20}|\\PC{0,20}") {
            prop_assert_eq!(first_control(&text), text.find(char::is_control));
        }
    }
}
