//! What a session's client asks for, carried out.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use everwire_channel::{
    Append, ChannelName, ContentKind, Draft, IdempotencyKey, Offset, Read, Start,
};
use everwire_wire::{
    Command, CommandError, Data, Framing, From, Notice, Operation, Problem, ProblemKind, Publish,
    Subscribe, encode_error, encode_ok, encode_subscribed, entry_of_reply, offset_of_reply,
};
use serde_json::value::RawValue;

use super::{
    super::{Channel, LineKey, Net, Shard, feed::source},
    Speech, Wish,
    decide::{Answers, Done},
};
use crate::{
    auth::{Caller, has_ended, not_taken},
    config::Action,
    cost::{self, Cost},
    hub::{Occasion, no_channel},
    payload_type::PayloadType,
    publish::{Publisher, append_label, bad, ends_at, event_name, json_payload, no_tail, replaced},
    rate::Account,
};

impl<N: Net> Shard<N> {
    /// Carries out one command, unless the application has to be asked first: then nothing is done, and the command is
    /// to be given again with the answer once that is there. `reply` gets the answer's text, `notices` the messages that belong
    /// right after it. An error means that this is no session's message at all.
    pub(super) fn command(
        &mut self,
        key: LineKey,
        text: &str,
        answers: &mut Answers,
        reply: &mut BytesMut,
        notices: &mut BytesMut,
    ) -> Result<Done, Problem> {
        let (id, done) = match Command::parse(text) {
            Err(error @ CommandError::NotAnObject(_)) => return Err(bad(error.to_string())),
            Err(CommandError::Refused { id, problem }) => (id, Err(bad(problem))),
            Ok(Command { id, operation }) => {
                let id = id.map(|id| id.get().to_owned());
                let mut members = BytesMut::new();
                let before = notices.len();
                let admitted = self.admit_command(key, &operation, answers);
                let done = match admitted.and_then(|()| self.ask_for(key, &operation, answers)) {
                    Ok(Done::Waits(subject)) => return Ok(Done::Waits(subject)),
                    Ok(Done::Answered) => {
                        self.carry_out(key, operation, answers, &mut members, notices)
                    }
                    Err(problem) => Err(problem),
                };
                if done.is_err() {
                    notices.truncate(before);
                }
                (id, done.map(|()| members))
            }
        };
        match done {
            Ok(members) => encode_ok(id.as_deref(), reply, |out| out.put_slice(&members)),
            Err(problem) => {
                self.shared.metrics.refused(&problem);
                encode_error(id.as_deref(), &problem, reply);
            }
        }
        Ok(Done::Answered)
    }

    /// Counts a command before anything is done for it, or asked about it.
    fn admit_command(
        &self,
        key: LineKey,
        operation: &Operation<'_>,
        answers: &Answers,
    ) -> Result<(), Problem> {
        match answers.is_none() {
            true => self
                .shared
                .till()
                .charge(self.account(key)?, cost::of_command(operation)),
            false => Ok(()), // it was, before the application was asked
        }
    }

    fn carry_out(
        &mut self,
        key: LineKey,
        operation: Operation<'_>,
        answers: &mut Answers,
        members: &mut BytesMut,
        notices: &mut BytesMut,
    ) -> Result<(), Problem> {
        match operation {
            Operation::Subscribe(subscribe) => {
                self.subscribe(key, subscribe, answers, members, notices)
            }
            Operation::Unsubscribe { channel } => {
                let name = self.channel_name(key, channel)?;
                self.unsubscribe(key, &name)
            }
            Operation::Publish(publish) => {
                let offset = self.publish(key, publish, answers)?;
                offset_of_reply(&offset, members);
                Ok(())
            }
            Operation::History {
                channel,
                from,
                limit,
            } => {
                let name = self.channel_name(key, channel)?;
                self.permit(key, Action::Read, &name, answers)?;
                self.history(key, &name, &from, limit, members)
            }
            Operation::Presence { channel } => {
                let name = self.channel_name(key, channel)?;
                self.permit(key, Action::Presence, &name, answers)?;
                self.presence(key, &name, members)
            }
            Operation::Authenticate { token } => self.authenticate(key, &token, answers, notices),
            Operation::Ping => Ok(()),
        }
    }

