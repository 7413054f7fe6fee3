//! Sessions that requests speak for, and lines that have a pipe: what comes for them is mail.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use everwire_websocket::CloseCode;
use everwire_wire::{Command, Operation, Problem, ProblemKind, encode_error};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{
    super::{LineKey, Net, Shard, inbound::Until, outlet::Outlet},
    decide::{Answers, Done, Parked},
};
use crate::{
    budget::{self, Content, FREE_BYTES},
    publish::bad,
    session_id::SessionId,
};

/// Commands that came in by a request.
#[derive(Debug)]
pub(crate) struct Commands {
    pub session: SessionId,
    /// An object, or an array of them.
    pub content: Content,
    /// Gets an array of replies; dropped if there is no such session.
    pub answer: oneshot::Sender<Result<Bytes, Problem>>,
}

/// A request whose commands are being carried out.
pub(crate) struct Request {
    /// Those that are left.
    commands: VecDeque<Bytes>,
    /// Of the budget, for as long as there are some.
    _share: Option<budget::Share>,
    replies: BytesMut,
    /// Of the budget, for the replies.
    told: budget::Share,
    answer: oneshot::Sender<Result<Bytes, Problem>>,
}

impl<N: Net> Shard<N> {
    pub(in super::super) fn on_remote_commands(&mut self, commands: Commands) {
        let key = self.remotes.get(&commands.session).copied();
        if let Some(key) = key {
            self.judge_at_once(key);
        }
        let Some(key) = key.filter(|key| self.session(*key).is_some()) else {
            return;
        };
        if self.is_parked(key) {
            return self.queue(key, commands);
        }
        self.begin_request(key, commands);
        self.send_side(key);
    }

    fn begin_request(&mut self, key: LineKey, commands: Commands) {
        let Commands {
            content, answer, ..
        } = commands;
        let all = self
            .check_backlog(key)
            .and_then(|()| self.commands_of(&content.bytes))
            .and_then(|commands| Ok((commands, self.shared.hold(self.account(key)?, 0)?)));
        match all {
            Ok((commands, told)) => {
                let replies = BytesMut::from(&b"["[..]);
                let request = Request {
                    commands,
                    _share: content.share,
                    replies,
                    told,
                    answer,
                };
                self.carry_out_all(key, request, Answers::NONE);
            }
            Err(problem) => drop(answer.send(Err(problem))),
        }
    }

    /// Goes on with a request that had to wait, and with those that came after it.
    pub(super) fn request_parked(&mut self, key: LineKey, request: Request, answers: Answers) {
        self.carry_out_all(key, request, answers);
        while !self.is_parked(key)
            && let Some(next) = self.unqueue(key)
        {
            self.begin_request(key, next);
        }
        self.send_side(key);
    }

    /// Whoever takes nothing is not heard either, so that what commands give rise to does not pile up.
    fn check_backlog(&self, key: LineKey) -> Result<(), Problem> {
        let side = self
            .sides
            .get(&key)
            .filter(|side| side.blocked_since.is_some());
        match side.map_or(0, |side| side.out.len() + side.replies.len()) {
            0..=BACKLOG_BYTES_MAX => Ok(()),
            waiting => {
                let detail = format!(
                    "the session does not take what it is told, of which {waiting} bytes wait; read its stream, or \
                     poll, before asking for more"
                );
                Err(Problem::new(ProblemKind::TooMany, detail).at_limit("backlog_bytes_max"))
            }
        }
    }

    /// The commands of a content, each as it was written.
    fn commands_of(&self, content: &Bytes) -> Result<VecDeque<Bytes>, Problem> {
        let commands = split_commands(content)?;
        let commands_max = self.shared.live.config.sessions.commands_max;
        if commands.len() > commands_max {
            let detail = format!(
                "the request has {} commands, and may have {commands_max} (sessions.commands_max); send them in parts",
                commands.len()
            );
            return Err(Problem::new(ProblemKind::TooLarge, detail).at_limit("commands_max"));
        }
        // Before any is carried out: a request that is refused as a whole has done nothing.
        for command in &commands {
            Command::check_object(command.get()).map_err(|error| bad(error.to_string()))?;
        }
        let own = |command: &&RawValue| content.slice_ref(command.get().as_bytes());
        Ok(commands.iter().map(own).collect())
    }

