//! A reader's end of its connection, in clear text or under TLS.

use std::{
    cell::RefCell,
    io::{Read, Write},
};

use rustls::ClientConnection;

use crate::{
    shard::{
        net::memory::{Peer, Socket},
        outlet::Outlet,
    },
    tls::testing::pair,
};

/// See the module.
pub enum End {
    Clear(Peer),
    Tls(Peer, Box<RefCell<Client>>),
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

impl End {
    fn peer(&self) -> &Peer {
        match self {
            Self::Clear(peer) | Self::Tls(peer, _) => peer,
        }
    }

    pub fn say(&self, bytes: &[u8]) {
        match self {
            Self::Clear(peer) => peer.say(bytes),
            Self::Tls(peer, client) => {
                let mut client = client.borrow_mut();
                client.tls.writer().write_all(bytes).unwrap();
                peer.say(&client.sealed());
            }
        }
    }

    pub fn take(&self, room: usize, bite: usize) {
        self.peer().take(room, bite);
    }

    /// What came since the last call and could be read.
    pub fn heard(&self) -> Vec<u8> {
        match self {
            Self::Clear(peer) => peer.heard(),
            Self::Tls(peer, client) => client.borrow_mut().open(&peer.heard()),
        }
    }

    pub fn is_full(&self) -> bool {
        self.peer().is_full()
    }

    pub fn is_ended(&self) -> bool {
        self.peer().is_ended()
    }

    /// Whether something came that cannot be read yet.
    pub fn is_torn(&self) -> bool {
        match self {
            Self::Clear(_) => false,
            Self::Tls(_, client) => client.borrow().torn > 0,
        }
    }

    pub fn end(&self) {
        self.peer().end();
    }

    pub fn reset(&self) {
        self.peer().reset();
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
