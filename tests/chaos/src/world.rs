//! A registry that can be hurt in every way, with what some of the ways need: clocks of its own, small disks.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reeve_local::{Builder, Fleet};

use crate::faults::clock::Clocks;
use crate::faults::disk::SmallDisk;

/// Nodes that may be added in one life of a world.
pub const SPARES: u64 = 3;

pub struct World {
    pub fleet: Fleet,
    /// None: the nodes live by the machine's clock.
    pub clocks: Option<Clocks>,
    /// The nodes' own disks, where they have one.
    pub disks: BTreeMap<u64, SmallDisk>,
    /// What is left to chance, by a seed.
    pub chance: StdRng,
}

/// A node of a fleet, by what it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Leader,
    Follower,
}

/// A registry without agents.
pub fn registry() -> Builder {
    let no_regions: [&str; 0] = [];
    // They compare their States all the while: a node that is stopped for it makes the play fail.
    let settings = toml::toml! {
        [raft]
        compare_ms = 200
        [disk]
        reserve_mb = 8
        ballast_mb = 0
        // Streams of other nodes stay open until then, and no call of these clients takes so long.
        [runtime]
        drain_ms = 1_000
    };
    Fleet::builder()
        .regions(no_regions)
        .node_settings(settings)
        .spares(SPARES)
}

impl World {
    /// As the builder says.
    pub async fn start(builder: Builder, seed: u64) -> Result<World> {
        Ok(World {
            fleet: builder.start().await?,
            clocks: None,
            disks: BTreeMap::new(),
            chance: StdRng::seed_from_u64(seed),
        })
    }

    /// The same, with clocks that can be set.
    pub async fn with_clocks(builder: Builder, seed: u64) -> Result<World> {
        let clocks = Clocks::new()?;
        let world = World::start(clocks.plant(builder), seed).await?;
        Ok(World {
            clocks: Some(clocks),
            ..world
        })
    }

    /// Moves each node to a small disk of its own. It takes root.
    pub async fn shrink_disks(&mut self) -> Result<()> {
        for node in self.fleet.nodes() {
            node.stop().await?;
            self.disks.insert(node.id(), SmallDisk::below(node)?);
            node.start()?;
            self.fleet.wait_whole().await?;
        }
        Ok(())
    }

    /// Which node that is now.
    pub async fn id(&mut self, who: Who) -> Result<u64> {
        let leader = self.fleet.leader().await?.id();
        if who == Who::Leader {
            return Ok(leader);
        }
        let others = self.others(leader);
        let drawn = others.choose(&mut self.chance).copied();
        drawn.context("a fleet of one has no follower")
    }

    /// All nodes but this one.
    pub fn others(&self, than: u64) -> Vec<u64> {
        let ids = self.fleet.nodes().iter().map(|node| node.id());
        ids.filter(|id| *id != than).collect()
    }

    /// A coin.
    pub fn flip(&mut self) -> bool {
        self.chance.random()
    }

    pub async fn shutdown(self) -> Result<()> {
        self.fleet.shutdown().await
    }
}
