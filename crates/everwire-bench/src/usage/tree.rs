//! A process with all its children, as nginx has workers and a script has what it runs.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{CpuTime, resident_bytes};

/// What process `root` and its descendants have used, with those that ended before.
///
/// # Errors
/// If `root` is gone.
pub fn cpu_time(root: u32) -> Result<CpuTime> {
    let mut sum = CpuTime::default();
    for pid in members(root)? {
        // One that ended since it was listed is counted by its parent from now on.
        if let (Ok(itself), Ok(ended)) = (CpuTime::of(pid), CpuTime::of_ended_children(pid)) {
            sum += itself;
            sum += ended;
        }
    }
    Ok(sum)
}

/// Resident memory of process `root` and its descendants, in bytes. Pages that several of them
/// share are counted for each, so only differences mean something.
///
/// # Errors
/// If `root` is gone.
pub fn memory(root: u32) -> Result<u64> {
    let members = members(root)?;
    Ok(members
        .into_iter()
        .filter_map(|pid| resident_bytes(pid).ok())
        .sum())
}

/// `root` and its descendants.
///
/// # Errors
/// If `root` is gone.
pub fn members(root: u32) -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("cannot read /proc")?;
    let all: Vec<(u32, u32)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid = path.file_name()?.to_str()?.parse().ok()?;
            Some((pid, parent(&path)?))
        })
        .collect();
    if !all.iter().any(|(pid, _)| *pid == root) {
        bail!("process {root} has ended");
    }
    Ok(descendants(root, &all))
}

/// Whether process `pid` has not ended. One that nobody has waited for has.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    let state = stat
        .ok()
        .and_then(|stat| field(&stat, 0).map(str::to_owned));
    state.is_some_and(|state| state != "Z")
}

/// `root` and its descendants among `all` processes, each given with its parent.
fn descendants(root: u32, all: &[(u32, u32)]) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&of) = found.get(at) {
        let children = all.iter().filter(|(_, parent)| *parent == of);
        found.extend(children.map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

fn parent(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    field(&stat, 1)?.parse().ok()
}

/// A field of `/proc/<pid>/stat`, counted from the one after the name, which may hold anything.
fn field(stat: &str, at: usize) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(at)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn descendants_are_found_in_any_order() {
        let all = [(9, 7), (1, 0), (7, 3), (3, 1), (8, 3), (4, 1), (5, 4)];
        let mut found = descendants(3, &all);
        found.sort_unstable();
        assert_eq!(found, [3, 7, 8, 9]);
        assert_eq!(descendants(5, &all), [5]);
    }

    #[test]
    fn a_child_belongs_to_its_parent() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let itself = std::process::id();
        assert!(members(itself).unwrap().contains(&child.id()));
        assert!(memory(itself).unwrap() > resident_bytes(itself).unwrap());
        let pid = child.id();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(cpu_time(pid).is_err(), "an ended process was measured");
    }
}
