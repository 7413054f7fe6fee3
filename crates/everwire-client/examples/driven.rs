//! A line that is driven by lines of JSON on standard input, as `tests/network` does it to play what networks do to
//! clients:
//!
//! ```text
//! {"do":"connect","url":"http://127.0.0.1:8080","options":{"wires":["ndjson"]},"scale":10}     times divided by `scale`
//! {"do":"subscribe","channel":"a"}     {"do":"unsubscribe","channel":"a"}
//! {"do":"publish","channel":"a","data":1}     {"do":"wake"}
//! ```
//!
//! With `"token":true` the line shows tokens: it asks for each with the line `"token"`, and gets it by
//! `{"do":"token","token":"…"}`.
//!
//! Each is answered by `"done"`. What its user has seen so far is a line too, whenever there is something new:
//!
//! ```text
//! {"state":"open","wire":"ndjson","wires":["ndjson"],"entries":{"a":[1]},"gaps":{"a":0},"ended":{},"outcomes":["ok"],"tokens":0}
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    io::stdin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use everwire_client::{
    AskError, Backoff, Credential, Data, Line, LineError, LineOptions, LineStatus, LineWire,
    Publication, Start, SubscribeError, SubscribeOptions, Subscription, Update,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (lines, mut commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        stdin()
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| lines.send(line))
    });
    let mut user = User::default();
    while let Some(command) = commands.recv().await {
        user.carry_out(serde_json::from_str(&command)?).await?;
        // What the command started has begun before it is said to be done.
        tokio::task::yield_now().await;
        println!("\"done\"");
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    Connect {
        url: String,
        options: Options,
        scale: u32,
        token: bool,
    },
    Token {
        token: String,
    },
    Subscribe {
        channel: String,
        offset: Option<String>,
    },
    Unsubscribe {
        channel: String,
    },
    Publish {
        channel: String,
        data: Value,
    },
    Wake,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    wires: Option<Vec<String>>,
    queue_max: Option<usize>,
}

/// All that a user has seen so far.
#[derive(Default, Serialize)]
struct Seen {
    state: &'static str,
    wire: Option<&'static str>,
    wires: Vec<&'static str>,
    entries: BTreeMap<String, Vec<Value>>,
    gaps: BTreeMap<String, u32>,
    ended: BTreeMap<String, String>,
    outcomes: Vec<String>,
    /// How many were fetched.
    tokens: u32,
}

#[derive(Default)]
struct User {
    seen: Arc<Mutex<Seen>>,
    /// The last one is in use.
    lines: Vec<Line>,
    reading: BTreeMap<String, Reading>,
    left: BTreeMap<String, Start>,
    /// Where tokens are waited for that were asked for.
    asked: Arc<Mutex<VecDeque<oneshot::Sender<String>>>>,
}

/// A subscription with its task, which gives back where to go on.
struct Reading {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Option<Start>>,
}

impl User {
    async fn carry_out(&mut self, command: Command) -> Result<(), Box<dyn Error>> {
        match command {
            Command::Connect {
                url,
                options,
                scale,
                token,
            } => self.connect(&url, options, scale, token)?,
            Command::Token { token } => {
                see(&self.seen, |seen| seen.tokens += 1);
                let asked = lock(&self.asked).pop_front();
                // A line that is over does not wait for it any more.
                let _ = asked.ok_or("no token was asked for")?.send(token);
            }
            Command::Subscribe { channel, offset } => self.subscribe(channel, offset.as_deref())?,
            Command::Unsubscribe { channel } => {
                let reading = self
                    .reading
                    .remove(&channel)
                    .ok_or("the channel is not read")?;
                let _ = reading.stop.send(());
                if let Some(start) = reading.task.await? {
                    self.left.insert(channel, start);
                }
            }
            Command::Publish { channel, data } => self.publish(&channel, &data)?,
            Command::Wake => self.line()?.wake(),
        }
        Ok(())
    }

