//! The log never ends, delays or changes anything: not where it cannot be written, and not where peers have a lot said.

use std::{
    fs::{self, File},
    io::{self, PipeReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
};

use super::process::{Process, after, ask};

/// What becomes of what a server writes to standard error.
#[derive(Clone, Copy, Debug)]
enum Log {
    /// A disk that is full.
    Full,
    /// There is no standard error.
    Closed,
    /// A pipe whose reader has died.
    Abandoned,
    /// A pipe that nobody reads, and that is full.
    Unread,
}

const LOGS: [Log; 4] = [Log::Full, Log::Closed, Log::Abandoned, Log::Unread];

impl Log {
    /// Has a server log here. What is given back has to live as long as the server.
    fn take(self, command: &mut Command) -> Option<PipeReader> {
        match self {
            Self::Full => {
                command.stderr(File::options().write(true).open("/dev/full").unwrap());
                None
            }
            Self::Closed => {
                // Inside of the shell, since a command cannot be started without one.
                after(command, "exec 2>&-;");
                None
            }
            Self::Abandoned => {
                command.stderr(io::pipe().unwrap().1);
                None
            }
            Self::Unread => {
                let (reader, writer) = io::pipe().unwrap();
                let mut filler = writer.try_clone().unwrap();
                // Full for as long as somebody holds the reader.
                thread::spawn(move || while filler.write_all(&[b'.'; 4096]).is_ok() {});
                command.stderr(writer);
                Some(reader)
            }
        }
    }
}

/// A server that logs there, and much.
fn start(log: Log, config: &str, shell: &str) -> (Process, Option<PipeReader>) {
    let mut held = None;
    let config = format!("logs.requests = true\n{ALL}{config}");
    let process = Process::start_as(&config, |command| {
        if !shell.is_empty() {
            after(command, shell);
        }
        held = log.take(command);
    });
    (process, held)
}

const ALL: &str = "[channels]\nanonymous = [\"read\", \"publish\"]\n";

/// An acknowledgement of a PING that was never sent (RFC 9113, section 6.7).
const PONG: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0AAAAAAAA";

/// What a connection over HTTP/2 begins with, and a frame of settings.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Sends bytes on a connection of their own, for as long as they are taken.
fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut peer = TcpStream::connect(address).unwrap();
    let _ = peer.write_all(bytes);
    peer
}

#[test]
fn everything_goes_on_where_the_log_cannot_be_written() {
    for log in LOGS {
        let servers =
            "[tokens]\njwks_interval_ms = 50\n[[tokens.jwks]]\nurl = \"http://127.0.0.1:1/\"\n";
        let (mut process, _held) = start(log, servers, "");
        assert_eq!(process.ask("POST /channels/c\nhello").0, 204, "{log:?}");
        let flood = [HTTP2, &PONG.repeat(1000)].concat();
        let _flooding: Vec<_> = (0..4).map(|_| send(process.address, &flood)).collect();
        let applied = "everwire_reloads_total{outcome=\"applied\"}";
        process.signal("HUP");
        process.counts(applied, 1);
        process.write_config(&format!("limits.lines_max = 7\n{ALL}{servers}"));
        process.counts(applied, 2);
        process.write_config("no TOML");
        process.counts("everwire_reloads_total{outcome=\"refused\"}", 1);
        let fetched = "everwire_key_fetches_total{outcome=\"failed\"}";
        process.counts(fetched, process.metric(fetched) + 2);
        assert_eq!(process.ask("GET /channels/c").0, 200, "{log:?}");
        let over_http2 = Command::new("curl")
            .args(["-s", "--http2-prior-knowledge", "--max-time", "60"])
            .arg(format!("http://{}/healthz", process.address))
            .output()
            .unwrap();
        assert_eq!(over_http2.stdout, b"ok\n", "{log:?}");
        process.signal("TERM");
        assert!(process.ended(), "{log:?}");
    }
}

#[test]
fn lines_that_were_not_written_are_counted_by_reason() {
    for (log, reason) in [
        (Log::Full, "failed"),
        (Log::Abandoned, "failed"),
        (Log::Unread, "full"),
    ] {
        let (process, _held) = start(log, "", "");
        let lost = format!("everwire_log_lines_lost_total{{reason=\"{reason}\"}}");
        let mut peer = TcpStream::connect(process.address).unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        // More than may wait.
        for _ in 0..60 {
            peer.write_all(&request.repeat(100)).unwrap();
            let mut answers = Vec::new();
            while times(&answers, b"ok\n") < 100 {
                let mut some = [0; 64 * 1024];
                let count = peer.read(&mut some).unwrap();
                assert!(count > 0, "{log:?}");
                answers.extend(&some[..count]);
            }
        }
        process.counts(&lost, 100);
    }
}

