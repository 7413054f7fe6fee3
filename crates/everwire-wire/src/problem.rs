//! The one table of what can go wrong: its name, its HTTP status, its WebSocket close code, and whether to
//! try again unchanged. Over HTTP it is told as problem details (RFC 9457), on a line as a close code.

use everwire_channel::{Gap, OffsetError};
use everwire_websocket::CloseCode;
use serde_json::Value;

use crate::codes;

/// Under this address and its name, a problem is identified; it need not resolve.
const TYPE_BASE: &str = "https://everwire.dev/problems/";

/// Something that a client is told went wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which row of the table it is.
    pub kind: ProblemKind,
    /// What happened here, why, and what to do next.
    pub detail: String,
    /// Further members for programs, such as `oldest` and `newest` of a gap.
    pub members: Vec<(&'static str, Value)>,
    /// The limit that was met, if one was, by its setting where it has one; it is counted, not told.
    pub limit: Option<&'static str>,
}

impl Problem {
    /// A problem without further members.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            members: Vec::new(),
            limit: None,
        }
    }

    /// Names the limit that was met, by its setting where it has one.
    pub fn at_limit(mut self, setting: &'static str) -> Self {
        self.limit = Some(setting);
        self
    }

    /// Adds a member for programs.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// The body of an `application/problem+json` response, in the order in which a person reads it.
    pub fn to_json(&self) -> String {
        let mut json = format!(
            "{{\"type\":\"{TYPE_BASE}{}\",\"title\":{},\"status\":{},\"detail\":{}",
            self.kind.name(),
            Value::from(self.kind.title()),
            self.kind.status(),
            Value::from(self.detail.as_str()),
        );
        for (name, value) in &self.members {
            json.push_str(&format!(",\"{name}\":{value}"));
        }
        json.push('}');
        json
    }
}

/// A text that is no offset.
impl From<OffsetError> for Problem {
    fn from(error: OffsetError) -> Self {
        Self::new(ProblemKind::BadOffset, error.to_string())
    }
}

/// A position that the log has no longer.
impl From<Gap> for Problem {
    fn from(gap: Gap) -> Self {
        Self::new(
            ProblemKind::Gap,
            "entries after this offset are gone, by retention or with an earlier life of the channel; \
             read on from `oldest`, or get the state that you build from elsewhere",
        )
        .with("oldest", gap.oldest.to_token().to_string())
        .with("newest", gap.newest.to_token().to_string())
    }
}

macro_rules! problems {
    ($($(#[$doc:meta])* $kind:ident $name:literal $status:literal $close:expr, $retry:literal, $title:literal;)+) => {
        /// The kinds of problems. Names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $($(#[$doc])* $kind,)+
        }

        impl ProblemKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// The last segment of the problem's type.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// The HTTP status code.
            pub fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)+ }
            }

            /// The close code that a WebSocket gets for it.
            pub fn close_code(self) -> CloseCode {
                match self { $(Self::$kind => $close,)+ }
            }

            /// Whether the same request may succeed later, unchanged.
            pub fn retry(self) -> bool {
                match self { $(Self::$kind => $retry,)+ }
            }

            /// What it is, the same for each occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)+ }
            }
        }
    };
}

