//! Documents of key servers: no input panics, and what is taken keeps the rules.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| everwire_server::auth::fuzz::read_jwks(document));
