//! The shell of a line: it carries out what the core says, tells it what happened, and decides nothing.

use std::collections::HashMap;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::core::{Act, Core};
use super::credential;
use super::shared::{Shared, Todo};
use super::transport::{self, Report, Transport};
use crate::ServerUrl;

/// Drives one line, until it is closed.
pub(super) struct Driver {
    shared: Arc<Shared>,
    server: ServerUrl,
    message_bytes_max: usize,
    fetch: Option<FetchToken>,
    fetching: Option<Pin<Box<dyn Future<Output = Token> + Send>>>,
    transports: HashMap<u64, Transport>,
    reports: mpsc::Sender<Report>,
    /// Wires that are let go of: the server is told so, for a moment.
    farewells: JoinSet<()>,
}

/// How a program gives a token.
pub(super) type FetchToken =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Token> + Send>> + Send + Sync>;

type Token = Result<String, Box<dyn Error + Send + Sync>>;

impl Driver {
    /// Starts a task that drives the line; what is returned fails when it is gone.
    pub fn start(
        shared: Arc<Shared>,
        server: ServerUrl,
        message_bytes_max: usize,
        fetch: Option<FetchToken>,
    ) -> watch::Receiver<()> {
        let (done, is_done) = watch::channel(());
        let (reports, reported) = mpsc::channel(REPORTS_MAX);
        let driver = Self {
            shared,
            server,
            message_bytes_max,
            fetch,
            fetching: None,
            transports: HashMap::new(),
            reports,
            farewells: JoinSet::new(),
        };
        tokio::spawn(async move {
            driver.run(reported).await;
            drop(done);
        });
        is_done
    }

    async fn run(mut self, mut reported: mpsc::Receiver<Report>) {
        let mut pressed_since = None;
        loop {
            let Todo {
                acts,
                wake_at,
                is_pressed,
                is_closed,
            } = self.shared.todo();
            for act in acts {
                self.carry_out(act);
            }
            if is_closed && self.farewells.is_empty() {
                return;
            }
            let now = Instant::now();
            pressed_since = is_pressed.then(|| pressed_since.unwrap_or(now));
            let patient_until = pressed_since.map(|since| since + PATIENCE);
            let waits_for = patient_until.filter(|until| now < *until);
            let wake_at = wake_at
                .map(Instant::from_std)
                .into_iter()
                .chain(waits_for)
                .min();
            tokio::select! {
                Some(first) = reported.recv(), if waits_for.is_none() => {
                    self.shared.with(|core, now| {
                        let (serial, happened) = first;
                        core.handle(serial, happened, now);
                        for _ in 1..TURN_REPORTS {
                            if core.is_pressed() {
                                break;
                            }
                            let Ok((serial, happened)) = reported.try_recv() else {
                                break;
                            };
                            core.handle(serial, happened, now);
                        }
                    });
                }
                () = self.shared.nudged() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {
                    self.shared.with(Core::handle_timeout);
                }
                token = fetched(&mut self.fetching) => self.take_token(token),
                Some(_) = self.farewells.join_next() => {}
            }
        }
    }

    fn carry_out(&mut self, act: Act) {
        match act {
            Act::Open {
                serial,
                wire,
                request,
            } => {
                let transport = Transport::open(
                    wire,
                    serial,
                    request,
                    self.server.http().clone(),
                    self.message_bytes_max,
                    self.reports.clone(),
                );
                self.transports.insert(serial, transport);
            }
            Act::Request {
                serial,
                lane,
                request,
            } => {
                if let Some(transport) = self.transports.get_mut(&serial) {
                    transport.request(lane, request);
                }
            }
            Act::Text { serial, text } => {
                if let Some(transport) = self.transports.get_mut(&serial) {
                    transport.text(text);
                }
            }
            Act::Close {
                serial,
                code,
                farewell,
            } => {
                let server = self.server.http().clone();
                if let Some(transport) = self.transports.remove(&serial) {
                    self.farewells.spawn(transport.close(code));
                }
                if let Some(request) = farewell {
                    self.farewells.spawn(transport::send_once(server, request));
                }
            }
            Act::FetchToken => self.fetching = self.fetch.as_ref().map(|fetch| fetch()),
        }
    }

    fn take_token(&mut self, token: Token) {
        self.fetching = None;
        let token = token
            .map(|token| {
                let lifetime = credential::lifetime(&token, SystemTime::now());
                (token, lifetime)
            })
            .map_err(|error| format!("the token could not be had: {error}"));
        self.shared.with(|core, now| core.handle_token(token, now));
    }
}

/// The token that is being fetched.
async fn fetched(fetching: &mut Option<Pin<Box<dyn Future<Output = Token> + Send>>>) -> Token {
    match fetching {
        Some(token) => token.await,
        None => std::future::pending().await,
    }
}

/// Reports of transports that wait for the core; beyond that the sockets wait.
const REPORTS_MAX: usize = 64;

/// Reports that the core hears in one turn, so that others who want the core have a turn too.
const TURN_REPORTS: usize = 16;

/// How long a line waits for a reader of whom much waits, before it brings more and may have to leave the channel. A
/// reader that takes nothing delays the others by this, once.
const PATIENCE: Duration = Duration::from_millis(100);
