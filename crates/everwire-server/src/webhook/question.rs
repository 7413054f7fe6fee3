//! What the application is asked, as the content of a request.
//!
//! ```json
//! {"version":1,"id":"5f0c…","time":1790000000,
//!  "question":"publish","peer":"203.0.113.7","headers":{"cookie":"sid=1"},"caller":{"sub":"ada"},
//!  "channel":"chat/lobby","content_type":"application/json","entries":[{"data":{"text":"hi"}}]}
//! ```
//!
//! Its second part is the question itself: two that are equal there are the same question, and may have the same
//! answer. The first part is another each time.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use everwire_channel::{
    ChannelName, ContentKind, ContentType, Draft, EventName, PublisherId, UserName,
};
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    auth::{Caller, Who},
    config::{Action, Webhooks},
};

/// The version of the contract.
const VERSION: u32 = 1;

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub kind: Kind,
    /// The members that make it this question, with the brace that ends it.
    members: String,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Who this is.
    Connect,
    /// Whether this may be done.
    Do(Action),
}

/// Tells a question from others.
pub(super) type Digest = [u8; 32];

/// What a request shows of who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    peer: IpAddr,
    /// Of the fields that the settings list, those that are there.
    headers: BTreeMap<String, String>,
}

/// What somebody would append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proposal<'p> {
    pub content_type: Option<&'p ContentType>,
    pub entries: &'p [Draft],
    /// The channel is closed with it.
    pub close: bool,
}

#[derive(Serialize)]
struct Members<'q> {
    question: &'static str,
    peer: IpAddr,
    headers: &'q BTreeMap<String, String>,
    caller: Option<CallerMembers<'q>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'q str>,
    #[serde(flatten)]
    append: Option<AppendMembers<'q>>,
}

/// Who asks, as far as that is known.
#[derive(Serialize)]
struct CallerMembers<'q> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'q str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'q RawValue>,
    /// The `id` of an API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'q str>,
}

#[derive(Serialize)]
struct AppendMembers<'q> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'q str>,
    entries: Vec<EntryMembers<'q>>,
    close: bool,
}

#[derive(Serialize)]
struct EntryMembers<'q> {
    #[serde(flatten)]
    payload: Payload<'q>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'q str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<&'q str>,
}

/// A payload, in the form in which sessions publish it.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Payload<'q> {
    Data(Cow<'q, RawValue>),
    Data64(String),
    /// Its size, where payloads are not sent.
    Bytes(usize),
}

impl Evidence {
    /// What a request from this address shows. Its cookies count only if the page that had them sent may use this
    /// server. `token` is a credential that this server does not know, wherever it was shown.
    pub fn of(
        settings: &Webhooks,
        peer: IpAddr,
        headers: &HeaderMap,
        with_cookies: bool,
        token: Option<&str>,
    ) -> Self {
        let mut shown = BTreeMap::new();
        for name in &settings.headers {
            let Ok(name) = HeaderName::try_from(name) else {
                continue; // the settings were checked
            };
            let is_cookie = name == header::COOKIE;
            if name == header::AUTHORIZATION || (is_cookie && !with_cookies) {
                continue;
            }
            let values: Vec<_> = headers.get_all(&name).iter().map(text_of).collect();
            if !values.is_empty() {
                let between = if is_cookie { "; " } else { ", " };
                shown.insert(name.to_string(), values.join(between));
            }
        }
        let mut evidence = Self {
            peer,
            headers: shown,
        };
        if let Some(token) = token {
            evidence.show_token(token);
        }
        evidence
    }

    /// The same, with another credential.
    pub fn show_token(&mut self, token: &str) {
        let name = header::AUTHORIZATION.to_string();
        self.headers.insert(name, format!("Bearer {token}"));
    }
}

impl Question {
    /// Who sent this?
    pub fn connect(evidence: &Evidence) -> Self {
        Self::of(Kind::Connect, evidence, &Caller::Anybody, None, None)
    }

    /// May this caller do this on the channel?
    pub fn permit(
        action: Action,
        evidence: &Evidence,
        caller: &Caller,
        channel: &ChannelName,
    ) -> Self {
        Self::of(Kind::Do(action), evidence, caller, Some(channel), None)
    }

