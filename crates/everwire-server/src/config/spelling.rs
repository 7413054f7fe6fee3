//! Names that are nearly right, and what the parser says, in words.

use strsim::{jaro_winkler, normalized_damerau_levenshtein};

use super::document::settings;

/// A variable that looks like one of ours, and means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The variable that is probably meant.
    pub meant: Option<String>,
}

/// Finds the variables that begin with `EVERWIRE_` and set nothing. Those that Kubernetes sets for a service with a name
/// that begins with `everwire` are not for us, and not told. Nothing is refused: programs beside the server may have
/// such variables of their own.
pub fn unknown_variables<'a>(
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<UnknownVariable> {
    let known: Vec<String> = (settings().iter().map(super::Setting::variable))
        .chain(OTHERS.map(str::to_owned))
        .collect();
    let unknown = variables.into_iter().filter(|(name, value)| {
        name.get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
            && !known.iter().any(|known| known == name)
            && !value.is_empty()
            && !is_of_a_service(name, value)
    });
    unknown
        .map(|(name, _)| UnknownVariable {
            name: name.to_owned(),
            meant: match &name.to_ascii_uppercase()[PREFIX.len()..] {
                "PORT" | "HOST" | "ADDR" | "ADDRESS" | "BIND" => Some("EVERWIRE_LISTEN".to_owned()),
                said => nearest(said, known.iter().map(|known| &known[PREFIX.len()..]))
                    .map(|meant| format!("{PREFIX}{meant}")),
            },
        })
        .collect()
}

/// The variables that Kubernetes sets for each service: `{NAME}_SERVICE_HOST`, `{NAME}_PORT_80_TCP_ADDR` and so on.
fn is_of_a_service(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") {
        return true;
    }
    let is_address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    if name.ends_with("_PORT") && is_address {
        return true;
    }
    // `{NAME}_PORT_{number}_{protocol}`, alone or with one of these.
    let tail = ["_ADDR", "_PORT", "_PROTO"];
    let stem = tail
        .iter()
        .find_map(|tail| name.strip_suffix(tail))
        .unwrap_or(name);
    let protocol = ["_TCP", "_UDP", "_SCTP"];
    let Some(stem) = protocol
        .iter()
        .find_map(|protocol| stem.strip_suffix(protocol))
    else {
        return false;
    };
    let number = stem.rsplit_once("_PORT_").map(|(_, number)| number);
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The one of these names that is most like this one, if any is much like it.
pub(super) fn nearest<'n>(name: &str, among: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| {
        let words = name.split(['_', '-', '.']).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
    };
    let name = plain(name);
    let likeness = |other: &str| {
        let other = plain(other);
        normalized_damerau_levenshtein(&name, &other).max(jaro_winkler(&name, &other) - 0.15)
    };
    among
        .map(|other| (likeness(other), other))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, other)| other)
}

/// What the parser says about a value or a name, as a person would.
pub(super) fn in_words(problem: &str) -> String {
    if let Some(rest) = problem.strip_prefix("unknown field `")
        && let Some((name, list)) = rest.split_once('`')
    {
        let names = list.split('`').skip(1).step_by(2);
        return match nearest(name, names) {
            Some(meant) => format!("unknown field `{name}`; did you mean `{meant}`?"),
            None => problem.to_owned(),
        };
    }
    if let Some(rest) = problem.strip_prefix("unknown variant ")
        && let Some((said, list)) = rest.split_once(", expected ")
    {
        return format!("is {said}; write {list}");
    }
    let found = (problem.strip_prefix("invalid type: "))
        .or_else(|| problem.strip_prefix("invalid value: "));
    if let Some((found, expected)) = found.and_then(|found| found.rsplit_once(", expected ")) {
        let expected = match expected {
            "u8" | "u16" | "u32" | "u64" | "usize" | "u128" => "a whole number, 0 or more",
            "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
            "a boolean" => "true or false, without quotes",
            "a string" | "path string" => "a text in quotes",
            "a sequence" => "a list, such as [\"a\", \"b\"]",
            other if other.starts_with("struct ") => "a table, such as a [section] of its own",
            other => other,
        };
        return format!("is {}; write {expected}", article(found));
    }
    // TOML has no bare words.
    if problem.contains("expected nothing") || problem.starts_with("string values must be quoted") {
        return format!("{problem}; write texts in quotes, as in name = \"value\"");
    }
    problem.to_owned()
}

fn article(found: &str) -> String {
    match found.split(' ').next() {
        Some("sequence") => "a list".to_owned(),
        Some("map") => "a table".to_owned(),
        Some("string") => format!("the text {}", found.trim_start_matches("string ")),
        Some("boolean") => found.trim_start_matches("boolean ").replace('`', ""),
        Some("integer" | "floating") => {
            let number = found.split('`').nth(1).unwrap_or(found);
            format!("the number {number}")
        }
        _ => found.to_owned(),
    }
}

const PREFIX: &str = "EVERWIRE_";

/// Variables that are no settings of the server.
const OTHERS: [&str; 4] = [
    "EVERWIRE_CONFIG",
    "EVERWIRE_LOG",
    "EVERWIRE_SERVER",
    "EVERWIRE_TOKEN",
];

