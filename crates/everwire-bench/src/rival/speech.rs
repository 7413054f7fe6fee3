//! The requests and messages that a description makes.

use std::{fmt::Write as _, net::SocketAddr};

use super::{
    Finder, Rival,
    description::{Fields, LongPoll, Publish, Request, Stream, Target, WebSocket},
    template::EnvelopeTemplate,
};
use crate::{
    dialect::{Envelope, NextPoll, Speech, Subscription},
    publish,
    wire::{self, Wire},
};

impl Rival {
    /// The request that creates `channel`, where the description has one.
    pub fn create_request(&self, host: SocketAddr, channel: &str) -> Option<Vec<u8>> {
        let Request {
            method,
            path,
            fields,
        } = self.description.create.as_ref()?;
        let head = Head::new(method.as_str(), path, host, channel).fields(fields);
        Some(head.field("Content-Length", "0").end())
    }

    /// How `channel` is read over `wire`, where the description has that.
    pub fn subscription(
        &self,
        wire: Wire,
        host: SocketAddr,
        channel: &str,
    ) -> Option<Subscription> {
        let description = &self.description;
        let get = |path| Head::new("GET", path, host, channel);
        let over_http = |request: Head<'_>, finder| Subscription {
            wire,
            request: request.end(),
            greeting: Vec::new(),
            speech: Speech::Payloads {
                finder,
                confirmation: None,
            },
            envelope: None,
            next_poll: NextPoll::Never,
        };
        Some(match wire {
            Wire::WebSocket => {
                let line = description.websocket.as_ref()?;
                Subscription {
                    wire,
                    request: opening_handshake(line, get(&line.path)),
                    greeting: greeting(line, channel),
                    speech: Speech::Payloads {
                        finder: line.payload.finder(channel),
                        confirmation: line
                            .subscribed
                            .as_ref()
                            .map(|text| text.about(channel).into_bytes()),
                    },
                    envelope: line.publish.as_ref().map(|text| envelope(text, channel)),
                    next_poll: NextPoll::Never,
                }
            }
            Wire::EventStream => {
                let Stream {
                    path,
                    fields,
                    payload,
                } = description.event_stream.as_ref()?;
                let request = get(path)
                    .field("Accept", "text/event-stream")
                    .fields(fields);
                over_http(request, payload.finder(channel))
            }
            Wire::LongPoll => {
                let LongPoll { path, fields, next } = description.long_poll.as_ref()?;
                let next = next.iter().map(|(name, of_answer)| {
                    (name.as_str().to_owned(), of_answer.as_str().to_owned())
                });
                Subscription {
                    next_poll: match next.len() {
                        0 => NextPoll::Never,
                        _ => NextPoll::Fields(next.collect()),
                    },
                    ..over_http(get(path).fields(fields), Finder::Whole)
                }
            }
            Wire::Ndjson => return None,
        })
    }

    /// What stands around a payload of `bytes` in a request that publishes it to `channel`, where
    /// the description has that.
    pub fn publish_request(
        &self,
        host: SocketAddr,
        channel: &str,
        bytes: usize,
    ) -> Option<Envelope> {
        let Publish {
            method,
            path,
            fields,
            body,
        } = self.description.publish.as_ref()?;
        let Envelope { before, after } = envelope(body, channel);
        let length = (before.len() + bytes + after.len()).to_string();
        let head = Head::new(method.as_str(), path, host, channel).fields(fields);
        let head = head.field("Content-Length", &length).end();
        Some(Envelope {
            before: [head, before].concat(),
            after,
        })
    }

    /// Whether a long poll can be asked again, for what follows its answer.
    pub fn polls_again(&self) -> bool {
        let poll = self.description.long_poll.as_ref();
        poll.is_some_and(|poll| !poll.next.is_empty())
    }

    /// Whether entries can be published by HTTP requests.
    pub fn publishes_over_http(&self) -> bool {
        self.description.publish.is_some()
    }

    /// Whether entries can be published over the WebSocket of a reader.
    pub fn publishes_over_websocket(&self) -> bool {
        let line = self.description.websocket.as_ref();
        line.is_some_and(|line| line.publish.is_some())
    }

    /// Whether `wire` can be read.
    pub fn speaks(&self, wire: Wire) -> bool {
        let Self { description, .. } = self;
        match wire {
            Wire::WebSocket => description.websocket.is_some(),
            Wire::EventStream => description.event_stream.is_some(),
            Wire::LongPoll => description.long_poll.is_some(),
            Wire::Ndjson => false,
        }
    }
}

fn opening_handshake(line: &WebSocket, mut head: Head<'_>) -> Vec<u8> {
    head.text.push_str(wire::UPGRADE);
    if let Some(subprotocol) = &line.subprotocol {
        head = head.field("Sec-WebSocket-Protocol", subprotocol.as_str());
    }
    head.fields(&line.fields).end()
}

fn greeting(line: &WebSocket, channel: &str) -> Vec<u8> {
    let mut frames = Vec::new();
    for message in &line.send {
        publish::write_text(&message.about(channel), &mut frames);
    }
    frames
}

fn envelope(template: &EnvelopeTemplate, channel: &str) -> Envelope {
    Envelope {
        before: template.before.about(channel).into_bytes(),
        after: template.after.about(channel).into_bytes(),
    }
}

/// A request head that is being written.
struct Head<'a> {
    text: String,
    channel: &'a str,
}

impl<'a> Head<'a> {
    fn new(method: &str, Target(path): &Target, host: SocketAddr, channel: &'a str) -> Self {
        let path = path.about(channel);
        let text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        Self { text, channel }
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.text, "{name}: {value}\r\n");
        self
    }

    fn fields(self, Fields(fields): &Fields) -> Self {
        let channel = self.channel;
        fields.iter().fold(self, |head, (name, value)| {
            head.field(name, &value.about(channel))
        })
    }

    fn end(self) -> Vec<u8> {
        (self.text + "\r\n").into_bytes()
    }
}
