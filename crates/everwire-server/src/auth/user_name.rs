//! Names of users: those that somebody vouches for, and those that are only claimed.
//!
//! A claimed name is shown with `~` before it, so none that is vouched for may begin so: a stranger would else be the same
//! member as a user.

use everwire_channel::{LabelError, UserName};

/// Marks a name that nobody vouches for.
const MARK: char = '~';

/// Why nobody can vouch for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotVouched {
    #[error("it begins with `~`, which marks names that nobody vouches for")]
    Marked,
    #[error(transparent)]
    Label(#[from] LabelError),
}

/// A name that a token or the operator's application vouches for.
pub(crate) fn vouched(name: &str) -> Result<UserName, NotVouched> {
    if name.starts_with(MARK) {
        return Err(NotVouched::Marked);
    }
    Ok(UserName::new(name)?)
}

/// A name that its bearer claims, as it is shown.
pub(crate) fn claimed(name: &str) -> Result<UserName, LabelError> {
    UserName::new(name)?; // an empty one would be nothing but the mark
    UserName::new(&format!("{MARK}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_claimed_name_is_one_that_is_vouched_for() {
        let longest = "u".repeat(UserName::BYTES_MAX);
        for (name, is_vouched, is_claimed) in [
            ("bob", true, true),
            ("~bob", false, true),
            ("~", false, true),
            (" ", true, true),
            ("", false, false),
            ("a\nb", false, false),
            ("\u{85}", false, false),
            (&*longest, true, false),
        ] {
            let (vouched, claimed) = (vouched(name), claimed(name));
            assert_eq!(
                (vouched.is_ok(), claimed.is_ok()),
                (is_vouched, is_claimed),
                "{name:?}"
            );
            if let Ok(claimed) = claimed {
                assert!(claimed.as_str().starts_with(MARK));
            }
            if let Ok(vouched) = vouched {
                assert!(!vouched.as_str().starts_with(MARK));
            }
        }
    }
}
