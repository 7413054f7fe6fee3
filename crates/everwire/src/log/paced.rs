//! A filter of events that keeps each place in the code to its pace, and tells what it left out.

use std::{
    fmt::{self, Write},
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use everwire_server::{Loss, LostLines};
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Filter};

use super::pace::Pace;

/// Keeps places to their pace. Clones share it.
#[derive(Clone)]
pub struct Paced(Arc<Shared>);

struct Shared {
    places: Mutex<Places>,
    /// Told when there is something to tell later.
    counted: Condvar,
    lost: Arc<LostLines>,
}

struct Places {
    pace: Pace<Place>,
    /// Those that were kept from speaking, and what they say.
    quiet: Vec<Quiet>,
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// A line of the code that logs.
    Code(Identifier),
    /// One that panics.
    Panic(String),
}

#[derive(Clone)]
struct Quiet {
    place: Place,
    level: Level,
    message: String,
}

/// Messages are static; what is longer than this is cut where it is told again.
const MESSAGE_BYTES_MAX: usize = 256;

/// Requests are logged one by one because an operator asked for that (`logs.requests`).
const EXEMPT: [&str; 2] = ["everwire::requests", TARGET];

/// The target of lines that have been given their pace, or tell how many were left out.
pub const TARGET: &str = "everwire::log";

impl Paced {
    /// Starts the thread that tells what was left out.
    ///
    /// # Errors
    ///
    /// The system refuses a thread.
    pub fn start(lost: Arc<LostLines>) -> io::Result<Self> {
        let this = Self(Arc::new(Shared {
            places: Mutex::new(Places {
                pace: Pace::new(),
                quiet: Vec::new(),
            }),
            counted: Condvar::new(),
            lost,
        }));
        let shared = this.0.clone();
        thread::Builder::new()
            .name("everwire-log-more".to_owned())
            .spawn(move || shared.tell_for_ever())?;
        Ok(this)
    }

    /// Tells all that was left out so far.
    pub fn tell_rest(&self) {
        while let Some((quiet, more)) = {
            let mut places = self.0.lock();
            let rest = places.pace.poll_rest();
            rest.and_then(|rest| places.take(rest))
        } {
            tell(&quiet, more);
        }
    }

    fn admits(&self, event: &Event<'_>) -> bool {
        let about = event.metadata();
        // Below, an operator has asked for all of it, and the queue is bound enough.
        if *about.level() > Level::INFO || EXEMPT.contains(&about.target()) {
            return true;
        }
        self.admits_place(&Place::Code(about.callsite()), *about.level(), || {
            let mut message = Message(String::new());
            event.record(&mut message);
            message.0
        })
    }

    /// Whether a place that panics may be told of now.
    pub fn admits_panic(&self, place: &str) -> bool {
        self.admits_place(&Place::Panic(place.to_owned()), Level::ERROR, || {
            format!("a thread panicked at {place}")
        })
    }

    /// Nothing that could panic is done under the lock, which the telling of a panic takes.
    fn admits_place(&self, place: &Place, level: Level, message: impl FnOnce() -> String) -> bool {
        let now = Instant::now();
        let mut places = self.0.lock();
        let is_news = places.pace.is_spent(place, now) && !places.knows(place);
        if is_news {
            drop(places);
            let quiet = Quiet {
                place: place.clone(),
                level,
                message: message(),
            };
            places = self.0.lock();
            places.remember(quiet);
            self.0.counted.notify_one();
        }
        let admits = places.pace.admits(place, now);
        // Another thread began a new window meanwhile: there is nothing to tell later.
        if is_news && admits {
            places.quiet.retain(|quiet| quiet.place != *place);
        }
        drop(places);
        if !admits {
            self.0.lost.add(Loss::Paced);
        }
        admits
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_for_ever(&self) {
        let mut places = self.lock();
        loop {
            let now = Instant::now();
            if let Some(more) = places.pace.poll_more(now) {
                let more = places.take(more);
                // Not under the lock, which is taken by whoever speaks.
                drop(places);
                if let Some((quiet, more)) = more {
                    tell(&quiet, more);
                }
                places = self.lock();
                continue;
            }
            places = match places.pace.wake_at() {
                Some(at) => {
                    let left = at.saturating_duration_since(now);
                    let waited = self.counted.wait_timeout(places, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.counted.wait(places);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

impl Places {
    /// Whether it is kept what a place says.
    fn knows(&self, place: &Place) -> bool {
        self.quiet.iter().any(|quiet| quiet.place == *place)
    }

    /// Keeps what a place says that was just kept from speaking, unless another thread did meanwhile.
    fn remember(&mut self, quiet: Quiet) {
        if !self.knows(&quiet.place) {
            self.quiet.push(quiet);
        }
    }

    fn take(&mut self, (place, more): (Place, u64)) -> Option<(Quiet, u64)> {
        let index = self.quiet.iter().position(|quiet| quiet.place == place)?;
        Some((self.quiet.swap_remove(index), more))
    }
}

fn tell(quiet: &Quiet, more: u64) {
    let like = &quiet.message;
    // Levels are part of a place in the code, so each has its own.
    match quiet.level {
        Level::ERROR => tracing::error!(target: TARGET, more, like, "and more of the same"),
        Level::WARN => tracing::warn!(target: TARGET, more, like, "and more of the same"),
        _ => tracing::info!(target: TARGET, more, like, "and more of the same"),
    }
}

/// The message of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
            let end = self.0.floor_char_boundary(MESSAGE_BYTES_MAX);
            self.0.truncate(end);
        }
    }
}

impl<S: Subscriber> Filter<S> for Paced {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(event)
    }
}
