//! `everwire serve`

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use anyhow::Context;
use clap::{ArgMatches, Command};
use everwire_server::{Config, Reloader, Server, config::TlsMode};
use listenfd::ListenFd;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

use crate::{
    config::{effective_with, misspelt, placed, with_settings},
    descriptors,
    files::{Change, Files, Reading},
    local,
    log::Log,
    memory,
    supervisor::Supervisor,
};

/// `everwire serve`
pub fn command() -> Command {
    with_settings(Command::new("serve").about("Run the server").after_help(
        "Every setting is a flag, an environment variable (EVERWIRE_LIMITS__LINES_MAX for \
         --limits.lines-max) and a line of the file that `everwire config` prints; rules for channels \
         are in the file only. -h lists the most needed, --help all.\n\n\
         EVERWIRE_LOG chooses what is logged to standard error: error, warn, info (the default), debug \
         or trace. Ctrl-C and SIGTERM stop the server in order. SIGHUP has it read its configuration and the \
         files that this names anew, as a change of one of them does (reload.on_change).",
    ))
}

/// Runs the server until it is told to stop.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let log = Log::start()?;
    // Before there are threads: what it finds, it removes from the environment.
    let sockets = inherited()?;
    let mut reading = Reading::default();
    let mut config = effective_with(matches, &mut |path| reading.read(path))?;
    local::complete(&mut config)?;
    for problem in misspelt() {
        tracing::warn!(problem, "a variable looks like a setting and is none");
    }
    let descriptors = descriptors::raise();
    let is_fitted = descriptors::fit(&mut config, descriptors);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before the server starts, so that no signal is missed.
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
        let mut supervisor = Supervisor::of_process();
        let mut files = Files::new(config.reload.on_change);
        let mut server = Server::start_on(sockets, config.clone(), &mut |path| reading.read(path))?;
        let reloader = server.reloader();
        files.holds(reading);
        server.count_lost_lines(log.lost());
        log.tell(&greeting(server.addresses(), &config));
        if is_fitted {
            let limits = &config.limits;
            tracing::info!(
                descriptors,
                lines_max = limits.lines_max,
                connections_max = limits.connections_max,
                "there are fewer file descriptors than the limits of lines and connections need; both are lowered to fit"
            );
        }
        if let Some(memory_bytes) = memory::limit() {
            let limits = &config.limits;
            tracing::info!(
                memory_bytes,
                log_bytes_max = limits.log_bytes_max,
                in_flight_bytes_max = limits.in_flight_bytes_max,
                kept_bytes_max = limits.kept_bytes_max,
                "the process may have so much memory; limits that were not set fit into it"
            );
        }
        supervisor.ready(&format!("serving on {}", server.address()));
        // When the wait for balancers is over, once there was an order to stop.
        let mut leaves_at: Option<Instant> = None;
        loop {
            let cause = tokio::select! {
                _ = terminate.recv() => {
                    let delay_ms = reloader.delay_ms();
                    if delay_ms == 0 || leaves_at.is_some() {
                        break;
                    }
                    server.leave();
                    leaves_at = Some(Instant::now() + Duration::from_millis(delay_ms));
                    log.tell(&format!(
                        "\n  leaving: /readyz says so, and all is served for another {} s\n",
                        delay_ms.div_ceil(1000)
                    ));
                    continue;
                }
                _ = interrupt.recv() => break,
                () = sleep_until(leaves_at.unwrap_or_else(Instant::now)), if leaves_at.is_some() => break,
                error = server.failed() => {
                    server.abandon();
                    return Err(error)
                        .context("the server failed, and stops so that it can be started again");
                }
                () = supervisor.is_due() => {
                    match server.stuck() {
                        None => supervisor.alive(),
                        Some(part) => tracing::error!(
                            part,
                            "a part of the server is stuck, and the watchdog is not told that all is well"
                        ),
                    }
                    continue;
                }
                _ = hangup.recv() => Cause::Order,
                change = files.changed() => Cause::Change(change),
            };
            supervisor.reloading();
            reload(matches, &reloader, &mut files, cause, descriptors);
            supervisor.ready(&format!("serving on {}", server.address()));
        }
        supervisor.stopping();
        let drain_ms = reloader.drain_ms();
        log.tell(&format!(
            "\n  stopping: readers are told to come back, requests are finished (at most {} s)\n",
            drain_ms.div_ceil(1000)
        ));
        tokio::task::spawn_blocking(move || server.stop()).await??;
        log.tell("  stopped\n");
        Ok(())
    })
}