fn times(bytes: &[u8], part: &[u8]) -> usize {
    bytes
        .windows(part.len())
        .filter(|some| *some == part)
        .count()
}

#[test]
fn connections_are_accepted_again_once_there_are_descriptors_whatever_becomes_of_the_log() {
    for log in LOGS {
        let (process, _held) = start(log, "", "");
        let address = process.address;
        // Only now, since its own limits are fitted to the descriptors that it finds when it starts.
        let id = process.id().to_string();
        let limited = Command::new("prlimit")
            .args(["--pid", &id, "--nofile=64"])
            .status();
        assert!(
            limited.is_ok_and(|status| status.success()),
            "prlimit limits {id}"
        );
        let peers: Vec<_> = (0..100).map(|_| TcpStream::connect(address)).collect();
        // Some are accepted and the rest wait, until the server has none left for one more.
        while fs::read_dir(format!("/proc/{}/fd", process.id()))
            .unwrap()
            .count()
            < 55
        {
            thread::yield_now();
        }
        drop(peers);
        for _ in 0..6 {
            assert_eq!(ask(address, "GET /healthz").0, 200, "{log:?}");
        }
    }
}

/// What strangers can have said: each of it a thousand times on the server as it comes, which logs at `info`.
#[test]
fn a_peer_causes_a_bounded_number_of_lines() {
    let settings = "[http]\ntrusted_proxies = [\"127.0.0.2\"]\nproxy_protocol = \"required\"\n";
    let mut process = Process::start(&format!("{ALL}{settings}"));
    let address = process.address;
    drop(send(address, &[HTTP2, &PONG.repeat(20_000)].concat()));
    let floods: [&[u8]; 12] = [
        b"\0\0\x08\x06\0\0\0\0\0AAAAAAAA",             // PING
        b"\0\0\x08\x06\x01\0\0\0\x01AAAAAAAA",         // PING on a stream
        b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0",             // WINDOW_UPDATE of 0
        b"\0\0\x04\x03\0\0\0\0\x09\0\0\0\x08",         // RST_STREAM of an idle stream
        b"\0\0\x01\x04\x01\0\0\0\0A",                  // SETTINGS, acknowledged with content
        b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\x01\x10",     // PRIORITY on itself
        b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01",   // GOAWAY
        b"\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff", // HEADERS that are none
        b"\xff\xff\xff\x0a\0\0\0\0\0",                 // a frame too large
        b"\0\0\0\x09\x04\0\0\0\x01",                   // CONTINUATION of nothing
        b"\0\0\x01\0\0\0\0\0\x03A",                    // DATA on an idle stream
        b"\0\0\x04\x05\x04\0\0\0\x02\0\0\0\x04",       // PUSH_PROMISE
    ];
    for flood in floods {
        for _ in 0..50 {
            drop(send(address, &[HTTP2, &flood.repeat(20)].concat()));
        }
    }
    for start in [
        &b"\x16\x03\x01\0\x05hello"[..],
        b"GET / HTTP/9\r\n\r\n",
        b"GET /channels/%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /channels/a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\xff\xff\xff\xff",
    ] {
        for _ in 0..200 {
            drop(send(address, start));
        }
    }
    // A trusted proxy that does not say for whom it speaks.
    for _ in 0..200 {
        drop(send_from([127, 0, 0, 2], address));
    }
    assert_eq!(process.ask("GET /healthz").0, 200);
    process.signal("TERM");
    assert!(process.ended());
    let lines = process.log_to_end();
    assert!(
        lines.len() < 40,
        "{} lines\n{}",
        lines.len(),
        lines.join("\n")
    );
    let told = lines
        .iter()
        .find(|line| line.contains("and more of the same"));
    let told = told.expect("what was left out is told");
    assert!(
        told.contains("\"like\":\"a connection from a trusted proxy was closed\""),
        "{told}"
    );
}

/// Sends a request from another address of loopback.
fn send_from(from: [u8; 4], to: SocketAddr) -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    let mut peer = TcpStream::from(socket);
    peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    peer.read_to_end(&mut Vec::new()).map(drop)
}
