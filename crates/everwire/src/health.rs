//! `everwire health`: for supervisors that run a program to see whether another one is well, as containers do.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::{effective, with_settings};

/// `everwire health`
pub fn command() -> Command {
    let ready = Arg::new("ready")
        .long("ready")
        .action(ArgAction::SetTrue)
        .help("Ask whether the server takes new lines, which it does not while it stops (/readyz)");
    with_settings(
        Command::new("health")
            .about("See whether the server on this machine answers")
            .after_help(
                "Finds the server by the same file, variables and flags as `everwire serve`. Ends with 0 if it is well, \
                 and with 1 and a line that tells why if it is not. In a container:\n\n  \
                 HEALTHCHECK CMD [\"everwire\", \"health\"]",
            )
            .arg(ready),
    )
}

/// Asks the server.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let config = effective(matches)?;
    let addresses = reachable(config.listen.first());
    let path = match matches.get_flag("ready") {
        true => "/readyz",
        false => "/healthz",
    };
    let listen = config.listen.first();
    let asked = addresses.iter().map(|address| ask(*address, path));
    let status = first_answer(asked).with_context(|| {
        format!("the server at {listen} does not answer; see that it runs and listens there")
    })?;
    match status {
        500.. => bail!("the server at {listen} answers {path} with status {status}"),
        // Where only TLS is spoken it says so, with 400: then it is well.
        _ => Ok(()),
    }
}

/// Where a server can be asked that listens on this address. One that takes IPv6 takes IPv4 as a rule, and in many
/// containers there is no IPv6.
fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ips = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![v4],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![v4, IpAddr::V6(Ipv6Addr::LOCALHOST)],
        ip => vec![ip],
    };
    let at_port = |ip| SocketAddr::new(ip, listen.port());
    ips.into_iter().map(at_port).collect()
}

/// The first status of all, or the last error.
fn first_answer(asked: impl Iterator<Item = anyhow::Result<u16>>) -> anyhow::Result<u16> {
    let mut last = None;
    for answer in asked {
        match answer {
            Ok(status) => return Ok(status),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("there is an address"))
}

/// The status of an answer in HTTP/1.1.
fn ask(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    // Of what could be any program only so much is read.
    stream.take(HEAD_BYTES_MAX).read_to_end(&mut head)?;
    status(&head).context("what it says is no HTTP")
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// For each step: connecting, sending, reading.
const PATIENCE: Duration = Duration::from_secs(1);

const HEAD_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:80", &["127.0.0.1:80"][..]),
            ("[::]:80", &["127.0.0.1:80", "[::1]:80"]),
            ("192.0.2.1:80", &["192.0.2.1:80"]),
        ] {
            let asked = reachable(listen.parse().unwrap());
            let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
            assert_eq!(asked, expected);
        }
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        for (head, expected) in [
            (&b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\nok\n"[..], Some(200)),
            (b"HTTP/1.1 503 Service Unavailable\r\n", Some(503)),
            (b"HTTP/1.1 4", None),
            (b"SSH-2.0-OpenSSH\r\n", None),
            (b"\x15\x03\x03", None),
            (b"", None),
        ] {
            assert_eq!(status(head), expected, "{head:?}");
        }
    }
}
