//! Streams of HTTP/2 that do not end in order, and what becomes of the connection that they share.

mod common;

use common::{End, Site, Streams};

const ASKS: [(&str, &str); 3] = [
    (":scheme", "http"),
    (":authority", "x"),
    (":path", "/healthz"),
];

const MET: &str = "everwire_limits_met_total{limit=\"stream_errors_max\"}";

/// What the library resets a stream for: its content is not as long as it says (RFC 9113, section 8.1.1).
const MALFORMED: [(&str, &str); 5] = [
    (":method", "POST"),
    ASKS[0],
    ASKS[1],
    ASKS[2],
    ("content-length", "5"),
];

fn is_served(streams: &mut Streams) -> bool {
    let stream = streams.request(&[&[(":method", "GET")], &ASKS[..]].concat(), 0x5);
    streams.is_ok(stream)
}

/// That errors may go on for weeks where they are rare is for the clock of `front::stream_errors`.
#[test]
fn a_flood_of_streams_with_errors_ends_the_connection() {
    let site = Site::start();
    let mut streams = Streams::connect(site.address);
    let mut others = Streams::connect(site.address);
    for n in 0..256 {
        let stream = streams.request(&MALFORMED, 0x5);
        assert_eq!(streams.rest(stream).1, End::Cut, "{n}");
    }
    assert_eq!(site.metric_or_0(MET), 0);
    // However long it took until here, so many more are too many.
    streams.until_ended_by(512, &MALFORMED, 0x5);
    site.until("it is counted", |site| site.metric_or_0(MET) == 1);
    site.until("it is gone", |site| {
        site.metric("everwire_connections") == 2
    });
    assert!(is_served(&mut others), "and nobody else is");
}

/// A client that has no more interest makes no error, and a proxy has many such clients.
#[test]
fn a_connection_whose_client_resets_its_streams_lives() {
    let site = Site::start();
    site.say("c", "hello");
    let mut streams = Streams::connect(site.address);
    for n in 0..1_500 {
        let stream = match n % 3 {
            0 => streams.get("/channels/c", &[("accept", "application/x-ndjson")]),
            1 => streams.get("/channels/c", &[]),
            _ => streams.websocket("/channels/c", &[]),
        };
        assert!(streams.is_ok(stream), "{n}");
        streams.reset(stream);
    }
    assert!(is_served(&mut streams));
    site.until("their lines have ended", |site| {
        site.metric("everwire_lines") == 0
    });
    assert_eq!(site.metric_or_0(MET), 0);
}

/// The library keeps a stream counted that was answered before its content had come, if its client takes none of the
/// answer until the connection ends. With debug assertions it panics then, for a count that nobody needs any more
/// (h2 0.4.20, `Counts::drop`). It must harm nobody, and when a later version does not, the last line here tells.
#[test]
fn a_panic_in_the_library_ends_its_connection_and_gives_all_back() {
    let site = Site::start();
    let mut others = Streams::connect(site.address);
    let line = others.get("/channels/c", &[("accept", "application/x-ndjson")]);
    assert!(others.is_ok(line));
    for _ in 0..3 {
        let mut streams = Streams::that_take(site.address, 10);
        let fields = [(":method", "POST"), ASKS[0], ASKS[1], (":path", "/nowhere")];
        let early = streams.request(&fields, 0x4);
        assert_eq!(streams.status(early), 404);
        let line = streams.get("/channels/c", &[("accept", "application/x-ndjson")]);
        assert!(streams.is_ok(line));
    }
    // The one that asks, and the others'.
    site.until("they are gone", |site| {
        site.metric("everwire_connections") == 2 && site.metric("everwire_lines") == 1
    });
    assert_eq!(site.metric("everwire_in_flight_bytes"), 0);
    site.say("c", "goes on");
    let mut heard = Vec::new();
    while !heard.ends_with(b"\"data\":\"goes on\"}\n") {
        heard.extend(others.take(line, 1));
    }
    let panics = if cfg!(debug_assertions) { 3 } else { 0 };
    site.until("each is counted", |site| {
        site.metric("everwire_tasks_panicked_total") == panics
    });
}
