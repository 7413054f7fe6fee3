//! Places for work that takes long: as many are at it at once as there are places, and callers take turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{fair::Turns, rate::Account};

/// The places, and who waits for one.
pub(crate) struct Places(Mutex<State>);

struct State {
    free: usize,
    waiting: Turns<Account, oneshot::Sender<Place>>,
}

/// A place, until this is dropped.
pub(crate) struct Place(Arc<Places>);

impl Places {
    /// So many places.
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free: count,
            waiting: Turns::default(),
        })))
    }

    /// A place, if one is free.
    pub fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state();
        state.free = state.free.checked_sub(1)?;
        Some(Place(self.clone()))
    }

    /// A place, when it is this account's turn.
    pub async fn take(self: &Arc<Self>, account: Account) -> Place {
        let waits = {
            let mut state = self.state();
            match state.free.checked_sub(1) {
                Some(less) => {
                    state.free = less;
                    return Place(self.clone());
                }
                None => {
                    let (gives, waits) = oneshot::channel();
                    state.waiting.push(account, gives);
                    waits
                }
            }
        };
        waits
            .await
            .expect("who waits is given a place before its sender goes")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    /// The next takes the place over, of those who still wait.
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state();
            loop {
                match state.waiting.pop_of(|_| true) {
                    Some((_, gives)) if gives.is_closed() => {}
                    Some((_, gives)) => break gives,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            }
        };
        // Given up at this very moment, it is dropped here, and passed on.
        let _ = next.send(Place(self.0.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll};

    use super::*;
    use crate::rate::{Kind, Rate};

    #[tokio::test]
    async fn as_many_are_at_it_as_there_are_places_and_callers_take_turns() {
        let rate = Rate::default();
        let [ada, bob] = ["ada", "bob"].map(|name| rate.number(Kind::User, name));
        let places = Places::new(1);
        let first = places.take(ada).await;
        assert!(places.try_take().is_none(), "it is taken");
        let mut waits: Vec<_> = [ada, ada, bob]
            .map(|account| Box::pin(places.take(account)))
            .into();
        let mut turn = async |expected: &[bool]| {
            let mut done = Vec::new();
            for wait in &mut waits {
                done.push(std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await);
            }
            let is_ready: Vec<_> = done.iter().map(Poll::is_ready).collect();
            assert_eq!(is_ready, expected);
            done
        };
        turn(&[false, false, false]).await;
        drop(first);
        let mut at_it = turn(&[true, false, false]).await;
        drop(waits.remove(0));
        drop(at_it.remove(0));
        // Bob's first comes before Ada's third.
        for wait in &mut waits {
            let polled = std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await;
            if let Poll::Ready(place) = polled {
                drop(place);
            }
        }
        drop(waits);
        assert!(places.try_take().is_some(), "all is given back");
    }

    #[tokio::test]
    async fn who_gives_up_holds_up_nobody() {
        let ada = Rate::default().number(Kind::User, "ada");
        let places = Places::new(1);
        let first = places.take(ada).await;
        for _ in 0..100_000 {
            let mut wait = pin!(places.take(ada));
            let polled = std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
        }
        drop(first);
        assert!(places.try_take().is_some());
    }
}
