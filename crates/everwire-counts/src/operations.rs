//! The operations that are counted: what a server does for each message, append and read.

use everwire_channel::{Epoch, Mark, Offset};

mod channel;
mod websocket;
mod wire;

/// Runs them all, in the order of the table.
pub fn run_all() {
    websocket::run();
    channel::run();
    wire::run();
}

/// A payload of 128 bytes as applications send it.
pub const JSON_128: &str = r#"{"type":"message","room":"lobby","from":"ada","seq":104729,"text":"Grüße! The tide is in, and so are all.","at":1790000000000}"#;

const _: () = assert!(JSON_128.len() == 128);

const NOW_MS: u64 = 1_790_000_000_000;

const OFFSET: Offset = Offset {
    epoch: Epoch(1_790_000_000_000),
    sequence: 104_729,
    mark: Mark(0xbeef_cafe),
};
