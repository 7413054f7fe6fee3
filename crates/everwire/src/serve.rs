//! `everwire serve`

use std::{io::IsTerminal, net::SocketAddr};

use anyhow::Context;
use clap::{ArgMatches, Command};
use everwire_server::{Config, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{effective, with_settings};

/// `everwire serve`
pub fn command() -> Command {
    with_settings(Command::new("serve").about("Run the server").after_help(
        "Every setting is a flag, an environment variable (EVERWIRE_LIMITS__LINES_MAX for \
                 --limits.lines-max) and a line of the file that `everwire config` prints. \
                 --help lists them all; -h the most needed.",
    ))
}

/// Runs the server until it is told to stop.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    start_logging();
    let config = effective(matches)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before the server starts, so that no signal is missed.
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut server = Server::start(config.clone())?;
        greet(server.address(), &config);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            error = server.failed() => {
                return Err(error).context("the server failed, and stops so that it can be started again");
            }
        }
        println!(
            "\n  stopping: lines are told to come back, for at most {} s",
            config.stop.drain_ms.div_ceil(1000)
        );
        tokio::task::spawn_blocking(move || server.stop()).await??;
        println!("  stopped");
        Ok(())
    })
}

fn greet(address: SocketAddr, config: &Config) {
    println!("Everwire {}", env!("CARGO_PKG_VERSION"));
    println!(
        "  listening on http://{address}  (HTTP/1.1, HTTP/2 and WebSocket, in clear text, {} core threads)",
        config.threads_effective()
    );
    if config.dev {
        println!("  --dev: everybody who can reach this port may read and publish everything");
        println!();
        println!("  look     open http://{address}/ in a browser");
        println!(
            "  read     curl -N -H 'Accept: text/event-stream' http://{address}/channels/news"
        );
        println!("  publish  curl -d hello http://{address}/channels/news");
    } else if config.channels.anonymous.is_empty()
        && config.rules.iter().all(|rule| rule.anonymous.is_none())
    {
        println!(
            "  nobody may read or publish yet: grant it with `anonymous` under [channels] or in a rule"
        );
        println!(
            "  (`everwire config` prints all settings; to try things out, run `everwire serve --dev`)"
        );
    }
}

fn start_logging() {
    let filter = EnvFilter::try_from_env("EVERWIRE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.compact().init();
    } else {
        builder.json().init();
    }
}
