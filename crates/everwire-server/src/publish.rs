//! Publishing: what is the same for an append by HTTP, a batch, and a message on a WebSocket.

use std::{num::NonZeroU32, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use everwire_channel::{
    Append, AppendError, Appended, ChannelName, ContentError, ContentKind, ContentType, Draft,
    EventName, Guard, IdempotencyKey, PublisherId, Tail, json_entry, split,
};
use everwire_websocket::MessageKind;
use everwire_wire::{Problem, ProblemKind};

use serde_json::value::RawValue;

use crate::{
    auth::Caller,
    config::{Create, Webhooks},
    hub::{Channel, Hub, NotAppended, Occasion, Own, Payer, Removed, no_channel, no_room},
    live::Live,
    metrics::Metrics,
    payload_type::PayloadType,
    presence,
    rate::{Account, Kind, Purpose, Rate, TooFast},
    webhook::{Allowed, Evidence, Proposal, Question, Replacement},
};

/// Appends on behalf of somebody who may.
pub(crate) struct Publisher<'a> {
    /// The configuration that it is judged by.
    pub live: &'a Live,
    pub hub: &'a Hub,
    pub metrics: &'a Metrics,
    pub rate: &'a Rate,
    /// Who pays for them.
    pub account: Account,
    pub now_ms: u64,
}

/// One append that was charged to its caller's own rate. To which channel it is has still to be said.
#[must_use = "it was charged"]
#[derive(Debug)]
pub(crate) struct Paid(());

/// Leave to make one append of a caller to a channel: both its rates were charged, before anything was done for it.
/// Nothing is appended for a caller without one, whichever way it comes and whoever decides about it.
#[must_use = "it was charged"]
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Entries that were charged.
    entries: usize,
}

