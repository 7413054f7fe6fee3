//! The position after each entry, as readers are told it.

/// The offsets of channels that one source each publishes to.
#[derive(Debug, Default)]
pub struct Offsets {
    /// By source, then by number.
    after: Vec<Vec<Box<[u8]>>>,
}

impl Offsets {
    /// A reader was told that `offset` is the position after entry `number` of `source`, whose
    /// entries before it are known.
    ///
    /// # Errors
    /// What others were told, if it was something else.
    pub fn note(&mut self, source: usize, number: u64, offset: &[u8]) -> Result<(), &[u8]> {
        if self.after.len() <= source {
            self.after.resize_with(source + 1, Vec::new);
        }
        let after = &mut self.after[source];
        let number = number as usize;
        if number == after.len() {
            after.push(offset.into());
        }
        match &after[number] {
            known if **known == *offset => Ok(()),
            known => Err(known),
        }
    }

    /// The position after entry `number` of `source`, if any reader was told it.
    pub fn after(&self, source: usize, number: u64) -> Option<&str> {
        let offset = self.after.get(source)?.get(number as usize)?;
        str::from_utf8(offset).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_readers_are_told_the_same() {
        let mut offsets = Offsets::default();
        assert_eq!(offsets.note(1, 0, b"a"), Ok(()));
        assert_eq!(offsets.note(1, 0, b"a"), Ok(()));
        assert_eq!(offsets.note(1, 0, b"b"), Err(&b"a"[..]));
        assert_eq!(offsets.note(1, 1, b"b"), Ok(()));
        assert_eq!(offsets.after(1, 1), Some("b"));
        assert_eq!(offsets.after(1, 2), None);
        assert_eq!(offsets.after(0, 0), None);
    }
}
