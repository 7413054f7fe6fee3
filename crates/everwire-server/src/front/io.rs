//! A connection as hyper reads and writes it: what hyper writes in one turn leaves in one call.
//!
//! ```text
//!  hyper ── response, response, response ──▶ outgoing ── one send a turn ──▶ socket
//! ```
//!
//! hyper flushes after each response. Of eight pipelined requests that made eight system calls, which cost more
//! than all the rest of serving them; now whoever polls the connection sends once, when hyper has done what it
//! can. hyper's own `pipeline_flush` does the same but takes away its bound on what is kept, and nobody outside
//! can tell whether its buffer is empty, which a connection that becomes a line has to know.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;

use super::{request_head::Fault, stream::Stream};

/// Bytes that wait for the end of a turn at most; more, and larger pieces, go to the socket at once.
const OUTGOING_BYTES_MAX: usize = 16 * 1024;

/// What is reserved for a turn: some answers to appends.
const OUTGOING_BYTES_FIRST: usize = 1024;

/// A connection, shared by hyper and by who polls it.
#[derive(Clone)]
pub(super) struct Io(Rc<RefCell<Connection>>);

struct Connection {
    stream: TokioIo<Stream>,
    /// What hyper wrote and the socket has not taken. Without memory while it is empty.
    outgoing: Outgoing,
    /// Bytes that the socket has taken.
    taken: u64,
}

#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Io {
    pub fn new(stream: Stream) -> Self {
        let stream = TokioIo::new(stream);
        Self(Rc::new(RefCell::new(Connection {
            stream,
            outgoing: Outgoing::default(),
            taken: 0,
        })))
    }

    /// How many bytes the socket has taken: as long as this rises, the peer reads.
    pub fn taken(&self) -> u64 {
        self.0.borrow().taken
    }

    /// How many bytes have come in: what is more than when the last request was answered is the next one's.
    pub fn received(&self) -> u64 {
        self.0.borrow().stream.inner().received()
    }

    /// The next request is waited for: what comes is its head.
    pub fn awaits_request(&self) {
        let mut connection = self.0.borrow_mut();
        connection.stream.inner_mut().awaits_request();
    }

    /// A request's head has come whole; what is wrong with it that hyper does not tell.
    pub fn begins_request(&self) -> Option<Fault> {
        let mut connection = self.0.borrow_mut();
        connection.stream.inner_mut().begins_request()
    }

    /// Takes back the answer that hyper gave by itself to what it could not read, the last that it wrote; its status.
    pub fn take_back_refusal(&self) -> Option<StatusCode> {
        self.0.borrow_mut().outgoing.take_back_refusal()
    }

    /// Says something after what hyper wrote.
    pub fn say(&self, bytes: &[u8]) {
        (self.0.borrow_mut().outgoing.bytes).extend_from_slice(bytes);
    }

    /// Sends what hyper wrote. Pending while the socket does not take all of it.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// Sends what hyper wrote, and ends our side.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut connection = self.0.borrow_mut();
        ready!(connection.poll_send(cx))?;
        Pin::new(connection.stream.inner_mut()).poll_shutdown(cx)
    }

    /// The connection, once hyper has let go of it.
    pub fn into_stream(self) -> Option<Stream> {
        let connection = Rc::into_inner(self.0)?.into_inner();
        Some(connection.stream.into_inner())
    }
}

impl Connection {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing.has_remaining() {
            let stream = Pin::new(self.stream.inner_mut());
            match ready!(stream.poll_write(cx, self.outgoing.chunk()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => {
                    self.outgoing.advance(count);
                    self.taken += count as u64;
                }
            }
        }
        // Under TLS the socket may not have taken all that was sealed.
        Pin::new(self.stream.inner_mut()).poll_flush(cx)
    }

    /// Keeps small pieces for the end of the turn. Pending only while something is kept.
    fn poll_keep(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.outgoing.remaining() + count > OUTGOING_BYTES_MAX {
            ready!(self.poll_send(cx))?;
        }
        if count > OUTGOING_BYTES_MAX {
            let stream = Pin::new(self.stream.inner_mut());
            if let Poll::Ready(count) = stream.poll_write_vectored(cx, slices)? {
                self.taken += count as u64;
                return Poll::Ready(Ok(count));
            }
            // Its beginning is kept: who polls hyper sees by what is kept that hyper still has something to say.
        }
        let mut room = count.min(OUTGOING_BYTES_MAX);
        if self.outgoing.bytes.capacity() == 0 {
            self.outgoing.bytes.reserve(OUTGOING_BYTES_FIRST.max(room));
        }
        let kept = room;
        for slice in slices {
            let part = &slice[..slice.len().min(room)];
            self.outgoing.bytes.extend_from_slice(part);
            room -= part.len();
        }
        Poll::Ready(Ok(kept))
    }
}

