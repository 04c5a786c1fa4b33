//! How much memory a process holds.

use anyhow::{Context, Result};
use reeve_local::Node;

/// The resident memory of a node, as the kernel counts it.
pub fn resident_bytes(node: &Node) -> Result<u64> {
    let resident = status(node, "VmRSS:")?;
    let kib = resident.strip_suffix(" kB").context("not in kB")?;
    let kib: u64 = kib.trim().parse()?;
    Ok(kib << 10)
}

/// Whether the kernel may give a node pages of two megabytes, most of which would hold nothing.
pub fn has_huge_pages(node: &Node) -> Result<bool> {
    Ok(status(node, "THP_enabled:")? != "0")
}

fn status(node: &Node, what: &str) -> Result<String> {
    let pid = node
        .pid()
        .with_context(|| format!("node {} does not run", node.id()))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    Ok(line.context("the kernel does not say")?.trim().to_owned())
}
