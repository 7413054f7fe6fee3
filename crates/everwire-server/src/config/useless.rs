//! Settings that can never do what they say: a limit of nothing, a share of one caller that is more than all have, a rule
//! of which an earlier one leaves nothing. Whoever wrote them meant something else, so they are refused with what to write.
//!
//! What nobody has set is left alone: a default may well be above a total that somebody has lowered.

use super::{ConfigError, Rule, proxy::ProxyProtocol, tree::Config};

impl Config {
    /// Whether each setting can do what it says.
    pub(super) fn check_use(&self) -> Result<(), ConfigError> {
        self.check_none()?;
        self.check_parts()?;
        check_rules(&self.rules)?;
        if !self.webhooks.headers.is_empty() && self.webhooks.url.is_empty() {
            let problem =
                "names fields to pass on, and there is nobody to pass them on to; set webhooks.url";
            return Err(ConfigError::value("webhooks.headers", problem));
        }
        let is_required = self.http.proxy_protocol == ProxyProtocol::Required;
        if is_required && self.http.trusted_proxies.is_empty() {
            let problem = "is required of trusted proxies, and there are none; list them in http.trusted_proxies";
            return Err(ConfigError::value("http.proxy_protocol", problem));
        }
        Ok(())
    }

    /// Limits of 0 that leave nothing. Of others 0 means that there is no limit, so somebody may have meant that here.
    fn check_none(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let sessions = &self.sessions;
        for (setting, value, outcome) in [
            (
                "limits.content_bytes_max",
                limits.content_bytes_max,
                "nothing is published over HTTP",
            ),
            (
                "limits.message_bytes_max",
                limits.message_bytes_max,
                "no WebSocket may say anything",
            ),
            (
                "limits.target_bytes_max",
                limits.target_bytes_max,
                "no request is served",
            ),
            (
                "limits.entries_per_append_max",
                limits.entries_per_append_max,
                "nothing is appended",
            ),
            ("limits.lines_max", limits.lines_max, "no line is opened"),
            (
                "limits.polls_max",
                limits.polls_max,
                "no long poll may wait",
            ),
            (
                "limits.connections_max",
                limits.connections_max,
                "nobody is served",
            ),
            (
                "limits.channels_max",
                limits.channels_max,
                "there is no channel",
            ),
            (
                "limits.log_bytes_max",
                usize::try_from(limits.log_bytes_max).unwrap_or(usize::MAX),
                "nothing is appended",
            ),
            (
                "limits.in_flight_bytes_max",
                limits.in_flight_bytes_max,
                "no larger content or answer is taken",
            ),
            (
                "sessions.channels_max",
                sessions.channels_max,
                "no session reads anything",
            ),
            (
                "sessions.commands_max",
                sessions.commands_max,
                "no command is taken over HTTP",
            ),
            (
                "sessions.content_bytes_max",
                sessions.content_bytes_max,
                "no command is taken over HTTP",
            ),
            (
                "presence.members_max",
                self.presence.members_max,
                "nobody is ever there",
            ),
            (
                "tokens.token_bytes_max",
                self.tokens.token_bytes_max,
                "no token is taken",
            ),
        ] {
            if value == 0 {
                let problem = format!("is 0, with which {outcome}; it must be at least 1");
                return Err(ConfigError::value(setting, problem));
            }
        }
        Ok(())
    }

