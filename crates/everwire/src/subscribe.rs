//! `everwire subscribe`

mod outlet;
mod print;
mod source;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use everwire_client::{
    ChannelUrl, Member, Members, Offset, Presence, Start, SubscribeOptions, Unreadable, Wire,
};

use crate::address::{Address, one_server};
use print::Printer;
use source::{News, Source, Told};

/// What to read, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The channels: their names, such as chat/lobby, or their whole URLs.
    ///
    /// A name is taken on the server that --server names; a URL, such as
    /// http://127.0.0.1:8080/channels/chat/lobby, stands for itself.
    #[arg(value_name = "CHANNEL", required = true)]
    channels: Vec<String>,

    #[command(flatten)]
    address: Address,

    /// Read each channel at its own URL, over this wire and no other: all give the same entries.
    ///
    /// Without it, one line carries all channels, over the best wire that gets through.
    #[arg(
        long,
        value_parser = PossibleValuesParser::new(Wire::ALL.map(Wire::as_str)).try_map(|name| name.parse::<Wire>()),
    )]
    wire: Option<Wire>,

    /// Where to start: now, beginning, or an offset that was printed before.
    #[arg(long, value_name = "PLACE", default_value = "now", value_parser = place)]
    from: Start,

    /// Start with the last N entries of each channel.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    last: Option<u64>,

    /// Stop after N entries in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Show who is there, who comes and who goes.
    #[arg(long, conflicts_with = "wire")]
    presence: bool,

    /// Be there by this name, for others to see; shows them too.
    #[arg(long = "as", value_name = "NAME", conflicts_with = "wire")]
    user: Option<String>,

    /// Print each entry whole, as a JSON object on a line of its own: offset, time in Unix
    /// milliseconds, event, and data, or data64 for bytes; with several channels also channel.
    /// Joins and leaves are objects too.
    #[arg(long)]
    json: bool,

    /// Print what was published as it is, and a line break after each entry.
    ///
    /// Without it, line breaks and other control characters in an entry are escaped (\n, \u001b), and bytes are
    /// base64, so that each entry is one line whatever is in it.
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Print what was published as it is, and a zero byte after each entry, for xargs -0 and its like.
    #[arg(short = 'z', long, conflicts_with_all = ["json", "raw"])]
    null: bool,

    /// Print entries only, and no notices.
    #[arg(short, long)]
    quiet: bool,
}

/// `everwire subscribe`
pub fn command() -> Command {
    Args::augment_args(Command::new("subscribe"))
        .about("Read channels, live, through any disconnection")
        .after_help(
            "Entries go to standard output, one line for each whatever is in it, which begins with the channel and a \
             tab where there are several; notices (connected, reconnecting, a gap, who comes and goes) go to standard \
             error. Ends when all channels are closed, or when nobody reads its output any more.\n\n\
             Examples:\n  \
             everwire subscribe news\n  \
             everwire subscribe chat/lobby chat/help --last 20 --json\n  \
             everwire subscribe chat/lobby --as ada\n  \
             everwire subscribe jobs -z | xargs -0 -n 1 ./work\n  \
             everwire subscribe news --wire long-poll --from beginning --count 100",
        )
}

