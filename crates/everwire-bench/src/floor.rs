//! The floor: the least that any server must do for the same load, to compare with.
//!
//! ```text
//!  frame from one connection ─▶ encode once ─▶ send ─▶ reader 0
//!  (or POST)                                   send ─▶ reader 1
//!                                              send ─▶ reader …
//! ```
//!
//! One thread, one epoll loop, one `send` for each entry and reader, and nothing else: no log, no
//! cursor, no checks, no queue. It joins nothing, so a server that sends several entries in one
//! call can cost less than the floor; one that does not cannot. Told to, it joins a fixed number
//! of entries in each send, which shows what the kernel gives for that.

pub mod bare_hyper;
mod channels;
mod framing;
mod input;

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

use self::{
    channels::{Channels, Place},
    framing::Framing,
    input::{Frame, Request},
};

/// The floor's loop and all its connections.
pub struct Floor {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    channels: Channels,
    /// Entries in each send.
    joined: usize,
    buffer: Vec<u8>,
    payload: Vec<u8>,
}

struct Connection {
    socket: TcpStream,
    role: Role,
    /// The start of a request or frame; mostly empty.
    unfinished: Vec<u8>,
}

enum Role {
    Requests,
    Reader(Place),
    /// Gets back what it sends.
    Echo {
        /// What its socket would not take yet.
        unsent: Vec<u8>,
    },
}

