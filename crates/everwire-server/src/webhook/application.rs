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
    breaker::{Attempt, Breaker, Position, Terms},
    desk::{Answers, Connection, Desk, Errand},
    question::{Kind, Question},
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
    breaker: Mutex<Breaker>,
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

impl Application {
    /// A desk whose questions this application answers once it is connected, if the configuration names one. `read` gets
    /// the content of a key's file.
    ///
    /// # Errors
    ///
    /// There is nothing to sign with, or it is not what it should be.
    pub fn desk(
        config: &Config,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Option<Desk>, ConfigError> {
        let settings = &config.webhooks;
        let Some(address) = settings.address(&config.outbound)? else {
            return Ok(None);
        };
        let time_max = Duration::from_millis(settings.time_ms_max);
        let breaker = Breaker::new(Terms {
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
            signer: Signer::new(settings, read)?,
            breaker: Mutex::new(breaker),
            logged_s: AtomicU64::new(0),
        }));
        Ok(Some(Desk::new(settings.clone(), Box::new(application))))
    }
}

impl Answers for Application {
    fn answer(&self, errand: Errand, connection: Connection) {
        let shared = self.0.clone();
        let workers = connection.outbound.workers().clone();
        workers.spawn(async move {
            let began = Instant::now();
            let answer = shared
                .attempts(&errand.question, began + shared.time_max, &connection)
                .await;
            let outcome = match &answer {
                Ok(Answer { decision, .. }) => match decision {
                    Decision::Allowed(_) => "allowed",
                    Decision::Refused(_) | Decision::None(_) => "refused",
                },
                Err(NoDecision::Resting(_)) => "resting",
                Err(NoDecision::TooMany | NoDecision::Failed) => "failed",
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
        question: &Question,
        deadline: Instant,
        connection: &Connection,
    ) -> Result<Answer, NoDecision> {
        // The same for each attempt, so that the application can tell that it was asked already.
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        for attempt in 1.. {
            let admitted = self.breaker().admit(Instant::now());
            let leave = admitted.map_err(NoDecision::Resting)?;
            let outcome = self.attempt(question, &id, deadline, connection).await;
            self.tell_breaker(leave, &outcome, connection);
            let failure = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let pause_ms = fastrand::u64(0..=PAUSE_MS << attempt.min(10) >> 1);
            let pause = Duration::from_millis(pause_ms);
            let has_time = Instant::now() + pause < deadline;
            if !failure.is_passing(question.kind) || attempt >= self.attempts_max || !has_time {
                self.log(&failure);
                break;
            }
            tokio::time::sleep(pause).await;
        }
        Err(NoDecision::Failed)
    }

    async fn attempt(
        &self,
        question: &Question,
        id: &str,
        deadline: Instant,
        connection: &Connection,
    ) -> Result<Answer, Failure> {
        let unix_s = clock::unix_ms() / 1000;
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
            .send(&self.address, request, limits)
            .await?;
        match response.status() {
            StatusCode::OK => {}
            status => return Err(Failure::Status(status)),
        }
        let answer = Answer::parse(question.kind, response.body(), self.grants_max, unix_s)?;
        Ok(answer)
    }

    fn tell_breaker(
        &self,
        leave: Attempt,
        outcome: &Result<Answer, Failure>,
        connection: &Connection,
    ) {
        let now = Instant::now();
        let (before, after) = {
            let mut breaker = self.breaker();
            let before = breaker.position();
            match outcome {
                Err(failure) if failure.is_absence() => breaker.failed(leave, now),
                Err(Failure::Outbound(OutboundError::Busy { .. } | OutboundError::Stopping)) => {}
                // Whatever it answered, it is there.
                Ok(_) | Err(_) => breaker.succeeded(leave),
            }
            (before, breaker.position())
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

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    /// Whether it tells that nobody is there.
    fn is_absence(&self) -> bool {
        match self {
            Self::Outbound(error) => matches!(
                error,
                OutboundError::Connect { .. }
                    | OutboundError::TimeOut { .. }
                    | OutboundError::Cut { .. }
            ),
            Self::Status(status) => is_gateway(*status),
            Self::Answer(_) => false,
        }
    }

    /// Whether another attempt may find it better: where the application has not heard the question. A connection that
    /// ends instead may have brought it there, which matters only where the answer is for one caller alone.
    fn is_passing(&self, kind: Kind) -> bool {
        match self {
            Self::Outbound(OutboundError::Cut { .. }) => kind.is_shared(),
            Self::Outbound(error) => matches!(error, OutboundError::Connect { .. }),
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
