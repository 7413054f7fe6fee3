//! One connection of the load client and what is said on it.

use std::{
    io::{self, ErrorKind, Read, Write},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use mio::{event::Event, net::TcpStream};

use super::Turn;
use crate::{
    decode::{self, DecodeError, Phase, Reading},
    dialect::{Envelope, Subscription},
    ledger::Ledger,
    publish::{self, Answers},
    session::Identity,
    wire::Wire,
};

/// A socket and what it is for.
pub struct Line {
    socket: TcpStream,
    connected: bool,
    /// What the socket would not take yet; mostly empty.
    unsent: Vec<u8>,
    talk: Talk,
}

enum Talk {
    Reading {
        /// One, or a session's: one for each channel that it reads.
        readers: Range<usize>,
        subscription: Arc<Subscription>,
        reading: Reading,
        /// Messages that still have to confirm what was asked.
        awaited: usize,
        /// Who it is, if it is a session that speaks by requests.
        identity: Option<Box<Identity>>,
    },
    Publishing {
        answers: Answers,
        unanswered: usize,
    },
}

impl Line {
    /// A line of `readers`, which asks for its `subscription` once connected.
    pub fn reading(
        socket: TcpStream,
        readers: Range<usize>,
        subscription: Arc<Subscription>,
        ledger: &Ledger,
    ) -> Self {
        let unsent = subscription.request.clone();
        let talk = Talk::Reading {
            readers,
            reading: Reading::new(subscription.wire, ledger.payloads().bytes()),
            awaited: subscription.confirmations(),
            identity: None,
            subscription,
        };
        Self {
            socket,
            connected: false,
            unsent,
            talk,
        }
    }

    /// A line for requests.
    pub fn publishing(socket: TcpStream) -> Self {
        let talk = Talk::Publishing {
            answers: Answers::default(),
            unanswered: 0,
        };
        Self {
            socket,
            connected: false,
            unsent: Vec::new(),
            talk,
        }
    }

    /// The socket, to be registered.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Sends `bytes` after all that was sent before.
    ///
    /// # Errors
    /// If the connection broke.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.connected || !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let sent = write_some(&mut self.socket, bytes)?;
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Notes that `requests` more answers are to come.
    pub fn expect_answers(&mut self, requests: usize) {
        if let Talk::Publishing { unanswered, .. } = &mut self.talk {
            *unanswered += requests;
        }
    }

    /// Notes that `commands` more are to succeed before a session is at rest again.
    pub fn expect_success(&mut self, commands: usize) {
        if let Talk::Reading { awaited, .. } = &mut self.talk {
            *awaited += commands;
        }
    }

    /// Who it is, if it is a session that speaks by requests and was told.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.talk {
            Talk::Reading { identity, .. } => identity.as_deref(),
            Talk::Publishing { .. } => None,
        }
    }

    /// What stands around a payload that is published here, if it can be.
    pub fn envelope(&self) -> Option<&Envelope> {
        match &self.talk {
            Talk::Reading { subscription, .. } => subscription.envelope.as_ref(),
            Talk::Publishing { .. } => None,
        }
    }

    /// Requests without an answer.
    pub fn unanswered(&self) -> usize {
        match &self.talk {
            Talk::Publishing { unanswered, .. } => *unanswered,
            Talk::Reading { .. } => 0,
        }
    }

    /// The socket became ready.
    ///
    /// # Errors
    /// If it broke, or delivered what it must not.
    pub fn handle_event(
        &mut self,
        event: &Event,
        buffer: &mut [u8],
        ledger: &mut Ledger,
        turn: &mut Turn,
    ) -> Result<()> {
        if event.is_writable() {
            self.on_writable(turn)?;
        }
        if event.is_readable() || event.is_read_closed() {
            self.on_readable(event.is_read_closed(), buffer, ledger, turn)?;
        }
        Ok(())
    }

    fn on_writable(&mut self, turn: &mut Turn) -> Result<()> {
        if !self.connected {
            if let Some(error) = self.socket.take_error()? {
                return Err(error).context("the server did not accept the connection");
            }
            self.connected = true;
        }
        if self.unsent.is_empty() {
            return Ok(());
        }
        let sent = write_some(&mut self.socket, &self.unsent)?;
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
            // A parked poll is answered by nothing: it rests as soon as it was sent.
            if let Talk::Reading { subscription, .. } = &self.talk
                && subscription.wire == Wire::LongPoll
            {
                turn.opened += 1;
            }
        }
        Ok(())
    }

    fn on_readable(
        &mut self,
        is_closing: bool,
        buffer: &mut [u8],
        ledger: &mut Ledger,
        turn: &mut Turn,
    ) -> Result<()> {
        loop {
            let bytes = match self.socket.read(buffer) {
                Ok(0) => return self.on_end(),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("cannot read"),
            };
            self.on_bytes(&buffer[..bytes], ledger, turn)?;
            // A read that leaves room found the socket empty: on Linux the next byte makes a new
            // event. Only the end of the connection has none of its own.
            if bytes < buffer.len() && !is_closing {
                return Ok(());
            }
        }
    }

    fn on_bytes(&mut self, bytes: &[u8], ledger: &mut Ledger, turn: &mut Turn) -> Result<()> {
        match &mut self.talk {
            Talk::Reading {
                readers,
                subscription,
                reading,
                awaited,
                identity,
            } => {
                let before = reading.phase();
                let was_open = before == Phase::Open && *awaited == 0;
                let mut replies = Vec::new();
                turn.received_bytes += bytes.len() as u64;
                if let Some(timing) = ledger.timing() {
                    timing.on_read(Instant::now());
                }
                reading.decode(bytes, |event| match event {
                    decode::Event::Entry(message) => {
                        let told = subscription.hear(message, readers, awaited, ledger)?;
                        if let Some(told) = told {
                            *identity = Some(Box::new(told));
                        }
                        Ok::<(), DecodeError>(())
                    }
                    decode::Event::Ping(payload) => {
                        publish::write_pong(payload, &mut replies);
                        Ok(())
                    }
                })?;
                let phase = reading.phase();
                if (before, phase) == (Phase::Asked, Phase::Open) {
                    replies.extend_from_slice(&subscription.greeting);
                }
                match (before, phase) {
                    (Phase::Asked | Phase::Open, Phase::Open)
                        if !was_open && *awaited == 0 && subscription.wire != Wire::LongPoll =>
                    {
                        turn.opened += 1;
                    }
                    (Phase::Asked | Phase::Open, Phase::Answered) => turn.polls_answered += 1,
                    _ => {}
                }
                if let Some(request) = reading.poll_again(|head| subscription.next_poll(head)) {
                    replies = request;
                }
                if !replies.is_empty() {
                    self.send(&replies)?;
                }
            }
            Talk::Publishing {
                answers,
                unanswered,
            } => {
                let answered = answers.decode(bytes)?;
                *unanswered = unanswered
                    .checked_sub(answered)
                    .context("the server sent more answers than there were requests")?;
            }
        }
        Ok(())
    }

    fn on_end(&self) -> Result<()> {
        match &self.talk {
            Talk::Reading { reading, .. } if reading.phase() == Phase::Answered => Ok(()),
            Talk::Reading { subscription, .. } => {
                let wire = subscription.wire.name();
                bail!("the server closed a {wire} line; see its log")
            }
            Talk::Publishing { .. } => bail!("the server closed a connection that was to be kept"),
        }
    }
}

/// Writes as much as the socket takes.
fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
