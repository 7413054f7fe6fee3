use proptest::prelude::*;

use super::*;

const NOW_S: u64 = 1_800_000_000;
const NONE: Jitter = Jitter(0.0);
const ALL: Jitter = Jitter(0.999_999);

fn days(days: u64) -> Validity {
    Validity {
        not_before_s: NOW_S,
        not_after_s: NOW_S + days * DAY_S,
    }
}

fn held(validity: Validity) -> Schedule {
    let mut schedule = Schedule::new(Some(validity), None, NONE);
    schedule.on_window(None, NOW_S, NONE);
    schedule
}

/// What a schedule says to wait for.
fn until(schedule: &Schedule, now_s: u64) -> u64 {
    match schedule.next(now_s) {
        Step::Wait { until_s } => until_s,
        step => panic!("{step:?} instead of waiting"),
    }
}

#[test]
fn without_a_certificate_one_is_ordered_at_once() {
    assert_eq!(Schedule::new(None, None, NONE).next(NOW_S), Step::Order);
}

#[test]
fn a_stored_certificate_is_renewed_when_a_third_of_its_life_is_left() {
    for (jitter, expected) in [(NONE, 60 * DAY_S), (ALL, 57 * DAY_S)] {
        let mut schedule = Schedule::new(Some(days(90)), None, jitter);
        schedule.on_window(None, NOW_S, jitter);
        let until_s = until(&schedule, NOW_S);
        assert!(until_s.abs_diff(NOW_S + expected) <= 1, "{until_s}");
        assert_eq!(schedule.next(until_s), Step::Order);
    }
}

#[test]
fn a_certificate_that_has_expired_while_the_server_was_down_is_renewed_at_once() {
    assert_eq!(held(days(90)).next(NOW_S + 100 * DAY_S), Step::Order);
}

#[test]
fn the_authority_is_asked_for_its_window_first_and_then_as_often_as_it_says() {
    let mut schedule = Schedule::new(Some(days(90)), None, NONE);
    assert_eq!(schedule.next(NOW_S), Step::AskWindow);
    let window = Window {
        start_s: NOW_S + 50 * DAY_S,
        end_s: NOW_S + 52 * DAY_S,
    };
    for (said, expected) in [(6 * HOUR_S, 6 * HOUR_S), (0, MINUTE_S), (90 * DAY_S, DAY_S)] {
        schedule.on_window(Some((window, said)), NOW_S, NONE);
        assert_eq!(until(&schedule, NOW_S), NOW_S + expected, "told {said}");
    }
    schedule.on_window_missed(NOW_S);
    assert_eq!(until(&schedule, NOW_S), NOW_S + ASK_AGAIN_S);
}

#[test]
fn a_window_is_followed_if_it_lets_nothing_expire() {
    let day = |from: u64, to: u64| Window {
        start_s: NOW_S + from * DAY_S,
        end_s: NOW_S + to * DAY_S,
    };
    for (window, expected_day) in [
        (day(10, 12), 11),                      // earlier than by its age
        (day(70, 80), 75),                      // later
        (day(80, 91), 60),                      // ends after the certificate
        (day(80, 79), 60),                      // ends before it begins
        (day(89, 90), 89 /* and half a day */), // at the very end
    ] {
        let mut schedule = held(days(90));
        schedule.on_window(Some((window, DAY_S)), NOW_S, Jitter(0.5));
        let held = schedule.held.unwrap();
        assert_eq!(
            (held.renew_at_s - NOW_S) / DAY_S,
            expected_day,
            "{window:?}"
        );
    }
}

/// RFC 9773, section 4.2: a window in the past is how an authority says that a certificate will be revoked.
#[test]
fn a_window_that_has_passed_means_now() {
    let mut schedule = held(days(90));
    let past = Window {
        start_s: NOW_S - 2 * DAY_S,
        end_s: NOW_S - DAY_S,
    };
    schedule.on_window(Some((past, DAY_S)), NOW_S, ALL);
    assert_eq!(schedule.next(NOW_S), Step::Order);
}

