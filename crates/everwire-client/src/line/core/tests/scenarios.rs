//! Runs the table of scenarios: what the network does, and what the user of a client sees.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::network::Fault;
use super::world::World;
use crate::line::core::Core;
use crate::{Info, LineOptions, LineWire, Presence, SubscribeOptions};

const TABLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../testdata/client-scenarios.json"
);

#[test]
fn whatever_the_network_does_its_user_sees_what_the_table_says() {
    let table: Table = serde_json::from_str(&fs::read_to_string(TABLE).unwrap()).unwrap();
    let failed: Vec<_> = (table.scenarios.into_iter())
        .filter_map(|scenario| {
            let name = scenario.name.clone();
            let run = catch_unwind(AssertUnwindSafe(|| play(scenario)));
            run.is_err().then_some(name)
        })
        .collect();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

#[derive(Deserialize)]
struct Table {
    scenarios: Vec<Scenario>,
}

#[derive(Deserialize)]
struct Scenario {
    name: String,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    Connect {
        #[serde(default)]
        options: Options,
        token_ms: Option<u64>,
    },
    Subscribe {
        channel: String,
        offset: Option<String>,
        presence: Option<Value>,
        echo: Option<bool>,
    },
    Unsubscribe {
        channel: String,
    },
    Publish {
        channel: String,
        data: Value,
    },
    Append {
        channel: String,
        data: Vec<Value>,
    },
    Network(NetworkStep),
    Server {
        up: bool,
    },
    Restart {
        keep_logs: bool,
    },
    Trim {
        channel: String,
        keep: usize,
    },
    Drain {
        after_ms: u64,
    },
    CloseLines {
        code: u16,
    },
    CloseChannel {
        channel: String,
    },
    RefusePublications {
        count: u32,
    },
    LoseReplies {
        count: u32,
    },
    RevokeTokens {},
    Wake {},
    Advance {
        ms: u64,
    },
    Expect(Box<Expected>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    wires: Option<Vec<String>>,
    queue_max: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct NetworkStep {
    wire: String,
    #[serde(flatten)]
    fault: Fault,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    state: Option<String>,
    wire: Option<String>,
    wires: Option<Vec<String>>,
    #[serde(default)]
    entries: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    gaps: BTreeMap<String, u32>,
    #[serde(default)]
    ended: BTreeMap<String, String>,
    outcomes: Option<Vec<String>>,
    #[serde(default)]
    log: BTreeMap<String, Vec<Value>>,
    tokens: Option<u32>,
    attempts: Option<usize>,
}

fn play(scenario: Scenario) {
    let Scenario { name, steps } = scenario;
    let mut world = World::new();
    for (at, step) in steps.into_iter().enumerate() {
        carry_out(&mut world, step, &format!("{name}: step {at}"));
    }
}

fn carry_out(world: &mut World, step: Step, place: &str) {
    match step {
        Step::Connect { options, token_ms } => {
            let defaults = LineOptions::default();
            let wires = options.wires.as_deref();
            let options = LineOptions {
                wires: wires.map_or(defaults.wires.clone(), |names| {
                    names.iter().map(|name| wire(name)).collect()
                }),
                queue_max: options.queue_max.unwrap_or(defaults.queue_max),
                ..defaults
            };
            world.connect(options, token_ms.map(Duration::from_millis));
        }
        Step::Subscribe {
            channel,
            offset,
            presence,
            echo,
        } => {
            let start = match offset.as_deref() {
                None => crate::Start::Now,
                Some("-1") => crate::Start::Beginning,
                Some(offset) => crate::Start::After(offset.parse().unwrap()),
            };
            let options = SubscribeOptions {
                start,
                echo: echo.unwrap_or(true),
                presence: presence.map(|presence| Presence {
                    user: presence["user"].as_str().map(str::to_owned),
                    info: presence.get("info").cloned().map(Info::from),
                    join: presence["join"].as_bool().unwrap_or(true),
                }),
                ..SubscribeOptions::default()
            };
            world.subscribe(&channel, options);
        }
        Step::Unsubscribe { channel } => world.unsubscribe(&channel),
        Step::Publish { channel, data } => world.publish(&channel, &data),
        Step::Append { channel, data } => world.serve(|server| {
            for data in data {
                server.append(&channel, data, None);
            }
        }),
        Step::Network(NetworkStep { wire: name, fault }) => {
            for wire in LineWire::ALL {
                if name == "*" || name == wire.as_str() {
                    world.network.faults.insert(wire, fault.clone());
                }
            }
        }
        Step::Server { up } => world.server.up = up,
        Step::Restart { keep_logs } => world.serve(|server| server.restart(keep_logs)),
        Step::Trim { channel, keep } => world.server.trim(&channel, keep),
        Step::Drain { after_ms } => world.serve(|server| server.drain(after_ms)),
        Step::CloseLines { code } => world.serve(|server| server.close_lines(code)),
        Step::CloseChannel { channel } => world.serve(|server| server.close_channel(&channel)),
        Step::RefusePublications { count } => world.server.refuse_publications = count,
        Step::LoseReplies { count } => world.server.lose_replies = count,
        Step::RevokeTokens {} => {
            world.server.tokens_from = world.now + Duration::from_millis(1);
        }
        Step::Wake {} => world.with(Core::wake),
        Step::Advance { ms } => world.advance(Duration::from_millis(ms)),
        Step::Expect(expected) => compare(world, *expected, place),
    }
}

fn compare(world: &mut World, expected: Expected, place: &str) {
    if let Some(state) = expected.state {
        assert_eq!(world.state(), state, "{place}: state");
    }
    let names: Vec<_> = world.wires.iter().map(|wire| wire.as_str()).collect();
    if let Some(wire) = expected.wire {
        assert_eq!(names.last(), Some(&&*wire), "{place}: wire");
    }
    if let Some(wires) = expected.wires {
        assert_eq!(names, wires, "{place}: wires");
    }
    for (channel, entries) in expected.entries {
        assert_eq!(
            world.seen[&channel].entries, entries,
            "{place}: entries of {channel}"
        );
    }
    for (channel, gaps) in expected.gaps {
        assert_eq!(
            world.seen[&channel].gaps, gaps,
            "{place}: gaps of {channel}"
        );
    }
    for (channel, ended) in expected.ended {
        assert_eq!(
            world.seen[&channel].ended,
            Some(ended),
            "{place}: end of {channel}"
        );
    }
    if let Some(outcomes) = expected.outcomes {
        assert_eq!(world.outcomes, outcomes, "{place}: outcomes");
    }
    for (channel, log) in expected.log {
        assert_eq!(world.log(&channel), log, "{place}: log of {channel}");
    }
    if let Some(tokens) = expected.tokens {
        assert_eq!(world.tokens, tokens, "{place}: tokens");
    }
    if let Some(attempts) = expected.attempts {
        assert_eq!(world.network.attempts.len(), attempts, "{place}: attempts");
    }
}

fn wire(name: &str) -> LineWire {
    let wire = LineWire::ALL.into_iter().find(|wire| wire.as_str() == name);
    wire.unwrap_or_else(|| panic!("the table names the wire {name}"))
}
