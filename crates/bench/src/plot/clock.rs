//! Latencies of calls by the clock, each side at a part of its own capacity.

use anyhow::Result;
use plotters::style::text_anchor::HPos;

use super::axis::{Axis, short};
use super::canvas::{Head, Mark, SIDES, chart, picture, point, whisker, words};
use super::seen::{Seen, Spread};

const WHAT: [&str; 2] = ["resolve", "write"];
const QUANTILES: [(&str, &str); 3] = [("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")];
const SHIFT: [f64; 2] = [-0.16, 0.12];

pub(super) fn draw(seen: &Seen, title: &str) -> Result<String> {
    let (mut names, mut sides, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for what in WHAT {
        for (word, shown) in QUANTILES {
            let key = format!("open_loop_{what}_70_{word}_ms");
            sides.push(seen.sides(&key)?);
            names.push(format!("{what} {shown}"));
        }
        let asked = seen.row(&format!("open_loop_{what}_70_p50_ms"))?.settings.rates;
        rates.extend(asked.map(|[ours, peer]| format!("{what} {ours} and {peer}")));
    }
    let head = Head {
        title,
        beneath: seen.row("open_loop_resolve_70_p50_ms")?.settings.line(),
        legend: SIDES
            .map(|(colour, name)| (colour, Mark::Dot, name.to_owned()))
            .into(),
        note: "dots: medians; lines: from the least round to the greatest",
    };
    let across = match rates.is_empty() {
        true => "calls by the clock".to_owned(),
        false => format!("calls a second of Reeve and of etcd: {}", rates.join("; ")),
    };
    let x = Axis::names(names.iter().map(String::as_str));
    let y = Axis::log(sides.iter().flatten().flat_map(|spread: &Spread| spread.all()));
    picture(&head, |area| {
        let mut chart = chart(area, (&x, &across), (&y, "milliseconds (log scale)"))?;
        for (tick, pair) in x.ticks.iter().zip(&sides) {
            for ((spread, (colour, _)), shift) in pair.iter().zip(SIDES).zip(SHIFT) {
                let at = (tick.at + shift, spread.value);
                whisker(&mut chart, at.0, *spread, colour)?;
                point(&mut chart, at, colour, Mark::Dot)?;
                words(&mut chart, at, (8, -1), short(spread.value), HPos::Left)?;
            }
        }
        Ok(())
    })
}
