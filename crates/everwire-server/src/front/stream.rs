//! A connection in HTTP: in clear text or under TLS, some of whose bytes may have been read before.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::request_head::{Fault, RequestHead};
use crate::tls::{self, Security};

/// A connection that gives the bytes read before first.
pub(super) struct Stream {
    socket: TcpStream,
    /// Kept where it is while the connection goes from hand to hand.
    tls: Option<Box<tls::Connection>>,
    /// What was read, and decrypted if it had to be.
    unread: Bytes,
    /// Bytes that were taken of what the peer says.
    received: u64,
    /// What is looked at as it passes.
    head: RequestHead,
}

/// Ciphertext that is read at once.
const CIPHERTEXT_BYTES: usize = 16 * 1024;

impl Stream {
    /// A connection in clear text, or one whose handshake is done.
    pub fn new(socket: TcpStream, tls: Option<Box<tls::Connection>>, unread: Bytes) -> Self {
        Self {
            socket,
            tls,
            unread,
            received: 0,
            head: RequestHead::default(),
        }
    }

    /// How many bytes were taken of what the peer says.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next request is waited for: what comes is its head.
    pub fn awaits_request(&mut self) {
        self.head.is_awaited();
    }

    /// A request's head has come whole; what is wrong with it that the library does not tell.
    pub fn begins_request(&mut self) -> Option<Fault> {
        self.head.is_taken()
    }

    /// The socket, what is over it, and what was not taken yet of the bytes read before.
    pub fn into_parts(self) -> (TcpStream, Option<Box<tls::Connection>>, Bytes) {
        (self.socket, self.tls, self.unread)
    }

    /// How it is secured.
    pub fn security(&self) -> Security {
        match &self.tls {
            Some(tls) => tls.security(),
            None => Security::Clear,
        }
    }

    /// The first bytes of what the peer says, which stay unread: so many at least, unless it says less.
    pub fn poll_first(&mut self, cx: &mut Context<'_>, count: usize) -> Poll<io::Result<Bytes>> {
        while self.unread.len() < count {
            // In clear text they were waited for where nothing else was known yet.
            let Some(tls) = &mut self.tls else { break };
            let more = ready!(poll_decrypt(&mut self.socket, tls, cx))?;
            if more.is_empty() {
                break;
            }
            self.unread = [&self.unread[..], &more].concat().into();
        }
        Poll::Ready(Ok(self.unread.clone()))
    }
}

/// Reads until there is plaintext. None is the end.
fn poll_decrypt(
    socket: &mut TcpStream,
    tls: &mut tls::Connection,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    let mut plaintext = BytesMut::new();
    while plaintext.is_empty() && !tls.peer_has_closed() {
        let mut ciphertext = [0; CIPHERTEXT_BYTES];
        let mut buffer = ReadBuf::new(&mut ciphertext);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer))?;
        let ciphertext = buffer.filled_mut();
        if ciphertext.is_empty() {
            // Who cuts off a request is noticed by its length.
            break;
        }
        let received = tls.receive(ciphertext, &mut |part| plaintext.extend_from_slice(part));
        // An answer of the protocol; if the socket does not take it, it goes before what is sent next.
        let _ = poll_seals(socket, tls, cx)?;
        if let Err(error) = received
            && plaintext.is_empty()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
    }
    Poll::Ready(Ok(plaintext.freeze()))
}

/// Sends what is sealed.
pub(super) fn poll_seals(
    socket: &mut TcpStream,
    tls: &mut tls::Connection,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !tls.outgoing().is_empty() {
        match ready!(Pin::new(&mut *socket).poll_write(cx, tls.outgoing()))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => tls.advance_outgoing(count),
        }
    }
    Poll::Ready(Ok(()))
}

/// Seals as much as makes a record and begins to send it, once the one before is out.
fn poll_encrypt(
    socket: &mut TcpStream,
    tls: &mut tls::Connection,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    ready!(poll_seals(socket, tls, cx))?;
    let count = tls.seal(slices, 0).map_err(io::Error::other)?;
    let _ = poll_seals(socket, tls, cx)?;
    Poll::Ready(Ok(count))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            match &mut this.tls {
                None => {
                    let before = buffer.filled().len();
                    let read = Pin::new(&mut this.socket).poll_read(cx, buffer);
                    let heard = &buffer.filled()[before..];
                    this.received += heard.len() as u64;
                    this.head.hear(heard);
                    return read;
                }
                Some(tls) => this.unread = ready!(poll_decrypt(&mut this.socket, tls, cx))?,
            }
        }
        let count = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..count]);
        this.head.hear(&this.unread[..count]);
        this.unread.advance(count);
        this.received += count as u64;
        if this.unread.is_empty() {
            // The allocation is not needed any more.
            this.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.tls {
            None => Pin::new(&mut this.socket).poll_write(cx, bytes),
            Some(tls) => poll_encrypt(&mut this.socket, tls, cx, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.tls {
            None => Pin::new(&mut this.socket).poll_write_vectored(cx, slices),
            Some(tls) => poll_encrypt(&mut this.socket, tls, cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.tls {
            None => Poll::Ready(Ok(())), // a socket keeps nothing back
            Some(tls) => poll_seals(&mut this.socket, tls, cx),
        }
    }

    /// Ends our side, and tells the peer that nothing follows.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(tls) = &mut this.tls {
            tls.close();
            ready!(poll_seals(&mut this.socket, tls, cx))?;
        }
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
