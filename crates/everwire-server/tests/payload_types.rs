//! Media types: the first that is stated is the channel's, what clients name unasked states nothing, and while nobody
//! has stated any, each entry keeps the kind that it came with.

mod common;

use common::{Session, Site, client_frame, over_every_wire, subscribe};
use serde_json::{Value, json};

const FETCH: &str = "text/plain;charset=UTF-8";

fn post(site: &Site, name: &str, content_type: &str, body: &str) -> u16 {
    let field = match content_type {
        "" => String::new(),
        stated => format!("Content-Type: {stated}\r\n"),
    };
    let length = body.len();
    site.ask(&format!(
        "POST /channels/{name} HTTP/1.1\r\nHost: x\r\n{field}Content-Length: {length}\r\n\r\n{body}"
    ))
    .status
}

fn put(site: &Site, name: &str, content_type: &str) -> u16 {
    let field = match content_type {
        "" => String::new(),
        stated => format!("Content-Type: {stated}\r\n"),
    };
    site.ask(&format!(
        "PUT /channels/{name} HTTP/1.1\r\nHost: x\r\n{field}\r\n"
    ))
    .status
}

/// The type and the content of a channel's page.
fn page(site: &Site, name: &str) -> (String, String) {
    let page = site.ask(&format!(
        "GET /channels/{name}?offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n"
    ));
    let content_type = page.field("content-type").unwrap_or_default().to_owned();
    (content_type, page.text().to_owned())
}

/// `fetch`, `XMLHttpRequest`, `sendBeacon` and `curl -d` each name a type for whatever they are given.
#[test]
fn types_that_clients_name_unasked_state_nothing() {
    let site = Site::start();
    for (index, unasked) in [
        "",
        FETCH,
        "text/plain;charset=utf-8",
        "application/x-www-form-urlencoded",
    ]
    .into_iter()
    .enumerate()
    {
        let json = format!("json-{index}");
        assert_eq!(post(&site, &json, "application/json", "{\"a\":1}"), 204);
        assert_eq!(post(&site, &json, unasked, "{\"a\":2}"), 204, "{unasked}");
        let expected = (
            "application/json".to_owned(),
            r#"[{"a":1},{"a":2}]"#.to_owned(),
        );
        assert_eq!(page(&site, &json), expected, "{unasked}");
        // It has to be what the channel holds.
        assert_eq!(post(&site, &json, unasked, "hello"), 400, "{unasked}");
        for (what, body, content_type, content) in [
            ("json", "{\"a\":1}", "application/json", "[{\"a\":1}]"),
            ("text", "hello", "text/plain; charset=utf-8", "hello"),
        ] {
            let open = format!("open-{what}-{index}");
            assert_eq!(post(&site, &open, unasked, body), 204, "{unasked}");
            let expected = (content_type.to_owned(), content.to_owned());
            assert_eq!(page(&site, &open), expected, "{unasked}");
            assert_eq!(post(&site, &open, unasked, "other"), 204, "{unasked}");
        }
    }
    // Who writes it in another way means it.
    for stated in ["text/plain", "text/plain; charset=utf-8"] {
        assert_eq!(post(&site, "json-0", stated, "{\"a\":2}"), 409, "{stated}");
    }
}

