//! The messages of a session (`everwire.v1`), the same on every wire.
//!
//! ```text
//!  ← {"ev":"welcome","session":"…","secret":"…","heartbeat_ms":25000}
//!  ← {"re":1,"ok":{"offset":"0hx…","recovered":true}}
//!  ← {"ev":"entry","channel":"chat/lobby","offset":"0hx…","time":1790000000000,"data":{"text":"hi"}}
//! ```

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::Envelope;
use super::{Undecodable, problem};
use crate::backoff::ASKED_WAIT_MAX;
use crate::{Entry, Gap, Info, Offset, Problem, Unreadable};

/// One message from a server.
#[derive(Debug)]
pub(crate) enum Message {
    Welcome(Welcome),
    Reply(Reply),
    Entry {
        channel: String,
        entry: Entry,
    },
    /// Where replies come by another way: what follows of this channel is what was asked for last.
    Subscribed {
        channel: String,
        offset: Offset,
    },
    Gap {
        channel: String,
        gap: Gap,
        log: LogKind,
    },
    /// An entry of a channel's presence log.
    Presence {
        channel: String,
        change: Change,
    },
    Closed {
        channel: String,
    },
    Revoked {
        channel: String,
        detail: String,
    },
    /// An object that says nothing that can be read: of this channel, if it names one.
    Unreadable {
        channel: Option<String>,
        unreadable: Unreadable,
    },
    Drain(Duration),
    /// A sign of life, or an event that a later server says.
    Ping,
}

/// The first message.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Welcome {
    /// What names the session, on wires where commands go another way than messages.
    pub session: Option<String>,
    pub secret: Option<String>,
    heartbeat_ms: Option<u64>,
    /// Where reading begins, on a channel's own URL.
    pub offset: Option<Offset>,
}

/// What a command is answered.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The command's number.
    pub re: u64,
    /// The `ok` of the reply as JSON, or why it was refused.
    pub outcome: Result<String, Refused>,
}

/// A command that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub problem: Problem,
    /// After how long at least the same command may succeed; `None`: never.
    pub again_after: Option<Duration>,
}

/// Which log of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKind {
    Entries,
    Presence,
}

/// A member came or went.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// The position after it in the presence log.
    pub offset: Offset,
    pub user: String,
    pub movement: Movement,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Movement {
    Join { info: Option<Info> },
    Leave,
}

impl Welcome {
    /// How often something comes down at least.
    pub fn heartbeat(&self) -> Option<Duration> {
        let ms = self.heartbeat_ms.filter(|ms| *ms > 0)?;
        Some(Duration::from_millis(ms).min(ASKED_WAIT_MAX))
    }
}

/// Reads one message. A JSON object is one, and an error is what was not written by Everwire, or no welcome.
pub(crate) fn decode(text: &[u8]) -> Result<Message, Undecodable> {
    read(text).or_else(|undecodable| match undecodable {
        Undecodable::Malformed(problem) => unreadable(text, problem),
        Undecodable::TooLarge { .. } => Err(undecodable),
    })
}

