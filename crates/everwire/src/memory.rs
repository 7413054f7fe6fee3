//! How much memory the process may have, and defaults that fit into it.
//!
//! ```text
//!  /proc/self/cgroup + mountinfo ─▶ its cgroup and those above ─┐
//!  /proc/self/limits ─▶ ulimit -d, ulimit -v ───────────────────┴─▶ the tightest ─▶ defaults of limits.…
//! ```
//!
//! What takes more is ended by the system, and with it all logs are lost: so what nobody has set is set by what there is.
//! What was set holds as it stands.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Most memory that the process may have, in bytes, if anything bounds it.
pub fn limit() -> Option<u64> {
    limit_by(&mut |path| fs::read_to_string(path).ok())
}

/// A setting of `limits` whose default depends on the memory that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitted {
    LogBytes,
    InFlightBytes,
    InFlightBytesPerCaller,
    KeptBytes,
}

impl Fitted {
    /// The name of the setting, without its section.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogBytes => "log_bytes_max",
            Self::InFlightBytes => "in_flight_bytes_max",
            Self::InFlightBytesPerCaller => "in_flight_bytes_per_caller_max",
            Self::KeptBytes => "kept_bytes_max",
        }
    }
}

/// The defaults that fit into so much memory where those of the manual may not, in bytes. Half is for the logs, an eighth
/// for what is under way; what is left is for lines, channels and the allocator.
pub fn fitting(limit: u64, threads: usize) -> [(Fitted, u64); 4] {
    const MIB: u64 = 1024 * 1024;
    let in_flight = (limit / 8).min(256 * MIB);
    let for_each_thread = limit / 16 / threads.max(1) as u64;
    [
        (Fitted::LogBytes, (limit / 2).min(4096 * MIB)),
        (Fitted::InFlightBytes, in_flight),
        (
            Fitted::InFlightBytesPerCaller,
            (in_flight / 4).min(32 * MIB),
        ),
        (Fitted::KeptBytes, for_each_thread.clamp(MIB, 32 * MIB)),
    ]
}

/// The same, where `read` gets the content of the system's files.
fn limit_by(read: &mut dyn FnMut(&Path) -> Option<String>) -> Option<u64> {
    let mut file = |path: &str| read(Path::new(path)).unwrap_or_default();
    let (cgroups, mounts) = (file("/proc/self/cgroup"), file("/proc/self/mountinfo"));
    let limits = file("/proc/self/limits");
    let in_cgroups = places(&cgroups, &mounts)
        .into_iter()
        .filter_map(|place| read(&place)?.trim().parse().ok());
    in_cgroups
        .chain(of_process(&limits))
        // Version 1 says so, in whole pages, that there is none.
        .filter(|bytes| (1..1 << 62).contains(bytes))
        .min()
}

/// The files that tell the limits of a process's cgroup and of all above it.
fn places(cgroups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut places = Vec::new();
    for Mount { version, root, at } in mounts.lines().filter_map(Mount::parse) {
        let Some(path) = cgroups.lines().find_map(|line| version.path(line)) else {
            continue;
        };
        // What is not below the mount's root belongs to another namespace, of which only the mount is to be seen.
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        for folder in Path::new(at).join(below).ancestors() {
            if !folder.starts_with(at) {
                break;
            }
            places.extend(version.files().iter().map(|file| folder.join(file)));
        }
    }
    places
}

/// A place where cgroups are mounted that bound memory.
struct Mount<'a> {
    version: Version,
    /// Which cgroup is seen there.
    root: &'a str,
    at: &'a str,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl<'a> Mount<'a> {
    /// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, at) = (mount.next()?, mount.next()?);
        let mut filesystem = filesystem.split(' ');
        let kind = filesystem.next()?;
        let mut options = filesystem.nth(1)?.split(',');
        let version = match kind {
            "cgroup2" => Version::Two,
            "cgroup" if options.any(|option| option == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { version, root, at })
    }
}

impl Version {
    /// The path of the process's cgroup, if a line of `/proc/self/cgroup` tells it (cgroups(7)).
    fn path(self, line: &str) -> Option<&str> {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_it = match self {
            Self::One => controllers.split(',').any(|name| name == "memory"),
            Self::Two => number == "0" && controllers.is_empty(),
        };
        is_it.then_some(path)
    }

    /// What is above either is killed, or held up until it is not any more.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::One => &["memory.limit_in_bytes"],
            Self::Two => &["memory.max", "memory.high"],
        }
    }
}

