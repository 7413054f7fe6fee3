//! The application, asked over HTTP: signed, with few attempts, all of them within one deadline.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};

use super::{
    answer::{Answer, AnswerError, Decision, NoDecision},
    breaker::{Position, Terms},
    breakers::{Absence, Breakers, Leave},
    desk::{Answers, Basis, Connection, Desk, Errand},
    question::Kind,
    signature::Signer,
};
use crate::{
    clock,
    config::{Address, Config, ConfigError},
    outbound::{Limits, OutboundError},
};

/// Shows that this server asks.
const EVERWIRE_SIGNATURE: HeaderName = HeaderName::from_static("everwire-signature");

/// Longest pause before the second attempt; before each further one it is twice as long.
const PAUSE_MS: u64 = 100;

/// The application that decides. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Application(Arc<Shared>);

struct Shared {
    address: Address,
    time_max: Duration,
    attempts_max: u32,
    answer_bytes_max: usize,
    grants_max: usize,
    signer: Signer,
    breakers: Mutex<Breakers>,
    /// When a mistake of the application was last logged, in Unix seconds.
    logged_s: AtomicU64,
}

/// Why an attempt brought no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("it answered with status {0}; an answer has 200")]
    Status(StatusCode),
    #[error("its answer makes no sense: {0}; see docs/webhooks.md")]
    Answer(#[from] AnswerError),
}

/// What an attempt tells of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tells {
    /// It is there.
    Presence,
    /// It is not, or so it seems.
    Absence(Absence),
    /// Neither.
    Nothing,
}

impl Application {
    /// A desk whose questions this application answers once it is connected, if the configuration names one: the one that
    /// there was `before` where nothing about it has changed, with its open questions, its answers and its breakers. `read`
    /// gets the content of a key's file.
    ///
    /// # Errors
    ///
    /// There is nothing to sign with, or it is not what it should be.
    pub fn desk(
        config: &Config,
        before: Option<&Arc<Desk>>,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Option<Arc<Desk>>, ConfigError> {
        let settings = &config.webhooks;
        let Some(address) = settings.address(&config.outbound)? else {
            return Ok(None);
        };
        let signer = Signer::new(settings, read)?;
        let basis = Basis::new(config, *signer.digest());
        if let Some(before) = before.filter(|before| before.is_made_from(&basis)) {
            return Ok(Some(before.clone()));
        }
        let time_max = Duration::from_millis(settings.time_ms_max);
        let breakers = Breakers::new(Terms {
            failures: settings.breaker_failures,
            rest: Duration::from_millis(settings.breaker_rest_ms),
            probe: time_max,
        });
        let application = Self(Arc::new(Shared {
            address,
            time_max,
            attempts_max: settings.attempts_max,
            answer_bytes_max: settings.answer_bytes_max,
            grants_max: config.tokens.grants_max,
            signer,
            breakers: Mutex::new(breakers),
            logged_s: AtomicU64::new(0),
        }));
        Ok(Some(Arc::new(Desk::new(basis, Box::new(application)))))
    }
}

impl Answers for Application {
    fn answer(&self, errand: Errand, connection: Connection) {
        let shared = self.0.clone();
        let workers = connection.outbound.workers().clone();
        workers.spawn(async move {
            let began = Instant::now();
            let answer = shared
                .attempts(&errand, began + shared.time_max, &connection)
                .await;
            let outcome = match &answer {
                Ok(Answer { decision, .. }) => match decision {
                    Decision::Allowed(_) => "allowed",
                    Decision::Refused(_) | Decision::None(_) => "refused",
                },
                Err(NoDecision::Resting(_)) => "resting",
                Err(NoDecision::TooMany | NoDecision::TooManyOfOne | NoDecision::Failed) => {
                    "failed"
                }
            };
            let metrics = &connection.metrics;
            metrics.question(errand.question.kind.name(), outcome);
            metrics.question_took(began.elapsed());
            errand.close(answer);
        });
    }
}

impl Shared {
    /// Asks until there is an answer, it makes no sense to ask again, or the deadline has come.
    async fn attempts(
        &self,
        errand: &Errand,
        deadline: Instant,
        connection: &Connection,
    ) -> Result<Answer, NoDecision> {
        // The same for each attempt, so that the application can tell that it was asked already.
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        for attempt in 1.. {
            let admitted = self.breakers().admit(errand.whose, Instant::now());
            let leave = admitted.map_err(NoDecision::Resting)?;
            let outcome = self.attempt(errand, &id, deadline, connection).await;
            self.tell_breakers(leave, &outcome, connection);
            let failure = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let pause_ms = fastrand::u64(0..=PAUSE_MS << attempt.min(10) >> 1);
            let pause = Duration::from_millis(pause_ms);
            let has_time = Instant::now() + pause < deadline;
            if !failure.is_passing(errand.question.kind)
                || attempt >= self.attempts_max
                || !has_time
            {
                self.log(&failure);
                break;
            }
            tokio::time::sleep(pause).await;
        }
        Err(NoDecision::Failed)
    }

    async fn attempt(
        &self,
        errand: &Errand,
        id: &str,
        deadline: Instant,
        connection: &Connection,
    ) -> Result<Answer, Failure> {
        let unix_s = clock::unix_ms() / 1000;
        let question = &errand.question;
        let content = question.content(id, unix_s);
        let signature = self.signer.sign(content.as_bytes(), unix_s);
        let mut request = Request::new(Bytes::from(content));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json.clone());
        headers.insert(header::ACCEPT, json);
        let signature = HeaderValue::try_from(signature).expect("digits, letters, `=` and `,`");
        headers.insert(EVERWIRE_SIGNATURE, signature);
        let limits = Limits {
            time_max: deadline.saturating_duration_since(Instant::now()),
            content_bytes_max: self.answer_bytes_max,
        };
        let response = connection
            .outbound
            .send(&self.address, request, Some(errand.whose), limits)
            .await?;
        match response.status() {
            StatusCode::OK => {}
            status => return Err(Failure::Status(status)),
        }
        let answer = Answer::parse(question.kind, response.body(), self.grants_max, unix_s)?;
        Ok(answer)
    }