    fn subscribe(
        &mut self,
        key: LineKey,
        subscribe: Subscribe<'_>,
        answers: &Answers,
        members: &mut BytesMut,
        notices: &mut BytesMut,
    ) -> Result<(), Problem> {
        let Subscribe {
            channel,
            from,
            echo,
            presence,
        } = subscribe;
        let name = &self.channel_name(key, channel)?;
        self.permit(key, Action::Read, name, answers)?;
        let start = start_of(&from)?.unwrap_or(Start::Now);
        let channels_max = self.shared.live.config.sessions.channels_max;
        let read = [name, &name.presence_log()].map(|name| self.feed_of_session(key, name));
        let read_again = read.iter().flatten().count();
        let count = self
            .session(key)
            .map_or(0, |session| session.subscriptions.len() - read_again);
        if count + usize::from(presence.is_some()) >= channels_max {
            let detail = format!(
                "this session reads {count} channels, presence counted, and may read {channels_max} \
                 (sessions.channels_max); unsubscribe from one, or open another session"
            );
            return Err(Problem::new(ProblemKind::TooMany, detail).at_limit("channels_max"));
        }
        let channel = (self.publisher(key)?).open_to_read(name, Occasion::LiveRead)?;
        let wish = Wish {
            skips_own: !echo,
            ..Wish::default()
        };
        let mut state = channel.lock();
        state.touch(self.now_ms);
        let (sequence, gap) = match state.core().log().locate(&start) {
            Ok(sequence) => (sequence, None),
            Err(gap) => (gap.oldest.sequence, Some(gap)),
        };
        let log = state.core().log();
        let offset = log.offset_at(sequence).unwrap_or_else(|| log.head());
        offset_of_reply(&offset, members);
        members.put_slice(match gap {
            None => b",\"recovered\":true".as_slice(),
            Some(_) => b",\"recovered\":false",
        });
        let speech = self.session(key).map(|session| session.speech);
        if let Some(Speech::Messages(carrier)) = speech {
            // The reply of a request may overtake what the session was told before, and be overtaken by what follows.
            if !carrier.is_websocket() {
                let bytes_max = 128 + 6 * name.as_str().len();
                carrier.plain(bytes_max, notices, |out| {
                    encode_subscribed(name, &offset, gap.is_none(), out);
                });
            }
            if let Some(gap) = &gap {
                let framing = Framing::Session(carrier);
                framing.encode_notice(&source(&channel, &state), Notice::Gap(gap), notices);
                self.shared.metrics.gap_told();
            }
        }
        drop(state);
        match &presence {
            Some(wish) => self.attend(key, name, wish, answers, members)?,
            None => self.leave_presence(key, name),
        }
        self.lend(key, name, answers);
        // A browser sends a request again whose connection was lost, also when it was carried out. So to ask for a
        // channel again is no fault: it begins anew. What is refused leaves the earlier reading as it is.
        if let Some(feed) = self.feed_of_session(key, name) {
            self.drop_subscription(key, feed);
        }
        self.add_subscription(key, &channel, sequence, wish);
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, key: LineKey, name: &ChannelName) -> Result<(), Problem> {
        let Some(feed) = self.feed_of_session(key, name) else {
            return Err(bad(format!("this session does not read {name}")));
        };
        self.drop_subscription(key, feed);
        self.leave_presence(key, name);
        self.give_back_lent(key, name);
        Ok(())
    }

