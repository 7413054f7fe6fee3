//! The measurements of a run, in rounds, and the tables they make.
//!
//! A round measures everything once, floor and server in turn, so that a disturbance of the
//! machine meets both. Ratios are taken inside a round; what is reported is the median over rounds.

mod beside;
mod compared;
mod goal;
mod loads;
mod tables;

use anyhow::Result;

pub use self::compared::Subjects;
use self::{
    beside::{Beside, Notes},
    compared::Compared,
};
use crate::{
    report::Table,
    scenario::{
        Bench, Load as _,
        channels::Channels,
        connecting::Connecting,
        echo::Echo,
        fanout::Fanout,
        idle::{self, Idle},
        joining::Joining,
        latency::Latency,
        neighbour::Neighbour,
        publishing::Publishing,
        session::{fanout::SessionFanout, memory::SessionMemory, storm::Storm},
    },
    subject::Subject,
};

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Memory of idle lines.
    Idle,
    /// Deliveries to many readers over WebSockets, event streams and ndjson.
    Fanout,
    /// What the floor gains by several entries in a send.
    Joined,
    /// Deliveries of many small channels.
    Channels,
    /// Deliveries to long polls.
    Poll,
    /// How long deliveries take at a steady pace.
    Latency,
    /// How long they take beside a large channel.
    Neighbour,
    /// Accepting entries over HTTP, one in each request.
    Publish,
    /// Accepting entries over HTTP, many in each request.
    Batch,
    /// WebSocket messages that come back.
    Echo,
    /// Connecting and losing WebSockets.
    Connect,
    /// Deliveries to sessions.
    Sessions,
    /// Memory of waiting sessions.
    SessionMemory,
    /// All sessions lose their connections and come back.
    Storm,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The kinds of measurement.
    pub kinds: Vec<Kind>,
    /// Idle lines of each wire, and readers of the large channel that a small one is beside.
    pub lines: usize,
    /// Sizes of the payloads of a fan-out; everything else has the first of them.
    pub payload_bytes: Vec<usize>,
}

impl Extent {
    /// The most lines that are open at once.
    pub fn lines_max(&self) -> usize {
        let lines = |kind: &Kind| match kind {
            Kind::Idle => idle::LINES_BEFORE + self.lines,
            Kind::Neighbour => loads::SMALL_CHANNEL_READERS + self.lines,
            Kind::Fanout | Kind::Joined | Kind::Channels | Kind::Sessions => loads::READERS_MAX,
            Kind::SessionMemory | Kind::Storm => idle::LINES_BEFORE + loads::SESSIONS,
            Kind::Poll | Kind::Latency => loads::READERS,
            Kind::Publish | Kind::Batch | Kind::Echo | Kind::Connect => 0,
        };
        self.kinds.iter().map(lines).max().unwrap_or(0)
    }
}

/// All measurements and what they gave.
pub struct Suite {
    subjects: Subjects,
    idle: Vec<Compared<Idle>>,
    fanouts: Vec<Compared<Fanout>>,
    joinings: Vec<Compared<Joining>>,
    channels: Vec<Compared<Channels>>,
    polls: Vec<Compared<Fanout>>,
    latencies: Vec<Compared<Latency>>,
    neighbours: Vec<Compared<Neighbour>>,
    publishings: Vec<Compared<Publishing>>,
    batches: Vec<Compared<Publishing>>,
    echoes: Vec<Compared<Echo>>,
    connects: Vec<Compared<Connecting>>,
    session_fanouts: Vec<Compared<SessionFanout>>,
    session_memories: Vec<Compared<SessionMemory>>,
    storms: Vec<Compared<Storm>>,
}

/// Does the same to each list of measurements, in the order of the report.
macro_rules! each {
    ($suite:expr, $list:ident => $action:expr) => {{
        let suite = $suite;
        each!(@ $action, $list, suite, idle fanouts joinings channels polls latencies neighbours
              publishings batches echoes connects session_fanouts session_memories storms)
    }};
    (@ $action:expr, $list:ident, $suite:ident, $($field:ident)*) => {{
        $({ let $list = &mut $suite.$field; $action; })*
    }};
}

