//! Readers and publishers against a server that cuts its connections.

mod fake;

use std::time::Duration;

use everwire_client::{
    Backoff, Cause, Gap, Item, PublishError, Publisher, PublisherOptions, ReadError, Reader,
    ReaderOptions, Start, Wire,
};
use fake::{Fake, offset};
use proptest::prelude::*;

/// No test waits for more than the loopback device.
const AT_ONCE: Backoff = Backoff {
    first: Duration::ZERO,
    max: Duration::ZERO,
};

fn reader(fake: &Fake, wire: Wire, start: Start) -> Reader {
    let options = ReaderOptions {
        backoff: AT_ONCE,
        poll_interval: Duration::ZERO,
        ..ReaderOptions::default()
    };
    Reader::with_options(fake.url.clone(), wire, start, options)
}

/// What a reader yields, in short: the data of an entry, `gap <oldest>`, `closed`.
async fn next(reader: &mut Reader) -> Option<String> {
    loop {
        match reader.next().await.expect("the reader goes on") {
            None => return None,
            Some(Item::Entry(entry)) => {
                return Some(String::from_utf8(entry.data.as_bytes().to_vec()).unwrap());
            }
            Some(Item::Gap(Gap { oldest, .. })) => return Some(format!("gap {oldest}")),
            Some(Item::Closed) => return Some("closed".into()),
            Some(Item::Disconnected {
                cause: Cause::Malformed(problem),
                ..
            }) => panic!("{problem}"),
            Some(_) => {}
        }
    }
}

async fn all(mut reader: Reader) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(item) = next(&mut reader).await {
        all.push(item);
    }
    all
}

