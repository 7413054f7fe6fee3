//! The kinds of credentials, told by their form before anything is checked.
//!
//! ```text
//!  ewk_…              ─▶ ApiKey  ┐ judged here, and shown to nobody else
//!  three parts, dots  ─▶ Token   ┘ (a token is this server's own as soon as it has any source of keys)
//!  all others         ─▶ Foreign   refused, or passed on to the application that is to see such ones
//! ```

use http::header;

use crate::config::Webhooks;

/// The kind of a credential that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// An API key, which is always this server's own.
    ApiKey,
    /// A token, and this server has a source of keys that it can be checked with, be it one that has given none yet.
    Token,
    /// Nothing that this server could check.
    Foreign,
}

impl Shown {
    /// Tells a credential's kind, where tokens are checked here if there is a source of keys.
    pub(super) fn of(text: &str, has_keys: bool) -> Self {
        match text {
            _ if super::api_key::is_one(text) => Self::ApiKey,
            _ if has_keys && text.split('.').count() == 3 => Self::Token,
            _ => Self::Foreign,
        }
    }

    /// Tells whether the application is shown it instead of this server's judging it.
    pub fn is_passed_on(self, webhooks: Option<&Webhooks>) -> bool {
        match self {
            Self::ApiKey | Self::Token => false,
            Self::Foreign => {
                webhooks.is_some_and(|webhooks| webhooks.passes_on(&header::AUTHORIZATION))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_foreign_only_if_this_server_could_not_check_it() {
        let passing = Webhooks {
            url: "https://app.example.org/".to_owned(),
            headers: vec!["authorization".to_owned()],
            ..Webhooks::default()
        };
        let silent = Webhooks {
            headers: Vec::new(),
            ..passing.clone()
        };
        for (text, has_keys, expected) in [
            ("ewk_a_b", true, Shown::ApiKey),
            ("ewk_a_b", false, Shown::ApiKey),
            ("ewk_a.b.c", true, Shown::ApiKey),
            ("a.b.c", true, Shown::Token),
            ("a.b.c", false, Shown::Foreign),
            ("..", true, Shown::Token),
            ("a.b", true, Shown::Foreign),
            ("a.b.c.d.e", true, Shown::Foreign),
            ("opaque", true, Shown::Foreign),
            ("", true, Shown::Foreign),
        ] {
            let shown = Shown::of(text, has_keys);
            assert_eq!(shown, expected, "{text} with keys: {has_keys}");
            let is_foreign = expected == Shown::Foreign;
            assert_eq!(shown.is_passed_on(Some(&passing)), is_foreign, "{text}");
            assert!(!shown.is_passed_on(Some(&silent)), "{text}");
            assert!(!shown.is_passed_on(None), "{text}");
        }
    }
}
