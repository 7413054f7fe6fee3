//! One connection from the outside.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

/// How long a peer waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// A connection, and what was read from it ahead.
pub struct Peer {
    transport: Transport,
    buffer: Vec<u8>,
    has_heard: bool,
}

/// What bytes go over.
enum Transport {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// A header field by its name in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

impl Peer {
    /// Connects in clear text.
    pub fn connect(address: SocketAddr, receive_bytes: Option<usize>) -> Self {
        Self::over(Transport::Clear(connect(None, address, receive_bytes)))
    }

    /// Connects under TLS. The handshake comes with the first bytes that are sent.
    pub fn connect_tls(
        address: SocketAddr,
        receive_bytes: Option<usize>,
        client: ClientConnection,
    ) -> Self {
        let socket = connect(None, address, receive_bytes);
        Self::over(Transport::Tls(Box::new(StreamOwned::new(client, socket))))
    }

    /// Connects in clear text from another address of this machine.
    pub fn connect_from(from: [u8; 4], address: SocketAddr) -> Self {
        Self::over(Transport::Clear(connect(Some(from), address, None)))
    }

    /// The same, by a peer that holds few bytes that were not read.
    pub fn connect_narrow_from(from: [u8; 4], address: SocketAddr) -> Self {
        Self::over(Transport::Clear(connect(Some(from), address, Some(4096))))
    }

    fn over(transport: Transport) -> Self {
        Self {
            transport,
            buffer: Vec::new(),
            has_heard: false,
        }
    }

    /// The client's side of TLS.
    pub fn tls(&mut self) -> &mut ClientConnection {
        match &mut self.transport {
            Transport::Clear(_) => panic!("this connection is in clear text"),
            Transport::Tls(stream) => &mut stream.conn,
        }
    }

    /// What is below TLS.
    pub fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Clear(socket) => socket,
            Transport::Tls(stream) => &stream.sock,
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.transport
            .write_all(bytes.as_ref())
            .expect("the server reads");
    }

    /// Sends where the server may have ended the connection; false if it has.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.transport.write_all(bytes.as_ref()).is_ok()
    }

    /// Asks where the server may end the connection instead of answering; the status if it answers.
    pub fn try_ask(&mut self, request: &str) -> Option<u16> {
        if !self.try_send(request) {
            return None;
        }
        let mut bytes = [0; 64 * 1024];
        let count = self.read(&mut bytes).ok()?;
        std::str::from_utf8(bytes.get(9..12.min(count))?)
            .ok()?
            .parse()
            .ok()
    }

    /// The same connection once more, in clear text, for another thread to read.
    pub fn twin(&self) -> Self {
        Self::over(Transport::Clear(self.socket().try_clone().unwrap()))
    }

    /// Ends this side of the connection.
    pub fn finish(&mut self) {
        if let Transport::Tls(stream) = &mut self.transport {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
        self.socket().shutdown(Shutdown::Write).unwrap();
    }

    /// Sends an append without waiting for its answer.
    pub fn send_append(&mut self, name: &str, content_type: &str, body: &[u8]) {
        let head = format!(
            "POST /channels/{name} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat());
    }

    pub fn append(&mut self, name: &str, content_type: &str, body: &[u8]) -> Response {
        self.send_append(name, content_type, body);
        self.response()
    }

    /// Becomes a WebSocket. `fields` are further lines of the request's head.
    pub fn open_websocket(&mut self, name: &str, query: &str, fields: &str) -> String {
        self.send(websocket_request(
            &format!("/channels/{name}{query}"),
            fields,
        ));
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        head
    }

    /// Becomes an event stream or ndjson.
    pub fn open_stream(&mut self, name: &str, query: &str, accept: &str) -> String {
        self.send(format!(
            "GET /channels/{name}{query} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"
        ));
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        head
    }

    /// A response's head, with the empty line after it.
    pub fn head(&mut self) -> String {
        String::from_utf8(self.until(b"\r\n\r\n")).unwrap()
    }

    /// A whole response with a `Content-Length`.
    pub fn response(&mut self) -> Response {
        let head = self.head();
        let status = head[9..12].parse().unwrap();
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = self.take(length);
        Response { status, head, body }
    }

    /// Exactly so many bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            self.fill();
        }
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Exactly so many bytes, unless the connection ends before.
    pub fn try_take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = [0; 4096];
        while self.buffer.len() < count {
            match self.read(&mut bytes) {
                Ok(count @ 1..) => self.buffer.extend_from_slice(&bytes[..count]),
                Ok(0) | Err(_) => return None,
            }
        }
        Some(self.take(count))
    }

    /// The bytes up to and with a mark.
    pub fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        let mut from = 0;
        loop {
            let found = self.buffer[from..]
                .windows(mark.len())
                .position(|window| window == mark);
            if let Some(at) = found {
                return self.take(from + at + mark.len());
            }
            from = self.buffer.len().saturating_sub(mark.len() - 1);
            self.fill();
        }
    }

    /// The next chunk of a chunked body; empty at its end.
    pub fn chunk(&mut self) -> Vec<u8> {
        let size = String::from_utf8(self.until(b"\r\n")).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16)
            .unwrap_or_else(|_| panic!("{size:?} is a chunk's size"));
        let chunk = self.take(size);
        assert_eq!(self.take(2), b"\r\n", "a chunk ends where it said");
        chunk
    }

    /// The next chunk that is more than a heartbeat.
    pub fn event(&mut self) -> String {
        loop {
            let chunk = String::from_utf8(self.chunk()).unwrap();
            if chunk != ":\n" && chunk != "{}\n" {
                return chunk;
            }
        }
    }

    /// All that is left until the server ends the connection, be it by a reset.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = [0; 64 * 1024];
        loop {
            match self.read(&mut bytes) {
                Ok(0) => return std::mem::take(&mut self.buffer),
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return std::mem::take(&mut self.buffer);
                }
                // A server that has not seen the end of the handshake can say nothing under TLS, not even that it
                // closes; the client alone thinks it done, since its own flight is the last (RFC 8446, section 2).
                Err(_) if self.is_tls() && !self.has_heard => {
                    return std::mem::take(&mut self.buffer);
                }
                Err(error) => panic!("the connection does not end: {error}"),
            }
        }
    }

    fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.transport.read(bytes)?;
        self.has_heard |= count > 0;
        Ok(count)
    }

    fn fill(&mut self) {
        let mut bytes = [0; 64 * 1024];
        match self.read(&mut bytes) {
            Ok(count @ 1..) => self.buffer.extend_from_slice(&bytes[..count]),
            ended => {
                let last = self.buffer.len().saturating_sub(200);
                let last = String::from_utf8_lossy(&self.buffer[last..]);
                panic!("{ended:?} instead of more after … {last:?}");
            }
        }
    }
}

impl Read for Transport {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Clear(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn connect(from: Option<[u8; 4]>, address: SocketAddr, receive_bytes: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(from) = from {
        let from = SocketAddr::from((from, 0));
        socket.bind(&from.into()).expect("an address of loopback");
    }
    if let Some(bytes) = receive_bytes {
        // Before the connection, so that the window is small from the start.
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    socket.connect(&address.into()).expect("the server listens");
    socket.set_tcp_nodelay(true).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The request that opens a WebSocket (RFC 6455, section 1.2).
pub fn websocket_request(target: &str, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
