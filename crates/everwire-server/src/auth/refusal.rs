//! What a caller is told who is refused.

use everwire_channel::ChannelName;
use everwire_wire::{Problem, ProblemKind};

use super::{Caller, CredentialError, Who};
use crate::config::{Action, Duty};

/// The credential that was shown is not taken.
pub(crate) fn not_taken(error: &CredentialError) -> Problem {
    let detail = error.to_string();
    match error {
        CredentialError::Expired { .. } => Problem::new(ProblemKind::ExpiredCredential, detail),
        CredentialError::TooLong { .. } => {
            Problem::new(ProblemKind::BadCredential, detail).at_limit("token_bytes_max")
        }
        CredentialError::KeysUnavailable => Problem::new(ProblemKind::Unavailable, detail),
        CredentialError::Malformed
        | CredentialError::Header(_)
        | CredentialError::Key(_)
        | CredentialError::UnknownKey
        | CredentialError::Algorithm { .. }
        | CredentialError::Signature
        | CredentialError::Claims(_)
        | CredentialError::TooEarly { .. }
        | CredentialError::TooLongLived { .. }
        | CredentialError::Revoked
        | CredentialError::KeyRemoved
        | CredentialError::ApplicationRemoved
        | CredentialError::ApiKey => Problem::new(ProblemKind::BadCredential, detail),
    }
}

/// The credential was taken, and its time is over.
pub(crate) fn has_ended() -> Problem {
    Problem::new(
        ProblemKind::ExpiredCredential,
        "the credential has expired; get a fresh one",
    )
}

/// The credential was taken, and was revoked since.
pub(crate) fn was_revoked() -> Problem {
    not_taken(&CredentialError::Revoked)
}

/// Whether the caller may do what concerns no channel; where everybody may do everything, anybody.
pub(crate) fn permit_duty(caller: &Caller, duty: Duty, dev: bool) -> Result<(), Problem> {
    let known = caller.as_known();
    if dev || known.is_some_and(|known| known.can.contains(&duty)) {
        return Ok(());
    }
    let said = duty.name();
    let kind = match known {
        None => ProblemKind::Unauthorized,
        Some(_) => ProblemKind::Forbidden,
    };
    let detail = format!("this takes an API key with `{said}` in its `can`, beside its `channels`");
    Err(Problem::new(kind, detail))
}

/// The caller may publish to no channel at all.
pub(crate) fn publishes_nowhere(caller: &Caller) -> Problem {
    match caller.as_known().map(|known| &known.who) {
        None => Problem::new(
            ProblemKind::Unauthorized,
            "`publish` is granted on no channel to callers without a credential; show one, or grant it to everybody by \
             `anonymous` under [channels] or in a rule",
        ),
        Some(who) => {
            let whose = match who {
                Who::Token { .. } => "this token",
                Who::Server(_) => "this API key",
                Who::Named { .. } => "the application's answer about this caller",
            };
            let detail = format!(
                "`publish` is granted on no channel by {whose}; its `channels` need a grant with `publish` in `can`"
            );
            Problem::new(ProblemKind::Forbidden, detail)
        }
    }
}

/// This is not granted to the caller, neither by its credential nor to everybody; or it is granted to nobody at all.
pub(super) fn not_granted(caller: &Caller, action: Action, name: &ChannelName) -> Problem {
    let said = action.name();
    if name.is_presence_log() {
        let detail =
            "who is in a channel is told at /presence/{name}; its log has no address of its own";
        return Problem::new(ProblemKind::Forbidden, detail);
    }
    if !action.may_be_granted(name) {
        let detail = format!(
            "`{said}` is granted to nobody on {name}: names that begin with `$` are the server's own; use another name"
        );
        return Problem::new(ProblemKind::Forbidden, detail);
    }
    // What a pattern has to look like.
    let pattern = match name.is_reserved() {
        true => " that writes out `$` and what follows, as in $everwire/**",
        false => "",
    };
    match caller.as_known().map(|known| &known.who) {
        None => Problem::new(
            ProblemKind::Unauthorized,
            format!(
                "`{said}` is not granted on {name} to callers without a credential; show one, or grant it to \
                 everybody by `anonymous` under [channels] or in a rule{pattern}"
            ),
        ),
        Some(who) => {
            let whose = match who {
                Who::Token { .. } => "this token",
                Who::Server(_) => "this API key",
                Who::Named { .. } => "the application's answer about this caller",
            };
            let detail = format!(
                "`{said}` is not granted on {name} by {whose}; its `channels` need a `match` for that name{pattern}, with `{said}` in `can`"
            );
            Problem::new(ProblemKind::Forbidden, detail)
        }
    }
}
