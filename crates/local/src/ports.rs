//! Free TCP ports on the loopback, in blocks that one process has for itself.
//!
//! A port that nobody listens at now may be another fleet's whose node is dead for a moment. So a process locks the
//! blocks that it takes ports from, for as long as it lives.

use std::fs::{self, File};
use std::net::TcpListener;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use rustix::fs::{FlockOperation, flock};

use crate::ledger;

/// Below the range from which the kernel draws the ports of outgoing connections: a process that was
/// killed finds its port still free when it comes back.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const BLOCK: u16 = 48;

/// This process's blocks: the locks, and the ports in them that were not given yet.
static OWN: Mutex<Own> = Mutex::new(Own {
    locks: Vec::new(),
    left: Vec::new(),
});

struct Own {
    locks: Vec<File>,
    left: Vec<u16>,
}

/// Finds so many ports that nobody listens at, all different, and given to nobody else.
pub fn free(count: usize) -> Result<Vec<u16>> {
    let mut own = OWN.lock();
    let mut blocks: Vec<u16> = RANGE.step_by(usize::from(BLOCK)).collect();
    blocks.shuffle(&mut rand::rng());
    let mut found = Vec::new();
    loop {
        while let Some(port) = own.left.pop() {
            if is_free(port) {
                found.push(port);
            }
            if found.len() == count {
                return Ok(found);
            }
        }
        let Some(first) = blocks.pop() else {
            bail!("no {count} free ports between {} and {}", RANGE.start, RANGE.end);
        };
        if let Some(lock) = lock(first)? {
            own.locks.push(lock);
            own.left.extend((first..RANGE.end.min(first + BLOCK)).rev());
        }
    }
}

/// None when another process has it.
fn lock(first: u16) -> Result<Option<File>> {
    let folder = ledger::folder()?.join("ports");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join(first.to_string());
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    Ok(locked.is_ok().then_some(file))
}

/// Whether somebody could listen there now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_a_block_has_one_owner() {
        let (one, two) = (free(60).unwrap(), free(60).unwrap());
        assert!(one.iter().all(|port| !two.contains(port)));
        // A lock is its file's, so this process is as good as another one.
        let block = RANGE
            .step_by(usize::from(BLOCK))
            .rfind(|first| *first <= one[0])
            .unwrap();
        assert!(lock(block).unwrap().is_none());
    }
}
