//! A WebSocket server that sends back what it gets, with one blocking thread for each connection.
//!
//! `cargo run -p everwire-websocket --example echo -- 127.0.0.1:9001`
//!
//! The shell decides nothing about the protocol: it moves bytes between the socket and a `Connection`.

use std::io::{Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use bytes::BytesMut;
use everwire_websocket::handshake::{Policy, Request, accept};
use everwire_websocket::{Connection, ConnectionEvent, ConnectionOptions, DeflatePolicy};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening on {address}");
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> Result<()> {
    let mut bytes = BytesMut::new();
    let options = open(&mut stream, &mut bytes)?;
    let mut connection = Connection::server(options, Instant::now());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        connection.handle_bytes(&mut bytes, Instant::now());
        while let Some(event) = connection.poll_event() {
            if let ConnectionEvent::Message(kind, payload) = event {
                // It may be closing already; then nobody waits for the echo.
                let _ = connection.send(kind, &payload);
            }
            stream.write_all(connection.outgoing())?;
            connection.advance_outgoing(connection.outgoing().len());
        }
        if connection.is_closed() {
            return Ok(());
        }
        match stream.read(&mut buffer)? {
            0 => connection.handle_eof(),
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

/// Reads the request, answers it, and leaves in `bytes` what came behind it.
fn open(stream: &mut TcpStream, bytes: &mut BytesMut) -> Result<ConnectionOptions> {
    let mut buffer = [0; 4096];
    let head_len = loop {
        if let Some(index) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break index + 4;
        }
        match stream.read(&mut buffer)? {
            0 => return Err(Error::other("the connection ended before its request")),
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    };
    let head = bytes.split_to(head_len);
    let headers = parse(&head).ok_or_else(|| Error::other("the request is no HTTP"))?;
    let request = Request {
        method: &Method::GET,
        version: Version::HTTP_11,
        headers: &headers,
        protocol: None,
    };
    let policy = Policy {
        subprotocols: &[],
        deflate: Some(DeflatePolicy::STANDARD),
    };
    let accepted = accept(&request, &policy).map_err(Error::other)?;
    let mut response = BytesMut::new();
    accepted.write_head(&HeaderMap::new(), &mut response);
    stream.write_all(&response)?;
    Ok(ConnectionOptions {
        message_bytes_max: 64 * 1024 * 1024,
        deflate: accepted.deflate,
        compress_bytes_min: 0,
        ..ConnectionOptions::default()
    })
}

/// The fields of a request, as well as an example needs them.
fn parse(head: &[u8]) -> Option<HeaderMap> {
    let mut lines = std::str::from_utf8(head).ok()?.trim_end().split("\r\n");
    lines
        .next()
        .filter(|line| line.starts_with("GET ") && line.ends_with(" HTTP/1.1"))?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    Some(headers)
}
