//! What a server says in a session: no message panics.
#![no_main]

use everwire_client::fuzz::session_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    session_message(text);
});
