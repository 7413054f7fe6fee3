//! What a server sends as a stream of JSON objects: no bytes panic, and it is read alike however it is cut.
#![no_main]

use everwire_client::fuzz::ndjson;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let (head, tail) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let whole = ndjson(&[bytes]);
    assert_eq!(ndjson(&[head, tail]), whole);
    let single: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(ndjson(&single), whole);
});
