//! Tokens that are not taken any more, though their time is not over.

use everwire_channel::UserName;
use serde::{Deserialize, Serialize};

/// Tokens that were taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Said", into = "Said")]
pub enum Revoked {
    /// One token.
    Token {
        /// Its own name (`jti`).
        id: String,
        /// When it ends by itself (`exp`), in Unix seconds, if that is known.
        ends_s: Option<u64>,
    },
    /// All tokens of a user that were issued before a moment.
    User {
        /// Who that is (`sub`).
        user: UserName,
        /// The moment, in Unix seconds; a token that does not say when it was issued (`iat`) was issued before.
        before_s: u64,
    },
}

/// The same as it is written: `{"jti":…}`, perhaps with `exp`, or `{"sub":…,"before":…}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `jti`, or with `sub`")]
pub struct Said {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
}

/// Longest name of a token that can be taken back, in bytes: what is kept is bounded.
pub(crate) const REVOCABLE_ID_BYTES_MAX: usize = 256;

impl Said {
    /// What that means, where a `sub` without `before` is of everything before this moment, in Unix seconds.
    pub fn before_or(self, before_s: Option<u64>) -> Result<Revoked, String> {
        match self {
            Self {
                jti: Some(id),
                exp,
                sub: None,
                before: None,
            } => match id.len() {
                1..=REVOCABLE_ID_BYTES_MAX => Ok(Revoked::Token { id, ends_s: exp }),
                length => Err(format!(
                    "`jti` has {length} bytes, and may have 1 to {REVOCABLE_ID_BYTES_MAX}"
                )),
            },
            Self {
                jti: None,
                exp: None,
                sub: Some(sub),
                before,
            } => {
                let user = UserName::new(&sub).map_err(|error| format!("`sub`: {error}"))?;
                let before_s = before.or(before_s).ok_or(
                    "`before` is missing: the second since 1970 before which the tokens were issued that are meant",
                )?;
                Ok(Revoked::User { user, before_s })
            }
            Self { .. } => Err(
                "say either `jti`, perhaps with `exp`, for one token, or `sub`, with `before`, for all of a user"
                    .to_owned(),
            ),
        }
    }
}

impl TryFrom<Said> for Revoked {
    type Error = String;

    fn try_from(said: Said) -> Result<Self, String> {
        said.before_or(None)
    }
}

impl From<Revoked> for Said {
    fn from(revoked: Revoked) -> Self {
        match revoked {
            Revoked::Token { id, ends_s } => Self {
                jti: Some(id),
                exp: ends_s,
                ..Self::default()
            },
            Revoked::User { user, before_s } => Self {
                sub: Some(user.as_str().to_owned()),
                before: Some(before_s),
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_or_all_of_a_user_is_named_and_nothing_between() {
        for (json, expected) in [
            (r#"{"jti":"a"}"#, Ok("Token { id: \"a\", ends_s: None }")),
            (
                r#"{"jti":"a","exp":7}"#,
                Ok("Token { id: \"a\", ends_s: Some(7) }"),
            ),
            (r#"{"sub":"ada","before":7}"#, Ok("before_s: 7")),
            (r#"{"sub":"ada"}"#, Err("`before` is missing")),
            (r#"{"jti":"a","sub":"ada"}"#, Err("either `jti`")),
            (r#"{"jti":"a","before":7}"#, Err("either `jti`")),
            (r#"{"sub":"ada","before":7,"exp":8}"#, Err("either `jti`")),
            (r#"{"before":7}"#, Err("either `jti`")),
            ("{}", Err("either `jti`")),
            (r#"{"jti":""}"#, Err("1 to 256")),
            (r#"{"sub":"","before":7}"#, Err("`sub`")),
            (r#"{"sub":"a\u0000","before":7}"#, Err("`sub`")),
            (r#"{"jti":"a","kid":"b"}"#, Err("unknown field `kid`")),
            (r#"{"sub":"ada","before":-7}"#, Err("invalid value")),
        ] {
            let read: Result<Revoked, _> = serde_json::from_str(json);
            match (read, expected) {
                (Ok(revoked), Ok(part)) => {
                    let shown = format!("{revoked:?}");
                    assert!(shown.contains(part), "{json} gave {shown}");
                    assert_eq!(serde_json::to_string(&revoked).unwrap(), json);
                }
                (Err(error), Err(part)) => {
                    let error = error.to_string();
                    assert!(error.contains(part), "{json} gave {error}");
                }
                (read, _) => panic!("{json} gave {read:?}"),
            }
        }
    }
}
