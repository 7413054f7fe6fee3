//! A server of sessions in memory: what the protocol promises, in the fewest words, and no wire.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The server.
pub(super) struct Server {
    pub sessions: BTreeMap<u64, Session>,
    pub up: bool,
    pub wants_token: bool,
    /// Tokens made before this time are refused.
    pub tokens_from: Duration,
    /// Refuses that many of the next publications with `too-many`.
    pub refuse_publications: u32,
    /// Refuses that many of the next subscriptions, for now.
    pub refuse_subscriptions: u32,
    /// Answers to that many of the next publications are lost, and the line with them.
    pub lose_replies: u32,
    /// A longer message is refused for its size.
    pub message_bytes_max: usize,
    /// What goes out, in order.
    pub outputs: VecDeque<(u64, Output)>,
    logs: HashMap<String, Log>,
    presence: HashMap<String, Presence>,
    keys: HashMap<String, Value>,
    epoch: u32,
    last_session: u64,
}

/// Something that goes to a session.
pub(super) enum Output {
    Event(Value),
    Reply(Value),
    Close(u16, String),
}

#[derive(Default)]
pub(super) struct Session {
    pub token: Option<String>,
    publisher: Option<String>,
    is_http: bool,
    /// What it reads; whether its own entries come too.
    pub channels: BTreeMap<String, bool>,
    /// Where it is told of presence, and as whom it is there.
    present: BTreeMap<String, Option<String>>,
}

#[derive(Clone)]
pub(super) struct Log {
    epoch: u32,
    pub entries: Vec<(String, Value)>,
    length: u32,
    oldest: String,
    closed: bool,
}

/// Who is in a channel, and how that came.
#[derive(Default)]
struct Presence {
    log: Vec<Value>,
    members: BTreeMap<String, (Value, u32)>,
}

impl Server {
    pub const HEARTBEAT: Duration = Duration::from_secs(20);

    pub fn new() -> Self {
        Self {
            sessions: BTreeMap::new(),
            up: true,
            wants_token: false,
            tokens_from: Duration::ZERO,
            refuse_publications: 0,
            refuse_subscriptions: 0,
            lose_replies: 0,
            message_bytes_max: usize::MAX,
            outputs: VecDeque::new(),
            logs: HashMap::new(),
            presence: HashMap::new(),
            keys: HashMap::new(),
            epoch: 1,
            last_session: 0,
        }
    }

    /// Opens a session, which is welcomed.
    pub fn open(&mut self, token: Option<String>, publisher: Option<String>, http: bool) -> u64 {
        self.last_session += 1;
        let id = self.last_session;
        let session = Session {
            token,
            publisher,
            is_http: http,
            ..Session::default()
        };
        self.sessions.insert(id, session);
        let heartbeat_ms = Self::HEARTBEAT.as_millis() as u64;
        self.event(
            id,
            match http {
                true => {
                    json!({"ev": "welcome", "session": format!("s{id}"), "secret": secret(id), "heartbeat_ms": heartbeat_ms})
                }
                false => json!({"ev": "welcome", "heartbeat_ms": heartbeat_ms}),
            },
        );
        id
    }

    pub fn accepts(&self, token: Option<&str>, now: Duration) -> bool {
        if !self.wants_token {
            return true;
        }
        let Some(claims) = token.and_then(claims) else {
            return false;
        };
        let time = |name: &str| Duration::from_secs_f64(claims[name].as_f64().unwrap());
        time("iat") >= self.tokens_from && time("exp") > now
    }

    /// A heartbeat is due; false if the session is gone.
    pub fn beat(&mut self, id: u64, now: Duration) -> bool {
        let Some(session) = self.sessions.get(&id) else {
            return false;
        };
        match self.accepts(session.token.as_deref(), now) {
            true => self.event(id, json!({"ev": "ping"})),
            false => self.end(id, 4401, "the credential expired"),
        }
        true
    }

    pub fn log(&mut self, channel: &str) -> &mut Log {
        let epoch = self.epoch;
        self.logs.entry(channel.to_owned()).or_insert_with(|| Log {
            epoch,
            entries: Vec::new(),
            length: 0,
            oldest: offset(epoch, 0),
            closed: false,
        })
    }

