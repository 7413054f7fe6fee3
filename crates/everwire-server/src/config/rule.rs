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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Read its entries, over any wire.
    Read,
    /// Create it, append to it, close it.
    Publish,
    /// Delete it.
    Manage,
    /// See who is there.
    Presence,
}

impl Action {
    /// Whether it can be granted on this name at all. A name of the server's own can be read at most, and a presence
    /// log is not addressed by its name.
    pub fn may_be_granted(self, name: &ChannelName) -> bool {
        !name.is_reserved() || (self == Self::Read && !name.is_presence_log())
    }

    /// The action's name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Manage => "manage",
            Self::Presence => "presence",
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
    /// As `channels.decide`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide: Option<Vec<Action>>,
    /// As `channels.retain_entries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_entries: Option<u64>,
    /// As `channels.retain_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_bytes: Option<u64>,
    /// As `channels.retain_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_ms: Option<u64>,
    /// As `channels.entry_bytes_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_bytes_max: Option<usize>,
    /// As `channels.appends_per_caller_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appends_per_caller_max: Option<u32>,
    /// As `channels.forget_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forget_ms: Option<u64>,
}

/// The rules of a server, each complete.
#[derive(Debug)]
pub struct Rules {
    by_pattern: Vec<(Pattern, Channels)>,
    otherwise: Channels,
    /// Whether there is a channel with limits of its own on appends, which else need not be looked for.
    limits_appends: bool,
    dev: bool,
}

impl Rules {
    /// Completes the rules of a configuration.
    pub fn new(config: &Config) -> Self {
        let complete = |rule: &Rule| {
            let base = &config.channels;
            let channels = Channels {
                create: rule.create.unwrap_or(base.create),
                anonymous: match &rule.anonymous {
                    Some(said) => said.clone(),
                    // What is granted for the channels that no rule names is not granted for the server's own.
                    None if rule.pattern.as_str().starts_with('$') => Vec::new(),
                    None => base.anonymous.clone(),
                },
                decide: match &rule.decide {
                    Some(said) => said.clone(),
                    None if rule.pattern.as_str().starts_with('$') => Vec::new(),
                    None => base.decide.clone(),
                },
                retain_entries: rule.retain_entries.unwrap_or(base.retain_entries),
                retain_bytes: rule.retain_bytes.unwrap_or(base.retain_bytes),
                retain_ms: rule.retain_ms.unwrap_or(base.retain_ms),
                entry_bytes_max: rule.entry_bytes_max.unwrap_or(base.entry_bytes_max),
                appends_per_caller_max: rule
                    .appends_per_caller_max
                    .unwrap_or(base.appends_per_caller_max),
                forget_ms: rule.forget_ms.unwrap_or(base.forget_ms),
            };
            (rule.pattern.clone(), channels)
        };
        let by_pattern: Vec<_> = config.rules.iter().map(complete).collect();
        let otherwise = config.channels.clone();
        let limits_appends = by_pattern
            .iter()
            .map(|(_, channels)| channels)
            .chain([&otherwise])
            .any(|channels| channels.entry_bytes_max > 0 || channels.appends_per_caller_max > 0);
        Self {
            by_pattern,
            otherwise,
            limits_appends,
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

    /// Largest entry of a channel, in bytes; 0 is without a limit of its own.
    pub fn entry_bytes_max(&self, name: &ChannelName) -> usize {
        match self.limits_appends {
            true => self.of(name).entry_bytes_max,
            false => 0,
        }
    }

    /// Most appends a second by one caller to a channel; 0 is without a limit of its own.
    pub fn appends_per_caller_max(&self, name: &ChannelName) -> u32 {
        match self.limits_appends && !self.dev {
            true => self.of(name).appends_per_caller_max,
            false => 0,
        }
    }

    /// Whether there may be a channel on which somebody without a credential may do this.
    pub fn permit_anybody_somewhere(&self, action: Action) -> bool {
        let mut rules = self.by_pattern.iter().map(|(_, channels)| channels);
        self.dev
            || self.otherwise.anonymous.contains(&action)
            || rules.any(|channels| channels.anonymous.contains(&action))
    }

    /// Whether there may be a channel about which the application decides this.
    pub fn is_decided_somewhere(&self, action: Action) -> bool {
        let mut rules = self.by_pattern.iter().map(|(_, channels)| channels);
        self.otherwise.decide.contains(&action)
            || rules.any(|channels| channels.decide.contains(&action))
    }

    /// Whether somebody without a credential may do this.
    pub fn permits_anybody(&self, action: Action, name: &ChannelName) -> bool {
        match name.is_reserved() {
            _ if self.is_decided(action, name) => false,
            true => self.permits_reserved(action, name),
            false => self.dev || self.of(name).anonymous.contains(&action),
        }
    }

    /// Whether the application decides about this. For a name of the server's own, only a rule can say so that covers
    /// it.
    pub fn is_decided(&self, action: Action, name: &ChannelName) -> bool {
        let channels = match name.is_reserved() {
            true => {
                let covers =
                    |(pattern, channels)| Pattern::matches(pattern, name).then_some(channels);
                self.by_pattern
                    .iter()
                    .map(|(pattern, channels)| (pattern, channels))
                    .find_map(covers)
            }
            false => Some(self.of(name)),
        };
        action.may_be_granted(name)
            && channels.is_some_and(|channels| channels.decide.contains(&action))
    }

    /// The same for a name of the server's own: it can be read at most, where a rule says so for that very name or
    /// for a pattern that writes out its first segment. A presence log is not addressed by its name at all.
    fn permits_reserved(&self, action: Action, name: &ChannelName) -> bool {
        let is_said = |(pattern, channels): &(Pattern, Channels)| {
            pattern
                .matches(name)
                .then(|| channels.anonymous.contains(&Action::Read))
        };
        action.may_be_granted(name)
            && (self.dev || self.by_pattern.iter().find_map(is_said) == Some(true))
    }
}

pub(super) fn read_pattern<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Pattern, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|error| serde::de::Error::custom(format!("`{text}` is no pattern: {error}")))
}

