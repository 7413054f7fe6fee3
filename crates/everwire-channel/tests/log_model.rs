//! The log against a naive model: a list of everything that was ever appended.

use bytes::Bytes;
use everwire_channel::{Draft, Epoch, Gap, Log, Mark, Offset, Read, Retention, Start};
use proptest::prelude::*;

/// What was appended: the offset after it, when, and its length.
#[derive(Debug, Clone)]
struct Appended {
    offset: Offset,
    time_ms: u64,
    payload: Bytes,
}

struct Model {
    retention: Retention,
    before: Offset,
    appended: Vec<Appended>,
    trimmed: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        bytes: usize,
    },
    Wait {
        ms: u64,
    },
    Trim,
    Mark(u32),
    /// A reader comes back and reads a few entries, or makes up for a gap.
    Resume {
        reader: usize,
        entries_max: usize,
    },
}

impl Model {
    fn append(&mut self, offset: Offset, time_ms: u64, payload: Bytes) {
        self.appended.push(Appended {
            offset,
            time_ms,
            payload,
        });
        self.trim(time_ms);
    }

    /// Trims one by one, always from scratch, as the rules say.
    fn trim(&mut self, now_ms: u64) {
        while self.trimmed < self.appended.len() {
            let kept = &self.appended[self.trimmed..];
            let age_ms = now_ms - kept[0].time_ms;
            let is_old = self
                .retention
                .age_max_ms
                .is_some_and(|age_max_ms| age_ms > age_max_ms);
            let is_full = kept.len() as u64 > self.retention.entries_max
                || self.bytes() > self.retention.bytes_max;
            let is_newest = kept.len() == 1;
            if !is_old && (!is_full || is_newest) {
                break;
            }
            self.trimmed += 1;
        }
    }

    fn bytes(&self) -> u64 {
        let accounted = |entry: &Appended| entry.payload.len() as u64 + 128;
        self.appended[self.trimmed..].iter().map(accounted).sum()
    }

    fn offset_at(&self, sequence: usize) -> Offset {
        match sequence {
            0 => self.before,
            n => self.appended[n - 1].offset,
        }
    }

    fn gap(&self) -> Gap {
        let oldest = self.offset_at(self.trimmed);
        Gap {
            oldest,
            newest: self.offset_at(self.appended.len()),
        }
    }
}

/// Everything that can be asked of the log, compared.
fn check(log: &Log, model: &Model) -> Result<(), TestCaseError> {
    let head = model.appended.len();
    prop_assert_eq!(log.head(), model.offset_at(head));
    prop_assert_eq!(log.oldest(), model.offset_at(model.trimmed));
    prop_assert_eq!(log.len(), head - model.trimmed);
    prop_assert_eq!(log.bytes(), model.bytes());
    for sequence in 0..head + 3 {
        let is_kept = (model.trimmed..=head).contains(&sequence);
        let offset = is_kept.then(|| model.offset_at(sequence));
        prop_assert_eq!(log.offset_at(sequence as u64), offset);
        match log.after(sequence as u64) {
            Read::Entries(entries) => {
                prop_assert!(is_kept && sequence < head);
                prop_assert_eq!(entries.len(), head - sequence);
                for ((number, entry), expected) in entries.zip(&model.appended[sequence..]) {
                    prop_assert_eq!(number, expected.offset.sequence);
                    prop_assert_eq!(entry.mark, expected.offset.mark);
                    prop_assert_eq!(entry.time_ms, expected.time_ms);
                    prop_assert_eq!(&entry.payload, &expected.payload);
                }
            }
            Read::CaughtUp => prop_assert_eq!(sequence, head),
            Read::Gap(gap) => {
                prop_assert!(!is_kept);
                prop_assert_eq!(gap, model.gap());
            }
        }
        let last = log.locate(&Start::Last(sequence as u64));
        prop_assert_eq!(
            last,
            Ok(head.saturating_sub(sequence).max(model.trimmed) as u64)
        );
    }
    for sequence in 0..=head {
        let located = log.locate(&Start::After(model.offset_at(sequence)));
        let expected = if sequence < model.trimmed {
            Err(model.gap())
        } else {
            Ok(sequence as u64)
        };
        prop_assert_eq!(located, expected);
    }
    prop_assert_eq!(log.locate(&Start::Beginning), Ok(model.trimmed as u64));
    prop_assert_eq!(log.locate(&Start::Now), Ok(head as u64));
    Ok(())
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..300usize).prop_map(|bytes| Step::Append { bytes }),
        2 => (0..30u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Trim),
        1 => any::<u32>().prop_map(Step::Mark),
        4 => (0..3usize, 1..4usize)
            .prop_map(|(reader, entries_max)| Step::Resume { reader, entries_max }),
    ]
}

