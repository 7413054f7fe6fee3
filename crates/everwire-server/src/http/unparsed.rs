//! What HTTP/1.1 cannot be read from: no request that a handler could judge, but an answer like any other.

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{Request, Response, StatusCode, Version};

use super::{Context, answer::problem_response, name_refusal, prefix::without, read};
use crate::census::Pass;

impl Context {
    /// The answer to a head that could not be read, with the status by which the parser would have it.
    pub fn refuse_unparsed(&self, status: StatusCode, error: &hyper::Error) -> Response<Bytes> {
        let limits = &self.shared.live.config.limits;
        let problem = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => head_too_large(limits.head_bytes_max),
            StatusCode::URI_TOO_LONG => Problem::new(
                ProblemKind::UriTooLong,
                "the request target is longer than any that is taken; use a shorter one",
            )
            .at_limit("target_bytes_max"),
            _ => Problem::new(
                ProblemKind::BadRequest,
                format!("what came is no request of HTTP/1.1: {error}"),
            ),
        };
        self.refuse_early(&problem)
    }

    /// The answer to a head that the library reads and we do not take, after which the connection ends: whoever stands in
    /// front may have read something else.
    pub fn refuse_head(&self, why: &str) -> Response<Bytes> {
        let mut response = self.refuse_early(&Problem::new(ProblemKind::BadRequest, why));
        super::end_connection(response.headers_mut());
        response
    }

    /// The answer to a head that did not come in time.
    pub fn refuse_slow_head(&self) -> Response<Bytes> {
        let head_ms = self.shared.live.config.http.head_ms;
        let detail = format!("the request head did not arrive within {head_ms} ms (http.head_ms)");
        self.refuse_early(&Problem::new(ProblemKind::TimedOut, detail).at_limit("head_ms"))
    }

    /// The answer to a request on a connection that does not take the answers to those before it.
    pub fn refuse_untaken(&self, bytes_max: usize) -> Response<Bytes> {
        let detail = format!(
            "this connection takes nothing of more than {bytes_max} bytes of responses; read them first"
        );
        let problem = Problem::new(ProblemKind::TooMany, detail).at_limit("untaken_bytes_max");
        self.refuse_early(&problem)
    }

    /// The answer to a request on a connection that came when all places were taken, if it is for more than a look
    /// whether the server is well.
    pub fn refuse_beyond_look<B>(
        &self,
        request: &Request<B>,
        pass: Pass,
    ) -> Option<Response<Bytes>> {
        let path = request.uri().path();
        let path = without(path, &self.shared.live.config.http.prefix).unwrap_or(path);
        let is_look = matches!(path, "/healthz" | "/readyz" | "/metrics");
        if pass == Pass::All || is_look {
            return None;
        }
        let problem = Problem::new(
            ProblemKind::Overloaded,
            "this server has as many connections as it takes (limits.connections_max); try another one, or later",
        );
        let mut response = self.refuse_early(&problem);
        if request.version() < Version::HTTP_2 {
            super::end_connection(response.headers_mut());
        }
        Some(response)
    }

    /// The answer to a long poll whose shard ends before it.
    pub fn refuse_stopping(&self) -> Response<Bytes> {
        self.refuse_early(&read::stopping())
    }

    fn refuse_early(&self, problem: &Problem) -> Response<Bytes> {
        self.shared.metrics.refused(problem);
        let mut response = problem_response(problem);
        self.shared.metrics.answered(response.status());
        name_refusal(None, problem.kind.name(), &mut response);
        response
    }
}

/// A head that is larger than the limit, or has more fields than anybody needs.
pub(super) fn head_too_large(bytes_max: usize) -> Problem {
    let detail = format!(
        "the request head has more than {bytes_max} bytes (limits.head_bytes_max) or 100 fields; send less"
    );
    Problem::new(ProblemKind::HeadTooLarge, detail)
        .with("bytes_max", bytes_max)
        .at_limit("head_bytes_max")
}