    pub fn append(&mut self, channel: &str, data: Value, publisher: Option<&str>) -> String {
        let log = self.log(channel);
        log.length += 1;
        let entry = (offset(log.epoch, log.length), data);
        log.entries.push(entry.clone());
        let readers: Vec<_> = (self.sessions.iter())
            .filter(|(_, session)| match session.channels.get(channel) {
                Some(true) => true,
                Some(false) => publisher.is_none() || session.publisher.as_deref() != publisher,
                None => false,
            })
            .map(|(id, _)| *id)
            .collect();
        for id in readers {
            self.event(id, entry_event(channel, &entry));
        }
        entry.0
    }

    /// Drops all but the newest `keep` entries.
    pub fn trim(&mut self, channel: &str, keep: usize) {
        let log = self.log(channel);
        let dropped = log.entries.len().saturating_sub(keep);
        if let Some((offset, _)) = log.entries.drain(..dropped).next_back() {
            log.oldest = offset;
        }
    }

    pub fn close_channel(&mut self, channel: &str) {
        self.log(channel).closed = true;
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        for id in ids {
            self.end_channel(id, channel);
        }
    }

    /// The process ends and begins again: every line is cut; the logs survive or not.
    pub fn restart(&mut self, keep_logs: bool) {
        for id in self.ids() {
            self.end(id, CUT, "");
        }
        self.presence.clear();
        if !keep_logs {
            self.epoch += 1;
            self.logs.clear();
            self.keys.clear();
        }
    }

    pub fn drain(&mut self, after_ms: u64) {
        for id in self.ids() {
            self.event(id, json!({"ev": "drain", "after_ms": after_ms}));
            self.end(id, 1001, "the server is stopping");
        }
    }

    pub fn close_lines(&mut self, code: u16) {
        for id in self.ids() {
            self.end(id, code, "");
        }
    }

    pub fn end(&mut self, id: u64, code: u16, reason: &str) {
        self.drop_session(id);
        let close = Output::Close(code, reason.to_owned());
        self.outputs.push_back((id, close));
    }

    /// The session is over for the server.
    pub fn drop_session(&mut self, id: u64) {
        if let Some(session) = self.sessions.remove(&id) {
            for (channel, user) in session.present {
                self.leave(&channel, user);
            }
        }
    }

