//! What a credential is to grant, as the command line has it.

use everwire_server::config::Grant;
use serde_json::json;

/// What is granted.
#[derive(Debug, clap::Args)]
pub struct Grants {
    /// What may be done on which channels; may be given several times.
    ///
    /// ACTIONS are one or more of read, publish, presence and manage, with commas between them. PATTERN is a channel's
    /// name, in which * is one segment and a last ** one or more: chat/* covers chat/lobby and not chat/lobby/old. Put it
    /// in quotes, or the shell may take it for files.
    #[arg(long, num_args = 2, value_names = ["ACTIONS", "PATTERN"], action = clap::ArgAction::Append)]
    can: Vec<String>,
}

impl Grants {
    /// The grants, checked as a server does.
    ///
    /// # Errors
    ///
    /// An action is unknown, or a pattern is none.
    pub fn parse(&self) -> anyhow::Result<Vec<Grant>> {
        let grant = |pair: &[String]| {
            let (actions, pattern) = (&pair[0], &pair[1]);
            let can: Vec<_> = actions.split(',').map(str::trim).collect();
            serde_json::from_value(json!({"match": pattern, "can": can}))
                .map_err(|error| anyhow::anyhow!("--can {actions} '{pattern}': {error}"))
        };
        self.can.chunks(2).map(grant).collect()
    }
}

/// A grant as a person reads it: `read, publish on chat/*`.
pub fn shown(grant: &Grant) -> String {
    let can: Vec<_> = grant.can.iter().map(|action| action.name()).collect();
    match can.is_empty() {
        true => format!("nothing on {}", grant.pattern),
        false => format!("{} on {}", can.join(", "), grant.pattern),
    }
}
