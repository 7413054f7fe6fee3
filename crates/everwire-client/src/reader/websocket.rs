//! A WebSocket with the subprotocol `everwire.v1`, as a line of a reader.

use std::collections::VecDeque;

use bytes::BytesMut;
use everwire_websocket::handshake::Offer;
use everwire_websocket::{
    Connection, ConnectionEvent, ConnectionOptions, Ending, Failure, MessageKind,
};
use http::Response;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

use crate::decode::session;
use crate::http::describe;
use crate::signal::Signal;
use crate::{Cause, ReadError, random};

/// The open line.
pub(super) struct WebSocket {
    connection: Connection,
    read: ReadHalf<TokioIo<Upgraded>>,
    write: WriteHalf<TokioIo<Upgraded>>,
    inbound: BytesMut,
}

impl WebSocket {
    /// The opening handshake of one connection.
    pub fn offer(nonce: [u8; 16]) -> Offer<'static> {
        Offer::upgrade(nonce, &[SUBPROTOCOL], None)
            .unwrap_or_else(|_| unreachable!("the subprotocol is a token"))
    }

    /// Judges a response of 101 and takes the connection over.
    pub async fn establish(
        offer: &Offer<'_>,
        response: Response<Incoming>,
        bytes_max: usize,
    ) -> Result<Self, Signal> {
        let malformed = |problem: String| Signal::Ended(Cause::Malformed(problem));
        let established = offer
            .check(response.status(), response.headers())
            .map_err(|error| malformed(error.to_string()))?;
        if established.subprotocol.is_none() {
            return Err(malformed(format!(
                "the server does not speak {SUBPROTOCOL}"
            )));
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| Signal::Ended(Cause::Lost(describe(&error))))?;
        let options = ConnectionOptions {
            message_bytes_max: bytes_max,
            deflate: established.deflate,
            ..ConnectionOptions::default()
        };
        let (read, write) = tokio::io::split(TokioIo::new(upgraded));
        let connection =
            Connection::client(options, Box::new(random::bytes), Instant::now().into_std());
        Ok(Self {
            connection,
            read,
            write,
            inbound: BytesMut::new(),
        })
    }

    /// Waits for the transport once, and tells what came of it. If the future is dropped, nothing is lost.
    pub async fn turn(&mut self, signals: &mut VecDeque<Signal>) {
        let Self {
            connection,
            read,
            write,
            inbound,
        } = self;
        let wake_at = connection.wake_at().map(Instant::from_std);
        tokio::select! {
            read = read.read_buf(inbound) => match read {
                Ok(0) | Err(_) => connection.handle_eof(),
                Ok(_) => connection.handle_bytes(inbound, Instant::now().into_std()),
            },
            written = write.write(connection.outgoing()), if connection.wants_write() => match written {
                Ok(bytes) => connection.advance_outgoing(bytes),
                Err(_) => connection.handle_eof(),
            },
            () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {
                connection.handle_timeout(Instant::now().into_std());
            }
        }
        while let Some(event) = connection.poll_event() {
            signals.push_back(signal(event));
        }
    }
}

fn signal(event: ConnectionEvent) -> Signal {
    match event {
        ConnectionEvent::Message(MessageKind::Text, text) => {
            session::decode(&text).unwrap_or_else(Signal::from)
        }
        ConnectionEvent::Message(MessageKind::Binary, _) => Signal::Ended(Cause::Malformed(
            "a session's messages are text, and this one is binary".into(),
        )),
        ConnectionEvent::Ping(_) | ConnectionEvent::Pong(_) => Signal::Alive,
        ConnectionEvent::Ended(Ending::Closed(Some((code, reason)))) => {
            let reason = reason.chars().filter(|char| !char.is_control()).collect();
            Signal::Ended(Cause::Closed {
                code: code.as_u16(),
                reason,
            })
        }
        ConnectionEvent::Ended(Ending::Closed(None)) => Signal::Ended(Cause::Ended),
        ConnectionEvent::Ended(Ending::Failed(Failure::MessageTooBig { bytes_max })) => {
            Signal::Failed(ReadError::TooLarge { bytes_max })
        }
        ConnectionEvent::Ended(Ending::Failed(failure)) => {
            Signal::Ended(Cause::Malformed(failure.to_string()))
        }
        ConnectionEvent::Ended(Ending::Lost | Ending::TimedOut) => {
            Signal::Ended(Cause::Lost("it ended without a close frame".into()))
        }
    }
}

const SUBPROTOCOL: &str = "everwire.v1";
