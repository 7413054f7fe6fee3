//! Content codings (RFC 9110, section 8.4): pages come compressed to who takes them so, contents may come compressed, and
//! neither takes more than what is not.

mod common;

use std::io::{Read, Write};

use common::{End, Response, Site, Streams};
use everwire_server::config::Action;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

const JSON: &str = "application/json";

/// Entries that make a page of some 60 kB of JSON.
fn entries() -> String {
    let entries =
        (0..1000).map(|n| format!("{{\"number\":{n},\"text\":\"hello, everybody in here\"}}"));
    format!("[{}]", entries.collect::<Vec<_>>().join(","))
}

fn get(site: &Site, target: &str, fields: &str) -> Response {
    site.ask(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"))
}

fn send(site: &Site, method: &str, target: &str, fields: &str, content: &[u8]) -> Response {
    let mut peer = site.connect();
    let length = content.len();
    peer.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n"
    ));
    peer.send(content);
    peer.response()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut coder = GzEncoder::new(Vec::new(), Compression::default());
    coder.write_all(content).unwrap();
    coder.finish().unwrap()
}

fn brotli(content: &[u8]) -> Vec<u8> {
    let mut coder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
    coder.write_all(content).unwrap();
    coder.into_inner()
}

/// The content of a response without its coding.
fn plain(response: &Response) -> Vec<u8> {
    let mut plain = Vec::new();
    match response.field("content-encoding") {
        None => plain.clone_from(&response.body),
        Some("gzip") => drop(
            MultiGzDecoder::new(&*response.body)
                .read_to_end(&mut plain)
                .unwrap(),
        ),
        Some("br") => drop(
            brotli::Decompressor::new(&*response.body, 4096)
                .read_to_end(&mut plain)
                .unwrap(),
        ),
        Some(other) => panic!("{other} was not asked for"),
    }
    plain
}

/// RFC 9110, section 12.5.3, on the wire: which coding is chosen is the table of `coding::accept`.
#[test]
fn a_page_comes_in_the_coding_that_is_wanted() {
    let site = Site::start();
    site.publish("c", JSON, entries());
    site.publish("small", JSON, "[1]");
    site.publish("bytes", "application/octet-stream", vec![0; 50_000]);
    site.publish("picture", "image/png", vec![0; 50_000]);
    for (channel, accepts, coding) in [
        ("c", "", None),
        ("c", "Accept-Encoding:\r\n", None),
        ("c", "Accept-Encoding: gzip\r\n", Some("gzip")),
        ("c", "Accept-Encoding: br\r\n", Some("br")),
        (
            "c",
            "Accept-Encoding: gzip, deflate, br, zstd\r\n",
            Some("br"),
        ),
        (
            "c",
            "Accept-Encoding: br;q=0.5\r\nAccept-Encoding: gzip\r\n",
            Some("gzip"),
        ),
        ("c", "Accept-Encoding: deflate\r\n", None),
        ("c", "Accept-Encoding: identity\r\n", None),
        ("c", "Accept-Encoding: *;q=0\r\n", None),
        ("small", "Accept-Encoding: gzip\r\n", None),
        (
            "small",
            "Accept-Encoding: gzip, identity;q=0\r\n",
            Some("gzip"),
        ),
        ("bytes", "Accept-Encoding: gzip\r\n", None),
        ("picture", "Accept-Encoding: gzip, br\r\n", None),
        ("picture", "Accept-Encoding: br, *;q=0\r\n", Some("br")),
    ] {
        let what = format!("{channel} with {accepts:?}");
        let asked_plainly = get(&site, &format!("/channels/{channel}"), "");
        let page = get(&site, &format!("/channels/{channel}"), accepts);
        assert_eq!(page.status, 200, "{what}");
        assert_eq!(page.field("content-encoding"), coding, "{what}");
        assert_eq!(plain(&page), asked_plainly.body, "{what}");
        if channel == "c" && coding.is_some() {
            assert!(
                page.body.len() < asked_plainly.body.len() / 5,
                "{what}: {}",
                page.body.len()
            );
        }
        let uncoded = asked_plainly.field("etag").unwrap();
        let tag = match coding {
            Some(coding) => format!("{};{coding}\"", uncoded.strip_suffix('"').unwrap()),
            None => uncoded.to_owned(),
        };
        assert_eq!(page.field("etag"), Some(&*tag), "{what}");
        for name in [
            "vary",
            "content-type",
            "stream-next-offset",
            "stream-up-to-date",
            "cache-control",
        ] {
            assert_eq!(
                page.field(name),
                asked_plainly.field(name),
                "{what}: {name}"
            );
        }
        assert!(
            page.field("vary").unwrap().contains("accept-encoding"),
            "{what}"
        );
    }
}