/// How much a name has to be like another to be taken for it, from 0 to 1.
const ALIKE: f64 = 0.72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_told_with_the_one_that_is_meant() {
        for (name, meant) in [
            ("EVERWIRE_HTTP_ORIGINS", Some("EVERWIRE_HTTP__ORIGINS")),
            (
                "EVERWIRE_LIMITS__LINE_MAX",
                Some("EVERWIRE_LIMITS__LINES_MAX"),
            ),
            (
                "EVERWIRE_LIMITS_LINES_MAX",
                Some("EVERWIRE_LIMITS__LINES_MAX"),
            ),
            (
                "EVERWIRE_LIMITS.LINES_MAX",
                Some("EVERWIRE_LIMITS__LINES_MAX"),
            ),
            ("everwire_listen", Some("EVERWIRE_LISTEN")),
            ("EVERWIRE_LITSEN", Some("EVERWIRE_LISTEN")),
            ("EVERWIRE_PORT", Some("EVERWIRE_LISTEN")),
            ("EVERWIRE_CONFIG_FILE", Some("EVERWIRE_CONFIG")),
            ("EVERWIRE_FAVOURITE_COLOUR", None),
        ] {
            let found = unknown_variables([(name, "1")]);
            let expected = UnknownVariable {
                name: name.to_owned(),
                meant: meant.map(str::to_owned),
            };
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn what_is_known_empty_or_set_by_kubernetes_is_not_told() {
        for (name, value) in [
            ("EVERWIRE_LISTEN", "8080"),
            ("EVERWIRE_HTTP__ORIGINS", "*"),
            ("EVERWIRE_TOKEN", "x"),
            ("EVERWIRE_HTTP_ORIGINS", ""),
            ("EVERWIREX", "1"),
            ("PATH", "1"),
            ("ÄÄÄÄÄ", "1"),
            ("EVERWIRE_SERVICE_HOST", "10.0.0.1"),
            ("EVERWIRE_SERVICE_PORT", "8080"),
            ("EVERWIRE_SERVICE_PORT_HTTP", "8080"),
            ("EVERWIRE_PORT", "tcp://10.0.0.1:8080"),
            ("EVERWIRE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("EVERWIRE_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("EVERWIRE_PORT_8080_TCP_PORT", "8080"),
            ("EVERWIRE_PORT_8080_TCP_PROTO", "tcp"),
            ("EVERWIRE_METRICS_SERVICE_HOST", "10.0.0.1"),
            ("EVERWIRE_METRICS_PORT_53_UDP_ADDR", "10.0.0.1"),
        ] {
            assert_eq!(unknown_variables([(name, value)]), [], "{name}={value}");
        }
    }

    /// What the manual promises: each error says what was read and what is expected.
    #[test]
    fn each_wrong_input_is_told_in_words() {
        for (toml, expected) in [
            (
                "[limits]\nline_max = 5",
                "line 2, column 1: unknown field `line_max`; did you mean `lines_max`?",
            ),
            (
                "[limits]\nlines-max = 5",
                "line 2, column 1: unknown field `lines-max`; did you mean `lines_max`?",
            ),
            (
                "[limit]\n",
                "line 1, column 2: unknown field `limit`; did you mean `limits`?",
            ),
            (
                "[limits]\nlines_max = 'many'",
                "line 2, column 13: is the text \"many\"; write a whole number, 0 or more",
            ),
            (
                "[limits]\nlines_max = -1",
                "line 2, column 13: is the number -1; write a whole number, 0 or more",
            ),
            (
                "[limits]\nlines_max = 1.5",
                "line 2, column 13: is the number 1.5; write a whole number, 0 or more",
            ),
            (
                "[limits]\nlines_max = true",
                "line 2, column 13: is true; write a whole number, 0 or more",
            ),
            (
                "[limits]\nlines_max = [1]",
                "line 2, column 13: is a list; write a whole number, 0 or more",
            ),
            (
                "[http]\nheartbeat_ms = '25s'",
                "line 2, column 16: is the text \"25s\"; write a whole number, 0 or more",
            ),
            (
                "dev = 'yes'",
                "line 1, column 7: is the text \"yes\"; write true or false, without quotes",
            ),
            (
                "[channels]\nanonymous = 'read'",
                "line 2, column 13: is the text \"read\"; write a list, such as [\"a\", \"b\"]",
            ),
            (
                "[channels]\nanonymous = ['write']",
                "line 2, column 14: is `write`; write one of `read`, `publish`, `manage`, `presence`",
            ),
            (
                "[tls]\nmode = 'on'",
                "line 2, column 8: is `on`; write one of `off`, `only`, `both`",
            ),
            (
                "limits = 5",
                "line 1, column 10: is the number 5; write a table, such as a [section] of its own",
            ),
            ("listen = 127.0.0.1:80", "in quotes"),
            ("listen = localhost", "in quotes"),
        ] {
            let error = crate::Config::from_toml(toml).unwrap_err().to_string();
            assert!(error.contains(expected), "{toml:?} gave {error:?}");
        }
    }
}
