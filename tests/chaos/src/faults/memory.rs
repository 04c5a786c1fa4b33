//! No memory is left to a node, by a group of the kernel's: it ends the process in the middle of whatever it does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use reeve_local::Node;

/// Where the groups are: those of the first kind, and of the second.
const FIRST: &str = "/sys/fs/cgroup/memory";
const SECOND: &str = "/sys/fs/cgroup";
/// What it may still take beside what it has. Both kinds count only what comes after a process was put in.
const LEFT_BYTES: u64 = 1 << 20;

/// A group of one process; it ends with this value.
pub struct NoMemory {
    group: PathBuf,
    /// Where the kernel counts whom it ended.
    counts: &'static str,
}

/// Why nothing can be taken from a process here; none when it can.
pub fn missing() -> Option<String> {
    NoMemory::group().err().map(|why| format!("{why:#}"))
}

impl NoMemory {
    fn group() -> Result<NoMemory> {
        let name = format!("reeve-{}", uuid::Uuid::new_v4().simple());
        let is_first = Path::new(FIRST).join("memory.limit_in_bytes").exists();
        let (root, limit, counts) = match is_first {
            true => (FIRST, "memory.limit_in_bytes", "memory.oom_control"),
            false => (SECOND, "memory.max", "memory.events"),
        };
        let group = Path::new(root).join(name);
        std::fs::create_dir(&group)
            .context("no group of memory can be made; that takes root, and no container")?;
        let made = NoMemory { group, counts };
        std::fs::write(made.group.join(limit), LEFT_BYTES.to_string()).context("its limit cannot be set")?;
        // Where there is swap, a process would be slow instead.
        let swap = if is_first {
            "memory.swappiness"
        } else {
            "memory.swap.max"
        };
        std::fs::write(made.group.join(swap), "0").ok();
        Ok(made)
    }

    /// From here on this node gets no more than a little.
    pub fn around(node: &Node) -> Result<NoMemory> {
        let made = NoMemory::group()?;
        let pid = node.pid().context("a dead node needs no memory")?;
        std::fs::write(made.group.join("cgroup.procs"), pid.to_string())?;
        Ok(made)
    }

    /// How many the kernel has ended here.
    pub fn ended(&self) -> Result<u64> {
        let counts = std::fs::read_to_string(self.group.join(self.counts))?;
        let line = counts.lines().find_map(|line| line.strip_prefix("oom_kill "));
        let count = line.context("the kernel does not count whom it ends")?.trim();
        let count = count.parse()?;
        ensure!(count < 100, "{counts}");
        Ok(count)
    }
}

impl Drop for NoMemory {
    fn drop(&mut self) {
        // A group that still holds somebody cannot go, and goes with the machine.
        if let Err(error) = std::fs::remove_dir(&self.group) {
            eprintln!("{} stays: {error}", self.group.display());
        }
    }
}
