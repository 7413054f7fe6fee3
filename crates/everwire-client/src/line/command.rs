//! The commands of a session, as JSON without their number, and what their replies hold.
//!
//! ```text
//!  → {"id":1,"op":"subscribe","channel":"chat/lobby","offset":"0hx…"}
//!  ← {"re":1,"ok":{"offset":"0hx…","recovered":true}}
//! ```

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{AskError, Publication, SubscribeOptions};
use crate::decode::{Undecodable, envelope::Envelope};
use crate::{Data, Entry, Info, Offset, Start};

/// A command: its members except the number, which never change when it is sent again. Servers refuse a key that
/// comes with other content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command(String);

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum CommandMembers<'a> {
    Subscribe {
        channel: &'a str,
        #[serde(flatten)]
        place: Place<'a>,
        #[serde(skip_serializing_if = "is_true")]
        echo: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        presence: Option<PresenceMembers<'a>>,
    },
    Unsubscribe {
        channel: &'a str,
    },
    Publish {
        channel: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data64: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<&'a str>,
        key: &'a str,
    },
    History {
        channel: &'a str,
        #[serde(flatten)]
        place: Place<'a>,
        limit: u32,
    },
    Presence {
        channel: &'a str,
    },
    Authenticate {
        token: &'a str,
    },
}

/// Where to read: neither member means now.
#[derive(Serialize)]
struct Place<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
}

#[derive(Serialize)]
struct PresenceMembers<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a Info>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<&'a str>,
    #[serde(skip_serializing_if = "is_true")]
    join: bool,
}

impl Command {
    /// Reads a channel from `start`, and its presence log from `presence_after`.
    pub fn subscribe(
        channel: &str,
        start: &Start,
        options: &SubscribeOptions,
        presence_after: Option<&Offset>,
    ) -> Self {
        let presence = options.presence.as_ref().map(|presence| PresenceMembers {
            user: presence.user.as_deref(),
            info: presence.info.as_ref(),
            offset: presence_after.map(Offset::as_str),
            join: presence.join,
        });
        Self::new(&CommandMembers::Subscribe {
            channel,
            place: start.into(),
            echo: options.echo,
            presence,
        })
    }

    pub fn unsubscribe(channel: &str) -> Self {
        Self::new(&CommandMembers::Unsubscribe { channel })
    }

    /// Publishes under this key.
    ///
    /// # Errors
    ///
    /// The data is said to be JSON, and is none.
    pub fn publish(channel: &str, publication: &Publication, key: &str) -> Result<Self, AskError> {
        let not_json = |error: serde_json::Error| AskError::NotJson(error.to_string());
        let (data, data64) = match &publication.data {
            Data::Json(text) => {
                let json = RawValue::from_string(text.clone()).map_err(not_json)?;
                (Some(json), None)
            }
            Data::Text(text) => {
                let json = serde_json::value::to_raw_value(text).map_err(not_json)?;
                (Some(json), None)
            }
            Data::Binary(bytes) => (None, Some(BASE64_STANDARD.encode(bytes))),
        };
        Ok(Self::new(&CommandMembers::Publish {
            channel,
            data: data.as_deref(),
            data64,
            event: publication.event.as_deref(),
            key,
        }))
    }

    /// Asks for at most `limit` entries.
    pub fn history(channel: &str, start: &Start, limit: u32) -> Self {
        // Without a place, history begins at the beginning.
        let place = match start {
            Start::Now => Place {
                offset: Some("now"),
                last: None,
            },
            start => start.into(),
        };
        Self::new(&CommandMembers::History {
            channel,
            place,
            limit,
        })
    }

    pub fn members(channel: &str) -> Self {
        Self::new(&CommandMembers::Presence { channel })
    }

    pub fn authenticate(token: &str) -> Self {
        Self::new(&CommandMembers::Authenticate { token })
    }

    pub fn ping() -> Self {
        Self(r#""op":"ping"}"#.to_owned())
    }

    fn new(members: &CommandMembers<'_>) -> Self {
        let mut text = serde_json::to_string(members)
            .unwrap_or_else(|_| unreachable!("members are strings, numbers and JSON"));
        text.remove(0);
        Self(text)
    }

    /// The command with a number, as it is sent.
    pub fn numbered(&self, id: u64) -> String {
        format!("{{\"id\":{id},{}", self.0)
    }

    /// The size of what never changes, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl<'a> From<&'a Start> for Place<'a> {
    fn from(start: &'a Start) -> Self {
        let (offset, last) = match start {
            Start::Beginning => (Some("-1"), None),
            Start::Now => (None, None),
            Start::After(offset) => (Some(offset.as_str()), None),
            Start::Last(entries) => (None, Some(*entries)),
        };
        Self { offset, last }
    }
}

fn is_true(value: &bool) -> bool {
    *value
}

/// The reply to `subscribe`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Subscribed {
    /// Where reading begins.
    pub offset: Offset,
    pub presence: Option<Snapshot>,
}

/// Where a channel's presence stands.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "SnapshotMembers")]
pub(crate) struct Snapshot {
    /// Where the presence log goes on.
    pub offset: Offset,
    /// None where the presence log was resumed: then joins and leaves follow.
    pub members: Option<Members>,
}

#[derive(Deserialize)]
struct SnapshotMembers {
    offset: Offset,
    total: Option<u64>,
    members: Option<Vec<Member>>,
}

