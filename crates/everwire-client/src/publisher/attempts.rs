//! Whether and when a message is sent again.

use std::time::Instant;

use fastrand::Rng;

use super::{PublishError, PublisherOptions, Receipt};
use crate::credential::REFUSALS_MAX;
use crate::http::NoResponse;
use crate::signal::Refusal;
use crate::{Cause, Offset};

/// The attempts to publish one message, without IO.
#[derive(Debug)]
pub(super) struct Attempts {
    options: PublisherOptions,
    key: String,
    started: Instant,
    failed: u32,
    /// An attempt got through to the server.
    reached: bool,
    /// Refusals of the credential that another one may still follow.
    renewals: u32,
    rng: Rng,
}

/// How one attempt went.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The server says that it is done, and where.
    Appended(Option<Offset>),
    /// The server says no.
    Refused(Refusal),
    /// The server could not be reached.
    Unreachable(String),
    /// There is no answer; the server may have seen the message.
    Lost(String),
}

/// What follows.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Done(Receipt),
    RetryAt(Instant),
    GiveUp(PublishError),
}

impl Attempts {
    /// `renews` is whether another credential can be had when one is refused.
    pub fn new(
        options: PublisherOptions,
        key: String,
        renews: bool,
        now: Instant,
        seed: u64,
    ) -> Self {
        Self {
            options,
            key,
            started: now,
            failed: 0,
            reached: false,
            renewals: if renews { REFUSALS_MAX - 1 } else { 0 },
            rng: Rng::with_seed(seed),
        }
    }

    /// One attempt is over.
    pub fn judge(&mut self, outcome: Outcome, now: Instant) -> Verdict {
        self.reached |= !matches!(outcome, Outcome::Unreachable(_));
        let (cause, at_least) = match outcome {
            Outcome::Appended(Some(offset)) => return Verdict::Done(Receipt { offset }),
            Outcome::Appended(None) => return Verdict::GiveUp(PublishError::NotAChannel),
            Outcome::Refused(refusal) if refusal.is_for_now() => {
                let Refusal {
                    status,
                    detail,
                    retry_after,
                    ..
                } = refusal;
                (Cause::Refused { status, detail }.to_string(), retry_after)
            }
            Outcome::Refused(Refusal {
                status: 401,
                detail,
                ..
            }) if self.renewals > 0 => {
                self.renewals -= 1;
                let status = 401;
                (Cause::Refused { status, detail }.to_string(), None)
            }
            Outcome::Refused(Refusal { status, detail, .. }) => {
                return Verdict::GiveUp(PublishError::Refused { status, detail });
            }
            Outcome::Unreachable(cause) | Outcome::Lost(cause) => (cause, None),
        };
        let wait = self.options.backoff.wait(self.failed, self.rng.f64());
        self.failed += 1;
        let at = now + at_least.unwrap_or_default() + wait;
        if at <= self.started + self.options.patience {
            return Verdict::RetryAt(at);
        }
        Verdict::GiveUp(match self.reached {
            false => PublishError::Unreachable { cause },
            true => PublishError::TimedOut {
                attempts: self.failed,
                cause,
                key: self.key.clone(),
            },
        })
    }
}

impl From<NoResponse> for Outcome {
    fn from(no_response: NoResponse) -> Self {
        match no_response {
            NoResponse::Unreachable(error) => Self::Unreachable(error),
            NoResponse::Lost(error) => Self::Lost(Cause::Lost(error).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn attempts(now: Instant) -> Attempts {
        Attempts::new(PublisherOptions::default(), "k1".into(), false, now, 7)
    }

    fn refused(status: u16, retry_after: Option<u64>) -> Outcome {
        let retry_after = retry_after.map(Duration::from_secs);
        Outcome::Refused(Refusal {
            status,
            detail: "no".into(),
            retry_after,
            gap: None,
            problem: None,
        })
    }

    #[test]
    fn a_credential_that_is_refused_is_replaced_a_few_times_where_another_can_be_had() {
        let now = Instant::now();
        let mut attempts = Attempts::new(PublisherOptions::default(), "k1".into(), true, now, 7);
        for _ in 1..REFUSALS_MAX {
            let verdict = attempts.judge(refused(401, None), now);
            assert!(matches!(verdict, Verdict::RetryAt(_)), "{verdict:?}");
        }
        let verdict = attempts.judge(refused(401, None), now);
        assert!(matches!(verdict, Verdict::GiveUp(_)), "{verdict:?}");
    }

    #[test]
    fn an_answer_decides_whether_to_send_again() {
        let now = Instant::now();
        let offset: Offset = "a1".parse().unwrap();
        let done = attempts(now).judge(Outcome::Appended(Some(offset.clone())), now);
        assert_eq!(done, Verdict::Done(Receipt { offset }));
        for status in [301, 400, 401, 403, 404, 409, 413] {
            let error = PublishError::Refused {
                status,
                detail: "no".into(),
            };
            assert_eq!(
                attempts(now).judge(refused(status, None), now),
                Verdict::GiveUp(error)
            );
        }
        let failures = [408, 425, 429, 500, 502, 503, 504].map(|status| refused(status, None));
        for failure in failures.into_iter().chain([Outcome::Lost("cut".into())]) {
            let Verdict::RetryAt(at) = attempts(now).judge(failure.clone(), now) else {
                panic!("{failure:?} was final");
            };
            assert!(
                at - now <= Duration::from_millis(1000),
                "{failure:?} waits {:?}",
                at - now
            );
        }
        assert_eq!(
            attempts(now).judge(Outcome::Appended(None), now),
            Verdict::GiveUp(PublishError::NotAChannel)
        );
    }

    #[test]
    fn a_wait_that_the_server_asks_for_is_kept() {
        let now = Instant::now();
        let Verdict::RetryAt(at) = attempts(now).judge(refused(503, Some(7)), now) else {
            panic!("it was final")
        };
        assert!(
            (Duration::from_secs(7)..Duration::from_secs(8)).contains(&(at - now)),
            "{:?}",
            at - now
        );
    }

    #[test]
    fn patience_ends_and_tells_the_key() {
        let started = Instant::now();
        let mut attempts = attempts(started);
        let mut now = started;
        let mut count = 0;
        let error = loop {
            count += 1;
            match attempts.judge(Outcome::Lost("cut".into()), now) {
                Verdict::RetryAt(at) => now = at,
                Verdict::GiveUp(error) => break error,
                Verdict::Done(receipt) => panic!("{receipt:?} out of nothing"),
            }
        };
        let key = "k1".to_owned();
        assert_eq!(
            error,
            PublishError::TimedOut {
                attempts: count,
                cause: "cut".into(),
                key
            }
        );
        assert!(
            count > 5 && now <= started + Duration::from_secs(60),
            "{count} attempts in {:?}",
            now - started
        );
    }

    #[test]
    fn a_server_that_was_never_reached_has_not_got_the_message() {
        let now = Instant::now();
        let mut attempts = attempts(now);
        let late = now + Duration::from_secs(61);
        let unreachable = || Outcome::Unreachable("refused".into());
        assert!(matches!(
            attempts.judge(unreachable(), now),
            Verdict::RetryAt(_)
        ));
        let error = PublishError::Unreachable {
            cause: "refused".into(),
        };
        assert_eq!(attempts.judge(unreachable(), late), Verdict::GiveUp(error));
        attempts.judge(Outcome::Lost("cut".into()), now);
        let verdict = attempts.judge(unreachable(), late);
        assert!(
            matches!(verdict, Verdict::GiveUp(PublishError::TimedOut { .. })),
            "{verdict:?}"
        );
    }
}
