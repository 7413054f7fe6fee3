//! Rules of a line that need its state to be seen, and not only what its user sees.

use super::facts::plan;
use super::*;
use crate::Backoff;

/// A line over these wires, with the default options, at fair chance.
struct Line {
    course: Course,
    options: LineOptions,
    now: Instant,
}

impl Line {
    fn new(wires: &[LineWire]) -> Self {
        let options = LineOptions {
            wires: wires.to_vec(),
            ..LineOptions::default()
        };
        let now = Instant::now();
        let course = Course::new(&options, false, now);
        let mut line = Self {
            course,
            options,
            now,
        };
        line.step(Event::Start);
        line
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let at = Moment {
            now: self.now,
            roll: 0.5,
            options: &self.options,
        };
        let (course, effects) = self.course.clone().step(event, &at);
        self.course = course;
        effects
    }

    fn wire(&mut self, serial: u64, event: WireEvent) -> Vec<Effect> {
        self.step(Event::Wire(serial, event))
    }

    /// Lets time pass until something is due, and tells how much it was.
    fn sleep(&mut self) -> Duration {
        let before = self.now;
        self.now = self.course.wake_at().expect("something is due");
        self.now - before
    }
}

fn welcome() -> WireEvent {
    WireEvent::Welcome { heartbeat: None }
}

fn cut() -> WireEvent {
    WireEvent::Ended(Ending::Cut("cut".into()))
}

#[test]
fn a_wire_has_more_time_to_prove_itself_after_each_failed_attempt_up_to_four_times_as_much() {
    let mut line = Line::new(&[LineWire::Ndjson]);
    let mut granted = Vec::new();
    for _ in 0..6 {
        granted.push(line.sleep().as_secs());
        line.step(Event::Tick);
        line.sleep();
        line.step(Event::Tick);
    }
    assert_eq!(granted, [5, 10, 15, 20, 20, 20]);
}

#[test]
fn a_line_that_keeps_being_cut_soon_after_it_opened_is_come_back_to_more_and_more_slowly() {
    let mut line = Line::new(&[LineWire::Ndjson]);
    let mut waits = Vec::new();
    for serial in 1..=4 {
        line.wire(serial, welcome());
        line.wire(serial, cut());
        waits.push(line.sleep().as_millis());
        line.step(Event::Tick);
    }
    assert_eq!(waits, [500, 1000, 2000, 4000]);
}

#[test]
fn a_line_that_was_good_for_a_while_is_come_back_to_as_at_first() {
    let mut line = Line::new(&[LineWire::Ndjson]);
    for serial in 1..=4 {
        line.wire(serial, welcome());
        line.now += line.options.stable;
        line.wire(serial, cut());
        assert_eq!(line.sleep().as_millis(), 500, "the end of wire {serial}");
        line.step(Event::Tick);
    }
}

#[test]
fn what_a_wire_says_after_it_was_given_up_changes_nothing() {
    let mut line = Line::new(&LineWire::ALL);
    line.wire(1, welcome());
    let open = line.course.clone();
    for event in [
        welcome(),
        WireEvent::Heard,
        WireEvent::Answered { more: false },
        WireEvent::Drain {
            after: Duration::ZERO,
        },
        cut(),
    ] {
        assert_eq!(line.wire(9, event.clone()), [], "{event:?}");
        assert_eq!(line.course, open, "{event:?}");
    }
}

#[test]
fn nothing_brings_a_closed_line_back() {
    let mut line = Line::new(&LineWire::ALL);
    let code = NORMAL;
    let expected = [Effect::Close { serial: 1, code }, Effect::Finish];
    assert_eq!(line.step(Event::Close), expected);
    for event in [
        Event::Start,
        Event::Tick,
        Event::Wake,
        Event::Close,
        Event::Wire(1, welcome()),
    ] {
        assert_eq!(line.step(event.clone()), [], "{event:?}");
        assert_eq!(line.course.stage, Stage::Closed(None), "{event:?}");
    }
    assert_eq!(line.course.wake_at(), None);
}

#[test]
fn the_preferred_wire_comes_first_and_the_others_take_turns_after_it() {
    use LineWire::{EventStream, LongPoll, Ndjson, WebSocket};
    for (preferred, failed, expected) in [
        (WebSocket, 0, [WebSocket, EventStream, Ndjson, LongPoll]),
        (WebSocket, 1, [WebSocket, Ndjson, LongPoll, EventStream]),
        (WebSocket, 2, [WebSocket, LongPoll, EventStream, Ndjson]),
        (LongPoll, 0, [LongPoll, WebSocket, EventStream, Ndjson]),
    ] {
        assert_eq!(
            plan(&LineWire::ALL, preferred, failed),
            expected,
            "{preferred}, {failed} failed"
        );
    }
    assert_eq!(
        plan(&[Ndjson], WebSocket, 3),
        [Ndjson],
        "a wire that may not be used"
    );
}

#[test]
fn waits_grow_to_their_bound_and_not_beyond() {
    let mut line = Line::new(&[LineWire::Ndjson]);
    line.options.backoff = Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(30),
    };
    let mut waits = Vec::new();
    for serial in 1..=8 {
        let ending = Ending::Unreachable("refused".into());
        line.wire(serial, WireEvent::Ended(ending));
        waits.push(line.sleep().as_millis());
        line.step(Event::Tick);
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
}
