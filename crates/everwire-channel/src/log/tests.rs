//! What a log answers, case by case.

use bytes::Bytes;

use super::*;
use crate::label::{EventName, PublisherId};

const KEEP_ALL: Retention = Retention {
    entries_max: u64::MAX,
    bytes_max: u64::MAX,
    age_max_ms: None,
};

/// A log of epoch 7 and mark 1 with an entry appended at each of these moments.
fn log(retention: Retention, times_ms: &[u64]) -> Log {
    let mut log = Log::new(Epoch(7), Mark(1), retention);
    for &now_ms in times_ms {
        log.append(Bytes::from_static(b"payload").into(), now_ms);
    }
    log
}

fn at(sequence: u64, mark: u32) -> Offset {
    Offset {
        epoch: Epoch(7),
        sequence,
        mark: Mark(mark),
    }
}

fn sequences(read: Read<'_>) -> Vec<u64> {
    match read {
        Read::Entries(entries) => entries.map(|(sequence, _)| sequence).collect(),
        Read::CaughtUp | Read::Gap(_) => panic!("no entries but {read:?}"),
    }
}

#[test]
fn an_empty_log_stands_before_its_first_entry() {
    let log = log(KEEP_ALL, &[]);
    assert_eq!(log.head(), at(0, 1));
    assert_eq!(log.oldest(), at(0, 1));
    assert!(log.is_empty());
    assert!(matches!(log.after(0), Read::CaughtUp));
    for start in [
        Start::Beginning,
        Start::Now,
        Start::Last(9),
        Start::After(at(0, 1)),
    ] {
        assert_eq!(log.locate(&start), Ok(0));
    }
}

#[test]
fn the_offset_after_the_nth_entry_has_sequence_n() {
    let mut log = log(KEEP_ALL, &[]);
    let labelled = Draft {
        payload: Bytes::from_static(b"hi"),
        kind: None,
        event: EventName::new("typing").ok(),
        publisher: PublisherId::new("ada").ok(),
    };
    log.append(labelled, 5);
    assert_eq!(log.head(), at(1, 1));
    log.append(Bytes::new().into(), 6);
    assert_eq!(log.head(), at(2, 1));
    let Read::Entries(mut entries) = log.after(0) else {
        panic!("entries were appended")
    };
    assert_eq!(entries.len(), 2);
    let (sequence, entry) = entries.next().unwrap();
    assert_eq!((sequence, entry.time_ms, entry.mark), (1, 5, Mark(1)));
    assert_eq!(
        (&*entry.payload, entry.event(), entry.publisher()),
        (
            &b"hi"[..],
            Some("typing"),
            PublisherId::new("ada").ok().as_ref()
        )
    );
    assert_eq!(
        entries
            .clone()
            .map(|(sequence, _)| sequence)
            .collect::<Vec<_>>(),
        [2]
    );
}

#[test]
fn retention_removes_from_the_oldest_end() {
    let entry = 7 + Entry::OVERHEAD_BYTES;
    for (retention, now_ms, oldest) in [
        (KEEP_ALL, 1000, 0),
        (
            Retention {
                entries_max: 3,
                ..KEEP_ALL
            },
            40,
            1,
        ),
        (
            Retention {
                entries_max: 0,
                ..KEEP_ALL
            },
            40,
            3,
        ),
        (
            Retention {
                bytes_max: 2 * entry,
                ..KEEP_ALL
            },
            40,
            2,
        ),
        (
            Retention {
                bytes_max: 2 * entry - 1,
                ..KEEP_ALL
            },
            40,
            3,
        ),
        (
            Retention {
                bytes_max: 0,
                ..KEEP_ALL
            },
            40,
            3,
        ),
        (
            Retention {
                age_max_ms: Some(20),
                ..KEEP_ALL
            },
            40,
            1,
        ),
        (
            Retention {
                age_max_ms: Some(20),
                ..KEEP_ALL
            },
            41,
            2,
        ),
        (
            Retention {
                age_max_ms: Some(0),
                ..KEEP_ALL
            },
            40,
            3,
        ),
        // By age, the newest entry leaves too.
        (
            Retention {
                age_max_ms: Some(0),
                ..KEEP_ALL
            },
            41,
            4,
        ),
        // A clock that stepped back ages nothing.
        (
            Retention {
                age_max_ms: Some(30),
                ..KEEP_ALL
            },
            0,
            0,
        ),
    ] {
        let mut log = log(retention, &[10, 20, 30, 40]);
        log.trim(now_ms);
        assert_eq!(log.oldest(), at(oldest, 1), "{retention:?} at {now_ms} ms");
        assert_eq!(log.head(), at(4, 1));
        assert_eq!(log.len() as u64, 4 - oldest);
        assert_eq!(log.bytes(), (4 - oldest) * entry);
    }
}

