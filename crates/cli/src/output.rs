//! Tables that line up, JSON that stays, times that people read.

use std::io::IsTerminal;

use comfy_table::{ContentArrangement, Table, presets};
use prost_types::Timestamp;
use serde::Serialize;

/// An empty table with a head, without lines around it.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|h| (*h).to_owned()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Prints a value as JSON.
pub fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A moment as RFC 3339; empty when there is none.
pub fn rfc3339(moment: Option<&Timestamp>) -> String {
    moment
        .and_then(|m| jiff::Timestamp::new(m.seconds, m.nanos).ok())
        .map_or_else(String::new, |moment| moment.to_string())
}

/// How long ago, in a word: "3 s", "5 min", "2 h", "4 d".
pub fn ago(moment: Option<&Timestamp>, now: jiff::Timestamp) -> String {
    let Some(moment) = moment else {
        return String::new();
    };
    span(now.as_second().saturating_sub(moment.seconds).max(0))
}

/// Seconds in a word.
pub fn span(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A duration in seconds with one digit.
pub fn seconds(from: Option<&Timestamp>, to: Option<&Timestamp>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => {
            let millis = (to.seconds - from.seconds) * 1000 + i64::from(to.nanos - from.nanos) / 1_000_000;
            format!("{:.1} s", millis as f64 / 1000.0)
        }
        _ => String::new(),
    }
}

/// Whether somebody looks at standard error.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_spans_read_well() {
        let moment = Timestamp { seconds: 1_700_000_000, nanos: 500_000_000 };
        assert_eq!(rfc3339(Some(&moment)), "2023-11-14T22:13:20.5Z");
        assert_eq!(rfc3339(None), "");
        let now = jiff::Timestamp::from_second(1_700_000_090).unwrap();
        assert_eq!(ago(Some(&moment), now), "1 min");
        assert_eq!((span(5), span(7200), span(200_000)), ("5 s".into(), "2 h".into(), "2 d".into()));
        let later = Timestamp { seconds: 1_700_000_001, nanos: 700_000_000 };
        assert_eq!(seconds(Some(&moment), Some(&later)), "1.2 s");
    }

    #[test]
    fn tables_line_up() {
        let mut table = table(&["NAME", "STATE"]);
        table.add_row(["cho-ray", "active"]);
        table.add_row(["a", "provisioning"]);
        let lines: Vec<String> = table.to_string().lines().map(|l| l.trim_end().to_owned()).collect();
        assert_eq!(lines, ["NAME     STATE", "cho-ray  active", "a        provisioning"]);
    }
}
