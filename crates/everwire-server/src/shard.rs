//! A shard: the lines of one core thread, and the loop that serves them.
//!
//! ```text
//!            ┌────────────────────────── turn ──────────────────────────┐
//!  sockets ─▶│ events ─▶ reads, writes of blocked lines                 │
//!  hub     ─▶│ mail   ─▶ pull: log ─▶ tail of each framing              │
//!            │ walk   ─▶ one slice of sends, then look again            │──▶ connections back to HTTP
//!  clock   ─▶│ timers ─▶ heartbeats, long polls, stalls, lifetimes      │
//!            └──────────────────────────────────────────────────────────┘
//! ```
//!
//! A line lives on one shard from hand-over to close. The shard runs beside HTTP on its thread: a turn is
//! short, and between two turns requests are served. Nothing here waits, and no lock is held while bytes are
//! sent. A shard reads the clock once a turn.

mod behind;
mod calendar;
mod connection;
mod drain;
mod feed;
mod held;
mod inbound;
mod join;
mod judge;
mod keys;
mod large;
mod line;
mod mailbox;
mod net;
mod outlet;
mod pipe;
mod poll;
mod revoke;
mod room;
mod secured;
mod session;
mod sessions;
mod side;
#[cfg(test)]
mod tests;
mod timers;
mod wheel;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use everwire_channel::Mark;
use everwire_websocket::Scratch;
use everwire_wire::{Deflaters, Problem};

use self::{
    behind::Behind,
    feed::{BEHIND, Feed, Met, Pulled, Subscriber},
    held::Held,
    inbound::Until,
    keys::{Arena, FeedKey, Key, LocalKey, PollKey, SubscriberKey},
    large::Encodings,
    line::{Alone, Line, Role, Seat, Side, Then},
    room::Room,
    session::Parts,
    timers::Timers,
};
use crate::{
    answer::AnswerTerms,
    auth::Known,
    budget::{Budget, Exhausted, Share},
    census::{self, Census, Full, Stay, Visit},
    clock::Now,
    cost::Till,
    hub::{Channel, Hub},
    lifecycle::Lifecycle,
    live::{Live, Settings, Snapshot},
    metrics::Metrics,
    presence::Presences,
    press::Press,
    proxy::{Hint, Unbelieved},
    publish::Publisher,
    rate::{Account, Rate},
    session_id::SessionId,
    tls::{Acceptor, Admission, Security},
};

pub(crate) use join::{Entries, LineRequest, OpenLine, Publishing, Wire};
pub(crate) use keys::LineKey;
pub(crate) use mailbox::{Mail, Mailbox};
pub(crate) use net::{Kernel, Net, Ready};
pub(crate) use outlet::Outlet;
#[cfg(test)]
pub(crate) use pipe::PIPE_BYTES_MAX;
pub(crate) use pipe::{INPUT_BYTES_MAX, Pipe, Takes};
pub(crate) use poll::{AnswerTo, Occasion as PollOccasion, PollRequest, poll_answer};
pub(crate) use session::{Commands, Own, SessionRequest};
pub(crate) use sessions::{Answers, Polls, Remote, Secret, Sessions, Speaker};
pub(crate) use timers::LineRef;

/// Sends between two looks at everything else.
const SLICE: usize = 64;
/// Requests with a hundred commands each that are carried out in one turn.
const REQUESTS: usize = 4;
/// The one buffer that all lines of the shard read into.
const READ_BYTES: usize = 64 * 1024;

/// A connection that goes back to HTTP, with what was read from it already.
pub(crate) struct Returned<S> {
    pub outlet: Outlet<S>,
    pub unread: Bytes,
    pub visit: Visit,
}

