//! What several rounds of one measurement say together.

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
}
