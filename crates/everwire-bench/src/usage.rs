//! What a process uses, as Linux accounts for it under `/proc`.

pub mod tree;

use std::{fs, ops::AddAssign, time::Duration};

use anyhow::{Context, Result};

/// CPU time of a process, over all its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// All of it, in nanoseconds as the scheduler counts them where it tells.
    total: Duration,
    /// The parts, in steps of 10 ms.
    parts: Parts,
}

/// In the program itself, and in the kernel on its behalf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    user: Duration,
    system: Duration,
}

impl CpuTime {
    /// What process `pid` has used since it started.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let [parts, _] = Parts::of(pid)?;
        let total = scheduled(pid).unwrap_or(parts.user + parts.system);
        Ok(Self { total, parts })
    }

    /// What the children of process `pid` have used that have ended.
    ///
    /// # Errors
    /// If there is no such process.
    fn of_ended_children(pid: u32) -> Result<Self> {
        let [_, parts] = Parts::of(pid)?;
        let total = parts.user + parts.system;
        Ok(Self { total, parts })
    }

    /// User and system together.
    pub fn total(self) -> Duration {
        self.total
    }

    /// The part that was not the kernel's, 0–1.
    pub fn user_share(self) -> f64 {
        let Parts { user, system } = self.parts;
        user.as_secs_f64() / (user + system).as_secs_f64()
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        let (now, then) = (self.parts, earlier.parts);
        Self {
            total: self.total.saturating_sub(earlier.total),
            parts: Parts {
                user: now.user.saturating_sub(then.user),
                system: now.system.saturating_sub(then.system),
            },
        }
    }
}

/// How long the threads of process `pid` were on a core, if the kernel keeps count of that.
fn scheduled(pid: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let schedule = thread.ok()?.path().join("schedstat");
        total += parse_scheduled(&fs::read_to_string(schedule).ok()?)?;
    }
    Some(total)
}

/// The first of three numbers: nanoseconds on a core, nanoseconds of waiting for one, time slices.
fn parse_scheduled(schedstat: &str) -> Option<Duration> {
    let nanoseconds = schedstat.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

impl AddAssign for CpuTime {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.parts.user += other.parts.user;
        self.parts.system += other.parts.system;
    }
}

impl Parts {
    /// Of process `pid`, and of its children that have ended.
    fn of(pid: u32) -> Result<[Self; 2]> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&stat).with_context(|| format!("{path} does not read as proc(5) tells"))
    }

    fn parse(stat: &str) -> Option<[Self; 2]> {
        // The name stands in parentheses and may itself hold spaces and parentheses.
        let (_, after_name) = stat.rsplit_once(") ")?;
        let mut ticks = after_name.split(' ').skip(11).map(|ticks| {
            // Linux shows 1/100 s to user space whatever its own tick is (USER_HZ).
            ticks
                .parse()
                .ok()
                .map(|ticks: u64| Duration::from_millis(ticks * 10))
        });
        let mut next = || {
            Some(Self {
                user: ticks.next()??,
                system: ticks.next()??,
            })
        };
        Some([next()?, next()?])
    }
}

/// Resident memory of process `pid` in bytes, without what the kernel holds for its sockets.
///
/// # Errors
/// If there is no such process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    // `status` may be behind by up to 64 pages a core, more than the lines cost that are measured
    // here; `smaps_rollup` counts the pages.
    let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    if let Some(bytes) = exact.ok().and_then(|text| parse_kilobytes(&text, "Rss:")) {
        return Ok(bytes);
    }
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_kilobytes(&text, "VmRSS:").with_context(|| format!("{path} has no VmRSS"))
}

fn parse_kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        for name in ["everwire", "a b", "x) R 1 (y"] {
            let stat =
                format!("17 ({name}) S 1 17 17 0 -1 4194560 900 0 0 0 250 75 3 4 20 0 2 0 99\n");
            let expected = [(2500, 750), (30, 40)].map(|(user, system)| Parts {
                user: Duration::from_millis(user),
                system: Duration::from_millis(system),
            });
            assert_eq!(Parts::parse(&stat), Some(expected), "{name}");
        }
        assert_eq!(Parts::parse("17 (everwire) S 1"), None);
    }

    #[test]
    fn time_on_a_core_is_told_in_nanoseconds() {
        let expected = Some(Duration::from_nanos(1_000_001));
        assert_eq!(parse_scheduled("1000001 52969 17\n"), expected);
        assert_eq!(parse_scheduled("\n"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\teverwire\nVmHWM:\t  9000 kB\nVmRSS:\t  8192 kB\n";
        assert_eq!(parse_kilobytes(status, "VmRSS:"), Some(8 * 1024 * 1024));
        assert_eq!(parse_kilobytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_uses_memory_and_no_less_time_than_before() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        let before = CpuTime::of(pid).unwrap();
        let after = CpuTime::of(pid).unwrap();
        assert_eq!(before.since(before), CpuTime::default());
        assert!(after.total() >= before.total());
    }
}
