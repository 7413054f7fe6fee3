//! The course of a reader on a virtual clock.

mod endings;
mod promise;

use super::*;
use crate::Data;

/// A plan, its clock, and what it does, as words.
struct Course {
    plan: Plan,
    now: Instant,
}

impl Course {
    fn new(wire: Wire, start: Start) -> Self {
        Self {
            plan: Plan::new(ReaderOptions::default(), wire, start, 7),
            now: Instant::now(),
        }
    }

    /// A course whose first question was asked.
    fn asked(wire: Wire, start: Start) -> Self {
        let mut course = Self::new(wire, start);
        course.ask();
        course
    }

    /// What the plan asks now, or asks after the wait that it wants.
    fn ask(&mut self) -> String {
        loop {
            match self.plan.step(self.now) {
                Step::Ask(Ask { start, form }) => {
                    return format!("{form:?} {}", start.parameter().1);
                }
                Step::Wait(until) => self.now = until,
                step @ (Step::Listen(_) | Step::Ended(_)) => {
                    panic!("{step:?} instead of a question")
                }
            }
        }
    }

    fn wait(&mut self) -> Duration {
        match self.plan.step(self.now) {
            Step::Wait(until) => until - self.now,
            step => panic!("{step:?} instead of a wait"),
        }
    }

    fn patience(&mut self) -> Duration {
        match self.plan.step(self.now) {
            Step::Listen(until) => until - self.now,
            step => panic!("{step:?} instead of a line to listen to"),
        }
    }

