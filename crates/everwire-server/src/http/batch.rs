//! `POST /publish`: many entries to many channels in one request.
//!
//! ```text
//!  → [{"channel":"chat/lobby","data":{"text":"hi"}},{"channel":"scores","data":7,"event":"goal","key":"g-1"}]
//!  ← {"results":[{"offset":"0hx…"},{"error":{"type":"…/forbidden","title":"…","status":403,"detail":"…"}}]}
//! ```
//!
//! Each item stands for itself: one that is refused does not hold up the others, and the answer tells each
//! item's outcome in the same order. A repeated request repeats all items, so those that matter carry a `key`.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use everwire_channel::{Append, ChannelName, ContentKind, Draft, IdempotencyKey, Offset};
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderValue, Response, header, request::Parts};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Asker, Context, Leave, Reply, answer,
    body::{Allowance, collect},
};
use crate::{
    auth::{Caller, publishes_nowhere},
    budget::{Content, FREE_BYTES},
    clock,
    config::{Action, Object},
    hub::Channel,
    payload_type::PayloadType,
    publish::{
        Admitted, Paid, Publisher, ends_at, event_name, json_payload, no_tail, one, replaced,
    },
    webhook::{Decision, Proposal, Question},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    event: Option<String>,
    key: Option<String>,
    /// The offset that the channel has to end at.
    tail: Option<String>,
}

