//! The places of one host: as many exchanges with it as may be at once, shared fairly by who caused them.
//!
//! ```text
//!  take(ada) ─▶ waits behind what is ada's ─┐                    ┌─▶ Place ─ ─ dropped ─▶ the next
//!  take(bob) ─▶ waits behind what is bob's ─┴▶ callers take turns┘
//! ```
//!
//! A caller has at most as many places as it leaves free: half of them if it is alone, and whoever comes then finds one
//! at once. So questions that take long, however many one caller has asked, keep nobody else's waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{fair::Turns, rate::Account};

/// On whose behalf another server is asked; nobody's is the server's own.
pub(crate) type Whose = Option<Account>;

/// The places of a host. Clones are of the same.
#[derive(Clone)]
pub(super) struct Places(Arc<Mutex<Taken>>);

/// A place, which is given back when it is dropped.
pub(super) struct Place {
    whose: Whose,
    /// None once it was given back.
    places: Option<Places>,
}

struct Taken {
    free: usize,
    by: HashMap<Whose, usize>,
    waiting: Turns<Whose, oneshot::Sender<Place>>,
}

impl Places {
    /// So many, all of them free.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(Taken {
            free: count,
            by: HashMap::new(),
            waiting: Turns::default(),
        })))
    }

    /// Waits for a place.
    pub async fn take(&self, whose: Whose) -> Place {
        let (sender, receiver) = oneshot::channel();
        self.lock().waiting.push(whose, sender);
        self.serve();
        receiver
            .await
            .expect("a place is sent before its sender is dropped")
    }

    /// Gives places that are free to those whose turn it is.
    fn serve(&self) {
        loop {
            let Some((sender, place)) = self.next() else {
                return;
            };
            // Whoever waited may have given up; its place goes to the next.
            if let Err(mut place) = sender.send(place) {
                place.places = None;
                self.lock().give_back(place.whose);
            }
        }
    }

    fn next(&self) -> Option<(oneshot::Sender<Place>, Place)> {
        let taken = &mut *self.lock();
        let (free, by) = (taken.free, &taken.by);
        let has_share = |whose: &Whose| by.get(whose).copied().unwrap_or(0) < free;
        let (whose, sender) = taken.waiting.pop_of(has_share)?;
        taken.free -= 1;
        *taken.by.entry(whose).or_default() += 1;
        let places = Some(self.clone());
        Some((sender, Place { whose, places }))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn give_back(&mut self, whose: Whose) {
        self.free += 1;
        if let Some(count) = self.by.get_mut(&whose) {
            *count -= 1;
            if *count == 0 {
                self.by.remove(&whose);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.places.take() {
            places.lock().give_back(self.whose);
            places.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::IpAddr,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::{auth::Caller, rate::Rate};

    fn callers() -> [Whose; 3] {
        let rate = Rate::default();
        [1, 2, 3].map(|last| {
            let address = IpAddr::from([10, 0, 0, last]);
            Some(rate.account(&Caller::Anybody, address))
        })
    }

    /// What is there at once.
    fn at_once(places: &Places, whose: Whose) -> Option<Place> {
        match pin!(places.take(whose)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_asks_for_much_leaves_places_for_who_comes_later() {
        let [ada, bob, eve] = callers();
        let places = Places::new(16);
        let count = |whose| std::iter::from_fn(|| at_once(&places, whose)).collect::<Vec<_>>();
        let much = count(ada);
        assert_eq!(much.len(), 8, "half of what there is");
        assert_eq!(count(bob).len(), 4, "and half of what is left");
        let _more = count(bob);
        assert!(at_once(&places, eve).is_some());
        assert!(
            at_once(&places, None).is_some(),
            "and for the server itself"
        );
        assert!(at_once(&Places::new(1), ada).is_some(), "also of one");
    }

    #[test]
    fn who_waits_is_served_in_turn_and_who_has_given_up_is_passed_over() {
        let [ada, bob, _] = callers();
        let places = Places::new(1);
        let place = at_once(&places, ada).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut of_ada: Vec<_> = (0..3).map(|_| Box::pin(places.take(ada))).collect();
        let mut of_bob = Box::pin(places.take(bob));
        for waits in of_ada.iter_mut().chain([&mut of_bob]) {
            assert!(waits.as_mut().poll(&mut context).is_pending());
        }
        drop(of_ada.remove(0)); // gives up
        drop(place);
        assert!(of_ada[0].as_mut().poll(&mut context).is_pending());
        let Poll::Ready(second) = of_bob.as_mut().poll(&mut context) else {
            panic!("it is bob's turn, since ada's was passed over")
        };
        drop(second);
        let Poll::Ready(third) = of_ada[0].as_mut().poll(&mut context) else {
            panic!("it is ada's turn")
        };
        drop(third);
        assert!(of_ada[1].as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn a_place_that_nobody_takes_is_not_lost() {
        let [ada, bob, _] = callers();
        let places = Places::new(1);
        let place = at_once(&places, ada).unwrap();
        let mut waits = Box::pin(places.take(bob));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(place); // it is on its way to who waits …
        drop(waits); // … who has gone
        assert!(at_once(&places, ada).is_some());
        assert!(places.lock().by.is_empty() && places.lock().waiting.is_empty());
    }
}
