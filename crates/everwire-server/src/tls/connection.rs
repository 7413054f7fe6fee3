//! One TLS connection, our side of it, without IO.
//!
//! ```text
//!  ciphertext ─▶ receive ──▶ ┌────────────┐ ──▶ plaintext
//!                            │ Connection │
//!  plaintext ──▶ seal ─────▶ └────────────┘ ──▶ outgoing() ─▶ the transport, in pieces of any size
//! ```
//!
//! An idle connection holds keys and no buffer. rustls offers that where its caller owns the buffers: by its own
//! reader and writer it would keep 4 KiB for each connection from the first read on. That interface is called
//! unbuffered; only this file knows it. (In rustls 0.24 the caller owns the buffer of all connections.)

use std::{io::IoSlice, sync::Arc};

use super::admission::{Authorities, Security};
use rustls::{
    Error, HandshakeKind, ServerConfig,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
        UnbufferedStatus, WriteTraffic,
    },
};

/// Plaintext that is sealed at once, which makes one record (RFC 8446, section 5.1).
pub(crate) const SEALED_BYTES_MAX: usize = 16 * 1024;

/// Bytes that wait for more to make sense of them: a record, or the messages of a handshake. Certificates of clients
/// are the longest, and take a few kilobytes.
const INCOMING_BYTES_MAX: usize = 32 * 1024;

/// What a record has besides its plaintext: head, nonce, type and tag. (An alert has two bytes of plaintext.)
const RECORD_EXTRA: usize = 5 + 8 + 1 + 16 + 2;

/// See the module.
pub(crate) struct Connection {
    tls: UnbufferedServerConnection,
    /// The beginning of a record or of a handshake's message. Without memory while it is empty.
    incoming: Vec<u8>,
    outgoing: Outgoing,
    state: State,
    /// See [`hold_back`](Self::hold_back).
    is_held_back: bool,
    /// Those by whom the client's certificate is judged, if it is asked for one.
    authorities: Option<Authorities>,
}

/// What the peer has not been sent. Without memory while it is empty.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The peer says no more.
    PeerClosed,
    /// The peer broke the protocol.
    Failed,
}