    /// Parts that are larger than what they are a part of.
    fn check_parts(&self) -> Result<(), ConfigError> {
        let (limits, presence) = (&self.limits, &self.presence);
        let default = Self::default();
        let in_flight = (
            "limits.in_flight_bytes_max",
            limits.in_flight_bytes_max,
            "no caller ever has so much",
        );
        let contents = |outcome| {
            (
                "limits.content_bytes_max",
                limits.content_bytes_max,
                outcome,
            )
        };
        let of_caller = |outcome| {
            let bytes_max = match limits.in_flight_bytes_per_caller_max {
                0 => usize::MAX,
                bytes_max => bytes_max,
            };
            ("limits.in_flight_bytes_per_caller_max", bytes_max, outcome)
        };
        for (setting, part, unset, (total, whole, outcome)) in [
            (
                "limits.lines_per_address_max",
                limits.lines_per_address_max,
                default.limits.lines_per_address_max,
                (
                    "limits.lines_max",
                    limits.lines_max,
                    "no address ever has so many",
                ),
            ),
            (
                "limits.polls_max",
                limits.polls_max,
                default.limits.polls_max,
                (
                    "limits.lines_max",
                    limits.lines_max,
                    "a waiting long poll is a line, so there are never so many",
                ),
            ),
            (
                "limits.connections_per_address_max",
                limits.connections_per_address_max,
                default.limits.connections_per_address_max,
                (
                    "limits.connections_max",
                    limits.connections_max,
                    "no address ever has so many",
                ),
            ),
            (
                "limits.in_flight_bytes_per_caller_max",
                limits.in_flight_bytes_per_caller_max,
                default.limits.in_flight_bytes_per_caller_max,
                in_flight,
            ),
            (
                "limits.content_bytes_max",
                limits.content_bytes_max,
                default.limits.content_bytes_max,
                (
                    in_flight.0,
                    in_flight.1,
                    "no content of that size is ever held",
                ),
            ),
            (
                "limits.content_bytes_max",
                limits.content_bytes_max,
                default.limits.content_bytes_max,
                of_caller("no content of that size is ever held"),
            ),
            (
                "limits.page_bytes_max",
                limits.page_bytes_max,
                default.limits.page_bytes_max,
                of_caller("no page of that size is ever answered"),
            ),
            (
                "sessions.content_bytes_max",
                self.sessions.content_bytes_max,
                default.sessions.content_bytes_max,
                contents("that is the limit of commands then"),
            ),
            (
                "channels.entry_bytes_max",
                self.channels.entry_bytes_max,
                0,
                contents("no entry is ever so large"),
            ),
            (
                "presence.members_per_caller_max",
                presence.members_per_caller_max,
                0,
                (
                    "presence.members_max",
                    presence.members_max,
                    "no caller ever has so many",
                ),
            ),
            (
                "webhooks.waiting_per_caller_max",
                self.webhooks.waiting_per_caller_max,
                0,
                (
                    "webhooks.waiting_max",
                    self.webhooks.waiting_max,
                    "no caller ever has so many",
                ),
            ),
        ] {
            if part != unset && part > whole {
                return Err(above(setting, part, total, whole, outcome));
            }
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let bytes_max = rule.entry_bytes_max.unwrap_or(0);
            let (total, whole, outcome) = contents("no entry is ever so large");
            if bytes_max > whole {
                let setting = format!("rules[{index}].entry_bytes_max");
                return Err(above(setting, bytes_max, total, whole, outcome));
            }
        }
        Ok(())
    }
}

fn above(
    setting: impl Into<std::borrow::Cow<'static, str>>,
    part: usize,
    total: &str,
    whole: usize,
    outcome: &str,
) -> ConfigError {
    let problem = format!(
        "is {part}, above {total}, which is {whole}: {outcome}; lower it, or raise {total}"
    );
    ConfigError::value(setting, problem)
}