impl Floor {
    /// A floor that listens on `address` and joins `joined` entries of a channel in each send, at
    /// least 1. Fewer than that are not sent.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn bind(address: SocketAddr, joined: usize) -> Result<Self> {
        let mut listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let poll = Poll::new().context("cannot create an epoll instance")?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            listener,
            connections: Vec::new(),
            vacant: Vec::new(),
            channels: Channels::default(),
            joined,
            buffer: vec![0; 64 * 1024],
            payload: Vec::new(),
        })
    }

    /// Waits for events, at most for `wait`, and serves them all.
    ///
    /// # Errors
    /// If a reader is too slow, since the floor keeps no queue.
    pub fn turn(&mut self, wait: Option<Duration>) -> Result<()> {
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled.context("cannot wait for events")?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                LISTENER => self.accept()?,
                Token(index) => {
                    if event.is_writable() {
                        self.flush(index);
                    }
                    if event.is_readable() || event.is_read_closed() {
                        self.read(index, event.is_read_closed())?;
                    }
                }
            }
        }
        self.events = events;
        Ok(())
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot accept a connection"),
            };
            socket.set_nodelay(true)?;
            let index = self.vacant.pop().unwrap_or(self.connections.len());
            self.poll
                .registry()
                .register(&mut socket, Token(index), Interest::READABLE)?;
            let connection = Connection {
                socket,
                role: Role::Requests,
                unfinished: Vec::new(),
            };
            if index == self.connections.len() {
                self.connections.push(Some(connection));
            } else {
                self.connections[index] = Some(connection);
            }
        }
    }

    fn read(&mut self, index: usize, is_closing: bool) -> Result<()> {
        loop {
            let Some(connection) = self.connections[index].as_mut() else {
                return Ok(());
            };
            let bytes = match connection.socket.read(&mut self.buffer) {
                Ok(bytes @ 1..) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Ended, or reset by a client that went away.
                Ok(0) | Err(_) => {
                    self.close(index);
                    return Ok(());
                }
            };
            // The buffer is lent out while its bytes are served, so that nothing is copied.
            let buffer = std::mem::take(&mut self.buffer);
            let served = self.on_bytes(index, &buffer[..bytes]);
            self.buffer = buffer;
            served?;
            // On Linux a read that leaves room found the socket empty, and the next byte makes a
            // new event; only the end of the connection has none of its own.
            if bytes < self.buffer.len() && !is_closing {
                return Ok(());
            }
        }
    }

    fn on_bytes(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let Some(connection) = self.connections[index].as_mut() else {
            return Ok(());
        };
        if connection.unfinished.is_empty() {
            let used = self.serve(index, bytes)?;
            self.keep(index, bytes[used..].to_vec());
            return Ok(());
        }
        let mut joined = std::mem::take(&mut connection.unfinished);
        joined.extend_from_slice(bytes);
        let used = self.serve(index, &joined)?;
        joined.drain(..used);
        self.keep(index, joined);
        Ok(())
    }

    /// Serves what is whole in `input` and returns how many bytes that took.
    fn serve(&mut self, index: usize, input: &[u8]) -> Result<usize> {
        let (mut used, mut answers) = (0, Vec::new());
        while let Some(connection) = &self.connections[index] {
            let rest = &input[used..];
            used += match connection.role {
                Role::Requests => {
                    let Some(framed) = input::request(rest) else {
                        break;
                    };
                    let end = framed.head + framed.content;
                    let Some(content) = rest.get(framed.head..end) else {
                        break;
                    };
                    answers.extend_from_slice(framed.request.answer());
                    match framed.request {
                        Request::Read(path, framing) => self.join(index, path, framing),
                        Request::Echo => self.begin_echo(index)?,
                        Request::Post(path) => {
                            if let Some(channel) = self.channels.find(path) {
                                self.broadcast(channel, content)?;
                            }
                        }
                        Request::Other => {}
                    }
                    end
                }
                Role::Reader(Place { channel, .. }) => {
                    let Some(frame) = Frame::parse(rest) else {
                        break;
                    };
                    if frame.opcode == CLOSE {
                        self.close(index);
                    } else {
                        let mut payload = std::mem::take(&mut self.payload);
                        payload.clear();
                        frame.unmask(&mut payload);
                        let sent = self.broadcast(channel, &payload);
                        self.payload = payload;
                        sent?;
                    }
                    frame.bytes
                }
                Role::Echo { .. } => {
                    let Some(frame) = Frame::parse(rest) else {
                        break;
                    };
                    if frame.opcode == CLOSE {
                        self.close(index);
                    } else {
                        framing::write_frame_head(frame.payload_bytes(), &mut answers);
                        frame.unmask(&mut answers);
                    }
                    frame.bytes
                }
            };
        }
        if !answers.is_empty() {
            self.answer(index, &answers)?;
        }
        Ok(used)
    }

    fn join(&mut self, index: usize, path: &[u8], framing: Framing) {
        if let Some(connection) = self.connections[index].as_mut() {
            connection.role = Role::Reader(self.channels.join(path, framing, index));
        }
    }

    /// An echo may be larger than a socket holds, so its connection is told when there is room.
    fn begin_echo(&mut self, index: usize) -> Result<()> {
        if let Some(connection) = self.connections[index].as_mut() {
            connection.role = Role::Echo { unsent: Vec::new() };
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .reregister(&mut connection.socket, Token(index), interest)?;
        }
        Ok(())
    }

    /// Sends what the requests or messages of one read are answered, in one call.
    fn answer(&mut self, index: usize, answers: &[u8]) -> Result<()> {
        let Some(connection) = self.connections[index].as_mut() else {
            return Ok(());
        };
        if let Role::Echo { unsent } = &mut connection.role
            && !unsent.is_empty()
        {
            unsent.extend_from_slice(answers);
            return Ok(());
        }
        let sent = match connection.socket.write(answers) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return Ok(()), // its read will tell
        };
        match &mut connection.role {
            _ if sent == answers.len() => Ok(()),
            Role::Echo { unsent } => {
                unsent.extend_from_slice(&answers[sent..]);
                Ok(())
            }
            Role::Requests | Role::Reader(_) => {
                bail!("a publisher does not read its answers, and the floor keeps no queue")
            }
        }
    }

    fn flush(&mut self, index: usize) {
        if let Some(connection) = self.connections[index].as_mut()
            && let Role::Echo { unsent } = &mut connection.role
        {
            while !unsent.is_empty() {
                let Ok(sent) = connection.socket.write(unsent) else {
                    return; // full again, or gone, which its read will tell
                };
                unsent.drain(..sent);
            }
        }
    }

    /// Encodes `payload` once, then one `send` for each reader.
    fn broadcast(&mut self, channel: usize, payload: &[u8]) -> Result<()> {
        let connections = &mut self.connections;
        self.channels
            .publish(channel, payload, self.joined, |feed| {
                for reader in &feed.readers {
                    let Some(connection) = connections[*reader].as_mut() else {
                        continue;
                    };
                    match connection.socket.write(&feed.encoded) {
                        Ok(sent) if sent == feed.encoded.len() => {}
                        Err(error) if error.kind() != ErrorKind::WouldBlock => {} // its read will tell
                        _ => bail!(
                            "a reader is slower than its socket can hold, and the floor keeps no queue"
                        ),
                    }
                }
                Ok(())
            })
    }

    fn keep(&mut self, index: usize, unfinished: Vec<u8>) {
        if let Some(connection) = self.connections[index].as_mut() {
            connection.unfinished = unfinished;
        }
    }

    fn close(&mut self, index: usize) {
        let Some(closed) = self.connections[index].take() else {
            return;
        };
        self.vacant.push(index);
        if let Role::Reader(place) = closed.role
            && let Some(moved) = self.channels.leave(place)
            && let Some(connection) = self.connections[moved].as_mut()
        {
            connection.role = Role::Reader(place);
        }
    }
}

impl Request<'_> {
    fn answer(self) -> &'static [u8] {
        match self {
            Self::Read(_, framing) => framing.head(),
            Self::Echo => Framing::WebSocket.head(),
            Self::Post(_) => b"HTTP/1.1 204 No Content\r\n\r\n",
            Self::Other => b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        }
    }
}

const LISTENER: Token = Token(usize::MAX);
/// Opcode (RFC 6455, section 11.8).
const CLOSE: u8 = 0x8;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
