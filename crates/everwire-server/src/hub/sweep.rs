//! The sweep over all channels: ages, expiries, and channels that nobody uses any more.

use std::sync::{Arc, PoisonError};

use super::{Channel, Hub, State};

/// Walks over all channels once, part by part, so that no lock is held for long.
pub fn sweep(hub: &Hub, now_ms: u64) {
    let live = hub.settings.now();
    for part in &hub.parts {
        let channels: Vec<Arc<Channel>> = part
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect();
        for channel in channels {
            let mut state = channel.lock();
            state.trim(now_ms);
            let forget_ms = live.rules.of(channel.name()).forget_ms;
            let gone = |state: &State| {
                state.core().is_expired(now_ms) || state.is_forgettable(forget_ms, now_ms)
            };
            let now_gone = gone(&state);
            drop(state);
            if now_gone {
                hub.forget_if(&channel, gone);
            }
        }
    }
}
