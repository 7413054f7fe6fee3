//! Offsets: no input panics, and each token has one offset and each offset one token.
#![no_main]

use everwire_channel::{Offset, OffsetError, Start};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Offset>() {
        Ok(offset) => {
            assert_eq!(&*offset.to_token(), text);
            assert_eq!(text.parse(), Ok(Start::After(offset)));
        }
        Err(OffsetError::Byte { byte, position }) => assert_eq!(text.as_bytes()[position], byte),
        Err(OffsetError::Length { bytes }) => assert_eq!(text.len(), bytes),
    }
});