/// What is common to all shards.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The configuration that its holder works with.
    pub live: Snapshot,
    pub hub: Arc<Hub>,
    pub lifecycle: Arc<Lifecycle>,
    pub census: Arc<Census>,
    pub metrics: Arc<Metrics>,
    pub rate: Arc<Rate>,
    pub budget: Arc<Budget>,
    pub sessions: Arc<Sessions>,
    pub presences: Arc<Presences>,
    pub tls: Arc<Acceptor>,
    pub press: Arc<Press>,
    pub unbelieved: Arc<Unbelieved>,
}

impl Shared {
    /// How far a connection is served that is so secured.
    pub fn admit(&self, security: Security) -> Admission {
        let acme = &self.live.config.acme;
        let challenge = acme.is_on().then_some(acme.challenge);
        self.tls.admit(security, challenge)
    }

    /// Without channels, lines and members. `mark` is random for each start. Sessions without a socket are spread
    /// over the shards. No TLS is spoken, and whoever has a content compressed does it alone.
    pub fn new(live: Live, mark: Mark, shards: Vec<Arc<Mailbox>>, now: Now) -> Self {
        let settings = Settings::new(live);
        let live = settings.snapshot();
        let lifecycle = Arc::new(Lifecycle::new(live.config.events.enabled));
        let hub = Hub::new(settings.clone(), lifecycle.audience(), mark, now.unix_ms);
        let hub = Arc::new(hub);
        let metrics = Arc::new(Metrics::new());
        Self {
            live,
            lifecycle,
            census: Arc::default(),
            rate: Arc::default(),
            budget: Arc::default(),
            sessions: Arc::new(Sessions::new(shards)),
            presences: Arc::new(Presences::new(settings, hub.clone(), metrics.clone(), now)),
            tls: Arc::default(),
            press: Arc::new(Press::new(None)),
            unbelieved: Arc::default(),
            hub,
            metrics,
        }
    }

    /// Counts one more line from an address, if there is room for it.
    pub fn enter(
        &self,
        address: IpAddr,
        stay: Stay,
        account: Account,
    ) -> Result<census::Seat, Full> {
        self.census.enter(address, stay, account, &self.live)
    }

    /// A limit was met by what comes from an address. If that is a proxy which is not believed, its clients share the limit,
    /// and the operator is told what to do about it.
    pub fn on_limit_of(&self, address: IpAddr, limit: &'static str) {
        let Some(hint) = self.unbelieved.on_limit(address) else {
            return;
        };
        self.metrics.unbelieved_proxy_limited(limit);
        if hint == Hint::Tell {
            tracing::warn!(
                limit,
                %address,
                "an address met a limit that says it passes on the requests of others, and is not believed; if it is your \
                 own proxy, list it in http.trusted_proxies, else all its clients share what one address may"
            );
        }
    }

    /// Holds so many bytes for an account, before they are read or made.
    ///
    /// # Errors
    ///
    /// As much is held already as may be, for this account or for all.
    pub fn hold(&self, account: Account, bytes: usize) -> Result<Share, Problem> {
        (self.budget)
            .take(account, bytes, self.live.in_flight_bounds())
            .map_err(Exhausted::problem)
    }

    /// Holds the bytes of an answer for an account.
    ///
    /// # Errors
    ///
    /// As [`hold`](Self::hold).
    pub fn hold_answer(&self, account: Account, bytes: usize) -> Result<Share, Problem> {
        (self.budget)
            .take_answer(account, bytes, self.live.in_flight_bounds())
            .map_err(Exhausted::problem)
    }

    /// What an answer of entries to somebody may take.
    pub fn answer_terms(&self, account: Account) -> AnswerTerms<'_> {
        AnswerTerms {
            till: self.till(),
            budget: &self.budget,
            bounds: self.live.in_flight_bounds(),
            metrics: &self.metrics,
            account,
            page_bytes_max: self.live.config.limits.page_bytes_max,
        }
    }

    /// Where what is asked for is paid for.
    pub fn till(&self) -> Till<'_> {
        Till {
            live: &self.live,
            rate: &self.rate,
        }
    }

    /// Who appends at the cost of an account.
    pub fn publisher(&self, account: Account, now_ms: u64) -> Publisher<'_> {
        Publisher {
            live: &self.live,
            hub: &self.hub,
            metrics: &self.metrics,
            rate: &self.rate,
            account,
            now_ms,
        }
    }
}

