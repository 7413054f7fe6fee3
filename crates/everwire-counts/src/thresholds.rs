//! The recorded costs, and what a new count is beside them.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::callgrind::Cost;

/// The recorded table, as `thresholds.toml` has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// By how much the instructions of an operation may differ from what was recorded, in percent.
    tolerance_percent: u64,
    operations: BTreeMap<String, Recorded>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    instructions: u64,
    allocations: u64,
}

/// What a count is beside the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// More instructions or allocations than permitted.
    Worse,
    /// So much less that the record has to follow, or the gain could be lost unseen.
    Better,
    /// Nothing was recorded for it.
    New,
}

impl Thresholds {
    /// Where the table is.
    pub fn path() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/thresholds.toml"))
    }

    /// Reads a table.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("thresholds.toml")
    }

    /// Judges what was counted for an operation, and tells the instructions recorded.
    pub fn judge(&self, name: &str, cost: Cost) -> (Verdict, Option<u64>) {
        let Some(recorded) = self.operations.get(name) else {
            return (Verdict::New, None);
        };
        let permitted = recorded.instructions * self.tolerance_percent / 100;
        let most = recorded.instructions + permitted;
        let least = recorded.instructions - permitted;
        let verdict = if cost.instructions > most || cost.allocations > recorded.allocations {
            Verdict::Worse
        } else if cost.instructions < least || cost.allocations < recorded.allocations {
            Verdict::Better
        } else {
            Verdict::Same
        };
        (verdict, Some(recorded.instructions))
    }

    /// The recorded operations that are none of `counted`.
    pub fn missing(&self, counted: &[(String, Cost)]) -> Vec<&str> {
        let is_counted = |name: &str| counted.iter().any(|(counted, _)| counted == name);
        let names = self.operations.keys().map(String::as_str);
        names.filter(|name| !is_counted(name)).collect()
    }
}

/// The table as a file.
pub fn print(costs: &[(String, Cost)]) -> String {
    let mut text = HEAD.to_owned();
    for (name, cost) in costs {
        let Cost {
            instructions,
            allocations,
        } = cost;
        text += &format!(
            "{name:?} = {{ instructions = {instructions}, allocations = {allocations} }}\n"
        );
    }
    text
}

const HEAD: &str = "\
# What one operation costs: instructions and allocations, counted by Callgrind in a release build on x86-64 Linux
# with AVX2. `make counts` compares, `make counts-record` writes this file anew. Whoever raises a number says in the
# commit what it buys.
tolerance_percent = 5

[operations]
";

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(instructions: u64, allocations: u64) -> Cost {
        Cost {
            instructions,
            allocations,
        }
    }

    #[test]
    fn a_count_is_judged_by_what_was_recorded() {
        let recorded = [("append".to_owned(), cost(1000, 2))];
        let thresholds = Thresholds::parse(&print(&recorded)).unwrap();
        for (counted, verdict) in [
            (cost(1000, 2), Verdict::Same),
            (cost(1050, 2), Verdict::Same),
            (cost(1051, 2), Verdict::Worse),
            (cost(950, 2), Verdict::Same),
            (cost(949, 2), Verdict::Better),
            (cost(1000, 3), Verdict::Worse),
            (cost(1000, 1), Verdict::Better),
            (cost(900, 3), Verdict::Worse),
        ] {
            let judged = thresholds.judge("append", counted);
            assert_eq!(judged, (verdict, Some(1000)), "{counted:?}");
        }
        assert_eq!(thresholds.judge("read", cost(1, 0)), (Verdict::New, None));
        assert!(thresholds.missing(&recorded).is_empty());
        assert_eq!(thresholds.missing(&[]), ["append"]);
    }
}
