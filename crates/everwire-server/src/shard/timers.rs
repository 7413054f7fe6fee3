//! What happens by the clock: heartbeats, long polls that end, lifetimes, and peers that take nothing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use everwire_websocket::encode_close;
use everwire_wire::{Framing, Problem};

use super::{
    FeedKey, LineKey, Net, Pipe, Role, SLICE, Seat, Shard, Then, calendar::Calendar,
    inbound::Until, line::Line, outlet::Outlet, wheel::Wheel,
};
use crate::{auth, clock::Now};

/// What will happen by the clock. A shard has two: one tells how much time has passed, the other what date it is.
pub(super) struct Timers {
    pub wheel: Wheel<Timer>,
    calendar: Calendar<Timer>,
    /// Those that have fired and wait for their turn.
    fired: VecDeque<Timer>,
}

/// When something ends that somebody gave until a date. It ends as soon as one of both clocks has come there: so it is
/// over when the clock is set forward beyond its date, and when the clock is set back, it lasts neither shorter nor longer
/// than it would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    unix_ms: u64,
    /// By the shard's milliseconds, as far as the date was off when this was learnt.
    pub elapsed_ms: u64,
}

/// What a timer is for. One that names a line which is gone, or another life of its number, is stale.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// A feed may need a heartbeat.
    Heartbeat { feed: FeedKey, generation: u32 },
    /// A long poll has waited long enough.
    Poll(LineRef),
    /// A line has lived long enough.
    Lifetime(LineRef),
    /// A line's caller is not permitted any more.
    Expiry(LineRef),
    /// A line may have taken nothing for too long.
    Stall(LineRef),
    /// A peer had time enough to close its side.
    Linger(LineRef),
    /// A session may need a heartbeat.
    Beat(LineRef),
    /// What the application let a session have may be over.
    Lent(LineRef),
}

/// A line, and which life of its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineRef {
    key: LineKey,
    generation: u32,
}

impl Timer {
    pub fn stall(line: LineRef) -> Self {
        Self::Stall(line)
    }

    pub fn poll(line: LineRef) -> Self {
        Self::Poll(line)
    }

    pub fn lifetime(line: LineRef) -> Self {
        Self::Lifetime(line)
    }

    pub fn expiry(line: LineRef) -> Self {
        Self::Expiry(line)
    }

    pub fn linger(line: LineRef) -> Self {
        Self::Linger(line)
    }

    pub fn beat(line: LineRef) -> Self {
        Self::Beat(line)
    }

    pub fn lent(line: LineRef) -> Self {
        Self::Lent(line)
    }
}

impl Timers {
    pub fn new(now: Instant) -> Self {
        Self {
            wheel: Wheel::new(now),
            calendar: Calendar::new(),
            fired: VecDeque::new(),
        }
    }

    /// Whether some wait for their turn.
    pub fn are_due(&self, now_ms: u64) -> bool {
        !self.fired.is_empty() || self.calendar.is_due(now_ms)
    }

    /// When to look at the clocks again. Nothing tells that a clock was set, so the date is looked at each second.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let date = (!self.calendar.is_empty()).then(|| now + LOOK);
        [self.wheel.wake_at(), date].into_iter().flatten().min()
    }

    /// Has a slice of what is due wait for its turn, or more if it is due by the time that has passed.
    fn fire(&mut self, now: Now) {
        self.wheel.fire(now.instant, &mut self.fired);
        while self.fired.len() < SLICE
            && let Some(timer) = self.calendar.pop(now.unix_ms)
        {
            self.fired.push_back(timer);
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.wheel.armed() == 0 && self.calendar.is_empty() && self.fired.is_empty()
    }
}

impl End {
    /// From one of both clocks.
    pub fn new(unix_ms: u64, elapsed_ms: u64) -> Self {
        Self {
            unix_ms,
            elapsed_ms,
        }
    }
}

impl<N: Net> Shard<N> {
    /// Arms a timer for a line.
    pub(super) fn arm_line(&mut self, key: LineKey, after_ms: u64, timer: fn(LineRef) -> Timer) {
        let timer = timer(self.line_ref(key));
        self.timers
            .wheel
            .arm(self.now + Duration::from_millis(after_ms), timer);
    }

    /// Has a line end when its caller's credential does, in Unix milliseconds.
    pub(super) fn arm_expiry(&mut self, key: LineKey, ends_ms: Option<u64>) {
        if let Some(ends_ms) = ends_ms {
            self.arm_end(key, self.end_at(ends_ms), Timer::expiry);
        }
    }

