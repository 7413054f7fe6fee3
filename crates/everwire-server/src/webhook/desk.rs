//! Where questions are handed in: from there they are answered, now or later, whatever happens.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    answer::{Answer, Decision, NoDecision},
    gate::{Asked, Gate, Terms, Ticket},
    question::Question,
};
use crate::{
    clock,
    config::Webhooks,
    hub::{Mail, Mailbox},
    metrics::Metrics,
    outbound::Outbound,
    shard::LineRef,
};

/// Takes questions. Each is answered exactly once.
pub(crate) struct Desk {
    settings: Webhooks,
    gate: Mutex<Gate<ReplyTo>>,
    answers: Box<dyn Answers>,
    /// Once it is there, questions are answered.
    connection: OnceLock<Connection>,
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
    ticket: Option<Ticket>,
    desk: Arc<Desk>,
}

/// Where a decision goes.
pub(crate) enum ReplyTo {
    /// To a request that waits.
    Request(oneshot::Sender<Decision>),
    /// To a line, by its shard's mailbox.
    Line(Arc<Mailbox>, LineRef),
}

impl Desk {
    /// No question is open.
    pub(crate) fn new(settings: Webhooks, answers: Box<dyn Answers>) -> Self {
        let terms = Terms {
            waiting_max: settings.waiting_max,
            cached_max: settings.cached_max,
            cache_s_max: settings.cache_s_max,
        };
        Self {
            settings,
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

    /// What is asked, and how.
    pub fn settings(&self) -> &Webhooks {
        &self.settings
    }

    /// Takes a question. The decision is given back at once if there is one; else it will be told.
    pub fn ask(self: &Arc<Self>, question: Question, reply_to: ReplyTo) -> Option<Decision> {
        let Some(connection) = self.connection.get() else {
            return Some(Decision::None(NoDecision::Failed));
        };
        let metrics = &connection.metrics;
        let (asked, waiting) = {
            let mut gate = self.gate();
            let asked = gate.ask(&question, reply_to, clock::unix_ms());
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
                    ticket: Some(ticket),
                    desk: self.clone(),
                };
                self.answers.answer(errand, connection.clone());
                None
            }
        }
    }

    /// Waits for the decision.
    pub async fn decide(self: &Arc<Self>, question: Question) -> Decision {
        self.begin(question).await
    }

    /// Asks at once, to wait for the decision later.
    pub fn begin(self: &Arc<Self>, question: Question) -> impl Future<Output = Decision> + use<> {
        let (sender, receiver) = oneshot::channel();
        let at_once = self.ask(question, ReplyTo::Request(sender));
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
            Self::Line(mailbox, line) => mailbox.post(Mail::Decided(line, decision)),
        }
    }
}
