//! Headers of the PROXY protocol: no input panics, what is found stays so whatever follows, and no more is asked for
//! than the longest header has.
#![no_main]

use everwire_server::proxy::protocol::{HEADER_BYTES_MAX, Parsed, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let known = (0..=bytes.len()).find_map(|end| match parse(&bytes[..end]) {
        Ok(Parsed::Incomplete) => None,
        known => Some((end, known)),
    });
    match known {
        None => assert!(bytes.len() < HEADER_BYTES_MAX),
        Some((end, known)) => {
            assert_eq!(known, whole);
            if let Ok(Parsed::Header { length, .. }) = known {
                assert_eq!(length, end, "the header's last byte tells that it is whole");
            }
        }
    }
});
