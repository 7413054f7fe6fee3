//! Whom a request is for: the host that it names, and whether this server answers by that name.
//!
//! A browser keeps pages apart by the names of their hosts, and whoever owns a name says where it leads. So a page of
//! `evil.example` has its name resolved to this server once it is loaded, and is of this server's own origin then (DNS
//! rebinding). What is left to tell it by is the name that it asks for.

use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, HeaderValue, Method, Version, header, request::Parts};

use super::target;
use crate::{
    config::{AskedHost, Config, PageOrigin},
    proxy::Client,
};

/// Puts the host into the field Host, from where it counts. Over HTTP/2 it is the `:authority` (RFC 9113, section 8.3.1).
pub(super) fn name(parts: &mut Parts) {
    if let (Version::HTTP_2, Some(authority)) = (parts.version, parts.uri.authority())
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        // Beside a field that was sent, for both to be compared.
        parts.headers.append(header::HOST, host);
    }
    // An absolute target's host is the one that counts (RFC 9112, section 3.2.2), also where there is no field.
    let said = parts.headers.get_all(header::HOST).iter().count();
    if let (Version::HTTP_11, 1) | (Version::HTTP_10, 0 | 1) = (parts.version, said)
        && let Some(authority) = parts.uri.authority()
        && parts.method != Method::CONNECT
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
}

/// A request of HTTP/1.1 names its host, once (RFC 9112, section 3.2); one of another version names no two.
pub(super) fn check(parts: &Parts) -> Result<(), Problem> {
    let mut said = parts.headers.get_all(header::HOST).iter();
    let first = said.next();
    if parts.version == Version::HTTP_2 && !said.all(|other| Some(other) == first) {
        return Err(Problem::new(
            ProblemKind::BadRequest,
            "the field Host names another than :authority; send one of them, or the same twice",
        ));
    }
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    if let (Version::HTTP_11, 0 | 2..) | (Version::HTTP_10, 2..) = (parts.version, hosts) {
        let detail = format!("the request has {hosts} Host fields; HTTP/1.1 needs exactly one");
        return Err(Problem::new(ProblemKind::BadRequest, detail));
    }
    if let Some(scheme) = parts.uri.scheme_str()
        && !["http", "https", "ws", "wss"].contains(&scheme)
    {
        return Err(Problem::new(
            ProblemKind::BadRequest,
            "the request target has a scheme that is not asked of this server; send https or http",
        ));
    }
    let is_fine = |host: &HeaderValue| host.to_str().is_ok_and(is_host);
    match first.is_none_or(is_fine) {
        true => Ok(()),
        false => Err(Problem::new(
            ProblemKind::BadRequest,
            "the field Host is no host; send a name or an address, and perhaps a port",
        )),
    }
}

/// Refuses a request by a name that is none of this server's (RFC 9110, section 15.5.20). Where a trusted proxy says what
/// its client asked for, both that and Host have to be: a page on the proxy's own machine could send such a field itself.
///
/// Whoever looks whether the server is well asks by whatever address leads to it, and learns nothing else. So does who
/// counts, who has a right of its own to that, but not by a name. A certificate authority is answered by any name,
/// since it asks by the one that it is about.
pub(super) fn permit(parts: &Parts, client: &Client, config: &Config) -> Result<(), Problem> {
    if config.http.hosts.is_empty() && !config.dev {
        return Ok(());
    }
    let path = parts.uri.path();
    if matches!(path, "/healthz" | "/readyz") || target::is_challenge(path) {
        return Ok(());
    }
    let answers_by = |authority: &str| match AskedHost::by(authority) {
        Some(AskedHost::Address(_)) if path == "/metrics" => true,
        _ if config.http.hosts.is_empty() => !can_be_given(without_port(authority)),
        asked => asked.is_some_and(|asked| config.http.hosts.iter().any(|host| host.covers(asked))),
    };
    let of_field = parts.headers.get(header::HOST);
    let of_field = of_field.map_or("", |host| host.to_str().unwrap_or_default());
    let of_proxy = client.said.as_ref().and_then(|said| said.host.as_deref());
    let Some(other) = [Some(of_field), of_proxy]
        .into_iter()
        .flatten()
        .find(|host| !answers_by(host))
    else {
        return Ok(());
    };
    let host = without_port(other);
    let detail = match (config.http.hosts.is_empty(), host) {
        (true, host) => format!(
            "with `dev` everything is open, so this server does not answer by the name {host}, which pages of that site \
             could use; ask it as localhost or by its address, or list the name in http.hosts if nobody else can give it"
        ),
        (false, "") => {
            "the request names no host, and this server answers by some only; name one of them"
                .to_owned()
        }
        (false, host) => format!(
            "this server does not answer by the name {host}; ask it by one of its own, or add this one to http.hosts"
        ),
    };
    Err(Problem::new(ProblemKind::Misdirected, detail))
}

/// Whether a request asks by a name that nobody else could have given to this server.
pub(super) fn is_nobodys_to_give(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    hosts.all(|host| {
        host.to_str()
            .is_ok_and(|host| !can_be_given(without_port(host)))
    })
}

/// An authority without its port.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    }
}

/// Whether somebody else could give this name to this server. Addresses, `localhost` and names of one label are nobody's
/// to give.
fn can_be_given(host: &str) -> bool {
    host.contains('.')
        && !host.to_ascii_lowercase().ends_with(".localhost")
        && host.parse::<std::net::IpAddr>().is_err()
}

/// Whether this is a host, with a port or without (RFC 9112, section 3.2); no user name, and nothing that a `Location`
/// could be led astray by. It may be empty.
fn is_host(text: &str) -> bool {
    text.is_empty() || (!text.contains('*') && PageOrigin::at("http", text).is_some())
}
