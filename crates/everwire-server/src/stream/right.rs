//! The right of a line that is a task: its caller's credential may be taken back, and other rules or keys may come to
//! hold than those that it was let in by.

use std::{future::pending, sync::Arc};

use everwire_wire::Problem;
use tokio::sync::watch;

use crate::{
    auth::{self, Caller},
    http::Context,
    hub::Channel,
    live::Snapshot,
};

/// Whether a caller may read a channel still.
pub(super) struct Right {
    caller: Caller,
    channel: Arc<Channel>,
    is_lent: bool,
    live: Snapshot,
    /// Told when another configuration holds.
    replaced: watch::Receiver<()>,
    /// Told when credentials are taken back; nobody takes anything from who has shown none.
    revoked: Option<watch::Receiver<()>>,
}

impl Right {
    /// As a request was let in that was judged by the context's configuration.
    pub fn new(context: &Context, caller: &Caller, channel: &Arc<Channel>, is_lent: bool) -> Self {
        let live = context.shared.live.clone();
        let revoked = || live.authority.revocations().watch();
        Self {
            revoked: caller.as_known().map(|_| revoked()),
            replaced: live.settings().replacements(),
            caller: caller.clone(),
            channel: channel.clone(),
            is_lent,
            live,
        }
    }

    /// Tells why the caller may not read any more, if so.
    pub fn check(&mut self) -> Result<(), Problem> {
        if self.live.is_outdated() {
            self.live.refresh();
            let name = self.channel.name();
            self.caller = (self.live).judge_reader(&self.caller, name, self.is_lent)?;
        }
        let known = self.caller.as_known();
        match known.is_some_and(|known| self.live.authority.is_revoked(known)) {
            true => Err(auth::was_revoked()),
            false => Ok(()),
        }
    }

    /// Resolves when it may have become another.
    pub async fn changed(&mut self) {
        let revoked = async {
            match &mut self.revoked {
                // What tells it is there for as long as the server is.
                Some(revoked) => drop(revoked.changed().await),
                None => pending().await,
            }
        };
        tokio::select! {
            () = revoked => {}
            _ = self.replaced.changed() => {}
        }
    }
}
