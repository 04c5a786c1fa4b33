//! A disk of its own for one node, small enough to be filled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use reeve_local::Node;

use crate::world::{Who, World};

/// Big enough for what a test writes.
const SIZE: &str = "size=48m";
/// Less than the reserve of such a disk (an eighth of it), and enough to go on writing for a while.
pub const NEARLY_FULL: u64 = 3 << 20;
const CHUNK: usize = 256 << 10;

/// Fills a node's disk for a while. False when it has none of its own.
pub async fn strike(world: &mut World, who: Who, long: std::time::Duration) -> Result<bool> {
    let id = world.id(who).await?;
    let Some(disk) = world.disks.get(&id) else {
        return Ok(false);
    };
    disk.fill(NEARLY_FULL)?;
    tokio::time::sleep(long).await;
    disk.clear()?;
    Ok(true)
}

/// A file system in memory at a node's data folder; it ends with this value.
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Moves the data of a node that does not run to a disk of its own. It takes root.
    pub fn below(node: &Node) -> Result<SmallDisk> {
        move_below(node, |at| {
            run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
                .arg(&at))?;
            Ok(SmallDisk { at })
        })
    }

    /// Fills it until no more than so many bytes are free.
    pub fn fill(&self, left: u64) -> Result<()> {
        let mut file = File::create(self.filler())?;
        while self.free()? > left {
            let more = (self.free()? - left).min(CHUNK as u64) as usize;
            file.write_all(&vec![7; more])?;
        }
        Ok(())
    }

    /// Gives the room back.
    pub fn clear(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    fn free(&self) -> Result<u64> {
        let disk = rustix::fs::statvfs(&self.at)?;
        Ok(disk.f_bavail * disk.f_frsize)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node may still run on it.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.at)) {
            eprintln!("{} stays mounted: {error:#}", Path::display(&self.at));
        }
    }
}

/// Puts the data of a node that does not run on what is made at its folder.
pub(super) fn move_below<D>(node: &Node, make: impl FnOnce(PathBuf) -> Result<D>) -> Result<D> {
    ensure!(!node.is_running(), "node {} runs", node.id());
    let at = node.data_dir().to_owned();
    let aside = at.with_extension("aside");
    std::fs::rename(&at, &aside)?;
    std::fs::create_dir(&at)?;
    let disk = make(at.clone())?;
    run(Command::new("cp").arg("-a").arg(aside.join(".")).arg(&at))?;
    // What only the copy has in memory is nothing that the node wrote and flushed.
    run(Command::new("sync").arg("--file-system").arg(&at))?;
    std::fs::remove_dir_all(aside)?;
    Ok(disk)
}

pub(super) fn run(command: &mut Command) -> Result<()> {
    let ended = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    let why = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{command:?}: {why}");
    Ok(())
}