impl Context {
    pub(super) async fn batch(
        &self,
        parts: &Parts,
        content: Incoming,
        mut asker: Asker<'_>,
    ) -> Result<Reply, Problem> {
        let rules = &self.shared.live.rules;
        if asker.is_stranger() && !asker.caller.may_ever(rules, Action::Publish) {
            self.introduce(&mut asker).await?;
        }
        let may_ever = (asker.caller).may_ever(rules, Action::Publish)
            || rules.is_decided_somewhere(Action::Publish);
        if !may_ever {
            // Before it is heard out: who may publish nowhere has nobody keep megabytes for it.
            return Err(publishes_nowhere(&asker.caller));
        }
        let publisher = self.publisher(asker.account);
        // The first item is charged before its content is heard, the others when it is known how many there are.
        let first = publisher.pay()?;
        let allowance = Allowance::to_publish(&self.shared, asker.account)
            .waiting(self.shared.live.desk.is_some());
        let Content {
            bytes: body,
            share: _held,
        } = collect(content, parts, &self.shared, allowance).await?;
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
        let rules = &self.shared.live.rules;
        let is_public = |Object(item): &Object<Item<'_>>| {
            let name = ChannelName::new(&item.channel);
            name.is_ok_and(|name| rules.permits_anybody(Action::Publish, &name))
        };
        if asker.is_stranger() && !items.iter().all(is_public) {
            self.introduce(&mut asker).await?;
        }
        // For what is read of it, and what is told of it: before anything is done.
        let held_bytes = items.len() * (size_of::<Item<'_>>() + RESULT_BYTES);
        let mut told = self.shared.hold_answer(asker.account, held_bytes)?;
        let mut out = String::from("{\"results\":[");
        let rest = items.len().saturating_sub(1);
        let (others, too_fast) = self.publisher(asker.account).pay_some(rest);
        let mut paid = vec![first];
        paid.extend(others);
        let (affordable, refused) = items.split_at(paid.len().min(items.len()));
        let published = self.publish_all(&asker, affordable, paid).await;
        let published =
            (published.into_iter()).chain(refused.iter().map(|_| Err(too_fast.clone())));
        for (index, published) in published.enumerate() {
            if index > 0 {
                out.push(',');
            }
            match published {
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
        if out.len() > FREE_BYTES {
            told.settle(out.len());
        }
        let mut response = answer::safe(Response::new(told.with(Bytes::from(out))));
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

/// Bytes that the result of an item takes that was published.
const RESULT_BYTES: usize = 64;

/// Items that the application is asked about at once.
const ASKED_AT_ONCE: usize = 32;

impl Context {
    /// Publishes items in their order. What the application decides is asked for several items together, so that a
    /// batch does not take as long as all its questions one after the other.
    async fn publish_all(
        &self,
        asker: &Asker<'_>,
        items: &[Object<Item<'_>>],
        paid: Vec<Paid>,
    ) -> Vec<Result<Offset, Problem>> {
        let mut paid = paid.into_iter();
        let mut published = Vec::with_capacity(items.len());
        let mut last = Last::default();
        let desk = self.shared.live.desk.as_ref();
        let share = desk.map_or(ASKED_AT_ONCE, |desk| desk.waiting_per_caller_max());
        for items in items.chunks(ASKED_AT_ONCE.min(share)) {
            let questions = items.iter().zip(paid.by_ref());
            let questions: Vec<_> = questions
                .map(|(Object(item), paid)| self.question(asker, item, paid))
                .collect();
            for (Object(item), question) in items.iter().zip(questions) {
                let judged = match question {
                    Ok(Asked::Not(paid)) => Ok(Judged::Not(paid)),
                    Ok(Asked::Publishing(admitted, payload_type, decision)) => {
                        let allowed = decision.await.permission(clock::unix_ms());
                        allowed
                            .and_then(|allowed| {
                                replaced(&allowed, Some(payload_type.media_type()), 1)
                            })
                            .map(|payloads| {
                                Judged::Fine(admitted, payloads.and_then(|mut all| all.pop()))
                            })
                    }
                    Err(problem) => Err(problem),
                };
                let publisher = self.publisher(asker.account);
                published.push(judged.and_then(|judged| {
                    publish(&publisher, &asker.caller, item, judged, &mut last)
                }));
            }
        }
        published
    }

    /// Asks the application about an item, where it decides that.
    fn question(
        &self,
        asker: &Asker<'_>,
        item: &Item<'_>,
        paid: Paid,
    ) -> Result<Asked<impl Future<Output = Decision> + use<>>, Problem> {
        let (Some(desk), Some(evidence)) = (&self.shared.live.desk, &asker.evidence) else {
            return Ok(Asked::Not(paid));
        };
        let name = name_of(item)?;
        if asker.leave(self, Action::Publish, &name)? == Leave::Granted {
            return Ok(Asked::Not(paid));
        }
        let admitted = paid.to(&self.publisher(asker.account), &name)?;
        let found = self.shared.hub.find(&name, clock::unix_ms());
        let (payload_type, payload) = payload_of(item, found.as_ref())?;
        let entry = Draft {
            event: item.event.as_deref().map(event_name).transpose()?,
            ..Draft::from(payload)
        };
        let proposal = Proposal {
            content_type: Some(payload_type.media_type()),
            entries: &[entry],
            close: false,
        };
        let question =
            Question::publish(desk.settings(), evidence, &asker.caller, &name, proposal)?;
        Ok(Asked::Publishing(
            admitted,
            payload_type,
            desk.begin(question, asker.account),
        ))
    }
}

/// Whether the application is asked about an item.
enum Asked<F> {
    Not(Paid),
    /// It is, about an item that its channel's rate was charged for.
    Publishing(Admitted, PayloadType, F),
}

/// What the application said of an item.
enum Judged {
    /// It was not asked.
    Not(Paid),
    /// It may be published, with this payload if there is one.
    Fine(Admitted, Option<Bytes>),
}

/// The channel of the item before. Batches tend to be for few channels.
#[derive(Default)]
struct Last(Option<LastChannel>);

struct LastChannel {
    name: ChannelName,
    found: Option<Arc<Channel>>,
    is_permitted: bool,
}

impl Last {
    /// The channel of this item; it need not exist.
    fn get(
        &mut self,
        publisher: &Publisher<'_>,
        item: &Item<'_>,
    ) -> Result<&mut LastChannel, Problem> {
        if self
            .0
            .as_ref()
            .is_none_or(|last| last.name.as_str() != item.channel)
        {
            let name = name_of(item)?;
            let found = publisher.hub.find(&name, publisher.now_ms);
            self.0 = Some(LastChannel {
                name,
                found,
                is_permitted: false,
            });
        }
        Ok(self.0.as_mut().expect("it was just put there"))
    }
}

fn publish(
    publisher: &Publisher<'_>,
    caller: &Caller,
    item: &Item<'_>,
    judged: Judged,
    last: &mut Last,
) -> Result<Offset, Problem> {
    let LastChannel {
        name,
        found,
        is_permitted,
    } = last.get(publisher, item)?;
    let (admitted, replacement) = match judged {
        Judged::Fine(admitted, replacement) => (admitted, replacement),
        Judged::Not(paid) => {
            let admitted = paid.to(publisher, name)?;
            if !*is_permitted {
                caller.permit(&publisher.live.rules, Action::Publish, name)?;
                *is_permitted = true;
            }
            (admitted, None)
        }
    };
    let event = item.event.as_deref().map(event_name).transpose()?;
    let key = item
        .key
        .as_deref()
        .map(IdempotencyKey::new)
        .transpose()
        .map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    let (payload_type, payload) = payload_of(item, found.as_ref())?;
    let payload = replacement.unwrap_or(payload);
    let guard = item.tail.as_deref().map(ends_at).transpose()?;
    if guard.is_some() && found.is_none() {
        return Err(no_tail()); // what is to follow a tail makes no channel
    }
    let append = Append {
        guard: guard.as_ref(),
        ..one(payload, event, &payload_type, key)
    };
    let appended = publisher.append(name, found, append, admitted)?;
    Ok(appended.next())
}

fn name_of(item: &Item<'_>) -> Result<ChannelName, Problem> {
    ChannelName::new(&item.channel)
        .map_err(|error| Problem::new(ProblemKind::BadName, error.to_string()))
}

fn payload_of(
    item: &Item<'_>,
    found: Option<&Arc<Channel>>,
) -> Result<(PayloadType, Bytes), Problem> {
    let payload_type =
        PayloadType::stated_for(found).unwrap_or(PayloadType::Guessed(ContentKind::Json));
    let payload = json_payload(payload_type.kind(), item.data)?;
    Ok((payload_type, payload))
}
