//! SIGINT and SIGTERM: the run ends as by an error, so that what it started is stopped too.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Whether the process was told to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    told: Arc<AtomicBool>,
}

/// The run was told to stop.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted; nothing of this run was reported")]
pub struct Interrupted;

impl Interrupt {
    /// Listens for the signals from now on. A second one ends the process at once.
    ///
    /// # Errors
    /// If the system refuses a signal handler.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&interrupt.told))?;
            flag::register(signal, Arc::clone(&interrupt.told))?;
        }
        Ok(interrupt)
    }

    /// # Errors
    /// [`Interrupted`] once the process was told to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.told.load(Ordering::Relaxed) {
            Err(Interrupted)
        } else {
            Ok(())
        }
    }
}
