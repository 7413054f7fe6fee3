//! `/healthz`, `/readyz` and `/metrics`, and what certificate authorities look for.

use std::time::Duration;

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderName, HeaderValue, Response, StatusCode, header, request};

use super::{Asker, Context, answer, host};
use crate::{
    acme::Challenges,
    clock,
    config::{Action, MetricsAccess},
    live::Live,
    metrics::Standing,
    parts::Parts,
    stop::Stopping,
};

/// The process is alive: no part of it is stuck, or ends again and again.
pub(super) fn health(parts: &Parts, live: &Live) -> Response<Bytes> {
    let patience = Duration::from_millis(live.config.health.stuck_ms);
    match parts.late(patience) {
        Some(part) => unwell(format!("stuck: {part}\n")),
        None => text("ok\n"),
    }
}

/// The server takes new lines; not any more once it is about to stop, nor while a part of it is late.
pub(super) fn ready(stopping: &Stopping, parts: &Parts, live: &Live) -> Response<Bytes> {
    if stopping.is_leaving() {
        return unwell("stopping\n");
    }
    let patience = Duration::from_millis(live.config.health.late_ms);
    match parts.late(patience) {
        Some(part) => unwell(format!("late: {part}\n")),
        None => text("ready\n"),
    }
}

fn unwell(why: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = text(why);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Refuses `/metrics` to those who may not read it.
pub(super) fn check_access(
    live: &Live,
    parts: &request::Parts,
    asker: &Asker<'_>,
) -> Result<(), Problem> {
    let is_open = match live.config.metrics.access {
        MetricsAccess::Open => true,
        // What a proxy on this machine passes on comes from elsewhere.
        MetricsAccess::Local => {
            let is_passed_on = |name: &HeaderName| {
                let name = name.as_str();
                ["forwarded", "x-real-ip", "via"].contains(&name)
                    || name.starts_with("x-forwarded-")
            };
            // A page whose own name leads to this machine asks by that name (DNS rebinding).
            asker.client.address.to_canonical().is_loopback()
                && host::is_nobodys_to_give(&parts.headers)
                && !parts.headers.keys().any(is_passed_on)
        }
        MetricsAccess::Granted => false,
    };
    match is_open {
        true => Ok(()),
        false => {
            let name = METRICS
                .parse()
                .expect("the name of the server's own is one");
            asker.caller.permit(&live.rules, Action::Read, &name)
        }
    }
}

/// Who may read this name may read `/metrics`.
const METRICS: &str = "$everwire/metrics";

/// What the server counts, in the OpenMetrics text format.
pub(super) fn metrics(context: &Context) -> Response<Bytes> {
    let shared = &context.shared;
    shared.metrics.parts_owe(context.parts.owed());
    let ends_ms = shared.tls.certificates().ends_ms();
    shared
        .metrics
        .certificate_expires(ends_ms, clock::unix_ms());
    shared.metrics.in_flight(shared.budget.bytes());
    let standing = Standing {
        lines: shared.census.lines(),
        connections: shared.census.connections(),
        channels: shared.hub.count(),
        log_bytes: shared.hub.log_bytes(),
    };
    let body = shared.metrics.encode(&standing);
    let mut response = text(body);
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The key authorization of a challenge (RFC 8555, section 8.3).
pub(super) fn acme_challenge(
    challenges: &Challenges,
    token: &str,
) -> Result<Response<Bytes>, Problem> {
    let Some(answer) = challenges.key_authorization(token) else {
        return Err(Problem::new(
            ProblemKind::NotFound,
            "no certificate authority waits for this token",
        ));
    };
    let mut response = text(answer);
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn text(body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = answer::safe(Response::new(body.into()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer::never_store(response.headers_mut());
    response
}
