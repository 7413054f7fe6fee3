//! What a session's client says: one JSON object, of which nothing is ignored.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// One message from a session's client.
#[derive(Debug)]
pub struct Command<'a> {
    /// Chosen by the client and repeated in the reply; any JSON value, as it was written.
    pub id: Option<&'a RawValue>,
    /// What is asked for.
    pub operation: Operation<'a>,
}

/// What a session's client asks for. A channel may be left out where the line has one of its own.
#[derive(Debug)]
pub enum Operation<'a> {
    /// Read a channel.
    Subscribe(Subscribe<'a>),
    /// Read a channel no longer.
    Unsubscribe {
        /// The channel.
        channel: Option<String>,
    },
    /// Append an entry.
    Publish(Publish<'a>),
    /// Read a page of a channel's log.
    History {
        /// The channel.
        channel: Option<String>,
        /// Where to begin; neither is the beginning.
        from: From,
        /// Most entries of the page.
        limit: Option<u64>,
    },
    /// Who is there.
    Presence {
        /// The channel.
        channel: Option<String>,
    },
    /// A fresh credential for the open line.
    Authenticate {
        /// The token.
        token: String,
    },
    /// Ask for a sign of life.
    Ping,
}

/// How to read a channel.
#[derive(Debug)]
pub struct Subscribe<'a> {
    /// The channel.
    pub channel: Option<String>,
    /// Where to begin; neither is now.
    pub from: From,
    /// Whether what this session's publisher appends is sent to it too.
    pub echo: bool,
    /// How to be among those present, if at all.
    pub presence: Option<PresenceWish<'a>>,
}

/// What to append.
#[derive(Debug)]
pub struct Publish<'a> {
    /// The channel.
    pub channel: Option<String>,
    /// The payload.
    pub data: Data<'a>,
    /// The event's name.
    pub event: Option<String>,
    /// The idempotency key: a repeat is answered as the first was.
    pub key: Option<String>,
    /// The offset that the channel has to end at.
    pub tail: Option<String>,
}

/// Where a read begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct From {
    /// After this offset, `-1` or `now`.
    pub offset: Option<String>,
    /// So many entries before the end.
    pub last: Option<u64>,
}

/// A payload as it was sent.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// A JSON value.
    Json(&'a RawValue),
    /// A JSON string of base64, for bytes.
    Base64(&'a RawValue),
}

/// How a session wants to be among those present; `true` stands for all defaults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "true or an object")]
pub struct PresenceWish<'a> {
    /// The name that it claims, where no credential gives one.
    pub user: Option<String>,
    /// What others are shown with the name.
    #[serde(borrow)]
    pub info: Option<&'a RawValue>,
    /// Where to go on in the presence log, instead of being told all members.
    pub offset: Option<String>,
    /// Whether it is a member itself.
    #[serde(default = "yes")]
    pub join: bool,
}

impl Default for PresenceWish<'_> {
    fn default() -> Self {
        Self {
            user: None,
            info: None,
            offset: None,
            join: true,
        }
    }
}

/// Why a message is no command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The message is not a JSON object; a WebSocket is closed with 4400.
    #[error("a session's message is one JSON object; this was not one: {0}")]
    NotAnObject(String),
    /// The message is an object that asks for nothing known; it gets an error reply and the line stays open.
    #[error("{problem}")]
    Refused {
        /// The `id` of the message, as it was written.
        id: Option<String>,
        /// What is wrong with it.
        problem: String,
    },
}