/// A clock that is months ahead, or an authority whose windows are all over, would otherwise use up what it issues a week.
#[test]
fn what_was_just_issued_is_not_renewed_at_once() {
    let over = Window {
        start_s: NOW_S - 2,
        end_s: NOW_S - 1,
    };
    for (life, now_s, expected_s) in [
        (days(90), NOW_S, DAY_S),
        (days(90), NOW_S + 80 * DAY_S, DAY_S),
        (days(1), NOW_S, 8 * HOUR_S),
        (days(0), NOW_S, 5 * MINUTE_S),
    ] {
        let mut schedule = Schedule::new(None, None, NONE);
        schedule.on_issued(life, now_s, NONE);
        schedule.on_window(Some((over, 7 * DAY_S)), now_s, NONE);
        let mut asked_s = now_s;
        while let Step::Wait { until_s } = schedule.next(asked_s) {
            asked_s = until_s;
            schedule.on_window(Some((over, 7 * DAY_S)), asked_s, NONE);
        }
        assert_eq!(schedule.next(asked_s), Step::Order);
        assert_eq!(asked_s - now_s, expected_s, "{life:?}");
    }
}

#[test]
fn a_moment_within_the_window_stays_when_the_same_window_is_told_again() {
    let mut schedule = held(days(90));
    let window = Window {
        start_s: NOW_S + 10 * DAY_S,
        end_s: NOW_S + 20 * DAY_S,
    };
    schedule.on_window(Some((window, DAY_S)), NOW_S, Jitter(0.5));
    schedule.on_window(Some((window, DAY_S)), NOW_S, Jitter(0.1));
    assert_eq!(schedule.held.unwrap().renew_at_s, NOW_S + 15 * DAY_S);
}

#[test]
fn waits_double_up_to_their_longest() {
    for (setback, first_s, longest_s) in [
        (Setback::Unreachable, 30, HOUR_S),
        (Setback::Refused, 5 * MINUTE_S, 12 * HOUR_S),
        (Setback::NoRoom, 30, 10 * MINUTE_S),
        (Setback::Wasted, HOUR_S, 12 * HOUR_S),
    ] {
        let mut schedule = Schedule::new(None, None, NONE);
        let (mut now_s, mut expected_s) = (NOW_S, first_s);
        for _ in 0..40 {
            schedule.on_setback(setback, now_s, NONE);
            assert_eq!(until(&schedule, now_s), now_s + expected_s, "{setback:?}");
            now_s += expected_s;
            expected_s = (expected_s * 2).min(longest_s);
        }
    }
}

#[test]
fn what_the_authority_says_about_coming_back_is_obeyed_within_reason() {
    for (after_s, expected_s) in [
        (0, MINUTE_S),
        (90 * MINUTE_S, 90 * MINUTE_S),
        (168 * HOUR_S, 168 * HOUR_S),
        (u64::MAX, 168 * HOUR_S),
    ] {
        let mut schedule = Schedule::new(None, None, NONE);
        schedule.on_setback(Setback::Told { after_s }, NOW_S, NONE);
        assert_eq!(
            until(&schedule, NOW_S),
            NOW_S + expected_s,
            "told {after_s}"
        );
    }
}

#[test]
fn a_refused_renewal_is_tried_more_often_towards_the_end() {
    let mut schedule = held(days(90));
    for _ in 0..20 {
        schedule.on_setback(Setback::Refused, NOW_S, NONE);
    }
    for (left_s, expected_s) in [
        (29 * DAY_S, 12 * HOUR_S),
        (DAY_S, 3 * HOUR_S),
        (2 * HOUR_S, 15 * MINUTE_S),
        (0, 5 * MINUTE_S),
    ] {
        let now_s = NOW_S + 90 * DAY_S - left_s;
        schedule.on_setback(Setback::Refused, now_s, NONE);
        assert_eq!(until(&schedule, now_s), now_s + expected_s, "{left_s} left");
    }
}

