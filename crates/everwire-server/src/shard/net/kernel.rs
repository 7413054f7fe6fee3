//! The operating system's own net: TCP, and epoll or what the system has in its place.

use std::{
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{Key, LineKey, Net, Ready};

/// Events taken from the queue at once.
const EVENTS: usize = 1024;

/// The kernel, as one shard sees it.
pub(crate) struct Kernel {
    queue: Poll,
    events: Events,
}

impl Kernel {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Poll::new()?,
            events: Events::with_capacity(EVENTS),
        })
    }

    /// A descriptor that is readable when there are events.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.queue.registry().as_fd().try_clone_to_owned()
    }
}

impl Net for Kernel {
    type Socket = TcpStream;

    fn watch(&self, socket: &mut TcpStream, line: LineKey) -> io::Result<()> {
        let registry = self.queue.registry();
        registry.register(socket, Token(line.index()), Interest::READABLE)
    }

    fn watch_again(&self, socket: &mut TcpStream, line: LineKey, for_room: bool) -> io::Result<()> {
        let interest = match for_room {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        let registry = self.queue.registry();
        registry.reregister(socket, Token(line.index()), interest)
    }

    fn unwatch(&self, socket: &mut TcpStream) -> io::Result<()> {
        self.queue.registry().deregister(socket)
    }

    fn poll(&mut self, happened: &mut Vec<Ready>) -> io::Result<bool> {
        self.queue.poll(&mut self.events, Some(Duration::ZERO))?;
        let before = happened.len();
        happened.extend(self.events.iter().map(|event| Ready {
            line: LineKey::at(event.token().0),
            readable: event.is_readable(),
            writable: event.is_writable(),
            read_closed: event.is_read_closed(),
        }));
        Ok(happened.len() - before == EVENTS)
    }

    fn read(&self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| socket.read(buffer))
    }

    fn send(&self, mut socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = uninterrupted(|| match slices {
            [one] => socket.write(one),
            many => socket.write_vectored(many),
        });
        match sent {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            sent => sent,
        }
    }

    fn end(&self, socket: &TcpStream) -> io::Result<()> {
        socket.shutdown(Shutdown::Write)
    }
}

/// Repeats what a signal came between.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
