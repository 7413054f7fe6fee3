//! A socket under TLS, as a line has it: to the shard it is a socket like any other.
//!
//! ```text
//!  shard ── send ─▶ seal ─▶ [ciphertext that the socket has not taken] ─▶ socket
//!  shard ◀─ read ── receive ◀────────────────────────────────────────────┘
//! ```
//!
//! What is sealed cannot be taken back, so a socket that takes a part of a record leaves the rest here, one record at
//! most. The shard is then told that all but the last byte was sent. To it the line is blocked inside of what it was
//! sending, which it waits for and finishes before anything else; and when it was told that everything is out,
//! everything is.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
};

use super::Net;
use crate::tls::{Connection, Security};

/// See the module.
pub(crate) struct Secured<S> {
    pub socket: S,
    tls: RefCell<Box<Connection>>,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// How many bytes; none is the end.
    pub bytes: usize,
    /// It was all there is: what comes after it is an event.
    pub is_all: bool,
}

impl Heard {
    /// Reads from a socket in clear text.
    pub fn of<N: Net>(net: &N, socket: &N::Socket, buffer: &mut [u8]) -> io::Result<Self> {
        let bytes = net.read(socket, buffer)?;
        Ok(Self {
            bytes,
            is_all: bytes < buffer.len(),
        })
    }
}

/// Ciphertext that is read at once.
const CIPHERTEXT_BYTES: usize = 16 * 1024;

/// What one read of ciphertext can make, with what waits for the rest of its record: no more than twice a read.
const PLAINTEXT_BYTES_MAX: usize = 3 * CIPHERTEXT_BYTES;

impl<S> Secured<S> {
    /// How it is secured.
    pub fn security(&self) -> Security {
        self.tls.borrow().security()
    }

    /// A connection whose handshake is done.
    pub fn new(socket: S, tls: Box<Connection>) -> Self {
        Self {
            socket,
            tls: RefCell::new(tls),
        }
    }

    /// The socket, and the connection over it.
    pub fn into_parts(self) -> (S, Box<Connection>) {
        (self.socket, self.tls.into_inner())
    }

    /// Sends what fits, as [`Net::send`] does. Who was told that not all did has to go on with the very next byte.
    pub fn send(&self, net: &impl Net<Socket = S>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut tls = self.tls.borrow_mut();
        self.flush(net, &mut tls)?;
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut sent = usize::from(tls.take_held_back());
        while sent < offered {
            sent += tls.seal(slices, sent).map_err(io::Error::other)?;
            match self.flush(net, &mut tls) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tls.hold_back();
                    return match sent - 1 {
                        0 => Err(error),
                        sent => Ok(sent),
                    };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Reads what there is, into a buffer of at least 48 KiB.
    pub fn read(&self, net: &impl Net<Socket = S>, buffer: &mut [u8]) -> io::Result<Heard> {
        let mut tls = self.tls.borrow_mut();
        let mut bytes = 0;
        let mut ciphertext = [0; CIPHERTEXT_BYTES];
        let is_all = loop {
            if tls.peer_has_closed() {
                return Ok(Heard {
                    bytes,
                    is_all: false, // the end is still to be told
                });
            }
            if buffer.len() - bytes < PLAINTEXT_BYTES_MAX {
                break false;
            }
            let count = match net.read(&self.socket, &mut ciphertext) {
                Ok(0) => break false,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && bytes > 0 => break true,
                Err(error) => return Err(error),
            };
            let received = tls.receive(&mut ciphertext[..count], &mut |plaintext| {
                buffer[bytes..][..plaintext.len()].copy_from_slice(plaintext);
                bytes += plaintext.len();
            });
            // An alert or an answer of the protocol; if the socket does not take it, it goes before what is sent next.
            let _ = self.flush(net, &mut tls);
            match received {
                Ok(()) => {}
                // What it said before is heard first; the next read fails again.
                Err(_) if bytes > 0 => break false,
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
            if count < CIPHERTEXT_BYTES && !tls.peer_has_closed() {
                match bytes {
                    0 => return Err(io::ErrorKind::WouldBlock.into()),
                    _ => break true,
                }
            }
        };
        Ok(Heard { bytes, is_all })
    }

    /// Ends our side: the peer is told that nothing follows, unless its socket takes nothing.
    pub fn end(&self, net: &impl Net<Socket = S>) -> io::Result<()> {
        self.say_end(net);
        net.end(&self.socket)
    }

    /// Tells the peer that nothing follows, so that it knows that nothing was cut off.
    pub fn say_end(&self, net: &impl Net<Socket = S>) {
        let mut tls = self.tls.borrow_mut();
        tls.close();
        let _ = self.flush(net, &mut tls);
    }

    /// Sends all that is sealed. Fails while the socket takes no more.
    fn flush(&self, net: &impl Net<Socket = S>, tls: &mut Connection) -> io::Result<()> {
        while !tls.outgoing().is_empty() {
            let count = net.send(&self.socket, &[IoSlice::new(tls.outgoing())])?;
            tls.advance_outgoing(count);
        }
        Ok(())
    }
}