fn read(text: &[u8]) -> Result<Message, Undecodable> {
    let mut envelope: Envelope<'_> = serde_json::from_slice(text)?;
    let ev = envelope.ev.take();
    let mut channel = envelope.channel.take();
    let mut channel = || {
        let missing = || Undecodable::malformed("an event of a channel has no `channel`");
        channel.take().map(Cow::into_owned).ok_or_else(missing)
    };
    Ok(match ev.as_deref() {
        Some("entry") => {
            let entry = envelope.entry()?;
            Message::Entry {
                channel: channel()?,
                entry,
            }
        }
        Some("subscribed") => {
            let Began { offset } = members("subscribed", text)?;
            Message::Subscribed {
                channel: channel()?,
                offset,
            }
        }
        Some("welcome") => Message::Welcome(members("welcome", text)?),
        Some("gap") => {
            let Marked { presence } = members("gap", text)?;
            let log = if presence {
                LogKind::Presence
            } else {
                LogKind::Entries
            };
            Message::Gap {
                gap: members("gap", text)?,
                channel: channel()?,
                log,
            }
        }
        Some("join") => {
            let Member { offset, user, info } = members("join", text)?;
            Message::Presence {
                channel: channel()?,
                change: Change {
                    offset,
                    user,
                    movement: Movement::Join { info },
                },
            }
        }
        Some("leave") => {
            let Member { offset, user, .. } = members("leave", text)?;
            Message::Presence {
                channel: channel()?,
                change: Change {
                    offset,
                    user,
                    movement: Movement::Leave,
                },
            }
        }
        Some("closed") => Message::Closed {
            channel: channel()?,
        },
        Some("revoked") => {
            let Revoked { detail } = members("revoked", text)?;
            let detail = detail.unwrap_or_else(|| "the permission was taken back".into());
            Message::Revoked {
                channel: channel()?,
                detail: problem::harmless(&detail),
            }
        }
        Some("drain") => {
            let Drain { after_ms } = members("drain", text)?;
            Message::Drain(Duration::from_millis(after_ms).min(ASKED_WAIT_MAX))
        }
        Some(_) => Message::Ping,
        None => reply(text)?,
    })
}

/// What can be told of a message that has this problem.
fn unreadable(text: &[u8], problem: String) -> Result<Message, Undecodable> {
    #[derive(Deserialize)]
    struct About<'a> {
        #[serde(borrow)]
        ev: Option<&'a RawValue>,
        #[serde(borrow)]
        channel: Option<&'a RawValue>,
        #[serde(borrow)]
        offset: Option<&'a RawValue>,
    }
    let string = |json: Option<&RawValue>| serde_json::from_str::<String>(json?.get()).ok();
    let is_object = text.trim_ascii_start().starts_with(b"{");
    let about = serde_json::from_slice::<About<'_>>(text).ok();
    let Some(about) = about.filter(|_| is_object) else {
        return Err(Undecodable::Malformed(problem));
    };
    let ev = string(about.ev);
    if ev.as_deref() == Some("welcome") {
        return Err(Undecodable::Malformed(problem));
    }
    // Elsewhere it is the position in another log.
    let offset = string(about.offset).filter(|_| ev.as_deref() == Some("entry"));
    Ok(Message::Unreadable {
        channel: string(about.channel),
        unreadable: Unreadable {
            offset: offset.and_then(|offset| offset.parse().ok()),
            problem: problem::harmless(&problem),
        },
    })
}

fn reply(text: &[u8]) -> Result<Message, Undecodable> {
    #[derive(Deserialize)]
    struct Members<'a> {
        re: Option<u64>,
        #[serde(borrow)]
        ok: Option<&'a RawValue>,
        error: Option<ErrorMembers>,
    }
    let members: Members<'_> = serde_json::from_slice(text)?;
    let outcome = match (members.ok, members.error) {
        (Some(ok), None) => Ok(ok.get().to_owned()),
        (None, Some(error)) => Err(error.refused()),
        // The heartbeat of ndjson is an empty object.
        (None, None) => return Ok(Message::Ping),
        (Some(_), Some(_)) => {
            return Err(Undecodable::malformed("a reply has both `ok` and `error`"));
        }
    };
    // A command without a number is answered with `null`, and we send none.
    Ok(members
        .re
        .map_or(Message::Ping, |re| Message::Reply(Reply { re, outcome })))
}

/// The members of an event that its name asks for.
fn members<'a, T: Deserialize<'a>>(ev: &str, text: &'a [u8]) -> Result<T, Undecodable> {
    serde_json::from_slice(text)
        .map_err(|error| Undecodable::Malformed(format!("a `{ev}` cannot be read: {error}")))
}

#[derive(Deserialize)]
struct Marked {
    #[serde(default)]
    presence: bool,
}

#[derive(Deserialize)]
struct Member {
    offset: Offset,
    user: String,
    info: Option<Info>,
}