impl<'a> Command<'a> {
    /// Reads one message.
    pub fn parse(text: &'a str) -> Result<Self, CommandError> {
        Self::check_object(text)?;
        let fields: Fields<'a> = match serde_json::from_str(text) {
            Ok(fields) => fields,
            // Also what is JSON by its grammar and means nothing: a number beyond all bounds, half a character.
            Err(error) if error.is_data() || is_json(text) => {
                return Err(CommandError::Refused {
                    id: Self::id_of(text).map(str::to_owned),
                    problem: error.to_string(),
                });
            }
            Err(error) => return Err(CommandError::NotAnObject(error.to_string())),
        };
        let id = fields.id;
        match fields.operation() {
            Ok(operation) => Ok(Self { id, operation }),
            Err(problem) => Err(CommandError::Refused {
                id: id.map(|id| id.get().to_owned()),
                problem,
            }),
        }
    }

    /// The `id` of a message as it was written, whatever else is in it.
    pub fn id_of(text: &str) -> Option<&str> {
        let only: IdOnly<'_> = serde_json::from_str(text).ok()?;
        only.id.map(RawValue::get)
    }

    /// Whether a JSON text is an object, so that [`parse`](Self::parse) at most refuses what it asks for.
    ///
    /// # Errors
    ///
    /// [`CommandError::NotAnObject`].
    pub fn check_object(text: &str) -> Result<(), CommandError> {
        // An array would be taken for the members in their order.
        match text.trim_ascii_start().starts_with('{') {
            true => Ok(()),
            false => Err(CommandError::NotAnObject(
                "it does not begin with {".to_owned(),
            )),
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// All members that some command has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a command")]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    op: Option<Word<'a>>,
    channel: Option<String>,
    offset: Option<String>,
    last: Option<u64>,
    echo: Option<bool>,
    #[serde(borrow)]
    presence: Option<&'a RawValue>,
    // A present `null` is a payload like any other, so it must not be taken for an absent one.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data64: Option<&'a RawValue>,
    event: Option<String>,
    key: Option<String>,
    tail: Option<String>,
    limit: Option<u64>,
    token: Option<String>,
}

/// A string that is not copied unless an escape stands in it. serde would copy a `Cow` inside an `Option`.
#[derive(Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    fn operation(self) -> Result<Operation<'a>, String> {
        let op = (self.op.as_ref().map(|Word(op)| &**op))
            .ok_or_else(|| format!("the member `op` names the operation: {}", names()))?;
        let (_, members) = OPERATIONS
            .iter()
            .find(|(name, _)| *name == op)
            .ok_or_else(|| format!("`{op}` is no operation; these are: {}", names()))?;
        if let Some(foreign) = self.given().find(|given| !members.contains(given)) {
            return Err(format!(
                "`{op}` takes no member `{foreign}`; it takes {}",
                members.join(", ")
            ));
        }
        let from = From {
            offset: self.offset,
            last: self.last,
        };
        if from.offset.is_some() && from.last.is_some() {
            return Err("`offset` and `last` exclude each other; give one".to_owned());
        }
        Ok(match op {
            "subscribe" => Operation::Subscribe(Subscribe {
                channel: self.channel,
                from,
                echo: self.echo.unwrap_or(true),
                presence: self.presence.map(presence).transpose()?.flatten(),
            }),
            "unsubscribe" => Operation::Unsubscribe {
                channel: self.channel,
            },
            "publish" => Operation::Publish(Publish {
                channel: self.channel,
                data: match (self.data, self.data64) {
                    (Some(data), None) => Data::Json(data),
                    (None, Some(data)) => Data::Base64(data),
                    (None, None) => {
                        return Err("publish needs the member `data`, or `data64`".to_owned());
                    }
                    (Some(_), Some(_)) => {
                        return Err("`data` and `data64` exclude each other; give one".to_owned());
                    }
                },
                event: self.event,
                key: self.key,
                tail: self.tail,
            }),
            "history" => Operation::History {
                channel: self.channel,
                from,
                limit: self.limit,
            },
            "presence" => Operation::Presence {
                channel: self.channel,
            },
            "authenticate" => Operation::Authenticate {
                token: self.token.ok_or("authenticate needs the member `token`")?,
            },
            _ => Operation::Ping,
        })
    }

    /// The members that were given, besides `id` and `op`.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        [
            ("channel", self.channel.is_some()),
            ("offset", self.offset.is_some()),
            ("last", self.last.is_some()),
            ("echo", self.echo.is_some()),
            ("presence", self.presence.is_some()),
            ("data", self.data.is_some()),
            ("data64", self.data64.is_some()),
            ("event", self.event.is_some()),
            ("key", self.key.is_some()),
            ("tail", self.tail.is_some()),
            ("limit", self.limit.is_some()),
            ("token", self.token.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
    }
}

/// Each operation, and the members that it takes.
const OPERATIONS: [(&str, &[&str]); 7] = [
    (
        "subscribe",
        &["channel", "offset", "last", "echo", "presence"],
    ),
    ("unsubscribe", &["channel"]),
    (
        "publish",
        &["channel", "data", "data64", "event", "key", "tail"],
    ),
    ("history", &["channel", "offset", "last", "limit"]),
    ("presence", &["channel"]),
    ("authenticate", &["token"]),
    ("ping", &[]),
];

