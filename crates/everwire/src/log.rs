//! The log: what is said, how much of it, and to whom. Nothing here makes whoever says something wait or fail.
//!
//! ```text
//!  tracing ─▶ EVERWIRE_LOG ─▶ Paced ─▶ Lossy ─▶ stderr
//!  panics ─────────────────────┘└─ "and 12,345 more" ─┘
//! ```

mod lossy;
mod pace;
mod paced;
mod panics;

use std::{
    env,
    io::{self, IsTerminal, Write},
    panic,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow};
use everwire_server::LostLines;
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use self::{lossy::Lossy, paced::Paced};

/// The log and the standard output of a server. What is left is written when it is dropped, as far as somebody takes it.
pub struct Log {
    lost: Arc<LostLines>,
    stderr: Lossy,
    stdout: Lossy,
    paced: Paced,
}

/// How long an end waits for its last words to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Log {
    /// Starts to log what the environment asks for.
    ///
    /// # Errors
    ///
    /// `EVERWIRE_LOG` makes no sense, or the system refuses a thread.
    pub fn start() -> anyhow::Result<Self> {
        let said = env::var("EVERWIRE_LOG").ok();
        let filter = filter(said.as_deref().unwrap_or("info"))?;
        let lost = Arc::<LostLines>::default();
        let no_thread = "cannot start the thread that writes the log";
        let stderr = Lossy::start(io::stderr(), lost.clone()).context(no_thread)?;
        // What is said there is said once; that it is lost is nothing to count.
        let stdout = Lossy::start(io::stdout(), Arc::default()).context(no_thread)?;
        let paced = Paced::start(lost.clone()).context(no_thread)?;
        let out = stderr.clone();
        let layer = fmt::layer()
            .log_internal_errors(false)
            .with_writer(move || out.clone());
        let layer = match io::stderr().is_terminal() {
            true => layer.compact().with_filter(paced.clone()).boxed(),
            false => layer.json().with_filter(paced.clone()).boxed(),
        };
        tracing_subscriber::registry()
            .with(filter)
            .with(layer)
            .init();
        panic::set_hook(Box::new(panics::hook(paced.clone())));
        Ok(Self {
            lost,
            stderr,
            stdout,
            paced,
        })
    }

    /// The lines that were not written.
    pub fn lost(&self) -> Arc<LostLines> {
        self.lost.clone()
    }

    /// Says something to whoever started the server.
    pub fn tell(&self, text: &str) {
        self.stdout.push(text.as_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.paced.tell_rest();
        self.stderr.flush(LAST_WORDS);
        self.stdout.flush(LAST_WORDS);
    }
}

/// Writes last words to standard error, if somebody takes them in time: a process that ends waits for no reader.
pub fn last_words(text: &str) {
    let text = format!("{text}\n");
    let (done, is_done) = mpsc::channel();
    let write = move || {
        let _ = io::stderr().write_all(text.as_bytes());
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(write).is_ok() {
        let _ = is_done.recv_timeout(LAST_WORDS);
    }
}

fn filter(said: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(directives(said)).map_err(|_| {
        anyhow!(
            "EVERWIRE_LOG is {said:?}; write error, warn, info, debug or trace, or target=level"
        )
    })
}

/// The directives of a filter. A level that stands alone is for the server itself: libraries warn of what peers do, frame
/// by frame, and of them only errors are logged, unless everything is asked for by `debug` or `trace`.
fn directives(said: &str) -> String {
    let own = |part: &str| match part.trim() {
        level @ ("warn" | "info") => format!("error,everwire={level}"),
        other => other.to_owned(),
    };
    said.split(',').map(own).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_for_the_server_and_not_for_its_libraries() {
        for (said, expected) in [
            ("info", "error,everwire=info"),
            ("warn", "error,everwire=warn"),
            ("error", "error"),
            ("trace", "trace"),
            ("warn, h2=debug", "error,everwire=warn,h2=debug"),
            (
                "info,everwire::requests=off",
                "error,everwire=info,everwire::requests=off",
            ),
        ] {
            assert_eq!(directives(said), expected, "{said:?}");
        }
        assert!(filter("loud").is_ok(), "a target");
        let error = filter("info=loud").unwrap_err().to_string();
        assert!(error.contains("EVERWIRE_LOG"), "{error}");
    }
}