    fn hear(&mut self, signal: Signal) -> &mut Self {
        self.plan.handle(signal, self.now);
        self
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// What the caller is told, in short.
    fn told(&mut self) -> Vec<String> {
        let short = |item| match item {
            Item::Entry(Entry { offset, .. }) => {
                offset.map_or("?".into(), |offset| offset.to_string())
            }
            Item::Unreadable(unreadable) => format!("unreadable {:?}", unreadable.offset),
            Item::Gap(gap) => format!("gap {}", gap.oldest),
            Item::Closed => "closed".into(),
            Item::Connected(wire) => format!("connected {wire}"),
            Item::Disconnected { cause, .. } => format!("disconnected: {cause}"),
        };
        std::iter::from_fn(|| self.plan.poll_item())
            .map(short)
            .collect()
    }
}

fn offset(token: &str) -> Offset {
    token.parse().unwrap()
}

fn after(token: &str) -> Start {
    Start::After(offset(token))
}

fn entry(token: &str) -> Entry {
    let data = Data::Text(token.into());
    Entry {
        offset: Some(offset(token)),
        time_ms: None,
        event: None,
        data,
    }
}

fn gap(oldest: &str, newest: &str) -> Gap {
    Gap {
        oldest: offset(oldest),
        newest: offset(newest),
    }
}

fn page(entries: &[&str], next: &str) -> Page {
    let entries = entries.iter().map(|token| entry(token)).collect();
    Page {
        entries,
        next: Some(offset(next)),
        up_to_date: true,
        ..Page::default()
    }
}

fn refused(status: u16, retry_after: Option<u64>) -> Signal {
    let retry_after = retry_after.map(Duration::from_secs);
    Signal::Refused(Refusal {
        status,
        detail: "no".into(),
        retry_after,
        gap: None,
        problem: None,
    })
}

fn lost() -> Signal {
    Signal::Ended(Cause::Lost("cut".into()))
}

fn closed_by_server(code: u16) -> Signal {
    Signal::Ended(Cause::Closed {
        code,
        reason: "because".into(),
    })
}

const CATCH_UP: &str = "CatchUp { etag: None }";
const LONG_POLL: &str = "LongPoll { cursor: None }";

#[test]
fn each_wire_asks_first_in_its_own_way() {
    for (wire, start, expected) in [
        (Wire::WebSocket, Start::Now, "WebSocket now".to_owned()),
        (Wire::WebSocket, Start::Last(3), "WebSocket 3".to_owned()),
        (
            Wire::EventStream,
            Start::Beginning,
            "EventStream -1".to_owned(),
        ),
        (Wire::Ndjson, after("a1"), "Ndjson a1".to_owned()),
        // Here `now` has to become an offset first.
        (Wire::EventStream, Start::Now, format!("{CATCH_UP} now")),
        (Wire::Ndjson, Start::Now, format!("{CATCH_UP} now")),
        (Wire::LongPoll, Start::Now, format!("{CATCH_UP} now")),
        (Wire::Polling, after("a1"), format!("{CATCH_UP} a1")),
    ] {
        assert_eq!(
            Course::new(wire, start.clone()).ask(),
            expected,
            "{wire} from {start:?}"
        );
    }
}

#[test]
fn now_is_made_an_offset_before_a_stream_is_opened() {
    let mut course = Course::asked(Wire::Ndjson, Start::Now);
    course.hear(Signal::Page(page(&[], "a5")));
    assert_eq!(course.ask(), "Ndjson a5");
    // Cut before the first entry, it still reads from what was now.
    course.hear(Signal::Opened(None)).hear(lost());
    assert_eq!(course.ask(), "Ndjson a5");
}

#[test]
fn a_welcome_tells_which_offset_now_is() {
    let mut course = Course::asked(Wire::WebSocket, Start::Now);
    course.hear(Signal::Opened(Some(offset("a5")))).hear(lost());
    assert_eq!(course.ask(), "WebSocket a5");
}

#[test]
fn a_welcome_beyond_our_offset_does_not_hide_the_gap_before_it() {
    let mut course = Course::asked(Wire::WebSocket, after("a1"));
    course.hear(Signal::Opened(Some(offset("a7")))).hear(lost());
    assert_eq!(course.ask(), "WebSocket a1");
    course
        .hear(Signal::Opened(Some(offset("a7"))))
        .hear(Signal::Gap(gap("a7", "a9")));
    assert_eq!(course.told().last().map(String::as_str), Some("gap a7"));
    course.hear(lost());
    assert_eq!(course.ask(), "WebSocket a7");
}

/// What an entry's text stands for, JSON, bytes or text, is in the head of the stream alone.
#[test]
fn a_stream_that_was_opened_before_its_channel_had_a_type_is_opened_anew() {
    let mut course = Course::asked(Wire::EventStream, after("a1"));
    course
        .hear(Signal::Opened(None))
        .hear(Signal::Untyped(entry("a2")))
        // It came with it, and will come again.
        .hear(Signal::Untyped(entry("a3")));
    assert_eq!(course.told(), ["connected event-stream"]);
    assert_eq!(course.ask(), "EventStream a1");
    course
        .hear(Signal::Opened(None))
        .hear(Signal::Entry(entry("a2")))
        .hear(lost());
    assert_eq!(course.told()[0], "a2");
    // A server that was started anew may know no type again.
    assert_eq!(course.ask(), "EventStream a2");
    course.hear(Signal::Untyped(entry("b1")));
    assert_eq!(course.ask(), "EventStream a2");
}

#[test]
fn the_entries_of_a_server_that_tells_no_types_are_text() {
    let mut course = Course::asked(Wire::EventStream, after("a1"));
    course.hear(Signal::Untyped(entry("a2")));
    course.ask();
    course
        .hear(Signal::Untyped(entry("a2")))
        .hear(Signal::Untyped(entry("a3")));
    assert_eq!(course.told(), ["connected event-stream", "a2", "a3"]);
}

#[test]
fn a_reader_resumes_after_the_last_entry_or_gap() {
    for wire in [Wire::WebSocket, Wire::EventStream, Wire::Ndjson] {
        let mut course = Course::asked(wire, Start::Beginning);
        course
            .hear(Signal::Opened(None))
            .hear(Signal::Entry(entry("a1")))
            .hear(Signal::Entry(entry("a2")))
            .hear(lost());
        assert!(course.ask().ends_with(" a2"));
        course.hear(Signal::Gap(gap("a7", "a9"))).hear(lost());
        assert!(course.ask().ends_with(" a7"));
        let connected = format!("connected {wire}");
        let told = [
            &connected,
            "a1",
            "a2",
            "disconnected: the connection broke: cut",
            &connected,
            "gap a7",
        ];
        assert_eq!(course.told()[..6], told);
    }
}

#[test]
fn a_long_poll_catches_up_first_and_then_waits() {
    let mut course = Course::asked(Wire::LongPoll, Start::Beginning);
    let behind = Page {
        up_to_date: false,
        ..page(&["a1"], "a1")
    };
    course.hear(Signal::Page(behind));
    assert_eq!(course.ask(), format!("{CATCH_UP} a1"));
    course.hear(Signal::Page(page(&["a2"], "a2")));
    assert_eq!(course.ask(), format!("{LONG_POLL} a2"));
    let cursor = Some("17".to_owned());
    course.hear(Signal::Page(Page {
        cursor,
        ..page(&["a3"], "a3")
    }));
    assert_eq!(course.ask(), "LongPoll { cursor: Some(\"17\") } a3");
    course.hear(lost());
    assert_eq!(course.ask(), format!("{CATCH_UP} a3"));
    let lost = "disconnected: the connection broke: cut";
    assert_eq!(
        course.told(),
        ["connected long-poll", "a1", "a2", "a3", lost]
    );
}

#[test]
fn empty_answers_to_long_polls_are_a_second_apart() {
    for (answered_after_ms, wait_ms) in [(0, 1000), (400, 600), (25_000, 0)] {
        let mut course = Course::asked(Wire::LongPoll, after("a1"));
        course.hear(Signal::Page(page(&[], "a1")));
        assert_eq!(course.ask(), format!("{LONG_POLL} a1"));
        course
            .pass(Duration::from_millis(answered_after_ms))
            .hear(Signal::Page(page(&[], "a1")));
        let answered = course.now;
        course.ask();
        assert_eq!(
            (course.now - answered).as_millis(),
            wait_ms,
            "answered after {answered_after_ms} ms"
        );
    }
}

#[test]
fn polling_pauses_at_the_tail_and_lets_caches_answer() {
    let mut course = Course::asked(Wire::Polling, Start::Beginning);
    let etag = Some("\"x\"".to_owned());
    course.hear(Signal::Page(Page {
        up_to_date: false,
        etag: etag.clone(),
        ..page(&["a1"], "a1")
    }));
    // More is there: at once, and the tag of another page is of no use.
    assert_eq!(
        course.plan.step(course.now),
        Step::Ask(Ask {
            start: after("a1"),
            form: Form::CatchUp { etag: None }
        })
    );
    course.hear(Signal::Page(Page {
        etag,
        ..page(&[], "a1")
    }));
    assert_eq!(course.wait(), Duration::from_secs(2));
    assert_eq!(course.ask(), "CatchUp { etag: Some(\"\\\"x\\\"\") } a1");
    // 304: nothing changed, the tag stays.
    course.hear(Signal::Page(Page {
        up_to_date: true,
        ..Page::default()
    }));
    assert_eq!(course.ask(), "CatchUp { etag: Some(\"\\\"x\\\"\") } a1");
}

#[test]
fn a_channel_that_is_not_there_yet_is_waited_for() {
    for (wire, next) in [
        (Wire::EventStream, "EventStream -1".to_owned()),
        (Wire::Ndjson, "Ndjson -1".to_owned()),
        (Wire::LongPoll, format!("{LONG_POLL} -1")),
        (Wire::Polling, format!("{CATCH_UP} -1")),
    ] {
        let mut course = Course::asked(wire, Start::Now);
        course.hear(refused(404, None));
        assert_eq!(course.ask(), next);
    }
}

#[test]
fn a_channel_that_no_live_read_makes_ends_the_reader() {
    for (wire, start) in [
        (Wire::LongPoll, after("a1")),
        (Wire::Ndjson, Start::Beginning),
        (Wire::WebSocket, Start::Now),
    ] {
        let mut course = Course::asked(wire, start);
        if wire == Wire::LongPoll {
            course.hear(refused(404, None));
            assert_eq!(course.ask(), format!("{LONG_POLL} a1"));
        }
        course.hear(refused(404, None));
        let error = ReadError::Refused {
            status: 404,
            detail: "no".into(),
        };
        assert_eq!(course.plan.step(course.now), Step::Ended(Some(error)));
        assert_eq!(
            course.plan.step(course.now),
            Step::Ended(None),
            "an error is told once"
        );
    }
}

#[test]
fn a_gap_over_polls_is_told_and_read_on() {
    let mut course = Course::asked(Wire::LongPoll, after("a1"));
    let gone = |oldest| {
        Signal::Refused(Refusal {
            status: 410,
            detail: "gone".into(),
            retry_after: None,
            gap: Some(gap(oldest, "a9")),
            problem: None,
        })
    };
    course.hear(gone("a7"));
    assert_eq!(
        course.plan.step(course.now),
        Step::Ask(Ask {
            start: after("a7"),
            form: Form::CatchUp { etag: None }
        })
    );
    assert_eq!(course.told(), ["connected long-poll", "gap a7"]);
    // The same again would go round for ever.
    course.hear(gone("a7"));
    assert!(course.told()[0].contains("came twice"));
    assert!(course.wait() > Duration::ZERO);
}

#[test]
fn a_change_of_wire_keeps_the_position_and_does_not_wait() {
    let mut course = Course::asked(Wire::WebSocket, after("a1"));
    course
        .hear(Signal::Opened(None))
        .hear(Signal::Entry(entry("a2")))
        .hear(lost());
    for wire in [
        Wire::EventStream,
        Wire::Polling,
        Wire::Ndjson,
        Wire::LongPoll,
    ] {
        course.plan.switch(wire);
        let Step::Ask(ask) = course.plan.step(course.now) else {
            panic!("{wire} is not asked at once")
        };
        assert_eq!(ask.start, after("a2"));
    }
    course.hear(Signal::Page(page(&["a3"], "a3")));
    let told = course.told();
    assert_eq!(told[told.len() - 2..], ["connected long-poll", "a3"]);
}

#[test]
fn what_comes_out_of_order_is_never_told() {
    for signal in [
        Signal::Entry(entry("a2")),
        Signal::Entry(entry("a1")),
        Signal::Page(page(&["a1", "a2"], "a2")),
    ] {
        let mut course = Course::asked(Wire::WebSocket, after("a2"));
        course.hear(signal.clone());
        let told = course.told();
        assert!(
            told.len() == 1 && told[0].contains("out of order"),
            "{signal:?} told {told:?}"
        );
        assert!(course.ask().ends_with(" a2"));
    }
}

#[test]
fn a_stale_tail_does_not_move_the_position_back() {
    let mut course = Course::asked(Wire::Polling, after("a5"));
    course.hear(Signal::Page(page(&[], "a3")));
    assert_eq!(course.ask(), format!("{CATCH_UP} a5"));
}

#[test]
fn nothing_happens_after_the_end() {
    let mut course = Course::asked(Wire::WebSocket, after("a1"));
    course
        .hear(Signal::Closed)
        .hear(closed_by_server(1000))
        .hear(Signal::Entry(entry("a2")));
    course.plan.cut(course.now);
    course.plan.switch(Wire::Polling);
    course
        .plan
        .handle_timeout(course.now + Duration::from_secs(99));
    assert_eq!(course.told(), ["closed"]);
    assert_eq!(course.plan.step(course.now), Step::Ended(None));
}

#[test]
fn what_cannot_be_read_is_told_in_its_place_and_passed_over() {
    let unreadable = |token: Option<&str>| {
        Signal::Unreadable(Unreadable {
            offset: token.map(offset),
            problem: "no base64".into(),
        })
    };
    let mut course = Course::asked(Wire::Ndjson, after("a1"));
    course
        .hear(Signal::Opened(None))
        .hear(unreadable(Some("a2")))
        .hear(Signal::Entry(entry("a3")))
        .hear(unreadable(None));
    let expected = [
        "connected ndjson",
        "unreadable Some(a2)",
        "a3",
        "unreadable None",
    ];
    assert_eq!(course.told(), expected);
    // It does not come again.
    course.hear(lost());
    assert_eq!(course.ask(), "Ndjson a3");
    course
        .hear(Signal::Opened(None))
        .hear(unreadable(Some("a4")))
        .hear(lost());
    assert_eq!(course.ask(), "Ndjson a4");

    // What begins so is not from a server of ours.
    let mut course = Course::asked(Wire::WebSocket, after("a1"));
    course.hear(unreadable(Some("a2")));
    assert!(course.told()[0].starts_with("disconnected: the answer is not"));
    assert_eq!(course.ask(), "WebSocket a1");
}
