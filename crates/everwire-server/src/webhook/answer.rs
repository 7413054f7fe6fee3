//! What the application answers.
//!
//! ```json
//! {"allow":true,"sub":"ada","info":{"name":"Ada"},"channels":[{"match":"chat/*","can":["read"]}],"until":1790000000,"cache_s":60}
//! {"allow":false,"reason":"you are muted","cache_s":5}
//! ```
//!
//! A member that is not known, or belongs to another question, makes the whole answer void: `untill` would else be a
//! right without an end.

use std::{sync::Arc, time::Duration};

use everwire_wire::{Problem, ProblemKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::question::Kind;
use crate::{
    auth::{Caller, NotVouched, has_ended, vouched},
    config::{Action, Grant, Object, some_objects},
};

/// What the application decided.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    /// It may be.
    Allowed(Arc<Allowed>),
    /// It may not, and perhaps why.
    Refused(Option<Arc<str>>),
    /// There is none, so it may not for now.
    None(NoDecision),
}

/// What goes with a permission.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    /// Who it is that asked to be let in.
    pub caller: Caller,
    /// What others are shown of who is present.
    pub info: Option<Box<RawValue>>,
    /// Until when, in Unix milliseconds.
    pub until_ms: Option<u64>,
    /// What is published instead.
    pub entries: Option<Vec<Replacement>>,
}

/// What is published instead of one entry's payload.
#[derive(Debug, Deserialize)]
#[serde(
    rename_all = "snake_case",
    expecting = "an object with `data` or `data64`"
)]
pub(crate) enum Replacement {
    /// A JSON value, of which text is a string.
    Data(Box<RawValue>),
    /// Bytes, in base64.
    Data64(String),
}

/// Why the application decided nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoDecision {
    /// More questions wait than may.
    TooMany,
    /// More questions of this caller wait than may be one caller's.
    TooManyOfOne,
    /// It was not there lately, and is left alone for so long.
    Resting(Duration),
    /// It did not answer in time, or not as it should.
    Failed,
}

/// An answer, and for how long it may be used again.
#[derive(Debug)]
pub(crate) struct Answer {
    pub decision: Decision,
    pub cache_s: u64,
}

/// What is wrong with an answer; nothing of it is shown, since it may hold what only the application should know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("it is not the JSON of an answer, at line {line}, column {column}")]
    Json { line: usize, column: usize },
    #[error("`{0}` does not belong to an answer to this question")]
    Misplaced(&'static str),
    #[error("`sub` is no name of a user: {0}")]
    User(NotVouched),
    #[error("`until` is no time in seconds since 1970")]
    Until,
    #[error("`channels` has more than {max} grants")]
    Grants { max: usize },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    allow: bool,
    reason: Option<String>,
    sub: Option<String>,
    info: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "some_objects")]
    channels: Option<Vec<Grant>>,
    until: Option<f64>,
    entries: Option<Vec<Replacement>>,
    #[serde(default)]
    cache_s: u64,
}

/// Longest reason that a client is told, in characters.
const REASON_CHARS_MAX: usize = 200;

impl Answer {
    /// Reads the answer to a question of this kind, which came at this time.
    pub fn parse(
        kind: Kind,
        content: &[u8],
        grants_max: usize,
        now_s: u64,
    ) -> Result<Self, AnswerError> {
        let Object::<Members>(members) =
            serde_json::from_slice(content).map_err(|error| AnswerError::Json {
                line: error.line(),
                column: error.column(),
            })?;
        let (names_caller, shows_info, replaces) = match kind {
            Kind::Connect => (true, true, false),
            Kind::Do(Action::Presence) => (false, true, false),
            Kind::Do(Action::Publish) => (false, false, true),
            Kind::Do(Action::Read | Action::Manage) => (false, false, false),
        };
        for (name, is_there, may_be) in [
            ("reason", members.reason.is_some(), !members.allow),
            ("sub", members.sub.is_some(), members.allow && names_caller),
            (
                "channels",
                members.channels.is_some(),
                members.allow && names_caller,
            ),
            ("info", members.info.is_some(), members.allow && shows_info),
            (
                "entries",
                members.entries.is_some(),
                members.allow && replaces,
            ),
            ("until", members.until.is_some(), members.allow),
        ] {
            if is_there && !may_be {
                return Err(AnswerError::Misplaced(name));
            }
        }
        let grants = members.channels.unwrap_or_default();
        if grants.len() > grants_max {
            return Err(AnswerError::Grants { max: grants_max });
        }
        let user = members.sub.as_deref().map(vouched).transpose();
        let until_ms = members.until.map(|seconds| match seconds {
            0.0..=UNIX_S_MAX => Ok((seconds * 1000.0) as u64),
            _ => Err(AnswerError::Until),
        });
        let user = user.map_err(AnswerError::User)?;
        let until_ms = until_ms.transpose()?;
        let (caller, info) = match kind {
            Kind::Connect => (
                Caller::named(user, members.info, grants, until_ms, now_s),
                None,
            ),
            Kind::Do(_) => (Caller::Anybody, members.info),
        };
        let decision = match members.allow {
            true => Decision::Allowed(Arc::new(Allowed {
                caller,
                info,
                until_ms,
                entries: members.entries,
            })),
            false => Decision::Refused(members.reason.as_deref().and_then(fit_for_show)),
        };
        Ok(Self {
            decision,
            cache_s: members.cache_s,
        })
    }
}