    /// Carries out what is left of a request, the first with what was answered about it, and answers the request; or
    /// has it wait with a command that the application has to judge.
    fn carry_out_all(&mut self, key: LineKey, mut request: Request, mut answers: Answers) {
        while let Some(command) = request.commands.pop_front() {
            let mut answers = std::mem::take(&mut answers);
            let replies = &mut request.replies;
            let text = std::str::from_utf8(&command).unwrap_or_default(); // it was parsed
            let before = replies.len();
            if before > 1 {
                replies.put_slice(b",");
            }
            if before > self.shared.live.config.limits.page_bytes_max {
                self.refuse_reply(text, replies);
                continue;
            }
            let mut notices = BytesMut::new();
            match self.command(key, text, &mut answers, replies, &mut notices) {
                Ok(Done::Answered) => {
                    self.hold_reply(text, before, &mut request);
                    self.side(key).push_reply(&notices);
                }
                Ok(Done::Waits(subject)) => {
                    replies.truncate(before);
                    request.commands.push_front(command);
                    let bytes: usize = request.commands.iter().map(Bytes::len).sum();
                    return match self.room_for(key, bytes + before) {
                        Ok(room) => {
                            self.set_aside(key, (subject, answers), Parked::Request(request), room);
                        }
                        Err(problem) => drop(request.answer.send(Err(problem))),
                    };
                }
                Err(problem) => return drop(request.answer.send(Err(problem))),
            }
        }
        request.replies.put_slice(b"]");
        // Whoever asked may be gone; what was asked is done all the same.
        let replies = request.told.with(request.replies.freeze());
        let _ = request.answer.send(Ok(replies));
    }

    /// Holds the reply after `before`, if it is more than little: until it is taken. Where there is no room for it, it is
    /// an error instead, unless it tells of what was done.
    fn hold_reply(&self, text: &str, before: usize, request: &mut Request) {
        let Request { replies, told, .. } = request;
        // Not the length: what it has grown to is kept until the answer is taken.
        let bytes = replies.capacity();
        if bytes <= FREE_BYTES {
            return;
        }
        let Err(exhausted) = told.grow_to(bytes) else {
            return;
        };
        let looks = |operation: &Operation<'_>| match operation {
            Operation::History { .. } | Operation::Presence { .. } => true,
            Operation::Subscribe(_)
            | Operation::Unsubscribe { .. }
            | Operation::Publish(_)
            | Operation::Authenticate { .. }
            | Operation::Ping => false,
        };
        if Command::parse(text).is_ok_and(|command| looks(&command.operation)) {
            let problem = exhausted.problem();
            self.shared.metrics.refused(&problem);
            // And so none of it is kept.
            *replies = BytesMut::from(&replies[..before]);
            if before > 1 {
                replies.put_slice(b",");
            }
            encode_error(Command::id_of(text), &problem, replies);
        } else {
            told.settle(bytes);
        }
    }

    /// Answers a command that is not carried out, since its request asked for so much before.
    fn refuse_reply(&self, text: &str, replies: &mut BytesMut) {
        let bytes_max = self.shared.live.config.limits.page_bytes_max;
        let detail = format!(
            "the replies to this request have more than {bytes_max} bytes (limits.page_bytes_max) before this one; \
             ask in another request"
        );
        let problem = Problem::new(ProblemKind::TooMany, detail).at_limit("page_bytes_max");
        self.shared.metrics.refused(&problem);
        encode_error(Command::id_of(text), &problem, replies);
    }

    /// A line is gone that may have had a pipe.
    pub(in super::super) fn forget_pipe(&mut self, outlet: &Outlet<N::Socket>) {
        if let Outlet::Pipe(end) = outlet {
            self.remotes.remove(&end.0.line());
        }
    }

    /// There is something to read in a line's pipe.
    pub(in super::super) fn on_pipe_readable(&mut self, line: SessionId) {
        if let Some(key) = self.remotes.get(&line).copied() {
            self.on_readable(key, Until::Empty);
        }
    }

    /// A pipe that was full has room again.
    pub(in super::super) fn on_room(&mut self, line: SessionId) {
        if let Some(key) = self.remotes.get(&line).copied() {
            self.on_writable(key);
        }
    }

    /// A session's client ends it, or nobody takes anything any more out of a line's pipe.
    pub(in super::super) fn on_gone(&mut self, line: SessionId) {
        if let Some(key) = self.remotes.get(&line).copied() {
            match self.session(key).map(|session| &session.outlet) {
                Some(Outlet::Socket(_) | Outlet::Tls(_)) => {
                    self.close_session(key, CloseCode::NORMAL, "the session was ended");
                }
                // A pipe that is full has no room for a goodbye, and nobody to make room any more.
                Some(Outlet::Pipe(_)) | None => self.close(key),
            }
        }
    }
}

/// So many bytes may wait for a session that takes nothing while commands are still carried out; beyond them they
/// are refused with `too-many` (429). It is no setting, since whoever meets it has only to read.
const BACKLOG_BYTES_MAX: usize = 16 * 1024;

/// The commands of a content, each as it was written. They are read one by one, so that a wrong one is answered
/// in its place.
fn split_commands(content: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    let not_json = |error: serde_json::Error| {
        Problem::new(
            ProblemKind::BadContent,
            format!("the content is not JSON: {error}; send a command, or an array of them"),
        )
    };
    if content.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(content).map_err(not_json);
    }
    let one: &RawValue = serde_json::from_slice(content).map_err(not_json)?;
    Ok(vec![one])
}
