//! The table that a person reads, and what is to be done.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, bail};

use crate::{
    callgrind::{self, Cost},
    thresholds::{self, Thresholds, Verdict},
};

/// Counts, prints the table, and fails if a count is not what was recorded.
pub fn check() -> Result<ExitCode> {
    if !callgrind::is_comparable() {
        println!("skipped: instruction counts are recorded for x86-64 Linux with AVX2 only");
        return Ok(ExitCode::SUCCESS);
    }
    let Some(costs) = callgrind::count()? else {
        println!("skipped: instruction counts, since valgrind is not installed");
        return Ok(ExitCode::SUCCESS);
    };
    let path = Thresholds::path();
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (table, complaints) = compare(&costs, &Thresholds::parse(&text)?);
    print!("{table}");
    if complaints.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("\n{complaints}");
    Ok(ExitCode::FAILURE)
}

/// Counts, and writes the thresholds anew.
pub fn record() -> Result<ExitCode> {
    if !callgrind::is_comparable() {
        bail!("counts of this machine are no thresholds; record on x86-64 Linux with AVX2");
    }
    let Some(costs) = callgrind::count()? else {
        bail!("valgrind is not installed; install it, then record again");
    };
    let path = Thresholds::path();
    fs::write(&path, thresholds::print(&costs)).with_context(|| path.display().to_string())?;
    println!("wrote {} counts to {}", costs.len(), path.display());
    Ok(ExitCode::SUCCESS)
}

/// The table, and a line for each count that asks for something.
fn compare(costs: &[(String, Cost)], thresholds: &Thresholds) -> (String, String) {
    let width = costs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut table = format!(
        "{:width$}  {:>12} {:>12} {:>8} {:>11}\n",
        "operation", "instructions", "recorded", "change", "allocations"
    );
    let mut complaints = String::new();
    for (name, cost) in costs {
        let (verdict, recorded) = thresholds.judge(name, *cost);
        let change = recorded.map_or("new".to_owned(), |recorded| {
            let (new, old) = (cost.instructions as f64, recorded as f64);
            format!("{:+.1} %", (new / old - 1.0) * 100.0)
        });
        let recorded = recorded.map_or("-".to_owned(), |recorded| recorded.to_string());
        table += &format!(
            "{name:width$}  {:>12} {recorded:>12} {change:>8} {:>11}\n",
            cost.instructions, cost.allocations
        );
        let complaint = match verdict {
            Verdict::Same => continue,
            Verdict::Worse => {
                "costs more than thresholds.toml permits; mend it, or record it and say what it buys"
            }
            Verdict::Better => {
                "costs less than recorded; `make counts-record`, so that it stays so"
            }
            Verdict::New => "is not in thresholds.toml; `make counts-record`",
        };
        complaints += &format!("{name}: {complaint}\n");
    }
    for name in thresholds.missing(costs) {
        complaints += &format!("{name}: is recorded and no operation; `make counts-record`\n");
    }
    (table, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_and_what_to_do() {
        let cost = |instructions| Cost {
            instructions,
            allocations: 1,
        };
        let row = |name: &str, instructions| (name.to_owned(), cost(instructions));
        let recorded = [row("append", 1000), row("gone", 1), row("read", 1000)];
        let thresholds = Thresholds::parse(&thresholds::print(&recorded)).unwrap();
        let counted = [row("append", 1100), row("read", 1000), row("split", 5)];
        let (table, complaints) = compare(&counted, &thresholds);
        let expected = "operation  instructions     recorded   change allocations\n\
                        append          1100         1000  +10.0 %           1\n\
                        read            1000         1000   +0.0 %           1\n\
                        split              5            -      new           1\n";
        assert_eq!(table, expected);
        let named: Vec<_> = complaints
            .lines()
            .filter_map(|line| line.split(':').next())
            .collect();
        assert_eq!(named, ["append", "split", "gone"]);
    }
}
