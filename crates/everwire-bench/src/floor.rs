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
//! call can cost less than the floor; one that does not cannot.

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

use self::input::Request;

/// The floor's loop and all its connections.
pub struct Floor {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    /// Indices of the connections that are readers.
    readers: Vec<usize>,
    buffer: Vec<u8>,
    frame: Vec<u8>,
}

struct Connection {
    socket: TcpStream,
    role: Role,
    /// The start of a request or frame; mostly empty.
    unfinished: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Role {
    Requests,
    /// A reader, at this place among the readers.
    Reader {
        place: usize,
    },
}

impl Floor {
    /// A floor that listens on `address`.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn bind(address: SocketAddr) -> Result<Self> {
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
            readers: Vec::new(),
            buffer: vec![0; 64 * 1024],
            frame: Vec::new(),
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
                Token(index) => self.read(index, event.is_read_closed())?,
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
                    match framed.request {
                        Request::Upgrade => self.join(index),
                        Request::Post => self.broadcast(content)?,
                        Request::Other => {}
                    }
                    answers.extend_from_slice(framed.request.answer());
                    end
                }
                Role::Reader { .. } => {
                    let mut payload = Vec::new();
                    let Some((opcode, bytes)) = input::frame(rest, &mut payload) else {
                        break;
                    };
                    match opcode {
                        CLOSE => self.close(index),
                        _ => self.broadcast(&payload)?,
                    }
                    bytes
                }
            };
        }
        if let (false, Some(connection)) = (answers.is_empty(), self.connections[index].as_mut())
            && connection
                .socket
                .write(&answers)
                .is_ok_and(|sent| sent < answers.len())
        {
            bail!("a publisher does not read its answers, and the floor keeps no queue");
        }
        Ok(used)
    }

    fn join(&mut self, index: usize) {
        if let Some(connection) = self.connections[index].as_mut() {
            connection.role = Role::Reader {
                place: self.readers.len(),
            };
            self.readers.push(index);
        }
    }

    /// Encodes `payload` once, then one `send` for each reader.
    fn broadcast(&mut self, payload: &[u8]) -> Result<()> {
        self.frame.clear();
        write_frame_head(payload.len(), &mut self.frame);
        self.frame.extend_from_slice(payload);
        for reader in &self.readers {
            let Some(connection) = self.connections[*reader].as_mut() else {
                continue;
            };
            match connection.socket.write(&self.frame) {
                Ok(sent) if sent == self.frame.len() => {}
                Err(error) if error.kind() != ErrorKind::WouldBlock => {} // its read will tell
                _ => bail!(
                    "a reader is slower than its socket can hold, and the floor keeps no queue"
                ),
            }
        }
        Ok(())
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
        if let Role::Reader { place } = closed.role {
            self.readers.swap_remove(place);
            if let Some(moved) = self.readers.get(place)
                && let Some(connection) = self.connections[*moved].as_mut()
            {
                connection.role = Role::Reader { place };
            }
        }
    }
}

impl Request {
    fn answer(self) -> &'static [u8] {
        match self {
            // The accept key is that of the one key the load client sends (RFC 6455, section 1.3).
            Self::Upgrade => {
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                  Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            }
            Self::Post => b"HTTP/1.1 204 No Content\r\n\r\n",
            Self::Other => b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        }
    }
}

const LISTENER: Token = Token(usize::MAX);
/// Opcode (RFC 6455, section 11.8).
const CLOSE: u8 = 0x8;

/// The head of an unmasked text frame with `bytes` of payload.
fn write_frame_head(bytes: usize, out: &mut Vec<u8>) {
    out.push(0x81);
    match u16::try_from(bytes) {
        Ok(short @ ..126) => out.push(short as u8),
        Ok(medium) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
}

/// A floor on a thread of its own, for tests.
#[cfg(test)]
pub mod testing {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread::{self, JoinHandle},
    };

    use super::*;

    /// Stops when it is dropped.
    pub struct Running {
        address: SocketAddr,
        stop: Arc<AtomicBool>,
        thread: Option<JoinHandle<Result<()>>>,
    }

    impl Running {
        pub fn address(&self) -> SocketAddr {
            self.address
        }
    }

    /// A floor on a free loopback port.
    pub fn start() -> Running {
        let mut floor = Floor::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = floor.local_address().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                floor.turn(Some(Duration::from_millis(10)))?;
            }
            Ok(())
        });
        Running {
            address,
            stop,
            thread: Some(thread),
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
            let ended = self.thread.take().map(JoinHandle::join);
            if !thread::panicking() {
                ended.unwrap().unwrap().unwrap();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::wire::{self, Wire};

    fn reader(address: SocketAddr) -> TcpStream {
        let mut socket = TcpStream::connect(address).unwrap();
        socket
            .write_all(&Wire::WebSocket.request(address, "a"))
            .unwrap();
        expect(&mut socket, Request::Upgrade.answer());
        socket
    }

    fn expect(socket: &mut TcpStream, expected: &[u8]) {
        let mut received = vec![0; expected.len()];
        socket.read_exact(&mut received).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&received),
            String::from_utf8_lossy(expected)
        );
    }

    #[test]
    fn what_one_sends_all_readers_get() {
        let floor = testing::start();
        let mut readers: Vec<_> = (0..4).map(|_| reader(floor.address())).collect();
        readers[0].write_all(b"\x81\x82\x01\x02\x01\x02ik").unwrap();
        for socket in &mut readers {
            expect(socket, b"\x81\x02hi");
        }
        // One says Close, one only goes away; the places of the others change.
        readers[0].write_all(b"\x88\x80....").unwrap();
        assert_eq!(readers[0].read(&mut [0; 1]).unwrap(), 0);
        readers.remove(0);
        readers.remove(0);
        readers[0].write_all(b"\x81\x81\0\0\0\0x").unwrap();
        for socket in &mut readers {
            expect(socket, b"\x81\x01x");
        }
    }

    #[test]
    fn pipelined_requests_are_answered_in_order() {
        let floor = testing::start();
        let mut reader = reader(floor.address());
        let mut publisher = TcpStream::connect(floor.address()).unwrap();
        let head = wire::publish_head(floor.address(), "a", 3);
        let create = wire::create_request(floor.address(), "a");
        let requests = [&create[..], &head, b"one", &head, b"two"].concat();
        // Byte by byte, so that requests arrive in parts.
        for byte in requests {
            publisher.write_all(&[byte]).unwrap();
        }
        let answers = [Request::Other, Request::Post, Request::Post].map(Request::answer);
        expect(&mut publisher, &answers.concat());
        expect(&mut reader, b"\x81\x03one\x81\x03two");
    }
}
