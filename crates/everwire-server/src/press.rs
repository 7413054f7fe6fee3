//! Where contents are compressed and unpacked (RFC 9110, section 8.4): by the workers, a slice at a time, two at once,
//! callers in turn.
//!
//! ```text
//!  page ─────▶ Turn ─▶ Encoder ─▶ page, smaller            none while all places are taken: it goes as it is
//!  content ─▶ Place ─▶ Decoder ─▶ content, within its limit and the budget
//! ```
//!
//! It takes a thousand times as long as a delivery, so nothing of it holds up a line: what is large leaves the core
//! thread. Lines are not compressed but for WebSockets, which have their own way (RFC 7692): each entry of a stream goes out
//! at once and to many, and an encoder for each line would cost 300 kB of memory.

mod decode;
mod encode;
mod places;

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    task::{JoinSet, yield_now},
};

pub(crate) use self::encode::Encoder;
use self::{
    decode::{Broken, Decoder, Step},
    places::{Place, Places},
};
use crate::{
    budget::{Exhausted, STEP_BYTES, Share},
    rate::Account,
};

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// `br` (RFC 7932).
    Brotli,
    /// `gzip` (RFC 1952).
    Gzip,
}

/// The press.
pub(crate) struct Press {
    /// Without any, work is done by who asks for it.
    workers: Option<Handle>,
    places: Arc<Places>,
}

/// How a content comes to be compressed.
pub(crate) enum Turn {
    /// At once, since it is short work.
    AtOnce,
    /// By the workers, in this place.
    Has(Place),
    /// The same, when a place is free.
    Waits(Account),
}

/// Why a content is not unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotDecoded {
    /// More came of it than may be.
    #[error("it is larger than may be once it is unpacked")]
    TooLarge,
    /// It is not what its coding says.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// There is no room to hold what comes of it.
    #[error(transparent)]
    NoRoom(#[from] Exhausted),
    /// The work was given up.
    #[error("the work was given up")]
    Failed,
}

/// Contents that are compressed or unpacked at once by the workers: each of them has one thread's time, and memory for a
/// window of up to 16 MiB.
const PLACES: usize = 2;

/// Steps that are done by who asks, before others have to do the rest: nearly all contents take no more.
const FIRST_STEPS: usize = 4;

impl Coding {
    /// All of them, the one that is chosen first of those that are wanted alike: pages of JSON become a tenth smaller by it
    /// than by gzip, in about the same time.
    pub const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// The coding's name, as fields and metrics have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl Press {
    /// A press whose work is done by these workers.
    pub fn new(workers: Option<Handle>) -> Self {
        Self {
            workers,
            places: Places::new(PLACES),
        }
    }

    /// How a content of so many bytes can be compressed now; none if all places are taken.
    pub(crate) fn turn(&self, bytes: usize) -> Option<Turn> {
        match Encoder::is_long(bytes) {
            false => Some(Turn::AtOnce),
            true => self.places.try_take().map(Turn::Has),
        }
    }

    /// Compresses a content. Nothing if the work was given up, which is a fault.
    pub(crate) async fn encode(
        &self,
        coding: Coding,
        content: Bytes,
        turn: Turn,
    ) -> Option<Vec<u8>> {
        let mut encoder = Encoder::new(coding, content);
        let place = match turn {
            Turn::AtOnce => {
                while !encoder.step() {}
                return Some(encoder.finish());
            }
            Turn::Has(place) => place,
            Turn::Waits(account) => self.places.take(account).await,
        };
        let mut encoder = Some(encoder);
        let step = move || match encoder.as_mut()?.step() {
            true => encoder.take().map(Encoder::finish),
            false => None,
        };
        self.work(place, step).await
    }

    /// Unpacks a content into no more than so many bytes, which `share` grows by before they are there.
    pub(crate) async fn decode(
        &self,
        (coding, coded): (Coding, Bytes),
        (share, account): (Share, Account),
        bytes_max: usize,
    ) -> Result<(Bytes, Share), NotDecoded> {
        let mut decoding = Decoding {
            own_bytes: Decoder::own_bytes(coding, &coded),
            decoder: Decoder::new(coding, coded),
            out: Vec::new(),
            share,
            bytes_max,
        };
        decoding.share.grow_to(decoding.own_bytes)?;
        for _ in 0..FIRST_STEPS {
            if let Some(done) = decoding.step() {
                return done.map(|()| decoding.finish());
            }
            if decoding.out.len() >= STEP_BYTES {
                break;
            }
        }
        let place = self.places.take(account).await;
        let mut decoding = Some(decoding);
        let step = move || {
            let done = decoding.as_mut()?.step()?;
            let decoding = decoding.take()?;
            Some(done.map(|()| decoding.finish()))
        };
        self.work(place, step)
            .await
            .unwrap_or(Err(NotDecoded::Failed))
    }

