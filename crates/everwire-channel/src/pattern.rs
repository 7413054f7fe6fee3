//! Patterns over channel names, as configuration rules and tokens write them.
//!
//! ```text
//!   chat/lobby   that channel
//!   chat/*       chat/lobby, chat/garden      `*` is exactly one segment
//!   chat/**      chat/lobby, chat/lobby/old   `**`, as last segment only, is one segment or more
//! ```
//!
//! A first segment that is a star does not cover names of the server's own, which begin with `$`: who
//! grants everything to everybody has not granted those.

use std::fmt;
use std::str::FromStr;

use crate::name::{ChannelName, NameError, check_path};

/// A pattern over channel names. Parsed with [`FromStr`]; as long as a name at most.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Whether the pattern covers this name. Letter case counts.
    pub fn matches(&self, name: &ChannelName) -> bool {
        if name.is_reserved() && self.0.starts_with('*') {
            return false;
        }
        let mut segments = name.as_str().split('/');
        for wanted in self.0.split('/') {
            match (wanted, segments.next()) {
                ("**", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(segment)) if wanted == segment => {}
                (_, Some(_) | None) => return false,
            }
        }
        segments.next().is_none()
    }

    /// Whether the pattern covers every name that another one does.
    pub fn covers(&self, other: &Self) -> bool {
        if other.0.starts_with('$') && self.0.starts_with('*') {
            return false;
        }
        let mut others = other.0.split('/');
        for own in self.0.split('/') {
            match (own, others.next()) {
                ("**", Some(_)) => return true,
                ("*", Some(other)) if other != "**" => {}
                (own, Some(other)) if own == other => {}
                (_, Some(_) | None) => return false,
            }
        }
        others.next().is_none()
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        check_path(text)?;
        let mut position = 0;
        for segment in text.split('/') {
            let is_last = position + segment.len() == text.len();
            match segment {
                "*" => {}
                "**" if is_last => {}
                "**" => return Err(PatternError::RestNotLast { position }),
                _ => {
                    if let Some(star) = segment.find('*') {
                        return Err(PatternError::PartOfSegment {
                            position: position + star,
                        });
                    }
                }
            }
            position += segment.len() + 1;
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is no pattern. Positions are byte positions from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It breaks a rule that names and patterns share.
    #[error("not a channel pattern: {0}")]
    Name(#[from] NameError),
    /// `**` before the last segment.
    #[error(
        "the pattern has `**` before its last segment at position {position}; write `*` for one segment, or end the pattern there"
    )]
    RestNotLast {
        /// Where the `**` starts.
        position: usize,
    },
    /// A `*` beside other characters of its segment.
    #[error(
        "the pattern has `*` beside other characters at position {position}; a `*` stands for a whole segment"
    )]
    PartOfSegment {
        /// Where the `*` stands.
        position: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_segment_and_two_are_the_rest() {
        for (pattern, matching, other) in [
            ("news", &["news"][..], &["news/a", "new", "News"][..]),
            ("chat/lobby", &["chat/lobby"], &["chat", "chat/lobby/a"]),
            ("*", &["a", "é"], &["a/b"]),
            ("chat/*", &["chat/a"], &["chat", "chat/a/b", "c/a"]),
            ("*/b", &["a/b", "b/b"], &["b", "a/b/c"]),
            ("a/*/c", &["a/b/c"], &["a/c", "a/b/b/c"]),
            ("**", &["a", "a/b", "a/b/c"], &[]),
            ("a/**", &["a/b", "a/b/c"], &["a", "ab/c"]),
            ("*/**", &["a/b", "a/b/c"], &["a"]),
            ("**", &["a/$b"], &["$a", "$a/b"]),
            ("*", &["a$"], &["$a"]),
            ("*/b", &["a/b"], &["$a/b"]),
            ("$a/**", &["$a/b", "$a/b/c"], &["$a", "a/b"]),
            ("$a/*", &["$a/b"], &["$b/b"]),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.to_string(), pattern);
            for name in matching {
                assert!(
                    parsed.matches(&name.parse().unwrap()),
                    "{pattern} and {name}"
                );
            }
            for name in other {
                assert!(
                    !parsed.matches(&name.parse().unwrap()),
                    "{pattern} and {name}"
                );
            }
        }
    }

    /// Against all names of up to four segments of a few letters, which is enough: patterns tell no other letters apart.
    #[test]
    fn a_pattern_covers_another_if_it_covers_each_of_its_names() {
        let all = |segments: &[&str]| {
            let mut all: Vec<String> = segments.iter().map(|&one| one.to_owned()).collect();
            let mut longest = all.clone();
            for _ in 1..4 {
                longest = (longest.iter())
                    .flat_map(|first| segments.iter().map(move |next| format!("{first}/{next}")))
                    .collect();
                all.extend_from_slice(&longest);
            }
            all
        };
        let names: Vec<ChannelName> = (all(&["a", "b", "$a"]).iter())
            .map(|name| name.parse().unwrap())
            .collect();
        let patterns: Vec<Pattern> = (all(&["a", "$a", "*", "**"]).iter())
            .filter(|pattern| pattern.split('/').count() < 4)
            .filter_map(|pattern| pattern.parse().ok())
            .collect();
        assert!(patterns.len() > 50, "{}", patterns.len());
        for one in &patterns {
            for other in &patterns {
                let expected = names
                    .iter()
                    .all(|name| one.matches(name) || !other.matches(name));
                assert_eq!(one.covers(other), expected, "{one} and {other}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_where_it_breaks_the_rules() {
        use PatternError::*;
        for (pattern, expected) in [
            ("", Name(NameError::Empty)),
            ("a//b", Name(NameError::EmptySegment { position: 2 })),
            ("*/..", Name(NameError::DotSegment { position: 2 })),
            ("**/a", RestNotLast { position: 0 }),
            ("a/**/b", RestNotLast { position: 2 }),
            ("a*", PartOfSegment { position: 1 }),
            ("x/***", PartOfSegment { position: 2 }),
            ("x/a*b/c", PartOfSegment { position: 3 }),
        ] {
            assert_eq!(
                pattern.parse::<Pattern>(),
                Err(expected),
                "pattern {pattern:?}"
            );
        }
    }
}