impl Publisher<'_> {
    /// Charges one append of this caller to this channel.
    pub fn admit(&self, name: &ChannelName) -> Result<Admitted, Problem> {
        self.pay()?.to(self, name)
    }

    /// Charges one append, or a creation, to the caller's own rate.
    pub fn pay(&self) -> Result<Paid, Problem> {
        let per_second = self.per_second();
        let admitted = self.rate.admit(self.account, per_second);
        admitted.map_err(|too_fast| self.caller_too_fast(too_fast))?;
        Ok(Paid(()))
    }

    /// Charges the items of a batch: as many as the caller's rate has room for, and what the others are told.
    pub fn pay_some(&self, count: usize) -> (Vec<Paid>, Problem) {
        let asked = u32::try_from(count).unwrap_or(u32::MAX);
        let (admitted, too_fast) = (self.rate).admit_some(self.account, self.per_second(), asked);
        let paid = (0..admitted).map(|_| Paid(())).collect();
        (paid, self.caller_too_fast(too_fast))
    }

    /// Charges what one append holds besides what was charged for it.
    fn pay_rest(
        &self,
        name: &ChannelName,
        admitted: &mut Admitted,
        entries: usize,
    ) -> Result<(), Problem> {
        let Some(rest @ 1..) = entries.checked_sub(admitted.entries) else {
            return Ok(());
        };
        let rest = u32::try_from(rest).unwrap_or(u32::MAX);
        self.charge_channel(name, rest)?;
        let charged = (self.rate).admit_rest(self.account, self.per_second(), rest);
        charged.map_err(|too_fast| self.caller_too_fast(too_fast))?;
        admitted.entries = entries;
        Ok(())
    }

    /// Charges entries to the rate that the channel's rule gives to each caller.
    fn charge_channel(&self, name: &ChannelName, entries: u32) -> Result<(), Problem> {
        let per_second = self.live.rules.appends_per_caller_max(name);
        let charged = (self.rate).admit_to(name, self.account, per_second, entries);
        charged.map_err(|too_fast| {
            let whose = "to this channel from one caller";
            self.too_fast(too_fast, whose, "channels", "appends_per_caller_max")
        })
    }

    /// Charges so many changes that all who are present in a channel are told of: each costs as much as an append.
    pub fn admit_told(&self, name: &ChannelName, count: NonZeroU32) -> Result<(), Problem> {
        let mut admitted = self.admit(name)?;
        self.pay_rest(name, &mut admitted, count.get() as usize)
    }

    fn per_second(&self) -> u32 {
        self.live.appends_per_second_max(self.account.kind())
    }

    fn caller_too_fast(&self, too_fast: TooFast) -> Problem {
        let kind = self.account.kind();
        let whose = match kind {
            Kind::Address => "from this address",
            Kind::User => "from this user",
            Kind::Key => "with this API key",
        };
        self.too_fast(too_fast, whose, "limits", kind.setting())
    }

    fn too_fast(
        &self,
        TooFast { wait_s }: TooFast,
        whose: &str,
        section: &str,
        setting: &'static str,
    ) -> Problem {
        let detail = format!(
            "more appends come {whose} than {section}.{setting} allows a second; wait {wait_s} s"
        );
        Problem::new(ProblemKind::TooMany, detail)
            .with("retry_after", wait_s)
            .at_limit(setting)
    }

    /// The channel that somebody reads, made where its rule says so. That has a rate as appends have: else one
    /// reader could make as many as the server takes, and nobody could make any more.
    pub fn open_to_read(
        &self,
        name: &ChannelName,
        occasion: Occasion,
    ) -> Result<Arc<Channel>, Problem> {
        if let Some(channel) = self.hub.find(name, self.now_ms) {
            return Ok(channel);
        }
        let rules = &self.live.rules;
        if occasion == Occasion::LiveRead && rules.of(name).create == Create::OnDemand {
            self.admit_making()?;
        }
        let by = Some(self.account);
        (self.hub.open(rules, name, (occasion, by), self.now_ms))
            .map_err(|none| no_channel(name, none))
    }

    /// The same for who is in a channel: asking makes the log that tells who comes and goes.
    pub fn admit_to_presence(&self, name: &ChannelName) -> Result<(), Problem> {
        if self.hub.find(&name.presence_log(), self.now_ms).is_some() {
            return Ok(());
        }
        self.admit_making()?;
        let own = Own {
            by: Some(self.account),
            ..presence::own(name, self.live)
        };
        let made = self.hub.open_own(&own, self.now_ms);
        made.map(drop).map_err(|none| no_channel(name, none))
    }

    /// Counts a channel that is made for what somebody reads, beside what it appends.
    fn admit_making(&self) -> Result<(), Problem> {
        let per_second = self.live.appends_per_second_max(Kind::Address);
        let made = self.rate.admit_for(Purpose::Make, self.account, per_second);
        made.map_err(|TooFast { wait_s }| {
            let detail = format!(
                "more channels are made for what this caller reads than limits.appends_per_second_max allows a second; \
                 wait {wait_s} s, or read those that are there"
            );
            Problem::new(ProblemKind::TooMany, detail)
                .with("retry_after", wait_s)
                .at_limit("appends_per_second_max")
        })
    }

    /// Appends to a channel by name, which is made where its rule says so. Who has `found` it already need not
    /// have it looked for again; afterwards it is the channel that was appended to.
    pub fn append(
        &self,
        name: &ChannelName,
        found: &mut Option<Arc<Channel>>,
        mut append: Append<'_>,
        mut admitted: Admitted,
    ) -> Result<Appended, Problem> {
        loop {
            let channel = match found {
                Some(channel) => channel,
                None => found.insert(
                    (self.hub.open(
                        &self.live.rules,
                        name,
                        (Occasion::Append, Some(self.account)),
                        self.now_ms,
                    ))
                    .map_err(|none| no_channel(name, none))?,
                ),
            };
            match self.append_to(channel, append, &mut admitted) {
                Ok(result) => return result,
                // Removed in between: then there is none any more, or a new one.
                Err(Removed(again)) => (append, *found) = (again, None),
            }
        }
    }

    /// Appends to a channel.
    pub fn append_to<'a>(
        &self,
        channel: &Channel,
        append: Append<'a>,
        admitted: &mut Admitted,
    ) -> Result<Result<Appended, Problem>, Removed<'a>> {
        let entries = append.entries.len() as u64;
        let checked = self
            .check_sizes(channel.name(), &append.entries)
            .and_then(|()| self.pay_rest(channel.name(), admitted, append.entries.len()));
        if let Err(problem) = checked {
            return Ok(Err(problem));
        }
        let result = channel.append(append, Some(self.payer()), self.now_ms)?;
        if let Ok(Appended::New { .. }) = result {
            self.metrics.published(entries);
        }
        Ok(result.map_err(|error| match error {
            NotAppended::Refused(error) => append_problem(&error),
            NotAppended::NoRoom(short) => no_room(short),
        }))
    }

    /// Refuses entries that are larger than the channel's rule has it.
    fn check_sizes(&self, name: &ChannelName, entries: &[Draft]) -> Result<(), Problem> {
        let bytes_max = self.live.rules.entry_bytes_max(name);
        let largest = entries.iter().map(|entry| entry.payload.len()).max();
        match largest {
            Some(bytes) if bytes_max > 0 && bytes > bytes_max => {
                let detail = format!(
                    "an entry has {bytes} bytes, and {name} takes {bytes_max} (channels.entry_bytes_max); send it in parts"
                );
                Err(Problem::new(ProblemKind::TooLarge, detail)
                    .with("bytes_max", bytes_max)
                    .at_limit("entry_bytes_max"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the logs take so much more of this caller.
    pub fn check_room(&self, entries: &[Draft]) -> Result<(), Problem> {
        let bytes = entries.iter().map(Draft::accounted_bytes).sum();
        let admitted = self.hub.pots().admit_bytes(self.payer(), bytes);
        admitted.map_err(no_room)
    }

    fn payer(&self) -> Payer {
        Payer::new(self.account, self.live)
    }

    /// Appends one message of a raw WebSocket.
    pub fn raw_message(
        &self,
        channel: &Channel,
        message: RawMessage,
        mut admitted: Admitted,
    ) -> Result<(), Problem> {
        let append = Append {
            entries: vec![message.entry],
            content_type: message.payload_type.stated(),
            ..Append::default()
        };
        self.append_to(channel, append, &mut admitted)
            .unwrap_or_else(|_| Err(removed(channel.name())))
            .map(drop)
    }
}

impl Paid {
    /// Charges it to the channel's rate as well.
    pub fn to(self, publisher: &Publisher<'_>, name: &ChannelName) -> Result<Admitted, Problem> {
        publisher.charge_channel(name, 1)?;
        Ok(Admitted { entries: 1 })
    }

    /// What it paid for brings no entries.
    pub fn without_content(self) -> Admitted {
        Admitted { entries: 0 }
    }
}

/// A message of a raw WebSocket, as its channel holds it.
#[derive(Debug)]
pub(crate) struct RawMessage {
    pub entry: Draft,
    pub payload_type: PayloadType,
}

impl RawMessage {
    /// What a message is on this channel.
    pub fn of(
        channel: &Arc<Channel>,
        named: Option<&PublisherId>,
        kind: MessageKind,
        payload: Bytes,
    ) -> Result<Self, Problem> {
        let payload_type = PayloadType::stated_for(Some(channel)).unwrap_or_else(|| {
            PayloadType::Guessed(match kind {
                MessageKind::Text => ContentKind::guess(&payload),
                MessageKind::Binary => ContentKind::Binary,
            })
        });
        let payload =
            one_entry(payload_type.kind(), payload).map_err(|error| content_problem(&error))?;
        let entry = Draft {
            kind: payload_type.own_kind(),
            publisher: named.cloned(),
            ..Draft::from(payload)
        };
        Ok(Self {
            entry,
            payload_type,
        })
    }

    /// The question whether it may be published.
    pub fn question(
        &self,
        settings: &Webhooks,
        (evidence, caller): (&Evidence, &Caller),
        channel: &Channel,
    ) -> Result<Question, Problem> {
        let proposal = Proposal {
            content_type: Some(self.payload_type.media_type()),
            entries: std::slice::from_ref(&self.entry),
            close: false,
        };
        Question::publish(settings, evidence, caller, channel.name(), proposal)
    }

    /// The same with what the application has in its place, if it has.
    pub fn replaced_by(mut self, allowed: &Allowed) -> Result<Self, Problem> {
        let replaced = replaced(allowed, Some(self.payload_type.media_type()), 1)?;
        if let Some(payload) = replaced.and_then(|mut all| all.pop()) {
            self.entry.payload = payload;
        }
        Ok(self)
    }
}

/// Takes one message that came in on a channel's raw WebSocket: it is published. An error means that the line is
/// closed with its code.
pub(crate) fn line_message(
    publisher: &Publisher<'_>,
    channel: &Arc<Channel>,
    named: Option<&PublisherId>,
    may_publish: bool,
    kind: MessageKind,
    payload: &[u8],
) -> Result<(), Problem> {
    if !may_publish {
        return Err(may_not(channel.name()));
    }
    let admitted = publisher.admit(channel.name())?;
    let message = RawMessage::of(channel, named, kind, Bytes::copy_from_slice(payload))?;
    publisher.raw_message(channel, message, admitted)
}

/// A JSON value as the payload of an entry: itself for JSON, what a string says for text.
pub(crate) fn json_payload(kind: ContentKind, data: &RawValue) -> Result<Bytes, Problem> {
    match kind {
        ContentKind::Json => json_entry(data).map_err(|error| content_problem(&error)),
        ContentKind::Text => serde_json::from_str::<String>(data.get())
            .map(Bytes::from)
            .map_err(|_| match data.get().starts_with('"') {
                true => bad(
                    "this channel holds text, and half of a surrogate pair (U+D800 to U+DFFF) is none: cut strings between whole characters, or publish to a JSON channel",
                ),
                false => bad("this channel holds text: `data` has to be a JSON string"),
            }),
        ContentKind::Binary => Err(bad(
            "this channel holds bytes; publish to it by POST with the channel's media type, or by a session with `data64`",
        )),
    }
}

/// The payloads that the application has published in the place of so many, if it does; each as its channel holds it.
pub(crate) fn replaced(
    allowed: &Allowed,
    content_type: Option<&ContentType>,
    count: usize,
) -> Result<Option<Vec<Bytes>>, Problem> {
    let Some(entries) = &allowed.entries else {
        return Ok(None);
    };
    let unfit = |detail: String| {
        tracing::warn!(
            error = detail,
            "the webhook's application replaces what is published by what cannot be"
        );
        let detail =
            "the application replaced this by what its channel does not hold; try again later";
        Problem::new(ProblemKind::DecisionUnavailable, detail)
    };
    if entries.len() != count {
        let problem = format!(
            "{} entries in the place of {count}; give one for each",
            entries.len()
        );
        return Err(unfit(problem));
    }
    let kind = content_type.map_or(ContentKind::Binary, ContentType::kind);
    let payloads = entries.iter().map(|entry| match (entry, kind) {
        (Replacement::Data(data), _) => {
            json_payload(kind, data).map_err(|problem| unfit(problem.detail))
        }
        (Replacement::Data64(text), ContentKind::Binary) => BASE64_STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| unfit("`data64` is not base64 with padding".to_owned())),
        (Replacement::Data64(_), ContentKind::Json | ContentKind::Text) => Err(unfit(
            "`data64` for a channel that holds no bytes; send `data`".to_owned(),
        )),
    });
    payloads.collect::<Result<_, _>>().map(Some)
}

/// The append of one entry.
pub(crate) fn one<'a>(
    payload: Bytes,
    event: Option<EventName>,
    payload_type: &'a PayloadType,
    idempotency_key: Option<IdempotencyKey<'a>>,
) -> Append<'a> {
    let entries = vec![Draft {
        payload,
        kind: payload_type.own_kind(),
        event,
        publisher: None,
    }];
    Append {
        entries,
        content_type: payload_type.stated(),
        idempotency_key,
        ..Append::default()
    }
}

/// Checks a payload that is one entry, where an array is a value and no batch.
fn one_entry(kind: ContentKind, payload: Bytes) -> Result<Bytes, ContentError> {
    let body = match kind {
        ContentKind::Json if payload.trim_ascii().is_empty() => return Err(ContentError::Empty),
        ContentKind::Json => {
            let mut batch = BytesMut::with_capacity(payload.len() + 2);
            batch.extend_from_slice(b"[");
            batch.extend_from_slice(&payload);
            batch.extend_from_slice(b"]");
            batch.freeze()
        }
        ContentKind::Text | ContentKind::Binary if payload.is_empty() => return Ok(payload),
        ContentKind::Text | ContentKind::Binary => payload,
    };
    split(kind, body, 1)?.pop().ok_or(ContentError::Empty)
}

/// An event's name. Those that a wire says by itself are reserved, so that no publisher can fake an end.
pub(crate) fn event_name(name: &str) -> Result<EventName, Problem> {
    if ["gap", "closed", "error", "open", "heartbeat", "refused"].contains(&name) {
        return Err(bad(format!(
            "the event name {name:?} is reserved; choose another"
        )));
    }
    EventName::new(name).map_err(|error| bad(error.to_string()))
}

/// This line may only read.
pub(crate) fn may_not(name: &ChannelName) -> Problem {
    Problem::new(
        ProblemKind::Forbidden,
        format!("publishing to {name} is not permitted; grant it under `channels` or in a rule"),
    )
}

fn removed(name: &ChannelName) -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        format!("the channel {name} was deleted"),
    )
}

