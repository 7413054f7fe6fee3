//! What a service manager does and sees, by the protocols of systemd: sockets that it listens on (sd_listen_fds(3)),
//! and what it is told (sd_notify(3)).

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::Command,
};

use super::process::{PATIENCE, Process, after, ask, ask_on};

const ALL: &str = "[channels]\nanonymous = [\"read\", \"publish\"]\n";

/// What a service manager is told.
struct Told(UnixDatagram);

impl Told {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next message, as its lines.
    fn next(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).unwrap();
        let text = std::str::from_utf8(&message[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn it_tells_when_it_is_ready_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let told = Told::at(&path);
    let mut process = Process::start_as(ALL, |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let ready = |process: &Process| {
        [
            "READY=1".to_owned(),
            format!("STATUS=serving on {}", process.address),
        ]
    };
    assert_eq!(told.next(), ready(&process));
    for file in ["dev = false\n", "no TOML"] {
        process.write_config(file);
        let reloading = told.next();
        assert_eq!(reloading[0], "RELOADING=1");
        let since = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
        assert!(since.parse::<u64>().unwrap() > 0);
        assert_eq!(told.next(), ready(&process), "{file}");
        process.signal("HUP");
        assert_eq!(told.next()[0], "RELOADING=1");
        assert_eq!(told.next()[0], "READY=1");
    }
    process.signal("TERM");
    assert_eq!(told.next()[0], "STOPPING=1");
    assert!(process.ended());
}

#[test]
fn it_shows_that_it_is_alive_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let told = Told::at(&path);
    let _process = Process::start_as(ALL, |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "20000");
    });
    assert_eq!(told.next()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(told.next(), ["WATCHDOG=1"]);
    }
}

/// As Kubernetes stops a pod: it is told at once, and sends connections until it has taken the pod out.
#[test]
fn it_serves_on_for_a_while_before_it_stops_and_says_that_it_is_not_ready() {
    let mut process = Process::start(&format!("{ALL}[stop]\ndelay_ms = 600000\n"));
    assert_eq!(process.ask("GET /readyz").0, 200);
    process.signal("TERM");
    while process.ask("GET /readyz").0 == 200 {}
    // Each on a connection of its own, so they are accepted too.
    assert_eq!(process.ask("GET /readyz").0, 503);
    assert_eq!(process.ask("GET /healthz").0, 200);
    assert_eq!(process.ask("POST /channels/c\nhello").0, 204);
    assert_eq!(process.ask("GET /channels/c").0, 200);
    process.write_config(&format!("{ALL}[stop]\ndelay_ms = 600001\n"));
    process.logged("the configuration was reloaded");
    assert_eq!(
        process.ask("GET /readyz").0,
        503,
        "a reload does not change its mind"
    );
    process.signal("TERM");
    assert!(process.ended(), "a second order ends the wait");
}

#[test]
fn the_wait_before_it_stops_ends_by_itself() {
    let mut process = Process::start(&format!("{ALL}[stop]\ndelay_ms = 50\n"));
    process.signal("TERM");
    assert!(process.ended());
}

/// Has a command get this socket as the first that is passed to it.
fn pass(command: &mut Command, socket: &TcpListener) {
    after(
        command,
        "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 0</dev/null;",
    );
    command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
}

#[test]
fn it_serves_a_socket_that_it_is_given_with_all_its_threads() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // They wait before there is a server, and are served by it.
    let early: Vec<TcpStream> = (0..8)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let process = Process::start_as(ALL, |command| pass(command, &socket));
    assert_eq!(process.address, address);
    assert_eq!(ask(address, "POST /channels/c\nhello").0, 204);
    for peer in early {
        let (status, _) = ask_on(peer, "GET /channels/c");
        assert_eq!(status, 200);
    }
}

#[test]
fn while_it_starts_anew_connections_wait_in_the_socket() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut first = Process::start_as(ALL, |command| pass(command, &socket));
    first.write_config(&format!("limits.lines_max = 7\n{ALL}"));
    first.logged("the configuration was reloaded");
    let mut reader = TcpStream::connect(address).unwrap();
    let read = "GET /channels/c?live=ndjson HTTP/1.1\r\nHost: x\r\n\r\n";
    reader.write_all(read.as_bytes()).unwrap();
    let metric = |wanted: &str| ask(address, "GET /metrics").1.contains(wanted);
    while !metric("\neverwire_lines 1\n") {}
    first.signal("TERM");
    assert!(first.ended(), "its readers are told, and it ends by itself");
    let mut goodbye = String::new();
    reader.read_to_string(&mut goodbye).unwrap();
    assert!(goodbye.contains("{\"drain\":{\"after_ms\":"), "{goodbye}");
    let waiting = TcpStream::connect(address).unwrap();
    let second = Process::start_as(ALL, |command| pass(command, &socket));
    assert_eq!(second.address, address);
    assert_eq!(ask_on(waiting, "GET /healthz").0, 200);
}

#[test]
fn what_is_passed_and_is_no_listening_socket_is_told() {
    let output = Command::new("sh")
        .args([
            "-c",
            "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve 3</dev/null",
        ])
        .arg(env!("CARGO_BIN_EXE_everwire"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        said.contains("socket 0 that was passed by LISTEN_FDS"),
        "{said}"
    );
}