/// Ten thousand years or so; nobody counts further by mistake alone.
const UNIX_S_MAX: f64 = 253_402_300_800.0;

impl Decision {
    /// What goes with the permission, or what the caller is told. A permission that is over by now is none.
    pub fn permission(self, now_ms: u64) -> Result<Arc<Allowed>, Problem> {
        let unavailable = |detail: &str, retry_after_s: u64| {
            let problem = Problem::new(ProblemKind::DecisionUnavailable, detail);
            Err(problem.with("retry_after", retry_after_s))
        };
        match self {
            Self::Allowed(allowed) if allowed.until_ms.is_some_and(|ends_ms| ends_ms <= now_ms) => {
                Err(has_ended())
            }
            Self::Allowed(allowed) => Ok(allowed),
            Self::Refused(None) => Err(Problem::new(
                ProblemKind::RefusedByApplication,
                "the application refuses this",
            )),
            Self::Refused(Some(reason)) => Err(Problem::new(
                ProblemKind::RefusedByApplication,
                format!("the application refuses this: {reason}"),
            )
            .with("reason", &*reason)),
            Self::None(NoDecision::TooMany) => unavailable(
                "the application has as many questions before it as may wait (webhooks.waiting_max); try again later",
                1,
            )
            .map_err(|problem| problem.at_limit("waiting_max")),
            Self::None(NoDecision::TooManyOfOne) => Err(Problem::new(
                ProblemKind::TooMany,
                "as many questions of this caller wait for the application's decision as may (webhooks.waiting_per_caller_max); \
                 wait for their answers",
            )
            .with("retry_after", 1)
            .at_limit("waiting_per_caller_max")),
            Self::None(NoDecision::Resting(left)) => unavailable(
                "the application that decides this does not answer, and is asked again in a moment; try again then",
                left.as_secs() + 1,
            ),
            Self::None(NoDecision::Failed) => unavailable(
                "the application that decides this gave no answer that this server understands; try again later",
                1,
            ),
        }
    }
}

