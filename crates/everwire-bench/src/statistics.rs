//! What several rounds of one measurement say together.

use std::time::Duration;

/// The middle of `samples`, or the mean of the two in the middle; `None` of nothing.
///
/// A median, since disturbances on a shared machine only ever make a round slower.
pub fn median(samples: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = samples.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        even if even % 2 == 0 => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        _ => Some(sorted[middle]),
    }
}

/// How far `samples` lie apart, as a part of their median; `None` of fewer than two.
pub fn spread(samples: impl IntoIterator<Item = f64> + Clone) -> Option<f64> {
    let median = median(samples.clone())?;
    let (mut low, mut high, mut count) = (f64::INFINITY, f64::NEG_INFINITY, 0);
    for sample in samples {
        low = low.min(sample);
        high = high.max(sample);
        count += 1;
    }
    (count > 1 && median != 0.0).then(|| (high - low) / median)
}

/// The smallest of `samples` that at least `percent` of them do not exceed; `None` of nothing.
pub fn percentile(samples: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_in_any_order() {
        let cases: [(&[f64], Option<f64>); 5] = [
            (&[], None),
            (&[3.0], Some(3.0)),
            (&[4.0, 1.0], Some(2.5)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[100.0, 1.0, 3.0, 2.0], Some(2.5)),
        ];
        for (samples, expected) in cases {
            assert_eq!(median(samples.iter().copied()), expected, "{samples:?}");
        }
    }

    #[test]
    fn the_spread_needs_two_samples() {
        let cases: [(&[f64], Option<f64>); 4] = [
            (&[], None),
            (&[3.0], None),
            (&[2.0, 2.0], Some(0.0)),
            (&[4.0, 5.0, 3.0], Some(0.5)),
        ];
        for (samples, expected) in cases {
            assert_eq!(spread(samples.iter().copied()), expected, "{samples:?}");
        }
    }

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let to = |last: u64| (1..=last).rev().map(Duration::from_millis).collect();
        let cases: [(Vec<Duration>, usize, Option<u64>); 6] = [
            (vec![], 99, None),
            (to(1), 50, Some(1)),
            (to(100), 50, Some(50)),
            (to(100), 99, Some(99)),
            (to(10), 99, Some(10)),
            (to(1000), 99, Some(990)),
        ];
        for (samples, percent, expected) in cases {
            let found = percentile(&samples, percent);
            let count = samples.len();
            assert_eq!(
                found,
                expected.map(Duration::from_millis),
                "{percent} % of {count}"
            );
        }
    }
}
