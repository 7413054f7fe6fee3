//! What figures hold for: the machine, as Linux describes it, and what was measured on it.

use std::fs;

/// The machine in a few words: processor, cores, memory, kernel. What the system does not tell is
/// called unknown.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let kernel = read("/proc/sys/kernel/osrelease");
    summary(&cpu, &memory, kernel.trim())
}

/// The versions of what was measured and what it was built with. Without a server it is the
/// floor's own.
pub fn versions() -> String {
    let (everwire, rustc) = (env!("CARGO_PKG_VERSION"), env!("RUSTC_VERSION"));
    let hyper = env!("HYPER_VERSION");
    format!("everwire {everwire}, rustc {rustc}, hyper {hyper}")
}

fn summary(cpuinfo: &str, meminfo: &str, kernel: &str) -> String {
    // Not those that this thread may use: it is bound to one.
    let is_core = |line: &&str| line.starts_with("processor");
    let cores = cpuinfo.lines().filter(is_core).count();
    let value = |text: &str, name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(found, _)| found.trim() == name);
        found.map(|(_, value)| value.trim().to_owned())
    };
    let or_unknown = |found: Option<String>| found.unwrap_or_else(|| "unknown".to_owned());
    let memory = value(meminfo, "MemTotal").and_then(|total| {
        let kilobytes: f64 = total.strip_suffix(" kB")?.parse().ok()?;
        Some(format!("{:.0} GiB", kilobytes / 1024.0 / 1024.0))
    });
    let cpu = or_unknown(value(cpuinfo, "model name"));
    let memory = or_unknown(memory);
    format!("{cpu}, {cores} cores, {memory} of memory, Linux {kernel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_in_one_line() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast 9000\nprocessor\t: 1\n";
        let meminfo = "MemTotal:       24684092 kB\nMemFree:  1 kB\n";
        for (cpuinfo, meminfo, expected) in [
            (
                cpuinfo,
                meminfo,
                "Fast 9000, 2 cores, 24 GiB of memory, Linux 6.1",
            ),
            ("", "", "unknown, 0 cores, unknown of memory, Linux 6.1"),
        ] {
            assert_eq!(summary(cpuinfo, meminfo, "6.1"), expected);
        }
    }
}