#[test]
fn the_type_is_the_one_that_is_stated_first_whoever_came_first() {
    let site = Site::start();
    for (index, (first, stated, page_type)) in [
        // The stated type describes what was there, or each entry describes itself.
        ("17", "application/json", "application/json"),
        ("17", "application/ld+json", "application/ld+json"),
        ("hello", "text/csv", "text/csv"),
        (
            "hello",
            "application/json",
            "application/vnd.everwire.entries",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        for by in ["POST", "PUT"] {
            let name = format!("c-{index}-{by}");
            assert_eq!(post(&site, &name, "", first), 204);
            match by {
                "POST" => assert_eq!(post(&site, &name, stated, "17"), 204, "{name}"),
                _ => assert_eq!(put(&site, &name, stated), 200, "{name}"),
            }
            assert_eq!(page(&site, &name).0, page_type, "{name}");
            assert_eq!(post(&site, &name, "application/pdf", "17"), 409, "{name}");
            assert_eq!(put(&site, &name, "application/pdf"), 409, "{name}");
            assert_eq!(put(&site, &name, ""), 200, "{name}");
        }
    }
}

#[test]
fn a_creation_without_a_type_leaves_it_open() {
    let site = Site::start();
    assert_eq!(put(&site, "a", ""), 201);
    assert_eq!(put(&site, "a", ""), 200);
    assert_eq!(post(&site, "a", "application/json", "1"), 204);
    assert_eq!(post(&site, "a", "text/plain", "1"), 409);
    // Durable Streams has a default.
    let made = site.ask("PUT /v1/stream/b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(made.status, 201);
    assert_eq!(post(&site, "b", "application/json", "1"), 409);
}

#[test]
fn every_subtype_with_the_suffix_json_is_json_and_a_byte_order_mark_before_it_is_skipped() {
    let site = Site::start();
    assert_eq!(
        post(&site, "a", "application/ld+json", "[{\"@id\":\n1},2]"),
        204
    );
    assert_eq!(post(&site, "a", "application/ld+json", "\u{feff}3"), 204);
    assert_eq!(post(&site, "a", "application/ld+json", "no"), 400);
    assert_eq!(
        page(&site, "a"),
        (
            "application/ld+json".to_owned(),
            "[{\"@id\": 1},2,3]".to_owned()
        )
    );
    let mut events = site.stream("a", "?offset=-1", "text/event-stream");
    events.event();
    assert!(events.event().contains("data: {\"@id\": 1}\n"));
    assert_eq!(post(&site, "b", "", "\u{feff}{}"), 204);
    assert_eq!(
        page(&site, "b"),
        ("application/json".to_owned(), "[{}]".to_owned())
    );
}

/// The type of pages with several kinds of entries is the server's own, so nobody's lines are taken for them.
#[test]
fn nobody_states_the_type_of_the_servers_own_pages() {
    let site = Site::start();
    let own = "application/vnd.everwire.entries";
    assert_eq!(post(&site, "a", own, "{\"offset\":\"x\"}"), 400);
    assert_eq!(put(&site, "a", own), 400);
}

/// Two who publish at first, one JSON and one text or bytes, by whatever way, do not make each other fail, and every
/// reader gets each entry as what it is.
#[test]
fn entries_of_several_kinds_stand_side_by_side_in_a_channel_without_a_type() {
    over_every_wire(|site, carrier| {
        let mut session = Session::open(site, carrier, "");
        session.ok(subscribe("a"));
        let mut raw = site.websocket("a", "");
        let mut ndjson = site.stream("a", "?offset=-1", "application/x-ndjson");
        let mut events = site.stream("a", "?offset=-1", "text/event-stream");
        events.event();

        assert_eq!(post(site, "a", "", "{\"n\":1}"), 204);
        assert_eq!(post(site, "a", FETCH, "two"), 204);
        raw.send(client_frame(0x82, b"\x00\xff"));
        let published = [
            (
                json!({"n": 1}),
                (0x81, &b"{\"n\":1}"[..]),
                "json",
                "{\"n\":1}",
            ),
            (json!("two"), (0x81, b"two"), "text", "two"),
            (
                json!({"data64": "AP8="}),
                (0x82, b"\x00\xff"),
                "bytes",
                "AP8=",
            ),
            (json!([4]), (0x81, b"[4]"), "json", "[4]"),
            (json!("five"), (0x81, b"five"), "text", "five"),
        ];
        for (index, (data, message, kind, text)) in published.into_iter().enumerate() {
            if index == 3 {
                session.ok(json!({"op": "publish", "channel": "a", "data": [4]}));
                raw.send(client_frame(0x81, b"five"));
            }
            let (opcode, payload) = raw.raw_frame();
            assert_eq!((opcode, &payload[..]), message, "{index}");
            let line: Value = serde_json::from_str(ndjson.event().trim()).unwrap();
            let got = match &line["data"] {
                Value::Null => json!({"data64": line["data64"]}),
                told => told.clone(),
            };
            assert_eq!(got, data, "{index}");
            let event = events.event();
            assert!(
                event.contains(&format!("\nkind: {kind}\ndata: {text}\n")),
                "{index}: {event}"
            );
            let told = session.event();
            assert_eq!(told["data"], line["data"], "{index}");
            assert_eq!(told["data64"], line["data64"], "{index}");
        }

        let (content_type, lines) = page(site, "a");
        assert_eq!(content_type, "application/vnd.everwire.entries");
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(
            (&lines[0]["data"], &lines[1]["data"], &lines[2]["data64"]),
            (&json!({"n": 1}), &json!("two"), &json!("AP8="))
        );
        let history = session.ok(json!({"op": "history", "channel": "a"}));
        assert_eq!(history["entries"], json!(lines));
    });
}