impl Connection {
    /// A connection before its handshake.
    ///
    /// # Errors
    ///
    /// What is configured does not fit together.
    pub fn new(config: Arc<ServerConfig>, authorities: Option<Authorities>) -> Result<Self, Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            outgoing: Outgoing::default(),
            state: State::Open,
            is_held_back: false,
            authorities,
        })
    }

    /// Takes what came from the peer, in which it decrypts. `on_plaintext` gets what the peer says, `outgoing` what it
    /// has to be answered.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol, or refuses us. What it said before that was given; `outgoing` tells it.
    pub fn receive(
        &mut self,
        ciphertext: &mut [u8],
        on_plaintext: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        if self.state == State::Failed {
            return Err(Error::General("it has failed before".to_owned()));
        }
        let received = match std::mem::take(&mut self.incoming) {
            none if none.is_empty() => {
                let used = self.process(ciphertext, on_plaintext);
                used.map(|used| self.incoming = ciphertext[used..].to_vec())
            }
            mut incoming => {
                incoming.extend_from_slice(ciphertext);
                let used = self.process(&mut incoming, on_plaintext);
                used.map(|used| {
                    if used > 0 {
                        incoming = incoming[used..].to_vec();
                    }
                    self.incoming = incoming;
                })
            }
        };
        let is_too_long = self.incoming.len() > INCOMING_BYTES_MAX;
        let received = received.and(match is_too_long {
            true => Err(Error::General("a handshake of too many bytes".to_owned())),
            false => Ok(()),
        });
        if received.is_err() {
            self.state = State::Failed;
            self.incoming = Vec::new();
            self.tell_alert();
        }
        received
    }

    /// Encrypts what is to be said, without its first `skip` bytes. Tells how much of it: all, or as much as makes one
    /// record.
    ///
    /// # Errors
    ///
    /// The handshake is not done, or the connection has ended.
    pub fn seal(&mut self, slices: &[IoSlice<'_>], mut skip: usize) -> Result<usize, Error> {
        let mut rest = slices.iter().filter_map(|slice| {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            (skipped < slice.len()).then(|| &slice[skipped..])
        });
        let Some(first) = rest.next() else {
            return Ok(0);
        };
        let first = &first[..first.len().min(SEALED_BYTES_MAX)];
        let Some(second) = rest.next().filter(|_| first.len() < SEALED_BYTES_MAX) else {
            return self.encrypt(first).map(|()| first.len());
        };
        let mut plaintext = first.to_vec();
        for slice in std::iter::once(second).chain(rest) {
            let room = SEALED_BYTES_MAX - plaintext.len();
            plaintext.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        self.encrypt(&plaintext).map(|()| plaintext.len())
    }

    /// Tells the peer that we say no more (RFC 8446, section 6.1), if it can be told.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method by its name is for one lifetime only"
    )]
    pub fn close(&mut self) {
        self.say(0, |traffic, out| traffic.queue_close_notify(out));
    }

    /// What has to be sent to the peer.
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.chunk()
    }

    /// The transport has taken so much of it.
    pub fn advance_outgoing(&mut self, count: usize) {
        self.outgoing.advance(count);
    }

    /// Remembers that the last byte that was sealed is told as not taken, so that whoever sends waits for the
    /// transport as if it had taken that much less: what is sealed cannot be taken back, and it must not be thought
    /// to be out before it is.
    pub fn hold_back(&mut self) {
        self.is_held_back = true;
    }

    /// Whether the first byte of what is to be sent next was sealed before. Tells so once.
    pub fn take_held_back(&mut self) -> bool {
        std::mem::take(&mut self.is_held_back)
    }

    /// Whether the peer says no more.
    pub fn peer_has_closed(&self) -> bool {
        self.state == State::PeerClosed
    }

    /// Whether the handshake is still to be done.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// How the connection is secured, once its handshake is done.
    pub fn security(&self) -> Security {
        let has_shown = self.tls.peer_certificates().is_some();
        Security::Tls(self.authorities.filter(|_| has_shown))
    }

    /// How the handshake was done, once it is.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        self.tls.handshake_kind()
    }

    /// The protocol that was agreed upon (RFC 7301).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Decrypts records in place. Returns how many bytes are done with.
    fn process(
        &mut self,
        ciphertext: &mut [u8],
        on_plaintext: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.tls.process_tls_records(&mut ciphertext[used..]);
            let is_done = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        on_plaintext(record.payload);
                    }
                    false
                }
                ConnectionState::EncodeTlsData(data) => {
                    self.outgoing.encode(data);
                    false
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    false
                }
                ConnectionState::PeerClosed => {
                    self.state = State::PeerClosed;
                    false
                }
                // Early data is not offered, so none comes.
                _ => true,
            };
            used += discard;
            if is_done {
                return Ok(used);
            }
        }
    }

    fn encrypt(&mut self, plaintext: &[u8]) -> Result<(), Error> {
        match self.say(plaintext.len(), |traffic, out| {
            traffic.encrypt(plaintext, out)
        }) {
            Some(true) => Ok(()),
            Some(false) => Err(Error::EncryptError),
            None => Err(Error::HandshakeNotComplete),
        }
    }

    /// Has something written to `outgoing`, if the connection is open for it. Tells whether that was done.
    fn say(
        &mut self,
        len: usize,
        mut write: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Option<bool> {
        if self.state == State::Failed {
            return None;
        }
        // rustls remembers places in what is not whole yet, so it has to be shown that each time.
        let mut incoming = std::mem::take(&mut self.incoming);
        // What the protocol itself still has to say goes first.
        let processed = self.process(&mut incoming, &mut |_| {});
        debug_assert!(
            matches!(processed, Ok(0) | Err(_)),
            "all that was whole was taken"
        );
        let Self { tls, outgoing, .. } = self;
        let said = match tls.process_tls_records(&mut incoming).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                Some(outgoing.write(len + RECORD_EXTRA, |out| {
                    write(&mut traffic, out).map_err(|error| match error {
                        EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                            Some(required_size)
                        }
                        EncryptError::EncryptExhausted => None,
                    })
                }))
            }
            _ => None,
        };
        self.incoming = incoming;
        said
    }

    /// Has the peer told why the connection has failed.
    fn tell_alert(&mut self) {
        // Asked for more than that, rustls would look at what is not there any more.
        while self.tls.wants_write() {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => self.outgoing.encode(data),
                _ => return,
            }
        }
    }
}

type Traffic<'c> = WriteTraffic<'c, ServerConnectionData>;

impl Outgoing {
    /// Writes what needs about so much room. An error asks for more of it, or tells that nothing can be written.
    fn write(
        &mut self,
        mut room: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
    ) -> bool {
        let start = self.bytes.len();
        loop {
            self.bytes.resize(start + room, 0);
            match write(&mut self.bytes[start..]) {
                Ok(count) => {
                    self.bytes.truncate(start + count);
                    return true;
                }
                Err(Some(required)) if required > room => room = required,
                Err(_) => {
                    self.bytes.truncate(start);
                    return false;
                }
            }
        }
    }

    fn encode(&mut self, mut data: EncodeTlsData<'_, ServerConnectionData>) {
        self.write(0, |out| {
            data.encode(out).map_err(|error| match error {
                EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                    Some(required_size)
                }
                EncodeError::AlreadyEncoded => None,
            })
        });
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustls::ClientConnection;

    use super::*;
    use crate::tls::testing::{Forger, pair};