/// RFC 9110, sections 8.8.3.3 and 13.1: each coding is a representation of its own, and all of them name the same tail.
#[test]
fn a_condition_is_about_the_page_in_its_coding() {
    let site = Site::start();
    site.publish("c", JSON, entries());
    let tag = |fields: &str| {
        get(&site, "/channels/c", fields)
            .field("etag")
            .unwrap()
            .to_owned()
    };
    let gzip = "Accept-Encoding: gzip\r\n";
    let br = "Accept-Encoding: br\r\n";
    let tags = [tag(""), tag(gzip), tag(br)];
    let [plain_tag, gzip_tag, br_tag] = &tags;
    for (accepts, condition, status, expected) in [
        ("", format!("If-None-Match: {plain_tag}"), 304, plain_tag),
        (gzip, format!("If-None-Match: {gzip_tag}"), 304, gzip_tag),
        (br, format!("If-None-Match: {br_tag}"), 304, br_tag),
        (br, format!("If-None-Match: W/{br_tag}"), 304, br_tag),
        (
            br,
            format!("If-None-Match: {plain_tag}, {gzip_tag}, {br_tag}"),
            304,
            br_tag,
        ),
        (br, "If-None-Match: *".to_owned(), 304, br_tag),
        (br, format!("If-None-Match: {plain_tag}"), 200, br_tag),
        (br, format!("If-None-Match: {gzip_tag}"), 200, br_tag),
        ("", format!("If-None-Match: {br_tag}"), 200, plain_tag),
        (br, format!("If-Match: {br_tag}"), 200, br_tag),
        // The tail is the same, whichever way it was read.
        (gzip, format!("If-Match: {br_tag}"), 200, gzip_tag),
        (br, format!("If-Match: W/{br_tag}"), 412, br_tag),
        (br, "If-Match: \"other;br\"".to_owned(), 412, br_tag),
    ] {
        let what = format!("{accepts:?}, {condition}");
        let answer = get(&site, "/channels/c", &format!("{accepts}{condition}\r\n"));
        assert_eq!(answer.status, status, "{what}");
        match status {
            412 => continue,
            304 => {
                assert_eq!(answer.body, b"", "{what}");
                assert_eq!(answer.field("content-encoding"), None, "{what}");
            }
            _ => assert_eq!(plain(&answer), entries().as_bytes(), "{what}"),
        }
        assert_eq!(answer.field("etag"), Some(&**expected), "{what}");
        assert!(
            answer.field("vary").unwrap().contains("accept-encoding"),
            "{what}"
        );
    }
    let append = send(
        &site,
        "POST",
        "/channels/c",
        &format!("If-Match: {br_tag}\r\nContent-Type: {JSON}\r\n"),
        b"1",
    );
    assert_eq!(append.status, 204, "it was read to its end");
    let append = send(
        &site,
        "POST",
        "/channels/c",
        &format!("If-Match: {br_tag}\r\nContent-Type: {JSON}\r\n"),
        b"2",
    );
    assert_eq!(append.status, 412, "something came since");
}