problems! {
    /// The channel's name breaks a rule of names.
    BadName "bad-name" 400 codes::BAD_MESSAGE, false, "the channel's name is not valid";
    /// The offset is none of ours, is missing, or is given twice.
    BadOffset "bad-offset" 400 codes::BAD_MESSAGE, false, "the offset is not valid";
    /// A parameter, a field or their combination is wrong.
    BadRequest "bad-request" 400 codes::BAD_MESSAGE, false, "the request is not valid";
    /// The content is not what its media type promises.
    BadContent "bad-content" 400 codes::BAD_MESSAGE, false, "the content is not valid";
    /// No credential was given, and one is needed for this.
    Unauthorized "unauthorized" 401 codes::EXPIRED, false, "a credential is needed";
    /// The credential is not one that this server takes.
    BadCredential "bad-credential" 401 codes::EXPIRED, false, "the credential is not valid";
    /// The credential was valid, and is not any more.
    ExpiredCredential "expired-credential" 401 codes::EXPIRED, false, "the credential has expired";
    /// The caller may not do this.
    Forbidden "forbidden" 403 codes::FORBIDDEN, false, "not permitted";
    /// The application that decides does not permit it.
    RefusedByApplication "refused-by-application" 403 codes::FORBIDDEN, false, "the application refuses this";
    /// The page's origin is not on the list.
    BadOrigin "bad-origin" 403 codes::FORBIDDEN, false, "this origin is not permitted";
    /// A newer epoch of this producer has written.
    StaleEpoch "stale-epoch" 403 codes::FORBIDDEN, false, "a newer epoch of this producer has taken over";
    /// There is no such channel or address.
    NotFound "not-found" 404 codes::FORBIDDEN, false, "not found";
    /// The address does not take this method.
    MethodNotAllowed "method-not-allowed" 405 codes::BAD_MESSAGE, false, "the method is not allowed here";
    /// The request did not arrive in time.
    TimedOut "timed-out" 408 CloseCode::POLICY, true, "the request took too long";
    /// The channel exists with other properties.
    Conflict "conflict" 409 codes::BAD_MESSAGE, false, "the channel exists with other properties";
    /// The idempotency key was used for another append.
    KeyReused "key-reused" 409 codes::BAD_MESSAGE, false, "the idempotency key was used for another append";
    /// The channel has another media type.
    TypeMismatch "type-mismatch" 409 codes::BAD_MESSAGE, false, "the channel has another media type";
    /// The channel is closed.
    Closed "closed" 409 CloseCode::NORMAL, false, "the channel is closed";
    /// An earlier append of this producer is missing.
    ProducerGap "producer-gap" 409 codes::BAD_MESSAGE, false, "an earlier append of this producer is missing";
    /// `Stream-Seq` did not rise.
    SequenceRegression "sequence-regression" 409 codes::BAD_MESSAGE, false, "the sequence does not rise";
    /// Another took this one's place.
    Replaced "replaced" 409 codes::REPLACED, false, "another took its place";
    /// The entries after the offset are gone.
    Gap "gap" 410 codes::GAP, false, "entries after this offset are gone";
    /// What the request was to hold for has changed.
    PreconditionFailed "precondition-failed" 412 codes::BAD_MESSAGE, false, "the channel has changed";
    /// The content is larger than allowed.
    TooLarge "too-large" 413 CloseCode::TOO_BIG, false, "the content is too large";
    /// The request target is longer than allowed.
    UriTooLong "uri-too-long" 414 CloseCode::POLICY, false, "the request target is too long";
    /// The content is in a coding that is not taken.
    UnsupportedEncoding "unsupported-encoding" 415 codes::BAD_MESSAGE, false, "the content's coding is not taken";
    /// The server does not answer by the name that it was asked by.
    Misdirected "misdirected" 421 codes::FORBIDDEN, false, "this server does not answer by that name";
    /// The address speaks WebSocket only, or another version of it.
    UpgradeRequired "upgrade-required" 426 CloseCode::PROTOCOL_ERROR, false, "a WebSocket handshake is needed here";
    /// Too many requests or lines from this caller.
    TooMany "too-many" 429 codes::TOO_FAST, true, "too many requests";
    /// The request head is larger than allowed.
    HeadTooLarge "head-too-large" 431 CloseCode::POLICY, false, "the request head is too large";
    /// The server is broken.
    Internal "internal" 500 CloseCode::INTERNAL_ERROR, true, "the server failed";
    /// The application that decides gave no answer.
    DecisionUnavailable "decision-unavailable" 503 CloseCode::OVERLOADED, true, "the application that decides does not answer";
    /// A limit of the whole server is met.
    Overloaded "overloaded" 503 CloseCode::OVERLOADED, true, "the server is at its limit";
    /// Another server does not answer that this one needs for its decision.
    Unavailable "unavailable" 503 CloseCode::OVERLOADED, true, "something that this server needs does not answer";
    /// The server is about to stop.
    Stopping "stopping" 503 CloseCode::GOING_AWAY, true, "the server is stopping";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_has_a_name_of_its_own_and_an_error_status() {
        let mut names: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            assert!((400..600).contains(&kind.status()), "{kind:?}");
        }
    }

    #[test]
    fn problem_details_have_the_members_of_rfc_9457() {
        let problem = Problem::new(ProblemKind::Gap, "read again")
            .with("oldest", "a")
            .with("newest", "b");
        let json: Value = serde_json::from_str(&problem.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "https://everwire.dev/problems/gap",
                "title": "entries after this offset are gone",
                "status": 410,
                "detail": "read again",
                "oldest": "a",
                "newest": "b",
            })
        );
    }
}
