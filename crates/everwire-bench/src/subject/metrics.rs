//! What a server tells of itself, under `/metrics`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

/// The value of the counter `name` of the server at `address`, on a connection of its own.
///
/// # Errors
/// If it does not answer, or has no such counter.
pub fn counter(address: SocketAddr, name: &str) -> Result<f64> {
    let answer = fetch(address).context("cannot read /metrics")?;
    value(&answer, name).with_context(|| format!("/metrics has no {name}"))
}

fn fetch(address: SocketAddr) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    write!(
        socket,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A line `name 17`, as the text formats of Prometheus have it.
fn value(answer: &str, name: &str) -> Option<f64> {
    answer.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == name).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_stands_on_its_own_line() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n# HELP sends Sends.\nsends_total 17\nother 2.5\n";
        for (name, expected) in [
            ("sends_total", Some(17.0)),
            ("other", Some(2.5)),
            ("sends", None),
        ] {
            assert_eq!(value(answer, name), expected, "{name}");
        }
    }
}