/// A reason as a client may be shown it: one line, not too long.
fn fit_for_show(reason: &str) -> Option<Arc<str>> {
    let shown = reason.chars().filter(|c| !c.is_control());
    let shown: String = shown.take(REASON_CHARS_MAX).collect();
    (!shown.is_empty()).then(|| shown.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISH: Kind = Kind::Do(Action::Publish);

    fn answer(kind: Kind, content: &str) -> Result<Answer, AnswerError> {
        Answer::parse(kind, content.as_bytes(), 2, 0)
    }

    #[test]
    fn a_permission_brings_what_belongs_to_its_question() {
        let whole = r#"{"allow":true,"sub":"ada","info":{"a":1},"channels":[{"match":"a/*","can":["read"]}],"until":17.5,"cache_s":60}"#;
        let Answer { decision, cache_s } = answer(Kind::Connect, whole).unwrap();
        let allowed = decision.permission(0).unwrap();
        let known = allowed.caller.as_known().unwrap();
        assert_eq!(allowed.caller.user().unwrap().as_str(), "ada");
        assert_eq!(allowed.caller.info().unwrap().get(), r#"{"a":1}"#);
        assert_eq!(
            (known.grants.len(), known.ends_ms, cache_s),
            (1, Some(17_500), 60)
        );
        let replaced = answer(
            PUBLISH,
            r#"{"allow":true,"entries":[{"data":"***"},{"data64":"AA=="}]}"#,
        );
        let allowed = replaced.unwrap().decision.permission(0).unwrap();
        assert_eq!(allowed.entries.as_ref().unwrap().len(), 2);
    }

    #[test]
    fn whatever_could_be_meant_otherwise_is_no_answer() {
        for (kind, content) in [
            (Kind::Connect, ""),
            (Kind::Connect, "{}"),
            (Kind::Connect, "true"),
            // In the order of an answer's members.
            (Kind::Connect, "[true,null,null,null,null,null,null,0]"),
            (Kind::Connect, r#"{"allow":true,"sub":"~ada"}"#),
            (Kind::Connect, r#"{"allow":"yes"}"#),
            (Kind::Connect, r#"{"allow":null}"#),
            (Kind::Connect, r#"{"allow":false,"allow":true}"#),
            (Kind::Connect, r#"{"allow":true} {"allow":true}"#),
            (Kind::Connect, r#"{"allow":true,"untill":1}"#),
            (Kind::Connect, r#"{"allow":true,"until":-1}"#),
            (Kind::Connect, r#"{"allow":true,"until":1e99}"#),
            (Kind::Connect, r#"{"allow":true,"sub":""}"#),
            (Kind::Connect, r#"{"allow":true,"reason":"no"}"#),
            (Kind::Connect, r#"{"allow":true,"entries":[]}"#),
            (
                Kind::Connect,
                r#"{"allow":true,"channels":[{"match":"a**","can":["read"]}]}"#,
            ),
            (
                Kind::Connect,
                r#"{"allow":true,"channels":[{"match":"a","can":[]},{"match":"b","can":[]},{"match":"c","can":[]}]}"#,
            ),
            (Kind::Connect, r#"{"allow":false,"sub":"ada"}"#),
            (Kind::Do(Action::Read), r#"{"allow":true,"sub":"ada"}"#),
            (PUBLISH, r#"{"allow":true,"channels":[]}"#),
            (
                PUBLISH,
                r#"{"allow":true,"entries":[{"data":1,"data64":"AA=="}]}"#,
            ),
            (PUBLISH, r#"{"allow":true,"entries":[{}]}"#),
        ] {
            assert!(answer(kind, content).is_err(), "{content}");
        }
    }

    #[test]
    fn no_error_shows_what_was_answered() {
        for content in [
            r#"{"allow":true,"secret-4711":1}"#,
            r#"{"allow":"secret-4711"}"#,
        ] {
            let error = answer(Kind::Connect, content).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        }
    }

    #[test]
    fn a_reason_is_shown_as_one_line_of_a_bounded_length() {
        let long = "x".repeat(500);
        let shown = "x".repeat(REASON_CHARS_MAX);
        for (reason, expected) in [
            (
                "you are muted",
                "the application refuses this: you are muted",
            ),
            ("a\\r\\nb\\u0000c", "the application refuses this: abc"),
            ("", "the application refuses this"),
            (&long, &format!("the application refuses this: {shown}")),
        ] {
            let content = format!("{{\"allow\":false,\"reason\":\"{reason}\"}}");
            let problem = answer(PUBLISH, &content)
                .unwrap()
                .decision
                .permission(0)
                .unwrap_err();
            assert_eq!(problem.kind, ProblemKind::RefusedByApplication);
            assert_eq!(problem.detail, expected);
        }
    }

    #[test]
    fn without_a_decision_nothing_is_allowed_and_a_client_is_told_when_to_come_back() {
        for (none, after_s, limit) in [
            (NoDecision::TooMany, 1, Some("waiting_max")),
            (NoDecision::Resting(Duration::from_millis(4_200)), 5, None),
            (NoDecision::Failed, 1, None),
        ] {
            let problem = Decision::None(none).permission(0).unwrap_err();
            assert_eq!(
                (problem.kind, problem.limit),
                (ProblemKind::DecisionUnavailable, limit)
            );
            assert_eq!(problem.members, [("retry_after", after_s.into())]);
        }
    }
}
