//! The processes of a subject: what they use, and how they end.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::{
    cores::Cores,
    usage::{self, CpuTime, tree},
};

/// Where a subject runs. What was started here is stopped when this is dropped.
#[derive(Debug)]
pub enum Process {
    /// One process.
    Alone(Child),
    /// A process with all that it starts.
    Group {
        /// The one that was started.
        leader: Child,
        /// Removed after they have ended.
        _scratch: TempDir,
    },
    /// A process with all that it starts, which somebody else started.
    Foreign {
        /// Its id.
        pid: u32,
    },
}

impl Process {
    /// Starts `command` on the server's core.
    ///
    /// # Errors
    /// If the system cannot; the message names the program.
    pub fn alone(command: &mut Command, cores: Cores) -> Result<Self> {
        spawn(command, cores).map(Self::Alone)
    }

    /// Starts `command` on the server's core, with a group of its own.
    ///
    /// # Errors
    /// If the system cannot; the message names the program.
    pub fn group(command: &mut Command, cores: Cores, scratch: TempDir) -> Result<Self> {
        let leader = spawn(command.process_group(0), cores)?;
        Ok(Self::Group {
            leader,
            _scratch: scratch,
        })
    }

    /// CPU time since it started.
    ///
    /// # Errors
    /// If it is gone.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        match self {
            Self::Alone(child) => CpuTime::of(child.id()),
            Self::Group { leader, .. } => tree::cpu_time(leader.id()),
            Self::Foreign { pid } => tree::cpu_time(*pid),
        }
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        match self {
            Self::Alone(child) => usage::resident_bytes(child.id()),
            Self::Group { leader, .. } => tree::memory(leader.id()),
            Self::Foreign { pid } => tree::memory(*pid),
        }
    }

    /// What has become of it, for a message.
    pub fn fate(&mut self) -> String {
        match self {
            Self::Alone(child) | Self::Group { leader: child, .. } => match child.try_wait() {
                Ok(Some(status)) => format!("it ended with {status}"),
                _ => "it still runs".to_owned(),
            },
            Self::Foreign { pid } => match tree::cpu_time(*pid) {
                Ok(_) => "it still runs".to_owned(),
                Err(_) => "it has ended".to_owned(),
            },
        }
    }

    /// Whether it ends within a moment, as most do that have closed their output.
    pub fn ends_soon(&mut self) -> bool {
        let child = match self {
            Self::Alone(child) | Self::Group { leader: child, .. } => child,
            Self::Foreign { .. } => return false,
        };
        let deadline = Instant::now() + SOON;
        loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                Ok(None) => return false,
                Ok(Some(_)) | Err(_) => return true,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Killed, not asked: a graceful end would wait for lines that nobody needs any more. The
        // calls fail only if all has ended already.
        match self {
            Self::Alone(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Group { leader, .. } => {
                let members = tree::members(leader.id()).unwrap_or_default();
                let _ = kill_process_group(Pid::from_child(leader), Signal::KILL);
                let _ = leader.wait();
                // Closing thousands of sockets takes the core that is measured next.
                let deadline = Instant::now() + END_MAX;
                while members.iter().any(|pid| tree::is_alive(*pid)) && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            Self::Foreign { .. } => {}
        }
    }
}

const END_MAX: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(500);

fn spawn(command: &mut Command, cores: Cores) -> Result<Child> {
    cores
        .on_server_core(|| command.spawn())
        .with_context(|| format!("cannot start {}", command.get_program().display()))
}