#[test]
fn lists_answers_at_once_and_mixed_pages_are_compressed_and_lines_are_not() {
    let site = Site::start();
    site.publish("c", JSON, entries());
    // Several kinds in a channel of no stated type.
    let mut writer = site.websocket("mixed", "");
    for n in 0..100 {
        writer.send(common::client_frame(1, format!("text {n}").as_bytes()));
        writer.send(common::client_frame(2, &[n; 20]));
    }
    site.until("all have come", |site| {
        get(site, "/channels/mixed", "").text().lines().count() == 200
    });
    let mut members = Vec::new();
    for n in 0..30 {
        let mut session = site.connect();
        session.send(common::websocket_request(
            "/connect",
            "Sec-WebSocket-Protocol: everwire.v1\r\n",
        ));
        session.head();
        let enter = format!(
            "{{\"op\":\"subscribe\",\"channel\":\"c\",\"presence\":{{\"user\":\"member-number-{n}\",\"info\":{{\"text\":\"hello, everybody\"}}}}}}"
        );
        session.send(common::client_frame(1, enter.as_bytes()));
        members.push(session);
    }
    site.until("all are there", |site| {
        site.metric("everwire_members") == 30
    });
    for target in [
        "/channels/mixed",
        "/channels/c?live=long-poll&offset=-1",
        "/presence/c",
        "/v1/stream/c?offset=-1",
    ] {
        let asked_plainly = get(&site, target, "");
        for coding in ["gzip", "br"] {
            let answer = get(&site, target, &format!("Accept-Encoding: {coding}\r\n"));
            assert_eq!(
                answer.field("content-encoding"),
                Some(coding),
                "{target}: {}",
                answer.head
            );
            assert_eq!(plain(&answer), asked_plainly.body, "{target}");
            assert!(
                answer.head.contains("accept-encoding"),
                "{target}: {}",
                answer.head
            );
            if let Some(tag) = answer.field("etag") {
                assert!(tag.ends_with(&format!(";{coding}\"")), "{target}: {tag}");
            }
        }
    }
    // HEAD has the fields of GET (RFC 9110, section 9.3.2).
    let mut peer = site.connect();
    peer.send("HEAD /presence/c HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\n\r\n");
    let head = peer.head();
    let list = get(&site, "/presence/c", "Accept-Encoding: br\r\n");
    let length = format!("content-length: {}\r\n", list.body.len());
    assert!(
        head.contains(&length) && head.contains("content-encoding: br"),
        "{head}"
    );
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let mut line = site.connect();
        line.send(format!("GET /channels/c?offset=-1 HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nAccept-Encoding: gzip, br\r\n\r\n"));
        assert!(!line.head().contains("content-encoding"), "{accept}");
    }
    // A welcome has a secret in it.
    let welcome = get(
        &site,
        "/connect",
        "Accept: application/json\r\nAccept-Encoding: gzip, identity;q=0\r\n",
    );
    assert_eq!(
        (welcome.status, welcome.field("content-encoding")),
        (200, None)
    );
}

#[test]
fn over_http2_it_is_the_same() {
    let site = Site::start();
    site.publish("c", JSON, entries());
    for coding in ["gzip", "br"] {
        let over_1 = get(
            &site,
            "/channels/c",
            &format!("Accept-Encoding: {coding}\r\n"),
        );
        let mut streams = Streams::connect(site.address);
        let stream = streams.get("/channels/c", &[("accept-encoding", coding)]);
        let (content, end) = streams.rest(stream);
        assert_eq!((content, end), (over_1.body, End::Ended), "{coding}");
    }
}

