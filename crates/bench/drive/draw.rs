//! Pictures of a kept summary, as files.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use reeve_bench::plot::{Plot, Seen, all, markdown};

use crate::say;

/// Beside a summary, what its rows were made of.
pub const ROUNDS: &str = "rounds.json";

/// Draws what the summary has rows for, and says what it has none for. Of what is not drawn, no older picture stays.
pub fn run(summary: &Path, to: &Path) -> Result<()> {
    let seen = read(summary)?;
    let at = || format!("drawing into {}", to.display());
    std::fs::create_dir_all(to).with_context(at)?;
    let plots = all(&seen);
    for Plot { name, drawn, .. } in &plots {
        let file = to.join(format!("{name}.svg"));
        match drawn {
            Ok(svg) => std::fs::write(&file, svg).with_context(at)?,
            Err(why) => {
                say(&format!("{name}.svg is not drawn: {why:#}"));
                absent(std::fs::remove_file(&file)).with_context(at)?;
            }
        }
    }
    std::fs::write(to.join("plots.md"), markdown(&plots)).with_context(at)?;
    let drawn = plots.iter().filter(|plot| plot.drawn.is_ok()).count();
    say(&format!(
        "{drawn} of {} plots are in {}",
        plots.len(),
        to.display()
    ));
    Ok(())
}

fn read(summary: &Path) -> Result<Seen> {
    let at = |file: &Path| format!("reading {}", file.display());
    let text = std::fs::read_to_string(summary).with_context(|| at(summary))?;
    let beside = summary.with_file_name(ROUNDS);
    let rounds = absent(std::fs::read_to_string(&beside)).with_context(|| at(&beside))?;
    if rounds.is_none() {
        say(&format!("there is no {}", beside.display()));
    }
    Seen::parse(&text, rounds.as_deref())
}

/// What is not there is none, and no error.
fn absent<T>(found: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
