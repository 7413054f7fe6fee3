//! What a description may say, key by key. The guide to it is `bench/README.md`.
//!
//! Each value is read into a type that cannot be wrong, so that a mistake is told with its line.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    place::PayloadPlace,
    template::{ChannelPlace, EnvelopeTemplate, StartPlace, Template},
};

/// Another server: how it comes to run, and what is said to it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "Table")]
pub struct Description {
    /// Its name in the report.
    pub name: Name,
    /// What prints its version.
    pub version: Option<Words>,
    /// How it comes to run.
    pub origin: Origin,
    /// What creates a channel, where a server wants that.
    pub create: Option<Request>,
    /// How entries are published over HTTP.
    pub publish: Option<Publish>,
    /// How its WebSockets are read.
    pub websocket: Option<WebSocket>,
    /// How its event streams are read.
    pub event_stream: Option<Stream>,
    /// How its long polls are read.
    pub long_poll: Option<LongPoll>,
}

/// Who runs the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The tool, anew for each measurement.
    Start(Start),
    /// Somebody else.
    Running(Running),
}

/// A server that the tool starts.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Program and arguments; it must stay in the foreground.
    pub command: Command,
    /// Files of the scratch folder, by name.
    #[serde(default)]
    pub files: BTreeMap<FileName, Template<StartPlace>>,
    /// A part of the line that it prints when it listens; without it, it listens when it accepts a
    /// connection.
    pub ready: Option<String>,
}

/// A server that runs already.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The file with the id of its process, whose usage is measured with that of its children.
    pub pid_file: PathBuf,
}

/// An HTTP request without content.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The method.
    pub method: Token,
    /// The request target.
    pub path: Target,
    /// Further fields.
    #[serde(default)]
    pub fields: Fields,
}

/// An HTTP request that publishes one entry.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The method; POST if it is not said.
    #[serde(default = "Token::post")]
    pub method: Token,
    /// The request target.
    pub path: Target,
    /// Further fields.
    #[serde(default)]
    pub fields: Fields,
    /// The content.
    pub body: EnvelopeTemplate,
}

/// A line whose entries are messages.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct WebSocket {
    /// The request target.
    pub path: Target,
    /// What stands in `Sec-WebSocket-Protocol`.
    pub subprotocol: Option<Token>,
    /// Further fields.
    #[serde(default)]
    pub fields: Fields,
    /// Messages to be sent after the opening handshake.
    #[serde(default)]
    pub send: Vec<Template<ChannelPlace>>,
    /// A part of the message that tells that the line is subscribed; without it, the opening
    /// handshake tells.
    pub subscribed: Option<Template<ChannelPlace>>,
    /// Where the payload stands in a message.
    #[serde(default)]
    pub payload: PayloadPlace,
    /// The message that publishes an entry.
    pub publish: Option<EnvelopeTemplate>,
}

/// A line whose entries are events.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The request target.
    pub path: Target,
    /// Further fields.
    #[serde(default)]
    pub fields: Fields,
    /// Where the payload stands in an event's data.
    #[serde(default)]
    pub payload: PayloadPlace,
}

/// A request that is answered when there is an entry. The content is the payload.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LongPoll {
    /// The request target.
    pub path: Target,
    /// Further fields.
    #[serde(default)]
    pub fields: Fields,
    /// Fields of each further request, with the field of the last answer that holds the value.
    #[serde(default)]
    pub next: BTreeMap<Token, Token>,
}

/// A request target, which begins with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(pub Template<ChannelPlace>);

/// Fields of a request, besides those that the tool writes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, Template<ChannelPlace>)>);

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: Template<StartPlace>,
    /// Its arguments.
    pub arguments: Vec<Template<StartPlace>>,
}

/// A program and its arguments, as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A word of letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// A token of HTTP (RFC 9110, section 5.6.2), as far as servers need it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(String);

/// The name of a file in the scratch folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName(String);

/// A description as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Name,
    version: Option<Words>,
    start: Option<Start>,
    running: Option<Running>,
    create: Option<Request>,
    publish: Option<Publish>,
    websocket: Option<WebSocket>,
    event_stream: Option<Stream>,
    long_poll: Option<LongPoll>,
}

impl TryFrom<Table> for Description {
    type Error = &'static str;

    fn try_from(table: Table) -> Result<Self, Self::Error> {
        let origin = match (table.start, table.running) {
            (Some(start), None) => Origin::Start(start),
            (None, Some(running)) => Origin::Running(running),
            (None, None) => {
                return Err(
                    "expected a table [start] with a command, or [running] with an address",
                );
            }
            (Some(_), Some(_)) => {
                return Err("expected either [start] or [running], not both");
            }
        };
        let over_websocket = table.websocket.as_ref().map(|line| &line.publish);
        if table.publish.is_none() && over_websocket.is_none_or(Option::is_none) {
            return Err(
                "expected a way to publish: a table [publish], or `publish` in [websocket]",
            );
        }
        Ok(Self {
            name: table.name,
            version: table.version,
            origin,
            create: table.create,
            publish: table.publish,
            websocket: table.websocket,
            event_stream: table.event_stream,
            long_poll: table.long_poll,
        })
    }
}

impl Name {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Token {
    fn post() -> Self {
        Self("POST".to_owned())
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FileName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let expected =
            "expected a name of letters, digits, `-` and `_`, as columns are named by it";
        checked(deserializer, |text| is_all(text, is_word), expected).map(Self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "expected an HTTP token: letters, digits, and marks such as `-` and `.`";
        checked(deserializer, |text| is_all(text, is_token), expected).map(Self)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_plain =
            |text: &str| !matches!(text, "" | "." | "..") && !text.contains(['/', '\\', '\0']);
        let expected = "expected the name of a file in the scratch folder, without folders";
        checked(deserializer, is_plain, expected).map(Self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_target =
            |text: &str| text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
        let expected = "expected a request target such as `/channels/{channel}`: \
                        a slash, then no spaces and nothing outside ASCII";
        let text = checked(deserializer, is_target, expected)?;
        Template::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (program, arguments) = first_and_rest(deserializer)?;
        Ok(Self { program, arguments })
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (program, arguments) = first_and_rest(deserializer)?;
        Ok(Self { program, arguments })
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = BTreeMap::<Token, String>::deserialize(deserializer)?;
        let parse = |(name, value): (Token, String)| {
            if WRITTEN
                .iter()
                .any(|written| name.0.eq_ignore_ascii_case(written))
            {
                let written = WRITTEN.join(", ");
                return Err(D::Error::custom(format!(
                    "`{}` is written by the tool, as are all of {written}; expected other fields",
                    name.0
                )));
            }
            if value.contains(['\r', '\n']) {
                return Err(D::Error::custom(
                    "expected the value of a field on one line",
                ));
            }
            let value = Template::parse(&value).map_err(D::Error::custom)?;
            Ok((name.0, value))
        };
        fields
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Fields that follow from the rest of a request.
const WRITTEN: [&str; 8] = [
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Upgrade",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
];

/// A string that `is_valid`.
fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    is_valid: impl Fn(&str) -> bool,
    expected: &str,
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if is_valid(&text) {
        Ok(text)
    } else {
        Err(D::Error::custom(expected))
    }
}

/// The words of a command.
fn first_and_rest<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<(T, Vec<T>), D::Error> {
    let mut words = Vec::deserialize(deserializer)?.into_iter();
    let expected = "expected a program and its arguments: [\"program\", \"argument\"]";
    let program = words.next().ok_or_else(|| D::Error::custom(expected))?;
    Ok((program, words.collect()))
}

fn is_all(text: &str, is_valid: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is_valid)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