#[test]
fn a_start_is_located_or_is_a_gap() {
    let log = log(
        Retention {
            entries_max: 3,
            ..KEEP_ALL
        },
        &[1, 2, 3, 4, 5],
    );
    let gap = Err(Gap {
        oldest: at(2, 1),
        newest: at(5, 1),
    });
    let other_epoch = Offset {
        epoch: Epoch(6),
        ..at(3, 1)
    };
    for (start, located) in [
        (Start::Beginning, Ok(2)),
        (Start::Now, Ok(5)),
        (Start::Last(0), Ok(5)),
        (Start::Last(2), Ok(3)),
        (Start::Last(4), Ok(2)),
        (Start::Last(u64::MAX), Ok(2)),
        (Start::After(at(5, 1)), Ok(5)),
        (Start::After(at(3, 1)), Ok(3)),
        // Where the last trimmed entry ends, nothing is missing.
        (Start::After(at(2, 1)), Ok(2)),
        (Start::After(at(1, 1)), gap),
        (Start::After(at(0, 1)), gap),
        (Start::After(at(6, 1)), gap),
        (Start::After(at(Offset::SEQUENCE_MAX, 1)), gap),
        (Start::After(at(3, 2)), gap),
        (Start::After(other_epoch), gap),
    ] {
        assert_eq!(log.locate(&start), located, "{start:?}");
    }
}

#[test]
fn a_read_is_entries_or_caught_up_or_a_gap() {
    let log = log(
        Retention {
            entries_max: 2,
            ..KEEP_ALL
        },
        &[1, 2, 3],
    );
    assert!(matches!(log.after(0), Read::Gap(gap) if gap == log.gap()));
    assert_eq!(sequences(log.after(1)), [2, 3]);
    assert_eq!(sequences(log.after(2)), [3]);
    assert!(matches!(log.after(3), Read::CaughtUp));
    assert!(matches!(log.after(4), Read::Gap(_)));
    assert!(matches!(log.after(u64::MAX), Read::Gap(_)));
}

#[test]
fn the_trimmed_position_keeps_the_mark_of_its_entry() {
    let mut log = log(
        Retention {
            entries_max: 1,
            ..KEEP_ALL
        },
        &[1],
    );
    log.set_mark(Mark(2));
    assert_eq!(log.head(), at(1, 1));
    log.append(Draft::default(), 2);
    assert_eq!((log.oldest(), log.head()), (at(1, 1), at(2, 2)));
    log.append(Draft::default(), 3);
    assert_eq!(log.oldest(), at(2, 2));
}

#[test]
fn a_trimmed_log_gives_its_memory_back() {
    let mut log = log(
        Retention {
            age_max_ms: Some(10),
            ..KEEP_ALL
        },
        &[5; 1000],
    );
    log.trim(16);
    assert!(log.is_empty());
    assert_eq!(log.bytes(), 0);
    assert_eq!(log.entries.capacity(), 0);
}

#[test]
fn a_log_is_small() {
    assert_eq!(size_of::<Log>(), 96);
}
