//! The settings: one typed tree, from which the sample file, the environment and the flags are made.
//!
//! ```text
//!  defaults ◀─ everwire.toml ◀─ EVERWIRE_LIMITS__MESSAGE_BYTES_MAX ◀─ --limits.message-bytes-max
//! ```
//!
//! Each setting's comment is its documentation everywhere: in the API, in `everwire config`, in `--help` and in
//! the manual's page `docs/configuration.md`.

mod document;
mod rule;
mod tree;

pub use document::{Setting, settings, to_documented_toml, to_markdown};
pub use rule::{Action, Create, Rule, Rules};
pub use tree::{Channels, Config, Echo, Events, Http, Limits, Presence, SessionLimits, Stop};

/// Why a configuration is not valid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is no TOML, or has a field that is unknown or of the wrong type.
    #[error(transparent)]
    Syntax(#[from] toml::de::Error),
    /// A value is of the right type and makes no sense.
    #[error("`{setting}` {problem}")]
    Value {
        /// The setting's path, such as `limits.lines_max`.
        setting: &'static str,
        /// What is wrong with it and what to write instead.
        problem: String,
    },
}
