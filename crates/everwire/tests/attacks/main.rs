//! Attacks on the binary as it is shipped. Each row of each table is one; `SECURITY.md` tells which threat it belongs
//! to. After every one a bystander, who reads and publishes all the time, must not have noticed it.
//!
//! ```text
//!  attacker ── bytes ──▶ everwire serve ──▶ a refusal with the right status or close code, counted
//!  bystander ── reads and publishes as before ──▶ nothing is lost
//! ```

// Peers, frames and issuers are those of the server's own tests.
#[path = "../../../everwire-server/tests/common/mod.rs"]
mod common;

mod bombs;
mod descriptors;
mod frames;
mod held;
mod http2;
mod memory;
mod names;
mod neighbour;
mod pages;
mod patience;
mod requests;
mod sizes;
mod streams;
mod tokens;
mod victim;
mod worst;