pub(super) fn write_pattern<S: Serializer>(
    pattern: &Pattern,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIONS: [Action; 4] = [
        Action::Read,
        Action::Publish,
        Action::Manage,
        Action::Presence,
    ];

    fn rules(toml: &str) -> Rules {
        Rules::new(&Config::from_toml(toml).unwrap())
    }

    /// What anybody may do, in the order of [`ACTIONS`].
    fn permitted(rules: &Rules, name: &str) -> Vec<Action> {
        let name = name.parse().unwrap();
        let permits = |action: &Action| rules.permits_anybody(*action, &name);
        ACTIONS.into_iter().filter(permits).collect()
    }

    #[test]
    fn the_first_rule_that_matches_says_what_anybody_may_do() {
        let rules = rules(
            r#"
            channels.anonymous = ["read"]
            rules = [
                { match = "chat/*", anonymous = ["presence", "publish"] },
                { match = "chat/**", anonymous = [] },
                { match = "news", retain_entries = 1 },
            ]"#,
        );
        for (name, expected) in [
            ("other", &[Action::Read][..]),
            ("chat/lobby", &[Action::Publish, Action::Presence]),
            ("chat/lobby/old", &[]),
            ("news", &[Action::Read]),
        ] {
            assert_eq!(permitted(&rules, name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_of_the_servers_own_is_read_where_that_is_said_and_no_more() {
        let all = r#"["read", "publish", "manage", "presence"]"#;
        let said =
            |pattern: &str| format!("rules = [{{ match = \"{pattern}\", anonymous = {all} }}]");
        let read = &[Action::Read][..];
        for (toml, expected) in [
            (String::new(), &[][..]),
            (format!("channels.anonymous = {all}"), &[]),
            (said("**"), &[]),
            (said("*/channels"), &[]),
            (said("$everwire/sessions"), &[]),
            (said("$everwire/channels"), read),
            (said("$everwire/*"), read),
            (said("$everwire/**"), read),
            (
                format!("channels.anonymous = {all}\nrules = [{{ match = \"$everwire/**\" }}]"),
                &[],
            ),
            ("dev = true".to_owned(), read),
        ] {
            assert_eq!(
                permitted(&rules(&toml), "$everwire/channels"),
                expected,
                "{toml}"
            );
        }
    }

    #[test]
    fn what_the_application_decides_is_nobodys_unasked() {
        let rules = rules(
            r#"
            dev = true
            webhooks.url = "http://127.0.0.1:9/"
            channels = { anonymous = ["read", "publish"], decide = ["publish"] }
            rules = [
                { match = "chat/*", decide = ["read", "presence"] },
                { match = "open/*", decide = [] },
                { match = "$everwire/*", decide = ["read", "publish"] },
            ]"#,
        );
        for (name, decided, permitted_unasked) in [
            (
                "other",
                &[Action::Publish][..],
                &[Action::Read, Action::Manage, Action::Presence][..],
            ),
            (
                "chat/a",
                &[Action::Read, Action::Presence],
                &[Action::Publish, Action::Manage],
            ),
            ("open/a", &[], &ACTIONS),
            ("$everwire/channels", &[Action::Read], &[]),
            ("$presence/chat", &[], &[]),
        ] {
            let parsed = name.parse().unwrap();
            let asks = |action: &Action| rules.is_decided(*action, &parsed);
            let asked: Vec<_> = ACTIONS.into_iter().filter(asks).collect();
            assert_eq!(
                (&*asked, &*permitted(&rules, name)),
                (decided, permitted_unasked),
                "{name}"
            );
        }
    }

    #[test]
    fn an_application_that_decides_has_an_address() {
        for (toml, expected) in [
            ("channels.decide = [\"read\"]", "`channels.decide`"),
            (
                "rules = [{ match = \"a\" }, { match = \"b\", decide = [\"read\"] }]",
                "`rules[1].decide`",
            ),
            ("webhooks.connect = true", "`webhooks.connect`"),
        ] {
            let error = Config::from_toml(toml).unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains("webhooks.url"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_presence_log_is_addressed_under_no_rule() {
        for toml in [
            "dev = true",
            r#"rules = [{ match = "$presence/**", anonymous = ["read", "publish", "manage", "presence"] }]"#,
        ] {
            for name in ["$presence/chat", "$presence"] {
                assert_eq!(permitted(&rules(toml), name), [], "{toml}");
            }
        }
    }
}
