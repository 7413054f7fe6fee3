//! What a server or a proxy answers with an error, and pages of polls: no bytes panic, and they are read alike however
//! they are cut.
#![no_main]

use everwire_client::fuzz::{page, problem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u16, &[u8], &[u8])| {
    let (status, cut, field, body) = input;
    let (head, tail) = body.split_at(usize::from(cut).min(body.len()));
    assert_eq!(
        problem(status, field, &[head, tail]),
        problem(status, field, &[body])
    );
    assert_eq!(page(field, &[head, tail]), page(field, &[body]));
});
