//! Where a line's bytes go that is in no feed: to its own socket, or into a pipe.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use super::{LineKey, Net};
use crate::pipe::Pipe;

/// Where a line's bytes go. A socket belongs to its net, and is used through it.
pub(crate) enum Outlet<S> {
    /// A connection of its own.
    Socket(S),
    /// A pipe to whoever speaks to the client.
    Pipe(PipeEnd),
}

/// The shard's end of a pipe: with it, the pipe ends.
pub(crate) struct PipeEnd(pub Arc<Pipe>);

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<S> Outlet<S> {
    /// Sends what fits, as [`Net::send`] does.
    pub fn send(&self, net: &impl Net<Socket = S>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => net.send(socket, slices),
            Self::Pipe(end) => end.0.send(slices),
        }
    }

    /// Reads what there is. What comes in beside a pipe comes as mail.
    pub fn read(&self, net: &impl Net<Socket = S>, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => net.read(socket, buffer),
            Self::Pipe(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Waits for room, or no longer. A pipe tells by itself.
    pub fn watch_again(
        &mut self,
        net: &impl Net<Socket = S>,
        line: LineKey,
        for_room: bool,
    ) -> io::Result<()> {
        match self {
            Self::Socket(socket) => net.watch_again(socket, line, for_room),
            Self::Pipe(_) => Ok(()),
        }
    }
}
