//! A reader's end of its connection, in clear text, under TLS or through a pipe.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io::{Read, Write},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use rustls::ClientConnection;

use crate::{
    session_id::SessionId,
    shard::{
        Mailbox, Pipe, Takes,
        net::memory::{Peer, Socket},
        outlet::Outlet,
    },
    tls::testing::pair,
};

/// See the module.
pub enum End {
    Clear(Peer),
    Tls(Peer, Box<RefCell<Client>>),
    Pipe(Box<Stream>),
}

/// The client's side of a stream of HTTP/2.
pub struct Stream {
    pipe: Arc<Pipe>,
    /// Bytes that it takes for now.
    window: Cell<usize>,
    /// Taken out of the pipe, and beyond the window.
    waiting: RefCell<Bytes>,
    /// Something was taken out of the pipe since this was asked for last.
    has_taken: Cell<bool>,
    /// What waits for the shard to take what came before, and whether the end follows.
    unsaid: RefCell<VecDeque<Bytes>>,
    ends: Cell<bool>,
    is_ended: Cell<bool>,
}

/// The client's side of TLS.
pub struct Client {
    tls: ClientConnection,
    /// Bytes of records that are not whole yet.
    torn: usize,
}

/// Both ends of a connection whose handshake is done.
pub fn under_tls(socket: Socket, peer: Peer) -> (Outlet<Socket>, End) {
    let (ours, tls) = pair();
    let client = RefCell::new(Client { tls, torn: 0 });
    (
        Outlet::new(socket, Some(ours)),
        End::Tls(peer, Box::new(client)),
    )
}

/// Both ends of a pipe.
pub fn through_a_pipe(line: SessionId, shard: &Arc<Mailbox>, window: usize) -> (Arc<Pipe>, End) {
    let pipe = Arc::new(Pipe::new(line, shard.clone(), Takes::Bytes));
    let stream = Stream {
        pipe: pipe.clone(),
        window: Cell::new(window),
        waiting: RefCell::default(),
        has_taken: Cell::new(false),
        unsaid: RefCell::default(),
        ends: Cell::new(false),
        is_ended: Cell::new(false),
    };
    (pipe, End::Pipe(Box::new(stream)))
}

impl End {
    pub fn say(&self, bytes: &[u8]) {
        match self {
            Self::Pipe(stream) => {
                if !bytes.is_empty() {
                    let bytes = Bytes::copy_from_slice(bytes);
                    stream.unsaid.borrow_mut().push_back(bytes);
                }
                stream.speak_out();
            }
            Self::Clear(peer) => peer.say(bytes),
            Self::Tls(peer, client) => {
                let mut client = client.borrow_mut();
                client.tls.writer().write_all(bytes).unwrap();
                peer.say(&client.sealed());
            }
        }
    }

    pub fn take(&self, room: usize, bite: usize) {
        match self {
            Self::Clear(peer) | Self::Tls(peer, _) => peer.take(room, bite),
            // It is cut as the pipe cuts it.
            Self::Pipe(stream) => stream.window.set(stream.window.get().saturating_add(room)),
        }
    }

    /// What came since the last call and could be read.
    pub fn heard(&self) -> Vec<u8> {
        match self {
            Self::Clear(peer) => peer.heard(),
            Self::Tls(peer, client) => client.borrow_mut().open(&peer.heard()),
            Self::Pipe(stream) => {
                stream.speak_out();
                stream.heard()
            }
        }
    }

    /// Whether the shard has seen that it took something, of which it heard this.
    pub fn has_taken(&self, heard: &[u8]) -> bool {
        match self {
            Self::Clear(_) | Self::Tls(..) => !heard.is_empty(),
            // What it takes of that afterwards, byte by byte, the shard does not see.
            Self::Pipe(stream) => stream.has_taken.take(),
        }
    }

    pub fn is_full(&self) -> bool {
        match self {
            Self::Clear(peer) | Self::Tls(peer, _) => peer.is_full(),
            Self::Pipe(stream) => stream.window.get() == 0,
        }
    }

    pub fn is_ended(&self) -> bool {
        match self {
            Self::Clear(peer) | Self::Tls(peer, _) => peer.is_ended(),
            Self::Pipe(stream) => stream.is_ended.get(),
        }
    }

    /// Whether something came that cannot be read yet.
    pub fn is_torn(&self) -> bool {
        match self {
            Self::Clear(_) | Self::Pipe(_) => false,
            Self::Tls(_, client) => client.borrow().torn > 0,
        }
    }

    pub fn end(&self) {
        match self {
            Self::Clear(peer) | Self::Tls(peer, _) => peer.end(),
            Self::Pipe(stream) => {
                stream.ends.set(true);
                stream.speak_out();
            }
        }
    }

    pub fn reset(&self) {
        match self {
            Self::Clear(peer) | Self::Tls(peer, _) => peer.reset(),
            Self::Pipe(stream) => drop(stream.pipe.abandon()),
        }
    }
}

impl Stream {
    fn speak_out(&self) {
        let noop = Context::from_waker(Waker::noop());
        if self.pipe.poll_accepts(&noop) != Poll::Ready(true) {
            return;
        }
        match self.unsaid.borrow_mut().pop_front() {
            Some(bytes) => self.pipe.give(bytes),
            None if self.ends.take() => self.pipe.give_end(),
            None => {}
        }
    }

    fn heard(&self) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut waiting = self.waiting.borrow_mut();
        while self.window.get() > 0 {
            if waiting.is_empty() {
                match self.pipe.poll_take(&Context::from_waker(Waker::noop())) {
                    Poll::Ready(Some(bytes)) => {
                        *waiting = bytes;
                        self.has_taken.set(true);
                    }
                    Poll::Ready(None) => {
                        self.is_ended.set(true);
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            let count = self.window.get().min(waiting.len());
            let taken = waiting.split_to(count);
            self.window.set(self.window.get() - taken.len());
            heard.extend_from_slice(&taken);
        }
        if self.pipe.is_cut() {
            self.is_ended.set(true);
        }
        heard
    }
}

impl Client {
    fn sealed(&mut self) -> Vec<u8> {
        let mut sealed = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut sealed).unwrap();
        }
        sealed
    }

    fn open(&mut self, mut ciphertext: &[u8]) -> Vec<u8> {
        let mut plaintext = Vec::new();
        while !ciphertext.is_empty() {
            self.torn += self.tls.read_tls(&mut ciphertext).unwrap();
            let state = self.tls.process_new_packets();
            let state = state.expect("records come whole and in order");
            let start = plaintext.len();
            plaintext.resize(start + state.plaintext_bytes_to_read(), 0);
            self.tls
                .reader()
                .read_exact(&mut plaintext[start..])
                .unwrap();
            if plaintext.len() > start {
                self.torn = 0; // or less than a read before it: close enough for who may be cut
            }
        }
        plaintext
    }
}