    fn publish(
        &mut self,
        key: LineKey,
        publish: Publish<'_>,
        answers: &mut Answers,
    ) -> Result<Offset, Problem> {
        let name = &self.channel_name(key, publish.channel)?;
        self.permit(key, Action::Publish, name, answers)?;
        let publisher = self.publisher(key)?;
        let admitted = match answers.take_admitted() {
            Some(admitted) => admitted,
            None => publisher.admit(name)?,
        };
        let allowed = answers.allowed(Action::Publish, name);
        let guard = publish.tail.as_deref().map(ends_at).transpose()?;
        let channel = match &guard {
            // What is to follow a tail makes no channel.
            Some(_) => self
                .shared
                .hub
                .find(name, self.now_ms)
                .ok_or_else(no_tail)?,
            None => self.open_channel(key, name, Occasion::Append)?,
        };
        let known = PayloadType::stated_for(Some(&channel));
        let (mut payload, payload_type) = payload_of(publish.data, known)?;
        if let Some(allowed) = allowed
            && let Some(payloads) = replaced(allowed, Some(payload_type.media_type()), 1)?
        {
            payload = payloads.into_iter().next().unwrap_or(payload);
        }
        let entry = Draft {
            payload,
            kind: payload_type.own_kind(),
            event: publish.event.as_deref().map(event_name).transpose()?,
            publisher: self
                .session(key)
                .and_then(|session| session.publisher.clone()),
        };
        let append = Append {
            entries: vec![entry],
            content_type: payload_type.stated(),
            idempotency_key: publish
                .key
                .as_deref()
                .map(IdempotencyKey::new)
                .transpose()
                .map_err(append_label)?,
            guard: guard.as_ref(),
            ..Append::default()
        };
        let appended = publisher.append(name, &mut Some(channel), append, admitted)?;
        Ok(appended.next())
    }

    fn history(
        &mut self,
        key: LineKey,
        name: &ChannelName,
        from: &From,
        limit: Option<u64>,
        members: &mut BytesMut,
    ) -> Result<(), Problem> {
        let start = start_of(from)?.unwrap_or(Start::Beginning);
        let channel = self.open_channel(key, name, Occasion::Read)?;
        let limit = limit.unwrap_or(HISTORY_ENTRIES).min(HISTORY_ENTRIES_MAX);
        let bytes_max = self.shared.live.config.limits.page_bytes_max;
        let account = self.account(key)?;
        let mut state = channel.lock();
        state.touch(self.now_ms);
        let log = state.core().log();
        let located = log.locate(&start);
        let mut sequence = located.map_err(Problem::from)?;
        let source = source(&channel, &state);
        members.put_slice(b"\"entries\":[");
        if let Read::Entries(entries) = log.after(sequence) {
            let began = members.len();
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let mut bytes = 0;
            for (_, entry) in entries.clone().take(limit) {
                bytes += entry.payload.len();
                if bytes >= bytes_max {
                    break;
                }
            }
            self.shared
                .till()
                .charge_bytes(account, Cost::CommandPage, bytes)?;
            for (at, (next, entry)) in entries.take(limit).enumerate() {
                if at > 0 {
                    members.put_slice(b",");
                }
                let offset = log.offset_of(next, entry);
                entry_of_reply(&source, &offset, entry, members);
                sequence = next;
                if members.len() - began >= bytes_max {
                    break;
                }
            }
        }
        members.put_slice(b"],");
        if let Some(offset) = log.offset_at(sequence) {
            offset_of_reply(&offset, members);
            members.put_slice(b",");
        }
        members.put_slice(match sequence >= log.head_sequence() {
            true => b"\"up_to_date\":true".as_slice(),
            false => b"\"up_to_date\":false",
        });
        Ok(())
    }

