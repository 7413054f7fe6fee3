//! Descriptions, from their text to what is said on the line.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use super::*;
use crate::{
    client::Client,
    cores::Cores,
    dialect::Dialect,
    floor,
    interrupt::Interrupt,
    ledger::Ledger,
    payload::Payloads,
    publisher::{Pace, Publishers},
    wire::Wire,
};

const HOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8000);

/// Everything that a description can say.
const WHOLE: &str = r#"
name = "every-thing"
version = ["server", "--version"]

[start]
command = ["server", "--config", "{dir}/a.conf", "--core={core}"]
ready = "listening"
files = { "a.conf" = "listen {port};" }

[create]
method = "PUT"
path = "/c/{channel}"
fields = { X-Kind = "of {channel}" }

[websocket]
path = "/ws/{channel}"
subprotocol = "pubsub.v1"
fields = { Origin = "http://localhost" }
send = ['{"subscribe":"{channel}"}']
subscribed = '"subscribed":"{channel}"'
payload = { before = '{"on":"{channel}","data":"', after = '"}' }
publish = '{"to":"{channel}","data":"{data}"}'

[event_stream]
path = "/es/{channel}"
payload = "anywhere"

[long_poll]
path = "/lp/{channel}?wait"
fields = { Prefer = "wait=60" }
next = { If-None-Match = "Etag" }

[publish]
method = "PATCH"
path = "/p"
fields = { Content-Type = "application/json" }
body = '{"channel":"{channel}","data":"{data}"}'
"#;

/// The least that one must say.
const LEAST: &str = r#"
name = "least"
[running]
address = "127.0.0.1:8000"
pid_file = "server.pid"
[websocket]
path = "/"
publish = "{data}"
"#;

fn parse(text: &str) -> Rival {
    Rival::parse(text, PathBuf::from(".")).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn requests_are_made_as_described() {
    let rival = parse(WHOLE);
    assert_eq!(
        text(rival.create_request(HOST, "a").unwrap()),
        "PUT /c/a HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nX-Kind: of a\r\nContent-Length: 0\r\n\r\n"
    );

    let publish = rival.publish_request(HOST, "a", 20).unwrap();
    assert_eq!(
        text(publish.before),
        "PATCH /p HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: application/json\r\n\
         Content-Length: 45\r\n\r\n{\"channel\":\"a\",\"data\":\""
    );
    assert_eq!(text(publish.after), "\"}");

    for (wire, lines) in [
        (
            Wire::WebSocket,
            &[
                "GET /ws/a HTTP/1.1",
                "Sec-WebSocket-Protocol: pubsub.v1",
                "Origin: http://localhost",
            ][..],
        ),
        (
            Wire::EventStream,
            &["GET /es/a HTTP/1.1", "Accept: text/event-stream"],
        ),
        (
            Wire::LongPoll,
            &["GET /lp/a?wait HTTP/1.1", "Prefer: wait=60"],
        ),
    ] {
        let request = text(rival.subscription(wire, HOST, "a").unwrap().request);
        for line in lines {
            assert!(
                request.lines().any(|found| found == *line),
                "no {line} in {request}"
            );
        }
    }
}

#[test]
fn messages_are_made_as_described() {
    let line = parse(WHOLE)
        .subscription(Wire::WebSocket, HOST, "a")
        .unwrap();
    let mut greeting = Vec::new();
    crate::publish::write_text("{\"subscribe\":\"a\"}", &mut greeting);
    assert_eq!(line.greeting, greeting);
    let (mut ledger, mut awaited) = (Ledger::new(Payloads::new(32), 1), line.confirmations());
    for (message, still_awaited) in [("{\"subscribed\":\"b\"}", 1), ("{\"subscribed\":\"a\"}", 0)] {
        let heard = line.hear(message.as_bytes(), &(0..1), &mut awaited, &mut ledger);
        assert_eq!((heard, awaited), (Ok(None), still_awaited), "{message}");
    }
    let envelope = line.envelope.unwrap();
    assert_eq!(text(envelope.before), "{\"to\":\"a\",\"data\":\"");
    assert_eq!(text(envelope.after), "\"}");
}

#[test]
fn a_poll_goes_on_from_its_last_answer() {
    let line = parse(WHOLE)
        .subscription(Wire::LongPoll, HOST, "a")
        .unwrap();
    let next = line
        .next_poll(b"HTTP/1.1 200 OK\r\nETag: 17\r\n\r\n")
        .unwrap();
    assert_eq!(
        text(next),
        "GET /lp/a?wait HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nPrefer: wait=60\r\n\
         If-None-Match: 17\r\n\r\n"
    );
    assert_eq!(line.next_poll(b"HTTP/1.1 200 OK\r\n\r\n"), None);
}

#[test]
fn what_is_not_described_is_not_there() {
    let (whole, least) = (parse(WHOLE), parse(LEAST));
    for wire in Wire::ALL {
        assert_eq!(whole.speaks(wire), wire != Wire::Ndjson, "{wire:?}");
        assert_eq!(least.speaks(wire), wire == Wire::WebSocket, "{wire:?}");
        assert_eq!(
            least.subscription(wire, HOST, "a").is_some(),
            least.speaks(wire)
        );
    }
    assert!(whole.publishes_over_http() && whole.publishes_over_websocket());
    assert!(!least.publishes_over_http() && least.publishes_over_websocket());
    assert!(least.create_request(HOST, "a").is_none());
}

#[test]
fn the_descriptions_that_come_along_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench");
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let rival = Rival::read(&path).unwrap();
            assert_eq!(path.file_stem().unwrap(), rival.name());
            found += 1;
        }
    }
    assert!(found > 0);
}

