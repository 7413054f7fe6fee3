//! A net in memory, whose peers a test plays: they take what they please, in pieces of any size, and break or come
//! back when they please. Its queue is edge-triggered, as the kernel's is.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io::{self, IoSlice},
    rc::{Rc, Weak},
};

use super::{LineKey, Net, Ready};

/// A net in memory, as one shard sees it. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Memory(Rc<Queue>);

/// The shard's end of a connection.
pub(crate) struct Socket(Rc<RefCell<Connection>>);

/// The peer's end.
pub(crate) struct Peer(Rc<RefCell<Connection>>);

/// What a test has another thread do while bytes are sent.
type Interlude = Box<dyn FnOnce()>;

#[derive(Default)]
struct Queue {
    waiting: RefCell<VecDeque<Weak<RefCell<Connection>>>>,
    /// Something was added to the queue since the last look at this.
    edge: Cell<bool>,
    batch: Cell<Batch>,
    interlude: RefCell<Option<Interlude>>,
}

/// How many events are taken at once.
#[derive(Clone, Copy)]
struct Batch(usize);

impl Default for Batch {
    fn default() -> Self {
        Self(1024)
    }
}

struct Connection {
    queue: Weak<Queue>,
    /// The line's number, once it is watched, and whether room is waited for.
    watched: Option<(LineKey, bool)>,
    to_shard: VecDeque<u8>,
    to_peer: Vec<u8>,
    /// Bytes that the peer will still take.
    room: usize,
    /// Bytes that it takes at a time.
    bite: usize,
    peer: End,
    shard: End,
}

/// Which way an end of a connection still goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// It sends no more.
    Ended,
    /// It is gone.
    Gone,
}

impl Memory {
    /// A connection to the shard whose peer takes `room` bytes for now, at most `bite` at a time.
    pub fn connect(&self, room: usize, bite: usize) -> (Socket, Peer) {
        let connection = Rc::new(RefCell::new(Connection {
            queue: Rc::downgrade(&self.0),
            watched: None,
            to_shard: VecDeque::new(),
            to_peer: Vec::new(),
            room,
            bite,
            peer: End::Open,
            shard: End::Open,
        }));
        (Socket(connection.clone()), Peer(connection))
    }

    /// Has the queue give so many events at a time.
    pub fn set_batch(&self, events: usize) {
        self.0.batch.set(Batch(events));
    }

    /// Whether something was added to the queue since the last call: what a sleeping shard is woken by.
    pub fn take_edge(&self) -> bool {
        self.0.edge.take()
    }

    /// Has this happen in the middle of the next send.
    pub fn interrupt(&self, interlude: impl FnOnce() + 'static) {
        *self.0.interlude.borrow_mut() = Some(Box::new(interlude));
    }
}

impl Net for Memory {
    type Socket = Socket;

    fn watch(&self, socket: &mut Socket, line: LineKey) -> io::Result<()> {
        socket.0.borrow_mut().watched = Some((line, false));
        announce(&socket.0);
        Ok(())
    }

    fn watch_again(&self, socket: &mut Socket, line: LineKey, for_room: bool) -> io::Result<()> {
        socket.0.borrow_mut().watched = Some((line, for_room));
        announce(&socket.0);
        Ok(())
    }

    fn unwatch(&self, socket: &mut Socket) -> io::Result<()> {
        socket.0.borrow_mut().watched = None;
        Ok(())
    }

    fn poll(&mut self, happened: &mut Vec<Ready>) -> io::Result<bool> {
        let mut waiting = self.0.waiting.borrow_mut();
        let batch = self.0.batch.get().0.min(waiting.len());
        let sockets = waiting.drain(..batch).filter_map(|socket| socket.upgrade());
        happened.extend(sockets.filter_map(|socket| socket.borrow().ready()));
        Ok(batch == self.0.batch.get().0)
    }

    fn read(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let mut connection = socket.0.borrow_mut();
        let count = buffer.len().min(connection.to_shard.len());
        for (to, from) in buffer.iter_mut().zip(connection.to_shard.drain(..count)) {
            *to = from;
        }
        match connection.peer {
            End::Gone => Err(io::ErrorKind::ConnectionReset.into()),
            End::Open if count == 0 => Err(io::ErrorKind::WouldBlock.into()),
            End::Open | End::Ended => Ok(count),
        }
    }

    fn send(&self, socket: &Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let interlude = self.0.interlude.take();
        if let Some(interlude) = interlude {
            interlude();
        }
        let mut connection = socket.0.borrow_mut();
        if connection.peer == End::Gone || connection.shard != End::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let count = offered.min(connection.room).min(connection.bite);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        connection.room -= count;
        let mut left = count;
        for slice in slices {
            let taken = left.min(slice.len());
            connection.to_peer.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        Ok(count)
    }

    fn end(&self, socket: &Socket) -> io::Result<()> {
        let mut connection = socket.0.borrow_mut();
        if connection.peer == End::Gone {
            return Err(io::ErrorKind::NotConnected.into());
        }
        connection.shard = End::Ended;
        Ok(())
    }
}

impl Peer {
    /// Sends to the shard.
    pub fn say(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_shard.extend(bytes);
        announce(&self.0);
    }

    /// Takes so many more bytes, at most `bite` at a time.
    pub fn take(&self, room: usize, bite: usize) {
        let mut connection = self.0.borrow_mut();
        connection.room = connection.room.saturating_add(room);
        connection.bite = bite;
        drop(connection);
        announce(&self.0);
    }

    /// What came since the last call.
    pub fn heard(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().to_peer)
    }

    /// Whether it takes no more for now.
    pub fn is_full(&self) -> bool {
        self.0.borrow().room == 0
    }

    /// Whether the shard sends no more.
    pub fn is_ended(&self) -> bool {
        self.0.borrow().shard != End::Open
    }

    /// Sends no more.
    pub fn end(&self) {
        self.0.borrow_mut().peer = End::Ended;
        announce(&self.0);
    }

    /// Breaks the connection.
    pub fn reset(&self) {
        self.0.borrow_mut().peer = End::Gone;
        announce(&self.0);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.borrow_mut().shard = End::Gone;
    }
}

impl Connection {
    /// What the queue tells of it, if anything.
    fn ready(&self) -> Option<Ready> {
        let (line, for_room) = self.watched?;
        let read_closed = self.peer != End::Open;
        let readable = read_closed || !self.to_shard.is_empty();
        let writable = for_room && (self.room > 0 || self.peer == End::Gone);
        (readable || writable).then_some(Ready {
            line,
            readable,
            writable,
            read_closed,
        })
    }
}

/// Puts a connection into its queue if there is something to tell.
fn announce(connection: &Rc<RefCell<Connection>>) {
    let found = connection.borrow();
    if found.shard == End::Gone || found.ready().is_none() {
        return;
    }
    if let Some(queue) = found.queue.upgrade() {
        queue.edge.set(true);
        let mut waiting = queue.waiting.borrow_mut();
        if !waiting
            .iter()
            .any(|other| std::ptr::eq(other.as_ptr(), Rc::as_ptr(connection)))
        {
            waiting.push_back(Rc::downgrade(connection));
        }
    }
}
