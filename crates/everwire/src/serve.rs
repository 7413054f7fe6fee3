//! `everwire serve`

use std::{
    io::{self, IsTerminal, Write},
    net::SocketAddr,
};

use anyhow::{Context, anyhow};
use clap::{ArgMatches, Command};
use everwire_server::{Config, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{effective, with_settings};

/// `everwire serve`
pub fn command() -> Command {
    with_settings(Command::new("serve").about("Run the server").after_help(
        "Every setting is a flag, an environment variable (EVERWIRE_LIMITS__LINES_MAX for \
         --limits.lines-max) and a line of the file that `everwire config` prints; rules for channels \
         are in the file only. -h lists the most needed, --help all.\n\n\
         EVERWIRE_LOG chooses what is logged to standard error: error, warn, info (the default), debug \
         or trace. Ctrl-C and SIGTERM stop the server in order.",
    ))
}

/// Runs the server until it is told to stop.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    start_logging()?;
    let config = effective(matches)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before the server starts, so that no signal is missed.
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut server = Server::start(config.clone())?;
        tell(&greeting(server.address(), &config));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            error = server.failed() => {
                return Err(error).context("the server failed, and stops so that it can be started again");
            }
        }
        tell(&format!(
            "\n  stopping: readers are told to come back, requests are finished (at most {} s)\n",
            config.stop.drain_ms.div_ceil(1000)
        ));
        tokio::task::spawn_blocking(move || server.stop()).await??;
        tell("  stopped\n");
        Ok(())
    })
}

/// What a person sees who started the server.
fn greeting(address: SocketAddr, config: &Config) -> String {
    let threads = match config.threads_effective() {
        1 => "1 core thread".to_owned(),
        n => format!("{n} core threads"),
    };
    let mut text = format!(
        "Everwire {}\n  listening on http://{address}  (HTTP/1.1, HTTP/2 and WebSocket, in clear text; {threads})\n",
        env!("CARGO_PKG_VERSION"),
    );
    let nobody = |actions: &[_]| actions.is_empty();
    if config.dev {
        text += &format!(
            "  --dev: everybody who can reach this port may read, publish and delete everything\n\n  \
             look     open http://{address}/ in a browser\n  \
             chat     open http://{address}/examples/chat/ in two\n  \
             read     curl -N -H 'Accept: text/event-stream' http://{address}/channels/news\n  \
             publish  curl -d '{{\"text\":\"hello\"}}' http://{address}/channels/news\n"
        );
    } else if nobody(&config.channels.anonymous)
        && config
            .rules
            .iter()
            .all(|rule| rule.anonymous.as_deref().is_none_or(nobody))
    {
        let takes_credentials = !config.tokens.keys.is_empty() || !config.keys.is_empty();
        text += match takes_credentials {
            true => {
                "  who shows a token or an API key may do what that grants; nobody else may read or publish\n"
            }
            false => {
                "  nobody may read or publish yet: grant it with `anonymous` under [channels] or in a rule,\n  \
                 or give keys for tokens\n  \
                 (`everwire config` prints all settings; to try things out, run `everwire serve --dev`)\n"
            }
        };
    }
    text
}

/// Says something to who started the server. That nobody listens any more is no reason to stop serving.
fn tell(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn start_logging() -> anyhow::Result<()> {
    let filter = match std::env::var("EVERWIRE_LOG") {
        Ok(said) => EnvFilter::try_new(&said).map_err(|_| {
            anyhow!(
                "EVERWIRE_LOG is {said:?}; write error, warn, info, debug or trace, or target=level"
            )
        })?,
        Err(_) => EnvFilter::new("info"),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    if io::stderr().is_terminal() {
        builder.compact().init();
    } else {
        builder.json().init();
    }
    Ok(())
}
