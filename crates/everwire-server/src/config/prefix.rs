//! `http.prefix`: the path below which a proxy in front has the server.

/// The first segments of the server's own addresses. A prefix begins with none of them, or a request below it could
/// mean two things.
pub(crate) const OWN_SEGMENTS: [&str; 13] = [
    ".well-known",
    "channels",
    "connect",
    "echo",
    "examples",
    "healthz",
    "metrics",
    "page",
    "presence",
    "publish",
    "readyz",
    "revocations",
    "v1",
];

/// Whether a text can be a prefix: nothing, or segments that need no encoding and lead to no address of the server's own.
pub(super) fn is_prefix(prefix: &str) -> bool {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.~".contains(&c);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
    let Some(path) = prefix.strip_prefix('/') else {
        return prefix.is_empty();
    };
    let is_own = |segment: &str| OWN_SEGMENTS.contains(&segment);
    path.split('/').all(is_segment) && !path.split('/').next().is_some_and(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_path_that_is_none_of_our_own() {
        for (prefix, expected) in [
            ("", true),
            ("/live", true),
            ("/apps/live-1", true),
            ("/live/channels", true),
            ("live", false),
            ("/", false),
            ("/live/", false),
            ("//live", false),
            ("/a/../b", false),
            ("/a%20b", false),
            ("/a?b", false),
            ("/channels", false),
            ("/channels/live", false),
            ("/publish", false),
            ("/healthz", false),
            ("/v1", false),
        ] {
            assert_eq!(is_prefix(prefix), expected, "{prefix}");
        }
    }
}