#[derive(Deserialize)]
struct Revoked {
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Began {
    offset: Offset,
}

#[derive(Deserialize)]
struct Drain {
    after_ms: u64,
}

#[derive(Deserialize)]
struct ErrorMembers {
    r#type: String,
    title: Option<String>,
    detail: Option<String>,
    #[serde(default)]
    retry: bool,
    after_ms: Option<u64>,
}

impl ErrorMembers {
    fn refused(self) -> Refused {
        let after = Duration::from_millis(self.after_ms.unwrap_or(0)).min(ASKED_WAIT_MAX);
        let detail = self.detail.or(self.title).unwrap_or_default();
        Refused {
            problem: Problem {
                kind: problem::name(&self.r#type),
                detail: problem::harmless(&detail),
            },
            again_after: self.retry.then_some(after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a message is, in short.
    fn told(text: &str) -> String {
        match decode(text.as_bytes()) {
            Ok(message) => format!("{message:?}"),
            Err(Undecodable::Malformed(problem)) => format!("malformed: {problem}"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn each_message_is_read_with_what_it_says() {
        for (message, expected) in [
            (
                r#"{"ev":"welcome","session":"s1","secret":"x","heartbeat_ms":20000}"#,
                r#"Welcome(Welcome { session: Some("s1"), secret: Some("x"), heartbeat_ms: Some(20000), offset: None })"#,
            ),
            (
                r#"{"ev":"entry","channel":"c","offset":"a1","time":17,"event":"said","data":{"text":"hi"}}"#,
                r#"Entry { channel: "c", entry: Entry { offset: Some(a1), time_ms: Some(17), event: Some("said"), data: Json("{\"text\":\"hi\"}") } }"#,
            ),
            (
                r#"{"ev":"subscribed","channel":"c","offset":"a0"}"#,
                r#"Subscribed { channel: "c", offset: a0 }"#,
            ),
            (
                r#"{"ev":"gap","channel":"c","oldest":"a3","newest":"a9"}"#,
                r#"Gap { channel: "c", gap: Gap { oldest: a3, newest: a9 }, log: Entries }"#,
            ),
            (
                r#"{"ev":"gap","channel":"c","oldest":"a3","newest":"a9","presence":true}"#,
                r#"Gap { channel: "c", gap: Gap { oldest: a3, newest: a9 }, log: Presence }"#,
            ),
            (
                r#"{"ev":"join","channel":"c","offset":"a4","time":17,"user":"~ada","info":[1]}"#,
                r#"Presence { channel: "c", change: Change { offset: a4, user: "~ada", movement: Join { info: Some([1]) } } }"#,
            ),
            (
                r#"{"ev":"leave","channel":"c","offset":"a5","time":17,"user":"~ada"}"#,
                r#"Presence { channel: "c", change: Change { offset: a5, user: "~ada", movement: Leave } }"#,
            ),
            (
                r#"{"ev":"closed","channel":"c","offset":"a9"}"#,
                r#"Closed { channel: "c" }"#,
            ),
            (
                r#"{"ev":"revoked","channel":"c"}"#,
                r#"Revoked { channel: "c", detail: "the permission was taken back" }"#,
            ),
            (r#"{"ev":"drain","after_ms":250}"#, "Drain(250ms)"),
            (r#"{"ev":"drain","after_ms":99999999999}"#, "Drain(3600s)"),
            (r#"{"ev":"ping"}"#, "Ping"),
            (r#"{"ev":"something new"}"#, "Ping"),
            ("{}", "Ping"),
            (r#"{"re":null,"ok":{}}"#, "Ping"),
            (
                r#"{"re":2,"ok":{"offset":"a2"}}"#,
                r#"Reply(Reply { re: 2, outcome: Ok("{\"offset\":\"a2\"}") })"#,
            ),
            (
                r#"{"re":3,"error":{"type":"too-many","title":"t","detail":"d\u001b","retry":true}}"#,
                r#"Reply(Reply { re: 3, outcome: Err(Refused { problem: Problem { kind: "too-many", detail: "d" }, again_after: Some(0ns) }) })"#,
            ),
            (
                r#"{"re":3,"error":{"type":"forbidden","title":"t"}}"#,
                r#"Reply(Reply { re: 3, outcome: Err(Refused { problem: Problem { kind: "forbidden", detail: "t" }, again_after: None }) })"#,
            ),
        ] {
            assert_eq!(told(message), expected, "{message}");
        }
    }

    #[test]
    fn a_message_that_lacks_a_member_says_which_and_of_what_channel_it_is() {
        for (message, about, expected) in [
            (
                r#"{"ev":"gap","channel":"c","oldest":"a3"}"#,
                (Some("c"), None),
                "missing field `newest`",
            ),
            (
                r#"{"ev":"drain"}"#,
                (None, None),
                "missing field `after_ms`",
            ),
            (
                r#"{"ev":"join","channel":"c","user":"ada"}"#,
                (Some("c"), None),
                "missing field `offset`",
            ),
            (r#"{"ev":"closed"}"#, (None, None), "has no `channel`"),
            (
                r#"{"ev":"entry","channel":"c","offset":"a1"}"#,
                (Some("c"), Some("a1")),
                "neither `data` nor `data64`",
            ),
            (
                r#"{"ev":"entry","channel":"c","offset":"a1","data64":"???"}"#,
                (Some("c"), Some("a1")),
                "no base64",
            ),
            (
                r#"{"ev":"entry","channel":"c","offset":"a1","event":"\ud83d","data":1}"#,
                (Some("c"), Some("a1")),
                "hex escape",
            ),
            (
                r#"{"ev":"entry","channel":"c","data":1}"#,
                (Some("c"), None),
                "no `offset`",
            ),
            (
                r#"{"ev":"entry","channel":"c","offset":"A!","data":1}"#,
                (Some("c"), None),
                "offset",
            ),
            (
                r#"{"ev":"entry","offset":"a1","data":1}"#,
                (None, Some("a1")),
                "has no `channel`",
            ),
            (
                r#"{"re":1,"ok":{},"error":{"type":"x"}}"#,
                (None, None),
                "both",
            ),
        ] {
            let Ok(Message::Unreadable {
                channel,
                unreadable,
            }) = decode(message.as_bytes())
            else {
                panic!("{message} gave {}", told(message));
            };
            let offset = unreadable.offset.map(|offset| offset.to_string());
            assert_eq!((channel.as_deref(), offset.as_deref()), about, "{message}");
            let problem = unreadable.problem;
            assert!(
                problem.contains(expected),
                "{message} has problem {problem:?}"
            );
        }
    }

    #[test]
    fn what_is_no_object_or_no_welcome_is_malformed() {
        for (message, expected) in [
            ("hello", "expected value"),
            ("<h1>please log in</h1>", "expected value"),
            ("[1]", "invalid"),
            (r#"{"ev":"welcome","session":1}"#, "invalid type"),
            (r#"{"ev":"entry","#, "EOF"),
        ] {
            let told = told(message);
            assert!(
                told.starts_with("malformed") && told.contains(expected),
                "{message} gave {told:?}"
            );
        }
    }

    #[test]
    fn whatever_json_a_user_tells_about_itself_is_read() {
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        for info in [
            r#""\ud83d""#,
            r#"{"\udc00":1e400,"a":-0,"a":2}"#,
            "123456789012345678901234567890",
            &deep,
        ] {
            let join = format!(
                r#"{{"ev":"join","channel":"c","offset":"a4","time":17,"user":"~ada","info":{info}}}"#
            );
            let told = told(&join);
            assert!(
                told.contains(&format!("Join {{ info: Some({info}) }}")),
                "{told}"
            );
        }
    }

    #[test]
    fn a_heartbeat_of_no_time_is_none() {
        for (heartbeat_ms, expected) in [
            (None, None),
            (Some(0), None),
            (Some(1500), Some(Duration::from_millis(1500))),
            (Some(u64::MAX), Some(ASKED_WAIT_MAX)),
        ] {
            let welcome = Welcome {
                session: None,
                secret: None,
                heartbeat_ms,
                offset: None,
            };
            assert_eq!(welcome.heartbeat(), expected);
        }
    }
}