/// Contents come in a coding as they come without: appends, creations, batches, commands.
#[test]
fn a_content_may_come_compressed() {
    let site = Site::start();
    let kind = format!("Content-Type: {JSON}\r\n");
    let batch: Vec<_> = (0..100)
        .map(|n| format!("{{\"channel\":\"batch\",\"data\":{n}}}"))
        .collect();
    let batch = format!("[{}]", batch.join(","));
    let welcome = get(&site, "/connect", "Accept: application/json\r\n");
    let welcome = welcome.text();
    let text = |name: &str| {
        welcome
            .split_once(&format!("\"{name}\":\""))
            .unwrap()
            .1
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    let session = format!("/connect/{}", text("session"));
    let secret = format!("Everwire-Secret: {}\r\n", text("secret"));
    let all = entries();
    for (n, (coding, encode)) in [
        ("gzip", gzip as fn(&[u8]) -> Vec<u8>),
        ("x-gzip", gzip),
        ("GZIP", gzip),
        ("br", brotli),
        ("identity", |content| content.to_vec()),
    ]
    .into_iter()
    .enumerate()
    {
        let coded = format!("{kind}Content-Encoding: {coding}\r\n");
        for (method, status) in [("POST", 204), ("PUT", 201)] {
            let name = format!("/channels/{method}{n}");
            let answer = send(&site, method, &name, &coded, &encode(all.as_bytes()));
            assert_eq!(
                answer.status,
                status,
                "{method} in {coding}: {}",
                answer.text()
            );
            assert_eq!(get(&site, &name, "").text(), all, "{method} in {coding}");
        }
        let answer = send(&site, "POST", "/publish", &coded, &encode(batch.as_bytes()));
        assert_eq!(answer.status, 200, "a batch in {coding}: {}", answer.text());
        let command =
            format!("[{{\"op\":\"publish\",\"channel\":\"command\",\"data\":\"{coding}\"}}]");
        let answer = send(
            &site,
            "POST",
            &session,
            &format!("{coded}{secret}"),
            &encode(command.as_bytes()),
        );
        assert_eq!(
            answer.status,
            200,
            "a command in {coding}: {}",
            answer.text()
        );
    }
    let text = get(&site, "/channels/command", "");
    assert_eq!(
        text.text(),
        "[\"gzip\",\"x-gzip\",\"GZIP\",\"br\",\"identity\"]"
    );
    // Members one after the other are one content (RFC 1952, section 2.2).
    let members = [gzip(b"[1,"), gzip(b"2]")].concat();
    let answer = send(
        &site,
        "POST",
        "/channels/members",
        &format!("{kind}Content-Encoding: gzip\r\n"),
        &members,
    );
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(get(&site, "/channels/members", "").text(), "[1,2]");
    // Nothing is nothing in any coding.
    let closed = send(
        &site,
        "POST",
        "/channels/members",
        "Stream-Closed: true\r\nContent-Encoding: gzip\r\n",
        b"",
    );
    assert_eq!(closed.status, 204, "{}", closed.text());
    let of = |name: &str| {
        site.metric(&format!(
            "everwire_coded_{name}_total{{coding=\"br\",direction=\"received\"}}"
        ))
    };
    assert_eq!(of("contents"), 4);
    assert!(of("bytes") < of("plain_bytes") / 5);
}

/// RFC 9110, sections 12.5.3 and 15.5.16.
#[test]
fn what_cannot_be_unpacked_is_refused_and_nothing_is_appended() {
    let site = Site::start();
    let content = entries();
    let whole = gzip(content.as_bytes());
    let pressed = brotli(content.as_bytes());
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0xff;
    for (what, coding, content, status) in [
        ("no known coding", "zstd", &whole[..], 415),
        ("zlib", "deflate", &whole, 415),
        ("two, one over the other", "gzip, br", &whole, 415),
        ("gzip that is none", "gzip", b"hello", 400),
        ("half of gzip", "gzip", &whole[..whole.len() / 2], 400),
        ("all but its end", "gzip", &whole[..whole.len() - 1], 400),
        ("damaged gzip", "gzip", &damaged, 400),
        (
            "something after gzip",
            "gzip",
            &[&whole[..], b"x"].concat(),
            400,
        ),
        ("brotli that is none", "br", b"hello, hello", 400),
        ("half of brotli", "br", &pressed[..pressed.len() / 2], 400),
        (
            "something after brotli",
            "br",
            &[&pressed[..], b"x"].concat(),
            400,
        ),
        ("gzip for brotli", "br", &whole, 400),
    ] {
        let fields = format!("Content-Type: {JSON}\r\nContent-Encoding: {coding}\r\n");
        let answer = send(&site, "POST", "/channels/c", &fields, content);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let taken = (status == 415).then_some("gzip, br");
        assert_eq!(answer.field("accept-encoding"), taken, "{what}");
    }
    assert_eq!(
        get(&site, "/channels/c", "").status,
        404,
        "nothing was appended"
    );
    let refused = |name| site.metric(&format!("everwire_problems_total{{type=\"{name}\"}}"));
    assert_eq!(
        (refused("unsupported-encoding"), refused("bad-content")),
        (3, 9)
    );
}

/// What comes of a content counts, not what was sent; and it counts before it is there.
#[test]
fn a_content_is_as_large_as_what_comes_of_it() {
    let site = Site::with(|config| config.limits.content_bytes_max = 100_000);
    let fields =
        |coding: &str| format!("Content-Type: text/plain\r\nContent-Encoding: {coding}\r\n");
    for (coding, encode) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("br", brotli)] {
        for (bytes, status) in [(100_000, 204), (100_001, 413), (10_000_000, 413)] {
            let answer = send(
                &site,
                "POST",
                "/channels/c",
                &fields(coding),
                &encode(&vec![b'x'; bytes]),
            );
            assert_eq!(
                answer.status,
                status,
                "{bytes} in {coding}: {}",
                answer.text()
            );
        }
    }
    assert_eq!(
        site.metric("everwire_limits_met_total{limit=\"content_bytes_max\"}"),
        4
    );
    let site = Site::with(|config| {
        config.dev = false;
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        config.limits.in_flight_bytes_per_caller_max = 2_000_000;
    });
    for (coding, encode) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("br", brotli)] {
        for (bytes, status) in [(100_000, 204), (3_000_000, 429)] {
            let answer = send(
                &site,
                "POST",
                "/channels/c",
                &fields(coding),
                &encode(&vec![b'x'; bytes]),
            );
            assert_eq!(
                answer.status,
                status,
                "{bytes} in {coding}: {}",
                answer.text()
            );
        }
    }
    let met = "everwire_limits_met_total{limit=\"in_flight_bytes_per_caller_max\"}";
    assert_eq!(site.metric(met), 2);
    site.until("all is given back", |site| {
        site.metric("everwire_in_flight_bytes") == 0
    });
}

