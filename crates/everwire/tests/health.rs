//! `everwire health` tells a server that is well from everything else.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Command, Output},
    thread,
};

use everwire_server::{Config, Server};

fn health(address: SocketAddr, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_everwire"))
        .arg("health")
        .args(args)
        .env_clear()
        .env("EVERWIRE_LISTEN", address.to_string())
        .output()
        .unwrap()
}

fn on_loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Something else that listens, and says this to whoever asks.
fn program(says: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(on_loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let _ = peer.read(&mut [0; 1024]);
        let _ = peer.write_all(says.as_bytes());
    });
    address
}

#[test]
fn a_server_that_answers_is_well() {
    let config = Config {
        listen: on_loopback().into(),
        threads: 1,
        ..Config::default()
    };
    let server = Server::start(config).unwrap();
    for args in [&[][..], &["--ready"]] {
        let output = health(server.address(), args);
        assert!(output.status.success(), "{args:?} gave {output:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
    }
    server.stop().unwrap();
}

#[test]
fn whatever_else_is_there_is_not_and_it_says_why() {
    let nobody = TcpListener::bind(on_loopback())
        .unwrap()
        .local_addr()
        .unwrap();
    for (address, expected) in [
        (
            nobody,
            "does not answer; see that it runs and listens there",
        ),
        (
            program("SSH-2.0-OpenSSH_9.2\r\n"),
            "what it says is no HTTP",
        ),
        (program(""), "what it says is no HTTP"),
        (
            program("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
            "answers /healthz with status 503",
        ),
    ] {
        let output = health(address, &[]);
        assert_eq!(output.status.code(), Some(1), "{expected}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected), "{said}");
    }
}
