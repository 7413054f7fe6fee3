//! What the server counts.

use std::{
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use everwire_websocket::CloseCode;
use http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry},
};

use rustls::HandshakeKind;

use crate::lost_lines::{Loss, LostLines};

/// The counters. Hot ones are plain atomics, added to once a batch.
pub struct Metrics {
    registry: Registry,
    entries_published: Counter,
    sends: Counter,
    bytes_sent: Counter,
    lines_behind: Counter,
    lines_stalled: Counter,
    gaps: Counter,
    requests: Family<Status, Counter>,
    /// Of `requests`, those that are most: appends.
    requests_without_content: Counter,
    problems: Family<Problem, Counter>,
    limits_met: Family<Limit, Counter>,
    lines_failed: Family<Code, Counter>,
    connections_refused: Counter,
    handshakes: Family<Handshake, Counter>,
    handshakes_failed: Family<Failure, Counter>,
    certificate_expiry_seconds: Gauge,
    proxies_not_understood: Counter,
    unbelieved_proxies_limited: Family<Limit, Counter>,
    presence_changes: Counter,
    events_told: Counter,
    events_left_out: Counter,
    reloads: Family<Outcome, Counter>,
    configured: Gauge,
    acme_orders: Family<Outcome, Counter>,
    acme_issued_at: Gauge,
    acme_expires_at: Gauge,
    key_fetches: Family<Outcome, Counter>,
    key_servers_stale: Gauge,
    revocations: Gauge,
    questions: Family<Question, Counter>,
    question_seconds: Histogram,
    questions_waiting: Gauge,
    breaker_open: Gauge,
    members: Gauge,
    lines: Gauge,
    connections: Gauge,
    sessions: Gauge,
    channels: Gauge,
    log_bytes: Gauge,
    parts_restarted: Family<PartLabel, Counter>,
    part_owes_seconds: Family<PartLabel, Gauge>,
    tasks_panicked: Counter,
    log_lines_lost: Family<Reason, Counter>,
    /// Where lost lines are counted, if anybody writes a log.
    lost_lines: OnceLock<Arc<LostLines>>,
    in_flight_bytes: Gauge,
    coded_contents: Family<Coded, Counter>,
    coded_bytes: Family<Coded, Counter>,
    coded_plain_bytes: Family<Coded, Counter>,
}

