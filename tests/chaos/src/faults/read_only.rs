//! A disk that its kernel makes read-only while files on it are open for writing, as it does after an error of the
//! device: an ext4 of the node's own that is aborted by hand.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use reeve_local::Node;

use super::disk::{self, run};

const SIZE: u64 = 96 << 20;

/// A file system in a file at a node's data folder; it ends with this value.
pub struct OwnDisk {
    at: PathBuf,
    image: PathBuf,
}

/// Why no disk can be made so here; none when it can.
pub fn missing() -> Option<String> {
    let tried = || {
        let folder = tempfile::tempdir()?;
        let at = folder.path().join("disk");
        std::fs::create_dir(&at)?;
        OwnDisk::make(at)?.abort()
    };
    tried()
        .err()
        .map(|why: anyhow::Error| format!("it takes root, mkfs.ext4 and loop devices: {why:#}"))
}

impl OwnDisk {
    /// Moves the data of a node that does not run to a disk of its own. It takes root.
    pub fn below(node: &Node) -> Result<OwnDisk> {
        disk::move_below(node, OwnDisk::make)
    }

    fn make(at: PathBuf) -> Result<OwnDisk> {
        let image = at.with_extension("ext4");
        std::fs::File::create(&image)?.set_len(SIZE)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        mount(&image, &at)?;
        Ok(OwnDisk { at, image })
    }

    /// From here on every write to it fails, through open files as well.
    pub fn abort(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.at))
    }

    /// As an operator does it once nobody uses it any more: looked through, and mounted again.
    pub fn mend(&self) -> Result<()> {
        run(Command::new("umount").arg(&self.at))?;
        let looked = Command::new("e2fsck")
            .args(["-y", "-f"])
            .arg(&self.image)
            .output()?;
        // 1: there was something, and it is mended.
        ensure!(
            looked.status.code().is_some_and(|code| code <= 1),
            "{}",
            String::from_utf8_lossy(&looked.stdout)
        );
        mount(&self.image, &self.at)
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        // Lazily: a node may still run on it.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.at)) {
            eprintln!("{} stays mounted: {error:#}", self.at.display());
        }
        std::fs::remove_file(&self.image).ok();
    }
}

fn mount(image: &PathBuf, at: &PathBuf) -> Result<()> {
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at))
}
