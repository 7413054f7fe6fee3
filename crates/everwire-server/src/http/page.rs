//! The page at `/`, under `dev`: embedded, so that the binary is all there is.

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderValue, Response, header};

use super::answer;

/// A file of the page: its address, its media type and its content.
struct File(&'static str, &'static str, &'static str);

const FILES: &[File] = &[File("/", "text/html; charset=utf-8", include_str!("../page/index.html"))];

/// Nothing but the page's own files runs on it.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves a file of the page.
pub(super) fn serve(path: &str, dev: bool) -> Result<Response<Bytes>, Problem> {
    let Some(File(_, kind, content)) = FILES.iter().find(|File(address, ..)| dev && *address == path) else {
        return Err(Problem::new(
            ProblemKind::NotFound,
            "there is nothing at this address; channels are at /channels/{name}, and the page is served with --dev",
        ));
    };
    let mut response = answer::safe(Response::new(Bytes::from_static(content.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