    /// Does steps until one comes to something. Between two, others get their turns; and nobody goes on for a request
    /// that is gone.
    async fn work<T: Send + 'static>(
        &self,
        place: Place,
        mut step: impl FnMut() -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let steps = async move {
            let _place = place;
            loop {
                if let Some(done) = step() {
                    return done;
                }
                yield_now().await;
            }
        };
        let Some(workers) = &self.workers else {
            return Some(steps.await);
        };
        let mut work = JoinSet::new();
        work.spawn_on(steps, workers);
        work.join_next().await?.ok()
    }
}

/// A content that is being unpacked.
struct Decoding {
    decoder: Decoder,
    /// Bytes that the decoder takes for itself.
    own_bytes: usize,
    out: Vec<u8>,
    share: Share,
    bytes_max: usize,
}

impl Decoding {
    /// Goes on for one step. Nothing if there is more to do.
    fn step(&mut self) -> Option<Result<(), NotDecoded>> {
        if self.out.len() == self.out.capacity() {
            // One byte beyond what may be shows that there is more.
            let capacity = (2 * self.out.len())
                .max(STEP_BYTES)
                .min(self.bytes_max.saturating_add(1));
            if let Err(exhausted) = self.share.grow_to(self.own_bytes + capacity) {
                return Some(Err(exhausted.into()));
            }
            self.out.reserve_exact(capacity - self.out.len());
        }
        match self.decoder.step(&mut self.out) {
            Err(broken) => Some(Err(broken.into())),
            Ok(_) if self.out.len() > self.bytes_max => Some(Err(NotDecoded::TooLarge)),
            Ok(Step::Done) => Some(Ok(())),
            Ok(Step::More) => None,
        }
    }

    fn finish(mut self) -> (Bytes, Share) {
        drop(self.decoder);
        self.out.shrink_to_fit();
        self.share.shrink_to(self.out.len());
        (self.out.into(), self.share)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{
        budget::{Bounds, Budget},
        rate::{Kind, Rate},
    };

    const BOUNDS: Bounds = Bounds {
        all: 8 << 20,
        account: 0,
    };

    fn coded(coding: Coding, bytes: usize) -> Bytes {
        let content = vec![b'0'; bytes];
        let mut encoder = Encoder::new(coding, content.into());
        while !encoder.step() {}
        encoder.finish().into()
    }

    async fn decode(
        coding: Coding,
        coded: Bytes,
        bytes_max: usize,
        bounds: Bounds,
    ) -> Result<usize, NotDecoded> {
        let account = Rate::default().number(Kind::User, "ada");
        let budget = Arc::new(Budget::default());
        let share = budget.take(account, 0, bounds).unwrap();
        let press = Press::new(Some(Handle::current()));
        let decoded = (press.decode((coding, coded), (share, account), bytes_max)).await;
        let found = decoded.map(|(bytes, share)| {
            assert_eq!(share.bytes(), bytes.len(), "no more than what is kept");
            bytes.len()
        });
        assert_eq!(budget.bytes(), 0, "all is given back");
        found
    }

    #[tokio::test]
    async fn a_content_is_unpacked_up_to_its_limit_and_within_the_budget() {
        for coding in Coding::ALL {
            for bytes in [1, 1_000, 100_000, 1_000_000] {
                let found = async |bytes_max, bounds| {
                    decode(coding, coded(coding, bytes), bytes_max, bounds).await
                };
                assert_eq!(found(bytes, BOUNDS).await, Ok(bytes), "{coding:?}");
                assert_eq!(found(bytes + 1, BOUNDS).await, Ok(bytes), "{coding:?}");
                assert_eq!(
                    found(bytes - 1, BOUNDS).await,
                    Err(NotDecoded::TooLarge),
                    "{coding:?}"
                );
            }
            let little = Bounds {
                all: 900_000,
                ..BOUNDS
            };
            let bomb = coded(coding, 4 << 20);
            let found = decode(coding, bomb, 8 << 20, little).await;
            assert_eq!(found, Err(NotDecoded::NoRoom(Exhausted::All)), "{coding:?}");
        }
    }

    #[tokio::test]
    async fn what_is_long_is_pressed_by_the_workers_and_comes_out_the_same() {
        let mut content = Vec::new();
        for number in 0..20_000 {
            write!(content, "{{\"number\":{number}}},").unwrap();
        }
        let content = Bytes::from(content);
        let press = Press::new(Some(Handle::current()));
        for coding in Coding::ALL {
            let turn = press.turn(content.len()).unwrap();
            assert!(matches!(turn, Turn::Has(_)));
            let coded = press.encode(coding, content.clone(), turn).await.unwrap();
            assert!(coded.len() < content.len() / 4);
            let mut alone = Encoder::new(coding, content.clone());
            while !alone.step() {}
            assert_eq!(coded, alone.finish());
        }
        let _taken: Vec<_> = (0..PLACES)
            .map(|_| press.turn(content.len()).unwrap())
            .collect();
        assert!(press.turn(content.len()).is_none(), "no more at once");
        assert!(matches!(press.turn(1_000), Some(Turn::AtOnce)));
    }
}
