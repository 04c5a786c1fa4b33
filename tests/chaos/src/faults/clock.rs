//! Clocks that jump by an hour, by Debian's libfaketime in front of the C library. Timers go on by the true clock:
//! a jump of the time of day is no jump of the machine's own counter.
//!
//! A jump may be everybody's, two hours ahead, with one node an hour before or behind the others; or one node's alone.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_local::{Builder, Mode};
use tempfile::TempDir;

use crate::world::{SPARES, Who, World};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const LIBRARY_ARM: &str = "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1";
const NODES_MAX: u64 = 3 + SPARES;
pub const HOUR_S: i64 = 3_600;
/// The library looks at its file once a second.
pub const HEARD: Duration = Duration::from_millis(1_100);
/// So long that every connection sees it.
const BREAK: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    Ahead,
    Back,
}

/// The file in which each node finds its clock.
pub struct Clocks {
    folder: TempDir,
    library: &'static str,
}

impl Clocks {
    /// All clocks are right.
    pub fn new() -> Result<Clocks> {
        let there = [LIBRARY, LIBRARY_ARM]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        let library =
            there.context("libfaketime (a Debian package) is missing; scripts/setup.sh test installs it")?;
        let clocks = Clocks {
            folder: tempfile::tempdir()?,
            library,
        };
        (1..=NODES_MAX).try_for_each(|node| clocks.set(node, 0))?;
        Ok(clocks)
    }

    /// Gives each node of a fleet its clock.
    pub fn plant(&self, builder: Builder) -> Builder {
        let builder = builder
            .node_env("LD_PRELOAD", self.library)
            .node_env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .node_env("FAKETIME_CACHE_DURATION", "1")
            .node_env("NO_FAKE_STAT", "1");
        (1..=NODES_MAX).fold(builder, |builder, node| {
            let file = self.file(node).to_string_lossy().into_owned();
            builder.node_env_of(node, "FAKETIME_TIMESTAMP_FILE", &file)
        })
    }

    /// Sets a node's clock so far before the true one, or behind it.
    pub fn set(&self, node: u64, seconds: i64) -> Result<()> {
        let fresh = self.file(node).with_extension("new");
        std::fs::write(&fresh, format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(&fresh, self.file(node))?)
    }

    fn file(&self, node: u64) -> PathBuf {
        self.folder.path().join(format!("n{node}"))
    }
}

/// One node's clock is wrong, and everybody else's is right. All its connections are made anew meanwhile, so that every
/// certificate is judged by it, and its own by the others. False when this world's clocks cannot be set.
pub async fn alone(world: &mut World, who: Who, jump: Jump, long: Duration) -> Result<bool> {
    let id = world.id(who).await?;
    let Some(clocks) = &world.clocks else {
        return Ok(false);
    };
    let hours = match jump {
        Jump::Ahead => 1,
        Jump::Back => -1,
    };
    clocks.set(id, hours * HOUR_S)?;
    tokio::time::sleep(HEARD).await;
    break_connections(world, id).await;
    tokio::time::sleep(long).await;
    clocks_right(world)?;
    tokio::time::sleep(HEARD).await;
    break_connections(world, id).await;
    ensure!(world.fleet.node(id)?.is_running(), "node {id} has ended");
    Ok(true)
}

/// All clocks are right again, as soon as the library looks.
pub fn clocks_right(world: &World) -> Result<()> {
    let clocks = world.clocks.as_ref().context("its clocks are gone")?;
    world.others(0).iter().try_for_each(|id| clocks.set(*id, 0))
}

/// Whoever had a connection with this node dials anew.
pub async fn break_connections(world: &World, id: u64) {
    world.fleet.hops().set_around(&format!("n{id}"), Mode::Cut);
    tokio::time::sleep(BREAK).await;
    world.fleet.hops().heal();
}

/// False when this world's clocks cannot be set.
pub async fn strike(world: &mut World, who: Who, jump: Jump, long: Duration) -> Result<bool> {
    let Some(clocks) = &world.clocks else {
        return Ok(false);
    };
    let ids: Vec<u64> = world.fleet.nodes().iter().map(|node| node.id()).collect();
    ids.iter().try_for_each(|id| clocks.set(*id, 2 * HOUR_S))?;
    tokio::time::sleep(HEARD).await;
    let id = world.id(who).await?;
    let clocks = world.clocks.as_ref().context("its clocks are gone")?;
    let hours = match jump {
        Jump::Ahead => 3,
        Jump::Back => 1,
    };
    clocks.set(id, hours * HOUR_S)?;
    tokio::time::sleep(HEARD + long).await;
    ids.iter().try_for_each(|id| clocks.set(*id, 0))?;
    tokio::time::sleep(HEARD).await;
    ensure!(world.fleet.node(id)?.is_running(), "node {id} has ended");
    Ok(true)
}
