//! Pictures of what was measured: from the kept numbers to an SVG, and nothing else.
//!
//! ```text
//! summary.json, rounds.json ─► Seen ─► writes · latency · ratios · clock · kills ─► Plot (SVG, or why there is none)
//!                                       axis: where a value stands    canvas: title, legend, colours
//! ```
//! Deliberately absent: any value that is not in the summary, and any picture of half of its rows.

mod axis;
mod canvas;
mod clock;
mod kills;
mod latency;
mod ratios;
mod seen;
mod writes;

#[cfg(test)]
mod tests;

use anyhow::Result;

pub use self::seen::Seen;

/// One picture, or what it lacks.
pub struct Plot {
    /// Of its file, without the ending.
    pub name: &'static str,
    pub title: &'static str,
    pub drawn: Result<String>,
}

/// Every picture there can be, in the order of the page that shows them.
pub fn all(seen: &Seen) -> [Plot; 5] {
    let plot = |name, title, draw: fn(&Seen, &str) -> Result<String>| Plot {
        name,
        title,
        drawn: draw(seen, title),
    };
    [
        plot("writes", "Writes a second, by calls in flight", writes::draw),
        plot(
            "write-latency",
            "Latency of writes, by calls in flight",
            latency::draw,
        ),
        plot(
            "resolve-ratios",
            "Resolves beside others, round by round",
            ratios::draw,
        ),
        plot(
            "by-the-clock",
            "Latency by the clock, each side at 70 % of what it can bear",
            clock::draw,
        ),
        plot(
            "leader-kills",
            "Time without an acknowledged write when the leader is killed",
            kills::draw,
        ),
    ]
}

/// How docs/benchmarks.md shows those that were drawn.
pub fn markdown(plots: &[Plot]) -> String {
    let drawn = plots.iter().filter(|plot| plot.drawn.is_ok());
    drawn
        .map(|plot| format!("![{}](benchmarks/{}.svg)\n\n", plot.title, plot.name))
        .collect()
}
