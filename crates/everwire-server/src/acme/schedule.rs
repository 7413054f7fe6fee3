//! When to ask for a certificate, and when to leave the authority alone: a function of the time and of what is stored.
//!
//! ```text
//!  stored certificate ─▶ Schedule::new ─┐             ┌─▶ Order            get a certificate
//!  on_issued, on_window ────────────────┼▶ next(now) ─┼─▶ AskWindow        ask when the authority wants us (RFC 9773)
//!  on_setback ──────────────────────────┘             └─▶ Wait { until }   nothing before then
//! ```
//!
//! Times are Unix seconds, as in certificates, since they outlive the process. Randomness comes in as a [`Jitter`] with
//! each event, so that many servers that started together do not come back together.

mod setback;
#[cfg(test)]
mod tests;

pub(crate) use self::setback::{Setback, Trouble};

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub not_before_s: u64,
    /// The last second.
    pub not_after_s: u64,
}

/// When the authority wants a certificate renewed (RFC 9773, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub start_s: u64,
    pub end_s: u64,
}

/// A random share of what is spread out, from 0 to 1, without 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jitter(pub f64);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Get a certificate now.
    Order,
    /// Ask the authority when it wants the certificate renewed.
    AskWindow,
    /// Nothing before this moment.
    Wait { until_s: u64 },
}

/// How far an order has come that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The authority is about to be asked.
    Begun,
    /// The names are verified, and the certificate is about to be asked for. From here on it counts as issued.
    Issuing,
}

/// How much time is left while renewing fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// The certificate in use lasts for a good while yet.
    Low,
    /// Less than a sixth of its life is left: half of the time there was for renewing it has passed.
    High,
    /// There is no valid certificate for all names.
    Without,
}

/// When to do what.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    held: Option<Held>,
    trouble: Option<Trouble>,
}

/// A certificate that covers all names.
#[derive(Clone, Debug)]
struct Held {
    validity: Validity,
    /// When it is to be renewed.
    renew_at_s: u64,
    /// Not before then, whatever else is said: a wrong clock, or a window that is always over, must not order without end.
    earliest_s: u64,
    /// When to ask for its window, if the authority tells one.
    ask_at_s: Option<u64>,
}

impl Schedule {
    /// At start: with the stored certificate, if it covers all names, and what went wrong before the process ended.
    pub fn new(held: Option<Validity>, trouble: Option<Trouble>, jitter: Jitter) -> Self {
        Self {
            held: held.map(|validity| Held::new(validity, jitter)),
            trouble: trouble.map(Trouble::after_restart),
        }
    }

    /// There is a new certificate.
    pub fn on_issued(&mut self, validity: Validity, now_s: u64, jitter: Jitter) {
        self.held = Some(Held {
            earliest_s: now_s + (validity.life_s() / 3).clamp(REST_S, DAY_S),
            ..Held::new(validity, jitter)
        });
        self.trouble = None;
    }

    /// The authority told its window, and after how many seconds to ask again; or that it tells none.
    pub fn on_window(&mut self, told: Option<(Window, u64)>, now_s: u64, jitter: Jitter) {
        let Some(held) = &mut self.held else { return };
        let Some((window, ask_after_s)) = told else {
            held.ask_at_s = None;
            return;
        };
        // RFC 9773, section 4.3.3: within reasonable limits, "such as a minimum of one minute and a maximum of one day".
        held.ask_at_s = Some(now_s + ask_after_s.clamp(MINUTE_S, DAY_S));
        held.on_window(window, jitter);
    }

    /// The authority could not be asked for its window; the certificate is renewed by its age until it can be.
    pub fn on_window_missed(&mut self, now_s: u64) {
        if let Some(held) = &mut self.held {
            held.ask_at_s = Some(now_s + ASK_AGAIN_S);
        }
    }

    /// No certificate came. What is given back is to be stored, for the next start.
    pub fn on_setback(&mut self, setback: Setback, now_s: u64, jitter: Jitter) -> Trouble {
        let trouble = self.trouble_of(setback, now_s, jitter);
        self.trouble = Some(trouble.clone());
        trouble
    }