    /// Arms a timer for a line by both clocks.
    pub(super) fn arm_end(&mut self, key: LineKey, end: End, timer: fn(LineRef) -> Timer) {
        let left_ms = end.elapsed_ms.saturating_sub(self.elapsed_ms);
        self.arm_line(key, left_ms, timer);
        let timer = timer(self.line_ref(key));
        self.timers.calendar.arm(end.unix_ms, timer);
    }

    /// The end of something that is given now and until then, in Unix milliseconds.
    pub(super) fn end_at(&self, unix_ms: u64) -> End {
        let left_ms = unix_ms.saturating_sub(self.now_ms);
        End::new(unix_ms, self.elapsed_ms.saturating_add(left_ms))
    }

    /// Whether something has ended, by one of both clocks.
    pub(super) fn has_come(&self, end: End) -> bool {
        end.unix_ms <= self.now_ms || end.elapsed_ms <= self.elapsed_ms
    }

    /// Arms a feed's heartbeat.
    pub(super) fn arm_heartbeat(&mut self, feed: FeedKey) {
        let generation = self.feeds[feed].generation;
        let interval = Duration::from_millis(self.shared.live.config.http.heartbeat_ms);
        self.timers
            .wheel
            .arm(self.now + interval, Timer::Heartbeat { feed, generation });
    }

    pub(super) fn fire_timers(&mut self) {
        self.timers.fire(Now {
            instant: self.now,
            unix_ms: self.now_ms,
        });
        // Lines that came together are due together: between so many of them, the others have their turn.
        for _ in 0..SLICE {
            let Some(timer) = self.timers.fired.pop_front() else {
                return;
            };
            match timer {
                Timer::Heartbeat { feed, generation } => self.on_heartbeat(feed, generation),
                Timer::Poll(line) => self.if_current(line, Self::end_poll),
                Timer::Lifetime(line) => self.if_current(line, Self::on_lifetime),
                Timer::Expiry(line) => self.if_current(line, Self::on_expiry),
                Timer::Stall(line) => self.if_current(line, Self::on_stall),
                Timer::Linger(line) => self.if_current(line, Self::on_linger),
                Timer::Beat(line) => self.if_current(line, Self::on_beat),
                Timer::Lent(line) => self.if_current(line, Self::on_lent),
            }
        }
    }

    /// The shard's clock in whole seconds.
    pub(super) fn second(&self) -> u32 {
        (self.now - self.started).as_secs() as u32
    }

    /// A line as it is now.
    pub(super) fn line_ref(&self, key: LineKey) -> LineRef {
        let generation = self.lines[key].generation;
        LineRef { key, generation }
    }

    /// The number of a line that was named some time ago, unless it is gone.
    pub(super) fn current(&self, line: LineRef) -> Option<LineKey> {
        let is_it = |found: &Line<N::Socket>| {
            found.generation == line.generation && !matches!(found.seat, Seat::Vacant)
        };
        self.lines
            .get(line.key)
            .is_some_and(is_it)
            .then_some(line.key)
    }

    fn if_current(&mut self, line: LineRef, on_timer: fn(&mut Self, LineKey)) {
        if let Some(key) = self.current(line) {
            on_timer(self, key);
        }
    }

    /// Sends all lines of a feed a heartbeat if nothing else was sent since the last, and cuts WebSocket lines
    /// whose peer has answered none of the last two.
    fn on_heartbeat(&mut self, key: FeedKey, generation: u32) {
        let Some(feed) = self
            .feeds
            .get_mut(key)
            .filter(|feed| feed.generation == generation)
        else {
            return;
        };
        let spoke = std::mem::take(&mut feed.spoke);
        // A WebSocket is asked even when entries flow: only a pong tells that the peer is there.
        if !feed.ended && (!spoke || feed.framing.is_websocket()) {
            feed.push_heartbeat();
            if !feed.queued {
                feed.queued = true;
                self.walking.push_back(key);
            }
        }
        for line in self.silent_lines(key) {
            self.fail(line, everwire_wire::codes::HEARTBEAT_MISSED, NO_ANSWER);
        }
        if self
            .feeds
            .get(key)
            .is_some_and(|feed| feed.generation == generation)
        {
            self.arm_heartbeat(key);
        }
    }

    fn silent_lines(&self, feed: FeedKey) -> Vec<LineKey> {
        let feed = &self.feeds[feed];
        if !feed.framing.is_websocket() {
            return Vec::new();
        }
        feed.subscribers
            .iter()
            .map(|subscriber| subscriber.line)
            .filter(|line| self.is_silent(*line))
            .collect()
    }

