//! What holds in clear text holds under TLS: the same tests, each connection under TLS.
#![allow(
    clippy::duplicate_mod,
    reason = "each file has what it needs of `common`"
)]

#[path = "delivery.rs"]
mod delivery;
#[path = "hand_over.rs"]
mod hand_over;
#[path = "lifecycle.rs"]
mod lifecycle;
#[path = "long_poll.rs"]
mod long_poll;
#[path = "presence.rs"]
mod presence;
#[path = "response_fields.rs"]
mod response_fields;
#[path = "session_credentials.rs"]
mod session_credentials;
#[path = "sessions.rs"]
mod sessions;
#[path = "slow_readers.rs"]
mod slow_readers;
#[path = "stopping.rs"]
mod stopping;