    fn connect(
        &mut self,
        url: &str,
        options: Options,
        scale: u32,
        token: bool,
    ) -> Result<(), Box<dyn Error>> {
        let remembered = self.lines.last().map(Line::status);
        let settings = settings(options, remembered.as_ref(), scale);
        let line = match token {
            true => Line::connect_as(url.parse()?, settings, self.credential())?,
            false => Line::connect(url.parse()?, settings)?,
        };
        let mut status = line.watch();
        self.lines.push(line);
        let seen = Arc::clone(&self.seen);
        tokio::spawn(async move {
            loop {
                let now = status.borrow_and_update().clone();
                see(&seen, |seen| seen.status(&now));
                if status.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    fn subscribe(&mut self, channel: String, offset: Option<&str>) -> Result<(), Box<dyn Error>> {
        let start = match (self.left.remove(&channel), offset) {
            (Some(left), _) => left,
            (None, Some("-1")) => Start::Beginning,
            (None, _) => Start::Now,
        };
        let options = SubscribeOptions {
            start,
            ..SubscribeOptions::default()
        };
        let mut subscription = self.line()?.channel(&channel)?.subscribe(options)?;
        see(&self.seen, |seen| {
            seen.entries.entry(channel.clone()).or_default();
            seen.gaps.entry(channel.clone()).or_default();
        });
        let seen = Arc::clone(&self.seen);
        let (stop, mut stopped) = oneshot::channel();
        let name = channel.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = read(&mut subscription, &name, &seen) => {}
                _ = &mut stopped => {}
            }
            subscription.resume()
        });
        self.reading.insert(channel, Reading { stop, task });
        Ok(())
    }

    fn publish(&self, channel: &str, data: &Value) -> Result<(), Box<dyn Error>> {
        let channel = self.line()?.channel(channel)?;
        let publication = Publication::json(data)?;
        let seen = Arc::clone(&self.seen);
        tokio::spawn(async move {
            let outcome = match channel.publish(publication).await {
                Ok(_) => "ok",
                Err(AskError::Refused(_)) => "refused",
                Err(AskError::QueueFull { .. }) => "queue-full",
                Err(AskError::TimedOut { .. }) => "timed-out",
                Err(_) => "failed",
            };
            see(&seen, |seen| seen.outcomes.push(outcome.to_owned()));
        });
        Ok(())
    }

    /// Tokens, each of which is asked for.
    fn credential(&self) -> Credential {
        let waiting = Arc::clone(&self.asked);
        Credential::fetched(move || {
            let (give, given) = oneshot::channel();
            lock(&waiting).push_back(give);
            println!("\"token\"");
            given
        })
    }

    fn line(&self) -> Result<&Line, &'static str> {
        self.lines
            .last()
            .ok_or("there is no line yet; connect first")
    }
}

/// Reads to the end of the channel, or to why there is none.
async fn read(subscription: &mut Subscription, name: &str, seen: &Mutex<Seen>) {
    let end = loop {
        match subscription.next().await {
            Ok(Some(Update::Entry(entry))) => {
                let data = match entry.data {
                    Data::Json(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
                    Data::Text(text) => Value::String(text),
                    Data::Binary(_) => Value::Null,
                };
                see(seen, |seen| {
                    seen.entries.entry(name.to_owned()).or_default().push(data);
                });
            }
            Ok(Some(Update::Gap(_))) => see(seen, |seen| {
                *seen.gaps.entry(name.to_owned()).or_default() += 1;
            }),
            Ok(Some(_)) => {}
            Ok(None) => break "closed".to_owned(),
            Err(
                SubscribeError::Refused(problem)
                | SubscribeError::Line(LineError::Refused(problem)),
            ) => break problem.kind,
            Err(SubscribeError::Line(LineError::Unauthorized { .. })) => {
                break "unauthorized".to_owned();
            }
            Err(_) => break "refused".to_owned(),
        }
    };
    see(seen, |seen| _ = seen.ended.insert(name.to_owned(), end));
    // Whoever wants to unsubscribe stops it.
    std::future::pending::<()>().await;
}

impl Seen {
    fn status(&mut self, status: &LineStatus) {
        (self.state, self.wire) = match status {
            LineStatus::Open { wire, .. } => ("open", Some(wire.as_str())),
            LineStatus::Waiting { .. } => ("waiting", None),
            LineStatus::Closed(_) => ("closed", None),
            _ => ("connecting", None),
        };
        self.wires.extend(self.wire);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn see(seen: &Mutex<Seen>, change: impl FnOnce(&mut Seen)) {
    let mut seen = lock(seen);
    change(&mut seen);
    println!(
        "{}",
        serde_json::to_string(&*seen).expect("names and values are JSON")
    );
}

/// The defaults, with all times divided.
fn settings(options: Options, remembered: Option<&LineStatus>, scale: u32) -> LineOptions {
    let at = |time: Duration| time / scale;
    let default = LineOptions::default();
    let wires = options.wires.map(|names| {
        let known = |name: &String| LineWire::ALL.into_iter().find(|wire| wire.as_str() == name);
        names.iter().filter_map(known).collect()
    });
    LineOptions {
        wires: wires.unwrap_or(default.wires),
        first_wire: match remembered {
            Some(LineStatus::Open { wire, .. }) => Some(*wire),
            _ => None,
        },
        prove: at(default.prove),
        reply: at(default.reply),
        heartbeat: at(default.heartbeat),
        stable: at(default.stable),
        backoff: Backoff {
            first: at(default.backoff.first),
            max: at(default.backoff.max),
        },
        try_better: at(default.try_better),
        refresh: at(default.refresh),
        queue_time: at(default.queue_time),
        queue_max: options.queue_max.unwrap_or(default.queue_max),
        ..default
    }
}