/// Why the configuration is read anew.
enum Cause {
    /// An operator says so.
    Order,
    Change(Change),
}

/// Has the server go on with what its files say now, or with what it has.
fn reload(
    matches: &ArgMatches,
    reloader: &Reloader,
    files: &mut Files,
    cause: Cause,
    descriptors: u64,
) {
    let (cause, mut reading) = match cause {
        Cause::Order => ("SIGHUP", files.reading()),
        Cause::Change(Change::Apply(changes)) => ("a file changed", files.reading_of(&changes)),
        Cause::Change(Change::Refuse(error)) => {
            reloader.refused();
            return tell_refused("a file changed", &error);
        }
    };
    let mut read = |path: &Path| reading.read(path);
    let config = effective_with(matches, &mut read).and_then(|mut config| {
        local::complete(&mut config)?;
        descriptors::fit(&mut config, descriptors);
        Ok(config)
    });
    let reloaded = match config {
        Ok(config) => reloader
            .reload_with(config, &mut read)
            .map_err(|error| placed(matches, error)),
        Err(error) => {
            reloader.refused();
            Err(error)
        }
    };
    match reloaded {
        Ok(reloaded) => {
            files.holds(reading);
            tracing::info!(cause, "the configuration was reloaded");
            for setting in reloaded.kept {
                tracing::warn!(
                    setting,
                    "a change of this setting takes a restart; the rest is applied"
                );
            }
        }
        Err(error) => {
            files.failed(reading);
            tell_refused(cause, &format!("{error:#}"));
        }
    }
}

fn tell_refused(cause: &str, error: &str) {
    tracing::error!(
        cause,
        error,
        "the configuration could not be reloaded; the old one holds on, whole"
    );
}

/// The sockets that a service manager listens on for this process (sd_listen_fds(3)). None if there are none.
fn inherited() -> anyhow::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|index| {
            let listener = passed.take_tcp_listener(index);
            let listener = listener.with_context(|| {
                format!(
                    "socket {index} that was passed by LISTEN_FDS is not one that listens for TCP"
                )
            })?;
            listener
                .with_context(|| format!("socket {index} that was passed by LISTEN_FDS is gone"))
        })
        .collect()
}

/// What a person sees who started the server.
fn greeting(addresses: &[SocketAddr], config: &Config) -> String {
    let address = addresses[0];
    let threads = match config.threads_effective() {
        1 => "1 core thread".to_owned(),
        n => format!("{n} core threads"),
    };
    let (scheme, how) = match config.tls.mode {
        TlsMode::Off => ("http", "in clear text"),
        TlsMode::Only => ("https", "under TLS"),
        TlsMode::Both => ("https", "under TLS, and by http:// in clear text"),
    };
    let listening = addresses
        .iter()
        .map(|address| format!("{scheme}://{address}"));
    let listening = listening.collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "Everwire {}\n  listening on {listening}  (HTTP/1.1, HTTP/2 and WebSocket, {how}; {threads})\n",
        env!("CARGO_PKG_VERSION"),
    );
    let is_exposed = addresses.iter().any(|address| !address.ip().is_loopback());
    if config.tls.mode == TlsMode::Off && is_exposed {
        text += "  whoever is on the way can read and change what is sent: set tls.mode, or put a proxy in front that \
                 speaks TLS\n";
    }
    let nobody = |actions: &[_]| actions.is_empty();
    if config.dev {
        let own = config.tls.certificates.first();
        let own = own.filter(|_| config.tls.mode != TlsMode::Off);
        let (curl, trust) = match own {
            Some(own) => {
                let file = own.cert_file.display();
                let trust = format!(
                    "  trust    this certificate is of this machine's own making, so browsers warn once; to have them \
                     not, import\n           {file}\n"
                );
                (format!("curl --cacert {file}"), trust)
            }
            None => ("curl".to_owned(), String::new()),
        };
        let root = format!("{scheme}://{address}{}", config.http.prefix);
        text += &format!(
            "  --dev: everybody who can reach this port may read, publish and delete everything\n\n  \
             look     open {root}/ in a browser\n  \
             chat     open {root}/examples/chat/ in two\n  \
             read     {curl} -N -H 'Accept: text/event-stream' {root}/channels/news\n  \
             publish  {curl} -d '{{\"text\":\"hello\"}}' {root}/channels/news\n{trust}"
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