#[test]
fn a_new_start_tries_again_at_once_but_not_for_ever() {
    let told = Setback::Told { after_s: HOUR_S };
    for (setback, failures, expected_s) in [
        (Setback::Unreachable, 20, 0),
        (Setback::Refused, 1, 0),
        (Setback::Refused, 3, 0),
        (Setback::Refused, 4, HOUR_S),
        (told, 1, HOUR_S),
        (Setback::NoRoom, 20, 0),
        (Setback::Interrupted, 3, 0),
        (Setback::Interrupted, 4, HOUR_S),
        (Setback::Wasted, 1, HOUR_S),
        (Setback::Wasted, 2, 2 * HOUR_S),
    ] {
        let mut before = Schedule::new(None, None, NONE);
        let trouble = (0..failures)
            .map(|_| before.on_setback(setback, NOW_S, NONE))
            .last();
        let after = Schedule::new(None, trouble, NONE);
        let waits_s = match after.next(NOW_S) {
            Step::Wait { until_s } => until_s - NOW_S,
            _ => 0,
        };
        assert_eq!(waits_s, expected_s, "{setback:?}, {failures} times");
    }
}

/// A process that ends in the middle of each order: what was noted before holds at the next start, and the longer a
/// process lives the less it may order.
#[test]
fn orders_whose_end_is_not_known_are_bounded_by_time_and_not_by_starts() {
    for (reach, hours, most) in [
        (Reach::Begun, 1, 4),
        (Reach::Begun, 24, 4 * 24),
        (Reach::Issuing, 1, 1),
        (Reach::Issuing, 24, 5),
        (Reach::Issuing, 7 * 24, 17),
    ] {
        let (mut trouble, mut orders) = (None, 0);
        for second in 0..hours * HOUR_S {
            let schedule = Schedule::new(None, trouble.clone(), NONE);
            if schedule.next(NOW_S + second) == Step::Order {
                trouble = Some(schedule.foresee(reach, NOW_S + second, NONE));
                orders += 1;
            }
        }
        assert_eq!(orders, most, "{reach:?} within {hours} h");
    }
}

#[test]
fn that_there_is_no_room_is_told_once_and_again_when_it_gets_worse() {
    let mut schedule = held(days(90));
    let mut told = Vec::new();
    for day in 60..95 {
        let now_s = NOW_S + day * DAY_S;
        for _ in 0..10 {
            if !schedule.is_told(Setback::NoRoom, now_s) {
                told.push(day);
            }
            schedule.on_setback(Setback::NoRoom, now_s, NONE);
        }
    }
    assert_eq!(told, [60, 76, 90]);
    assert!(!schedule.is_told(Setback::Refused, NOW_S + 95 * DAY_S));
    schedule.on_setback(Setback::Refused, NOW_S + 95 * DAY_S, NONE);
    assert!(!schedule.is_told(Setback::NoRoom, NOW_S + 95 * DAY_S));
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_attempts() {
    let mut schedule = Schedule::new(None, None, NONE);
    let told = Setback::Told { after_s: 7 * DAY_S };
    let trouble = schedule.on_setback(told, NOW_S + 1000 * DAY_S, NONE);
    assert_eq!(
        Schedule::new(None, Some(trouble), NONE).next(NOW_S),
        Step::Order
    );
}

#[test]
fn the_alarm_rises_as_the_end_comes_near() {
    let schedule = held(days(90));
    for (day, expected) in [
        (60, Alarm::Low),
        (74, Alarm::Low),
        (76, Alarm::High),
        (89, Alarm::High),
        (90, Alarm::Without),
    ] {
        assert_eq!(schedule.alarm(NOW_S + day * DAY_S), expected, "day {day}");
    }
    assert_eq!(Schedule::new(None, None, NONE).alarm(NOW_S), Alarm::Without);
}

#[test]
fn trouble_is_stored_as_it_was() {
    for setback in [
        Setback::Refused,
        Setback::Told { after_s: 7 },
        Setback::Wasted,
    ] {
        let trouble = Schedule::new(None, None, NONE).on_setback(setback, NOW_S, ALL);
        let text = serde_json::to_string(&trouble).unwrap();
        assert_eq!(serde_json::from_str::<Trouble>(&text).unwrap(), trouble);
    }
}

/// What an authority does with an order.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Issues { life_s: u64 },
    Fails(Setback),
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        1 => (DAY_S..400 * DAY_S).prop_map(|life_s| Answer::Issues { life_s }),
        1 => Just(Answer::Fails(Setback::Unreachable)),
        8 => Just(Answer::Fails(Setback::Refused)),
        1 => (0..DAY_S).prop_map(|after_s| Answer::Fails(Setback::Told { after_s })),
    ]
}