/// The lines of one core thread.
pub(crate) struct Shard<N: Net = Kernel> {
    shared: Shared,
    mailbox: Arc<Mailbox>,
    net: N,
    lines: Arena<LineKey, Line<N::Socket>>,
    sides: HashMap<LineKey, Box<Side>>,
    /// The lines that mail speaks of: the sessions that requests speak for, and all lines that have a pipe.
    remotes: HashMap<SessionId, LineKey>,
    feeds: Arena<FeedKey, Feed<N::Socket>>,
    locals: Arena<LocalKey, Local>,
    /// The number of each channel that has readers here, by the address of its one allocation.
    local_by_channel: HashMap<*const Channel, LocalKey>,
    /// Feeds that have lines to meet.
    walking: VecDeque<FeedKey>,
    /// Lines that could go on at once and have had their share of this turn.
    again: VecDeque<LineKey>,
    timers: Timers,
    deflaters: Deflaters,
    inflating: Scratch,
    read_buffer: Box<[u8]>,
    scratch: BytesMut,
    held: Held,
    encodings: Encodings,
    room: Room,
    met: Met,
    parts: Parts,
    mail: Vec<Mail>,
    /// What peers want by mail and has not had its turn, in its order.
    errands: VecDeque<Mail>,
    happened: Vec<Ready>,
    /// More may have happened than was taken at once, of which nothing tells.
    has_more_events: bool,
    vacant: Vec<LineKey>,
    returned: Vec<Returned<N::Socket>>,
    started: Instant,
    /// Since it started, in milliseconds.
    elapsed_ms: u64,
    now: Instant,
    now_ms: u64,
    generation: u32,
    /// The configuration was replaced since the start.
    is_reloaded: bool,
    /// Lines that are still to be judged by the configuration that holds.
    judging: Vec<LineKey>,
    /// While the server stops: the lines that are still to be told.
    draining: Option<Vec<LineKey>>,
    /// Who opened a line of a feed, where a credential was shown.
    credentials: HashMap<LineKey, Arc<Known>>,
    /// The lines in feeds that read because the application said so.
    lent: HashSet<LineKey>,
    /// While lines are looked at whose credential may have been taken back: the next.
    revoking: Option<usize>,
}

/// A channel that has readers on this shard.
struct Local {
    channel: Arc<Channel>,
    feeds: Vec<FeedKey>,
    /// Parked long polls.
    polls: Vec<LineKey>,
}

impl<N: Net> Shard<N> {
    pub fn new(shared: Shared, mailbox: Arc<Mailbox>, net: N, now: Now) -> Self {
        Self {
            shared,
            mailbox,
            net,
            lines: Arena::new(),
            sides: HashMap::new(),
            remotes: HashMap::new(),
            feeds: Arena::new(),
            locals: Arena::new(),
            local_by_channel: HashMap::new(),
            walking: VecDeque::new(),
            again: VecDeque::new(),
            timers: Timers::new(now.instant),
            deflaters: Deflaters::default(),
            inflating: Scratch::default(),
            read_buffer: vec![0; READ_BYTES].into_boxed_slice(),
            scratch: BytesMut::new(),
            held: Held::default(),
            encodings: Encodings::default(),
            room: Room::default(),
            met: Met::default(),
            parts: Parts::default(),
            mail: Vec::new(),
            errands: VecDeque::new(),
            happened: Vec::new(),
            has_more_events: false,
            vacant: Vec::new(),
            returned: Vec::new(),
            started: now.instant,
            elapsed_ms: 0,
            now: now.instant,
            now_ms: now.unix_ms,
            generation: 0,
            is_reloaded: false,
            judging: Vec::new(),
            draining: None,
            credentials: HashMap::new(),
            lent: HashSet::new(),
            revoking: None,
        }
    }

