//! How a wire ends, and what follows from it: the one table of close codes and statuses.
//!
//! | verdict | what it blames | then |
//! |---|---|---|
//! | `Wire` | this wire on this network | try the next wire at once |
//! | `Server` | the server, or the whole network | back off, then try again |
//! | `Credential` | the token | fetch a fresh one |
//! | `Stop` | what we do | end the line with an error |

use std::time::Duration;

use crate::backoff::ASKED_WAIT_MAX;
use crate::signal::Refusal;
use crate::{LineError, LineWire, Problem};

/// How a wire ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ending {
    /// A Close frame came.
    Closed { code: u16, reason: String },
    /// An HTTP response that is no session.
    Refused { refusal: Refusal, wire: LineWire },
    /// The connection broke, after messages came or could have come.
    Cut(String),
    /// No response came to the first request.
    NoResponse { error: String, wire: LineWire },
    /// The server could not even be connected to.
    Unreachable(String),
    /// What came was not written by Everwire.
    Foreign(String),
    /// The server does not know the session any more.
    SessionGone,
    /// A message was larger than this many bytes.
    TooLarge { bytes_max: usize },
    /// A command was larger than the server takes.
    Oversized,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Wire {
        reason: String,
    },
    Server {
        reason: String,
        /// The time that the server named.
        after: Option<Duration>,
    },
    Credential {
        reason: String,
    },
    Stop(LineError),
}

impl Ending {
    /// What follows.
    pub fn judge(self) -> Verdict {
        match self {
            Self::Closed { code, reason } => judge_close(code, &reason),
            Self::Refused { refusal, wire } => judge_refusal(refusal, wire),
            Self::Cut(error) => Verdict::Wire {
                reason: format!("the connection broke: {error}"),
            },
            Self::Foreign(reason) => Verdict::Wire { reason },
            // Something between ends what it does not speak in this way.
            Self::NoResponse {
                error,
                wire: LineWire::WebSocket,
            } => Verdict::Wire {
                reason: format!("no response came: {error}"),
            },
            Self::NoResponse { error, .. } => Verdict::Server {
                reason: format!("no response came: {error}"),
                after: None,
            },
            Self::Unreachable(error) => Verdict::Server {
                reason: format!("the server cannot be reached: {error}"),
                after: None,
            },
            // A server that restarted takes a new session at once.
            Self::SessionGone => Verdict::Server {
                reason: "the server does not know the session any more".into(),
                after: None,
            },
            // It will not be sent again.
            Self::Oversized => Verdict::Server {
                reason: "a command was larger than the server takes".into(),
                after: None,
            },
            Self::TooLarge { bytes_max } => Verdict::Stop(LineError::TooLarge { bytes_max }),
        }
    }
}

fn judge_close(code: u16, reason: &str) -> Verdict {
    let said = format!("closed with {code} {reason}");
    let said = said.trim_end().to_owned();
    match code {
        4401 => Verdict::Credential { reason: said },
        4400..=4403 | 4410 => Verdict::Stop(LineError::Closed {
            code,
            reason: reason.to_owned(),
        }),
        _ => Verdict::Server {
            after: time_in(reason),
            reason: said,
        },
    }
}

/// A server that stops names a time for each line, in words.
fn time_in(reason: &str) -> Option<Duration> {
    let (ms, _) = reason.split_once("after ")?.1.split_once(" ms")?;
    Some(Duration::from_millis(ms.parse().ok()?).min(ASKED_WAIT_MAX))
}

fn judge_refusal(refusal: Refusal, wire: LineWire) -> Verdict {
    let Refusal {
        status,
        detail,
        retry_after,
        problem,
        ..
    } = refusal;
    let reason = format!("the answer was {status}: {detail}");
    match (status, problem) {
        (401, _) => Verdict::Credential { reason },
        // A proxy that cannot pass an upgrade on says so in many ways, while requests pass.
        (_, None) if wire == LineWire::WebSocket => Verdict::Wire { reason },
        // 409 tells a poll that a newer one came, which happens when something between sends it twice.
        (408 | 409 | 425 | 429 | 500.., _) => Verdict::Server {
            reason,
            after: retry_after,
        },
        // Only Everwire writes problems; a bare 403 or 404 is a proxy that does not like this wire. 426 is ours,
        // and says that this address speaks another wire.
        (426, _) | (_, None) => Verdict::Wire { reason },
        (_, Some(kind)) => Verdict::Stop(LineError::Refused(Problem { kind, detail })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: u16, reason: &str) -> Ending {
        Ending::Closed {
            code,
            reason: reason.into(),
        }
    }

    fn refused(wire: LineWire, status: u16, problem: Option<&str>, after_s: Option<u64>) -> Ending {
        let refusal = Refusal {
            status,
            detail: "no".into(),
            retry_after: after_s.map(Duration::from_secs),
            gap: None,
            problem: problem.map(str::to_owned),
        };
        Ending::Refused { refusal, wire }
    }

    #[test]
    fn an_ending_blames_the_wire_the_server_the_credential_or_us() {
        use LineWire::{EventStream, LongPoll, WebSocket};
        let stopping = "the server is stopping; reconnect after 2503 ms";
        let no_response = |wire| Ending::NoResponse {
            error: "reset".into(),
            wire,
        };
        for (ending, blame, after_ms) in [
            (closed(1000, ""), "Server", None),
            (closed(1001, stopping), "Server", Some(2503)),
            (closed(1013, ""), "Server", None),
            (closed(4408, ""), "Server", None),
            (closed(4429, ""), "Server", None),
            (closed(4400, ""), "Stop", None),
            (closed(4401, ""), "Credential", None),
            (closed(4403, ""), "Stop", None),
            (closed(4410, ""), "Stop", None),
            (refused(EventStream, 400, None, None), "Wire", None),
            (
                refused(EventStream, 400, Some("bad-request"), None),
                "Stop",
                None,
            ),
            (refused(EventStream, 401, None, None), "Credential", None),
            (refused(EventStream, 403, None, None), "Wire", None),
            (
                refused(WebSocket, 403, Some("forbidden"), None),
                "Stop",
                None,
            ),
            (
                refused(EventStream, 426, Some("upgrade-required"), None),
                "Wire",
                None,
            ),
            (
                refused(LongPoll, 429, Some("too-many"), Some(3)),
                "Server",
                Some(3000),
            ),
            (
                refused(LongPoll, 409, Some("replaced"), None),
                "Server",
                None,
            ),
            (refused(EventStream, 502, None, None), "Server", None),
            (refused(WebSocket, 502, None, None), "Wire", None),
            (
                refused(WebSocket, 503, Some("stopping"), Some(1)),
                "Server",
                Some(1000),
            ),
            (Ending::Cut("cut".into()), "Wire", None),
            (no_response(WebSocket), "Wire", None),
            (no_response(LongPoll), "Server", None),
            (Ending::Unreachable("refused".into()), "Server", None),
            (Ending::SessionGone, "Server", None),
            (Ending::Foreign("a page".into()), "Wire", None),
            (Ending::Oversized, "Server", None),
            (Ending::TooLarge { bytes_max: 1 }, "Stop", None),
        ] {
            let verdict = ending.clone().judge();
            let told = format!("{verdict:?}");
            assert!(told.starts_with(blame), "{ending:?} gave {told}");
            if let Verdict::Server { after, .. } = verdict {
                assert_eq!(after, after_ms.map(Duration::from_millis), "{ending:?}");
            }
        }
    }
}
