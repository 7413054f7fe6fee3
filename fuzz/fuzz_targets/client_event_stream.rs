//! What a server sends as an event stream: no bytes panic, and it is read alike however it is cut.
#![no_main]

use everwire_client::fuzz::event_stream;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (kind, cut, bytes) = input;
    let (head, tail) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let whole = event_stream(kind, &[bytes]);
    assert_eq!(event_stream(kind, &[head, tail]), whole);
    let single: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(event_stream(kind, &single), whole);
});