    /// One turn of the loop, in which events are looked for if there may be some. True if there is more to do at
    /// once; else the shard may sleep until its event queue is readable, its mailbox has mail, or
    /// [`wake_at`](Self::wake_at).
    pub fn turn(&mut self, now: Now, has_events: bool) -> io::Result<bool> {
        self.set_clock(now);
        self.look_at_settings();
        if has_events || self.has_more_events {
            self.has_more_events = self.read_events()?;
        }
        let rested = self.walking.is_empty();
        self.read_mail();
        // Who publishes at the same time is heard before a long walk begins, so that its lines are met once.
        if !(rested && self.has_long_walk()) {
            self.walk();
        }
        self.go_on_again();
        self.fire_timers();
        self.revoke_some();
        self.judge_some();
        self.drain_some();
        for key in self.vacant.drain(..) {
            self.lines.remove(key);
        }
        Ok(self.has_more_events
            || !self.walking.is_empty()
            || !self.again.is_empty()
            || !self.errands.is_empty()
            || self.timers.are_due(self.now_ms)
            || self.is_revoking()
            || self.is_judging()
            || self.is_draining())
    }

    fn has_long_walk(&self) -> bool {
        let is_long = |key: &FeedKey| {
            let feed = self.feeds.get(*key);
            feed.is_some_and(|feed| feed.subscribers.len() > SLICE)
        };
        self.walking.iter().any(is_long)
    }

    /// When the next timer is due.
    pub fn wake_at(&self) -> Option<Instant> {
        self.timers.wake_at(self.now)
    }

    /// Connections that go back to HTTP since the last call.
    pub fn take_returned(&mut self) -> Vec<Returned<N::Socket>> {
        std::mem::take(&mut self.returned)
    }

    /// The number of open lines.
    pub fn len(&self) -> usize {
        self.lines.len() - self.vacant.len()
    }

    /// What the clocks show until the next turn.
    fn set_clock(&mut self, now: Now) {
        self.now = now.instant;
        self.now_ms = now.unix_ms;
        self.elapsed_ms = (now.instant - self.started).as_millis() as u64;
    }

    /// Deals with what happened to sockets. True if more may have happened.
    fn read_events(&mut self) -> io::Result<bool> {
        let mut happened = std::mem::take(&mut self.happened);
        let more = self.net.poll(&mut happened);
        for ready in happened.drain(..) {
            // Liveness is left to the reads and writes themselves: they tell what events only hint at.
            if ready.writable {
                self.on_writable(ready.line);
            }
            if ready.read_closed {
                // To close a socket takes the kernel as long as many sends: when very many go at once, those who
                // stay are served in between.
                self.ask_again(ready.line);
            } else if ready.readable {
                self.on_readable(ready.line, Until::Room);
            }
        }
        self.happened = happened;
        more
    }

    /// Takes what is new, and some of what peers want: as many as may be wanted at once, the lines of the shard are
    /// served in between.
    fn read_mail(&mut self) {
        let mut mail = std::mem::take(&mut self.mail);
        self.mailbox.take(&mut mail);
        for message in mail.drain(..) {
            match message {
                Mail::Changed(watch) => self.pull(watch.into()),
                Mail::Revoked => {
                    // What it tells of may have come since this turn began.
                    self.look_at_settings();
                    self.look_for_revoked();
                }
                Mail::Drain => self.drain(),
                Mail::Open(_)
                | Mail::Commands(_)
                | Mail::Readable(_)
                | Mail::Room(_)
                | Mail::Gone(_)
                | Mail::Decided(..) => self.errands.push_back(message),
            }
        }
        self.mail = mail;
        let mut requests = 0;
        for _ in 0..SLICE {
            let Some(wanted) = self.errands.pop_front() else {
                break;
            };
            match wanted {
                Mail::Changed(_) | Mail::Revoked | Mail::Drain => {} // never waits
                Mail::Open(open) => self.join_piped(*open),
                Mail::Commands(commands) => {
                    self.on_remote_commands(commands);
                    requests += 1;
                    if requests == REQUESTS {
                        break;
                    }
                }
                Mail::Readable(line) => self.on_pipe_readable(line),
                Mail::Room(line) => self.on_room(line),
                Mail::Gone(line) => self.on_gone(line),
                Mail::Decided(line, decision) => self.on_decided(line, decision),
            }
        }
    }

