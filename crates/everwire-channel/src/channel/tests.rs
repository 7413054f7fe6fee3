//! The rules of appending, closing and expiring, case by case.

mod retries;

use bytes::Bytes;

use super::*;
use crate::entry::Draft;
use crate::label::{IdempotencyKey, StreamSeq};
use crate::log::Read;
use crate::offset::{Epoch, Mark, Offset};
use crate::retention::Retention;

fn setup() -> Setup {
    Setup {
        content_type: Some(ContentType::text()),
        ..Setup::new(Epoch(7), Mark(1))
    }
}

fn channel() -> Channel {
    Channel::new(setup(), 0)
}

fn at(sequence: u64) -> Offset {
    Offset {
        epoch: Epoch(7),
        sequence,
        mark: Mark(1),
    }
}

/// An append of these entries, in the channel's type.
fn entries(texts: &[&'static str]) -> Append<'static> {
    let draft = |text: &&'static str| Draft::from(Bytes::from_static(text.as_bytes()));
    Append {
        entries: texts.iter().map(draft).collect(),
        ..Append::default()
    }
}

/// The same append, closing the channel.
fn closing<'a>(append: Append<'a>) -> Append<'a> {
    Append {
        close: true,
        ..append
    }
}

/// The same append, numbered by a producer.
fn by<'a>(id: &'a str, epoch: u64, seq: u64, append: Append<'a>) -> Append<'a> {
    Append {
        producer: Producer::new(id, epoch, seq).ok(),
        ..append
    }
}

/// The same append, under an idempotency key.
fn keyed<'a>(key: &'a str, append: Append<'a>) -> Append<'a> {
    Append {
        idempotency_key: IdempotencyKey::new(key).ok(),
        ..append
    }
}

/// The same append, with a `Stream-Seq`.
fn ordered<'a>(value: &'a str, append: Append<'a>) -> Append<'a> {
    Append {
        stream_seq: StreamSeq::new(value).ok(),
        ..append
    }
}

fn new(sequence: u64) -> Result<Appended, AppendError> {
    Ok(Appended::New {
        next: at(sequence),
        closed: false,
        producer: None,
    })
}

fn new_by(sequence: u64, epoch: u64, seq: u64) -> Result<Appended, AppendError> {
    let producer = Some(ProducerAnswer { epoch, seq });
    Ok(Appended::New {
        next: at(sequence),
        closed: false,
        producer,
    })
}

fn duplicate(sequence: u64) -> Result<Appended, AppendError> {
    Ok(Appended::Duplicate {
        next: at(sequence),
        closed: false,
        producer: None,
    })
}

fn duplicate_by(sequence: u64, epoch: u64, seq: u64) -> Result<Appended, AppendError> {
    let producer = Some(ProducerAnswer { epoch, seq });
    Ok(Appended::Duplicate {
        next: at(sequence),
        closed: false,
        producer,
    })
}

/// The same answer, saying that the channel is closed.
fn and_closed(answer: Result<Appended, AppendError>) -> Result<Appended, AppendError> {
    answer.map(|answer| match answer {
        Appended::New { next, producer, .. } => Appended::New {
            next,
            closed: true,
            producer,
        },
        Appended::Duplicate { next, producer, .. } => Appended::Duplicate {
            next,
            closed: true,
            producer,
        },
    })
}

