//! Checks, one a line with a mark, and under each that is not well what was found and what to do.

use std::fmt::Write;

use super::Page;

/// One question and its answer.
pub struct Tick<'a> {
    /// `ok`, `note`, `warning` or `failure`; anything else was not looked at.
    pub result: &'a str,
    pub question: &'a str,
    /// What was seen where all is well.
    pub seen: &'a str,
    /// What is not well, each with what to do.
    pub found: Vec<(&'a str, &'a str)>,
}

/// The marks of a group, one below the other.
pub fn ticks<'a>(ticks: impl IntoIterator<Item = Tick<'a>>) -> Page {
    let mut text = String::new();
    for tick in ticks {
        let mark = match tick.result {
            "ok" => "✓",
            "note" => "·",
            "warning" => "!",
            "failure" => "✗",
            _ => "-",
        };
        let seen = match tick.seen {
            "" => String::new(),
            seen => format!(": {seen}"),
        };
        // A String takes whatever is written.
        let _ = writeln!(text, "{mark} {}{seen}", tick.question);
        for (what, fix) in tick.found {
            let _ = writeln!(text, "    {what}");
            if !fix.is_empty() {
                let _ = writeln!(text, "      fix: {fix}");
            }
        }
    }
    match text.trim_end() {
        "" => Page::default(),
        text => Page::sentences(text),
    }
}

/// How all of it ended.
pub fn verdict<'a>(results: impl Iterator<Item = &'a str> + Clone) -> String {
    let count = |wanted| results.clone().filter(|result| *result == wanted).count();
    match (count("failure"), count("warning")) {
        (0, 0) => "well".to_owned(),
        (failures, 1) => format!("{failures} failed, 1 warning"),
        (failures, warnings) => format!("{failures} failed, {warnings} warnings"),
    }
}