    /// What would have gone wrong if an order that begins now, or goes on, never ended: to be stored before it does, for
    /// the next start.
    pub fn foresee(&self, reach: Reach, now_s: u64, jitter: Jitter) -> Trouble {
        let setback = match reach {
            Reach::Begun => Setback::Interrupted,
            Reach::Issuing => Setback::Wasted,
        };
        self.trouble_of(setback, now_s, jitter)
    }

    /// Whether this was told already: there was no room, and that is no worse now than it was then.
    pub fn is_told(&self, setback: Setback, now_s: u64) -> bool {
        let last = self.trouble.as_ref().map(Trouble::last);
        last.is_some_and(|(last, at_s)| {
            (last, setback) == (Setback::NoRoom, Setback::NoRoom)
                && self.alarm(at_s) == self.alarm(now_s)
        })
    }

    /// What to do now.
    pub fn next(&self, now_s: u64) -> Step {
        let due_s = (self.held.as_ref()).map_or(0, |held| held.renew_at_s.max(held.earliest_s));
        let retry_s = (self.trouble.as_ref()).map_or(0, |trouble| trouble.retry_at(now_s));
        let order_at_s = due_s.max(retry_s);
        if order_at_s <= now_s {
            return Step::Order;
        }
        match self.held.as_ref().and_then(|held| held.ask_at_s) {
            Some(ask_at_s) if ask_at_s <= now_s => Step::AskWindow,
            Some(ask_at_s) => Step::Wait {
                until_s: order_at_s.min(ask_at_s),
            },
            None => Step::Wait {
                until_s: order_at_s,
            },
        }
    }

    /// How bad it is that no certificate comes.
    pub fn alarm(&self, now_s: u64) -> Alarm {
        match &self.held {
            Some(held) if now_s < held.validity.not_after_s => {
                let left_s = held.validity.not_after_s - now_s;
                match left_s < held.validity.life_s() / 6 {
                    true => Alarm::High,
                    false => Alarm::Low,
                }
            }
            Some(_) | None => Alarm::Without,
        }
    }

    fn trouble_of(&self, setback: Setback, now_s: u64, jitter: Jitter) -> Trouble {
        let left_s = self
            .held
            .as_ref()
            .map(|held| held.validity.not_after_s.saturating_sub(now_s));
        Trouble::new(setback, self.trouble.as_ref(), left_s, now_s, jitter)
    }
}

impl Held {
    fn new(validity: Validity, jitter: Jitter) -> Self {
        let life_s = validity.life_s();
        // With a third of its life left, or up to a thirtieth of its life before, so that not all come at once.
        let renew_at_s = validity
            .not_after_s
            .saturating_sub(life_s / 3)
            .saturating_sub(jitter.of(life_s / 30));
        Self {
            validity,
            renew_at_s: renew_at_s.max(validity.not_before_s),
            earliest_s: 0,
            ask_at_s: Some(0),
        }
    }

    /// RFC 9773, section 4.2: "select a uniform random time within the suggested window". One that has passed means
    /// now. A window that makes no sense, or that would let the certificate expire, is not followed.
    fn on_window(&mut self, window: Window, jitter: Jitter) {
        let is_usable = window.start_s < window.end_s && window.end_s <= self.validity.not_after_s;
        // A moment that was chosen inside of the window stays: chosen anew each time, it would come earlier and earlier.
        let was_chosen = (window.start_s..window.end_s).contains(&self.renew_at_s);
        if is_usable && !was_chosen {
            self.renew_at_s = window.start_s + jitter.of(window.end_s - window.start_s);
        }
    }
}

impl Validity {
    fn life_s(self) -> u64 {
        self.not_after_s.saturating_sub(self.not_before_s)
    }
}

impl Jitter {
    /// This share of some seconds.
    fn of(self, seconds: u64) -> u64 {
        (seconds as f64 * self.0) as u64
    }
}

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;

/// The least time from a certificate to the order of the next, however short its life is.
const REST_S: u64 = 5 * MINUTE_S;

/// After how long an authority that could not be asked for its window is asked again.
const ASK_AGAIN_S: u64 = HOUR_S;
