//! How a line ends, and what follows: a wait, the end, or giving up.

use super::*;

#[test]
fn the_end_of_a_line_decides_what_follows() {
    enum Then {
        Jitter,
        Exactly(u64),
        AtLeast(u64),
        Closed,
        GiveUp,
    }
    for (wire, signal, then) in [
        (Wire::WebSocket, lost(), Then::Jitter),
        (Wire::WebSocket, Signal::Ended(Cause::Ended), Then::Jitter),
        (Wire::WebSocket, Signal::Closed, Then::Closed),
        (
            Wire::WebSocket,
            Signal::Drain(Duration::from_secs(3)),
            Then::Exactly(3),
        ),
        (
            Wire::Ndjson,
            Signal::Drain(Duration::from_secs(u64::MAX)),
            Then::Exactly(3600),
        ),
        (Wire::WebSocket, closed_by_server(1000), Then::Closed),
        (Wire::WebSocket, closed_by_server(1001), Then::Jitter),
        (Wire::WebSocket, closed_by_server(1013), Then::Jitter),
        (Wire::WebSocket, closed_by_server(4408), Then::Jitter),
        (Wire::WebSocket, closed_by_server(4429), Then::Jitter),
        (Wire::WebSocket, closed_by_server(4400), Then::GiveUp),
        (Wire::WebSocket, closed_by_server(4401), Then::GiveUp),
        (Wire::WebSocket, closed_by_server(4402), Then::GiveUp),
        (Wire::WebSocket, closed_by_server(4403), Then::GiveUp),
        (Wire::WebSocket, closed_by_server(4410), Then::GiveUp),
        (
            Wire::EventStream,
            Signal::Failed(ReadError::TooLarge { bytes_max: 1 }),
            Then::GiveUp,
        ),
        (Wire::EventStream, refused(503, None), Then::Jitter),
        (Wire::EventStream, refused(429, Some(9)), Then::AtLeast(9)),
        (Wire::EventStream, refused(401, None), Then::GiveUp),
        (Wire::EventStream, refused(410, None), Then::GiveUp),
        (Wire::Polling, refused(500, None), Then::Jitter),
        (Wire::Polling, refused(404, None), Then::Jitter),
        (Wire::Polling, refused(302, None), Then::GiveUp),
        (
            Wire::LongPoll,
            Signal::Page(Page {
                closed: true,
                ..page(&[], "a1")
            }),
            Then::Closed,
        ),
    ] {
        let mut course = Course::asked(wire, after("a1"));
        course.hear(signal.clone());
        let told = course.told();
        let now = course.now;
        match (then, course.plan.step(now)) {
            (Then::Jitter, Step::Wait(until)) => assert!(until - now < Duration::from_millis(1000)),
            (Then::Exactly(s), Step::Wait(until)) => {
                assert_eq!((until - now).as_secs_f64(), s as f64);
            }
            (Then::AtLeast(s), Step::Wait(until)) => {
                let jitter = (until - now)
                    .checked_sub(Duration::from_secs(s))
                    .expect("long enough");
                assert!(jitter < Duration::from_millis(1000));
            }
            (Then::Closed, Step::Ended(None)) => {
                assert_eq!(told.last().map(String::as_str), Some("closed"));
            }
            (Then::GiveUp, Step::Ended(Some(_))) => assert_eq!(told, [""; 0]),
            (_, step) => panic!("{wire} after {signal:?}: {step:?}"),
        }
    }
}

#[test]
fn an_event_stream_that_is_ended_comes_back_at_its_reconnection_time() {
    let mut course = Course::asked(Wire::EventStream, after("a1"));
    let retry = |ms| Signal::Retry(Duration::from_millis(ms));
    course
        .hear(Signal::Opened(None))
        .hear(retry(2000))
        .hear(retry(700))
        .hear(Signal::Ended(Cause::Ended));
    assert_eq!(course.wait(), Duration::from_millis(700));
    // The time belongs to the line that told it.
    course.ask();
    course
        .hear(Signal::Opened(None))
        .hear(Signal::Ended(Cause::Ended));
    assert_ne!(course.wait(), Duration::from_millis(700));
}

#[test]
fn waits_grow_until_something_is_heard() {
    let mut course = Course::asked(Wire::WebSocket, after("a1"));
    let mut longest = Duration::ZERO;
    for failed in 0..12 {
        course.hear(lost());
        let wait = course.wait();
        assert!(
            wait <= Duration::from_millis(1000 << failed).min(Duration::from_secs(30)),
            "{wait:?} after {failed}"
        );
        longest = longest.max(wait);
        course.ask();
    }
    assert!(
        longest > Duration::from_secs(5),
        "the longest wait was {longest:?}"
    );
    course
        .hear(Signal::Opened(None))
        .hear(Signal::Alive)
        .hear(lost());
    assert!(
        course.wait() <= Duration::from_millis(1000),
        "something was heard"
    );
}

#[test]
fn a_line_that_lives_for_a_while_counts_as_success() {
    for (lived_s, expected_max_ms) in [(1, 30_000), (5, 1000)] {
        let mut waits = Vec::new();
        for seed in 0..20 {
            let mut course = Course::asked(Wire::WebSocket, after("a1"));
            course.plan.rng = Rng::with_seed(seed);
            for _ in 0..10 {
                course.hear(lost()).ask();
            }
            course
                .hear(Signal::Opened(None))
                .pass(Duration::from_secs(lived_s))
                .hear(lost());
            waits.push(course.wait().as_millis());
        }
        let longest = *waits.iter().max().unwrap();
        assert!(longest <= expected_max_ms, "lived {lived_s} s");
        assert!(
            longest > expected_max_ms / 2,
            "lived {lived_s} s, and waits {longest} ms at most"
        );
    }
}

#[test]
fn silence_is_taken_for_a_dead_line() {
    for (wire, open_s) in [
        (Wire::WebSocket, 10),
        (Wire::EventStream, 10),
        (Wire::Polling, 10),
    ] {
        let mut course = Course::asked(wire, after("a1"));
        assert_eq!(course.patience().as_secs(), open_s, "{wire}");
        course
            .hear(Signal::Opened(None))
            .pass(Duration::from_secs(59));
        assert_eq!(course.patience().as_secs(), 1, "{wire}");
        course.hear(Signal::Alive);
        assert_eq!(course.patience().as_secs(), 60, "{wire}");
        course.pass(Duration::from_secs(60));
        course.plan.handle_timeout(course.now);
        assert_eq!(
            course.told()[1],
            "disconnected: nothing was heard for too long"
        );
    }
    // A long poll is answered when there is something.
    let mut course = Course::asked(Wire::LongPoll, after("a1"));
    course.hear(Signal::Page(page(&[], "a1"))).ask();
    assert_eq!(course.patience().as_secs(), 60);
}

#[test]
fn the_time_that_a_caller_takes_is_no_silence() {
    let mut course = Course::asked(Wire::Ndjson, after("a1"));
    course
        .hear(Signal::Entry(entry("a2")))
        .pass(Duration::from_secs(10));
    course
        .pass(Duration::from_secs(3600))
        .plan
        .excuse(Duration::from_secs(3600));
    assert_eq!(course.patience().as_secs(), 50);
}

#[test]
fn a_timeout_that_comes_early_changes_nothing() {
    let mut course = Course::asked(Wire::WebSocket, after("a1"));
    let now = course.now + Duration::from_millis(9_999);
    course.plan.handle_timeout(now);
    assert_eq!(course.told(), [""; 0]);
    assert_eq!(course.patience().as_secs(), 10);
}
