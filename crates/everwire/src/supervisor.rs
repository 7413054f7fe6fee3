//! What a service manager is told, by the protocol of systemd (sd_notify(3)). Where there is none, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells the service manager.
pub struct Supervisor {
    watchdog: Option<tokio::time::Interval>,
}

impl Supervisor {
    /// The service manager of this process, if it has one.
    pub fn of_process() -> Self {
        // Twice in the time that it waits, as systemd advises.
        let every = sd_notify::watchdog_enabled()
            .map(|patience| (patience / 2).max(Duration::from_millis(1)));
        Self {
            watchdog: every.map(tokio::time::interval),
        }
    }

    /// The server serves.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The server reads its configuration anew, until it is ready again.
    pub fn reloading(&self) {
        // systemd tells by the time which order to reload this answers.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// The server stops.
    pub fn stopping(&self) {
        tell(&[
            NotifyState::Stopping,
            NotifyState::Status("stopping: readers are told to come back"),
        ]);
    }

    /// Resolves when it is time to show that the process is alive; never if nobody asks.
    pub async fn is_due(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => {
                watchdog.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// The process is alive.
    pub fn alive(&self) {
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told; is NOTIFY_SOCKET right?");
    }
}
