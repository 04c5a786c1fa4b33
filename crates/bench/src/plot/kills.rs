//! How long nothing was acknowledged around each kill of the leader: the part of the kills that were over by then.

use anyhow::Result;
use plotters::prelude::*;

use super::axis::{Axis, Tick};
use super::canvas::{Head, Mark, SIDES, chart, line, picture, point, some};
use super::seen::Seen;
use crate::gap::quantile;

const ROW: &str = "leader_kill_gap_p50_s";

pub(super) fn draw(seen: &Seen, title: &str) -> Result<String> {
    let trials = seen.rounds(ROW)?;
    let sides = [sorted(&trials.ours), sorted(&trials.peer)];
    some(&sides[0], ROW)?;
    some(&sides[1], ROW)?;
    let legend = SIDES.into_iter().zip(&sides).map(|((colour, name), gaps)| {
        let of = |part| quantile(gaps, part).unwrap_or_default();
        let told = format!("{name}: p50 {:.2} s, longest {:.2} s", of(0.5), of(1.0));
        (colour, Mark::Dot, told)
    });
    let head = Head {
        title,
        beneath: seen.row(ROW)?.settings.line(),
        legend: legend.collect(),
        note: "a dot is a kill",
    };
    let x = Axis::from_zero(sides.iter().flatten().copied());
    let y = percent();
    picture(&head, |area| {
        let across = "seconds between two acknowledged writes, at the longest";
        let mut chart = chart(area, (&x, across), (&y, "part of the kills, in %"))?;
        for (gaps, (colour, _)) in sides.iter().zip(SIDES) {
            line(&mut chart, stairs(gaps), colour.stroke_width(2))?;
            for (gap, part) in gaps.iter().zip(parts(gaps.len()).skip(1)) {
                point(&mut chart, (*gap, part), colour, Mark::Dot)?;
            }
        }
        Ok(())
    })
}

/// Rises by one kill's part at each gap.
fn stairs(gaps: &[f64]) -> Vec<(f64, f64)> {
    let steps = gaps.iter().zip(parts(gaps.len()).zip(parts(gaps.len()).skip(1)));
    steps
        .flat_map(|(gap, (before, after))| [(*gap, before), (*gap, after)])
        .collect()
}

/// From 0 to 1 in so many steps.
fn parts(count: usize) -> impl Iterator<Item = f64> {
    (0..=count).map(move |nth| nth as f64 / count as f64)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

fn percent() -> Axis {
    let mut axis = Axis::from_zero([1.0].into_iter());
    axis.ticks = [0u8, 25, 50, 75, 100]
        .map(|percent| Tick {
            at: f64::from(percent) / 100.0,
            label: percent.to_string(),
        })
        .into();
    axis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kill_is_one_step_up() {
        let gaps = sorted(&[0.9, 0.5]);
        assert_eq!(stairs(&gaps), [(0.5, 0.0), (0.5, 0.5), (0.9, 0.5), (0.9, 1.0)]);
        let axis = percent();
        assert_eq!((axis.to, axis.label(0.5)), (1.0, "50".to_owned()));
    }
}
