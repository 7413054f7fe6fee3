//! What one operation of the cores costs, in figures that do not depend on the machine's mood.
//!
//! ```text
//!  everwire-counts check        instructions and allocations against thresholds.toml
//!  everwire-counts record       writes what was counted to thresholds.toml
//!  everwire-counts throughput   GB/s of the codec, beside a plain copy of the same bytes
//! ```
//!
//! `check` starts this program again under Valgrind's Callgrind, which executes each instruction by itself
//! and counts it: two runs give the same number, whatever else the machine does. What grew by more than the
//! permitted share fails, and so does what shrank by as much, until the new number is recorded.

use std::process::ExitCode;

mod callgrind;
mod measure;
mod operations;
mod report;
mod thresholds;
mod throughput;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["check"] => report::check(),
        ["record"] => report::record(),
        ["throughput"] => {
            throughput::print();
            Ok(ExitCode::SUCCESS)
        }
        // What `check` and `record` start under Callgrind.
        [callgrind::CHILD] => {
            operations::run_all();
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("usage: everwire-counts check | record | throughput");
            Ok(ExitCode::from(2))
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("everwire-counts: {error:#}");
        ExitCode::FAILURE
    })
}
