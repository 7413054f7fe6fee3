//! One line to a server, for any number of channels.
//!
//! ```text
//!  Line ─ channel() ─▶ Channel ─ subscribe() ─▶ Subscription ─ next() ─▶ Update
//!    │                    └─ publish() · history() · members()
//!    │
//!    ├─ core     what a program and the transports do to a line      no IO, no clock, no chance
//!    │   ├─ course    the life of the line, one state machine
//!    │   ├─ reading   one channel's part in it, another
//!    │   ├─ outbox    what has to be answered once
//!    │   └─ wire      messages and requests of each wire
//!    └─ driver   sockets and timers                                  tokio, hyper
//! ```

mod channel;
mod command;
mod core;
mod course;
mod credential;
mod driver;
mod ending;
mod error;
mod options;
mod outbox;
mod publication;
mod reading;
mod shared;
mod status;
mod subscription;
mod transport;
mod wire;

pub use self::core::Update;
pub use channel::Channel;
pub use command::{History, Member, Members};
pub(crate) use credential::lifetime;
pub use error::{AlreadySubscribed, AskError, LineError, SubscribeError};
pub use options::{LineOptions, Presence, SubscribeOptions};
pub use publication::Publication;
pub use status::LineStatus;
pub use subscription::Subscription;

use std::error::Error;
use std::sync::Arc;

use everwire_channel::{ChannelName, LabelError, NameError, PublisherId};
use tokio::sync::watch;
use tokio::time::Instant;

use self::core::Core;
use crate::{Credential, ServerUrl, random};
use driver::{Driver, FetchToken};
use shared::{Handle, Shared};

/// One line to a server, which carries any number of channels.
///
/// It takes whichever wire the network lets through: a WebSocket, else an event stream, ndjson, or long polls;
/// and returns to a better one when that works again. It comes back by itself, and each channel is resumed
/// after its last entry. It gives up only where the server says that coming back unchanged is no use.
///
/// The line ends when it, its channels and its subscriptions are all dropped, or with [`close`](Self::close).
///
/// ```no_run
/// use everwire_client::{Line, LineOptions, SubscribeOptions, Update};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let line = Line::connect("http://127.0.0.1:8080".parse()?, LineOptions::default())?;
/// let lobby = line.channel("chat/lobby")?;
/// lobby.publish("hello".into()).await?;
/// let mut subscription = lobby.subscribe(SubscribeOptions::default())?;
/// while let Some(update) = subscription.next().await? {
///     if let Update::Entry(entry) = update {
///         println!("{}", String::from_utf8_lossy(entry.data.as_bytes()));
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Line {
    handle: Arc<Handle>,
}

impl Line {
    /// A line without a token. It connects at once. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`LineOptions::publisher`] is not valid.
    pub fn connect(server: ServerUrl, options: LineOptions) -> Result<Self, LabelError> {
        Self::start(server, options, None)
    }

    /// A line with a token, which `fetch` gives: before the first attempt, before it expires (if it is a JWT
    /// with `exp`), and after a refusal. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`LineOptions::publisher`] is not valid.
    pub fn connect_with_token<F, T, E>(
        server: ServerUrl,
        options: LineOptions,
        fetch: F,
    ) -> Result<Self, LabelError>
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::connect_as(server, options, Credential::fetched(fetch))
    }

    /// A line that shows a credential. One that is fetched is fetched anew before it expires, and after a refusal. Must be
    /// called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`LineOptions::publisher`] is not valid.
    pub fn connect_as(
        server: ServerUrl,
        options: LineOptions,
        credential: Credential,
    ) -> Result<Self, LabelError> {
        let fetch: FetchToken = Box::new(move || {
            let credential = credential.clone();
            Box::pin(async move { credential.fetch().await })
        });
        Self::start(server, options, Some(fetch))
    }

    fn start(
        server: ServerUrl,
        options: LineOptions,
        fetch: Option<FetchToken>,
    ) -> Result<Self, LabelError> {
        let publisher = options.publisher.clone().unwrap_or_else(random::hex);
        let publisher = PublisherId::new(&publisher)?;
        let bytes_max = options.message_bytes_max;
        let mut rng = fastrand::Rng::with_seed(u64::from_ne_bytes(random::bytes()));
        let core = Core::new(
            server.clone(),
            options,
            fetch.is_some(),
            publisher,
            random::hex(),
            Box::new(move || rng.f64()),
            Instant::now().into_std(),
        );
        let shared = Arc::new(Shared::new(core));
        let done = Driver::start(shared.clone(), server, bytes_max, fetch);
        let handle = Arc::new(Handle { shared, done });
        Ok(Self { handle })
    }

    /// A channel on this line.
    ///
    /// # Errors
    ///
    /// The name is not valid.
    pub fn channel(&self, name: &str) -> Result<Channel, NameError> {
        let name = ChannelName::new(name)?.as_str().to_owned();
        Ok(Channel::new(self.handle.clone(), name))
    }

    /// Where the line stands.
    pub fn status(&self) -> LineStatus {
        self.watch().borrow().clone()
    }

    /// Where the line stands, to be watched.
    pub fn watch(&self) -> watch::Receiver<LineStatus> {
        self.handle.shared.watch()
    }

    /// How many messages came that could not be read and name no channel that is read: of a broken server, or one that
    /// is newer. They are passed over. What names a channel is told there, as [`Update::Unreadable`].
    pub fn unreadable(&self) -> u64 {
        self.handle.shared.unreadable()
    }

    /// Tells that the network came back: a wait that was only backoff ends, and an open line is tried at once.
    pub fn wake(&self) {
        self.handle.shared.with(Core::wake);
    }

    /// Ends the line: subscriptions end, and what was not answered fails. Waits until the server was told, for
    /// a second at most.
    pub async fn close(self) {
        self.handle.shared.with(Core::close);
        let mut done = self.handle.done.clone();
        // An error says that the driver is gone, which is what we wait for.
        while done.changed().await.is_ok() {}
    }
}
