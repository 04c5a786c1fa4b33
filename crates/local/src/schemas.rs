//! Where the example schemas are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Finds `deploy/examples`: above the executable, above the working folder, or in the sources built from.
pub fn examples_dir() -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).to_owned();
    let starts = [
        std::env::current_exe().ok(),
        std::env::current_dir().ok(),
        Some(sources),
    ];
    for start in starts.iter().flatten() {
        let found = start
            .ancestors()
            .map(|dir| dir.join("deploy/examples"))
            .find(|dir| dir.join("ehr").is_dir());
        if let Some(found) = found {
            return Ok(found);
        }
    }
    bail!("deploy/examples was not found; run inside the workspace, or name it with --examples")
}
