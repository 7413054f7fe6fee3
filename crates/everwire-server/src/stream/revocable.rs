//! A line that is a task, and whose caller's credential may be taken back.

use std::{future::pending, sync::Arc};

use tokio::sync::watch;

use crate::{
    auth::{Caller, Known},
    http::Context,
    live::Settings,
};

/// Looks whether a credential was taken back. Who has shown none is never woken.
pub(super) struct Revocable(Option<Watched>);

struct Watched {
    known: Arc<Known>,
    settings: Settings,
    changed: watch::Receiver<()>,
}

impl Revocable {
    /// From now on.
    pub fn new(context: &Context, caller: &Caller) -> Self {
        let Caller::Known(known) = caller else {
            return Self(None);
        };
        let live = &context.shared.live;
        Self(Some(Watched {
            known: known.clone(),
            settings: live.settings().clone(),
            changed: live.authority.revocations().watch(),
        }))
    }

    /// Whether it was taken back.
    pub fn is_revoked(&self) -> bool {
        (self.0.as_ref())
            .is_some_and(|watched| watched.settings.now().authority.is_revoked(&watched.known))
    }

    /// Resolves when it may have been.
    pub async fn changed(&mut self) {
        match &mut self.0 {
            Some(watched) => {
                // What tells it is there for as long as the server is.
                let _ = watched.changed.changed().await;
            }
            None => pending().await,
        }
    }
}
