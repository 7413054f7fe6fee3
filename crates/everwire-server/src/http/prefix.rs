//! The path below which others see this server, where it shares a host.

use http::{Uri, request::Parts, uri::PathAndQuery};

/// A request's path without the prefix. `None` if it has none, is another's that only begins alike, or is the prefix
/// without the slash, below which relative links would lead elsewhere.
pub(super) fn without<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    match path.strip_prefix(prefix)? {
        _ if prefix.is_empty() => None,
        rest if rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

/// Takes the prefix off a request's path, if it is there.
pub(super) fn strip(parts: &mut Parts, prefix: &str) {
    let Some(path) = without(parts.uri.path(), prefix) else {
        return;
    };
    let target = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = PathAndQuery::try_from(target).ok();
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_off_where_it_ends_with_a_segment() {
        for (uri, expected) in [
            ("/live/channels/c?offset=-1", "/channels/c?offset=-1"),
            ("http://h:1/live/connect", "http://h:1/connect"),
            ("/live", "/live"),
            ("/live/", "/"),
            ("/live?x", "/live?x"),
            ("/live/?x", "/?x"),
            ("/channels/c", "/channels/c"),
            ("/lively/channels/c", "/lively/channels/c"),
            ("/live/live/channels/c", "/live/channels/c"),
            ("/live/channels/a%2Fb", "/channels/a%2Fb"),
            ("*", "*"),
        ] {
            let request = http::Request::builder().uri(uri).body(()).unwrap();
            let (mut parts, ()) = request.into_parts();
            strip(&mut parts, "/live");
            assert_eq!(parts.uri.to_string(), expected, "{uri}");
        }
    }
}