    fn sealed(client: &mut ClientConnection, text: &[u8]) -> Vec<u8> {
        client.writer().write_all(text).unwrap();
        let mut sealed = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sealed).unwrap();
        }
        sealed
    }

    fn said(ours: &mut Connection, theirs: &mut ClientConnection) -> Vec<u8> {
        let mut said = Vec::new();
        while !ours.outgoing().is_empty() {
            let count = theirs.read_tls(&mut ours.outgoing()).unwrap();
            ours.advance_outgoing(count);
            let state = theirs.process_new_packets().unwrap();
            let start = said.len();
            said.resize(start + state.plaintext_bytes_to_read(), 0);
            std::io::Read::read_exact(&mut theirs.reader(), &mut said[start..]).unwrap();
        }
        said
    }

    #[test]
    fn records_may_be_split_at_every_byte() {
        let texts: [&[u8]; 3] = [b"one", b"two and more", b"three"];
        // Not delivered, and missed, so that it needs a connection of its own.
        let (_, mut theirs) = pair();
        let len = texts.map(|text| sealed(&mut theirs, text)).concat().len();
        let (mut ours, mut theirs) = pair();
        for at in 0..=len {
            let all = texts.map(|text| sealed(&mut theirs, text)).concat();
            let mut heard = Vec::new();
            for part in [&all[..at], &all[at..]] {
                ours.receive(&mut part.to_vec(), &mut |text| {
                    heard.extend_from_slice(text);
                })
                .unwrap();
                // To say something in between changes nothing.
                ours.seal(&[IoSlice::new(b"yes")], 0).unwrap();
            }
            assert_eq!(heard, texts.concat(), "split at {at}");
            assert_eq!(said(&mut ours, &mut theirs), b"yesyes", "split at {at}");
            assert_eq!(
                (ours.incoming.capacity(), ours.outgoing.bytes.capacity()),
                (0, 0)
            );
        }
    }

    #[test]
    fn what_is_sealed_begins_where_it_should_and_is_one_record() {
        let (mut ours, mut theirs) = pair();
        let text: Vec<u8> = (0..40_000_u32)
            .map(|at| at as u8 ^ (at >> 8) as u8)
            .collect();
        for cuts in [
            &[0_usize, 40_000][..],
            &[0, 1, 2, 20_000, 40_000],
            &[0, 0, 16_384, 40_000],
        ] {
            let slices: Vec<_> = cuts
                .windows(2)
                .map(|cut| IoSlice::new(&text[cut[0]..cut[1]]))
                .collect();
            for skip in [0, 1, 2, 16_383, 16_384, 30_000, 39_999, 40_000] {
                let expected = &text[skip..text.len().min(skip + SEALED_BYTES_MAX)];
                assert_eq!(ours.seal(&slices, skip).unwrap(), expected.len());
                assert_eq!(
                    said(&mut ours, &mut theirs),
                    expected,
                    "{cuts:?} from {skip}"
                );
            }
        }
    }

    /// Nobody does so, and rustls would look for what it has seen of it wherever it is told to look.
    #[test]
    fn who_says_half_of_a_message_of_the_protocol_is_still_spoken_to() {
        let (mut ours, theirs) = pair();
        let mut forger = Forger::new(theirs);
        // The beginning of a KeyUpdate (RFC 8446, section 4.6.3), in two records.
        for part in [&b"\x18\x00"[..], b"\x00"] {
            let mut record = forger.record(HANDSHAKE, part);
            ours.receive(&mut record, &mut |_| unreachable!("nothing is said"))
                .unwrap();
            assert_eq!(ours.seal(&[IoSlice::new(b"still here")], 0).unwrap(), 10);
        }
        ours.close();
        assert!(ours.outgoing().len() > 20);
    }

    #[test]
    fn a_message_of_the_protocol_that_does_not_end_is_refused() {
        let (mut ours, theirs) = pair();
        let mut forger = Forger::new(theirs);
        let mut kept = 0;
        let refused = (0..100).find(|round| {
            // The head of a message of 60,000 bytes, and then more and more of it.
            let part = match round {
                0 => b"\x18\x00\xea\x60".to_vec(),
                _ => vec![0; 1000],
            };
            let mut record = forger.record(HANDSHAKE, &part);
            let received = ours.receive(&mut record, &mut |_| unreachable!("nothing is said"));
            kept = kept.max(ours.incoming.len());
            received.is_err()
        });
        assert!(
            refused.is_some() && kept <= INCOMING_BYTES_MAX,
            "{refused:?}, {kept}"
        );
        assert!(ours.seal(&[IoSlice::new(b"more")], 0).is_err());
        assert!(ours.receive(&mut [0], &mut |_| {}).is_err());
    }

    const HANDSHAKE: u8 = 22;
}