    /// Brings what is new in a channel to its readers on this shard.
    fn pull(&mut self, local: LocalKey) {
        // The number may have been given back since the mail was posted.
        let Some(Local { channel, feeds, .. }) = self.locals.get(local) else {
            return;
        };
        let channel = channel.clone();
        let mut state = channel.lock();
        state.looked(&*self.mailbox);
        let mut lost = Vec::new();
        for &key in feeds {
            let feed = &mut self.feeds[key];
            match feed.pull(&state, &mut self.deflaters, self.now_ms) {
                Pulled::All | Pulled::More => {}
                Pulled::Lost => lost.push(key),
            }
            if feed.is_walking() && !feed.queued {
                feed.queued = true;
                self.walking.push_back(key);
            }
        }
        let answers = self.poll_answers(local, &state);
        drop(state);
        for (key, answer) in answers {
            self.answer_poll(key, answer);
        }
        for key in lost {
            self.lose_tail(key);
        }
    }

    /// The log went on without this shard for longer than it keeps entries: each line reads for itself now, and
    /// is told what it missed.
    fn lose_tail(&mut self, key: FeedKey) {
        let feed = &mut self.feeds[key];
        let mut lines = Vec::new();
        for subscriber in &mut feed.subscribers {
            if subscriber.position != BEHIND {
                let place = feed.tail.place(subscriber.position);
                debug_assert_eq!(place.skip, 0, "a line inside an entry is behind");
                lines.push((subscriber.line, place.sequence));
                subscriber.position = BEHIND;
            }
        }
        let head = feed.channel.lock().core().log().head_sequence();
        feed.restart(head);
        // The feed may go with its last line, which a gap can end.
        let local = feed.local;
        for (line, sequence) in lines {
            self.read_from_log(line, key, Behind::at(sequence, 0));
            self.send_side(line);
        }
        self.pull_again(local);
    }

    /// Has a channel pulled once more in the next turn.
    fn pull_again(&self, local: LocalKey) {
        self.mailbox.post(Mail::Changed(local.into()));
    }

    fn walk(&mut self) {
        let mut budget = SLICE;
        let mut met = std::mem::take(&mut self.met);
        while budget > 0 {
            let Some(key) = self.walking.pop_front() else {
                break;
            };
            // A feed that lost its last line is gone.
            let Some(feed) = self.feeds.get_mut(key) else {
                continue;
            };
            feed.walk(&self.net, &mut budget, &mut met);
            for line in met.blocked.drain(..) {
                self.on_blocked(line);
            }
            for line in met.broken.drain(..) {
                self.close(line);
            }
            for line in met.finished.drain(..) {
                self.finish(line);
            }
            for (line, index) in met.sessions.drain(..) {
                self.deliver(line, key, index);
            }
            let Some(feed) = self.feeds.get_mut(key) else {
                continue;
            };
            if feed.is_walking() {
                self.walking.push_back(key);
            } else {
                feed.queued = false;
                feed.release_if_walked();
                let local = feed.local;
                if feed.tail.sequence() < feed.channel.lock().core().log().head_sequence() {
                    self.pull_again(local);
                }
            }
        }
        self.shared.metrics.sent(met.sends, met.bytes);
        (met.sends, met.bytes) = (0, 0);
        self.met = met;
    }

