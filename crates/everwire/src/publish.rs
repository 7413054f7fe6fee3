//! `everwire publish`

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use everwire_client::{ChannelUrl, Message, Publisher, PublisherOptions};
use tokio::runtime::Runtime;

use crate::address::Address;

/// What to publish, and where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The channel: its name, such as chat/lobby, or its whole URL.
    ///
    /// A name is taken on the server that --server names; a URL, such as
    /// http://127.0.0.1:8080/channels/chat/lobby, stands for itself.
    channel: String,

    #[command(flatten)]
    address: Address,

    /// What to publish; read from standard input if it is not given.
    data: Option<String>,

    /// Publish each line of standard input as an entry of its own, as it comes; empty lines are
    /// left out.
    #[arg(long, conflicts_with = "data")]
    lines: bool,

    /// The media type, such as text/plain; it has to be the channel's.
    ///
    /// If it is not given, the channel's type holds; a new channel becomes application/json if the
    /// data is JSON, and text/plain if not. In a JSON channel an array is a batch, in which each
    /// element is an entry.
    #[arg(long = "type", value_name = "MEDIA-TYPE")]
    content_type: Option<String>,

    /// Name the event, which readers get with the data.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,

    /// Publish once under this key, however often the command is run.
    ///
    /// With --lines, the number of the line is added to it, so that the same input can be sent
    /// again after a failure.
    #[arg(long)]
    key: Option<String>,

    /// For how many seconds to try again if the server cannot be reached or is busy.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    retry_for: u64,
}

/// `everwire publish`
pub fn command() -> Command {
    Args::augment_args(Command::new("publish"))
        .about("Publish to a channel")
        .after_help(
            "Prints the offset of what was published; a reader can go on from there.\n\n\
         Examples:\n  \
         everwire publish news hello\n  \
         everwire publish chat/lobby '{\"text\":\"hi\"}' --event greeting\n  \
         tail -f app.log | everwire publish logs/app --lines --type text/plain",
        )
}

/// Publishes, and prints an offset for each message.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = Args::from_arg_matches(matches)?;
    let url = args.address.url(&args.channel)?;
    let patience = Duration::from_secs(args.retry_for);
    let options = PublisherOptions {
        patience,
        ..PublisherOptions::default()
    };
    let mut publisher = Publisher::with_options(url.clone(), options);
    if let Some(credential) = args.address.credential()? {
        publisher = publisher.showing(credential);
    }
    let outlet = Outlet {
        publisher,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        url,
    };
    publish(args, outlet, io::stdin().lock(), io::stdout().lock())
}

fn publish(
    args: Args,
    mut outlet: Outlet,
    mut input: impl BufRead,
    mut output: impl Write,
) -> anyhow::Result<()> {
    let message = Message {
        content_type: args.content_type,
        event: args.event,
        key: args.key,
        ..Message::default()
    };
    if args.data.is_none() && io::stdin().is_terminal() {
        let _ = writeln!(io::stderr(), "type what to publish, and end it with Ctrl-D");
    }
    match args.data {
        Some(data) => outlet.publish(
            Message {
                data: data.into(),
                ..message
            },
            &mut output,
        ),
        None if args.lines => {
            for (index, line) in input.split(b'\n').enumerate() {
                let mut line = line.context(UNREADABLE)?;
                if line.ends_with(b"\r") {
                    line.pop();
                }
                if line.is_empty() {
                    continue;
                }
                let number = index + 1;
                let key = message.key.as_ref().map(|key| format!("{key}-{number}"));
                let message = Message {
                    data: line.into(),
                    key,
                    ..message.clone()
                };
                outlet
                    .publish(message, &mut output)
                    .with_context(|| format!("line {number} is not published"))?;
            }
            Ok(())
        }
        None => {
            let mut data = Vec::new();
            input.read_to_end(&mut data).context(UNREADABLE)?;
            outlet.publish(
                Message {
                    data: data.into(),
                    ..message
                },
                &mut output,
            )
        }
    }
}

/// Where messages go.
struct Outlet {
    publisher: Publisher,
    runtime: Runtime,
    url: ChannelUrl,
}

impl Outlet {
    fn publish(&mut self, message: Message, output: &mut impl Write) -> anyhow::Result<()> {
        let receipt = self
            .runtime
            .block_on(self.publisher.publish(message))
            .with_context(|| format!("cannot publish to {}", self.url))?;
        match writeln!(output, "{}", receipt.offset).and_then(|()| output.flush()) {
            // Nobody wants to know the offsets; what is published is what counts.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write to standard output"),
        }
    }
}

const UNREADABLE: &str = "cannot read standard input";