/// One append after another at the same moment, each with its answer. A refused one must leave
/// the channel as it was.
fn check(mut channel: Channel, steps: Vec<(Append<'_>, Result<Appended, AppendError>)>) -> Channel {
    for (index, (append, expected)) in steps.into_iter().enumerate() {
        let before = format!("{channel:?}");
        let said = format!("step {index}: {append:?}");
        assert_eq!(channel.append(append, 0), expected, "{said}");
        if expected.is_err() {
            assert_eq!(format!("{channel:?}"), before, "{said}");
        }
    }
    channel
}

fn payloads(channel: &Channel) -> Vec<Bytes> {
    match channel.log().after(channel.log().oldest_sequence()) {
        Read::Entries(entries) => entries.map(|(_, entry)| entry.payload.clone()).collect(),
        Read::CaughtUp => Vec::new(),
        Read::Gap(gap) => panic!("the oldest position is a {gap:?}"),
    }
}

#[test]
fn an_append_adds_all_its_entries_in_order() {
    let channel = check(
        channel(),
        vec![(entries(&["a"]), new(1)), (entries(&["b", "c"]), new(3))],
    );
    assert_eq!(payloads(&channel), ["a", "b", "c"]);
    assert!(!channel.is_closed());
}

#[test]
fn an_append_that_does_nothing_is_refused() {
    check(
        channel(),
        vec![
            (Append::default(), Err(AppendError::Empty)),
            (by("p", 0, 0, Append::default()), Err(AppendError::Empty)),
        ],
    );
}

#[test]
fn closing_is_final_and_a_close_alone_is_idempotent() {
    let closed = AppendError::Closed { tail: at(2) };
    let json = ContentType::json();
    let close_in_other_type = Append {
        content_type: Some(&json),
        ..closing(entries(&[]))
    };
    let channel = check(
        channel(),
        vec![
            (entries(&["a"]), new(1)),
            (closing(entries(&["b"])), and_closed(new(2))),
            (closing(entries(&[])), and_closed(duplicate(2))),
            (close_in_other_type, and_closed(duplicate(2))),
            (entries(&["c"]), Err(closed.clone())),
            // A body cannot be appended any more, so it is no idempotent close.
            (closing(entries(&["b"])), Err(closed)),
        ],
    );
    assert_eq!(payloads(&channel), ["a", "b"]);
    assert!(channel.is_closed());
}

#[test]
fn a_close_alone_appends_nothing_and_ignores_the_media_type() {
    let json = ContentType::json();
    let close = Append {
        content_type: Some(&json),
        ..closing(entries(&[]))
    };
    let channel = check(channel(), vec![(close, and_closed(new(0)))]);
    assert!(channel.is_closed());
    assert_eq!(channel.content_type(), Some(&ContentType::text()));
}

#[test]
fn a_channel_can_be_closed_from_the_start() {
    let channel = Channel::new(
        Setup {
            closed: true,
            ..setup()
        },
        0,
    );
    let refused = Err(AppendError::Closed { tail: at(0) });
    check(channel, vec![(entries(&["a"]), refused)]);
}

#[test]
fn the_first_append_that_states_a_media_type_fixes_it_and_the_others_must_match_it() {
    let (text, json) = (ContentType::text(), ContentType::json());
    let upper: ContentType = "TEXT/PLAIN; charset=utf-8".parse().unwrap();
    let typed = |content_type| Append {
        content_type: Some(content_type),
        ..entries(&["a"])
    };
    let mismatch = AppendError::ContentTypeMismatch {
        channel: text.clone(),
        received: json.clone(),
    };
    let channel = check(
        Channel::new(Setup::new(Epoch(7), Mark(1)), 0),
        vec![
            (entries(&["a"]), new(1)),
            (typed(&text), new(2)),
            (typed(&json), Err(mismatch)),
            (typed(&upper), new(3)),
            (entries(&["a"]), new(4)),
        ],
    );
    assert_eq!(
        channel.content_type().map(ContentType::as_str),
        Some("text/plain")
    );
}

fn of_kind(kind: ContentKind) -> Append<'static> {
    let draft = Draft {
        kind: Some(kind),
        ..Draft::from(Bytes::from_static(b"1"))
    };
    Append {
        entries: vec![draft],
        ..Append::default()
    }
}

#[test]
fn entries_keep_their_kinds_until_somebody_states_the_type() {
    let json = ContentType::json();
    let stated = Append {
        content_type: Some(&json),
        ..entries(&["2"])
    };
    let mismatch = AppendError::ContentTypeMismatch {
        channel: json.clone(),
        received: ContentKind::Binary.media_type().clone(),
    };
    let channel = check(
        Channel::new(Setup::new(Epoch(7), Mark(1)), 0),
        vec![
            (of_kind(ContentKind::Text), new(1)),
            (of_kind(ContentKind::Binary), new(2)),
            (of_kind(ContentKind::Json), new(3)),
            (entries(&["no kind is bytes"]), new(4)),
            (stated, new(5)),
            (of_kind(ContentKind::Binary), Err(mismatch)),
            (of_kind(ContentKind::Json), new(6)),
        ],
    );
    let Read::Entries(entries) = channel.log().after(0) else {
        panic!("entries follow");
    };
    let kinds: Vec<_> = entries.map(|(_, entry)| entry.kind()).collect();
    let (text, bytes) = (Some(ContentKind::Text), Some(ContentKind::Binary));
    let json_of_its_own = Some(ContentKind::Json);
    assert_eq!(kinds, [text, bytes, json_of_its_own, bytes, None, None]);
}

