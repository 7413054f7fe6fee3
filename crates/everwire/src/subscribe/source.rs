//! What is read, as one sequence: over one line, or by a reader for each channel.

use anyhow::anyhow;
use everwire_client::{
    ChannelUrl, Credential, Entry, Gap, Info, Item, Line, LineOptions, LineStatus, LineWire,
    Members, Reader, ServerUrl, Start, SubscribeOptions, Subscription, Unreadable, Update, Wire,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Something that happened on a channel, or on the way to it.
#[derive(Debug)]
pub enum Told {
    Entry(Entry),
    /// Something that cannot be read came in the place of an entry.
    Unreadable(Unreadable),
    Gap(Gap),
    Members(Members),
    Join {
        user: String,
        info: Option<Info>,
    },
    Leave {
        user: String,
    },
    /// Nothing follows on this channel.
    Closed,
}

/// Where it comes from.
pub struct Source {
    told: mpsc::Receiver<News>,
    line: Option<Line>,
    _tasks: JoinSet<()>,
}

/// What a source gives.
pub enum News {
    /// On the channel of this index.
    Told(usize, Told),
    /// On the way to the server.
    Notice(String),
    /// Nothing follows at all.
    Failed(anyhow::Error),
}

impl Source {
    /// Reads channels of one server over one line, on whatever wire gets through.
    pub fn line(
        server: ServerUrl,
        names: &[String],
        options: &SubscribeOptions,
        credential: Option<Credential>,
    ) -> anyhow::Result<Self> {
        let line = match credential {
            Some(credential) => Line::connect_as(server, LineOptions::default(), credential)?,
            None => Line::connect(server, LineOptions::default())?,
        };
        let (sender, told) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(line.watch(), sender.clone()));
        for (index, name) in names.iter().enumerate() {
            let channel = line.channel(name)?;
            let subscription = (channel.subscribe(options.clone()))
                .map_err(|_| anyhow!("the channel `{name}` is named twice; name it once"))?;
            tasks.spawn(follow(index, name.clone(), subscription, sender.clone()));
        }
        Ok(Self {
            told,
            line: Some(line),
            _tasks: tasks,
        })
    }

    /// Reads each channel at its own URL, over this wire.
    pub fn readers(
        urls: &[ChannelUrl],
        wire: Wire,
        start: &Start,
        credential: Option<&Credential>,
    ) -> Self {
        let (sender, told) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        for (index, url) in urls.iter().enumerate() {
            let mut reader = Reader::new(url.clone(), wire, start.clone());
            if let Some(credential) = credential {
                reader = reader.showing(credential.clone());
            }
            tasks.spawn(read(index, url.clone(), reader, sender.clone()));
        }
        Self {
            told,
            line: None,
            _tasks: tasks,
        }
    }

    /// What comes next.
    pub async fn next(&mut self) -> News {
        // The tasks that tell end with an end that they told.
        match self.told.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Tells the server that we leave.
    pub async fn close(self) {
        if let Some(line) = self.line {
            line.close().await;
        }
    }
}

async fn watch(mut status: watch::Receiver<LineStatus>, sender: mpsc::Sender<News>) {
    while status.changed().await.is_ok() {
        let notice = match &*status.borrow_and_update() {
            LineStatus::Open {
                wire: wire @ LineWire::WebSocket,
                ..
            } => format!("connected over {wire}"),
            // Why it is not the best one.
            LineStatus::Open { wire, reason } => format!("connected over {wire} ({reason})"),
            LineStatus::Waiting { until, reason } => {
                let left = Instant::from_std(*until).duration_since(Instant::now());
                format!("{reason}; reconnecting in {}", super::seconds(left))
            }
            _ => continue,
        };
        if sender.send(News::Notice(notice)).await.is_err() {
            return;
        }
    }
}

async fn follow(
    index: usize,
    name: String,
    mut subscription: Subscription,
    sender: mpsc::Sender<News>,
) {
    loop {
        let told = match subscription.next().await {
            Ok(Some(Update::Entry(entry))) => Told::Entry(entry),
            Ok(Some(Update::Unreadable(unreadable))) => Told::Unreadable(unreadable),
            Ok(Some(Update::Gap(gap))) => Told::Gap(gap),
            Ok(Some(Update::Members(members))) => Told::Members(members),
            Ok(Some(Update::Join { user, info })) => Told::Join { user, info },
            Ok(Some(Update::Leave { user })) => Told::Leave { user },
            Ok(Some(_)) => continue,
            Ok(None) => {
                return drop(sender.send(News::Told(index, Told::Closed)).await);
            }
            Err(error) => {
                let error = anyhow::Error::new(error).context(format!("cannot read {name}"));
                return drop(sender.send(News::Failed(error)).await);
            }
        };
        if sender.send(News::Told(index, told)).await.is_err() {
            return;
        }
    }
}

async fn read(index: usize, url: ChannelUrl, mut reader: Reader, sender: mpsc::Sender<News>) {
    let wire = reader.wire();
    loop {
        let news = match reader.next().await {
            Ok(Some(Item::Entry(entry))) => News::Told(index, Told::Entry(entry)),
            Ok(Some(Item::Unreadable(unreadable))) => {
                News::Told(index, Told::Unreadable(unreadable))
            }
            Ok(Some(Item::Gap(gap))) => News::Told(index, Told::Gap(gap)),
            Ok(Some(Item::Closed)) => News::Told(index, Told::Closed),
            Ok(Some(Item::Connected(wire))) => News::Notice(format!("connected over {wire}")),
            Ok(Some(Item::Disconnected { cause, retry_in })) => {
                let retry_in = super::seconds(retry_in);
                News::Notice(format!("{cause}; reconnecting in {retry_in}"))
            }
            Ok(Some(item)) => News::Notice(format!("{item:?}")),
            Ok(None) => return,
            Err(error) => {
                let context = format!("cannot read {url} over {wire}");
                let error = anyhow::Error::new(error).context(context);
                return drop(sender.send(News::Failed(error)).await);
            }
        };
        if sender.send(news).await.is_err() {
            return;
        }
    }
}