const ENTRIES: [&str; 5] = ["1", r#"{"text":"hi"}"#, "null", "[2,3]", "4"];
const READ_TO_THE_END: [&str; 6] = ["1", r#"{"text":"hi"}"#, "null", "[2,3]", "4", "closed"];

#[tokio::test]
async fn each_wire_reads_a_channel_to_its_end() {
    let fake = Fake::start(ENTRIES).await;
    fake.close();
    for wire in Wire::ALL {
        assert_eq!(
            all(reader(&fake, wire, Start::Beginning)).await,
            READ_TO_THE_END,
            "{wire}"
        );
        let after_two = Start::After(offset(2).parse().unwrap());
        assert_eq!(
            all(reader(&fake, wire, after_two)).await,
            READ_TO_THE_END[2..],
            "{wire}"
        );
    }
}

/// The first connection is cut at each byte that it could carry, the second at another, the third at none.
#[tokio::test]
async fn a_cut_at_any_byte_loses_and_repeats_nothing() {
    let fake = Fake::start(ENTRIES).await;
    fake.close();
    for wire in Wire::ALL {
        let mut at = 0;
        loop {
            fake.cut([at, at * 7 % 500]);
            assert_eq!(
                all(reader(&fake, wire, Start::Beginning)).await,
                READ_TO_THE_END,
                "{wire} cut at byte {at}"
            );
            if !fake.has_cut_all() {
                break;
            }
            at += 1;
        }
        assert!(at > 200, "{wire} carried {at} bytes");
        // The cuts of the last round, which nothing met.
        all(reader(&fake, Wire::Polling, Start::Beginning)).await;
    }
}

#[tokio::test]
async fn what_is_published_after_now_is_read_even_if_the_line_is_cut_before() {
    for wire in Wire::ALL {
        let fake = Fake::start(["\"before\""]).await;
        let mut reader = reader(&fake, wire, Start::Now);
        assert_eq!(reader.next().await, Ok(Some(Item::Connected(wire))));
        reader.cut();
        fake.publish("1");
        assert_eq!(next(&mut reader).await.as_deref(), Some("1"), "{wire}");
    }
}

#[tokio::test]
async fn a_gap_is_told_once_and_then_the_oldest_kept_entry() {
    for wire in Wire::ALL {
        let fake = Fake::start(ENTRIES).await;
        fake.close();
        fake.trim(3);
        let read = all(reader(
            &fake,
            wire,
            Start::After(offset(1).parse().unwrap()),
        ))
        .await;
        assert_eq!(read, ["gap a0003", "[2,3]", "4", "closed"], "{wire}");
    }
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    for wire in Wire::ALL {
        let fake = Fake::start(ENTRIES).await;
        fake.close();
        let mut reader = reader(&fake, wire, Start::Beginning);
        let mut read = Vec::new();
        loop {
            // As a caller does who waits for several things at once.
            tokio::select! {
                biased;
                item = next(&mut reader) => match item {
                    Some(item) => read.push(item),
                    None => break,
                },
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(read, READ_TO_THE_END, "{wire}");
    }
}

#[tokio::test]
async fn a_reader_waits_out_a_refusal_for_now() {
    let fake = Fake::start(ENTRIES).await;
    fake.close();
    for wire in Wire::ALL {
        fake.answer(
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
        );
        let mut reader = reader(&fake, wire, Start::Beginning);
        let Ok(Some(Item::Disconnected { cause, .. })) = reader.next().await else {
            panic!("{wire} was not refused")
        };
        assert_eq!(
            cause,
            Cause::Refused {
                status: 503,
                detail: "Service Unavailable".into()
            }
        );
        assert_eq!(all(reader).await, READ_TO_THE_END, "{wire}");
    }
}

#[tokio::test]
async fn a_reader_gives_up_where_the_server_says_no() {
    let fake = Fake::start(ENTRIES).await;
    for wire in Wire::ALL {
        fake.answer(
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 53\r\n\r\n{\"title\":\"no\",\"detail\":\"not permitted; ask for more\"}",
        );
        let mut reader = reader(&fake, wire, Start::Beginning);
        let error = ReadError::Refused {
            status: 403,
            detail: "not permitted; ask for more".into(),
        };
        assert_eq!(reader.next().await, Err(error), "{wire}");
        assert_eq!(reader.next().await, Ok(None), "{wire}");
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_is_not_taken_for_entries() {
    let fake = Fake::start(ENTRIES).await;
    fake.close();
    for wire in [
        Wire::EventStream,
        Wire::Ndjson,
        Wire::LongPoll,
        Wire::Polling,
    ] {
        fake.answer(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
        );
        let mut reader = reader(&fake, wire, Start::Beginning);
        let item = reader.next().await;
        let malformed = matches!(
            &item,
            Ok(Some(Item::Disconnected {
                cause: Cause::Malformed(_),
                ..
            }))
        );
        assert!(malformed, "{wire} yielded {item:?}");
        assert_eq!(all(reader).await, READ_TO_THE_END, "{wire}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left() {
    for wire in Wire::ALL {
        let options = ReaderOptions {
            backoff: AT_ONCE,
            open_timeout: Duration::from_millis(1),
            silence: Duration::from_millis(1),
            ..ReaderOptions::default()
        };
        // Nobody accepts here, so nothing is ever answered.
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/channels/test", deaf.local_addr().unwrap());
        let start = Start::After(offset(1).parse().unwrap());
        let mut reader = Reader::with_options(url.parse().unwrap(), wire, start, options);
        let Ok(Some(Item::Disconnected { cause, .. })) = reader.next().await else {
            panic!("{wire} heard something")
        };
        assert_eq!(cause, Cause::Silent, "{wire}");
    }
}

#[tokio::test]
async fn what_a_line_says_after_it_was_left_is_asked_for_again() {
    let fake = Fake::start(ENTRIES).await;
    fake.close();
    fake.answer(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n\
         {\"drain\":{\"after_ms\":0}}\n{\"offset\":\"a0001\",\"data\":1}\n{\"offset\":\"a0002\",\"data\":2}\n",
    );
    assert_eq!(
        all(reader(&fake, Wire::Ndjson, Start::Beginning)).await,
        READ_TO_THE_END
    );
}

#[tokio::test]
async fn a_slow_caller_is_no_silent_server() {
    for wire in Wire::ALL {
        let fake = Fake::start(ENTRIES).await;
        fake.close();
        let mut reader = reader(&fake, wire, Start::Beginning);
        let mut entries = 0;
        while let Some(item) = reader.next().await.unwrap() {
            assert!(
                !matches!(item, Item::Disconnected { .. }),
                "{item:?} over {wire}"
            );
            entries += usize::from(matches!(item, Item::Entry(_)));
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(3600)).await;
            tokio::time::resume();
        }
        assert_eq!(entries, ENTRIES.len(), "{wire}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish,
    Read,
    Cut,
    Switch(Wire),
    CutByServer(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Publish),
        4 => Just(Step::Read),
        2 => Just(Step::Cut),
        2 => prop::sample::select(&Wire::ALL[..]).prop_map(Step::Switch),
        2 => (0..600usize).prop_map(Step::CutByServer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The promise of a reader: each entry once and in order, whatever is cut, whoever cuts it, over
    /// whatever wires.
    #[test]
    fn each_entry_is_read_once_and_in_order(
        steps in prop::collection::vec(any_step(), 0..40),
        wire in prop::sample::select(&Wire::ALL[..]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fake = Fake::start([]).await;
            let mut reader = reader(&fake, wire, Start::Beginning);
            let mut read = Vec::new();
            for step in steps {
                match step {
                    Step::Publish => fake.publish(&fake.entries().len().to_string()),
                    // Only where something is there to be read, for nobody else publishes.
                    Step::Read if read.len() < fake.entries().len() => read.extend(next(&mut reader).await),
                    Step::Read => {}
                    Step::Cut => reader.cut(),
                    Step::Switch(wire) => reader.switch(wire),
                    Step::CutByServer(at) => fake.cut([at]),
                }
            }
            fake.close();
            read.extend(all(reader).await);
            let mut expected = fake.entries();
            expected.push("closed".into());
            assert_eq!(read, expected);
        });
    }
}

fn publisher(fake: &Fake) -> Publisher {
    let options = PublisherOptions {
        backoff: AT_ONCE,
        ..PublisherOptions::default()
    };
    Publisher::with_options(fake.url.clone(), options)
}

#[tokio::test]
async fn a_message_is_published_once_wherever_the_answer_is_cut() {
    let mut at = 0;
    loop {
        let fake = Fake::start([]).await;
        fake.cut([at, at / 2]);
        let mut publisher = publisher(&fake);
        let receipts = [
            publisher.publish("1".into()).await.unwrap().offset,
            publisher.publish("2".into()).await.unwrap().offset,
        ];
        assert_eq!(
            receipts.map(|offset| offset.to_string()),
            [offset(1), offset(2)],
            "cut at byte {at}"
        );
        assert_eq!(fake.entries(), ["1", "2"], "cut at byte {at}");
        if !fake.has_cut_all() {
            break;
        }
        at += 1;
    }
    assert!(at > 100, "two answers had {at} bytes");
}

#[tokio::test]
async fn a_refused_message_is_not_sent_again() {
    let fake = Fake::start([]).await;
    fake.answer("HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n");
    let error = publisher(&fake).publish("1".into()).await.unwrap_err();
    assert_eq!(
        error,
        PublishError::Refused {
            status: 409,
            detail: "Conflict".into()
        }
    );
    assert_eq!(fake.targets(), ["/channels/test"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let options = PublisherOptions {
        patience: Duration::ZERO,
        ..PublisherOptions::default()
    };
    let url = format!("http://{free}/channels/test").parse().unwrap();
    let error = Publisher::with_options(url, options)
        .publish("1".into())
        .await
        .unwrap_err();
    let PublishError::Unreachable { cause } = error else {
        panic!("{error:?}")
    };
    assert!(cause.contains(&format!("port {}", free.port())), "{cause}");
}