impl From<SnapshotMembers> for Snapshot {
    fn from(snapshot: SnapshotMembers) -> Self {
        let total = snapshot.total;
        let members = snapshot.members.map(|listed| Members {
            total: total.unwrap_or(listed.len() as u64),
            listed,
        });
        Self {
            offset: snapshot.offset,
            members,
        }
    }
}

/// Who is in a channel.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Members {
    /// How many are there.
    pub total: u64,
    /// Those that the server lists, in the order of their names; of very many not all.
    pub listed: Vec<Member>,
}

/// One user who is in a channel, over one session or several.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// The name; it begins with `~` where no credential vouches for it.
    pub user: String,
    /// What the user tells about itself.
    pub info: Option<Info>,
    /// How many sessions of this user are in the channel; 0 for a moment after the last one is gone, since it may
    /// come back.
    #[serde(default = "one")]
    pub count: u64,
}

fn one() -> u64 {
    1
}

/// Entries of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
    /// The position after the last of them: where to go on.
    pub offset: Offset,
    /// Nothing more was there when they were read.
    pub up_to_date: bool,
}

impl History {
    pub(crate) fn parse(ok: &str) -> Result<Self, Undecodable> {
        #[derive(Deserialize)]
        struct HistoryMembers<'a> {
            #[serde(borrow)]
            entries: Vec<Envelope<'a>>,
            offset: Offset,
            #[serde(default)]
            up_to_date: bool,
        }
        let members: HistoryMembers<'_> = serde_json::from_str(ok)?;
        Ok(Self {
            entries: (members.entries.into_iter())
                .map(Envelope::entry)
                .collect::<Result<_, _>>()?,
            offset: members.offset,
            up_to_date: members.up_to_date,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Presence;

    fn check(command: &Command, expected: &str) {
        assert_eq!(command.numbered(7), expected);
        serde_json::from_str::<Value>(expected).expect("a command is JSON");
    }

    #[test]
    fn a_subscription_says_where_it_starts_and_only_what_is_not_usual() {
        let subscribe = |start: Start, options: &SubscribeOptions| {
            Command::subscribe("chat/lobby", &start, options, None)
        };
        let usual = SubscribeOptions::default();
        for (start, place) in [
            (Start::Now, ""),
            (Start::Beginning, r#","offset":"-1""#),
            (Start::After("a1".parse().unwrap()), r#","offset":"a1""#),
            (Start::Last(3), r#","last":3"#),
        ] {
            check(
                &subscribe(start, &usual),
                &format!(r#"{{"id":7,"op":"subscribe","channel":"chat/lobby"{place}}}"#),
            );
        }
        let options = SubscribeOptions {
            echo: false,
            presence: Some(Presence {
                user: Some("ada".into()),
                info: Some(Value::from(vec![1]).into()),
                join: false,
            }),
            ..SubscribeOptions::default()
        };
        let after = "p1".parse().unwrap();
        check(
            &Command::subscribe("a", &Start::Now, &options, Some(&after)),
            r#"{"id":7,"op":"subscribe","channel":"a","echo":false,"presence":{"user":"ada","info":[1],"offset":"p1","join":false}}"#,
        );
    }

    #[test]
    fn a_publication_is_sent_as_it_was_given() {
        for (data, expected) in [
            (Data::Json("{\"n\": 1.50}".into()), r#""data":{"n": 1.50}"#),
            (
                Data::Text("say \"hi\"\n".into()),
                r#""data":"say \"hi\"\n""#,
            ),
            (Data::Binary(vec![0, 255].into()), r#""data64":"AP8=""#),
        ] {
            let publication = Publication::from(data);
            check(
                &Command::publish("a", &publication, "k").unwrap(),
                &format!(r#"{{"id":7,"op":"publish","channel":"a",{expected},"key":"k"}}"#),
            );
        }
        let broken = Publication::from(Data::Json("{\"n\":1},\"key\":\"x\"".into()));
        let refused = Command::publish("a", &broken, "k");
        assert!(matches!(refused, Err(AskError::NotJson(_))), "{refused:?}");
    }

    #[test]
    fn other_commands_say_what_they_are_about() {
        for (command, expected) in [
            (
                Command::unsubscribe("a\"b"),
                r#"{"id":7,"op":"unsubscribe","channel":"a\"b"}"#,
            ),
            (
                Command::history("a", &Start::Last(2), 100),
                r#"{"id":7,"op":"history","channel":"a","last":2,"limit":100}"#,
            ),
            (
                Command::members("a"),
                r#"{"id":7,"op":"presence","channel":"a"}"#,
            ),
            (
                Command::authenticate("t"),
                r#"{"id":7,"op":"authenticate","token":"t"}"#,
            ),
            (Command::ping(), r#"{"id":7,"op":"ping"}"#),
        ] {
            check(&command, expected);
        }
    }

    #[test]
    fn history_holds_entries_as_other_wires_do() {
        let ok = r#"{"entries":[{"offset":"a1","time":5,"event":"said","data":{"n":1}},{"offset":"a2","time":6,"data64":"AP8="}],"offset":"a2","up_to_date":true}"#;
        let history = History::parse(ok).unwrap();
        let data: Vec<_> = history.entries.iter().map(|entry| &entry.data).collect();
        assert_eq!(
            data,
            [
                &Data::Json(r#"{"n":1}"#.into()),
                &Data::Binary(vec![0, 255].into())
            ]
        );
        assert!(history.up_to_date);
        assert!(History::parse(r#"{"entries":[{}],"offset":"a2"}"#).is_err());
    }
}
