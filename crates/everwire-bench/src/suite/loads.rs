//! What is measured: as few loads as tell apart what costs.

use crate::{
    scenario::{
        channels::Channels,
        echo::Echo,
        fanout::{Fanout, Publisher},
        idle::Idle,
        joining::Joining,
        latency::Latency,
        neighbour::Neighbour,
        publishing::{Publishing, UnderWay},
        session::{
            fanout::{Flow, Form, SessionFanout},
            memory::{Addition, SessionMemory},
            storm::Storm,
        },
    },
    wire::Wire,
};

/// Readers of a channel where not more are needed to see what each costs.
pub const READERS: usize = 1_000;
/// The most readers that are delivered to.
pub const READERS_MAX: usize = 10_000;
/// Readers of the small channel that has a large one beside it.
pub const SMALL_CHANNEL_READERS: usize = 10;

/// Every wire.
pub fn idle(lines: usize) -> Vec<Idle> {
    Wire::ALL.map(|wire| Idle { wire, lines }).into()
}

/// WebSockets with all that varies; the other live wires as far as they differ from them.
pub fn fanouts(payload_bytes: &[usize]) -> Vec<Fanout> {
    let mut loads = Vec::new();
    for &payload_bytes in payload_bytes {
        for readers in [READERS, READERS_MAX] {
            for (in_flight, publisher) in [
                (1, Publisher::WebSocket),
                (8, Publisher::WebSocket),
                (8, Publisher::Http),
            ] {
                loads.push(Fanout {
                    wire: Wire::WebSocket,
                    readers,
                    in_flight,
                    publisher,
                    payload_bytes,
                });
            }
        }
    }
    for wire in [Wire::EventStream, Wire::Ndjson] {
        for in_flight in [1, 8] {
            loads.push(Fanout {
                wire,
                readers: READERS,
                in_flight,
                publisher: Publisher::WebSocket,
                payload_bytes: payload_bytes[0],
            });
        }
    }
    loads
}

/// One entry at a time.
pub fn polls(payload_bytes: usize) -> Vec<Fanout> {
    vec![Fanout {
        wire: Wire::LongPoll,
        readers: READERS,
        in_flight: 1,
        publisher: Publisher::WebSocket,
        payload_bytes,
    }]
}

/// One in each send, as the floor has it elsewhere, and more.
pub fn joinings(payload_bytes: usize) -> Vec<Joining> {
    let loads = [
        (READERS, 1),
        (READERS, 4),
        (READERS, 8),
        (READERS, 16),
        (READERS_MAX, 1),
        (READERS_MAX, 8),
    ];
    let load = |(readers, joined)| Joining {
        joined,
        readers,
        payload_bytes,
    };
    loads.map(load).into()
}

/// As many readers as the largest fan-out has, in small groups.
pub fn channels(payload_bytes: usize) -> Vec<Channels> {
    vec![Channels {
        channels: 1_000,
        readers: READERS_MAX / 1_000,
        connections: 64,
        payload_bytes,
    }]
}

/// A pace that leaves server and client time to rest.
pub fn latencies(payload_bytes: usize) -> Vec<Latency> {
    vec![Latency {
        readers: READERS,
        rate: 100,
        payload_bytes,
    }]
}

/// Beside as many lines as are idle elsewhere.
pub fn neighbours(beside: usize, payload_bytes: usize) -> Vec<Neighbour> {
    vec![Neighbour {
        readers: SMALL_CHANNEL_READERS,
        rate: 100,
        beside,
        in_flight: 8,
        payload_bytes,
    }]
}

/// With and without pipelining and a reader.
pub fn publishings(payload_bytes: usize) -> Vec<Publishing> {
    let load = |(pipelined, readers)| Publishing {
        connections: 8,
        under_way: UnderWay::Requests(pipelined),
        readers,
        payload_bytes,
    };
    [(1, 0), (1, 1), (8, 0), (8, 1)].map(load).into()
}

/// Large enough that what a request costs is small for each entry.
pub fn batches(payload_bytes: usize) -> Vec<Publishing> {
    vec![Publishing {
        connections: 8,
        under_way: UnderWay::Batch(100),
        readers: 0,
        payload_bytes,
    }]
}

/// Small ones for what a message costs, large ones for what a byte costs.
pub fn echoes(payload_bytes: usize) -> Vec<Echo> {
    let load = |(connections, messages, payload_bytes)| Echo {
        connections,
        messages,
        payload_bytes,
    };
    [
        (8, 1, payload_bytes),
        (8, 16, payload_bytes),
        (2, 1, 1024 * 1024),
    ]
    .map(load)
    .into()
}

/// Sessions in a measurement of what waits or comes back.
pub const SESSIONS: usize = 10_000;

/// One channel as other readers have it, and several at once.
pub fn session_fanouts(payload_bytes: usize) -> Vec<SessionFanout> {
    let load = |(wire, readers, flow)| SessionFanout {
        wire,
        readers,
        flow,
        payload_bytes,
        form: Form::Sessions,
    };
    [
        (Wire::WebSocket, READERS, Flow::Window(1)),
        (Wire::WebSocket, READERS, Flow::Window(8)),
        (Wire::WebSocket, READERS, Flow::Burst(10)),
        (Wire::WebSocket, READERS_MAX, Flow::Window(1)),
        (Wire::WebSocket, READERS_MAX, Flow::Window(8)),
        (Wire::WebSocket, READERS_MAX, Flow::Burst(10)),
        (Wire::EventStream, READERS, Flow::Window(1)),
        (Wire::EventStream, READERS, Flow::Window(8)),
    ]
    .map(load)
    .into()
}

/// Ten channels each: of a thousand, and the same for all.
pub fn session_memories() -> Vec<SessionMemory> {
    let load = |(channels, addition)| SessionMemory {
        sessions: SESSIONS,
        channels,
        addition,
    };
    [
        (1_000, Addition::Subscriptions(9)),
        (10, Addition::Subscriptions(9)),
        (1_000, Addition::Membership),
    ]
    .map(load)
    .into()
}

/// As many sessions as a process may have connections on both sides of the storm.
pub fn storm(payload_bytes: usize) -> Storm {
    Storm {
        sessions: SESSIONS,
        channels: 1_000,
        each: 10,
        missed: 3,
        at_once: 1_000,
        rate: 100,
        payload_bytes,
    }
}
