//! `POST /publish`: many entries to many channels in one request.
//!
//! ```text
//!  → [{"channel":"chat/lobby","data":{"text":"hi"}},{"channel":"scores","data":7,"event":"goal","key":"g-1"}]
//!  ← {"results":[{"offset":"0hx…"},{"error":{"type":"…/forbidden","title":"…","status":403,"detail":"…"}}]}
//! ```
//!
//! Each item stands for itself: one that is refused does not hold up the others, and the answer tells each
//! item's outcome in the same order. A repeated request repeats all items, so those that matter carry a `key`.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use everwire_channel::{ChannelName, ContentType, IdempotencyKey, Offset};
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderValue, Method, Response, header, request::Parts};
use hyper::body::Incoming;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::{Asker, Context, Reply, answer, body::collect};
use crate::{
    auth::{Caller, publishes_nowhere},
    config::Action,
    hub::Channel,
    publish::{Publisher, event_name, json_payload, one},
};

/// A JSON object and nothing else: left to itself, serde takes an array for a struct's members in their order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    event: Option<String>,
    key: Option<String>,
}

impl Context {
    pub(super) async fn batch(
        &self,
        parts: &Parts,
        content: Incoming,
        asker: &Asker<'_>,
    ) -> Result<Reply, Problem> {
        if parts.method != Method::POST {
            return Err(answer::method_not_allowed(&parts.method, "POST, OPTIONS"));
        }
        if !(asker.caller).may_ever(&self.shared.live.rules, Action::Publish) {
            // Before it is heard out: who may publish nowhere has nobody keep megabytes for it.
            return Err(publishes_nowhere(&asker.caller));
        }
        let publisher = self.publisher(asker.account);
        publisher.admit()?;
        let body = collect(content, &parts.headers, &self.shared.live.config).await?;
        let items: Vec<Object<Item<'_>>> = serde_json::from_slice(&body).map_err(|error| {
            Problem::new(
                ProblemKind::BadContent,
                format!(
                    "{error}; the content is a JSON array of objects with `channel` and `data`"
                ),
            )
            .with("line", error.line())
            .with("column", error.column())
        })?;
        let entries_max = self.shared.live.config.limits.entries_per_append_max;
        if items.len() > entries_max {
            let detail = format!(
                "the batch has {} items, and at most {entries_max} are taken",
                items.len()
            );
            return Err(Problem::new(ProblemKind::TooLarge, detail)
                .with("entries_max", entries_max)
                .at_limit("entries_per_append_max"));
        }
        publisher.charge(items.len().saturating_sub(1));
        let mut out = String::from("{\"results\":[");
        let mut last = Last::default();
        for (index, Object(item)) in items.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            match publish(&publisher, &asker.caller, item, &mut last) {
                Ok(offset) => {
                    out.push_str("{\"offset\":\"");
                    out.push_str(&offset.to_token());
                    out.push_str("\"}");
                }
                Err(problem) => {
                    self.shared.metrics.refused(&problem);
                    out.push_str("{\"error\":");
                    out.push_str(&problem.to_json());
                    out.push('}');
                }
            }
        }
        out.push_str("]}");
        let mut response = answer::safe(Response::new(Bytes::from(out)));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(answer::EVERWIRE_ACK, HeaderValue::from_static("memory"));
        answer::never_store(headers);
        Ok(Reply::Response(response))
    }
}

/// The channel of the item before. Batches tend to be for few channels.
#[derive(Default)]
struct Last(Option<(ChannelName, Option<Arc<Channel>>)>);

impl Last {
    /// The channel of this name, if this may be published to; it need not exist.
    fn get(
        &mut self,
        publisher: &Publisher<'_>,
        caller: &Caller,
        name: &str,
    ) -> Result<(&ChannelName, &mut Option<Arc<Channel>>), Problem> {
        if self
            .0
            .as_ref()
            .is_none_or(|(last, _)| last.as_str() != name)
        {
            let name = ChannelName::new(name)
                .map_err(|error| Problem::new(ProblemKind::BadName, error.to_string()))?;
            caller.permit(&publisher.live.rules, Action::Publish, &name)?;
            let found = publisher.hub.find(&name, publisher.now_ms);
            self.0 = Some((name, found));
        }
        let (name, found) = self.0.as_mut().expect("it was just put there");
        Ok((name, found))
    }
}

fn publish(
    publisher: &Publisher<'_>,
    caller: &Caller,
    item: &Item<'_>,
    last: &mut Last,
) -> Result<Offset, Problem> {
    let (name, found) = last.get(publisher, caller, &item.channel)?;
    publisher.admit_to(name)?;
    let event = item.event.as_deref().map(event_name).transpose()?;
    let key = item
        .key
        .as_deref()
        .map(IdempotencyKey::new)
        .transpose()
        .map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    let known = found
        .as_ref()
        .and_then(|channel| channel.lock().core().content_type().cloned());
    let content_type = known.unwrap_or_else(ContentType::json);
    let payload = json_payload(content_type.kind(), item.data)?;
    let append = one(payload, event, Some(&content_type), key);
    let appended = publisher.append(name, found, append)?;
    Ok(appended.next())
}
