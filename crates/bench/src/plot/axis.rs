//! Where a value stands, and which values are written beside the picture.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// One direction of a picture.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub from: f64,
    pub to: f64,
    pub ticks: Vec<Tick>,
    is_log: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub at: f64,
    pub label: String,
}

/// Steps to the next tick are at most so many.
const STEPS_MAX: f64 = 6.0;
/// Beyond so many decades only whole ones are written.
const DECADES_MAX: f64 = 2.5;

impl Axis {
    /// Lengths can be compared on it: it begins at nothing.
    pub fn from_zero(values: impl Iterator<Item = f64>) -> Axis {
        let greatest = values.fold(0.0, f64::max);
        let step = step(greatest / STEPS_MAX);
        let steps = (greatest / step).ceil().max(1.0);
        let ticks = (0..=steps as u32).map(|nth| f64::from(nth) * step);
        Axis {
            from: 0.0,
            to: steps * step,
            ticks: ticks.map(Tick::of).collect(),
            is_log: false,
        }
    }

    /// Ratios can be compared on it: the same factor is the same length everywhere. It has no zero, and so holds no bars.
    pub fn log(values: impl Iterator<Item = f64>) -> Axis {
        let (least, greatest) = values
            .filter(|value| *value > 0.0)
            .fold((f64::INFINITY, 0.0), |(least, greatest): (f64, f64), value| {
                (least.min(value), greatest.max(value))
            });
        let (least, greatest) = if least <= greatest {
            (least, greatest)
        } else {
            (1.0, 1.0)
        };
        let all = fine(least, greatest);
        // From the last tick that is not above, to the first that is not below; never a point.
        let first = all.iter().rposition(|tick| *tick <= least).unwrap_or(0);
        let last = all
            .iter()
            .position(|tick| *tick >= greatest)
            .unwrap_or(all.len() - 1);
        let last = last.max(first + 1).min(all.len() - 1);
        let is_wide = (all[last] / all[first]).log10() > DECADES_MAX;
        let ticks = all[first..=last]
            .iter()
            .filter(|tick| !is_wide || is_decade(**tick))
            .map(|tick| Tick::of(*tick))
            .collect();
        Axis {
            from: all[first],
            to: all[last],
            ticks,
            is_log: true,
        }
    }

    /// Things that have a name each, from left to right: the nth has its middle at n + 0.5.
    pub fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Axis {
        let ticks: Vec<_> = (0u32..)
            .zip(names)
            .map(|(nth, name)| Tick {
                at: f64::from(nth) + 0.5,
                label: name.to_owned(),
            })
            .collect();
        Axis {
            from: 0.0,
            to: ticks.len() as f64,
            ticks,
            is_log: false,
        }
    }

    /// Where this value stands, from 0 to 1; what is off the picture stands at its edge.
    fn part(&self, value: f64) -> f64 {
        let place = |value: f64| if self.is_log { value.log10() } else { value };
        let (from, to) = (place(self.from), place(self.to));
        ((place(value) - from) / (to - from)).clamp(0.0, 1.0)
    }

    /// What is written at a place.
    pub fn label(&self, at: f64) -> String {
        let away = |tick: &&Tick| (tick.at - at).abs();
        let nearest = self.ticks.iter().min_by(|a, b| away(a).total_cmp(&away(b)));
        nearest.map(|tick| tick.label.clone()).unwrap_or_default()
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.part(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|tick| tick.at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}

impl Tick {
    fn of(value: f64) -> Tick {
        Tick {
            at: value,
            label: short(value),
        }
    }
}

/// A number as short as it can be read: `0.05`, `1.2`, `85`, `4.2k`, `12k`.
pub(super) fn short(value: f64) -> String {
    let (value, thousands) = match value.abs() >= 1_000.0 {
        true => (value / 1_000.0, "k"),
        false => (value, ""),
    };
    let digits = match value.abs() {
        less if less < 0.1 => 3,
        less if less < 1.0 => 2,
        less if less < 10.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{thousands}")
}

/// The next of 1, 2, 5, 10, … that is not less.
fn step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let decade = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|part| part * decade);
    steps
        .into_iter()
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * decade)
}

/// 1, 2, 5 of every decade that is touched, and one beyond.
fn fine(least: f64, greatest: f64) -> Vec<f64> {
    let decades = (least.log10().floor() as i32)..=(greatest.log10().ceil() as i32);
    let of_decade = |decade| [1.0, 2.0, 5.0].map(|part| part * 10f64.powi(decade));
    decades.flat_map(of_decade).collect()
}

fn is_decade(value: f64) -> bool {
    (value.log10() - value.log10().round()).abs() < 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn lengths_begin_at_nothing() {
        let axis = Axis::from_zero([3.0, 870.0].into_iter());
        assert_eq!(labels(&axis), ["0", "200", "400", "600", "800", "1k"]);
        assert_eq!((axis.from, axis.to, axis.part(870.0)), (0.0, 1_000.0, 0.87));
        assert_eq!(
            labels(&Axis::from_zero([0.0].into_iter())),
            ["0", "1"],
            "nothing at all"
        );
    }

    #[test]
    fn factors_have_one_length_and_all_values_fit() {
        let axis = Axis::log([0.6, 3.5].into_iter());
        assert_eq!(labels(&axis), ["0.5", "1", "2", "5"]);
        let length = |from, to| axis.part(to) - axis.part(from);
        assert!((length(1.0, 2.0) - length(2.0, 4.0)).abs() < 1e-9);
        assert_eq!(axis.part(0.0), 0.0, "no value is off the picture");
        assert_eq!(
            (axis.map(&0.5, (300, 100)), axis.map(&5.0, (300, 100))),
            (300, 100)
        );
        let wide = Axis::log([0.3, 900.0].into_iter());
        assert_eq!(labels(&wide), ["1", "10", "100", "1k"]);
        assert!(wide.from <= 0.3 && wide.to >= 900.0);
        let one = Axis::log([2.0].into_iter());
        assert!(one.from < one.to, "{one:?}");
        assert_eq!(labels(&Axis::log([].into_iter())), ["1", "2"]);
    }

    #[test]
    fn names_stand_in_the_middle_of_their_place() {
        let axis = Axis::names(["1", "16"]);
        assert_eq!((axis.to, axis.label(1.5)), (2.0, "16".to_owned()));
        assert_eq!(Axis::names([]).label(0.5), "");
    }

    #[test]
    fn numbers_are_short() {
        let told = [0.0, 0.05, 0.25, 1.0, 1.23, 85.4, 4_210.0, 12_300.0].map(short);
        assert_eq!(told, ["0", "0.05", "0.25", "1", "1.2", "85", "4.2k", "12k"]);
    }
}
