//! Writes a second, at so many in flight: bars, as lengths from nothing.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::axis::{Axis, short};
use super::canvas::{Head, INK, Mark, SIDES, chart, picture, whisker, words};
use super::seen::{Seen, Spread};

pub(super) const IN_FLIGHT: [&str; 5] = ["1", "16", "64", "256", "1024"];
const WIDTH: f64 = 0.32;

pub(super) fn draw(seen: &Seen, title: &str) -> Result<String> {
    let keys = IN_FLIGHT.map(|count| format!("write_{count}_vs_etcd"));
    let sides: Vec<[Spread; 2]> = keys.iter().map(|key| seen.sides(key)).collect::<Result<_>>()?;
    let head = Head {
        title,
        beneath: seen.row(&keys[0])?.settings.line(),
        legend: SIDES
            .map(|(colour, name)| (colour, Mark::Bar, name.to_owned()))
            .into(),
        note: "bars: medians; lines: from the least round to the greatest",
    };
    let x = Axis::names(IN_FLIGHT);
    let y = Axis::from_zero(sides.iter().flatten().flat_map(|spread| spread.all()));
    picture(&head, |area| {
        let mut chart = chart(area, (&x, "calls in flight"), (&y, "calls a second"))?;
        for (tick, pair) in x.ticks.iter().zip(&sides) {
            for ((spread, (colour, _)), shift) in pair.iter().zip(SIDES).zip([-WIDTH, 0.0]) {
                let (from, to) = (tick.at + shift, tick.at + shift + WIDTH);
                let middle = f64::midpoint(from, to);
                let bar = Rectangle::new([(from, 0.0), (to, spread.value)], colour.filled());
                chart.draw_series([bar])?;
                whisker(&mut chart, middle, *spread, INK)?;
                let top = spread.all().fold(0.0, f64::max);
                words(
                    &mut chart,
                    (middle, top),
                    (0, -9),
                    short(spread.value),
                    HPos::Center,
                )?;
            }
        }
        Ok(())
    })
}
