//! How much memory a process holds.

use anyhow::{Context, Result};
use reeve_local::Node;

/// The resident memory of a node, as the kernel counts it.
pub fn resident_bytes(node: &Node) -> Result<u64> {
    let pid = node
        .pid()
        .with_context(|| format!("node {} does not run", node.id()))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("the kernel does not say")?.trim().parse()?;
    Ok(kib << 10)
}
