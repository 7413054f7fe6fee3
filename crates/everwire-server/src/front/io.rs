//! A connection as hyper reads and writes it, with a look at whether it takes what is written.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::prefixed::Prefixed;

/// Whether a connection's socket took less than was written to it last, so that bytes may be waiting in
/// hyper's buffer.
#[derive(Clone, Default)]
pub(super) struct Blocked(Rc<Cell<bool>>);

impl Blocked {
    pub fn is_set(&self) -> bool {
        self.0.get()
    }
}

/// A connection of hyper's.
pub(super) struct Io {
    stream: TokioIo<Prefixed>,
    blocked: Blocked,
}

impl Io {
    pub fn new(stream: TcpStream, unread: Bytes, blocked: Blocked) -> Self {
        let stream = TokioIo::new(Prefixed::new(stream, unread));
        Self { stream, blocked }
    }

    /// The socket, and the bytes that hyper has not taken yet.
    pub fn into_parts(self) -> (TcpStream, Bytes) {
        self.stream.into_inner().into_parts()
    }
}

impl Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl Write for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.blocked.0.set(written.is_pending());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.blocked.0.set(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
