//! `/healthz`, `/readyz` and `/metrics`, and what certificate authorities look for.

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{Asker, answer};
use crate::{
    acme::Challenges,
    clock,
    config::{Action, MetricsAccess},
    live::Live,
    shard::Shared,
    stop::Stopping,
};

/// The process is alive.
pub(super) fn health() -> Response<Bytes> {
    text("ok\n")
}

/// The server takes new lines; not any more once it stops.
pub(super) fn ready(stopping: &Stopping) -> Response<Bytes> {
    if stopping.is_stopping() {
        let mut response = text("stopping\n");
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    }
    text("ready\n")
}

/// Refuses `/metrics` to those who may not read it.
pub(super) fn check_access(live: &Live, parts: &Parts, asker: &Asker<'_>) -> Result<(), Problem> {
    let is_open = match live.config.metrics.access {
        MetricsAccess::Open => true,
        // What a proxy on this machine passes on comes from elsewhere.
        MetricsAccess::Local => {
            let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
            asker.client.address.to_canonical().is_loopback()
                && !passed_on
                    .iter()
                    .any(|field| parts.headers.contains_key(*field))
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
pub(super) fn metrics(shared: &Shared) -> Response<Bytes> {
    let ends_ms = shared.tls.certificates().ends_ms();
    shared
        .metrics
        .certificate_expires(ends_ms, clock::unix_ms());
    shared.metrics.in_flight(shared.budget.bytes());
    let body = shared.metrics.encode(&shared.hub, &shared.census);
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
