//! How long nothing was acknowledged.

use std::time::Duration;

/// The longest time between two acknowledgements; none when there were fewer than two.
pub fn longest(mut acknowledged: Vec<Duration>) -> Option<Duration> {
    acknowledged.sort_unstable();
    acknowledged.windows(2).map(|two| two[1] - two[0]).max()
}

/// The value that this part of all does not exceed, by nearest rank: of few values p99 is the largest.
pub fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_is_found_in_any_order() {
        let ms = |list: &[u64]| {
            list.iter()
                .copied()
                .map(Duration::from_millis)
                .collect::<Vec<_>>()
        };
        let found = longest(ms(&[900, 10, 20, 30, 890]));
        assert_eq!(found, Some(Duration::from_millis(860)));
        assert_eq!(longest(ms(&[5])), None);
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let gaps = [0.9, 0.5, 0.7, 0.6];
        assert_eq!(quantile(&gaps, 0.5), Some(0.6));
        assert_eq!(quantile(&gaps, 0.99), Some(0.9));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