    /// Whether nothing came from a line's peer for longer than two heartbeats take to be answered.
    pub(super) fn is_silent(&self, key: LineKey) -> bool {
        let silent_s_max = (self.shared.live.config.http.heartbeat_ms / 1000 * 2 + 5) as u32;
        let heard_s = self.lines[key].heard_s;
        self.second().saturating_sub(heard_s) > silent_s_max
    }

    /// A stream that has lived its time ends at the next boundary; its reader comes back.
    fn on_lifetime(&mut self, key: LineKey) {
        let framing = match &self.lines[key].seat {
            Seat::Feed { feed, .. } => self.feeds[*feed].framing,
            Seat::Session(session) => session.speech.framing(),
            Seat::Alone(_) | Seat::Vacant => return,
        };
        let mut end = BytesMut::new();
        framing.encode_end(&mut end);
        self.say_last(key, &end);
    }

    /// The credential by which a line reads has ended. The line ends with it, at the next boundary between entries,
    /// however much there still is for it.
    fn on_expiry(&mut self, key: LineKey) {
        let framing = match &self.lines[key].seat {
            Seat::Feed { feed, .. } => self.feeds[*feed].framing,
            Seat::Session(session) => session.speech.framing(),
            Seat::Alone(_) | Seat::Vacant => return,
        };
        if matches!(framing, Framing::Session(_)) && !self.has_expired(key) {
            return;
        }
        self.end_right(key, &auth::has_ended());
    }

    /// Ends a line whose caller may not have it any more, with what there is to say about that.
    pub(super) fn end_right(&mut self, key: LineKey, problem: &Problem) {
        let framing = match &self.lines[key].seat {
            Seat::Feed { feed, .. } => self.feeds[*feed].framing,
            Seat::Session(session) => session.speech.framing(),
            // Its client asks again, and is told then.
            Seat::Alone(_) => return self.end_poll(key),
            Seat::Vacant => return,
        };
        self.lines[key].rights.publish = false;
        let mut goodbye = BytesMut::new();
        match framing.is_websocket() {
            true => {
                let code = problem.kind.close_code();
                self.shared.metrics.line_failed(code);
                encode_close(Some((code, &problem.detail)), &mut goodbye);
            }
            false => framing.encode_end(&mut goodbye),
        }
        self.say_at_boundary(key, &goodbye);
    }

    fn on_stall(&mut self, key: LineKey) {
        let limit_ms = self.shared.live.config.limits.write_stall_ms;
        self.lines[key].stall_armed = false;
        let Some(since) = self.sides.get(&key).and_then(|side| side.blocked_since) else {
            return;
        };
        let blocked_ms = self.now.duration_since(since).as_millis() as u64;
        if blocked_ms >= limit_ms {
            // Whoever carries a pipe's bytes looks after them too, and may have seen it first.
            if self.pipe(key).is_none_or(Pipe::cut) {
                self.shared.metrics.line_stalled();
            }
            self.close(key);
        } else {
            self.lines[key].stall_armed = true;
            self.arm_line(key, limit_ms - blocked_ms, Timer::stall);
        }
    }

    /// Closes our side of a connection, and waits a little for the peer to close its own.
    pub(super) fn linger(&mut self, key: LineKey) {
        self.unseat(key, Role::Lingering);
        let shut = match &self.lines[key].seat {
            Seat::Alone(alone) => match &alone.outlet {
                Outlet::Socket(socket) => self.net.end(socket),
                Outlet::Tls(secured) => secured.end(&self.net),
                // What is in it is still taken.
                Outlet::Pipe(end) => {
                    end.0.end();
                    return self.close(key);
                }
            },
            Seat::Feed { .. } | Seat::Session(_) | Seat::Vacant => return,
        };
        match shut {
            Ok(()) => {
                self.side(key).then = Then::Stay;
                self.settle(key);
                self.arm_line(key, LINGER_MS, Timer::linger);
                // The peer's end may be there already, and would not be announced again.
                self.on_readable(key, Until::Empty);
            }
            Err(_) => self.close(key),
        }
    }

    fn on_linger(&mut self, key: LineKey) {
        if let Seat::Alone(alone) = &self.lines[key].seat
            && matches!(alone.role, Role::Lingering)
        {
            self.close(key);
        }
    }
}

/// What the close code for a peer that answers no heartbeats is told with.
pub(super) const NO_ANSWER: &str = "no answer to two heartbeats";

/// How long it may take to notice that the clock was set.
const LOOK: Duration = Duration::from_secs(1);

/// How long a peer gets to close its side after ours was closed.
const LINGER_MS: u64 = 2_000;