/// Reads until the channels are closed, or enough is read.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = Args::from_arg_matches(matches)?;
    let urls = (args.channels.iter())
        .map(|channel| args.address.url(channel))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let stdout = io::stdout();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(read(&args, &urls, &mut stdout.lock())) {
        // Whoever read our output has enough, as in `everwire subscribe news | head -1`.
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

async fn read(args: &Args, urls: &[ChannelUrl], output: &mut impl Write) -> anyhow::Result<()> {
    let start = args.last.map_or(args.from.clone(), Start::Last);
    if let (Start::After(_), [_, _, ..]) = (&start, urls) {
        bail!("an offset belongs to one channel; name one, or use --last or --from beginning");
    }
    let credential = args.address.credential()?;
    let (mut source, names) = match args.wire {
        Some(wire) => {
            let source = Source::readers(urls, wire, &start, credential.as_ref());
            (source, args.channels.clone())
        }
        None => {
            let (server, names) = one_server(urls)?;
            let options = SubscribeOptions {
                start,
                presence: args.presence_options(),
                ..SubscribeOptions::default()
            };
            (Source::line(server, &names, &options, credential)?, names)
        }
    };
    let printer = args.printer();
    let mut reader_left = pin!(outlet::closed());
    let notices = match args.quiet {
        true => Notices::Silent,
        false => Notices::OnStandardError,
    };
    let mut open = names.len();
    let mut left = args.count;
    while left != Some(0) && open > 0 {
        let news = tokio::select! {
            news = source.next() => news,
            () = &mut reader_left => break,
        };
        let (index, told) = match news {
            News::Told(index, told) => (index, told),
            News::Notice(notice) => {
                notices.tell(None, format_args!("{notice}"));
                continue;
            }
            News::Failed(error) => return Err(error),
        };
        // One channel needs no name.
        let channel = (names.len() > 1).then(|| &*names[index]);
        printer.tell(channel, &told, output)?;
        match &told {
            Told::Entry(_) => left = left.map(|left| left - 1),
            Told::Unreadable(Unreadable { problem, .. }) => notices.tell(
                channel,
                format_args!("an entry cannot be read and is left out: {problem}"),
            ),
            Told::Gap(gap) => notices.tell(
                channel,
                format_args!("gap: entries are gone; going on after {}", gap.oldest),
            ),
            Told::Members(members) => {
                notices.tell(channel, format_args!("here: {}", Users(members)));
            }
            Told::Join { user, .. } => notices.tell(channel, format_args!("{user} came")),
            Told::Leave { user } => notices.tell(channel, format_args!("{user} left")),
            Told::Closed => {
                open -= 1;
                notices.tell(channel, format_args!("the channel is closed"));
            }
        }
    }
    source.close().await;
    Ok(())
}

impl Args {
    fn printer(&self) -> Printer {
        match self {
            Self { json: true, .. } => Printer::Json,
            Self { raw: true, .. } => Printer::Raw { end: b'\n' },
            Self { null: true, .. } => Printer::Raw { end: 0 },
            _ => Printer::Line {
                to_terminal: io::stdout().is_terminal(),
            },
        }
    }

    fn presence_options(&self) -> Option<Presence> {
        let wants = self.presence || self.user.is_some();
        wants.then(|| Presence {
            user: self.user.clone(),
            info: None,
            join: self.user.is_some(),
        })
    }
}

enum Notices {
    OnStandardError,
    Silent,
}

impl Notices {
    fn tell(&self, channel: Option<&str>, notice: fmt::Arguments<'_>) {
        let notice = match channel {
            Some(channel) => format!("{channel}: {notice}"),
            None => notice.to_string(),
        };
        match self {
            // What others call themselves is in it too. That nobody reads notices is no reason to stop reading.
            Self::OnStandardError => {
                drop(writeln!(
                    io::stderr(),
                    "everwire: {}",
                    print::on_one_line(&notice)
                ));
            }
            Self::Silent => {}
        }
    }
}

/// Members by their names, and how often each is there.
struct Users<'a>(&'a Members);

impl fmt::Display for Users<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Members { total, listed, .. } = self.0;
        if listed.is_empty() {
            return f.write_str("nobody");
        }
        for (index, Member { user, count, .. }) in listed.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{user}")?;
            if *count > 1 {
                write!(f, " ({count} times)")?;
            }
        }
        match total.saturating_sub(listed.len() as u64) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
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
            (&["news", "--raw", "--json"], "cannot be used with"),
            (&["news", "-z", "--raw"], "cannot be used with"),
            (
                &["news", "--wire", "polling", "--presence"],
                "cannot be used with",
            ),
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
                Some(wire)
            );
        }
    }
}
