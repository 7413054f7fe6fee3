//! The cost of each operation, as Callgrind counts it.
//!
//! ```text
//!  everwire-counts check ─▶ valgrind ─▶ everwire-counts (child): operation after operation
//!                              │                                     │
//!                         counts.1, counts.2, …  ◀── zip ──▶  "200 decode: …" lines
//! ```
//!
//! One process runs all operations, since starting Callgrind takes longer than most of them. It counts only
//! inside the measured function and writes a file each time that returns.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result, bail, ensure};

use crate::measure::MEASURED;

/// The argument that makes this program the one that is counted.
pub const CHILD: &str = "run-under-callgrind";

/// What one operation costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Instructions executed, the C library's included.
    pub instructions: u64,
    /// Calls that take memory or grow it; what happens in fewer than half of the runs does not count.
    pub allocations: u64,
}

/// Counts all operations, in order. `None` if there is no Valgrind.
pub fn count() -> Result<Option<Vec<(String, Cost)>>> {
    let folder = tempfile::tempdir().context("no folder for Callgrind's files")?;
    let Some(output) = run(&folder.path().join("counts"))? else {
        return Ok(None);
    };
    let printed = String::from_utf8(output.stdout).context("the operations' names are UTF-8")?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("counting failed with {}:\n{complaint}", output.status);
    }
    let mut costs = Vec::new();
    for (index, line) in printed.lines().enumerate() {
        let (times, name) = line.split_once(' ').context("a line is `times name`")?;
        let file = folder.path().join(format!("counts.{}", index + 1));
        let counted = fs::read_to_string(&file).with_context(|| {
            format!("Callgrind wrote no counts for `{name}`; was `measured` inlined?")
        })?;
        let total = parse(&counted).with_context(|| format!("the counts of `{name}`"))?;
        costs.push((name.to_owned(), total.divided(times.parse()?)));
    }
    ensure!(!costs.is_empty(), "no operation was counted");
    Ok(Some(costs))
}

/// Whether counts of this machine can be compared with the recorded ones.
///
/// What the program sees of the processor is Valgrind's: one and the same processor with AVX2 for all that
/// have AVX2, without AVX-512 and without SHA instructions.
pub fn is_comparable() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        cfg!(target_os = "linux") && is_x86_feature_detected!("avx2")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Runs the operations; their costs come in `{files}.1`, `{files}.2` and so on.
fn run(files: &Path) -> Result<Option<Output>> {
    let program = env::current_exe().context("the path of this program")?;
    let outcome = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-instr=yes"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(format!("--dump-after={MEASURED}"))
        .arg(format!("--callgrind-out-file={}", files.display()))
        .arg(program)
        .arg(CHILD)
        // Nothing of the caller's surroundings moves the stack or chooses another allocator.
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        // Without it the C library copies long ranges by one instruction that counts once a byte.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM")
        .output();
    match outcome {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("valgrind could not be started"),
    }
}

/// Reads one file of Callgrind's: the sum of all costs, and how often a function that allocates was entered.
///
/// The file counts calls too, but those of the preparations among them. So entries are counted: each executes
/// the function's first instruction, the one of the lowest address, once.
fn parse(counted: &str) -> Result<Cost> {
    let mut instructions = None;
    let mut entries = BTreeMap::new();
    let mut function = "";
    let mut is_of_callee = false;
    for line in counted.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with("calls=") {
            // The next line is what was spent in the function called.
            is_of_callee = true;
        } else if let Some(total) = line.strip_prefix("summary: ") {
            instructions = Some(total.trim().parse().context("the sum of instructions")?);
        } else if let Some(at) = line.strip_prefix("0x") {
            if !is_of_callee && ALLOCATING.contains(&function) {
                let (address, cost) = address_and_cost(at).context("the cost of an instruction")?;
                let (lowest, entered) = entries.entry(function).or_insert((address, 0));
                if address < *lowest {
                    (*lowest, *entered) = (address, 0);
                }
                if address == *lowest {
                    *entered += cost;
                }
            }
            is_of_callee = false;
        }
    }
    let instructions = instructions.context("a file of Callgrind's has a summary")?;
    Ok(Cost {
        instructions,
        allocations: entries.values().map(|(_, entered)| entered).sum(),
    })
}

/// Reads `4a10 0 200`: an address, a line of the source, how often the instruction was executed.
fn address_and_cost(line: &str) -> Option<(u64, u64)> {
    let mut columns = line.split(' ');
    let address = u64::from_str_radix(columns.next()?, 16).ok()?;
    let cost = columns.nth(1)?.parse().ok()?;
    Some((address, cost))
}

/// What the C library calls its functions that take memory or grow it.
const ALLOCATING: [&str; 5] = [
    "malloc",
    "calloc",
    "realloc",
    "aligned_alloc",
    "posix_memalign",
];

impl Cost {
    fn divided(self, times: u64) -> Self {
        Self {
            instructions: (self.instructions + times / 2) / times,
            allocations: (self.allocations + times / 2) / times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_callgrinds_is_summed() {
        let counted = "events: Ir\nsummary: 2001\n\n\
                       ob=/lib/libc.so.6\nfn=malloc\n0x4a12 0 40\n0x4a10 0 20\n0x4a15 0 40\n\
                       cfn=_int_malloc\ncalls=9000 0x4b00 0\n0x4a10 0 300\n\
                       ob=everwire-counts\nfn=append\n0x10 10 900\n\
                       cob=/lib/libc.so.6\ncfn=malloc\ncalls=20 0x4a10 0\n0x14 10 400\n\
                       ob=/lib/libc.so.6\nfn=realloc\n0x4c00 0 1\nfn=memcpy\n0x4d00 0 700\n\
                       totals: 2001\n";
        let total = parse(counted).unwrap();
        let expected = Cost {
            instructions: 2001,
            allocations: 21,
        };
        assert_eq!(total, expected);
        let each = Cost {
            instructions: 100,
            allocations: 1,
        };
        assert_eq!(total.divided(20), each);
        assert!(parse("events: Ir\n").is_err());
    }
}