/// What is worth doing is worth no waiting: the processor is for lines.
#[test]
fn while_two_pages_are_compressed_others_come_as_they_are() {
    let site = Site::start();
    let entry = format!(
        "{{\"text\":\"{}\"}}",
        "hello, everybody in here; ".repeat(80)
    );
    let batch = format!("[{}]", vec![entry; 500].join(","));
    site.publish("c", JSON, &batch);
    for (fields, others_allowed) in [
        ("Accept-Encoding: gzip\r\n", true),
        ("Accept-Encoding: gzip, identity;q=0\r\n", false),
    ] {
        let mut peers: Vec<_> = (0..30).map(|_| site.connect()).collect();
        for peer in &mut peers {
            peer.send(format!(
                "GET /channels/c HTTP/1.1\r\nHost: x\r\n{fields}\r\n"
            ));
        }
        let (mut coded, mut uncoded) = (0, 0);
        for peer in &mut peers {
            let page = peer.response();
            assert_eq!(plain(&page), batch.as_bytes());
            let tag = page.field("etag").unwrap();
            match page.field("content-encoding") {
                Some("gzip") => {
                    assert!(tag.ends_with(";gzip\""), "{tag}");
                    coded += 1;
                }
                _ => {
                    assert!(!tag.contains(';'), "{tag}");
                    uncoded += 1;
                }
            }
        }
        assert!(coded >= 1, "some are compressed");
        assert_eq!(
            uncoded > 0,
            others_allowed,
            "{fields}: {uncoded} came as they are"
        );
    }
    assert!(site.metric("everwire_limits_met_total{limit=\"coders_max\"}") > 0);
}

#[test]
fn switched_off_nothing_is_compressed_and_nothing_unpacked() {
    let site = Site::with(|config| config.http.compression = false);
    site.publish("c", JSON, entries());
    let page = get(&site, "/channels/c", "Accept-Encoding: gzip, br\r\n");
    assert_eq!(page.field("content-encoding"), None);
    assert_eq!(page.text(), entries());
    assert!(
        !page.field("vary").unwrap().contains("accept-encoding"),
        "{}",
        page.head
    );
    let fields = format!("Content-Type: {JSON}\r\nContent-Encoding: gzip\r\n");
    let answer = send(&site, "POST", "/channels/c", &fields, &gzip(b"1"));
    assert_eq!(
        (answer.status, answer.field("accept-encoding")),
        (415, Some("identity"))
    );
}