/// Something about what was asked is wrong.
pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}

/// An idempotency key, a publisher or an event's name is not well formed.
pub(crate) fn append_label(error: everwire_channel::LabelError) -> Problem {
    bad(error.to_string())
}

/// What a body that gives no entries is told.
pub(crate) fn content_problem(error: &ContentError) -> Problem {
    let detail = error.to_string();
    match error {
        ContentError::Json { line, column, .. } => Problem::new(ProblemKind::BadContent, detail)
            .with("line", *line)
            .with("column", *column),
        ContentError::Utf8 { position } => {
            Problem::new(ProblemKind::BadContent, detail).with("position", *position)
        }
        ContentError::TooManyEntries { entries_max } => Problem::new(ProblemKind::TooLarge, detail)
            .with("entries_max", *entries_max)
            .at_limit("entries_per_append_max"),
        ContentError::Empty | ContentError::EmptyBatch | ContentError::TooDeep => {
            Problem::new(ProblemKind::BadContent, detail)
        }
    }
}

/// What a refused append is told.
pub(crate) fn append_problem(error: &AppendError) -> Problem {
    let detail = error.to_string();
    match error {
        AppendError::Empty | AppendError::EpochMustStartAtZero { .. } => {
            Problem::new(ProblemKind::BadRequest, detail)
        }
        AppendError::KeyReused => Problem::new(ProblemKind::KeyReused, detail),
        AppendError::Closed { tail } => {
            Problem::new(ProblemKind::Closed, detail).with("offset", tail.to_token().to_string())
        }
        AppendError::ContentTypeMismatch { channel, received } => {
            Problem::new(ProblemKind::TypeMismatch, detail)
                .with("channel", channel.as_str())
                .with("received", received.as_str())
        }
        AppendError::StaleEpoch { current } => {
            Problem::new(ProblemKind::StaleEpoch, detail).with("current", *current)
        }
        AppendError::ProducerGap { expected, received } => {
            Problem::new(ProblemKind::ProducerGap, detail)
                .with("expected", *expected)
                .with("received", *received)
        }
        AppendError::StreamSeqNotRising { .. } => {
            Problem::new(ProblemKind::SequenceRegression, detail)
        }
        AppendError::TailMoved { tail } => tail_moved(*tail, detail),
    }
}

