//! Sessions' commands have a rate, whatever they ask for.

mod common;

use common::{CARRIERS, Session, Site};
use everwire_server::Config;
use serde_json::{Value, json};

fn site() -> Site {
    Site::with(|config| {
        config.dev = false;
        config.limits.commands_per_second_max = 1;
        let open = "channels.anonymous = [\"read\", \"presence\", \"publish\"]";
        config.channels = Config::from_toml(open).unwrap().channels;
    })
}

fn kind(reply: &Value) -> String {
    let kind = reply["error"]["type"].as_str().unwrap_or("ok");
    kind.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn each_command_counts_for_its_callers_rate() {
    for carrier in CARRIERS {
        for command in [
            json!({"op": "subscribe", "channel": "c"}),
            json!({"op": "unsubscribe", "channel": "c"}),
            json!({"op": "history", "channel": "c"}),
            json!({"op": "presence", "channel": "c"}),
            json!({"op": "authenticate", "token": "none"}),
            json!({"op": "ping"}),
        ] {
            let site = site();
            let mut session = Session::open(&site, carrier, "");
            let replies = (0..20).map(|_| session.ask(command.clone()));
            let refused: Vec<_> = replies.filter(|reply| kind(reply) == "too-many").collect();
            assert!(refused.len() > 5, "{carrier:?} {command}: {refused:?}");
            assert!(refused[0]["error"]["retry_after"].is_u64(), "{refused:?}");
            let limit = "everwire_limits_met_total{limit=\"commands_per_second_max\"}";
            assert_eq!(site.metric(limit), refused.len() as u64);
            // The session goes on, and what it publishes has a rate of its own.
            session.ok(json!({"op": "publish", "channel": "c", "data": 1}));
        }
    }
}
