//! Lines whose credential was taken back while they are open.

use super::{Key, LineKey, Net, Role, SLICE, Seat, Shard};
use crate::auth::{self, Caller};

/// Lines that are looked at between two looks at everything else. A look costs a tenth of a microsecond or less.
const LOOKS: usize = 1024;

impl<N: Net> Shard<N> {
    /// Tokens were taken back: has each line looked at that is open now. Those that come are looked at when they do.
    pub(super) fn look_for_revoked(&mut self) {
        self.revoking = Some(0);
    }

    /// Whether lines are left to be looked at.
    pub(super) fn is_revoking(&self) -> bool {
        self.revoking.is_some()
    }

    /// Looks at the next lines, and ends those whose credential was taken back. A slice at a time, since there may be a
    /// million of them.
    pub(super) fn revoke_some(&mut self) {
        let Some(next) = self.revoking else { return };
        let end = self.lines.end();
        let mut ended = 0;
        for looked in 0..LOOKS {
            let key = next + looked;
            if key >= end {
                self.revoking = None;
                return;
            }
            if ended == SLICE {
                self.revoking = Some(key);
                return;
            }
            ended += usize::from(self.end_if_revoked(LineKey::at(key)));
        }
        self.revoking = Some(next + LOOKS);
    }

    /// Ends a line if the credential that opened it, or that its session goes on with, was taken back. True if so.
    pub(super) fn end_if_revoked(&mut self, key: LineKey) -> bool {
        let Some(line) = self.lines.get(key) else {
            return false;
        };
        let known = match &line.seat {
            Seat::Feed { .. } => self.credentials.get(&key).map(|known| &**known),
            Seat::Session(session) => session.caller.as_known(),
            Seat::Alone(alone) => match &alone.role {
                Role::Poll(poll) => poll.request.caller.as_known(),
                Role::Answering { .. } | Role::Echo | Role::Lingering => None,
            },
            Seat::Vacant => None,
        };
        let authority = &self.shared.live.authority;
        let Some(Err(error)) = known.map(|known| authority.stands(known)) else {
            return false;
        };
        self.end_right(key, &auth::not_taken(&error));
        true
    }

    /// Remembers who opened a line, if a credential was shown. Who shows none costs nothing.
    pub(super) fn remember_caller(&mut self, key: LineKey, caller: &Caller) {
        if let Caller::Known(known) = caller {
            self.credentials.insert(key, known.clone());
        }
    }
}
