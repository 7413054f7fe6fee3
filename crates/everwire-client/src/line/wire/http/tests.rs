//! The wires over HTTP, response by response.

use everwire_channel::PublisherId;
use http::header::AUTHORIZATION;

use super::*;

const WELCOME: &str = r#"{"ev":"welcome","session":"s1","secret":"hush","heartbeat_ms":20000}"#;

/// A wire, and what came of it, in short.
struct Wire {
    http: HttpWire,
    told: Vec<String>,
}

impl Wire {
    fn open(wire: LineWire) -> Self {
        let opening = Opening {
            url: "http://h/live".parse().unwrap(),
            publisher: PublisherId::new("ä b").unwrap(),
            token: Some("t0".into()),
            poll: Duration::from_secs(25),
            message_bytes_max: 1000,
        };
        let (http, request) = HttpWire::open(wire, &opening);
        assert_eq!(request.uri(), "/live/connect?publisher=%C3%A4%20b");
        assert_eq!(request.headers()[ACCEPT], media_type(wire));
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer t0");
        let told = Vec::new();
        Self { http, told }
    }

    fn take(&mut self, happened: Happened) -> &mut Self {
        let told = self.http.handle(happened);
        self.note(told);
        self
    }

    fn send(&mut self, commands: &[&str]) -> &mut Self {
        let commands = commands.iter().map(|&command| command.to_owned()).collect();
        let told = self.http.send(commands);
        self.note(told);
        self
    }

    fn head(&mut self, lane: Lane, status: u16, media_type: &'static str) -> &mut Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.take(Happened::Head {
            lane,
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            at: SystemTime::UNIX_EPOCH,
        })
    }

    /// A whole response.
    fn answer(&mut self, lane: Lane, status: u16, body: &str) -> &mut Self {
        self.head(lane, status, JSON).piece(lane, body);
        self.take(Happened::End { lane })
    }

    fn piece(&mut self, lane: Lane, text: &str) -> &mut Self {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.take(Happened::Piece { lane, bytes })
    }

    fn lost(&mut self, lane: Lane) -> &mut Self {
        let error = NoResponse::Lost("reset".into());
        self.take(Happened::Failed { lane, error })
    }

    fn note(&mut self, told: Vec<Told>) {
        self.told.extend(told.into_iter().map(|told| match told {
            Told::Message(Message::Welcome(_)) => "welcome".into(),
            Told::Message(Message::Reply(reply)) => format!("reply {}", reply.re),
            Told::Message(Message::Entry { channel, .. }) => format!("entry of {channel}"),
            Told::Message(message) => format!("{message:?}"),
            Told::Heard => "heard".into(),
            Told::Text(text) => text,
            Told::Ended(ending) => format!("{ending:?}"),
            Told::Request(_, request) => {
                let (method, target) = (request.method(), request.uri());
                assert_eq!(request.headers()[SECRET], "hush", "{method} {target}");
                let body = String::from_utf8_lossy(request.body());
                let wait = request.headers().get(PREFER);
                let wait = wait.map_or("", |wait| wait.to_str().unwrap());
                format!("{method} {target} {wait}{body}")
            }
        }));
    }

    /// Checks what was told since the last check.
    fn check(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(std::mem::take(&mut self.told), expected);
        self
    }
}

const ENTRY: &str = r#"{"ev":"entry","channel":"a","offset":"a1","data":1}"#;

fn page(last: u64, message: &str) -> String {
    format!("{{\"last\":{last},\"messages\":[{message}]}}")
}

#[test]
fn polls_follow_each_other_and_acknowledge_what_came() {
    let mut wire = Wire::open(LineWire::LongPoll);
    wire.answer(Lane::Down, 200, &page(1, WELCOME));
    wire.check(&["heard", "welcome", "GET /live/connect/s1?ack=1 wait=20"]);
    wire.answer(Lane::Down, 204, "");
    wire.check(&["heard", "GET /live/connect/s1?ack=1 wait=20"]);
    wire.answer(Lane::Down, 200, &page(2, ENTRY));
    wire.check(&["heard", "entry of a", "GET /live/connect/s1?ack=2 wait=20"]);
}

#[test]
fn an_answer_that_comes_again_is_told_once() {
    let mut wire = Wire::open(LineWire::LongPoll);
    wire.answer(Lane::Down, 200, &page(1, WELCOME));
    wire.answer(Lane::Down, 200, &page(2, ENTRY)).told.clear();
    wire.answer(Lane::Down, 200, &page(2, ENTRY));
    wire.check(&["heard", "GET /live/connect/s1?ack=2 wait=20"]);
}