    /// May this caller append this to the channel?
    ///
    /// # Errors
    ///
    /// It is larger than what the application is asked about.
    pub fn publish(
        settings: &Webhooks,
        evidence: &Evidence,
        caller: &Caller,
        channel: &ChannelName,
        proposal: Proposal<'_>,
    ) -> Result<Self, Problem> {
        let bytes: usize = proposal
            .entries
            .iter()
            .map(|entry| entry.payload.len())
            .sum();
        let bytes_max = settings.data_bytes_max;
        if settings.send_data && bytes > bytes_max {
            let detail = format!(
                "publications to {channel} are judged by the application, which is sent at most {bytes_max} bytes \
                 (webhooks.data_bytes_max), and this has {bytes}; publish it in parts"
            );
            return Err(Problem::new(ProblemKind::TooLarge, detail)
                .with("bytes_max", bytes_max)
                .at_limit("data_bytes_max"));
        }
        let kind = proposal
            .content_type
            .map_or(ContentKind::Binary, ContentType::kind);
        let entries = proposal.entries.iter().map(|entry| EntryMembers {
            payload: match settings.send_data {
                true => data_of(kind, entry),
                false => Payload::Bytes(entry.payload.len()),
            },
            event: entry.event.as_ref().map(EventName::as_str),
            publisher: entry.publisher.as_ref().map(PublisherId::as_str),
        });
        let append = AppendMembers {
            content_type: proposal.content_type.map(ContentType::as_str),
            entries: entries.collect(),
            close: proposal.close,
        };
        let kind = Kind::Do(Action::Publish);
        Ok(Self::of(
            kind,
            evidence,
            caller,
            Some(channel),
            Some(append),
        ))
    }

    fn of(
        kind: Kind,
        evidence: &Evidence,
        caller: &Caller,
        channel: Option<&ChannelName>,
        append: Option<AppendMembers<'_>>,
    ) -> Self {
        let caller = caller.as_known().map(|known| CallerMembers {
            sub: caller.user().map(UserName::as_str),
            info: caller.info(),
            key: match &known.who {
                Who::Server(id) => Some(id.as_str()),
                Who::Token { .. } | Who::Named { .. } => None,
            },
        });
        let members = Members {
            question: kind.name(),
            peer: evidence.peer,
            headers: &evidence.headers,
            caller,
            channel: channel.map(ChannelName::as_str),
            append,
        };
        let mut members =
            serde_json::to_string(&members).expect("what is asked has no map but of strings");
        members.remove(0); // the brace, before which other members come
        Self { kind, members }
    }

    /// The content of the request.
    pub fn content(&self, id: &str, unix_s: u64) -> String {
        format!(
            "{{\"version\":{VERSION},\"id\":\"{id}\",\"time\":{unix_s},{}",
            self.members
        )
    }

    pub(super) fn digest(&self) -> Digest {
        let digest = digest::digest(&digest::SHA256, self.members.as_bytes());
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl Kind {
    /// Its name in questions and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Do(action) => action.name(),
        }
    }

    /// Whether one answer serves all who ask the same at the same time. Two publications are two, even if they are
    /// equal: an application may let only so many through.
    pub fn is_shared(self) -> bool {
        match self {
            Self::Connect | Self::Do(Action::Read | Action::Presence) => true,
            Self::Do(Action::Publish | Action::Manage) => false,
        }
    }
}

fn data_of(kind: ContentKind, entry: &Draft) -> Payload<'_> {
    let text = match kind {
        ContentKind::Binary => None,
        ContentKind::Json | ContentKind::Text => std::str::from_utf8(&entry.payload).ok(),
    };
    let json = match (kind, text) {
        (ContentKind::Json, Some(text)) => serde_json::from_str(text).ok().map(Cow::Borrowed),
        (_, Some(text)) => serde_json::value::to_raw_value(text).ok().map(Cow::Owned),
        (_, None) => None,
    };
    match json {
        Some(json) => Payload::Data(json),
        None => Payload::Data64(BASE64_STANDARD.encode(&entry.payload)),
    }
}