#[test]
fn a_channel_is_told_as_a_whole_by_its_type_or_by_the_one_kind_that_it_holds() {
    use ContentKind::{Binary, Json, Text};
    let ld: ContentType = "application/ld+json".parse().unwrap();
    let of = |content_type: &ContentType| Some(Whole::Of(content_type.clone()));
    let rows: &[(Option<&ContentType>, &[ContentKind], Option<Whole>)] = &[
        (None, &[], None),
        (Some(&ld), &[], of(&ld)),
        (None, &[Json], of(Json.media_type())),
        (None, &[Text, Text], of(Text.media_type())),
        (None, &[Binary], of(Binary.media_type())),
        (None, &[Text, Json], Some(Whole::Mixed)),
        (None, &[Binary, Text], Some(Whole::Mixed)),
        // Stated after these entries came.
        (Some(&ld), &[Json], of(&ld)),
        (Some(&ld), &[Text], Some(Whole::Mixed)),
    ];
    for (stated, kinds, expected) in rows {
        let mut channel = Channel::new(Setup::new(Epoch(7), Mark(1)), 0);
        for kind in *kinds {
            channel.append(of_kind(*kind), 0).unwrap();
        }
        channel.confirm(*stated, None, false, 0).unwrap();
        assert_eq!(channel.whole(), *expected, "{stated:?} after {kinds:?}");
    }
}

#[test]
fn stream_seq_rises_as_bytes_do() {
    let not_rising = |last: &str, received: &str| {
        let (last, received) = (last.into(), received.into());
        Err(AppendError::StreamSeqNotRising { last, received })
    };
    check(
        channel(),
        vec![
            (ordered("09", entries(&["a"])), new(1)),
            (ordered("10", entries(&["a"])), new(2)),
            (ordered("10", entries(&["a"])), not_rising("10", "10")),
            (ordered("2", entries(&["a"])), new(3)),
            (ordered("10", entries(&["a"])), not_rising("2", "10")),
            (entries(&["a"]), new(4)),
            (ordered("B", entries(&["a"])), new(5)),
            (ordered("a", entries(&["a"])), new(6)),
            (ordered("B", entries(&["a"])), not_rising("a", "B")),
        ],
    );
}

#[test]
fn of_several_reasons_the_first_in_the_order_counts() {
    use AppendError::*;
    let json = ContentType::json();
    let wrong = || {
        let append = ordered("1", by("p", 0, 9, entries(&["a"])));
        Append {
            content_type: Some(&json),
            ..append
        }
    };
    let mismatch = ContentTypeMismatch {
        channel: ContentType::text(),
        received: json.clone(),
    };
    let in_type = || Append {
        content_type: None,
        ..wrong()
    };
    check(
        channel(),
        vec![
            (ordered("1", entries(&["a"])), new(1)),
            (wrong(), Err(mismatch)),
            (
                in_type(),
                Err(ProducerGap {
                    expected: 0,
                    received: 9,
                }),
            ),
            (closing(entries(&[])), and_closed(new(1))),
            (wrong(), Err(Closed { tail: at(1) })),
        ],
    );
}

#[test]
fn a_sliding_expiry_starts_again_with_each_read_and_write_but_not_with_a_refusal() {
    let expiry = Some(Expiry::Sliding { ttl_ms: 10 });
    let mut channel = Channel::new(Setup { expiry, ..setup() }, 0);
    assert!(!channel.is_expired(9));
    assert!(channel.is_expired(10));
    channel.touch(5);
    assert_eq!(channel.expires_at_ms(), Some(15));
    channel.append(entries(&["a"]), 8).unwrap();
    assert_eq!(channel.expires_at_ms(), Some(18));
    channel.append(Append::default(), 9).unwrap_err();
    assert_eq!(channel.expires_at_ms(), Some(18));
    // A clock that stepped back takes nothing away.
    channel.touch(3);
    assert_eq!(channel.expires_at_ms(), Some(18));
    assert_eq!(channel.expiry(), expiry);
}

#[test]
fn a_fixed_expiry_stays_and_none_never_comes() {
    let expiry = Some(Expiry::At { unix_ms: 10 });
    let mut channel = Channel::new(Setup { expiry, ..setup() }, 0);
    channel.touch(9);
    assert!(!channel.is_expired(9));
    assert!(channel.is_expired(10));
    assert!(!self::channel().is_expired(u64::MAX));
}

#[test]
fn a_trim_removes_what_is_too_old() {
    let retention = Retention {
        age_max_ms: Some(10),
        ..Retention::default()
    };
    let mut channel = Channel::new(
        Setup {
            retention,
            ..setup()
        },
        0,
    );
    channel.append(entries(&["a", "b"]), 0).unwrap();
    channel.trim(10);
    assert_eq!(payloads(&channel), ["a", "b"]);
    channel.trim(11);
    assert!(channel.log().is_empty());
    assert_eq!(channel.log().head(), at(2));
}

#[test]
fn an_idle_channel_is_small() {
    assert_eq!(size_of::<Channel>(), 184);
}