/// A server on a virtual clock: it does what its schedule says, and is started anew now and then.
struct World {
    now_s: u64,
    schedule: Schedule,
    held: Option<Validity>,
    trouble: Option<Trouble>,
}

impl World {
    fn new() -> Self {
        Self {
            now_s: NOW_S,
            schedule: Schedule::new(None, None, NONE),
            held: None,
            trouble: None,
        }
    }

    fn restart(&mut self, jitter: Jitter) {
        self.schedule = Schedule::new(self.held, self.trouble.clone(), jitter);
    }

    /// Goes on to the next order.
    fn wait(&mut self, jitter: Jitter) {
        loop {
            match self.schedule.next(self.now_s) {
                Step::Order => return,
                Step::AskWindow => self.schedule.on_window(None, self.now_s, jitter),
                Step::Wait { until_s } => {
                    assert!(until_s > self.now_s, "waits for what has passed");
                    self.now_s = until_s;
                }
            }
        }
    }

    fn order(&mut self, answer: Answer, jitter: Jitter) {
        match answer {
            Answer::Issues { life_s } => {
                let validity = Validity {
                    not_before_s: self.now_s,
                    not_after_s: self.now_s + life_s,
                };
                (self.held, self.trouble) = (Some(validity), None);
                self.schedule.on_issued(validity, self.now_s, jitter);
            }
            Answer::Fails(setback) => {
                self.trouble = Some(self.schedule.on_setback(setback, self.now_s, jitter));
            }
        }
    }
}

proptest! {
    /// Whatever the authority says and however often the server is started anew: it is left alone for as long as it
    /// asked, and never refuses five times in an hour, after which Let's Encrypt would lock a name out.
    #[test]
    fn the_authority_is_left_alone_as_it_wants(
        answers in prop::collection::vec((answers(), any::<bool>(), 0.0..1.0), 1..60),
    ) {
        let mut world = World::new();
        let mut refused = Vec::new();
        let mut not_before_s = 0;
        for (answer, restarts, jitter) in answers {
            let jitter = Jitter(jitter);
            if restarts {
                world.restart(jitter);
            }
            world.wait(jitter);
            prop_assert!(world.now_s >= not_before_s, "came back too early");
            if let Answer::Fails(Setback::Told { after_s }) = answer {
                not_before_s = world.now_s + after_s;
            }
            if let Answer::Fails(Setback::Refused) = answer {
                refused.push(world.now_s);
            }
            world.order(answer, jitter);
        }
        for five in refused.windows(5) {
            prop_assert!(five[4] - five[0] >= HOUR_S, "five refusals within an hour: {five:?}");
        }
    }

    /// With an authority that issues, a certificate is never used to its last third, nor renewed before half of its life.
    #[test]
    fn each_certificate_is_renewed_in_time_and_not_too_often(
        lives in prop::collection::vec((HOUR_S..400 * DAY_S, 0.0..1.0, any::<bool>()), 2..20),
    ) {
        let mut world = World::new();
        for (life_s, jitter, restarts) in lives {
            let jitter = Jitter(jitter);
            if restarts {
                world.restart(jitter);
            }
            world.wait(jitter);
            if let Some(held) = world.held {
                let used_s = world.now_s - held.not_before_s;
                prop_assert!(used_s >= held.life_s() / 2, "renewed after {used_s} of {}", held.life_s());
                prop_assert!(held.not_after_s - world.now_s >= held.life_s() / 3);
            }
            world.order(Answer::Issues { life_s }, jitter);
        }
    }

    /// An authority that is down for a while costs no certificate: attempts go on, at least one in each hour and a half.
    #[test]
    fn an_authority_that_comes_back_is_noticed(down in 1usize..200, jitter in 0.0..1.0) {
        let mut world = World::new();
        for _ in 0..down {
            world.wait(Jitter(jitter));
            let before_s = world.now_s;
            world.order(Answer::Fails(Setback::Unreachable), Jitter(jitter));
            world.wait(Jitter(jitter));
            prop_assert!(world.now_s - before_s <= HOUR_S * 3 / 2);
        }
    }
}
