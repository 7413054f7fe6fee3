//! A proxy in front that nobody has told the server of: the operator is told of it by the log and by a metric, when its
//! clients meet a limit that is meant for one of them.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::process::Process;

const ALL: &str = "[channels]\nanonymous = [\"read\", \"publish\"]\n";

/// Opens an event stream, with further fields; the status of its answer, and what holds it open.
fn open(process: &Process, fields: &str) -> (Option<u16>, TcpStream) {
    send(
        process,
        &format!("GET /channels/c HTTP/1.1\r\nAccept: text/event-stream\r\n{fields}"),
        "",
    )
}

/// Sends a request on a connection of its own: the status of the answer, none where the connection is refused.
fn send(process: &Process, head: &str, content: &str) -> (Option<u16>, TcpStream) {
    let mut peer = TcpStream::connect(process.address).unwrap();
    let length = content.len();
    let request = format!("{head}Host: x\r\nContent-Length: {length}\r\n\r\n{content}");
    let mut answer = [0; 12];
    // A connection that is refused is closed, be it while it is written to.
    let answered =
        peer.write_all(request.as_bytes()).is_ok() && peer.read_exact(&mut answer).is_ok();
    let status = answered.then(|| std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap());
    (status, peer)
}

fn met(limit: &str) -> String {
    format!("everwire_unbelieved_proxies_limited_total{{limit=\"{limit}\"}}")
}

#[test]
fn a_limit_that_the_clients_of_an_unknown_proxy_share_is_told_with_the_setting() {
    for (limit, fields, setting) in [
        (
            "lines_per_address_max",
            "X-Forwarded-For: 203.0.113.7\r\n",
            "lines_per_address_max = 1",
        ),
        (
            "lines_per_address_max",
            "Forwarded: for=203.0.113.7\r\n",
            "lines_per_address_max = 1",
        ),
        (
            "lines_per_second_max",
            "X-Forwarded-For: 203.0.113.7\r\n",
            "lines_per_second_max = 1",
        ),
    ] {
        let mut process = Process::start(&format!("{ALL}[limits]\n{setting}\n"));
        let mut opened = Vec::new();
        let mut refused = 0;
        while refused < 5 {
            let (status, line) = open(&process, fields);
            refused += u64::from(status == Some(429));
            opened.push(line);
            assert!(opened.len() < 50, "{setting} holds");
        }
        let told = process.logged("http.trusted_proxies");
        for part in ["\"level\":\"WARN\"", "\"address\":\"127.0.0.1\"", limit] {
            assert!(told.contains(part), "{part} in {told}");
        }
        process.counts(&met(limit), 5);
        process.signal("TERM");
        assert!(process.ended());
        let again = process.log_to_end();
        let again = again.iter().filter(|line| line.contains("trusted_proxies"));
        assert_eq!(again.count(), 0, "it is told once");
    }
}

#[test]
fn requests_and_connections_are_told_of_too() {
    for (setting, head, content) in [
        (
            "appends_per_second_max",
            "POST /channels/c HTTP/1.1\r\nX-Forwarded-For: 203.0.113.7\r\n",
            "hello",
        ),
        (
            "reads_per_second_max",
            "GET /channels/c HTTP/1.1\r\nForwarded: for=203.0.113.7\r\n",
            "",
        ),
    ] {
        let process = Process::start(&format!("{ALL}[limits]\n{setting} = 1\n"));
        let mut refused = 0;
        while refused < 2 {
            let (status, _) = send(&process, head, content);
            refused += u64::from(status == Some(429));
        }
        process.logged("http.trusted_proxies");
        if setting == "appends_per_second_max" {
            process.counts(&met(setting), 2); // what is counted is read, too
        }
    }

    let process = Process::start(&format!("{ALL}[limits]\nconnections_per_second_max = 5\n"));
    let mut refused = 0;
    while refused == 0 {
        let (status, _) = open(&process, "X-Forwarded-For: 203.0.113.7\r\n");
        refused += u64::from(status.is_none());
    }
    process.logged("http.trusted_proxies");
}

#[test]
fn who_speaks_for_itself_or_is_believed_is_not_told_of() {
    for (trusted, fields) in [
        ("", ""),
        (
            "[http]\ntrusted_proxies = [\"127.0.0.1\"]\n",
            "X-Forwarded-For: 203.0.113.7\r\n",
        ),
    ] {
        let config = format!("{ALL}{trusted}[limits]\nlines_per_address_max = 1\n");
        let mut process = Process::start(&config);
        let opened: Vec<_> = (0..3).map(|_| open(&process, fields)).collect();
        let statuses: Vec<_> = opened.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, [Some(200), Some(429), Some(429)], "{trusted}");
        assert_eq!(
            process.metric(&met("lines_per_address_max")),
            0,
            "{trusted}"
        );
        process.signal("TERM");
        assert!(process.ended());
        let log = process.log_to_end();
        assert!(
            !log.iter().any(|line| line.contains("trusted_proxies")),
            "{log:?}"
        );
    }
}
