//! `everwire subscribe`

mod print;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use everwire_client::{Item, Offset, Reader, Start, Wire};

use crate::address::Address;
use print::Printer;

/// What to read, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    address: Address,

    /// How to read: all wires give the same entries.
    #[arg(
        long,
        default_value = Wire::default().as_str(),
        value_parser = PossibleValuesParser::new(Wire::ALL.map(Wire::as_str)).try_map(|name| name.parse::<Wire>()),
    )]
    wire: Wire,

    /// Where to start: now, beginning, or an offset that was printed before.
    #[arg(long, value_name = "PLACE", default_value = "now", value_parser = place)]
    from: Start,

    /// Start with the last N entries.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    last: Option<u64>,

    /// Stop after N entries.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print each entry whole, as a JSON object on a line of its own: offset, time in Unix
    /// milliseconds, event, and data, or data64 for bytes.
    #[arg(long)]
    json: bool,

    /// Print entries only, and no notices.
    #[arg(short, long)]
    quiet: bool,
}

/// `everwire subscribe`
pub fn command() -> Command {
    Args::augment_args(Command::new("subscribe"))
        .about("Read a channel, live, through any disconnection")
        .after_help(
            "Entries go to standard output, one line for each; notices (connected, reconnecting, a gap) go to \
             standard error. Ends when the channel is closed.\n\n\
             Examples:\n  \
             everwire subscribe news\n  \
             everwire subscribe chat/lobby --last 20 --json\n  \
             everwire subscribe news --wire long-poll --from beginning --count 100",
        )
}

/// Reads until the channel is closed, or enough is read.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = Args::from_arg_matches(matches)?;
    let url = args.address.url()?;
    let stdout = io::stdout();
    let printer = Printer::new(args.json, stdout.is_terminal());
    let start = args.last.map_or(args.from, Start::Last);
    let mut subscription = Subscription {
        reader: Reader::new(url.clone(), args.wire, start),
        printer,
        left: args.count,
        notices: if args.quiet {
            Notices::Silent
        } else {
            Notices::OnStandardError
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(subscription.run(&mut stdout.lock())) {
        // Whoever read our output has enough, as in `everwire subscribe news | head -1`.
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        outcome => {
            outcome.with_context(|| format!("cannot go on reading {url} over {}", args.wire))
        }
    }
}

struct Subscription {
    reader: Reader,
    printer: Printer,
    /// How many entries are still wanted; `None`: all.
    left: Option<u64>,
    notices: Notices,
}

enum Notices {
    OnStandardError,
    Silent,
}

impl Subscription {
    async fn run(&mut self, output: &mut impl Write) -> anyhow::Result<()> {
        while self.left != Some(0)
            && let Some(item) = self.reader.next().await?
        {
            match &item {
                Item::Entry(entry) => {
                    self.printer.entry(entry, output)?;
                    self.left = self.left.map(|left| left - 1);
                }
                Item::Gap(gap) => {
                    self.printer.gap(gap, output)?;
                    self.notice(format_args!(
                        "gap: entries are gone; going on after {}",
                        gap.oldest
                    ));
                }
                Item::Closed => self.notice(format_args!("the channel is closed")),
                Item::Connected(wire) => self.notice(format_args!("connected over {wire}")),
                Item::Disconnected { cause, retry_in } => {
                    self.notice(format_args!(
                        "{cause}; reconnecting in {}",
                        seconds(*retry_in)
                    ));
                }
                item => self.notice(format_args!("{item:?}")),
            }
        }
        Ok(())
    }

    fn notice(&self, notice: std::fmt::Arguments<'_>) {
        match self.notices {
            // That nobody reads notices is no reason to stop reading.
            Notices::OnStandardError => drop(writeln!(io::stderr(), "everwire: {notice}")),
            Notices::Silent => {}
        }
    }
}

fn place(text: &str) -> Result<Start, String> {
    match text {
        "now" => Ok(Start::Now),
        "beginning" | "-1" => Ok(Start::Beginning),
        offset => offset
            .parse::<Offset>()
            .map(Start::After)
            .map_err(|_| "use now, beginning, or an offset that the server gave".to_owned()),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, String> {
        let matches = command().try_get_matches_from([&["subscribe"], args].concat());
        matches
            .and_then(|matches| Args::from_arg_matches(&matches))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_place_is_now_the_beginning_or_an_offset() {
        for (text, expected) in [
            ("now", Start::Now),
            ("beginning", Start::Beginning),
            ("0hx4m", Start::After("0hx4m".parse().unwrap())),
        ] {
            assert_eq!(parse(&["news", "--from", text]).unwrap().from, expected);
        }
        assert_eq!(parse(&["news", "--last", "3"]).unwrap().last, Some(3));
    }

    #[test]
    fn a_mistake_is_told_with_what_is_possible() {
        for (args, expected) in [
            (&["news", "--wire", "tv"][..], "event-stream"),
            (&["news", "--from", "Yesterday"], "now, beginning"),
            (
                &["news", "--from", "now", "--last", "3"],
                "cannot be used with",
            ),
            (&["news", "--count", "0"], "1.."),
            (&[], "<CHANNEL>"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(expected), "{args:?} gave {error}");
        }
    }

    #[test]
    fn every_wire_can_be_named() {
        for wire in Wire::ALL {
            assert_eq!(
                parse(&["news", "--wire", wire.as_str()]).unwrap().wire,
                wire
            );
        }
    }
}