    /// The channel that a command is about.
    pub(super) fn channel_name(
        &self,
        key: LineKey,
        name: Option<String>,
    ) -> Result<ChannelName, Problem> {
        match name {
            Some(name) => ChannelName::new(&name)
                .map_err(|error| Problem::new(ProblemKind::BadName, error.to_string())),
            None => {
                let session = self.session(key);
                let own = session.and_then(|session| session.own.as_ref());
                own.map(|own| own.name().clone())
                    .ok_or_else(|| bad("the member `channel` names the channel"))
            }
        }
    }

    /// On whose behalf a session's commands are carried out.
    pub(super) fn publisher(&self, key: LineKey) -> Result<Publisher<'_>, Problem> {
        Ok(self.shared.publisher(self.account(key)?, self.now_ms))
    }

    /// Who pays for what a session does.
    pub(super) fn account(&self, key: LineKey) -> Result<Account, Problem> {
        let seat = (self.lines.get(key)).and_then(|line| line.address.as_ref());
        seat.map(|seat| seat.account).ok_or_else(has_ended)
    }

    /// Whether a session may do this: by what it has shown, or by what the application answered about the command that
    /// is being carried out. An answer holds only as long as the application is to decide this.
    pub(super) fn permit(
        &self,
        key: LineKey,
        action: Action,
        name: &ChannelName,
        answers: &Answers,
    ) -> Result<(), Problem> {
        let caller = self.session(key).map(|session| &session.caller);
        let caller = caller.unwrap_or(&Caller::Anybody);
        if self.is_reloaded {
            // It may be on its way out, in the middle of an entry.
            let good = self.shared.live.authority.check(caller, self.now_ms);
            good.map_err(|error| not_taken(&error))?;
        }
        let rules = &self.shared.live.rules;
        let is_allowed = answers.allowed(action, name).is_some() && rules.is_decided(action, name);
        match caller.has_ended(self.now_ms) {
            true => Err(has_ended()),
            false if is_allowed => Ok(()),
            false => caller.permit(rules, action, name),
        }
    }

    fn open_channel(
        &self,
        key: LineKey,
        name: &ChannelName,
        occasion: Occasion,
    ) -> Result<Arc<Channel>, Problem> {
        let rules = &self.shared.live.rules;
        let by = self.account(key)?;
        let opened = (self.shared.hub).open(rules, name, (occasion, Some(by)), self.now_ms);
        opened.map_err(|none| no_channel(name, none))
    }
}

/// Entries of a page of history where nobody says how many, and most.
const HISTORY_ENTRIES: u64 = 100;
const HISTORY_ENTRIES_MAX: u64 = 1000;

pub(super) fn start_of(from: &From) -> Result<Option<Start>, Problem> {
    match (&from.offset, from.last) {
        (Some(offset), _) => Ok(Some(offset.parse()?)),
        (None, last) => Ok(last.map(Start::Last)),
    }
}

/// What is published, and in which type: the channel's, or what the message suggests.
pub(super) fn payload_of(
    data: Data<'_>,
    known: Option<PayloadType>,
) -> Result<(Bytes, PayloadType), Problem> {
    match data {
        Data::Json(value) => {
            let payload_type = known.unwrap_or(PayloadType::Guessed(ContentKind::Json));
            Ok((json_payload(payload_type.kind(), value)?, payload_type))
        }
        Data::Base64(text) => {
            let payload_type = known.unwrap_or(PayloadType::Guessed(ContentKind::Binary));
            if payload_type.kind() != ContentKind::Binary {
                return Err(bad(format!(
                    "this channel holds {}; send `data`, not `data64`",
                    payload_type.media_type()
                )));
            }
            Ok((bytes_of(text)?, payload_type))
        }
    }
}

fn bytes_of(text: &RawValue) -> Result<Bytes, Problem> {
    let text: String =
        serde_json::from_str(text.get()).map_err(|_| bad("`data64` is a JSON string of base64"))?;
    BASE64_STANDARD
        .decode(text)
        .map(Bytes::from)
        .map_err(|error| bad(format!("`data64` is not base64 with padding: {error}")))
}
