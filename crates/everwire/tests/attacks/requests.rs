//! Requests of which two readers could think differently: whoever hides one request in another (request smuggling), or
//! speaks HTTP in a way that a proxy in front would not.

use crate::victim::Victim;

/// A request that must never be taken for one of its own: it stands where content should.
const HIDDEN: &str = "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhidden";

/// What becomes of a request.
enum Outcome {
    /// It gets this status, and the connection is ended: what follows is not read as a request.
    Ended(u16),
    /// It means what it says: this status, and the next request on the connection is answered after it.
    Taken(u16),
}
use Outcome::{Ended, Taken};

#[test]
fn nobody_hides_a_request_in_another() {
    let victim = Victim::start("");
    let append = |fields: &str, content: &str| {
        format!(
            "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n{fields}\r\n{content}"
        )
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunks = |chunks: &str| append(chunked, chunks);
    let get = |fields: &str| format!("GET /healthz HTTP/1.1\r\n{fields}\r\n");
    let attacks = [
        // RFC 9112, section 6.3: its chunks alone count, and it is the connection's last.
        ("both lengths", append("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"), Ended(204)),
        ("both lengths, and no content", append("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Ended(400)),
        ("both lengths, the other way round", append("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "1\r\nx\r\n0\r\n\r\n"), Ended(204)),
        // Two lengths, or one that no two readers agree on.
        ("two lengths that differ", append("Content-Length: 0\r\nContent-Length: 4\r\n", ""), Ended(400)),
        ("a list of lengths", append("Content-Length: 4, 4\r\n", "abcd"), Ended(400)),
        ("a length with a sign", append("Content-Length: +4\r\n", "abcd"), Ended(400)),
        ("a negative length", append("Content-Length: -1\r\n", "abcd"), Ended(400)),
        ("a length in hexadecimal", append("Content-Length: 0x4\r\n", "abcd"), Ended(400)),
        ("a length beyond all numbers", append("Content-Length: 99999999999999999999999\r\n", "abcd"), Ended(400)),
        // Section 6.1: a coding that is not applied, or not last, or not known.
        ("an unknown coding", append("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), Ended(400)),
        ("no coding at all", append("Transfer-Encoding: identity\r\n", "0\r\n\r\n"), Ended(400)),
        ("chunked, and then not", append("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), Ended(400)),
        ("chunked twice", append("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), Ended(400)),
        ("compressed and chunked", append("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), Ended(400)),
        ("two codings in two fields", append("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Ended(400)),
        ("a coding behind a control character", append("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), Ended(400)),
        ("a space before the colon", append("Transfer-Encoding : chunked\r\nContent-Length: 4\r\n", "abcd"), Ended(400)),
        ("chunks in HTTP/1.0", chunks("0\r\n\r\n").replacen("1.1", "1.0", 1), Ended(400)),
        // Sections 5.1 and 5.2.
        ("a folded field", append("X: a\r\n Content-Length: 4\r\n", ""), Ended(400)),
        ("a folded coding", append("Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n", "abcd"), Ended(400)),
        ("a bare CR in a value", append("X: a\rContent-Length: 4\r\nContent-Length: 0\r\n", ""), Ended(400)),
        ("a NUL in a value", append("X: a\0b\r\nContent-Length: 0\r\n", ""), Ended(400)),
        ("a field without a name", append(": x\r\nContent-Length: 0\r\n", ""), Ended(400)),
        ("a space before the first field", get(" Host: x\r\n"), Ended(400)),
        // Section 7.1.
        ("a chunk that is longer than it says", chunks("4\r\nabcdXX0\r\n\r\n"), Ended(400)),
        ("a chunk of hexadecimal with a prefix", chunks("0x4\r\nabcd\r\n0\r\n\r\n"), Ended(400)),
        ("a chunk of negative size", chunks("-4\r\nabcd\r\n0\r\n\r\n"), Ended(400)),
        ("a chunk beyond all numbers", chunks("FFFFFFFFFFFFFFFFF\r\nabcd\r\n0\r\n\r\n"), Ended(400)),
        ("chunks that end in a bare LF", chunks("4\nabcd\n0\n\n"), Ended(400)),
        ("an extension with a bare LF", chunks("4;a\nb\r\nabcd\r\n0\r\n\r\n"), Ended(400)),
        ("a trailer that is a length", chunks("4\r\nabcd\r\n0\r\nContent-Length: 9\r\n\r\n"), Taken(204)),
        // Section 3: request lines.
        ("HTTP/0.9", "GET /healthz\r\n\r\n".to_owned(), Ended(400)),
        ("a version to come", get("Host: x\r\n").replacen("1.1", "1.2", 1), Ended(400)),
        ("a version in lower case", get("Host: x\r\n").replacen("HTTP", "http", 1), Ended(400)),
        ("a space in the target", get("Host: x\r\n").replacen("healthz", "health z", 1), Ended(400)),
        ("tabs for spaces", get("Host: x\r\n").replacen(' ', "\t", 2), Ended(400)),
        ("a method that is none", get("Host: x\r\n").replacen("GET", "G@T", 1), Ended(400)),
        // A proxy that guards addresses has compared the whole of it; it is not to be set right (section 3).
        ("a fragment", get("Host: x\r\n").replacen("healthz", "healthz#a", 1), Ended(400)),
        ("an empty fragment", get("Host: x\r\n").replacen("healthz", "healthz#", 1), Ended(400)),
        ("a fragment behind a query", get("Host: x\r\n").replacen("healthz", "healthz?a#b?c", 1), Ended(400)),
        ("a fragment of an absolute target", get("Host: x\r\n").replacen("/healthz", "http://x#/healthz", 1), Ended(400)),
        // Section 2.2 allows to take these for lines' ends; who does not, and passes them on, sees other fields.
        ("lines that end in a bare LF", append("Content-Length: 4\r\n", "abcd").replace("\r\n", "\n"), Ended(400)),
        ("a length behind a bare LF", append("X: a\nContent-Length: 4\r\n", "abcd"), Ended(400)),
        ("a coding behind a bare LF", append("Content-Length: 5\r\nX: a\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Ended(400)),
        ("a head that ends in a bare LF", append("Content-Length: 4\r\n", "").trim_end().to_owned() + "\r\n\nabcd", Ended(400)),
        ("a request line that ends in a bare LF", get("Host: x\r\n").replacen("\r\n", "\n", 1), Ended(400)),
        // RFC 9110, section 7.2: whom it is for.
        ("no host", get(""), Taken(400)),
        ("two hosts", get("Host: x\r\nHost: y\r\n"), Taken(400)),
        // A read has no content that another reader could take for a request.
        ("content of a read", "GET /channels/target HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd".to_owned(), Taken(400)),
        // A proxy may have begun to tunnel when it saw the request, and not the refusal.
        (
            "an upgrade that is refused",
            "GET /channels/target HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_owned(),
            Ended(426),
        ),
        // What is said to be compressed and cannot be unpacked would mean nothing to readers.
        ("content in no coding that it says", append("Content-Encoding: gzip\r\nContent-Length: 4\r\n", "abcd"), Taken(400)),
        ("content in a coding of its own", append("Content-Encoding: lzma\r\nContent-Length: 4\r\n", "abcd"), Taken(415)),
        ("codings over codings", append("Content-Encoding: gzip, gzip\r\nContent-Length: 4\r\n", "abcd"), Taken(415)),
        ("the same length twice", append("Content-Length: 4\r\nContent-Length: 4\r\n", "abcd"), Taken(204)),
        ("a chunk with an extension", chunks("4;a=b\r\nabcd\r\n0\r\n\r\n"), Taken(204)),
    ];
    check(&victim, &attacks);
}

/// Odd, and not all of it wrong: each means what it says to everybody, or is refused.
#[test]
fn what_is_odd_means_one_thing_or_is_refused() {
    let victim = Victim::start("");
    let of = |line: &str, fields: &str| format!("{line}\r\n{fields}\r\n");
    let get = |target: &str| of(&format!("GET {target} HTTP/1.1"), "Host: x\r\n");
    let with = |fields: &str| of("GET /healthz HTTP/1.1", &format!("Host: x\r\n{fields}"));
    let asks =
        |method: &str, target: &str| of(&format!("{method} {target} HTTP/1.1"), "Host: x\r\n");
    let append = |fields: &str, content: &str| {
        format!(
            "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n{fields}\r\n{content}"
        )
    };
    let chunks = |chunks: &str| append("Transfer-Encoding: chunked\r\n", chunks);
    let coded = |coding: &str| {
        append(
            &format!("Transfer-Encoding:{coding}\r\n"),
            "4\r\nabcd\r\n0\r\n\r\n",
        )
    };
    let odd = [
        // RFC 9110, section 7.2, and RFC 9112, section 3.2: whom it is for.
        (
            "a host with an underscore",
            of("GET /healthz HTTP/1.1", "Host: my_host:80\r\n"),
            Taken(200),
        ),
        (
            "no name to say",
            of("GET /healthz HTTP/1.1", "Host:\r\n"),
            Taken(200),
        ),
        (
            "a host with a user",
            of("GET /healthz HTTP/1.1", "Host: ada@x\r\n"),
            Taken(400),
        ),
        (
            "a host with a zone",
            of("GET /healthz HTTP/1.1", "Host: [fe80::1%25eth0]\r\n"),
            Taken(400),
        ),
        (
            "a host beyond ASCII",
            of("GET /healthz HTTP/1.1", "Host: b\u{fc}cher\r\n"),
            Taken(400),
        ),
        (
            "an absolute target without a field",
            of("GET http://x/healthz HTTP/1.1", ""),
            Taken(400),
        ),
        (
            "an absolute target of two hosts",
            of("GET http://x/healthz HTTP/1.1", "Host: x\r\nHost: x\r\n"),
            Taken(400),
        ),
        (
            "an absolute target with a user",
            get("http://ada@x/healthz"),
            Taken(400),
        ),
        (
            "an absolute target of no host",
            get("http:///healthz"),
            Ended(400),
        ),
        (
            "an absolute target of another host",
            get("http://y/healthz"),
            Taken(200),
        ),
        // RFC 9110, section 4.2: whatever it means, it is not asked of this server.
        (
            "an absolute target of another scheme",
            get("ftp://x/healthz"),
            Taken(400),
        ),
        // RFC 9112, section 3.2: targets. None of these is another spelling of an address of ours.
        ("a target without a slash", get("healthz"), Taken(404)),
        ("a target that is an authority", get("x:80"), Taken(404)),
        ("a query alone", get("?a"), Ended(400)),
        ("an asterisk", get("*"), Taken(404)),
        ("two slashes", get("//healthz"), Taken(404)),
        (
            "a host behind two slashes",
            get("//evil.example/healthz"),
            Taken(404),
        ),
        ("dots", get("/a/../healthz"), Taken(404)),
        ("parameters of a segment", get("/healthz;a=b"), Taken(404)),
        ("an encoded slash", get("/%2Fhealthz"), Taken(404)),
        ("an encoded letter", get("/%68ealthz"), Taken(404)),
        ("a backslash", get("/channels\\target"), Taken(404)),
        ("a NUL in the target", get("/health\0z"), Ended(400)),
        ("quotes in the target", get("/healthz?\"<>"), Ended(400)),
        // RFC 9110, section 9: methods.
        (
            "a method in lower case",
            asks("get", "/healthz"),
            Taken(405),
        ),
        (
            "a method that nobody knows",
            asks("BREW", "/channels/target"),
            Taken(405),
        ),
        ("a trace", asks("TRACE", "/channels/target"), Taken(405)),
        // Section 9.3.6: a proxy may send what belongs into the tunnel before it has its answer.
        ("a tunnel", asks("CONNECT", "evil.example:443"), Ended(404)),
        ("a tunnel to ourselves", asks("CONNECT", "x:80"), Ended(404)),
        (
            "a tunnel to a channel",
            asks("CONNECT", "/channels/target"),
            Ended(405),
        ),
        // Section 7.8: HTTP/2 by an upgrade is gone (RFC 9113, section 3.1).
        (
            "an upgrade to HTTP/2",
            with(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
            ),
            Taken(200),
        ),
        // Section 10.1.1: what is expected and unknown may be met with nothing.
        (
            "an expectation that nobody knows",
            append("Expect: 200-ok\r\nContent-Length: 4\r\n", "abcd"),
            Taken(204),
        ),
        // Section 7.6.1: fields of the connection, and persistence (RFC 9112, section 9.3).
        (
            "the last of a connection",
            with("Connection: x, ClOsE\r\n"),
            Ended(200),
        ),
        (
            "the last and not the last",
            with("Connection: close\r\nConnection: keep-alive\r\n"),
            Ended(200),
        ),
        (
            "fields that are the connection's by name",
            with("Connection: host, content-length\r\n"),
            Taken(200),
        ),
        (
            "HTTP/1.0 that goes on",
            of("GET /healthz HTTP/1.0", "Connection: keep-alive\r\n"),
            Taken(200),
        ),
        (
            "HTTP/1.0 that does not",
            of("GET /healthz HTTP/1.0", ""),
            Ended(200),
        ),
        (
            "two hosts in HTTP/1.0",
            of("GET /healthz HTTP/1.0", "Host: x\r\nHost: y\r\n"),
            Ended(400),
        ),
        // RFC 9110, section 8.6, and RFC 9112, section 6: lengths and codings.
        (
            "an empty length",
            append("Content-Length:\r\n", ""),
            Ended(400),
        ),
        (
            "a length that ends in a comma",
            append("Content-Length: 4,\r\n", "abcd"),
            Ended(400),
        ),
        (
            "lengths in one field that differ",
            append("Content-Length: 4, 5\r\n", "abcd"),
            Ended(400),
        ),
        (
            "a length with an exponent",
            append("Content-Length: 4e0\r\n", "abcd"),
            Ended(400),
        ),
        (
            "a length with a zero before it",
            append("Content-Length: 04\r\n", "abcd"),
            Taken(204),
        ),
        (
            "a length between tabs",
            append("Content-Length:\t4\t\r\n", "abcd"),
            Taken(204),
        ),
        ("a coding in any case", coded(" ChUnKeD"), Taken(204)),
        ("a coding behind a tab", coded("\tchunked"), Taken(204)),
        ("an empty coding", coded(""), Ended(400)),
        (
            "a coding with a comma behind it",
            coded(" chunked,"),
            Ended(400),
        ),
        (
            "a coding with a parameter",
            coded(" chunked;q=1"),
            Ended(400),
        ),
        ("a coding in quotes", coded(" \"chunked\""), Ended(400)),
        (
            "a coding that is spelt almost so",
            append(
                "Transfer_Encoding: chunked\r\nContent-Length: 4\r\n",
                "abcd",
            ),
            Taken(204),
        ),
        // RFC 9112, section 7.1: chunks.
        (
            "a chunk's size with zeros before it",
            chunks("0004\r\nabcd\r\n0\r\n\r\n"),
            Taken(204),
        ),
        (
            "a chunk's size behind a space",
            chunks(" 4\r\nabcd\r\n0\r\n\r\n"),
            Ended(400),
        ),
        (
            "a chunk's size with a sign",
            chunks("+4\r\nabcd\r\n0\r\n\r\n"),
            Ended(400),
        ),
        (
            "a chunk's size with an underscore",
            chunks("1_0\r\nabcd\r\n0\r\n\r\n"),
            Ended(400),
        ),
        (
            "a chunk without a size",
            chunks("\r\nabcd\r\n0\r\n\r\n"),
            Ended(400),
        ),
        (
            "a chunk that ends in a bare LF",
            chunks("4\r\nabcd\n0\r\n\r\n"),
            Ended(400),
        ),
        (
            "chunks that end in bare CRs",
            chunks("4\rabcd\r0\r\r"),
            Ended(400),
        ),
        (
            "extensions without end",
            chunks(&format!("4;{}\r\nabcd\r\n0\r\n\r\n", "a".repeat(20_000))),
            Ended(400),
        ),
        (
            "trailers without end",
            chunks(&format!(
                "4\r\nabcd\r\n0\r\nX: {}\r\n\r\n",
                "a".repeat(40_000)
            )),
            Ended(400),
        ),
        (
            "a trailer that is a coding and a host",
            chunks("4\r\nabcd\r\n0\r\nTransfer-Encoding: chunked\r\nHost: y\r\n\r\n"),
            Taken(204),
        ),
        // Section 5: fields.
        ("a space in a name", with("X Y: a\r\n"), Ended(400)),
        ("a tab before the colon", with("X\t: a\r\n"), Ended(400)),
        ("no colon", with("X\r\n"), Ended(400)),
        (
            "a control character in a value",
            with("X: a\u{1}b\r\n"),
            Ended(400),
        ),
        ("DEL in a value", with("X: a\u{7f}b\r\n"), Ended(400)),
        ("a tab in a value", with("X: a\tb\r\n"), Taken(200)),
        (
            "bytes beyond ASCII in a value",
            with("X: \u{fc}\r\n"),
            Taken(200),
        ),
        // Sections 2.2 and 3: around the request line.
        (
            "empty lines before it",
            format!("\r\n\r\n{}", get("/healthz")),
            Taken(200),
        ),
        (
            "a CR before it",
            format!("\r{}", get("/healthz")),
            Ended(400),
        ),
        (
            "a mark of byte order before it",
            format!("\u{feff}{}", get("/healthz")),
            Ended(400),
        ),
        (
            "a space behind it",
            of("GET /healthz HTTP/1.1 ", "Host: x\r\n"),
            Ended(400),
        ),
        (
            "two spaces in it",
            of("GET  /healthz HTTP/1.1", "Host: x\r\n"),
            Ended(400),
        ),
        (
            "a version of two digits",
            of("GET /healthz HTTP/1.10", "Host: x\r\n"),
            Ended(400),
        ),
        (
            "another version's line",
            of("GET /healthz HTTP/2.0", "Host: x\r\n"),
            Ended(400),
        ),
        (
            "another protocol",
            of("GET /healthz ICY/1.1", "Host: x\r\n"),
            Ended(400),
        ),
    ];
    check(&victim, &odd);
    victim.serves_others("all of that");
}

/// Sends each on a connection of its own, with what must not be hidden behind it.
fn check(victim: &Victim, attacks: &[(&str, String, Outcome)]) {
    for (name, request, outcome) in attacks {
        let before = victim.metric("everwire_entries_published_total");
        let answered = victim.all(format!("{request}{HIDDEN}"));
        let statuses: Vec<u16> = statuses(&answered);
        let (expected, entries) = match *outcome {
            Ended(status @ 204) => (vec![status], 1),
            Ended(status) => (vec![status], 0),
            Taken(status @ 204) => (vec![status, 204], 2),
            Taken(status) => (vec![status, 204], 1),
        };
        assert_eq!(statuses, expected, "{name}: {answered}");
        let published = victim.metric("everwire_entries_published_total") - before;
        assert_eq!(published, entries, "{name}");
    }
}

/// The status of each response, in order. No content here looks like one.
fn statuses(answered: &str) -> Vec<u16> {
    let heads = answered.split("HTTP/1.").skip(1);
    heads
        .filter_map(|head| head.get(2..5)?.parse().ok())
        .collect()
}