fn any_retention() -> impl Strategy<Value = Retention> {
    let age_max_ms = prop_oneof![Just(None), (0..60u64).prop_map(Some)];
    (
        0..12u64,
        prop_oneof![0..2000u64, Just(u64::MAX)],
        age_max_ms,
    )
        .prop_map(|(entries_max, bytes_max, age_max_ms)| Retention {
            entries_max,
            bytes_max,
            age_max_ms,
        })
}

proptest! {
    /// A reader that resumes by offset sees every entry once, in order, or one explicit gap.
    #[test]
    fn a_log_answers_as_a_list_would_and_readers_miss_nothing_unsaid(
        retention in any_retention(),
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let mut log = Log::new(Epoch(3), Mark(0), retention);
        let before = log.head();
        let mut model = Model { retention, before, appended: Vec::new(), trimmed: 0 };
        // Each reader: its token, and how many entries it has seen or was told to be gone.
        let mut readers = [(before.to_string(), 0), (before.to_string(), 0), (before.to_string(), 0)];
        let mut now_ms = 1000;
        for step in steps {
            match step {
                Step::Append { bytes } => {
                    let payload = Bytes::from(vec![b'x'; bytes]);
                    log.append(payload.clone().into(), now_ms);
                    let offset = log.head();
                    prop_assert!(offset > model.offset_at(model.appended.len()));
                    model.append(offset, now_ms, payload);
                }
                Step::Wait { ms } => now_ms += ms,
                Step::Trim => {
                    log.trim(now_ms);
                    model.trim(now_ms);
                }
                Step::Mark(mark) => log.set_mark(Mark(mark)),
                Step::Resume { reader, entries_max } => {
                    let (token, seen) = &mut readers[reader];
                    let start = token.parse().unwrap();
                    match log.locate(&start) {
                        Ok(sequence) => {
                            prop_assert_eq!(sequence, *seen);
                            if let Read::Entries(entries) = log.after(sequence) {
                                for (sequence, entry) in entries.take(entries_max) {
                                    let expected = &model.appended[*seen as usize];
                                    prop_assert_eq!(&entry.payload, &expected.payload);
                                    *seen += 1;
                                    prop_assert_eq!(sequence, *seen);
                                }
                            }
                            *token = log.offset_at(*seen).unwrap().to_string();
                        }
                        Err(gap) => {
                            prop_assert!(gap.oldest.sequence > *seen, "a gap without a loss");
                            *seen = gap.oldest.sequence;
                            *token = gap.oldest.to_string();
                        }
                    }
                }
            }
            check(&log, &model)?;
        }
    }

    /// A log that lost its end and grew again never takes a reader of the lost end for its own.
    #[test]
    fn a_lost_end_is_a_gap_however_far_the_log_grows_again(
        kept in 0..6u64,
        lost in 1..6u64,
        regrown in 0..12u64,
    ) {
        let mut log = Log::new(Epoch(3), Mark(1), Retention::default());
        let grow = |log: &mut Log, count| -> Vec<Offset> {
            (0..count)
                .map(|_| {
                    log.append(Draft::default(), 0);
                    log.head()
                })
                .collect()
        };
        let kept = grow(&mut log, kept);
        let mut reopened = log.clone();
        let lost = grow(&mut log, lost);
        reopened.set_mark(Mark(2));
        grow(&mut reopened, regrown);
        for offset in kept {
            prop_assert_eq!(reopened.locate(&Start::After(offset)), Ok(offset.sequence));
        }
        for offset in lost {
            prop_assert_eq!(reopened.locate(&Start::After(offset)), Err(reopened.gap()));
        }
    }
}