fn names() -> String {
    OPERATIONS.map(|(name, _)| name).join(", ")
}

fn presence(wish: &RawValue) -> Result<Option<PresenceWish<'_>>, String> {
    match wish.get() {
        "true" => Ok(Some(PresenceWish::default())),
        "false" | "null" => Ok(None),
        // An array would be taken for the members in their order.
        object if object.starts_with('{') => serde_json::from_str(object)
            .map(Some)
            .map_err(|error| format!("`presence` is true or an object: {error}")),
        _ => Err("`presence` is true or an object".to_owned()),
    }
}

fn yes() -> bool {
    true
}

fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct IdOnly<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_read_with_its_members() {
        for (text, expected) in [
            (r#"{"op":"subscribe","channel":"a"}"#, "echo: true"),
            (
                r#"{"op":"subscribe","channel":"a","last":3,"echo":false}"#,
                "last: Some(3)",
            ),
            (
                r#"{"op":"subscribe","channel":"a","presence":true}"#,
                "join: true",
            ),
            (
                r#"{"op":"subscribe","channel":"a","presence":{"user":"ada","info":{"n":1},"join":false}}"#,
                "join: false",
            ),
            (
                r#"{"op":"subscribe","channel":"a","presence":false}"#,
                "presence: None",
            ),
            (r#"{"op":"unsubscribe","channel":"a"}"#, "Unsubscribe"),
            (r#"{"op":"publish","data":null}"#, "Json"),
            (r#"{"op":"publish","data64":"aGk="}"#, "Base64"),
            (
                r#"{"op":"history","channel":"a","limit":7}"#,
                "limit: Some(7)",
            ),
            (r#"{"op":"presence","channel":"a"}"#, "Presence"),
            (r#"{"op":"authenticate","token":"t"}"#, "Authenticate"),
            (r#" {"op":"ping","id":{"any":["value"]}}"#, "Ping"),
        ] {
            let command = Command::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let shown = format!("{command:?}");
            assert!(shown.contains(expected), "{text} gave {shown}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_by_name_and_keeps_its_id() {
        for (text, expected) in [
            (r#"{"id":7}"#, "names the operation"),
            (r#"{"id":7,"op":"dance"}"#, "`dance` is no operation"),
            (
                r#"{"id":7,"op":"ping","channel":"a"}"#,
                "takes no member `channel`",
            ),
            (r#"{"id":7,"op":"ping","colour":"a"}"#, "colour"),
            (r#"{"id":7,"op":"publish"}"#, "needs the member `data`"),
            (
                r#"{"id":7,"op":"publish","data":1,"data64":""}"#,
                "exclude each other",
            ),
            (
                r#"{"id":7,"op":"subscribe","offset":"now","last":1}"#,
                "exclude each other",
            ),
            (
                r#"{"id":7,"op":"subscribe","presence":3}"#,
                "true or an object",
            ),
            (
                r#"{"id":7,"op":"subscribe","presence":{"colour":1}}"#,
                "colour",
            ),
            (
                r#"{"id":7,"op":"subscribe","presence":["ada",null,null]}"#,
                "true or an object",
            ),
            (r#"{"id":7,"op":"subscribe","last":-1}"#, "invalid value"),
            (r#"{"id":7,"op":"subscribe","last":1e999}"#, "out of range"),
            (
                r#"{"id":7,"op":"subscribe","channel":"\ud800"}"#,
                "hex escape",
            ),
            (r#"{"id":7,"op":"authenticate"}"#, "`token`"),
        ] {
            match Command::parse(text) {
                Err(CommandError::Refused { id, problem }) => {
                    assert_eq!(id.as_deref(), Some("7"), "{text}");
                    assert!(problem.contains(expected), "{text} gave {problem}");
                }
                other => panic!("{text} gave {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_object_ends_the_line() {
        for text in [
            "",
            "[]",
            "[1]",
            "nope",
            "{",
            "\"a\"",
            "7",
            "{\"op\":\"ping\"} x",
        ] {
            assert!(
                matches!(Command::parse(text), Err(CommandError::NotAnObject(_))),
                "{text}"
            );
        }
    }
}