#[test]
fn a_poll_that_breaks_is_asked_again_once() {
    for broken in [
        Happened::Failed {
            lane: Lane::Down,
            error: NoResponse::Lost("reset".into()),
        },
        Happened::Broken {
            lane: Lane::Down,
            error: "reset".into(),
        },
    ] {
        let mut wire = Wire::open(LineWire::LongPoll);
        wire.answer(Lane::Down, 200, &page(1, WELCOME)).told.clear();
        for _ in 0..2 {
            if let Happened::Broken { .. } = broken {
                wire.head(Lane::Down, 200, JSON)
                    .piece(Lane::Down, "{\"last\":2");
            }
            wire.take(broken.clone());
            wire.check(&["GET /live/connect/s1?ack=1 wait=20"]);
            wire.answer(Lane::Down, 204, "").told.clear();
        }
        wire.lost(Lane::Down).told.clear();
        wire.lost(Lane::Down).check(&[r#"Cut("reset")"#]);
    }
}

#[test]
fn commands_wait_for_the_welcome_and_then_for_the_replies_to_those_before() {
    for wire in [LineWire::EventStream, LineWire::Ndjson] {
        let mut wire = Wire::open(wire);
        wire.send(&["{\"id\":1}", "{\"id\":2}"]).check(&[]);
        let down = match wire.http.wire {
            LineWire::Ndjson => format!("{WELCOME}\n"),
            _ => format!(": hello\r\ndata: {WELCOME}\r\n\r\n"),
        };
        let media_type = media_type(wire.http.wire);
        wire.head(Lane::Down, 200, media_type)
            .piece(Lane::Down, &down);
        wire.check(&[
            "heard",
            "welcome",
            "POST /live/connect/s1 [{\"id\":1},{\"id\":2}]",
        ]);
        wire.send(&["{\"id\":3}"]).check(&[]);
        wire.answer(Lane::Up, 200, r#"[{"re":1,"ok":{}},{"re":2,"ok":{}}]"#);
        wire.check(&["reply 1", "reply 2", "POST /live/connect/s1 [{\"id\":3}]"]);
        assert!(wire.http.farewell().is_none(), "it ends with its stream");
    }
}

#[test]
fn a_request_holds_few_commands_and_few_bytes() {
    let mut wire = Wire::open(LineWire::LongPoll);
    wire.answer(Lane::Down, 200, &page(1, WELCOME)).told.clear();
    let large = "x".repeat(POST_BYTES_MAX);
    let commands: Vec<_> = std::iter::repeat_n("c", 60).chain([&*large, "d"]).collect();
    wire.send(&commands);
    let mut sizes = Vec::new();
    while let Some(request) = wire.told.pop() {
        let body = request.split_once('[').unwrap().1.len();
        sizes.push((request.matches(',').count() + 1, body));
        wire.answer(Lane::Up, 200, "[]");
    }
    assert_eq!(
        sizes,
        [(50, 100), (10, 20), (1, POST_BYTES_MAX + 1), (1, 2)]
    );
}

#[test]
fn a_session_by_polls_is_ended_by_a_request() {
    let mut wire = Wire::open(LineWire::LongPoll);
    assert!(wire.http.farewell().is_none(), "there is no session yet");
    wire.answer(Lane::Down, 200, &page(1, WELCOME));
    let farewell = wire.http.farewell().unwrap();
    assert_eq!(farewell.method(), Method::DELETE);
    assert_eq!(farewell.uri(), "/live/connect/s1");
    assert_eq!(farewell.headers()[SECRET], "hush");
}

#[test]
fn a_response_that_is_no_session_ends_the_wire_with_its_reason() {
    let nameless = r#"{"ev":"welcome","session":"../x"}"#;
    for (status, media_type, body, expected) in [
        (200, "text/html", "", "Foreign(\"something between spoke"),
        (200, JSON, "<h1>", "Foreign(\"expected value"),
        (
            200,
            JSON,
            "{\"last\":1,\"messages\":[]}",
            "Foreign(\"there was no welcome",
        ),
        (
            200,
            JSON,
            &page(1, nameless),
            "Foreign(\"a welcome names no session",
        ),
        (200, JSON, &"x".repeat(1001), "TooLarge { bytes_max: 1000 }"),
        (404, "text/html", "", "Refused"),
        (503, "application/problem+json", "{}", "Refused"),
    ] {
        let mut wire = Wire::open(LineWire::LongPoll);
        wire.head(Lane::Down, status, media_type);
        if wire.told.is_empty() {
            wire.piece(Lane::Down, body);
        }
        if wire.told.is_empty() {
            wire.take(Happened::End { lane: Lane::Down });
        }
        let ended = wire.told.last().cloned().unwrap_or_default();
        assert!(
            ended.starts_with(expected),
            "{status} {body:?} gave {ended}"
        );
    }
}

#[test]
fn what_happens_to_commands_ends_the_wire_where_it_must() {
    for (status, expected) in [(404, "SessionGone"), (413, "Oversized"), (403, "Refused")] {
        let mut wire = Wire::open(LineWire::LongPoll);
        wire.answer(Lane::Down, 200, &page(1, WELCOME))
            .send(&["c"])
            .told
            .clear();
        wire.answer(Lane::Up, status, "{}");
        assert!(
            wire.told[0].starts_with(expected),
            "{status} gave {:?}",
            wire.told
        );
    }
    let mut wire = Wire::open(LineWire::LongPoll);
    wire.answer(Lane::Down, 200, &page(1, WELCOME))
        .send(&["c"])
        .told
        .clear();
    wire.lost(Lane::Up).check(&[r#"Cut("reset")"#]);
}
