//! Server and client on different cores, so that neither's work is counted as the other's delay.

use std::fmt;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which core belongs to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// The first two cores that this process may use.
    Apart {
        /// The core of the measured process.
        server: usize,
        /// The core of this one.
        client: usize,
    },
    /// There is only one core, or the system does not tell.
    Shared,
}

impl Cores {
    /// Divides the cores that this process may use.
    pub fn divide() -> Self {
        let Ok(allowed) = sched_getaffinity(None) else {
            return Self::Shared;
        };
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next()) {
            (Some(server), Some(client)) => Self::Apart { server, client },
            _ => Self::Shared,
        }
    }

    /// The core of the measured process; 0 where nothing is bound.
    pub fn server(self) -> usize {
        match self {
            Self::Apart { server, .. } => server,
            Self::Shared => 0,
        }
    }

    /// Runs `start` on the server's core, so that a process started there stays there with all
    /// its threads, and goes back to the client's.
    pub fn on_server_core<T>(self, start: impl FnOnce() -> T) -> T {
        let Self::Apart { server, client } = self else {
            return start();
        };
        pin(server);
        let started = start();
        pin(client);
        started
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apart { server, client } => {
                write!(f, "server on core {server}, client on core {client}")
            }
            Self::Shared => f.write_str("server and client not bound to cores"),
        }
    }
}

/// Binds the calling thread to `core`. A system that refuses leaves it where it was: the run is
/// then only noisier.
fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let _ = sched_setaffinity(None, &set);
}