impl Outgoing {
    /// hyper's own answers are a head without content, which is the end of what it writes.
    fn take_back_refusal(&mut self) -> Option<StatusCode> {
        const START: &[u8] = b"HTTP/1.1 4";
        const LENGTH_MAX: usize = 200;
        let kept = &self.bytes[self.sent..];
        let tail = &kept[kept.len().saturating_sub(LENGTH_MAX)..];
        let at = tail.windows(START.len()).rposition(|w| w == START)?;
        let answer = std::str::from_utf8(&tail[at..]).ok()?;
        let head = answer.strip_suffix("\r\n\r\n")?;
        let status = StatusCode::from_bytes(answer.get(9..12)?.as_bytes()).ok()?;
        let is_head = !head.contains("\r\n\r\n") && head.contains("\r\ncontent-length: 0");
        let length = answer.len();
        is_head.then(|| {
            self.bytes.truncate(self.bytes.len() - length);
            status
        })
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
        if !self.has_remaining() {
            *self = Self::default();
        }
    }
}

impl Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buffer)
    }
}

impl Write for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let slices = [io::IoSlice::new(bytes)];
        self.0.borrow_mut().poll_keep(cx, &slices)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_keep(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing: what is kept goes out at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Nothing: a connection may become a line, so it is ended by who polls it.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use bytes::Bytes;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn pair() -> (Io, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = Stream::new(ours.unwrap(), None, Bytes::new());
        (Io::new(stream), theirs.unwrap().0)
    }

    fn write(io: &mut Io, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(io).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
    }

    #[tokio::test]
    async fn what_is_written_in_one_turn_leaves_when_it_ends() {
        let (mut io, mut peer) = pair().await;
        for response in ["one ", "two ", "three"] {
            assert!(matches!(
                write(&mut io, response.as_bytes()),
                Poll::Ready(Ok(_))
            ));
            poll_fn(|cx| Pin::new(&mut io).poll_flush(cx))
                .await
                .unwrap();
        }
        let mut buffer = [0; 64];
        let early = peer.try_read(&mut buffer).map_err(|error| error.kind());
        assert_eq!(early, Err(io::ErrorKind::WouldBlock));
        poll_fn(|cx| io.poll_send(cx)).await.unwrap();
        let count = peer.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], b"one two three", "in one piece");
    }

    #[tokio::test]
    async fn little_is_kept_for_a_peer_that_does_not_read() {
        let (mut io, mut peer) = pair().await;
        let (mut taken, piece) = (0, [b'x'; 1000]);
        // Until the socket is full, each write is taken by it in time.
        while let Poll::Ready(count) = write(&mut io, &piece) {
            taken += count.unwrap();
        }
        assert!(io.0.borrow().outgoing.remaining() <= OUTGOING_BYTES_MAX);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).await.map(|_| all.len())
        });
        poll_fn(|cx| io.poll_end(cx)).await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), taken);
    }

    #[tokio::test]
    async fn a_large_piece_follows_what_was_kept() {
        let (mut io, mut peer) = pair().await;
        assert!(matches!(write(&mut io, b"head "), Poll::Ready(Ok(5))));
        let body = [b'b'; OUTGOING_BYTES_MAX + 1];
        assert!(matches!(write(&mut io, &body), Poll::Ready(Ok(_))));
        let mut buffer = [0; 7];
        peer.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"head bb");
    }

    /// Large pieces too, which are never kept: a peer that takes a long time for a page still reads.
    #[tokio::test]
    async fn what_the_socket_has_taken_is_counted_and_what_is_kept_is_not() {
        let (mut io, _peer) = pair().await;
        assert!(matches!(write(&mut io, b"head "), Poll::Ready(Ok(5))));
        assert_eq!(io.taken(), 0);
        poll_fn(|cx| io.poll_send(cx)).await.unwrap();
        assert_eq!(io.taken(), 5);
        let Poll::Ready(Ok(count)) = write(&mut io, &[b'b'; OUTGOING_BYTES_MAX + 1]) else {
            panic!("an empty socket takes something");
        };
        assert_eq!(io.taken(), 5 + count as u64);
    }

    #[tokio::test]
    async fn whoever_keeps_hyper_waiting_is_waited_for_at_the_end_of_the_turn() {
        for piece in [1000, OUTGOING_BYTES_MAX, 10 * OUTGOING_BYTES_MAX] {
            let (mut io, _peer) = pair().await;
            let piece = vec![b'x'; piece];
            while write(&mut io, &piece).is_ready() {}
            let sent = io.poll_send(&mut Context::from_waker(Waker::noop()));
            assert!(sent.is_pending(), "pieces of {} bytes", piece.len());
            assert!(io.0.borrow().outgoing.remaining() <= OUTGOING_BYTES_MAX);
        }
    }
}
