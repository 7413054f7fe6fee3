//! Where a line's bytes go that keeps them to itself: to its own socket, in clear text or under TLS, or into a pipe.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use super::{
    LineKey, Net, Pipe,
    secured::{Heard, Secured},
};
use crate::tls::{self, Security};

/// Where a line's bytes go. A socket belongs to its net, and is used through it.
pub(crate) enum Outlet<S> {
    /// A connection of its own, in clear text.
    Socket(S),
    /// A connection of its own, under TLS.
    Tls(Box<Secured<S>>),
    /// A pipe to whoever speaks to the client.
    Pipe(PipeEnd),
}

/// The shard's end of a pipe, which is cut with it unless it has ended before.
pub(crate) struct PipeEnd(pub Arc<Pipe>);

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.0.cut();
    }
}

impl<S> Outlet<S> {
    /// A connection, under TLS or not.
    pub fn new(socket: S, tls: Option<Box<tls::Connection>>) -> Self {
        match tls {
            Some(tls) => Self::Tls(Box::new(Secured::new(socket, tls))),
            None => Self::Socket(socket),
        }
    }

    /// How its connection is secured; nothing where that is another's, who sees to it.
    pub fn security(&self) -> Option<Security> {
        match self {
            Self::Socket(_) => Some(Security::Clear),
            Self::Tls(secured) => Some(secured.security()),
            Self::Pipe(_) => None,
        }
    }

    /// The connection again, if it has one of its own.
    pub fn into_parts(self) -> Option<(S, Option<Box<tls::Connection>>)> {
        match self {
            Self::Socket(socket) => Some((socket, None)),
            Self::Tls(secured) => {
                let (socket, tls) = secured.into_parts();
                Some((socket, Some(tls)))
            }
            Self::Pipe(_) => None,
        }
    }

    fn socket_mut(&mut self) -> Option<&mut S> {
        match self {
            Self::Socket(socket) => Some(socket),
            Self::Tls(secured) => Some(&mut secured.socket),
            Self::Pipe(_) => None,
        }
    }

    /// Has its net tell of it, as [`Net::watch`] does.
    pub fn watch(&mut self, net: &impl Net<Socket = S>, line: LineKey) -> io::Result<()> {
        self.socket_mut()
            .map_or(Ok(()), |socket| net.watch(socket, line))
    }

    /// Has its net tell no more of it.
    pub fn unwatch(&mut self, net: &impl Net<Socket = S>) -> io::Result<()> {
        self.socket_mut()
            .map_or(Ok(()), |socket| net.unwatch(socket))
    }

    /// Sends what fits, as [`Net::send`] does.
    pub fn send(&self, net: &impl Net<Socket = S>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => net.send(socket, slices),
            Self::Tls(secured) => secured.send(net, slices),
            Self::Pipe(end) => end.0.send(slices),
        }
    }

    /// Reads what there is.
    pub fn read(&self, net: &impl Net<Socket = S>, buffer: &mut [u8]) -> io::Result<Heard> {
        match self {
            Self::Socket(socket) => Heard::of(net, socket, buffer),
            Self::Tls(secured) => secured.read(net, buffer),
            Self::Pipe(end) => end.0.read(buffer).map(|bytes| Heard {
                bytes,
                is_all: false, // the end may be there already
            }),
        }
    }

    /// Waits for room, or no longer. A pipe tells by itself.
    pub fn watch_again(
        &mut self,
        net: &impl Net<Socket = S>,
        line: LineKey,
        for_room: bool,
    ) -> io::Result<()> {
        self.socket_mut()
            .map_or(Ok(()), |socket| net.watch_again(socket, line, for_room))
    }

    /// Tells the peer that nothing follows, so that it knows that nothing was cut off. In clear text its
    /// connection's end says that, as far as anything can.
    pub fn say_end(&self, net: &impl Net<Socket = S>) {
        match self {
            Self::Socket(_) => {}
            Self::Tls(secured) => secured.say_end(net),
            Self::Pipe(end) => end.0.end(),
        }
    }
}