/// What others count for themselves, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    pub lines: usize,
    pub connections: usize,
    pub channels: usize,
    pub log_bytes: u64,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Status {
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Problem {
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    close_code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Handshake {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Failure {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Question {
    question: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Coded {
    coding: &'static str,
    direction: &'static str,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("everwire");
        let requests: Family<Status, Counter> = register(
            &mut registry,
            "requests",
            "Answered requests by status code",
        );
        let no_content = Status {
            status: StatusCode::NO_CONTENT.as_u16(),
        };
        let seconds = exponential_buckets(0.001, 2.0, 13); // to 4 s
        let question_seconds = Histogram::new(seconds);
        register_made(
            &mut registry,
            "webhook_seconds",
            "How long questions to the application took, with all attempts",
            &question_seconds,
        );
        let requests_without_content = requests.get_or_create(&no_content).clone();
        Self {
            requests,
            requests_without_content,
            entries_published: register(
                &mut registry,
                "entries_published",
                "Entries appended to channels",
            ),
            sends: register(&mut registry, "sends", "System calls that sent to lines"),
            bytes_sent: register(&mut registry, "bytes_sent", "Bytes sent to lines"),
            lines_behind: register(
                &mut registry,
                "lines_behind",
                "Times that a line's socket took no more, so that it went on from the log",
            ),
            lines_stalled: register(
                &mut registry,
                "lines_stalled",
                "Lines cut because their peer took nothing for too long",
            ),
            gaps: register(&mut registry, "gaps", "Gaps that live readers met"),
            problems: register(&mut registry, "problems", "Refused requests by problem"),
            limits_met: register(
                &mut registry,
                "limits_met",
                "Limits that were met, by setting",
            ),
            lines_failed: register(
                &mut registry,
                "lines_failed",
                "Lines ended with an error, by close code",
            ),
            connections_refused: register(
                &mut registry,
                "connections_refused",
                "Connections closed at once for their number or rate",
            ),
            proxies_not_understood: register(
                &mut registry,
                "proxies_not_understood",
                "Requests whose trusted proxy says something of their client that is not understood",
            ),
            unbelieved_proxies_limited: register(
                &mut registry,
                "unbelieved_proxies_limited",
                "Times that a limit by address was met by one that passes on the requests of others and is not believed",
            ),
            handshakes: register(
                &mut registry,
                "tls_handshakes",
                "TLS handshakes that were done, in full or resumed",
            ),
            handshakes_failed: register(
                &mut registry,
                "tls_handshakes_failed",
                "TLS handshakes that failed, by reason",
            ),
            certificate_expiry_seconds: register(
                &mut registry,
                "tls_certificate_expiry_seconds",
                "Seconds until the first certificate that is shown expires, 0 without any; below 0 it has",
            ),
            presence_changes: register(
                &mut registry,
                "presence_changes",
                "Joins and leaves that were told",
            ),
            events_told: register(
                &mut registry,
                "lifecycle_events",
                "Sessions that came and went, channels that were occupied and vacated, as told to servers",
            ),
            events_left_out: register(
                &mut registry,
                "lifecycle_events_left_out",
                "The same, not told because too much happened at once",
            ),
            reloads: register(
                &mut registry,
                "reloads",
                "Configurations that a running server was given, by what became of them",
            ),
            configured: register(
                &mut registry,
                "configured_timestamp_seconds",
                "When the configuration that holds was applied, in Unix seconds",
            ),
            acme_orders: register(
                &mut registry,
                "acme_orders",
                "Certificates that were asked for, by what came of it",
            ),
            acme_issued_at: register(
                &mut registry,
                "acme_issued_timestamp_seconds",
                "When the last certificate was issued to this process, in Unix time",
            ),
            acme_expires_at: register(
                &mut registry,
                "acme_expires_timestamp_seconds",
                "When the certificate that was issued expires, in Unix time",
            ),
            key_fetches: register(
                &mut registry,
                "key_fetches",
                "Times that a key server was asked for its keys, by outcome",
            ),
            key_servers_stale: register(
                &mut registry,
                "key_servers_stale",
                "Key servers whose keys are older than they should be, or missing",
            ),
            revocations: register(
                &mut registry,
                "revocations",
                "Tokens and users that servers have revoked and that are kept",
            ),
            questions: register(
                &mut registry,
                "webhook_questions",
                "Questions to the application by what was asked and what came of it",
            ),
            question_seconds,
            questions_waiting: register(
                &mut registry,
                "webhook_waiting",
                "Callers that wait for the application's answer now",
            ),
            breaker_open: register(
                &mut registry,
                "webhook_breaker_open",
                "1 while the application is left alone because it did not answer",
            ),
            members: register(&mut registry, "members", "Members of channels now"),
            lines: register(&mut registry, "lines", "Lines open now"),
            connections: register(
                &mut registry,
                "connections",
                "Connections open now that are no lines, those of waiting long polls among them",
            ),
            sessions: register(
                &mut registry,
                "sessions",
                "Sessions open now, those by long polls included",
            ),
            channels: register(&mut registry, "channels", "Channels"),
            log_bytes: register(
                &mut registry,
                "log_bytes",
                "Bytes that the logs of all channels take",
            ),
            parts_restarted: register(
                &mut registry,
                "parts_restarted",
                "Parts of the server that ended by themselves and were started again",
            ),
            part_owes_seconds: register(
                &mut registry,
                "part_owes_seconds",
                "For how long a part of the server has owed a sign of life, in whole seconds",
            ),
            tasks_panicked: register(
                &mut registry,
                "tasks_panicked",
                "Connections that were ended by a fault of the server",
            ),
            log_lines_lost: register(
                &mut registry,
                "log_lines_lost",
                "Lines of the server's own log that were not written, by reason",
            ),
            lost_lines: OnceLock::new(),
            in_flight_bytes: register(
                &mut registry,
                "in_flight_bytes",
                "Bytes that are held for peers now and are in no log",
            ),
            coded_contents: register(
                &mut registry,
                "coded_contents",
                "Contents of requests and answers that were compressed on the wire",
            ),
            coded_bytes: register(
                &mut registry,
                "coded_bytes",
                "Bytes of these contents as they were on the wire",
            ),
            coded_plain_bytes: register(
                &mut registry,
                "coded_plain_bytes",
                "Bytes of these contents as they are without their coding",
            ),
            registry,
        }
    }

    /// Entries were appended.
    pub(crate) fn published(&self, entries: u64) {
        self.entries_published.inc_by(entries);
    }

    /// Bytes were sent to lines, in so many system calls.
    pub(crate) fn sent(&self, sends: u64, bytes: u64) {
        if sends > 0 {
            self.sends.inc_by(sends);
            self.bytes_sent.inc_by(bytes);
        }
    }

    pub(crate) fn line_fell_behind(&self) {
        self.lines_behind.inc();
    }

    pub(crate) fn line_stalled(&self) {
        self.lines_stalled.inc();
        self.limit_met("write_stall_ms");
    }

    pub(crate) fn line_failed(&self, code: CloseCode) {
        if code == CloseCode::TOO_BIG {
            self.limit_met("message_bytes_max");
        }
        self.lines_failed
            .get_or_create(&Code {
                close_code: code.as_u16(),
            })
            .inc();
    }

    /// A line is ended because of what came in on it.
    pub(crate) fn line_refused(&self, problem: &everwire_wire::Problem) {
        let close_code = problem.kind.close_code().as_u16();
        self.lines_failed.get_or_create(&Code { close_code }).inc();
        if let Some(limit) = problem.limit {
            self.limit_met(limit);
        }
    }

    pub(crate) fn gap_told(&self) {
        self.gaps.inc();
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        if status == StatusCode::NO_CONTENT {
            self.requests_without_content.inc();
            return;
        }
        self.requests
            .get_or_create(&Status {
                status: status.as_u16(),
            })
            .inc();
    }

    pub(crate) fn refused(&self, problem: &everwire_wire::Problem) {
        self.problems
            .get_or_create(&Problem {
                r#type: problem.kind.name(),
            })
            .inc();
        if let Some(limit) = problem.limit {
            self.limit_met(limit);
        }
    }

    pub(crate) fn session_opened(&self) {
        self.sessions.inc();
    }

    pub(crate) fn session_closed(&self) {
        self.sessions.dec();
    }

    /// A limit was met, which its setting names.
    pub(crate) fn limit_met(&self, limit: &'static str) {
        self.limits_met.get_or_create(&Limit { limit }).inc();
    }

    /// A connection is closed at once, for a limit that was met.
    pub(crate) fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// A key server was asked for its keys.
    pub(crate) fn keys_fetched(&self, gave_some: bool) {
        let outcome = if gave_some { "fetched" } else { "failed" };
        self.key_fetches.get_or_create(&Outcome { outcome }).inc();
    }

    /// Whether a key server's keys were stale, and whether they are now.
    pub(crate) fn key_server_is_stale(&self, before: bool, now: bool) {
        self.key_servers_stale
            .inc_by(i64::from(now) - i64::from(before));
    }

    /// So many revocations are kept now.
    pub(crate) fn revocations(&self, count: usize) {
        self.revocations.set(count as i64);
    }

    /// All connections to a host were in use for as long as one could be waited for.
    pub(crate) fn outbound_was_busy(&self) {
        self.limit_met("connections_per_host_max");
    }

    /// A configuration was applied, at start or while running.
    pub(crate) fn configured(&self, now_ms: u64) {
        self.configured.set((now_ms / 1000) as i64);
    }

    /// A running server was given another configuration.
    pub(crate) fn reloaded(&self, now_ms: u64) {
        self.reload("applied");
        self.configured(now_ms);
    }

    /// It was given one that could not be applied.
    pub(crate) fn reload_refused(&self) {
        self.reload("refused");
    }

    fn reload(&self, outcome: &'static str) {
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// What a trusted proxy says of a request is not understood.
    pub(crate) fn proxy_not_understood(&self) {
        self.proxies_not_understood.inc();
    }

    /// A limit by address was met by a proxy, perhaps, that is not believed.
    pub(crate) fn unbelieved_proxy_limited(&self, limit: &'static str) {
        (self
            .unbelieved_proxies_limited
            .get_or_create(&Limit { limit }))
        .inc();
    }

    pub(crate) fn shook_hands(&self, kind: HandshakeKind) {
        let kind = match kind {
            HandshakeKind::Resumed => "resumed",
            HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest => "full",
        };
        self.handshakes.get_or_create(&Handshake { kind }).inc();
    }

    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        self.handshakes_failed
            .get_or_create(&Failure { reason })
            .inc();
    }

    /// When the first certificate that is shown expires, and what time it is, in Unix milliseconds.
    pub(crate) fn certificate_expires(&self, ends_ms: Option<u64>, now_ms: u64) {
        let left_ms = ends_ms.map(|ends_ms| ends_ms as i64 - now_ms as i64);
        self.certificate_expiry_seconds
            .set(left_ms.map_or(0, |left_ms| left_ms.div_euclid(1000)));
    }

    /// A roster went from so many members to so many, and so many joins and leaves were told.
    pub(crate) fn presence_changed(&self, before: usize, after: usize, changes: usize) {
        self.members.inc_by(after as i64 - before as i64);
        self.presence_changes.inc_by(changes as u64);
    }

    /// So many lifecycle events were told, and so many were not.
    pub(crate) fn events_told(&self, told: u64, left_out: u64) {
        self.events_told.inc_by(told);
        self.events_left_out.inc_by(left_out);
    }

    /// A certificate was issued.
    pub(crate) fn acme_issued(&self, now_s: u64) {
        let outcome = "issued";
        self.acme_orders.get_or_create(&Outcome { outcome }).inc();
        self.acme_issued_at.set(now_s as i64);
    }

    /// No certificate was issued.
    pub(crate) fn acme_failed(&self, outcome: &'static str) {
        self.acme_orders.get_or_create(&Outcome { outcome }).inc();
    }

    #[cfg(test)]
    pub(crate) fn acme_outcomes(&self, outcome: &'static str) -> u64 {
        self.acme_orders.get_or_create(&Outcome { outcome }).get()
    }

    /// A certificate that was issued is in use, until then.
    pub(crate) fn acme_expires(&self, not_after_s: u64) {
        self.acme_expires_at.set(not_after_s as i64);
    }

    /// A question was answered, or will not be.
    pub(crate) fn question(&self, question: &'static str, outcome: &'static str) {
        self.questions
            .get_or_create(&Question { question, outcome })
            .inc();
    }

    /// The application was asked, for so long.
    pub(crate) fn question_took(&self, time: Duration) {
        self.question_seconds.observe(time.as_secs_f64());
    }

    /// So many callers wait for an answer.
    pub(crate) fn questions_wait(&self, count: usize) {
        self.questions_waiting.set(count as i64);
    }

    /// Whether the application is left alone.
    pub(crate) fn breaker_stands(&self, is_open: bool) {
        self.breaker_open.set(is_open.into());
    }

    /// A part of the server ended by itself.
    pub(crate) fn part_restarted(&self, part: &'static str) {
        self.parts_restarted
            .get_or_create(&PartLabel { part })
            .inc();
    }

    /// Parts have owed a sign of life for so long. Of several of one name the longest counts.
    pub(crate) fn parts_owe(&self, owed: Vec<(&'static str, Duration)>) {
        self.part_owes_seconds.clear();
        for (part, owed) in owed {
            let gauge = self.part_owes_seconds.get_or_create(&PartLabel { part });
            gauge
                .inner()
                .fetch_max(owed.as_secs() as i64, Ordering::Relaxed);
        }
    }

    /// A connection was ended by a fault of the server.
    pub(crate) fn task_panicked(&self) {
        self.tasks_panicked.inc();
    }

    /// Lines of the log that are not written are counted here.
    pub(crate) fn count_lost_lines(&self, lost: Arc<LostLines>) {
        // Of a second writer nothing would be known; there is one in a process.
        let _ = self.lost_lines.set(lost);
    }

    /// A content was in a coding, of so many bytes on the wire and so many without it: of a request, `received`, or of an
    /// answer, `sent`.
    pub(crate) fn coded(
        &self,
        (coding, direction): (&'static str, &'static str),
        coded_bytes: usize,
        plain_bytes: usize,
    ) {
        let coded = Coded { coding, direction };
        self.coded_contents.get_or_create(&coded).inc();
        (self.coded_bytes.get_or_create(&coded)).inc_by(coded_bytes as u64);
        (self.coded_plain_bytes.get_or_create(&coded)).inc_by(plain_bytes as u64);
    }

    /// So many bytes are held for peers.
    pub(crate) fn in_flight(&self, bytes: usize) {
        self.in_flight_bytes.set(bytes as i64);
    }

    /// The OpenMetrics text, with what is counted elsewhere.
    pub(crate) fn encode(&self, standing: &Standing) -> String {
        self.lines.set(standing.lines as i64);
        self.connections.set(standing.connections as i64);
        self.channels.set(standing.channels as i64);
        self.log_bytes.set(standing.log_bytes as i64);
        for (loss, lost) in Loss::ALL
            .into_iter()
            .flat_map(|loss| Some((loss, self.lost_lines.get()?)))
        {
            let reason = loss.name();
            let counter = self.log_lines_lost.get_or_create(&Reason { reason });
            counter.inner().store(lost.count(loss), Ordering::Relaxed);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("metrics are written to memory");
        text
    }
}

/// Registers a metric that is not made from nothing.
fn register_made<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: &M) {
    registry.register(name, help, metric.clone());
}

/// A metric at its start, registered.
fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