/// Rules of which those before leave nothing: the first that matches holds.
fn check_rules(rules: &[Rule]) -> Result<(), ConfigError> {
    for (index, rule) in rules.iter().enumerate() {
        let covers = |earlier: &Rule| earlier.pattern.covers(&rule.pattern);
        let Some(earlier) = rules[..index].iter().position(covers) else {
            continue;
        };
        let (own, covering) = (&rule.pattern, &rules[earlier].pattern);
        let problem = match own == covering {
            true => format!(
                "is `{own}`, which rules[{earlier}] matches already, and the first that matches holds; make one of both"
            ),
            false => format!(
                "is `{own}`, all of which rules[{earlier}] matches already (`{covering}`), and the first that matches \
                 holds; put this one before that"
            ),
        };
        return Err(ConfigError::value(format!("rules[{index}].match"), problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row: a configuration, and all that is said of it; nothing if it is fine.
    #[test]
    fn what_can_never_do_what_it_says_is_refused_in_these_words() {
        for (toml, expected) in [
            (
                "limits.lines_max = 0",
                "line 1, column 8: `limits.lines_max` is 0, with which no line is opened; it must be at least 1",
            ),
            (
                "limits.content_bytes_max = 0",
                "line 1, column 8: `limits.content_bytes_max` is 0, with which nothing is published over HTTP; it must be \
                 at least 1",
            ),
            (
                "[limits]\nlog_bytes_max = 0",
                "line 2, column 1: `limits.log_bytes_max` is 0, with which nothing is appended; it must be at least 1",
            ),
            (
                "sessions.channels_max = 0",
                "line 1, column 10: `sessions.channels_max` is 0, with which no session reads anything; it must be at \
                 least 1",
            ),
            ("limits.lines_per_address_max = 0", ""),
            ("limits.reads_per_second_max = 0", ""),
            ("limits.in_flight_bytes_per_caller_max = 0", ""),
            // One that was lowered, below what nobody set.
            ("limits.lines_max = 10", ""),
            ("limits.connections_max = 10", ""),
            ("limits.in_flight_bytes_max = 1000000", ""),
            (
                "limits = { lines_max = 10, lines_per_address_max = 11 }",
                "line 1, column 28: `limits.lines_per_address_max` is 11, above limits.lines_max, which is 10: no address \
                 ever has so many; lower it, or raise limits.lines_max",
            ),
            (
                "limits = { lines_max = 10, lines_per_address_max = 10 }",
                "",
            ),
            (
                "limits = { lines_max = 10, polls_max = 11 }",
                "line 1, column 28: `limits.polls_max` is 11, above limits.lines_max, which is 10: a waiting long poll is a \
                 line, so there are never so many; lower it, or raise limits.lines_max",
            ),
            (
                "limits = { connections_max = 10, connections_per_address_max = 11 }",
                "line 1, column 34: `limits.connections_per_address_max` is 11, above limits.connections_max, which is 10: \
                 no address ever has so many; lower it, or raise limits.connections_max",
            ),
            (
                "limits = { in_flight_bytes_max = 10, in_flight_bytes_per_caller_max = 11 }",
                "line 1, column 38: `limits.in_flight_bytes_per_caller_max` is 11, above limits.in_flight_bytes_max, which \
                 is 10: no caller ever has so much; lower it, or raise limits.in_flight_bytes_max",
            ),
            (
                "limits.content_bytes_max = 300000000",
                "line 1, column 8: `limits.content_bytes_max` is 300000000, above limits.in_flight_bytes_max, which is \
                 268435456: no content of that size is ever held; lower it, or raise limits.in_flight_bytes_max",
            ),
            (
                "limits.content_bytes_max = 50000000",
                "line 1, column 8: `limits.content_bytes_max` is 50000000, above limits.in_flight_bytes_per_caller_max, \
                 which is 33554432: no content of that size is ever held; lower it, or raise \
                 limits.in_flight_bytes_per_caller_max",
            ),
            (
                "limits = { content_bytes_max = 50000000, in_flight_bytes_per_caller_max = 0 }",
                "",
            ),
            (
                "limits.page_bytes_max = 50000000",
                "line 1, column 8: `limits.page_bytes_max` is 50000000, above limits.in_flight_bytes_per_caller_max, which \
                 is 33554432: no page of that size is ever answered; lower it, or raise \
                 limits.in_flight_bytes_per_caller_max",
            ),
            (
                "limits.content_bytes_max = 1000\nsessions.content_bytes_max = 2000",
                "line 2, column 10: `sessions.content_bytes_max` is 2000, above limits.content_bytes_max, which is 1000: \
                 that is the limit of commands then; lower it, or raise limits.content_bytes_max",
            ),
            (
                "channels.entry_bytes_max = 9000000",
                "line 1, column 10: `channels.entry_bytes_max` is 9000000, above limits.content_bytes_max, which is \
                 8388608: no entry is ever so large; lower it, or raise limits.content_bytes_max",
            ),
            (
                "[[rules]]\nmatch = \"a\"\nentry_bytes_max = 9000000",
                "line 3, column 1: `rules[0].entry_bytes_max` is 9000000, above limits.content_bytes_max, which is \
                 8388608: no entry is ever so large; lower it, or raise limits.content_bytes_max",
            ),
            (
                "presence = { members_max = 10, members_per_caller_max = 11 }",
                "line 1, column 32: `presence.members_per_caller_max` is 11, above presence.members_max, which is 10: no \
                 caller ever has so many; lower it, or raise presence.members_max",
            ),
            (
                "webhooks = { waiting_max = 10, waiting_per_caller_max = 11 }",
                "line 1, column 32: `webhooks.waiting_per_caller_max` is 11, above webhooks.waiting_max, which is 10: no \
                 caller ever has so many; lower it, or raise webhooks.waiting_max",
            ),
            (
                "rules = [{ match = \"a/*\" }, { match = \"b\" }, { match = \"a/*\" }]",
                "line 1, column 48: `rules[2].match` is `a/*`, which rules[0] matches already, and the first that matches \
                 holds; make one of both",
            ),
            (
                "[[rules]]\nmatch = \"chat/**\"\n[[rules]]\nmatch = \"chat/lobby\"\n",
                "line 4, column 1: `rules[1].match` is `chat/lobby`, all of which rules[0] matches already (`chat/**`), \
                 and the first that matches holds; put this one before that",
            ),
            (
                "rules = [{ match = \"chat/lobby\" }, { match = \"chat/**\" }, { match = \"**\" }]",
                "",
            ),
            (
                "rules = [{ match = \"**\" }, { match = \"$everwire/*\" }]",
                "",
            ),
            (
                "webhooks.headers = [\"cookie\"]",
                "line 1, column 10: `webhooks.headers` names fields to pass on, and there is nobody to pass them on to; set \
                 webhooks.url",
            ),
            (
                "http.proxy_protocol = \"required\"",
                "line 1, column 6: `http.proxy_protocol` is required of trusted proxies, and there are none; list them in \
                 http.trusted_proxies",
            ),
        ] {
            let said =
                Config::from_toml(toml).map_or_else(|error| error.to_string(), |_| String::new());
            assert_eq!(said, expected, "{toml}");
        }
    }

    #[test]
    fn the_defaults_are_of_use() {
        assert!(Config::default().check_use().is_ok());
    }
}
