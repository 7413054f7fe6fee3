//! The page at `/`, and the chat among the examples, under `dev`: embedded, so that the binary is all there is. Their links
//! are relative, so that they work below any prefix, whether a proxy takes it away or not.

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderValue, Response, StatusCode, header};

use super::answer;

/// A file of the page: its address, its media type and its content.
struct File(&'static str, &'static str, &'static str);

/// Names a file of the page once: its address and where it lies are the same path.
macro_rules! file {
    ($path:literal, $kind:expr) => {
        File(
            concat!("/page/", $path),
            $kind,
            include_str!(concat!("../page/", $path)),
        )
    };
}

/// The same for a file of the chat, which is one of the examples; a link in `src/` leads there.
macro_rules! chat {
    ($path:literal, $kind:expr) => {
        File(
            concat!("/examples/chat/", $path),
            $kind,
            include_str!(concat!("../chat/", $path)),
        )
    };
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: &[File] = &[
    File("/", HTML, include_str!("../page/index.html")),
    file!("style.css", STYLE),
    file!("favicon.svg", "image/svg+xml"),
    file!("app.js", SCRIPT),
    file!("channel.js", SCRIPT),
    file!("heads.js", SCRIPT),
    file!("ledger.js", SCRIPT),
    file!("log-strip.js", SCRIPT),
    file!("log.js", SCRIPT),
    file!("meter.js", SCRIPT),
    file!("publisher.js", SCRIPT),
    file!("tabs.js", SCRIPT),
    file!("wire-card.js", SCRIPT),
    file!("wire.js", SCRIPT),
    file!("wires/answer.js", SCRIPT),
    file!("wires/event-stream.js", SCRIPT),
    file!("wires/long-poll.js", SCRIPT),
    file!("wires/ndjson.js", SCRIPT),
    file!("wires/polling.js", SCRIPT),
    file!("wires/websocket.js", SCRIPT),
    File("/examples/chat/", HTML, include_str!("../chat/index.html")),
    chat!("style.css", STYLE),
    chat!("chat.js", SCRIPT),
    chat!("everwire.js", SCRIPT),
    chat!("room.js", SCRIPT),
    chat!("view.js", SCRIPT),
];

/// Nothing but the page's own files runs on it, and it speaks with this server only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves a file of the page.
pub(super) fn serve(path: &str, dev: bool) -> Result<Response<Bytes>, Problem> {
    let Some(File(_, kind, content)) = FILES
        .iter()
        .find(|File(address, ..)| dev && *address == path)
    else {
        return Err(Problem::new(
            ProblemKind::NotFound,
            "there is nothing at this address; channels are at /channels/{name}, and the page is served with --dev",
        ));
    };
    let mut response = answer::safe(Response::new(Bytes::from_static(content.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Whether a path is the prefix without the slash, below which the page's own links would lead beside it.
pub(super) fn is_bare(path: &str, prefix: &str, dev: bool) -> bool {
    dev && !prefix.is_empty() && path == prefix
}

/// Leads to the page, from the prefix without the slash. For now only: it may be another prefix with the next start.
pub(super) fn lead_below(prefix: &str) -> Response<Bytes> {
    let mut response = answer::no_content();
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let below = HeaderValue::try_from(format!("{prefix}/")).expect("a prefix is visible ASCII");
    response.headers_mut().insert(header::LOCATION, below);
    response
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// A script that imports a file which was not listed here would fail in the browser alone.
    #[test]
    fn every_file_of_the_page_is_served() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut count = 0;
        for (root, index, below) in [
            ("page", "/", "/page/"),
            ("chat", "/examples/chat/", "/examples/chat/"),
        ] {
            let root = source.join(root);
            let mut folders = vec![root.clone()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                        continue;
                    }
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                    let address = match name {
                        "README.md" => continue,
                        "index.html" => index.to_owned(),
                        _ => format!("{below}{name}"),
                    };
                    assert!(serve(&address, true).is_ok(), "{address} is not served");
                    count += 1;
                }
            }
        }
        assert_eq!(count, FILES.len());
    }

    #[test]
    fn without_dev_there_is_no_page() {
        assert_eq!(serve("/", false).unwrap_err().kind.status(), 404);
    }
}
