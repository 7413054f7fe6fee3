//! One line: a socket, a place, and what little is known of it. Everything rare is in its [`Side`].

use std::{collections::VecDeque, rc::Rc, time::Instant};

use bytes::{Bytes, BytesMut};
use everwire_websocket::{Deflate, Inbound};

use crate::census::{Seat as AddressSeat, Visit};

use super::{FeedKey, SubscriberKey};
use super::{
    behind::Behind,
    held::HeldEntry,
    large::Encoding,
    outlet::Outlet,
    poll::Poll,
    room::Share,
    session::{Late, Session},
};

/// What an open line needs while nothing is in flight. Its socket is in its seat.
pub(crate) struct Line<S> {
    pub seat: Seat<S>,
    /// The shard's second in which something last came from the peer.
    pub heard_s: u32,
    /// Tells this line from an earlier one of the same number, for timers.
    pub generation: u32,
    /// Its place in the count of lines; `None` once it has left.
    pub address: Option<AddressSeat>,
    pub deflate: Option<Deflate>,
    pub rights: Rights,
    /// It stands in the queue of lines that go on in the next turn.
    pub asks_again: bool,
    /// A timer looks after the line while it is blocked. Known here, not in its side: a side comes and goes with
    /// each blockage, its timers would pile up.
    pub stall_armed: bool,
}

/// Where a line's socket is.
pub(crate) enum Seat<S> {
    /// Among the subscribers of a feed.
    Feed { feed: FeedKey, index: SubscriberKey },
    /// Among the subscribers of any number of feeds, which know it by its number.
    Session(Box<Session<S>>),
    /// By itself.
    Alone(Box<Alone<S>>),
    /// The line is closed; its number becomes free when the batch of events is done, so that a stale event
    /// never names a new line.
    Vacant,
}

/// What a line may do, and what was asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// What comes in is published.
    pub publish: bool,
    /// A gap ends the line instead of being told.
    pub fail_on_gap: bool,
}

/// A line that is in no feed.
pub(crate) struct Alone<S> {
    pub outlet: Outlet<S>,
    pub role: Role,
}

/// What a line that is in no feed is there for.
pub(crate) enum Role {
    /// A parked long poll.
    Poll(Poll),
    /// A long poll whose answer is going out; what was read after its request goes back to HTTP with it.
    Answering {
        unread: BytesMut,
        visit: Option<Visit>,
    },
    /// Sends messages back.
    Echo,
    /// All was said; waits for the peer to close, so that what was sent last is not lost to a reset.
    Lingering,
}

/// What a line needs only while something is in flight.
#[derive(Default)]
pub(crate) struct Side {
    /// The unfinished message that is coming in.
    pub inbound: Inbound,
    /// The room that it takes.
    pub inbound_room: Option<Share>,
    /// Goes out before anything else. Ends at a boundary between entries, unless `behind` skips into one.
    pub out: BytesMut,
    /// Goes out after that: bytes that other lines are sent too.
    pub shared: Bytes,
    /// The line reads from the log, not from its feed's tail.
    pub behind: Option<Behind>,
    /// Of a session: the feed that `behind` is a place in.
    pub reads: Option<FeedKey>,
    /// Of a session: the other feeds that it reads from the log, which take turns.
    pub late: VecDeque<Late>,
    /// The entry that `behind` is inside of, so that it can be finished though retention lets go of it. Its payload
    /// is shared with all others who have it.
    pub inside: Option<Box<HeldEntry>>,
    /// The encoding of that entry, if it is a large one. Shared by all who are inside it.
    pub encoding: Option<Rc<Encoding>>,
    /// Replies that wait for the end of the entry that `behind` is inside of.
    pub replies: BytesMut,
    /// The last words of a line that still has something to read: said when it has all there is or, once its
    /// socket takes no more, at the next boundary between entries. They may be empty, where the connection's end
    /// says it all.
    pub farewell: Option<Bytes>,
    /// Since when the socket takes nothing; the shard waits for it to be writable.
    pub blocked_since: Option<Instant>,
    /// The room that what waits meanwhile takes.
    pub outbound_room: Option<Share>,
    /// There may be input that was left unread while the line was blocked.
    pub unread: bool,
    /// Of a session: what came in and waits until more of the replies to what came before is out.
    pub unheard: BytesMut,
    /// What happens when everything is out.
    pub then: Then,
}

/// What happens to a line when everything is out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Then {
    /// It goes on.
    #[default]
    Stay,
    /// It is closed: the peer knows that it ends.
    Close,
    /// Our side is closed, and the peer gets some time to close its own.
    Linger,
    /// Its connection goes back to HTTP.
    Return,
}

impl Side {
    /// Whether it holds nothing, so that the line can do without.
    pub fn is_idle(&self) -> bool {
        self.inbound.is_idle()
            && !self.unread
            && self.unheard.is_empty()
            && self.has_nothing_to_say()
    }

    /// Whether what is said next may go out at once.
    pub fn has_nothing_to_say(&self) -> bool {
        self.out.is_empty()
            && self.behind.is_none()
            && self.late.is_empty()
            && self.shared.is_empty()
            && self.replies.is_empty()
            && self.farewell.is_none()
            && self.blocked_since.is_none()
            && self.then == Then::Stay
    }

    /// Of a session: goes on with the feed whose turn it is.
    pub fn next_late(&mut self) -> Option<Behind> {
        let Late { feed, behind } = self.late.pop_front()?;
        self.reads = Some(feed);
        self.behind = Some(behind);
        self.behind
    }

    /// Of a session: lets its other feeds have their turn. Only between entries.
    pub fn take_turns(&mut self) {
        let is_alone = self.late.is_empty();
        if let (Some(behind), Some(feed), false) = (self.behind, self.reads, is_alone) {
            debug_assert_eq!(behind.skip, 0, "inside an entry nobody else has a turn");
            self.late.push_back(Late { feed, behind });
            self.behind = None;
        }
    }

    /// Of a session: it reads from a feed no longer. False if it is inside one of its entries, which has to be
    /// finished.
    pub fn forget_late(&mut self, feed: FeedKey) -> bool {
        self.late.retain(|late| late.feed != feed);
        match self.behind {
            Some(behind) if self.reads == Some(feed) => {
                if behind.skip == 0 {
                    self.behind = None;
                }
                behind.skip == 0
            }
            Some(_) | None => true,
        }
    }

    /// Adds bytes that may only go out between entries.
    pub fn push_reply(&mut self, bytes: &[u8]) {
        match self.behind {
            Some(Behind { skip: 1.., .. }) => self.replies.extend_from_slice(bytes),
            Some(_) | None => self.out.extend_from_slice(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{Kernel, feed::Subscriber, net::Net};

    type Socket = <Kernel as Net>::Socket;

    /// What an idle line costs in user space, besides its slot in the event queue. In debug builds mio keeps a
    /// check beside each socket.
    #[test]
    fn an_idle_line_is_a_few_words() {
        let check = if cfg!(debug_assertions) { 16 } else { 0 };
        assert!(
            size_of::<Subscriber<Socket>>() <= 16 + check,
            "hot: {}",
            size_of::<Subscriber<Socket>>()
        );
        assert!(
            size_of::<Line<Socket>>() <= 40,
            "cold: {}",
            size_of::<Line<Socket>>()
        );
    }

    #[test]
    fn a_fresh_side_is_idle() {
        assert!(Side::default().is_idle());
        let behind = Some(Behind::at(3, 0));
        assert!(
            !Side {
                behind,
                ..Side::default()
            }
            .is_idle()
        );
    }
}
