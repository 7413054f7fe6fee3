//! The wires: ways to read the same log.

use std::fmt;
use std::str::FromStr;

/// A way to read a channel. All give the same entries; they differ in what stands between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wire {
    /// A WebSocket with the subprotocol `everwire.v1`.
    #[default]
    WebSocket,
    /// A stream of server-sent events.
    EventStream,
    /// A stream of JSON objects, one a line.
    Ndjson,
    /// Requests that wait for the next entry.
    LongPoll,
    /// A plain request at a regular interval, which caches can answer.
    Polling,
}

impl Wire {
    /// Every wire, in the order in which one tries them.
    pub const ALL: [Self; 5] = [
        Self::WebSocket,
        Self::EventStream,
        Self::Ndjson,
        Self::LongPoll,
        Self::Polling,
    ];

    /// The name, as on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::EventStream => "event-stream",
            Self::Ndjson => "ndjson",
            Self::LongPoll => "long-poll",
            Self::Polling => "polling",
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Wire {
    type Err = WireError;

    fn from_str(name: &str) -> Result<Self, WireError> {
        let wire = Self::ALL.into_iter().find(|wire| wire.as_str() == name);
        wire.ok_or_else(|| WireError(name.to_owned()))
    }
}

/// A wire that carries a line: many channels, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineWire {
    /// One WebSocket for everything.
    WebSocket,
    /// A stream of server-sent events down, requests up.
    EventStream,
    /// A stream of JSON objects down, one a line; requests up.
    Ndjson,
    /// Requests that wait for the next messages; requests up.
    LongPoll,
}

impl LineWire {
    /// Every wire, best first.
    pub const ALL: [Self; 4] = [
        Self::WebSocket,
        Self::EventStream,
        Self::Ndjson,
        Self::LongPoll,
    ];

    /// The name, as on the command line.
    pub fn as_str(self) -> &'static str {
        Wire::from(self).as_str()
    }
}

impl From<LineWire> for Wire {
    fn from(wire: LineWire) -> Self {
        match wire {
            LineWire::WebSocket => Self::WebSocket,
            LineWire::EventStream => Self::EventStream,
            LineWire::Ndjson => Self::Ndjson,
            LineWire::LongPoll => Self::LongPoll,
        }
    }
}

impl fmt::Display for LineWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no wire; choose websocket, event-stream, ndjson, long-poll or polling")]
pub struct WireError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wire_has_a_name_that_leads_back_to_it() {
        for wire in Wire::ALL {
            assert_eq!(wire.as_str().parse(), Ok(wire));
        }
        let unknown = "WebSocket".parse::<Wire>().unwrap_err().to_string();
        for wire in Wire::ALL {
            assert!(
                unknown.contains(wire.as_str()),
                "{unknown:?} does not offer {wire}"
            );
        }
    }
}
