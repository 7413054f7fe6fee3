//! The promise, under random courses.

use fastrand::Rng;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Move {
    Entry,
    Gap,
    Page(u8),
    Lost,
    Drain,
    Silence,
    Cut,
    Switch(Wire),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => Just(Move::Entry),
        1 => Just(Move::Gap),
        2 => (0..4u8).prop_map(Move::Page),
        1 => Just(Move::Lost),
        1 => Just(Move::Drain),
        1 => Just(Move::Silence),
        1 => Just(Move::Cut),
        1 => prop::sample::select(&Wire::ALL[..]).prop_map(Move::Switch),
    ]
}

proptest! {
    /// The promise: whatever happens, what is asked next follows what was told last.
    #[test]
    fn every_question_is_asked_from_the_last_thing_told(
        moves in prop::collection::vec(any_move(), 0..60),
        seed: u64,
    ) {
        let mut course = Course::new(Wire::WebSocket, Start::Beginning);
        course.plan.rng = Rng::with_seed(seed);
        let mut number = 100;
        let mut told = Start::Beginning;
        let mut next = || { number += 1; format!("a{number}") };
        for a_move in moves {
            let mut ask = None;
            while ask.is_none() {
                match course.plan.step(course.now) {
                    Step::Ask(asked) => ask = Some(asked.start),
                    Step::Wait(until) => course.now = until,
                    Step::Listen(_) => break,
                    Step::Ended(error) => panic!("ended with {error:?}"),
                }
            }
            if let Some(start) = ask {
                prop_assert_eq!(start, told.clone());
            }
            let token = next();
            match a_move {
                Move::Entry => drop(course.hear(Signal::Entry(entry(&token)))),
                Move::Gap => drop(course.hear(Signal::Gap(gap(&token, "b")))),
                Move::Page(0) => drop(course.hear(Signal::Page(Page { next: None, ..page(&[], &token) }))),
                Move::Page(_) => drop(course.hear(Signal::Page(page(&[&token], &token)))),
                Move::Lost => drop(course.hear(lost())),
                Move::Drain => drop(course.hear(Signal::Drain(Duration::from_secs(1)))),
                Move::Silence => {
                    course.pass(Duration::from_secs(60));
                    course.plan.handle_timeout(course.now);
                }
                Move::Cut => course.plan.cut(course.now),
                Move::Switch(wire) => course.plan.switch(wire),
            }
            while let Some(item) = course.plan.poll_item() {
                match item {
                    Item::Entry(Entry { offset: Some(offset), .. }) | Item::Gap(Gap { oldest: offset, .. }) => {
                        prop_assert!(Start::After(offset.clone()) != told);
                        told = Start::After(offset);
                    }
                    Item::Entry(_) | Item::Unreadable(_) | Item::Closed | Item::Connected(_) | Item::Disconnected { .. } => {}
                }
            }
        }
    }
}