fn text_of(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(headers: &[&str]) -> Webhooks {
        Webhooks {
            headers: headers.iter().map(|name| (*name).to_owned()).collect(),
            ..Webhooks::default()
        }
    }

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn evidence() -> Evidence {
        let peer = IpAddr::from([203, 0, 113, 7]);
        Evidence::of(&settings(&[]), peer, &HeaderMap::new(), true, None)
    }

    fn parsed(question: &Question) -> Value {
        serde_json::from_str(&question.content("q", 17)).unwrap()
    }

    fn draft(payload: &'static [u8]) -> Draft {
        bytes::Bytes::from_static(payload).into_draft()
    }

    trait IntoDraft {
        fn into_draft(self) -> Draft;
    }

    impl IntoDraft for bytes::Bytes {
        fn into_draft(self) -> Draft {
            Draft {
                payload: self,
                ..Draft::default()
            }
        }
    }

    #[test]
    fn a_question_about_a_channel_tells_who_asks_from_where_for_what() {
        let name = "chat/lobby".parse().unwrap();
        let question = Question::permit(Action::Read, &evidence(), &Caller::Anybody, &name);
        let expected = json!({
            "version": 1, "id": "q", "time": 17,
            "question": "read", "peer": "203.0.113.7", "headers": {}, "caller": null, "channel": "chat/lobby",
        });
        assert_eq!(parsed(&question), expected);
    }

    #[test]
    fn only_listed_fields_are_shown_and_cookies_only_from_pages_that_may() {
        let headers = fields(&[
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-tenant", "t"),
            ("x-tenant", "u"),
            ("authorization", "Bearer own"),
            ("x-other", "o"),
        ]);
        let listed = settings(&["Cookie", "x-tenant", "authorization", "x-none"]);
        let peer = IpAddr::from([127, 0, 0, 1]);
        for (with_cookies, token, expected) in [
            (
                true,
                None,
                json!({"cookie": "a=1; b=2", "x-tenant": "t, u"}),
            ),
            (false, None, json!({"x-tenant": "t, u"})),
            (
                false,
                Some("theirs"),
                json!({"x-tenant": "t, u", "authorization": "Bearer theirs"}),
            ),
        ] {
            let evidence = Evidence::of(&listed, peer, &headers, with_cookies, token);
            let question = Question::connect(&evidence);
            assert_eq!(parsed(&question)["headers"], expected);
        }
    }

    #[test]
    fn a_payload_is_shown_as_sessions_publish_it() {
        let name = "a".parse().unwrap();
        for (content_type, payload, expected) in [
            (
                "application/json",
                &b"{\"a\":[1]}"[..],
                json!({"data": {"a": [1]}}),
            ),
            ("text/plain", b"\"quoted\"", json!({"data": "\"quoted\""})),
            (
                "application/octet-stream",
                b"\xff\x00",
                json!({"data64": "/wA="}),
            ),
        ] {
            let content_type = content_type.parse().unwrap();
            let entries = [draft(payload)];
            let proposal = Proposal {
                content_type: Some(&content_type),
                entries: &entries,
                close: false,
            };
            let ask = |settings: &Webhooks| {
                Question::publish(settings, &evidence(), &Caller::Anybody, &name, proposal)
            };
            assert_eq!(
                parsed(&ask(&settings(&[])).unwrap())["entries"],
                json!([expected])
            );
            let silent = Webhooks {
                send_data: false,
                data_bytes_max: 0,
                ..Webhooks::default()
            };
            let bytes = json!([{"bytes": payload.len()}]);
            assert_eq!(parsed(&ask(&silent).unwrap())["entries"], bytes);
            let narrow = Webhooks {
                data_bytes_max: payload.len() - 1,
                ..Webhooks::default()
            };
            let problem = ask(&narrow).unwrap_err();
            assert_eq!(
                (problem.kind, problem.limit),
                (ProblemKind::TooLarge, Some("data_bytes_max"))
            );
        }
    }

    #[test]
    fn the_same_question_is_known_again_and_another_is_told_from_it() {
        let [a, b] = ["a", "b"].map(|name| name.parse::<ChannelName>().unwrap());
        let ask = |action, name| Question::permit(action, &evidence(), &Caller::Anybody, name);
        let first = ask(Action::Read, &a);
        assert_eq!(first.digest(), ask(Action::Read, &a).digest());
        assert_ne!(first.digest(), ask(Action::Read, &b).digest());
        assert_ne!(first.digest(), ask(Action::Presence, &a).digest());
    }
}