    /// Carries a command out; the reply and what follows it are among the outputs.
    pub fn command(&mut self, id: u64, command: &Value, now: Duration) {
        let channel = command["channel"].as_str().unwrap_or("").to_owned();
        let answer = match command["op"].as_str().unwrap_or("") {
            "ping" => json!({"ok": {}}),
            "subscribe" => return self.subscribe(id, command, &channel),
            "unsubscribe" => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.channels.remove(&channel);
                    if let Some(user) = session.present.remove(&channel) {
                        self.leave(&channel, user);
                    }
                }
                json!({"ok": {}})
            }
            "publish" => {
                let answer = self.publish(id, command, &channel);
                if self.lose_replies > 0 {
                    self.lose_replies -= 1;
                    return self.end(id, CUT, "");
                }
                answer
            }
            "history" => {
                let log = self.log(&channel);
                let entries: Vec<_> = (log.entries.iter())
                    .map(|(offset, data)| json!({"offset": offset, "time": 1, "data": data}))
                    .collect();
                json!({"ok": {"entries": entries, "offset": offset(log.epoch, log.length), "up_to_date": true}})
            }
            "presence" => json!({"ok": self.snapshot(&channel)}),
            "authenticate" => {
                let token = command["token"].as_str().map(str::to_owned);
                let is_good = self.accepts(token.as_deref(), now);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.token = token;
                }
                match is_good {
                    true => json!({"ok": {}}),
                    false => error("unauthorized", "the token is not valid", false),
                }
            }
            op => error("bad-request", &format!("no operation {op}"), false),
        };
        self.reply(id, command, answer);
    }

    fn publish(&mut self, id: u64, command: &Value, channel: &str) -> Value {
        if self.refuse_publications > 0 {
            self.refuse_publications -= 1;
            return error("too-many", "too many appends", true);
        }
        if self.log(channel).closed {
            return error("closed", "the channel is closed", false);
        }
        let key = format!("{channel} {}", command["key"]);
        if let Some(known) = self.keys.get(&key) {
            return known.clone();
        }
        let publisher = self
            .sessions
            .get(&id)
            .and_then(|session| session.publisher.clone());
        let data = command.get("data").or(command.get("data64")).cloned();
        let offset = self.append(channel, data.unwrap_or(Value::Null), publisher.as_deref());
        let reply = json!({"ok": {"offset": offset}});
        self.keys.insert(key, reply.clone());
        reply
    }

    fn subscribe(&mut self, id: u64, command: &Value, channel: &str) {
        if channel.starts_with("secret/") {
            let refusal = error("forbidden", "not for you", false);
            return self.reply(id, command, refusal);
        }
        if self.refuse_subscriptions > 0 {
            self.refuse_subscriptions -= 1;
            return self.reply(id, command, error("too-many", "too many channels", true));
        }
        let echo = command["echo"].as_bool().unwrap_or(true);
        let log = self.log(channel).clone();
        let tail = offset(log.epoch, log.length);
        let asked = command["offset"].as_str();
        let is_same_life =
            asked.is_some_and(|asked| asked.get(..4) == tail.get(..4) && asked <= &*tail);
        let (from, recovered) = match asked {
            None => (tail.clone(), true),
            Some("-1") => (log.oldest.clone(), true),
            Some(asked) if is_same_life && asked >= &*log.oldest => (asked.to_owned(), true),
            Some(_) => (log.oldest.clone(), false),
        };
        let mut ok = json!({"offset": from, "recovered": recovered});
        let mut missed = Vec::new();
        if let Some(presence) = command.get("presence") {
            let name = presence["user"]
                .as_str()
                .map_or(format!("~{id}"), |user| format!("~{user}"));
            let joins = presence["join"].as_bool().unwrap_or(true);
            let after = presence["offset"].as_str();
            let log = &self.presence.entry(channel.to_owned()).or_default().log;
            let resumed = after.is_some_and(|after| {
                after.starts_with('p') && after <= &*presence_offset(log.len())
            });
            if let (true, Some(after)) = (resumed, after) {
                let later = log
                    .iter()
                    .filter(|change| change["offset"].as_str() > Some(after));
                missed.extend(later.cloned());
                ok["presence"] = json!({"offset": after});
            }
            if joins {
                self.join(
                    channel,
                    &name,
                    presence["info"].clone(),
                    Some(id),
                    &mut missed,
                );
            }
            if !resumed {
                ok["presence"] = self.snapshot(channel);
                missed.clear();
            }
            if let Some(session) = self.sessions.get_mut(&id) {
                session
                    .present
                    .insert(channel.to_owned(), joins.then_some(name));
            }
        }
        self.reply(id, command, json!({"ok": ok}));
        if self
            .sessions
            .get(&id)
            .is_some_and(|session| session.is_http)
        {
            self.event(
                id,
                json!({"ev": "subscribed", "channel": channel, "offset": from}),
            );
        }
        for change in missed {
            self.event(id, change);
        }
        if !recovered {
            let gap =
                json!({"ev": "gap", "channel": channel, "oldest": log.oldest, "newest": tail});
            self.event(id, gap);
        }
        for entry in log.entries.iter().filter(|(offset, _)| **offset > *from) {
            self.event(id, entry_event(channel, entry));
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.channels.insert(channel.to_owned(), echo);
        }
        if log.closed {
            self.end_channel(id, channel);
        }
    }

    fn join(
        &mut self,
        channel: &str,
        user: &str,
        info: Value,
        but: Option<u64>,
        missed: &mut Vec<Value>,
    ) {
        let presence = self.presence.entry(channel.to_owned()).or_default();
        let known = presence.members.get(user);
        let is_news = known.is_none_or(|(told, _)| *told != info);
        let count = known.map_or(0, |(_, count)| *count);
        presence
            .members
            .insert(user.to_owned(), (info.clone(), count + 1));
        if is_news {
            let mut change = json!({"ev": "join", "user": user});
            if !info.is_null() {
                change["info"] = info;
            }
            missed.push(self.change(channel, change, but));
        }
    }

    fn leave(&mut self, channel: &str, user: Option<String>) {
        let (Some(user), Some(presence)) = (user, self.presence.get_mut(channel)) else {
            return;
        };
        if let Some((_, count)) = presence.members.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                presence.members.remove(&user);
                self.change(channel, json!({"ev": "leave", "user": user}), None);
            }
        }
    }

    /// Appends to the presence log, and tells all who are told of it.
    fn change(&mut self, channel: &str, mut change: Value, but: Option<u64>) -> Value {
        let presence = self.presence.entry(channel.to_owned()).or_default();
        change["channel"] = json!(channel);
        change["time"] = json!(1);
        change["offset"] = json!(presence_offset(presence.log.len() + 1));
        presence.log.push(change.clone());
        let told: Vec<_> = (self.sessions.iter())
            .filter(|(id, session)| session.present.contains_key(channel) && Some(**id) != but)
            .map(|(id, _)| *id)
            .collect();
        for id in told {
            self.event(id, change.clone());
        }
        change
    }

    /// The presence log forgets what it held, as one that many changes went through.
    pub fn lose_presence_log(&mut self, channel: &str) {
        for id in self.ids() {
            let log = &self.presence.entry(channel.to_owned()).or_default().log;
            let newest = presence_offset(log.len());
            self.event(
                id,
                json!({"ev": "gap", "channel": channel, "presence": true, "oldest": newest, "newest": newest}),
            );
        }
    }

    fn snapshot(&mut self, channel: &str) -> Value {
        let presence = self.presence.entry(channel.to_owned()).or_default();
        let members: Vec<_> = (presence.members.iter())
            .map(|(user, (info, count))| json!({"user": user, "info": info, "count": count}))
            .collect();
        json!({"offset": presence_offset(presence.log.len()), "members": members})
    }

    fn end_channel(&mut self, id: u64, channel: &str) {
        let session = self.sessions.get_mut(&id);
        if session.is_some_and(|session| session.channels.remove(channel).is_some()) {
            self.event(id, json!({"ev": "closed", "channel": channel}));
        }
    }

    pub fn event(&mut self, id: u64, event: Value) {
        self.outputs.push_back((id, Output::Event(event)));
    }

    fn reply(&mut self, id: u64, command: &Value, mut answer: Value) {
        answer["re"] = command["id"].clone();
        self.outputs.push_back((id, Output::Reply(answer)));
    }

    fn ids(&self) -> Vec<u64> {
        self.sessions.keys().copied().collect()
    }
}

/// The secret of a session.
pub(super) fn secret(id: u64) -> String {
    format!("secret of s{id}")
}

/// A token as this server makes them: not signed. Times since the world began.
pub(super) fn token(made: Duration, ends: Duration) -> String {
    let claims = json!({"iat": made.as_secs_f64(), "exp": ends.as_secs_f64()});
    format!(
        "head.{}.signature",
        BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}

/// The code of a line that is cut, which no Close frame carries.
pub(super) const CUT: u16 = 1006;

fn claims(token: &str) -> Option<Value> {
    let payload = BASE64_URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1)?)
        .ok()?;
    serde_json::from_slice(&payload).ok()
}

fn error(name: &str, detail: &str, retry: bool) -> Value {
    json!({"error": {"type": name, "title": name, "detail": detail, "retry": retry}})
}

fn entry_event(channel: &str, (offset, data): &(String, Value)) -> Value {
    json!({"ev": "entry", "channel": channel, "offset": offset, "time": 1, "data": data})
}

fn offset(epoch: u32, sequence: u32) -> String {
    format!("{epoch:04}{sequence:08}")
}

fn presence_offset(sequence: usize) -> String {
    format!("p{sequence:08}")
}
