//! The disks of the group: a full one takes nothing more, and neither a full nor a slow one leads.
//!
//! ```text
//! look (space, flushes) ─► Health of this node ─► told to the leader with each answer ─► decide ─► hand over
//!                                   │                                                       └────► refuse writes
//!                                   └─► full: appends of the leader are turned away, reads go on
//! ```
//! It heals by itself when there is room again.

mod ballast;
mod decide;
mod slowness;
mod space;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reeve_domain::Refusal;
use tokio::time::MissedTickBehavior;

use super::Consensus;
use super::ground::{self, time};
use decide::{Decision, decide};
use slowness::Slowness;
use space::Space;

/// How often space is looked at, and leadership thought about.
const EVERY: Duration = Duration::from_millis(250);
/// Two disks that are slow in turns must not pass leadership to and fro.
const HAND_OVER_EVERY: Duration = Duration::from_secs(10);

/// When a disk counts as full or slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    /// Room that is kept for votes, snapshots and whoever repairs: with less, the disk counts as full.
    pub reserve_bytes: u64,
    /// A file that is given up when a node could not start otherwise. 0 for none.
    pub ballast_bytes: u64,
    /// A flush of the log that takes longer is slow; three in a row are too many for a leader.
    pub slow_flush: Duration,
}

/// How a node's disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub full: bool,
    pub slow: bool,
}

/// What this node knows of its own disk and of the others'.
#[derive(Clone)]
pub(super) struct Disk {
    settings: DiskSettings,
    data_dir: Arc<PathBuf>,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    space: Space,
    slowness: Slowness,
    /// As the others last told it.
    others: BTreeMap<u64, Health>,
    handed_over: Option<Instant>,
    refuses: Option<Vec<u64>>,
}

impl Disk {
    pub(super) fn open(data_dir: PathBuf, settings: DiskSettings) -> io::Result<Disk> {
        let disk = Disk {
            settings,
            data_dir: Arc::new(data_dir),
            inner: Arc::new(Mutex::new(Inner {
                space: Space::new(settings.reserve_bytes),
                slowness: Slowness::new(settings.slow_flush),
                others: BTreeMap::new(),
                handed_over: None,
                refuses: None,
            })),
        };
        disk.look()?;
        Ok(disk)
    }

    /// This node's own.
    pub(super) fn health(&self) -> Health {
        let inner = self.inner.lock();
        Health {
            full: inner.space.is_full(),
            slow: inner.slowness.is_slow(),
        }
    }

    /// Another node told of its own.
    pub(super) fn heard(&self, node: u64, health: Health) {
        self.inner.lock().others.insert(node, health);
    }

    /// Another node's, as it last told it.
    pub(super) fn health_of(&self, node: u64) -> Health {
        self.inner.lock().others.get(&node).copied().unwrap_or_default()
    }

    /// A flush of the log has ended.
    pub(super) fn flushed(&self, took: Duration) {
        self.inner.lock().slowness.flushed(took);
    }

    /// Why the leader takes no change now.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let inner = self.inner.lock();
        let nodes = inner.refuses.as_ref()?.iter().map(u64::to_string);
        Some(Refusal::DiskFull(nodes.collect::<Vec<_>>().join(", ")))
    }

    fn look(&self) -> io::Result<()> {
        let disk = rustix::fs::statvfs(self.data_dir.as_path())?;
        let (free, total) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        let before = self.health().full;
        self.inner.lock().space.looked(free, total);
        match (before, self.health().full) {
            (false, true) => tracing::error!(free, "the disk is full: nothing more is taken, reads go on"),
            (true, false) => tracing::warn!(free, "the disk has room again"),
            _ => {}
        }
        ballast::take_when_possible(&self.data_dir, self.settings, free)
    }

    fn flushing_for(&self, under_way: Option<Duration>) {
        let before = self.health().slow;
        self.inner.lock().slowness.flushing(under_way.unwrap_or_default());
        if !before && self.health().slow {
            tracing::warn!("the disk is slow: it should not be the leader's");
        }
    }

    fn decide(&self, me: u64, voters: &[u64], matched: &BTreeMap<u64, u64>) -> Decision {
        let health = self.health();
        let mut inner = self.inner.lock();
        let decision = decide((me, health), &inner.others, voters, matched);
        inner.refuses = match &decision {
            Decision::Refuse(full) => Some(full.clone()),
            Decision::Go | Decision::HandOver(_) => None,
        };
        decision
    }

    fn may_hand_over(&self) -> bool {
        let mut inner = self.inner.lock();
        let may = inner.handed_over.is_none_or(|at| at.elapsed() >= HAND_OVER_EVERY);
        if may {
            inner.handed_over = Some(Instant::now());
        }
        may
    }
}

impl Consensus {
    /// Before anything is written to the data folder: without room to start, the ballast goes.
    pub fn make_room(data_dir: &Path, settings: DiskSettings) -> io::Result<()> {
        ballast::give_up_when_needed(data_dir, settings)
    }

    /// How this node's disk is.
    pub fn disk_health(&self) -> Health {
        self.0.disk.health()
    }

    /// Watches the disk, and leads only while it can be written to.
    pub(super) async fn keep_disk(self) {
        let mut beat = time::interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let disk = self.0.disk.clone();
            if let Ok(Err(error)) = ground::spawn_blocking(move || disk.look()).await {
                tracing::warn!(%error, "the disk cannot be looked at");
            }
            self.0.disk.flushing_for((self.0.flushing_for)());
            if !self.is_leader() {
                continue;
            }
            let voters: Vec<u64> = self.voters().into_iter().collect();
            let decision = self.0.disk.decide(self.node_id(), &voters, &self.group().matched);
            if let Decision::HandOver(heir) = decision
                && !self.is_leaving()
                && self.0.disk.may_hand_over()
            {
                tracing::warn!(heir, health = ?self.disk_health(), "handing leadership over: this disk cannot lead");
                if let Err(error) = self.transfer_leader(heir).await {
                    tracing::warn!(%error, "leadership was not handed over");
                }
            }
        }
    }
}
