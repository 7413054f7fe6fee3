//! The `everwire` command: reads the configuration, wires the rest, owns the process.

// They panic where nobody reads any more.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod address;
mod config;
mod descriptors;
mod files;
mod grant;
mod health;
mod key;
mod local;
mod log;
mod memory;
mod publish;
mod serve;
mod subscribe;
mod supervisor;
mod token;

use std::process::ExitCode;

use clap::Command;

fn main() -> ExitCode {
    let matches = command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("serve", matches)) => serve::run(matches),
        Some(("health", matches)) => health::run(matches),
        Some(("config", matches)) => config::run(matches),
        Some(("token", matches)) => token::run(matches),
        Some(("key", matches)) => key::run(matches),
        Some(("publish", matches)) => publish::run(matches),
        Some(("subscribe", matches)) => subscribe::run(matches),
        _ => unreachable!("clap asks for one of the sub-commands"),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Some messages of the configuration's parser end with a line break.
            log::last_words(&format!("everwire: {}", format!("{error:#}").trim_end()));
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    Command::new("everwire")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A real-time server: a channel is a URL, a URL names a log, and every wire is a cursor over that log.")
        .after_help("Start with:  everwire serve --dev\nand open the address that it prints.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve::command())
        .subcommand(publish::command())
        .subcommand(subscribe::command())
        .subcommand(health::command())
        .subcommand(config::command())
        .subcommand(token::command())
        .subcommand(key::command())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
