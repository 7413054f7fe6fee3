//! A process that may have little memory sets by it what nobody has set.

use std::process::Command;

/// Each row: what is set, and what holds in 256 MiB.
#[test]
fn what_is_not_set_fits_into_the_memory_that_there_is() {
    let binary = env!("CARGO_BIN_EXE_everwire");
    for (flag, holds) in [
        (
            "--threads=2",
            [
                "log_bytes_max = 134217728",
                "in_flight_bytes_max = 33554432",
                "in_flight_bytes_per_caller_max = 8388608",
                "kept_bytes_max = 8388608",
            ],
        ),
        (
            "--limits.log-bytes-max=1000000000",
            [
                "log_bytes_max = 1000000000",
                "in_flight_bytes_max = 33554432",
                "in_flight_bytes_per_caller_max = 8388608",
                "kept_bytes_max = ",
            ],
        ),
    ] {
        let limited = "ulimit -d 262144 && exec \"$0\" config \"$1\"";
        let output = Command::new("sh")
            .args(["-c", limited, binary, flag])
            .output()
            .expect("a shell");
        let printed = String::from_utf8(output.stdout).expect("text");
        for line in holds {
            assert!(
                printed.contains(&format!("\n{line}")),
                "{flag}: {line} is in\n{printed}"
            );
        }
    }
}
