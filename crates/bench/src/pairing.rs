//! Measurements side by side: a machine is never twice the same, so only neighbours are compared.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Values by what was measured, one for each round.
#[derive(Debug, Default)]
pub struct Samples {
    series: BTreeMap<String, Vec<f64>>,
}

impl Samples {
    /// Adds this round's value.
    pub fn push(&mut self, series: &str, value: f64) {
        self.series.entry(series.to_owned()).or_default().push(value);
    }

    /// All rounds of one thing.
    pub fn of(&self, series: &str) -> &[f64] {
        self.series.get(series).map_or(&[], Vec::as_slice)
    }

    /// Two things, round by round.
    pub fn pair(&self, ours: &str, peer: &str) -> Result<Pairing> {
        Pairing::of(self.of(ours), self.of(peer))
    }
}

/// Ours beside a peer's.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairing {
    /// Medians over the rounds.
    pub ours: f64,
    pub peer: f64,
    /// The median of the rounds' ratios; not the ratio of the medians.
    pub ratio: f64,
    /// The rounds' least and greatest ratio.
    pub range: [f64; 2],
    /// What all of this was made of.
    pub rounds: Rounds,
}

/// One thing in the order of its rounds, ours and the peer's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rounds {
    pub ours: Vec<f64>,
    pub peer: Vec<f64>,
}

impl Rounds {
    /// Ours by the peer's, round by round.
    pub fn ratios(&self) -> Vec<f64> {
        let sides = self.ours.iter().zip(&self.peer);
        sides.map(|(ours, peer)| ours / peer).collect()
    }
}

impl Pairing {
    /// Pairs the rounds in their order.
    pub fn of(ours: &[f64], peer: &[f64]) -> Result<Pairing> {
        ensure!(
            !ours.is_empty() && ours.len() == peer.len(),
            "{} rounds of ours beside {} of the peer",
            ours.len(),
            peer.len()
        );
        ensure!(
            peer.iter().all(|value| *value > 0.0),
            "nothing can be compared with nothing: the peer has {peer:?}"
        );
        let rounds = Rounds {
            ours: ours.to_vec(),
            peer: peer.to_vec(),
        };
        let ratios = rounds.ratios();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Ok(Pairing {
            ours: median(ours),
            peer: median(peer),
            ratio: median(&ratios),
            range: [least, greatest],
            rounds,
        })
    }
}

/// A value as fine as it can be told: below that, a difference says nothing, and a ratio less.
pub fn no_finer_than(floor: f64, value: f64) -> f64 {
    value.max(floor)
}

/// The middle, or between the two middles; nothing's is 0.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        even if even % 2 == 0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_neighbours_not_of_strangers() {
        let mut samples = Samples::default();
        // The machine slowed down to a tenth half-way; the ratios did not.
        for (ours, peer) in [(300.0, 100.0), (220.0, 100.0), (26.0, 10.0), (20.0, 10.0)] {
            samples.push("ours", ours);
            samples.push("peer", peer);
        }
        let pairing = samples.pair("ours", "peer").unwrap();
        assert!((pairing.ratio - 2.4).abs() < 1e-9, "{pairing:?}");
        assert_eq!(pairing.range, [2.0, 3.0]);
        assert_eq!((pairing.ours, pairing.peer), (123.0, 55.0));
        let ratios = pairing.rounds.ratios();
        assert_eq!(ratios[..2], [3.0, 2.2], "each round's is kept");
    }

    #[test]
    fn what_cannot_be_told_apart_makes_no_ratio() {
        let told = |values: [f64; 2]| values.map(|value| no_finer_than(1.0, value));
        let pairing = Pairing::of(&told([0.4, 9.0]), &told([0.0, 3.0])).unwrap();
        assert_eq!(pairing.range, [1.0, 3.0]);
    }

    #[test]
    fn rounds_that_have_no_neighbour_are_refused() {
        assert!(Pairing::of(&[1.0, 2.0], &[1.0]).is_err());
        assert!(Pairing::of(&[], &[]).is_err());
        let nothing = Pairing::of(&[1.0], &[0.0]).unwrap_err();
        assert!(nothing.to_string().contains("nothing"), "{nothing}");
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
