//! Reads one channel, over any wire, through any disconnection.

mod ask;
mod item;
mod link;
mod options;
mod plan;

pub use item::{Cause, Data, Entry, Gap, Item, ReadError, Unreadable};
pub use options::ReaderOptions;

use tokio::time::{Instant, sleep_until};

use crate::credential::Purse;
use crate::{ChannelUrl, Credential, Start, Wire, random};
use link::Link;
use plan::{Plan, Step};

/// Reads one channel.
///
/// It yields each entry once and in order, or one explicit [`Gap`], over any sequence of disconnections
/// and changes of wire. It connects again by itself, from where it stands, at the times that the server
/// asks for or else with a random backoff; it gives up only where the server says that coming back
/// unchanged is no use. Nothing happens between two calls of [`next`](Self::next), so a slow caller costs
/// no memory here.
///
/// ```no_run
/// use everwire_client::{Item, Reader, Start, Wire};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let lobby = "http://127.0.0.1:8080/channels/chat/lobby".parse()?;
/// let mut reader = Reader::new(lobby, Wire::WebSocket, Start::Now);
/// while let Some(item) = reader.next().await? {
///     if let Item::Entry(entry) = item {
///         println!("{}", String::from_utf8_lossy(entry.data.as_bytes()));
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    url: ChannelUrl,
    plan: Plan,
    link: Link,
    entry_bytes_max: usize,
    /// When the caller was given the last item.
    given: Option<Instant>,
}

impl Reader {
    /// A reader with the default [`ReaderOptions`]. It connects with the first [`next`](Self::next).
    pub fn new(url: ChannelUrl, wire: Wire, start: Start) -> Self {
        Self::with_options(url, wire, start, ReaderOptions::default())
    }

    /// A reader that behaves as told.
    pub fn with_options(url: ChannelUrl, wire: Wire, start: Start, options: ReaderOptions) -> Self {
        let entry_bytes_max = options.entry_bytes_max;
        let seed = u64::from_ne_bytes(random::bytes());
        Self {
            url,
            plan: Plan::new(options, wire, start, seed),
            link: Link::default(),
            entry_bytes_max,
            given: None,
        }
    }

    /// The same, which shows a credential. One that is fetched is fetched anew when it has expired or is refused.
    #[must_use]
    pub fn showing(mut self, credential: Credential) -> Self {
        let purse = Purse::new(credential);
        self.plan.set_renews(purse.can_be_renewed());
        self.link.show(purse);
        self
    }

    /// The next item; `None` when the channel is closed and read to its end. If the future is dropped,
    /// nothing is lost. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// The reader gives up; after that it yields `None`.
    pub async fn next(&mut self) -> Result<Option<Item>, ReadError> {
        if let Some(given) = self.given.take() {
            self.plan.excuse(given.elapsed());
        }
        loop {
            if let Some(item) = self.plan.poll_item() {
                self.given = Some(Instant::now());
                return Ok(Some(item));
            }
            match self.plan.step(Instant::now().into_std()) {
                Step::Ask(ask) => self.link.ask(ask, &self.url, self.entry_bytes_max),
                // What has arrived comes before the deadline.
                Step::Listen(until) => tokio::select! {
                    biased;
                    signal = self.link.signal() => self.plan.handle(signal, Instant::now().into_std()),
                    () = sleep_until(until.into()) => self.plan.handle_timeout(Instant::now().into_std()),
                },
                Step::Wait(until) => {
                    self.link.rest();
                    sleep_until(until.into()).await;
                }
                Step::Ended(error) => {
                    self.link.cut();
                    return error.map_or(Ok(None), Err);
                }
            }
        }
    }

    /// Goes on over another wire, from the same position. What arrived before is still yielded first.
    pub fn switch(&mut self, wire: Wire) {
        self.link.cut();
        self.plan.switch(wire);
    }

    /// Cuts the connection at once, as a network would; the reader resumes with the next
    /// [`next`](Self::next). Does nothing while there is no connection.
    pub fn cut(&mut self) {
        self.link.cut();
        self.plan.cut(Instant::now().into_std());
    }

    /// The wire that this reader uses.
    pub fn wire(&self) -> Wire {
        self.plan.wire()
    }
}