/// The soft limits of a process that concern its memory (proc_pid_limits(5)).
fn of_process(limits: &str) -> impl Iterator<Item = u64> + '_ {
    let of = |line: &str| {
        let rest = ["Max data size", "Max address space"]
            .iter()
            .find_map(|name| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    limits.lines().filter_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    /// Each row: the process's cgroups, where they are mounted, what the files say, and the limit.
    #[test]
    fn the_tightest_limit_of_a_cgroup_and_those_above_it_holds() {
        let v1_of_a_container = "35 31 0:32 /docker/4f /sys/fs/cgroup/memory ro,nosuid master:9 - cgroup cgroup rw,memory\n";
        type Row<'a> = (
            &'a str,
            &'a str,
            &'a str,
            &'a [(&'a str, &'a str)],
            Option<u64>,
        );
        let rows: &[Row<'_>] = &[
            ("no cgroups", "", "", &[], None),
            (
                "version 2",
                "0::/system.slice/everwire.service\n",
                V2,
                &[(
                    "/sys/fs/cgroup/system.slice/everwire.service/memory.max",
                    "268435456\n",
                )],
                Some(268_435_456),
            ),
            (
                "version 2, without a limit",
                "0::/user.slice\n",
                V2,
                &[("/sys/fs/cgroup/user.slice/memory.max", "max\n")],
                None,
            ),
            (
                "version 2, an ancestor's",
                "0::/a/b\n",
                V2,
                &[
                    ("/sys/fs/cgroup/a/b/memory.max", "900\n"),
                    ("/sys/fs/cgroup/a/memory.max", "700\n"),
                    ("/sys/fs/cgroup/memory.max", "800\n"),
                ],
                Some(700),
            ),
            (
                "version 2, held up before it is killed",
                "0::/a\n",
                V2,
                &[
                    ("/sys/fs/cgroup/a/memory.max", "900\n"),
                    ("/sys/fs/cgroup/a/memory.high", "600\n"),
                ],
                Some(600),
            ),
            (
                "version 2, a namespace of its own",
                "0::/\n",
                V2,
                &[("/sys/fs/cgroup/memory.max", "500\n")],
                Some(500),
            ),
            (
                "version 2, outside of what is mounted",
                "0::/../other\n",
                V2,
                &[("/sys/fs/cgroup/memory.max", "500\n")],
                Some(500),
            ),
            (
                "version 1",
                "4:memory:/a\n0::/\n",
                V1,
                &[
                    ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "400\n"),
                    (
                        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                        "9223372036854771712\n",
                    ),
                ],
                Some(400),
            ),
            (
                "version 1, without a limit",
                "4:memory:/\n",
                V1,
                &[(
                    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                    "9223372036854771712\n",
                )],
                None,
            ),
            (
                "version 1, in a container",
                "9:cpuset,memory:/docker/4f\n",
                v1_of_a_container,
                &[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "300\n")],
                Some(300),
            ),
            (
                "another controller's cgroup",
                "3:cpu,cpuacct:/a\n",
                V1,
                &[("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "400\n")],
                None,
            ),
            (
                "what is no number",
                "0::/\n",
                V2,
                &[("/sys/fs/cgroup/memory.max", "lots\n")],
                None,
            ),
        ];
        for (name, cgroups, mounts, files, expected) in rows {
            let system = [
                ("/proc/self/cgroup", *cgroups),
                ("/proc/self/mountinfo", *mounts),
            ];
            let found = limit_by(&mut |path| {
                let mut all = system.iter().chain(*files);
                let (_, content) = all.find(|(name, _)| path == Path::new(name))?;
                Some((*content).to_owned())
            });
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn the_limits_of_the_process_itself_count_too() {
        for (line, expected) in [
            (
                "Max data size             268435456            unlimited            bytes",
                Some(268_435_456),
            ),
            (
                "Max address space         1073741824           1073741824           bytes",
                Some(1_073_741_824),
            ),
            (
                "Max data size             unlimited            unlimited            bytes",
                None,
            ),
            (
                "Max stack size            8388608              unlimited            bytes",
                None,
            ),
        ] {
            let limits = format!(
                "Limit                     Soft Limit           Hard Limit           Units\n{line}\n"
            );
            let found = limit_by(&mut |path| path.ends_with("limits").then(|| limits.clone()));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn defaults_fit_together_and_are_those_of_the_manual_where_there_is_enough() {
        let all = everwire_server::config::settings();
        for (setting, value) in fitting(64 << 30, 2) {
            let known = all
                .iter()
                .find(|known| known.path == format!("limits.{}", setting.name()));
            let default = known.and_then(|known| known.default.as_integer());
            assert_eq!(default, i64::try_from(value).ok(), "{setting:?}");
        }
        for limit in [128, 256, 512, 1024, 4096_u64].map(|mib| mib << 20) {
            for threads in [1, 2, 8] {
                let [(_, log), (_, in_flight), (_, one), (_, kept)] = fitting(limit, threads);
                assert!(log + in_flight + 2 * kept * threads as u64 <= limit / 4 * 3);
                assert!(one * 4 <= in_flight);
            }
        }
    }
}
