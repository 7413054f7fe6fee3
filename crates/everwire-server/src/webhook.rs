//! Webhooks: the operator's own application decides who a caller is, and what it may read and publish.
//!
//! ```text
//!  a request ─┐                       ┌─ remembered ─────────────────────────────┐
//!             ├─▶ Question ─▶ Desk ───┼─ asked already ─▶ waits for that answer ─┼─▶ Decision
//!  a line ────┘                       └─ Application ─▶ POST, signed ────────────┘
//!                                          breakers, attempts, one deadline
//! ```
//!
//! A request waits for its decision as a future. A line cannot wait: its shard goes on, and gets the decision as mail.
//! Whatever goes wrong on the way, the decision is that there is none, and nothing is allowed.

mod answer;
mod application;
mod breaker;
mod breakers;
mod desk;
mod gate;
mod key_pair;
mod question;
mod remembered;
mod signature;

pub use self::key_pair::{KeyPair, SEED_BYTES};
pub(crate) use self::{
    answer::{Allowed, Decision, Replacement},
    application::Application,
    desk::{Desk, ReplyTo},
    question::{Evidence, Proposal, Question},
};
#[cfg(test)]
pub(crate) use self::{
    answer::{Answer, NoDecision},
    desk::{Answers, Basis, Connection, Errand},
    question::Kind,
};