    fn go_on_again(&mut self) {
        for _ in 0..self.again.len().min(SLICE) {
            if let Some(key) = self.again.pop_front() {
                if let Some(line) = self.lines.get_mut(key) {
                    line.asks_again = false;
                }
                self.send_side(key);
                self.on_readable(key, Until::Empty);
            }
        }
    }

    /// Has a line go on when the others have had their turn.
    fn ask_again(&mut self, key: LineKey) {
        if let Some(line) = self.lines.get_mut(key)
            && !std::mem::replace(&mut line.asks_again, true)
        {
            self.again.push_back(key);
        }
    }

    /// Takes a line out of its feed and gives it a seat by itself.
    fn unseat(&mut self, key: LineKey, role: Role) {
        let line = &mut self.lines[key];
        match std::mem::replace(&mut line.seat, Seat::Vacant) {
            Seat::Feed { feed, index } => {
                let Some(socket) = self.leave_feed(feed, index).socket else {
                    return;
                };
                let outlet = Outlet::Socket(socket);
                self.lines[key].seat = Seat::Alone(Box::new(Alone { outlet, role }));
            }
            Seat::Session(session) => {
                let outlet = self.dissolve(key, *session);
                self.lines[key].seat = Seat::Alone(Box::new(Alone { outlet, role }));
            }
            Seat::Alone(mut alone) => {
                alone.role = role;
                line.seat = Seat::Alone(alone);
            }
            Seat::Vacant => {}
        }
    }

    /// Removes a subscriber; the feed and the channel go with the last.
    fn leave_feed(&mut self, feed_key: FeedKey, index: SubscriberKey) -> Subscriber<N::Socket> {
        let feed = &mut self.feeds[feed_key];
        let (subscriber, moved) = feed.remove(index);
        self.credentials.remove(&subscriber.line);
        self.lent.remove(&subscriber.line);
        if let Some(moved) = moved {
            match &mut self.lines[moved].seat {
                Seat::Session(session) => {
                    if let Some(subscription) = session.subscription_mut(feed_key) {
                        subscription.index = index;
                    }
                }
                seat => {
                    *seat = Seat::Feed {
                        feed: feed_key,
                        index,
                    }
                }
            }
        }
        if feed.subscribers.is_empty() {
            let local = feed.local;
            self.feeds.remove(feed_key);
            self.locals[local].feeds.retain(|key| *key != feed_key);
            self.leave_channel(local);
        }
        subscriber
    }

    /// Stops watching a channel that has no readers here any more.
    fn leave_channel(&mut self, key: LocalKey) {
        let local = &self.locals[key];
        if local.feeds.is_empty() && local.polls.is_empty() {
            let local = self.locals.remove(key);
            self.local_by_channel.remove(&Arc::as_ptr(&local.channel));
            local.channel.lock().unwatch(&*self.mailbox, key.into());
        }
    }

    /// Closes a line at once.
    fn close(&mut self, key: LineKey) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let seat = std::mem::replace(&mut line.seat, Seat::Vacant);
        let address = line.address.take();
        match seat {
            Seat::Feed { feed, index } => drop(self.leave_feed(feed, index)),
            Seat::Session(session) => {
                let outlet = self.dissolve(key, *session);
                self.forget_pipe(&outlet);
            }
            Seat::Alone(alone) => {
                self.forget_pipe(&alone.outlet);
                if let Role::Poll(poll) = &alone.role {
                    self.leave_polls(poll.local, poll.index);
                }
            }
            Seat::Vacant => return,
        }
        self.sides.remove(&key);
        if let Some(address) = address {
            self.shared.census.leave(address);
        }
        self.vacant.push(key);
    }

    /// Ends a line that was told everything.
    fn finish(&mut self, key: LineKey) {
        self.unseat(key, Role::Lingering);
        self.side(key).then = Then::Linger;
        self.send_side(key);
    }
}

impl Shard<Kernel> {
    /// A descriptor that is readable when the shard has events.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.net.descriptor()
    }
}
