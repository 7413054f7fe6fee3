//! Preconditions (RFC 9110, section 13): what is to hold for one state of a channel is not done in another.

mod common;

use std::thread;

use common::{Response, Site, client_frame};
use everwire_server::config::{Action, Create};

const JSON: &str = "Content-Type: application/json\r\n";

fn ask(site: &Site, method: &str, name: &str, fields: &str, body: &str) -> Response {
    let mut peer = site.connect();
    peer.send(format!(
        "{method} /channels/{name} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    if method == "HEAD" {
        let head = peer.head();
        let status = head[9..12].parse().unwrap();
        return Response {
            status,
            head,
            body: Vec::new(),
        };
    }
    peer.response()
}

/// A channel that is there with one entry, and its tag.
fn there(site: &Site, name: &str) -> String {
    ask(site, "PUT", name, JSON, "[1]");
    let head = ask(site, "HEAD", name, "", "");
    head.field("etag").expect("a channel has a tag").to_owned()
}

#[test]
fn nothing_is_done_whose_condition_does_not_hold() {
    let site = Site::start();
    let none = "\"nope\"";
    for (n, (method, fields, on_what_is, on_what_is_not)) in [
        // {} is the tag of what is there; None: as without a condition.
        ("PUT", "If-None-Match: *", Some(412), None),
        ("PUT", "If-Match: *", None, Some(412)),
        ("PUT", "If-Match: {}", None, Some(412)),
        ("PUT", "If-Match: \"nope\"", Some(412), Some(412)),
        ("PUT", "If-None-Match: {}", Some(412), None),
        ("POST", "If-Match: {}", None, Some(412)),
        ("POST", "If-Match: \"nope\", {}", None, Some(412)),
        (
            "POST",
            "If-Match: \"nope\"\r\nIf-Match: {}",
            None,
            Some(412),
        ),
        ("POST", "If-Match: W/{}", Some(412), Some(412)),
        ("POST", "If-Match: \"nope\"", Some(412), Some(412)),
        ("POST", "If-Match: *", None, Some(412)),
        ("POST", "If-None-Match: *", Some(412), None),
        ("POST", "If-None-Match: {}", Some(412), None),
        ("POST", "If-None-Match: \"nope\"", None, None),
        (
            "POST",
            "If-Match: {}\r\nIf-None-Match: {}",
            Some(412),
            Some(412),
        ),
        ("DELETE", "If-Match: {}", None, None),
        ("DELETE", "If-Match: \"nope\"", Some(412), None),
        ("DELETE", "If-Match: *", None, None),
        ("DELETE", "If-None-Match: *", Some(412), None),
        ("DELETE", "If-None-Match: {}", Some(412), None),
        ("GET", "If-Match: {}", None, None),
        ("GET", "If-Match: \"nope\"", Some(412), None),
        ("GET", "If-None-Match: *", Some(304), None),
        ("GET", "If-None-Match: \"nope\"", None, None),
        (
            "GET",
            "If-Match: \"nope\"\r\nIf-None-Match: *",
            Some(412),
            None,
        ),
        ("HEAD", "If-Match: {}", None, None),
        ("HEAD", "If-Match: \"nope\"", Some(412), None),
        ("HEAD", "If-None-Match: {}", Some(304), None),
        ("HEAD", "If-None-Match: W/{}", Some(304), None),
        // Nothing here has a date of modification, and there are no ranges.
        (
            "GET",
            "If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT",
            None,
            None,
        ),
        ("GET", "Range: bytes=0-1\r\nIf-Range: {}", None, None),
        (
            "POST",
            "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
            None,
            None,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let plain = |name: &str| {
            let body = if matches!(method, "PUT" | "POST") {
                "[2]"
            } else {
                ""
            };
            ask(
                &site,
                method,
                name,
                if body.is_empty() { "" } else { JSON },
                body,
            )
            .status
        };
        for (exists, expected) in [(true, on_what_is), (false, on_what_is_not)] {
            let (name, twin) = (format!("c{n}{exists}"), format!("twin{n}{exists}"));
            let tag = match exists {
                true => {
                    there(&site, &twin);
                    there(&site, &name)
                }
                false => none.to_owned(),
            };
            let expected = expected.unwrap_or_else(|| plain(&twin));
            let before = ask(&site, "GET", &name, "", "");
            let body = if matches!(method, "PUT" | "POST") {
                "[2]"
            } else {
                ""
            };
            let kind = if body.is_empty() { "" } else { JSON };
            let fields = format!("{kind}{}\r\n", fields.replace("{}", &tag));
            let answer = ask(&site, method, &name, &fields, body);
            assert_eq!(
                answer.status, expected,
                "{method} {fields} on {name}: {}",
                answer.head
            );
            if answer.status == 412 {
                let after = ask(&site, "GET", &name, "", "");
                assert_eq!(
                    (after.status, after.body),
                    (before.status, before.body),
                    "{method} {fields}: done all the same"
                );
                assert_eq!(answer.field("etag").is_some(), exists, "{}", answer.head);
                if exists && method != "HEAD" {
                    assert!(
                        answer.text().contains("precondition-failed"),
                        "{}",
                        answer.text()
                    );
                    assert_eq!(answer.field("etag"), Some(&*tag), "the tag that it has now");
                }
            }
        }
    }
}

/// A list of tags that cannot be read holds for nothing: whoever is refused has not been half understood.
#[test]
fn a_condition_that_cannot_be_read_is_refused_and_nothing_is_done() {
    let site = Site::start();
    for (n, (method, field, value)) in [
        ("PUT", "If-None-Match", "\"a\" \"b\""),
        ("POST", "If-Match", "{} \"b\""),
        ("POST", "If-Match", "{}, \"b"),
        ("POST", "If-None-Match", "\"a"),
        ("DELETE", "If-Match", "{} \"b\""),
        ("GET", "If-None-Match", "\"a\" {}"),
        ("GET", "If-Match", "w/{}"),
        ("HEAD", "If-None-Match", "\""),
        ("GET", "Accept: text/event-stream\r\nIf-Match", "{} {}"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("c{n}");
        let tag = there(&site, &name);
        let body = if matches!(method, "PUT" | "POST") {
            "[2]"
        } else {
            ""
        };
        let fields = format!("{JSON}{field}: {}\r\n", value.replace("{}", &tag));
        let answer = ask(&site, method, &name, &fields, body);
        assert_eq!(answer.status, 400, "{method} {fields}: {}", answer.head);
        if method != "HEAD" {
            let said = answer.text();
            assert!(said.contains("bad-request"), "{said}");
            assert!(said.contains("no list of entity tags"), "{said}");
        }
        let after = ask(&site, "GET", &name, "", "");
        assert_eq!(
            (after.status, after.text()),
            (200, "[1]"),
            "{method} {fields}"
        );
    }
}

/// The tag that one reads with, and the offset that one is answered with, are what one appends by.
#[test]
fn what_was_read_is_what_is_appended_to() {
    let site = Site::start();
    there(&site, "c");
    let page = ask(&site, "GET", "c", "", "");
    let tag = page.field("etag").unwrap();
    let first = ask(
        &site,
        "POST",
        "c",
        &format!("{JSON}If-Match: {tag}\r\n"),
        "2",
    );
    assert_eq!(first.status, 204, "{}", first.head);
    let again = ask(
        &site,
        "POST",
        "c",
        &format!("{JSON}If-Match: {tag}\r\n"),
        "3",
    );
    assert_eq!(again.status, 412, "something came since");
    let next = first.field("stream-next-offset").unwrap();
    let second = ask(
        &site,
        "POST",
        "c",
        &format!("{JSON}If-Match: \"{next}\"\r\n"),
        "4",
    );
    assert_eq!(second.status, 204);
    // Who won and asks again, its answer lost, is told that it won.
    let keyed = format!(
        "{JSON}If-Match: \"{}\"\r\nIdempotency-Key: k\r\n",
        second.field("stream-next-offset").unwrap()
    );
    for _ in 0..2 {
        assert_eq!(ask(&site, "POST", "c", &keyed, "5").status, 204);
    }
    assert_eq!(ask(&site, "GET", "c", "", "").text(), "[1,2,4,5]");
    // A channel that was made again is another, though it is as long.
    let tag = ask(&site, "HEAD", "c", "", "")
        .field("etag")
        .unwrap()
        .to_owned();
    ask(&site, "DELETE", "c", "", "");
    ask(&site, "PUT", "c", JSON, "[1,2,4,5]");
    assert_eq!(
        ask(
            &site,
            "POST",
            "c",
            &format!("{JSON}If-Match: {tag}\r\n"),
            "6"
        )
        .status,
        412
    );
    // A channel that is closed has another tag than before.
    let tag = ask(&site, "HEAD", "c", "", "")
        .field("etag")
        .unwrap()
        .to_owned();
    ask(&site, "POST", "c", "Stream-Closed: true\r\n", "");
    assert_eq!(
        ask(&site, "DELETE", "c", &format!("If-Match: {tag}\r\n"), "").status,
        412
    );
    let closed = ask(&site, "HEAD", "c", "", "")
        .field("etag")
        .unwrap()
        .to_owned();
    assert_eq!(
        ask(&site, "DELETE", "c", &format!("If-Match: {closed}\r\n"), "").status,
        204
    );
}

#[test]
fn a_batch_and_a_session_append_to_the_tail_that_they_name() {
    let site = Site::start();
    let tag = there(&site, "c");
    let tail = tag.trim_matches('"');
    let batch = |items: String| {
        let answer = site.ask(&format!(
            "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{items}",
            items.len()
        ));
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_str::<serde_json::Value>(answer.text()).unwrap()["results"].clone()
    };
    let results = batch(format!(
        r#"[{{"channel":"c","data":2,"tail":"{tail}"}},{{"channel":"c","data":3,"tail":"{tail}"}},{{"channel":"none","data":4,"tail":"{tail}"}},{{"channel":"c","data":5,"tail":"x"}}]"#
    ));
    assert!(results[0]["offset"].is_string(), "{results}");
    assert_eq!(results[1]["error"]["status"], 412, "{results}");
    assert_eq!(results[1]["error"]["offset"], results[0]["offset"]);
    assert_eq!(results[2]["error"]["status"], 412, "{results}");
    assert_eq!(results[3]["error"]["status"], 400, "{results}");
    let mut session = site.connect();
    session.open_websocket("c", "", "Sec-WebSocket-Protocol: everwire.v1\r\n");
    session.text(); // welcome
    let tail = results[0]["offset"].as_str().unwrap();
    for (id, expected) in [
        (1, "\"ok\":{\"offset\""),
        (2, "\"type\":\"precondition-failed\""),
    ] {
        let command = format!(r#"{{"id":{id},"op":"publish","data":6,"tail":"{tail}"}}"#);
        session.send(client_frame(0x1, command.as_bytes()));
        let mut reply = session.text();
        while !reply.starts_with("{\"re\"") {
            reply = session.text();
        }
        assert!(reply.contains(expected), "{reply}");
    }
    assert_eq!(ask(&site, "GET", "c", "", "").text(), "[1,2,6]");
    assert_eq!(ask(&site, "GET", "none", "", "").status, 404);
}

/// N writers read the same tail, and one of them appends: again and again, on several threads.
#[test]
fn of_writers_that_name_the_same_tail_exactly_one_appends() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 20;
    let site = Site::with(|config| {
        config.threads = 4;
        config.dev = false;
        config.channels.anonymous = vec![Action::Read, Action::Publish, Action::Manage];
        config.limits.appends_per_second_max = 1_000_000;
        config.channels.create = Create::OnDemand;
    });
    let race = |fields: &str| {
        let won: usize = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|n| {
                    let site = &site;
                    scope.spawn(move || {
                        let answer = ask(
                            site,
                            "POST",
                            "race",
                            &format!("{JSON}{fields}"),
                            &n.to_string(),
                        );
                        assert!(matches!(answer.status, 204 | 412), "{}", answer.head);
                        usize::from(answer.status == 204)
                    })
                })
                .collect();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .sum()
        });
        assert_eq!(won, 1, "{fields}");
    };
    race("If-None-Match: *\r\n");
    for round in 1..ROUNDS {
        let head = ask(&site, "HEAD", "race", "", "");
        race(&format!("If-Match: {}\r\n", head.field("etag").unwrap()));
        let page = ask(&site, "GET", "race", "", "");
        assert_eq!(page.text().matches(',').count(), round, "{}", page.text());
    }
    // And of those who make a channel, one makes it.
    let made: usize = thread::scope(|scope| {
        let makers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let site = &site;
                scope.spawn(move || {
                    let answer = ask(
                        site,
                        "PUT",
                        "made",
                        &format!("{JSON}If-None-Match: *\r\n"),
                        "",
                    );
                    assert!(matches!(answer.status, 201 | 412), "{}", answer.head);
                    usize::from(answer.status == 201)
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).sum()
    });
    assert_eq!(made, 1);
}