/// The channel ends elsewhere than it was to.
pub(crate) fn tail_moved(tail: Tail, detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::PreconditionFailed, detail)
        .with("offset", tail.offset.to_token().to_string())
        .with("etag", tail_tag(tail))
}

/// The condition that a channel ends at this offset.
pub(crate) fn ends_at(tail: &str) -> Result<Guard, Problem> {
    let offset = tail.parse().map_err(|_| {
        let detail = "`tail` is no offset; send back the newest offset as you got it";
        Problem::new(ProblemKind::BadOffset, detail)
    })?;
    Ok(Guard::is(Tail::open(offset)))
}

/// There is no channel that could end anywhere.
pub(crate) fn no_tail() -> Problem {
    Problem::new(
        ProblemKind::PreconditionFailed,
        "there is no such channel, so its tail is none of those that were named; create it first",
    )
}

/// The entity tag of a channel by its tail: two that are equal are the same entries (RFC 9110, section 8.8.3).
pub(crate) fn tail_tag(tail: Tail) -> String {
    format!("\"{}{}\"", tail.offset, if tail.closed { ":c" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_wire_says_by_itself_are_reserved() {
        assert!(event_name("typing").is_ok());
        for name in ["gap", "closed", "error", "heartbeat", "a\nb", ""] {
            assert!(event_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_message_is_one_entry_even_if_it_is_an_array() {
        let entry =
            |body: &'static str| one_entry(ContentKind::Json, Bytes::from_static(body.as_bytes()));
        assert_eq!(entry("[1,2]").unwrap(), "[1,2]");
        assert_eq!(entry("{\"a\":\n1}").unwrap(), "{\"a\": 1}");
        for refused in ["", "1,2", "1],[2", "nope"] {
            assert!(entry(refused).is_err(), "{refused:?}");
        }
    }
}
