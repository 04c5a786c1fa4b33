//! The audit log, exported and verified with no registry at hand; then one byte of it is changed.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Tour;
use super::show::say;
use crate::audit::{export, verify};

impl Tour {
    pub(super) async fn chain(&mut self) -> Result<()> {
        self.show
            .stage("The audit log: exported, verified offline, and caught when one byte changes");
        let file = self.fleet.dir().join("audit.jsonl");
        export::file(self.fleet.api(), &file).await.context("exporting")?;
        let summary = verify::file(&file).context("verifying the export")?;
        let told = format!("{} in {} chains, whole", summary.records, summary.shards);
        self.show.row("audit records verified offline", told);

        flip_one_byte(&file)?;
        match verify::file(&file) {
            Ok(_) => bail!("a flipped byte was not noticed"),
            Err(found) => say(format!("{found:#}")),
        }
        self.show.row("one byte flipped", "found");
        Ok(())
    }
}

/// Changes one letter in the middle of the file: inside a record, where it still reads as a record.
fn flip_one_byte(file: &Path) -> Result<()> {
    let mut bytes = std::fs::read(file)?;
    let middle = bytes.len() / 2;
    let at = (middle..bytes.len()).find(|at| bytes[*at].is_ascii_digit());
    let at = at.context("an export without a digit")?;
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    std::fs::write(file, bytes)?;
    Ok(())
}
