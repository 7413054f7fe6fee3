//! Where questions are handed in: from there they are answered, now or later, whatever happens.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    answer::{Answer, Decision, NoDecision},
    gate::{Asked, Gate, Terms, Ticket},
    question::{Digest, Question},
};
use crate::{
    clock,
    config::{Config, Webhooks},
    metrics::Metrics,
    outbound::Outbound,
    rate::Account,
};

/// Takes questions. Each is answered exactly once.
pub(crate) struct Desk {
    basis: Basis,
    gate: Mutex<Gate<ReplyTo>>,
    answers: Box<dyn Answers>,
    /// Once it is there, questions are answered.
    connection: OnceLock<Connection>,
}

/// What a desk is made from. Where a reload changes nothing of it, the desk goes on, with what it knows.
#[derive(Debug, PartialEq)]
pub(crate) struct Basis {
    settings: Webhooks,
    grants_max: usize,
    /// A caller may have as many questions waiting as all may.
    is_open: bool,
    /// Tells what questions are signed with.
    signer: Digest,
}

/// What a desk needs of a running server.
#[derive(Clone)]
pub(crate) struct Connection {
    pub outbound: Outbound,
    pub metrics: Arc<Metrics>,
}

/// Whoever answers questions.
pub(crate) trait Answers: Send + Sync {
    /// Has a question answered, without waiting for it.
    fn answer(&self, errand: Errand, connection: Connection);
}

/// An open question. One that is dropped without an answer gets none.
pub(crate) struct Errand {
    pub question: Question,
    /// Who wanted to know first.
    pub whose: Account,
    ticket: Option<Ticket>,
    desk: Arc<Desk>,
}

/// Where a decision goes.
pub(crate) enum ReplyTo {
    /// To a request that waits.
    Request(oneshot::Sender<Decision>),
    /// To somebody who must not be kept waiting, as a line's shard: this leaves it where that will look.
    Elsewhere(Box<dyn FnOnce(Decision) + Send>),
}

impl Basis {
    /// The settings, and what tells the secret and the key that they name.
    pub fn new(config: &Config, signer: Digest) -> Self {
        Self {
            settings: config.webhooks.clone(),
            grants_max: config.tokens.grants_max,
            is_open: config.dev,
            signer,
        }
    }

    fn terms(&self) -> Terms {
        let Webhooks {
            waiting_max,
            cached_max,
            cache_s_max,
            ..
        } = self.settings;
        Terms {
            waiting_max,
            waiting_per_caller_max: match self.is_open {
                true => waiting_max,
                false => self.settings.waiting_per_caller_max(),
            },
            cached_max,
            cache_s_max,
        }
    }
}

impl Desk {
    /// No question is open.
    pub(crate) fn new(basis: Basis, answers: Box<dyn Answers>) -> Self {
        let terms = basis.terms();
        Self {
            basis,
            gate: Mutex::new(Gate::new(terms)),
            answers,
            connection: OnceLock::new(),
        }
    }

    /// From now on questions are answered.
    pub fn connect(&self, outbound: &Outbound, metrics: &Arc<Metrics>) {
        self.connection.get_or_init(|| Connection {
            outbound: outbound.clone(),
            metrics: metrics.clone(),
        });
    }

    /// Whether it would be made from this again.
    pub fn is_made_from(&self, basis: &Basis) -> bool {
        self.basis == *basis
    }

    /// What is asked, and how.
    pub fn settings(&self) -> &Webhooks {
        &self.basis.settings
    }

    /// How many questions one caller may have waiting.
    pub fn waiting_per_caller_max(&self) -> usize {
        self.basis.terms().waiting_per_caller_max
    }

    /// Takes a caller's question. The decision is given back at once if there is one; else it will be told.
    pub fn ask(
        self: &Arc<Self>,
        question: Question,
        whose: Account,
        reply_to: ReplyTo,
    ) -> Option<Decision> {
        let Some(connection) = self.connection.get() else {
            return Some(Decision::None(NoDecision::Failed));
        };
        let metrics = &connection.metrics;
        let (asked, waiting) = {
            let mut gate = self.gate();
            let asked = gate.ask(&question, whose, reply_to, clock::unix_ms());
            (asked, gate.waiting())
        };
        metrics.questions_wait(waiting);
        match asked {
            Asked::Decided(_, decision) => {
                let outcome = match decision {
                    Decision::None(_) => "too-many",
                    Decision::Allowed(_) | Decision::Refused(_) => "remembered",
                };
                metrics.question(question.kind.name(), outcome);
                Some(decision)
            }
            Asked::Waits => {
                metrics.question(question.kind.name(), "joined");
                None
            }
            Asked::Ask(ticket) => {
                let errand = Errand {
                    question,
                    whose,
                    ticket: Some(ticket),
                    desk: self.clone(),
                };
                self.answers.answer(errand, connection.clone());
                None
            }
        }
    }

    /// Waits for the decision about a caller's question.
    pub async fn decide(self: &Arc<Self>, question: Question, whose: Account) -> Decision {
        self.begin(question, whose).await
    }

    /// Asks at once, to wait for the decision later.
    pub fn begin(
        self: &Arc<Self>,
        question: Question,
        whose: Account,
    ) -> impl Future<Output = Decision> + use<> {
        let (sender, receiver) = oneshot::channel();
        let at_once = self.ask(question, whose, ReplyTo::Request(sender));
        async move {
            match at_once {
                Some(decision) => decision,
                // Dropped unanswered only with the whole server.
                None => receiver.await.unwrap_or(Decision::None(NoDecision::Failed)),
            }
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate<ReplyTo>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Errand {
    /// Tells those who wait.
    pub fn close(mut self, answer: Result<Answer, NoDecision>) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: Result<Answer, NoDecision>) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let (waiters, decision, waiting) = {
            let mut gate = self.desk.gate();
            let (waiters, decision) = gate.close(ticket, answer, clock::unix_ms());
            (waiters, decision, gate.waiting())
        };
        if let Some(connection) = self.desk.connection.get() {
            connection.metrics.questions_wait(waiting);
        }
        for waiter in waiters {
            waiter.tell(decision.clone());
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.tell(Err(NoDecision::Failed));
    }
}

impl ReplyTo {
    fn tell(self, decision: Decision) {
        match self {
            // Whoever asked may be gone.
            Self::Request(sender) => drop(sender.send(decision)),
            Self::Elsewhere(leave) => leave(decision),
        }
    }
}
