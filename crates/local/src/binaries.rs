//! Where the real programs are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The programs a fleet is made of.
#[derive(Clone, Debug)]
pub struct Binaries {
    pub registry: PathBuf,
    pub agent: PathBuf,
}

impl Binaries {
    /// Looks in `REEVE_BIN_DIR`, then beside this executable and in the folder above (where cargo puts
    /// programs when this is one of its tests or examples).
    pub fn find() -> Result<Binaries> {
        let dirs = dirs()?;
        Ok(Binaries {
            registry: find("reeve-registry", &dirs)?,
            agent: find("reeve-agent", &dirs)?,
        })
    }
}

/// The registry's program alone: offline work on its files needs no agent.
pub fn registry() -> Result<PathBuf> {
    find("reeve-registry", &dirs()?)
}

fn dirs() -> Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    if let Some(dir) = std::env::var_os("REEVE_BIN_DIR") {
        dirs.push(PathBuf::from(dir));
    }
    let own = std::env::current_exe().context("finding this executable")?;
    dirs.extend(own.ancestors().skip(1).take(2).map(Path::to_owned));
    Ok(dirs)
}

fn find(name: &str, dirs: &[PathBuf]) -> Result<PathBuf> {
    if let Some(found) = dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file()) {
        return Ok(found);
    }
    let looked: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    bail!(
        "{name} is not in {}; build it, or name its folder in REEVE_BIN_DIR",
        looked.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_where_it_was_looked_for() {
        let told = find("reeve-nothing", &["/nowhere".into()])
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("reeve-nothing") && told.contains("/nowhere"),
            "{told}"
        );
    }
}