#[test]
fn the_example_of_the_guide_is_right() {
    let guide = include_str!("../../../../bench/README.md");
    let (_, example) = guide.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let rival = parse(example);
    assert_eq!(rival.name(), "example");
    assert!(rival.create_request(HOST, "a").is_some());
}

#[test]
fn a_mistake_is_told_with_its_line_and_what_is_expected() {
    for (wrong, instead_of, line, expected) in [
        (
            "name = \"a b\"",
            "name = \"every-thing\"",
            2,
            "expected a name of letters",
        ),
        (
            "nam = \"x\"",
            "name = \"every-thing\"",
            2,
            "unknown field `nam`, expected one of `name`",
        ),
        (
            "version = []",
            "version = [\"server\", \"--version\"]",
            3,
            "expected a program and its arguments",
        ),
        (
            "command = [\"{prot}\"]",
            "command = [\"server\", \"--config\", \"{dir}/a.conf\", \"--core={core}\"]",
            6,
            "nothing is known for `{prot}`; expected `{port}`, `{dir}`, `{core}`",
        ),
        (
            "command = \"server\"",
            "command = [\"server\", \"--config\", \"{dir}/a.conf\", \"--core={core}\"]",
            6,
            "expected a sequence",
        ),
        (
            "files = { \"../a\" = \"\" }",
            "files = { \"a.conf\" = \"listen {port};\" }",
            8,
            "expected the name of a file",
        ),
        (
            "path = \"c\"",
            "path = \"/c/{channel}\"",
            12,
            "expected a request target such as",
        ),
        (
            "fields = { Host = \"x\" }",
            "fields = { X-Kind = \"of {channel}\" }",
            13,
            "`Host` is written by the tool",
        ),
        (
            "fields = { \"a b\" = \"x\" }",
            "fields = { X-Kind = \"of {channel}\" }",
            13,
            "expected an HTTP token",
        ),
        (
            "fields = { a = \"x\\n\" }",
            "fields = { X-Kind = \"of {channel}\" }",
            13,
            "the value of a field on one line",
        ),
        (
            "subprotocol = \"a b\"",
            "subprotocol = \"pubsub.v1\"",
            17,
            "expected an HTTP token",
        ),
        (
            "send = ['{data}']",
            "send = ['{\"subscribe\":\"{channel}\"}']",
            19,
            "nothing is known for `{data}`",
        ),
        (
            "payload = \"some\"",
            "payload = \"anywhere\"",
            26,
            "expected \"whole\", \"anywhere\" or { before = ",
        ),
        (
            "payload = { before = \"x\" }",
            "payload = \"anywhere\"",
            26,
            "missing field `after`",
        ),
        (
            "body = \"\"",
            "body = '{\"channel\":\"{channel}\",\"data\":\"{data}\"}'",
            37,
            "expected `{data}` once",
        ),
        (
            "body = \"{data}{data}\"",
            "body = '{\"channel\":\"{channel}\",\"data\":\"{data}\"}'",
            37,
            "expected `{data}` once",
        ),
    ] {
        assert!(WHOLE.contains(instead_of), "{instead_of}");
        let wrong = WHOLE.replace(instead_of, wrong);
        let error = Rival::parse(&wrong, PathBuf::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(
            error.contains(&format!("at line {line},")),
            "line {line}: {error}"
        );
    }
}

#[test]
fn what_a_description_lacks_is_told() {
    let both = format!("{LEAST}\n[start]\ncommand = [\"x\"]\n");
    for (text, expected) in [
        (
            "name = \"x\"\n[publish]\npath = \"/\"\nbody = \"{data}\"\n",
            "expected a table [start]",
        ),
        (both.as_str(), "expected either [start] or [running]"),
        (
            "name = \"x\"\n[start]\ncommand = [\"x\"]\n",
            "expected a way to publish",
        ),
        ("[start]\ncommand = [\"x\"]\n", "missing field `name`"),
        ("name = ", "line 1"),
    ] {
        let error = Rival::parse(text, PathBuf::new()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// The floor in this process, as a rival that runs already. It sends back what it is sent, so that
/// envelopes come as they went.
#[test]
fn a_described_server_delivers() {
    let floor = floor::testing::start();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pid"), std::process::id().to_string()).unwrap();
    for (payload, published) in [
        ("'whole'", "{data}"),
        ("'anywhere'", r#"{"12:0":"{channel}","data":"{data}"}"#),
        (
            r#"{ before = '{"a":"', after = '"}' }"#,
            r#"{"a":"{data}"}"#,
        ),
    ] {
        let rival = format!(
            "name = 'floor'\n[running]\naddress = '{}'\npid_file = 'pid'\n\
             [websocket]\npath = '/{{channel}}'\npayload = {payload}\npublish = '{published}'\n\
             [publish]\npath = '/{{channel}}'\nbody = '{published}'\n",
            floor.address()
        );
        let rival = Arc::new(Rival::parse(&rival, folder.path().to_path_buf()).unwrap());
        let running = rival.start(Cores::Shared, &Interrupt::default()).unwrap();
        for over_http in [false, true] {
            let mut client = Client::new(running.address(), Interrupt::default())
                .unwrap()
                .speaking(running.dialect());
            let mut ledger = Ledger::new(Payloads::new(64), 1);
            let lines = client
                .open_readers(Wire::WebSocket, "a", 5, &mut ledger, |_| {})
                .unwrap();
            let mut publishers = if over_http {
                let pace = Pace::Readers { in_flight: 4 };
                Publishers::over_http(&mut client, "a", &ledger, 1, pace).unwrap()
            } else {
                Publishers::over_websockets(&lines[..1], Pace::Readers { in_flight: 4 })
            };
            while ledger.published() < 100 {
                publishers
                    .drive(
                        &mut client,
                        &mut ledger,
                        std::time::Duration::from_millis(1),
                    )
                    .unwrap();
            }
            assert_eq!(ledger.deliveries(), 5 * ledger.published(), "{payload}");
            for line in lines {
                client.close(line);
            }
        }
    }
}

/// A server that welcomes, then confirms, then delivers, each in a message of its own.
#[test]
fn a_line_is_open_when_its_subscription_is_confirmed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut expected = Vec::new();
    crate::publish::write_text("{\"subscribe\":\"a\"}", &mut expected);
    let server = thread::spawn(move || {
        let mut reader = listener.accept().unwrap().0;
        assert!(reader.read(&mut [0; 1024]).unwrap() > 0);
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        reader.write_all(switching.as_bytes()).unwrap();
        let mut greeting = vec![0; expected.len()];
        reader.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, expected);
        for message in ["{\"welcome\":1}", "{\"subscribed\":\"a\"}"] {
            reader.write_all(&[0x81, message.len() as u8]).unwrap();
            reader.write_all(message.as_bytes()).unwrap();
        }
        reader
    });
    let dialect = Dialect::Rival {
        rival: Arc::new(parse(WHOLE)),
        channel_suffix: String::new(),
    };
    let mut client = Client::new(address, Interrupt::default())
        .unwrap()
        .speaking(dialect);
    let mut ledger = Ledger::new(Payloads::new(32), 1);
    client
        .open_readers(Wire::WebSocket, "a", 1, &mut ledger, |_| {})
        .unwrap();
    let mut reader = server.join().unwrap();

    let mut payload = Vec::new();
    ledger.publish(0, &mut payload);
    let message = [b"{\"on\":\"a\",\"data\":\"", payload.as_slice(), b"\"}"].concat();
    reader.write_all(&[0x81, message.len() as u8]).unwrap();
    reader.write_all(&message).unwrap();
    while !ledger.is_drained() {
        client.turn(&mut ledger).unwrap();
    }
    assert_eq!(ledger.deliveries(), 1);
}
