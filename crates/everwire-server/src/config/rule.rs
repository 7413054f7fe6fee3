//! Rules for channels by pattern.

use everwire_channel::{ChannelName, Pattern};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tree::{Channels, Config};

/// When a channel comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Create {
    /// Only by `PUT`.
    Explicit,
    /// Also by the first append.
    OnPublish,
    /// Also by the first live read.
    OnDemand,
}

/// What a caller does with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Read its entries, over any wire.
    Read,
    /// Create it, append to it, close it.
    Publish,
    /// Delete it.
    Manage,
}

impl Action {
    /// The action's name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Manage => "manage",
        }
    }
}

/// What holds for the channels that match a pattern; what is left out is as in `channels`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which channels: `*` is one segment, `**` as the last segment any number of them.
    #[serde(
        rename = "match",
        serialize_with = "write_pattern",
        deserialize_with = "read_pattern"
    )]
    pub pattern: Pattern,
    /// As `channels.create`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<Create>,
    /// As `channels.anonymous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Vec<Action>>,
    /// As `channels.retain_entries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_entries: Option<u64>,
    /// As `channels.retain_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_bytes: Option<u64>,
    /// As `channels.retain_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_ms: Option<u64>,
    /// As `channels.forget_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forget_ms: Option<u64>,
}

/// The rules of a server, each complete.
#[derive(Debug)]
pub struct Rules {
    by_pattern: Vec<(Pattern, Channels)>,
    otherwise: Channels,
    dev: bool,
}

impl Rules {
    /// Completes the rules of a configuration.
    pub fn new(config: &Config) -> Self {
        let complete = |rule: &Rule| {
            let base = &config.channels;
            let channels = Channels {
                create: rule.create.unwrap_or(base.create),
                anonymous: rule
                    .anonymous
                    .clone()
                    .unwrap_or_else(|| base.anonymous.clone()),
                retain_entries: rule.retain_entries.unwrap_or(base.retain_entries),
                retain_bytes: rule.retain_bytes.unwrap_or(base.retain_bytes),
                retain_ms: rule.retain_ms.unwrap_or(base.retain_ms),
                forget_ms: rule.forget_ms.unwrap_or(base.forget_ms),
            };
            (rule.pattern.clone(), channels)
        };
        Self {
            by_pattern: config.rules.iter().map(complete).collect(),
            otherwise: config.channels.clone(),
            dev: config.dev,
        }
    }

    /// What holds for a channel.
    pub fn of(&self, name: &ChannelName) -> &Channels {
        self.by_pattern
            .iter()
            .find_map(|(pattern, channels)| pattern.matches(name).then_some(channels))
            .unwrap_or(&self.otherwise)
    }

    /// Whether somebody without a credential may do this.
    pub fn permits_anybody(&self, action: Action, name: &ChannelName) -> bool {
        self.dev || self.of(name).anonymous.contains(&action)
    }
}

fn read_pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|error| serde::de::Error::custom(format!("`{text}` is no pattern: {error}")))
}

fn write_pattern<S: Serializer>(pattern: &Pattern, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(pattern)
}
