//! What a client shows to say who it is.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;

use crate::line::lifetime;

/// A token or an API key that is shown to the server, or who gives one. It is never written to logs and errors. Cheap to
/// clone.
#[derive(Clone)]
pub struct Credential(Source);

#[derive(Clone)]
enum Source {
    Fixed(String),
    Fetched(Arc<Fetch>),
}

/// Who gives a token.
pub(crate) type Fetch = dyn Fn() -> Pin<Box<dyn Future<Output = Fetched> + Send>> + Send + Sync;

/// A token, or why there is none.
pub(crate) type Fetched = Result<String, Box<dyn Error + Send + Sync>>;

impl Credential {
    /// This one and no other: an API key, or a token that outlives what it is for.
    pub fn fixed(credential: impl Into<String>) -> Self {
        Self(Source::Fixed(credential.into()))
    }

    /// What `fetch` gives: before the first attempt, when the last one has ended (if it is a JWT with `exp`), and after
    /// a refusal.
    pub fn fetched<F, T, E>(fetch: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Source::Fetched(Arc::new(move || {
            let token = fetch();
            Box::pin(async move { token.await.map_err(Into::into) })
        })))
    }

    /// Whether another one can be had when one is refused.
    pub(crate) fn can_be_renewed(&self) -> bool {
        matches!(self.0, Source::Fetched(_))
    }

    pub(crate) async fn fetch(&self) -> Fetched {
        match &self.0 {
            Source::Fixed(credential) => Ok(credential.clone()),
            Source::Fetched(fetch) => fetch().await,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(not shown)")
    }
}

/// The credential of one reader or publisher, and what of it is held at present. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purse {
    credential: Option<Credential>,
    held: Arc<Mutex<Option<Held>>>,
}

#[derive(Clone, Debug)]
struct Held {
    /// The field `Authorization`, which is marked as not to be shown.
    field: HeaderValue,
    until: Option<Instant>,
}

impl Purse {
    pub fn new(credential: Credential) -> Self {
        Self {
            credential: Some(credential),
            held: Arc::default(),
        }
    }

    /// Whether another one can be had when one is refused.
    pub fn can_be_renewed(&self) -> bool {
        (self.credential.as_ref()).is_some_and(Credential::can_be_renewed)
    }

    /// The value of `Authorization`, fetched if none is held or the one that is has ended; nothing if none is shown.
    pub async fn field(&self) -> Result<Option<HeaderValue>, String> {
        let Some(credential) = &self.credential else {
            return Ok(None);
        };
        let is_valid = |held: &Held| held.until.is_none_or(|until| Instant::now() < until);
        if let Some(held) = self.lock().as_ref().filter(|held| is_valid(held)) {
            return Ok(Some(held.field.clone()));
        }
        let shown = (credential.fetch().await)
            .map_err(|error| format!("the token could not be had: {error}"))?;
        let mut field = HeaderValue::from_str(&format!("Bearer {shown}"))
            .map_err(|_| "the token has characters that no token has".to_owned())?;
        field.set_sensitive(true);
        let until = lifetime(&shown, SystemTime::now())
            .map(|lifetime| Instant::now() + lifetime.saturating_sub(LEAD));
        *self.lock() = Some(Held {
            field: field.clone(),
            until,
        });
        Ok(Some(field))
    }

    /// The server does not take the one that is held.
    pub fn refused(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So long before its end a token is not shown any more: a request takes time, and clocks differ.
const LEAD: Duration = Duration::from_secs(2);

/// So many refusals in a row of tokens that were fetched anew are no accident.
pub(crate) const REFUSALS_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn counted(text: &'static str) -> (Arc<AtomicU32>, Purse) {
        let count = Arc::new(AtomicU32::new(0));
        let fetched = count.clone();
        let credential = Credential::fetched(move || {
            fetched.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, String>(text.to_owned()) }
        });
        (count, Purse::new(credential))
    }

    #[tokio::test]
    async fn one_is_held_until_it_is_refused() {
        let (count, purse) = counted("an-opaque-key");
        for _ in 0..3 {
            let field = purse.field().await.unwrap().unwrap();
            assert_eq!(field, "Bearer an-opaque-key");
            assert!(field.is_sensitive());
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        purse.refused();
        purse.field().await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_told_and_not_shown() {
        let (_, purse) = counted("a secret\r\nx-evil: 1");
        let error = purse.field().await.unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        let shown = format!("{purse:?} {:?}", Credential::fixed("secret"));
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(Purse::default().field().await, Ok(None));
    }
}
