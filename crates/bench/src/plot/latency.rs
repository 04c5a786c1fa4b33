//! How long writes took, at so many in flight: medians and the slowest hundredth.

use anyhow::Result;

use super::axis::Axis;
use super::canvas::{Head, Mark, SIDES, chart, line, picture, point, whisker};
use super::seen::{Seen, Spread};
use super::writes::IN_FLIGHT;

const QUANTILES: [(&str, Mark); 2] = [("p50", Mark::Dot), ("p99", Mark::Ring)];
/// The sides stand beside each other, so that their lines from round to round do not hide each other.
const SHIFT: [f64; 2] = [-0.06, 0.06];

pub(super) fn draw(seen: &Seen, title: &str) -> Result<String> {
    let read = |quantile: &str| -> Result<Vec<[Spread; 2]>> {
        let keys = IN_FLIGHT.map(|count| format!("write_{count}_{quantile}_ms"));
        keys.iter().map(|key| seen.sides(key)).collect()
    };
    let quantiles = [read(QUANTILES[0].0)?, read(QUANTILES[1].0)?];
    let legend = SIDES.iter().flat_map(|(colour, name)| {
        QUANTILES.map(|(quantile, mark)| (*colour, mark, format!("{name} {quantile}")))
    });
    let head = Head {
        title,
        beneath: seen.row("write_1_p50_ms")?.settings.line(),
        legend: legend.collect(),
        note: "medians; upright lines: least to greatest round",
    };
    let x = Axis::names(IN_FLIGHT);
    let all = quantiles.iter().flatten().flatten();
    let y = Axis::log(all.flat_map(|spread| spread.all()));
    picture(&head, |area| {
        let mut chart = chart(area, (&x, "calls in flight"), (&y, "milliseconds (log scale)"))?;
        for (rows, (_, mark)) in quantiles.iter().zip(QUANTILES) {
            for (side, ((colour, _), shift)) in SIDES.into_iter().zip(SHIFT).enumerate() {
                let places = x.ticks.iter().map(|tick| tick.at + shift);
                let points: Vec<_> = places.zip(rows.iter().map(|pair| pair[side])).collect();
                let medians = points.iter().map(|(x, spread)| (*x, spread.value));
                line(&mut chart, medians.clone().collect(), colour.into())?;
                for (x, spread) in &points {
                    whisker(&mut chart, *x, *spread, colour)?;
                }
                for at in medians {
                    point(&mut chart, at, colour, mark)?;
                }
            }
        }
        Ok(())
    })
}
