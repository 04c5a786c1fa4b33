//! What the audience sees: a heading per stage, the facts under it, and one table at the end.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// The whole performance so far.
pub(super) struct Show {
    begun: Instant,
    stage: Instant,
    number: usize,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    how_many: String,
    took: Duration,
}

impl Show {
    pub(super) fn new() -> Show {
        Show {
            begun: Instant::now(),
            stage: Instant::now(),
            number: 0,
            rows: Vec::new(),
        }
    }

    /// Begins a stage.
    pub(super) fn stage(&mut self, title: &str) {
        self.number += 1;
        self.stage = Instant::now();
        say!("\n{}. {title}", self.number);
    }

    /// A row of the table, as long as the stage has taken.
    pub(super) fn row(&mut self, what: &str, how_many: impl Into<String>) {
        self.row_of(what, how_many, self.stage.elapsed());
    }

    /// A row of the table that took its own time.
    pub(super) fn row_of(&mut self, what: &str, how_many: impl Into<String>, took: Duration) {
        let how_many = how_many.into();
        say!("    ✓ {what}: {how_many} ({:.2} s)", took.as_secs_f64());
        self.rows.push(Row {
            what: what.to_owned(),
            how_many,
            took,
        });
    }

    /// The table, and the last line.
    pub(super) fn end(self) {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["what happened", "how many", "seconds"]);
        for row in &self.rows {
            table.add_row([
                row.what.clone(),
                row.how_many.clone(),
                format!("{:.2}", row.took.as_secs_f64()),
            ]);
        }
        table.add_row([
            "all of it".to_owned(),
            String::new(),
            format!("{:.2}", self.begun.elapsed().as_secs_f64()),
        ]);
        if let Some(column) = table.column_mut(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        say!("\n{table}\n\ndemo: ok");
    }
}

/// A fact worth seeing.
pub(super) fn say(fact: impl AsRef<str>) {
    say!("    · {}", fact.as_ref());
}