impl Suite {
    /// The measurements of `extent` on `subjects` and the floors.
    pub fn new(subjects: Subjects, extent: &Extent) -> Self {
        let when = |kind| extent.kinds.contains(&kind);
        let bytes = extent.payload_bytes[0];
        Self {
            subjects,
            idle: wanted(when(Kind::Idle), loads::idle(extent.lines)),
            fanouts: wanted(when(Kind::Fanout), loads::fanouts(&extent.payload_bytes)),
            joinings: wanted(when(Kind::Joined), loads::joinings(bytes)),
            channels: wanted(when(Kind::Channels), loads::channels(bytes)),
            polls: wanted(when(Kind::Poll), loads::polls(bytes)),
            latencies: wanted(when(Kind::Latency), loads::latencies(bytes)),
            neighbours: wanted(
                when(Kind::Neighbour),
                loads::neighbours(extent.lines, bytes),
            ),
            publishings: wanted(when(Kind::Publish), loads::publishings(bytes)),
            batches: wanted(when(Kind::Batch), loads::batches(bytes)),
            echoes: wanted(when(Kind::Echo), loads::echoes(bytes)),
            connects: wanted(when(Kind::Connect), vec![Connecting]),
            session_fanouts: wanted(when(Kind::Sessions), loads::session_fanouts(bytes)),
            session_memories: wanted(when(Kind::SessionMemory), loads::session_memories()),
            storms: wanted(when(Kind::Storm), vec![loads::storm(bytes)]),
        }
    }

    /// Measures round after round, until all are done or the bench is out of time.
    ///
    /// # Errors
    /// At the first measurement that fails: figures of a server that loses entries are worthless.
    /// A rival's failure is its result.
    pub fn run(&mut self, bench: &Bench, rounds: usize) -> Result<()> {
        let subjects = self.subjects.clone();
        let mut steps = 0;
        each!(&mut *self, list => {
            steps += list.iter().map(|load| load.steps(&subjects, rounds)).sum::<usize>();
        });
        bench.progress.expect(steps);
        for round in 1..=rounds {
            each!(&mut *self, list => for load in list.iter_mut() {
                load.measure(bench, &subjects, round, rounds)?;
            });
        }
        Ok(())
    }

    /// Whether something of `rounds` was left out for lack of time.
    pub fn is_cut(&mut self, rounds: usize) -> bool {
        let mut is_cut = false;
        each!(&mut *self, list => {
            is_cut |= list.iter().any(|load| load.is_cut(rounds));
        });
        is_cut
    }

    /// The tables of what was measured.
    pub fn tables(&self) -> Vec<Table> {
        let beside = Beside {
            rivals: &self.subjects.rivals,
        };
        [
            tables::fanout(&self.fanouts),
            tables::wires(&self.fanouts, &self.polls),
            tables::joined(&self.joinings),
            tables::channels(&self.channels),
            tables::latency(&self.latencies),
            tables::neighbour(&self.neighbours),
            tables::publish(&self.publishings, &self.batches),
            tables::echo(&self.echoes),
            tables::connect(&self.connects),
            tables::idle(&self.idle),
            tables::sessions::fanout(&self.session_fanouts),
            tables::sessions::memory(&self.session_memories),
            tables::sessions::storm(&self.storms),
            beside.fanout(&self.fanouts, &self.polls),
            beside.channels(&self.channels),
            beside.latency(&self.latencies),
            beside.neighbour(&self.neighbours),
            beside.publish(&self.publishings),
            beside.connect(&self.connects),
            beside.idle(&self.idle),
        ]
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
    }

    /// What happened where a rival has no figure though it has what was measured.
    pub fn notes(&mut self) -> Vec<String> {
        let rivals = self.subjects.rivals.clone();
        let mut notes = Notes::default();
        each!(self, list => for compared in list.iter() {
            for (at, fault) in &compared.faults {
                notes.add(rivals[*at].name(), &compared.load.name(), fault);
            }
        });
        notes.lines()
    }
}

/// Lets one storm pass over `server`, and tells how.
///
/// # Errors
/// If the server fails, or a session loses or repeats an entry.
pub fn weather(bench: &Bench, server: Subject, storm: Storm) -> Result<Table> {
    let subjects = Subjects {
        server: Some(server),
        rivals: Vec::new(),
    };
    let mut compared = Compared::new(storm);
    compared.measure(bench, &subjects, 1, 1)?;
    Ok(tables::sessions::storm(&[compared]))
}

fn wanted<L: crate::scenario::Load>(is_wanted: bool, loads: Vec<L>) -> Vec<Compared<L>> {
    let loads = if is_wanted { loads } else { Vec::new() };
    loads.into_iter().map(Compared::new).collect()
}
