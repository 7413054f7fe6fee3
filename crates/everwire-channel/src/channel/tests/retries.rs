//! How an append that comes again is recognised: by its producer, by its key.

use super::*;

#[test]
fn a_producers_retries_are_duplicates_and_tell_its_highest_sequence_number() {
    let channel = check(
        channel(),
        vec![
            (by("p", 0, 0, entries(&["a"])), new_by(1, 0, 0)),
            (by("p", 0, 1, entries(&["b", "c"])), new_by(3, 0, 1)),
            (by("p", 0, 2, entries(&["d"])), new_by(4, 0, 2)),
            (by("p", 0, 1, entries(&["b", "c"])), duplicate_by(4, 0, 2)),
            (by("p", 0, 0, entries(&["other"])), duplicate_by(4, 0, 2)),
            (by("q", 0, 0, entries(&["e"])), new_by(5, 0, 0)),
            (by("p", 1, 0, entries(&["f"])), new_by(6, 1, 0)),
        ],
    );
    assert_eq!(payloads(&channel), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn a_producer_that_lost_its_place_is_told_so() {
    use AppendError::*;
    check(
        channel(),
        vec![
            (
                by("p", 0, 2, entries(&["a"])),
                Err(ProducerGap {
                    expected: 0,
                    received: 2,
                }),
            ),
            (by("p", 2, 0, entries(&["a"])), new_by(1, 2, 0)),
            (
                by("p", 2, 2, entries(&["a"])),
                Err(ProducerGap {
                    expected: 1,
                    received: 2,
                }),
            ),
            (
                by("p", 1, 1, entries(&["a"])),
                Err(StaleEpoch { current: 2 }),
            ),
            (
                by("p", 3, 1, entries(&["a"])),
                Err(EpochMustStartAtZero { received: 1 }),
            ),
            (by("p", 2, 1, entries(&["a"])), new_by(2, 2, 1)),
        ],
    );
}

#[test]
fn the_retry_of_a_producers_closing_append_is_a_duplicate_and_nothing_else_is() {
    use AppendError::*;
    let closed = || Err(Closed { tail: at(2) });
    let channel = check(
        channel(),
        vec![
            (by("p", 1, 0, entries(&["a"])), new_by(1, 1, 0)),
            (
                by("p", 1, 1, closing(entries(&["b"]))),
                and_closed(new_by(2, 1, 1)),
            ),
            (
                by("p", 1, 1, closing(entries(&["b"]))),
                and_closed(duplicate_by(2, 1, 1)),
            ),
            (
                by("p", 1, 1, closing(entries(&["other"]))),
                and_closed(duplicate_by(2, 1, 1)),
            ),
            (by("p", 1, 2, entries(&["c"])), closed()),
            (by("p", 1, 0, entries(&["a"])), closed()),
            (by("q", 1, 1, closing(entries(&["b"]))), closed()),
            (
                by("p", 0, 1, closing(entries(&["b"]))),
                Err(StaleEpoch { current: 1 }),
            ),
            // What is wanted is so already, whoever wants it.
            (
                by("p", 1, 2, closing(entries(&[]))),
                and_closed(duplicate_by(2, 1, 1)),
            ),
            (
                by("q", 0, 0, closing(entries(&[]))),
                and_closed(duplicate(2)),
            ),
        ],
    );
    assert_eq!(payloads(&channel), ["a", "b"]);
}

#[test]
fn a_producers_close_alone_counts_in_its_sequence() {
    check(
        channel(),
        vec![
            (by("p", 0, 0, entries(&["a"])), new_by(1, 0, 0)),
            (
                by("p", 0, 1, closing(entries(&[]))),
                and_closed(new_by(1, 0, 1)),
            ),
            (
                by("p", 0, 1, closing(entries(&[]))),
                and_closed(duplicate_by(1, 0, 1)),
            ),
        ],
    );
}

#[test]
fn a_repeated_key_is_answered_as_the_first_time() {
    let channel = check(
        channel(),
        vec![
            (keyed("k", entries(&["a"])), new(1)),
            (keyed("l", entries(&["b"])), new(2)),
            (keyed("k", entries(&["a"])), duplicate(1)),
            (keyed("k", entries(&["b"])), Err(AppendError::KeyReused)),
            (
                keyed("k", closing(entries(&["a"]))),
                Err(AppendError::KeyReused),
            ),
            (keyed("m", closing(entries(&["c"]))), and_closed(new(3))),
            (
                keyed("m", closing(entries(&["c"]))),
                and_closed(duplicate(3)),
            ),
            (keyed("l", entries(&["b"])), duplicate(2)),
            (
                keyed("n", entries(&["d"])),
                Err(AppendError::Closed { tail: at(3) }),
            ),
        ],
    );
    assert_eq!(payloads(&channel), ["a", "b", "c"]);
}

#[test]
fn one_payload_cut_in_two_is_another_append_under_the_same_key() {
    let steps = vec![
        (keyed("k", entries(&["ab"])), new(1)),
        (
            keyed("k", entries(&["a", "b"])),
            Err(AppendError::KeyReused),
        ),
    ];
    check(channel(), steps);
}

#[test]
fn a_repeated_key_tells_the_producers_state_of_the_first_answer() {
    check(
        channel(),
        vec![
            (keyed("k", by("p", 0, 0, entries(&["a"]))), new_by(1, 0, 0)),
            (by("p", 0, 1, entries(&["b"])), new_by(2, 0, 1)),
            (
                keyed("k", by("p", 0, 0, entries(&["a"]))),
                duplicate_by(1, 0, 0),
            ),
            (by("p", 0, 2, entries(&["c"])), new_by(3, 0, 2)),
        ],
    );
}

#[test]
fn a_producers_retry_is_recognised_before_its_stream_seq_is_compared() {
    check(
        channel(),
        vec![
            (
                ordered("1", by("p", 0, 0, entries(&["a"]))),
                new_by(1, 0, 0),
            ),
            (
                ordered("1", by("p", 0, 0, entries(&["a"]))),
                duplicate_by(1, 0, 0),
            ),
        ],
    );
}

#[test]
fn what_is_remembered_of_publishers_is_bounded_and_the_longest_idle_leaves_first() {
    let repeats = RepeatLimits {
        producers_max: 2,
        keys_max: 2,
        ..RepeatLimits::default()
    };
    let forgotten = Err(AppendError::ProducerGap {
        expected: 0,
        received: 2,
    });
    check(
        Channel::new(Setup { repeats, ..setup() }, 0),
        vec![
            (by("p", 0, 0, entries(&["a"])), new_by(1, 0, 0)),
            (by("q", 0, 0, entries(&["a"])), new_by(2, 0, 0)),
            (by("p", 0, 1, entries(&["a"])), new_by(3, 0, 1)),
            (by("r", 0, 0, entries(&["a"])), new_by(4, 0, 0)),
            (by("p", 0, 1, entries(&["a"])), duplicate_by(4, 0, 1)),
            (by("q", 0, 2, entries(&["a"])), forgotten),
            (keyed("k", entries(&["a"])), new(5)),
            (keyed("l", entries(&["a"])), new(6)),
            (keyed("k", entries(&["a"])), duplicate(5)),
            // A repeat makes a key no younger.
            (keyed("m", entries(&["a"])), new(7)),
            (keyed("k", entries(&["a"])), new(8)),
        ],
    );
}

#[test]
fn producers_and_keys_are_forgotten_when_their_time_is_over() {
    let repeats = RepeatLimits {
        producer_idle_max_ms: 20,
        key_age_max_ms: 10,
        ..RepeatLimits::default()
    };
    let mut channel = Channel::new(Setup { repeats, ..setup() }, 0);
    let append = || keyed("k", by("p", 0, 0, entries(&["a"])));
    for (now_ms, expected) in [
        (0, new_by(1, 0, 0)),
        (10, duplicate_by(1, 0, 0)),
        // The key is forgotten, the producer is not.
        (11, duplicate_by(1, 0, 0)),
        (20, duplicate_by(1, 0, 0)),
        (21, new_by(2, 0, 0)),
    ] {
        assert_eq!(channel.append(append(), now_ms), expected, "at {now_ms} ms");
    }
    channel.trim(41);
    assert!(channel.repeats.is_some());
    channel.trim(42);
    assert!(channel.repeats.is_none());
}

/// Who publishes chooses ids and keys, so they count for the memory that is bounded over all channels.
#[test]
fn what_is_remembered_of_publishers_counts_as_the_entries_do() {
    let mut channel = channel();
    let id = "p".repeat(255);
    for number in 0..100 {
        let key = format!("{number:0255}");
        let append = keyed(&key, by(&id, 0, number, entries(&["a"])));
        assert!(channel.append(append, 0).is_ok());
    }
    let remembered = channel.bytes() - channel.log().bytes();
    let (least, most) = (100 * 255, 100 * 700);
    assert!((least..most).contains(&remembered), "{remembered} bytes");
    channel.trim(u64::MAX);
    assert_eq!(channel.bytes(), channel.log().bytes());
}