    fn tell_breakers(
        &self,
        leave: Leave,
        outcome: &Result<Answer, Failure>,
        connection: &Connection,
    ) {
        let now = Instant::now();
        let (before, after) = {
            let mut breakers = self.breakers();
            let before = breakers.position();
            match outcome
                .as_ref()
                .map_or_else(|failure| failure.tells(self.time_max), |_| Tells::Presence)
            {
                Tells::Presence => breakers.succeeded(leave),
                Tells::Absence(absence) => breakers.failed(leave, absence, now),
                Tells::Nothing => {}
            }
            (before, breakers.position())
        };
        connection.metrics.breaker_stands(after != Position::Closed);
        match (before, after) {
            (Position::Closed | Position::HalfOpen, Position::Open) => {
                if let Err(error) = outcome {
                    tracing::warn!(%error, "the webhook's application does not answer; what it decides is refused until it does");
                }
            }
            (Position::HalfOpen, Position::Closed) => {
                tracing::info!("the webhook's application answers again");
            }
            _ => {}
        }
    }

    /// At most once a second, since callers choose how often they ask.
    fn log(&self, error: &Failure) {
        let now_s = clock::unix_ms() / 1000;
        if self.logged_s.swap(now_s, Ordering::Relaxed) != now_s {
            tracing::warn!(%error, "a question of the webhook has no answer, and what it was about is refused");
        }
    }

    fn breakers(&self) -> MutexGuard<'_, Breakers> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    /// What it tells of the application. What took its time in this server's own queue, or was this server's own want,
    /// tells nothing.
    fn tells(&self, time_max: Duration) -> Tells {
        match self {
            Self::Outbound(error) => match error {
                OutboundError::Connect { .. } => Tells::Absence(Absence::Connection),
                OutboundError::TimeOut { had, .. } if *had * 2 < time_max => Tells::Nothing,
                OutboundError::TimeOut { .. } | OutboundError::Cut { .. } => {
                    Tells::Absence(Absence::Answer)
                }
                OutboundError::Busy { .. }
                | OutboundError::Wanting { .. }
                | OutboundError::Stopping => Tells::Nothing,
                OutboundError::TooLarge { .. } => Tells::Presence,
            },
            Self::Status(status) if is_gateway(*status) => Tells::Absence(Absence::Answer),
            // Whatever it answered, it is there.
            Self::Status(_) | Self::Answer(_) => Tells::Presence,
        }
    }

    /// Whether another attempt may find it better: where the application has not heard the question. A connection that
    /// ends instead may have brought it there, which matters only where the answer is for one caller alone.
    fn is_passing(&self, kind: Kind) -> bool {
        match self {
            Self::Outbound(OutboundError::Cut { .. }) => kind.is_shared(),
            Self::Outbound(error) => matches!(
                error,
                OutboundError::Connect { .. } | OutboundError::Wanting { .. }
            ),
            Self::Status(status) => is_gateway(*status),
            Self::Answer(_) => false,
        }
    }
}

/// What a gateway says when nobody is behind it.
fn is_gateway(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME_MAX: Duration = Duration::from_millis(3_000);

    fn failures() -> Vec<(Failure, Tells)> {
        let host = || "app.example.org".to_owned();
        let cause = || "why".to_owned();
        let time_out = |had_ms| {
            Failure::Outbound(OutboundError::TimeOut {
                host: host(),
                time_ms: 3_000,
                had: Duration::from_millis(had_ms),
            })
        };
        let busy = OutboundError::Busy {
            host: host(),
            connections_max: 16,
            time_ms: 3_000,
        };
        let (connect, wanting, cut, large) = (
            OutboundError::Connect {
                host: host(),
                cause: cause(),
            },
            OutboundError::Wanting {
                host: host(),
                cause: cause(),
            },
            OutboundError::Cut {
                host: host(),
                cause: cause(),
            },
            OutboundError::TooLarge {
                host: host(),
                bytes_max: 1,
            },
        );
        vec![
            (connect.into(), Tells::Absence(Absence::Connection)),
            (time_out(3_000), Tells::Absence(Absence::Answer)),
            (time_out(1_500), Tells::Absence(Absence::Answer)),
            (time_out(1_499), Tells::Nothing),
            (time_out(0), Tells::Nothing),
            (busy.into(), Tells::Nothing),
            (wanting.into(), Tells::Nothing),
            (OutboundError::Stopping.into(), Tells::Nothing),
            (cut.into(), Tells::Absence(Absence::Answer)),
            (large.into(), Tells::Presence),
            (
                Failure::Status(StatusCode::GATEWAY_TIMEOUT),
                Tells::Absence(Absence::Answer),
            ),
            (
                Failure::Status(StatusCode::INTERNAL_SERVER_ERROR),
                Tells::Presence,
            ),
            (Failure::Answer(AnswerError::Until), Tells::Presence),
        ]
    }

    /// The breaker counts what the application did, and nothing that this server did.
    #[test]
    fn time_in_this_servers_own_queue_tells_nothing_of_the_application() {
        for (failure, expected) in failures() {
            assert_eq!(failure.tells(TIME_MAX), expected, "{failure:?}");
        }
    }
}
