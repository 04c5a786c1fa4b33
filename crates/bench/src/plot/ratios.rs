//! Every round's ratio of resolves, so that it is seen how far a median can be trusted.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use super::canvas::{FAINT, Head, INK, Mark, PEER, chart, line, picture, point, some, words};
use super::seen::Seen;
use crate::pairing::median;

const ROWS: [(&str, &str, RGBColor); 4] = [
    ("resolve_bounded_vs_empty", "bounded / empty", FAINT),
    ("resolve_linearizable_vs_empty", "linearizable / empty", FAINT),
    ("resolve_bounded_vs_etcd", "bounded / etcd", PEER),
    ("resolve_linearizable_vs_etcd", "linearizable / etcd", PEER),
];
/// The part of a row's place that its rounds take.
const PART: f64 = 0.6;

pub(super) fn draw(seen: &Seen, title: &str) -> Result<String> {
    let mut rows = Vec::new();
    for (key, ..) in ROWS {
        let ratios = seen.rounds(key)?.ratios();
        some(&ratios, key)?;
        rows.push(ratios);
    }
    let head = Head {
        title,
        beneath: seen.row(ROWS[0].0)?.settings.line(),
        legend: vec![
            (FAINT, Mark::Dot, "beside an empty call".to_owned()),
            (PEER, Mark::Dot, "beside etcd".to_owned()),
        ],
        note: "a dot is a round, in their order; the line is their median; above 1 ours is faster",
    };
    let x = Axis::names(ROWS.map(|(_, name, _)| name));
    let y = Axis::log(rows.iter().flatten().copied().chain([1.0]));
    picture(&head, |area| {
        let up = "calls a second: Reeve / other (log scale)";
        let mut chart = chart(area, (&x, "Reeve / the other, 256 in flight"), (&y, up))?;
        let equal = vec![(x.from, 1.0), (x.to, 1.0)];
        line(&mut chart, equal, INK.stroke_width(1))?;
        for ((tick, ratios), (.., colour)) in x.ticks.iter().zip(&rows).zip(ROWS) {
            let middle = median(ratios);
            let (from, to) = (tick.at - PART / 2.0, tick.at + PART / 2.0);
            let ends = vec![(from, middle), (to, middle)];
            line(&mut chart, ends, colour.stroke_width(2))?;
            for (nth, ratio) in ratios.iter().enumerate() {
                let place = from + PART * (nth as f64 + 0.5) / ratios.len() as f64;
                point(&mut chart, (place, *ratio), colour, Mark::Dot)?;
            }
            let text = format!("{middle:.2}");
            words(&mut chart, (to, middle), (6, 0), text, HPos::Left)?;
        }
        Ok(())
    })
}
