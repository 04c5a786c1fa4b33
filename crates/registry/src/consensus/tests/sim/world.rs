//! The nodes of a simulation: real consensus, each on a disk that survives it, and a network between them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use reeve_domain::{Applied, Refusal, Revision, State};
use tokio::sync::oneshot;
use tonic::transport::Channel;

use super::disk::Disk;
use super::exec::{Owner, WORLD, here};
use super::ground::{
    self,
    time::{now, sleep, timeout},
};
use super::history::tell;
use super::net::{Door, Net};
use super::oracle::Oracle;
use super::shelf::{Shelf, keep_whole};
use super::wire::{Line, spawn_as};
use crate::consensus::snapshot::SnapshotStore;
use crate::consensus::{
    AppliedSink, Consensus, Dialer, Fatal, Forwarded, Handlers, Settings, Timing, folder,
};
use crate::vault::Sealer;

pub const CLUSTER: &str = "test";

/// How large this world is, and how soon its logs are cut.
#[derive(Clone, Debug)]
pub struct Size {
    pub nodes: u64,
    pub clients: u64,
    pub snapshot_entries: u64,
    pub trailing_entries: u64,
}

/// Log time may be as wrong as most clocks are; more is one clock's doing.
const AHEAD_MAX_MS: u64 = 2 * 3_600_000;

/// Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    size: Size,
    folder: PathBuf,
    nodes: Mutex<BTreeMap<u64, Node>>,
    serial: AtomicU64,
    over: AtomicBool,
    /// Nodes on their way to the roll.
    coming: AtomicU64,
    /// Nobody else is taken off the roll.
    locked: AtomicBool,
    pub net: Net,
    pub oracle: Oracle,
}

#[derive(Default)]
struct Node {
    disk: Disk,
    shelf: Shelf,
    life: u64,
    consensus: Option<Consensus>,
    /// Removed from the roll: it is not started again.
    is_gone: bool,
    is_starting: bool,
    is_leaving: bool,
    /// It is not started again for now.
    is_away: bool,
}

impl World {
    pub fn new(size: Size, folder: PathBuf, oracle: Oracle) -> World {
        World(Arc::new(Inner {
            size,
            folder,
            nodes: Mutex::default(),
            serial: AtomicU64::new(0),
            over: AtomicBool::new(false),
            coming: AtomicU64::new(0),
            locked: AtomicBool::new(false),
            net: Net::default(),
            oracle,
        }))
    }

    pub fn size(&self) -> &Size {
        &self.0.size
    }

    pub fn net(&self) -> &Net {
        &self.0.net
    }

    pub fn oracle(&self) -> &Oracle {
        &self.0.oracle
    }

    /// A number that nobody else has.
    pub fn serial(&self) -> u64 {
        self.0.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// No client begins anything any more.
    pub fn end(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed) || self.0.oracle.wrong().is_some()
    }

    /// Nodes that belong here, running or not.
    pub fn nodes(&self) -> Vec<u64> {
        let nodes = self.0.nodes.lock();
        let belong = nodes.iter().filter(|(_, node)| !node.is_gone);
        belong.map(|(id, _)| *id).collect()
    }

    pub fn running(&self) -> Vec<u64> {
        let nodes = self.0.nodes.lock();
        let running = nodes.iter().filter(|(_, node)| node.consensus.is_some());
        running.map(|(id, _)| *id).collect()
    }

    pub fn consensus(&self, id: u64) -> Option<Consensus> {
        self.0.nodes.lock().get(&id)?.consensus.clone()
    }

    pub fn disk(&self, id: u64) -> Option<Disk> {
        Some(self.0.nodes.lock().get(&id)?.disk.clone())
    }

    pub fn shelf(&self, id: u64) -> Option<Shelf> {
        Some(self.0.nodes.lock().get(&id)?.shelf.clone())
    }

    /// Who most nodes think leads.
    pub fn leader(&self) -> Option<u64> {
        let believed = self.running().into_iter().filter_map(|id| {
            let now = self.consensus(id)?.leadership().borrow().clone();
            now.leader.map(|leader| (now.term, leader))
        });
        believed.max().map(|(_, leader)| leader)
    }

    /// Runs something at a node, as its own task; none when the node dies meanwhile, or does not run.
    pub async fn at<T, F>(&self, id: u64, work: impl FnOnce(Consensus) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (owner, consensus) = {
            let nodes = self.0.nodes.lock();
            let node = nodes.get(&id)?;
            (owner(id, node.life), node.consensus.clone()?)
        };
        let (sender, receiver) = oneshot::channel();
        let work = work(consensus);
        spawn_as(owner, async move {
            // Whoever asked may be gone.
            let _ = sender.send(work.await);
        });
        receiver.await.ok()
    }

    /// Starts a node on what its disk holds.
    pub async fn start(&self, id: u64) {
        let (owner, disk, shelf) = {
            let mut nodes = self.0.nodes.lock();
            let node = nodes.entry(id).or_default();
            if node.consensus.is_some() || node.is_starting || node.is_gone || node.is_away {
                return;
            }
            node.life += 1;
            node.is_starting = true;
            (owner(id, node.life), node.disk.clone(), node.shelf.clone())
        };
        tell(format!("node {id} starts"));
        let (sender, receiver) = oneshot::channel();
        let world = self.clone();
        spawn_as(owner, async move {
            // Whoever started it may be gone.
            let _ = sender.send(world.open(owner, disk, shelf).await);
        });
        let consensus = match receiver.await {
            // It died on the way.
            Err(_) => return,
            Ok(Ok(consensus)) => consensus,
            Ok(Err(error)) => return self.0.oracle.fail(format!("node {id} does not start: {error}")),
        };
        let mut nodes = self.0.nodes.lock();
        let Some(node) = nodes
            .get_mut(&id)
            .filter(|node| node.life == owner.life && node.is_starting)
        else {
            // It died on the last metres; what it left must go without the lock.
            drop(nodes);
            return drop(consensus);
        };
        let service = consensus.peer_service(false);
        self.0.net.open(id, Door { owner, service });
        spawn_as(owner, watch(consensus.clone(), self.0.oracle.clone(), owner.life));
        spawn_as(owner, keep_whole(self.clone(), id));
        node.is_starting = false;
        node.consensus = Some(consensus);
    }

    async fn open(&self, owner: Owner, disk: Disk, shelf: Shelf) -> std::io::Result<Consensus> {
        let data_dir = self.0.folder.join(format!("n{}", owner.node));
        std::fs::create_dir_all(&data_dir)?;
        Consensus::make_folder(&data_dir, CLUSTER, owner.node)?;
        let settings = Settings {
            node_id: owner.node,
            cluster: CLUSTER.into(),
            data_dir: data_dir.clone(),
            timing: Timing::LAN,
            snapshot_entries: self.0.size.snapshot_entries,
            trailing_entries: self.0.size.trailing_entries,
            // It hashes on a thread of its own; the judge compares instead.
            compare_every: Duration::from_secs(24 * 3600),
            // Of the machine that the simulation runs on nothing is asked.
            disk: crate::consensus::DiskSettings {
                reserve_bytes: 0,
                ballast_bytes: 0,
                slow_flush: Duration::from_secs(24 * 3600),
            },
        };
        let keeper = crate::consensus::disk::Disk::open(data_dir.clone(), settings.disk)?;
        let ear = Arc::new(Ear {
            node: owner.node,
            oracle: self.0.oracle.clone(),
            shelf: shelf.clone(),
        });
        let (node, oracle) = (owner.node, self.0.oracle.clone());
        let fatal = Fatal::new(move |why| oracle.fail(format!("node {node} cannot go on: {why}")));
        let dialer = Arc::new(Memory {
            net: self.0.net.clone(),
            node,
        });
        let folder = folder::Folder::take(&data_dir, CLUSTER, owner.node)?;
        let sealer = Sealer::new(&[node as u8; 32]);
        let snapshots = SnapshotStore::open(data_dir.join("snapshots"), CLUSTER, sealer)?;
        let opened = crate::consensus::Opened {
            folder,
            best: snapshots.best(disk.purged()),
            snapshots,
            log: disk.open(owner),
            save_mark: Arc::new(|| Ok(())),
            flushing_for: Arc::new(|| None),
            disk: keeper,
        };
        Consensus::begin(settings, opened, dialer, ear, Arc::new(Open(shelf)), fatal).await
    }

    /// Takes a node away as a crash does: in the middle of everything, and its disk forgets what was not flushed.
    pub fn crash(&self, id: u64) {
        let (consensus, disk) = {
            let mut nodes = self.0.nodes.lock();
            let Some(node) = nodes.get_mut(&id) else { return };
            node.is_starting = false;
            (node.consensus.take(), node.disk.clone())
        };
        self.0.net.close(id);
        here().inspect(|core| core.kill(id));
        drop(consensus);
        let (kept, all) = disk.crash();
        tell(format!(
            "node {id} crashes; {kept} of {all} unflushed writes are kept"
        ));
    }

    /// Lets a node say goodbye, then takes it away.
    pub async fn stop(&self, id: u64) {
        tell(format!("node {id} is stopped in peace"));
        let goodbye = self.at(id, |consensus| async move { consensus.shutdown().await });
        let _ = timeout(Duration::from_secs(12), goodbye).await;
        self.crash(id);
    }

    /// A node that was removed is not started again.
    pub fn bury(&self, id: u64) {
        if let Some(node) = self.0.nodes.lock().get_mut(&id) {
            node.is_gone = true;
        }
        self.crash(id);
    }

    /// Whether a node that has crashed stays away, whoever wants to start it.
    pub fn keep_away(&self, id: u64, is_away: bool) {
        if let Some(node) = self.0.nodes.lock().get_mut(&id) {
            node.is_away = is_away;
        }
    }

    /// From here on one node is taken off the roll, and no other. False when somebody is leaving already.
    pub fn lock_roll(&self) -> bool {
        let nodes = self.0.nodes.lock();
        let is_free = nodes.values().all(|node| node.is_gone || !node.is_leaving);
        is_free && !self.0.locked.swap(true, Ordering::Relaxed)
    }

    pub fn is_roll_locked(&self) -> bool {
        self.0.locked.load(Ordering::Relaxed)
    }

    pub fn unlock_roll(&self) {
        self.0.locked.store(false, Ordering::Relaxed);
    }

    /// Whether a node may go and enough are left; it is not counted any more from then on.
    pub fn may_remove(&self, id: u64, least: usize) -> bool {
        let mut nodes = self.0.nodes.lock();
        let left = nodes
            .values()
            .filter(|node| !node.is_gone && !node.is_leaving)
            .count();
        match nodes.get_mut(&id) {
            Some(node) if !node.is_gone && !node.is_leaving && left > least => {
                node.is_leaving = true;
                true
            }
            _ => false,
        }
    }

    /// Whether there is room for another node; its place is taken from then on.
    pub fn may_join(&self, most: usize) -> bool {
        let coming = self.0.coming.fetch_add(1, Ordering::Relaxed) as usize;
        let has_room = self.nodes().len() + coming < most;
        if !has_room {
            self.joined();
        }
        has_room
    }

    pub fn is_anybody_coming(&self) -> bool {
        self.0.coming.load(Ordering::Relaxed) > 0
    }

    /// Whoever was coming has come, or never will.
    pub fn joined(&self) {
        self.0.coming.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits until something holds; false when it does not in time, or something went wrong before.
    pub async fn until(&self, long: Duration, holds: impl FnMut() -> bool) -> bool {
        self.look(long, Duration::from_millis(25), holds).await
    }

    /// The same for what holds for moments only.
    pub async fn until_often(&self, long: Duration, holds: impl FnMut() -> bool) -> bool {
        self.look(long, Duration::from_millis(1), holds).await
    }

    async fn look(&self, long: Duration, every: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let end = now() + long;
        while now() < end && self.0.oracle.wrong().is_none() {
            if holds() {
                return true;
            }
            sleep(every).await;
        }
        false
    }
}

fn owner(node: u64, life: u64) -> Owner {
    Owner {
        node,
        life,
        is_disk: false,
    }
}

/// Tells in which terms a node leads, and whether its State runs backwards.
async fn watch(consensus: Consensus, oracle: Oracle, life: u64) {
    let mut leadership = consensus.leadership();
    let (mut index, mut revision, mut clock) = (0, Revision(0), reeve_domain::Stamp(0));
    loop {
        let heard = leadership.borrow_and_update().clone();
        if let Some(leader) = heard.leader.filter(|leader| *leader == consensus.node_id()) {
            oracle.leads(heard.term, leader, life);
        }
        let published = consensus.published();
        let state = &published.state;
        if published.applied_index < index || state.revision < revision || state.clock < clock {
            oracle.fail(format!("the State of node {} ran backwards", consensus.node_id()));
        }
        if state.clock.millis_since(reeve_domain::Stamp(ground::true_ms())) > AHEAD_MAX_MS {
            oracle.fail(format!(
                "log time ran ahead of every clock but one's: {:?}",
                state.clock
            ));
        }
        (index, revision, clock) = (published.applied_index, state.revision, state.clock);
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

/// Hears what a node applies.
struct Ear {
    node: u64,
    oracle: Oracle,
    shelf: Shelf,
}

impl AppliedSink for Ear {
    fn applied(&self, batch: &[Arc<Applied>]) {
        for applied in batch {
            self.shelf.applied(applied.revision);
            self.oracle.applied(self.node, applied);
        }
    }

    fn installed(&self, state: &State) {
        self.shelf.installed(state.revision);
        self.oracle.holds(self.node, state);
        tell(format!(
            "node {} takes a snapshot of {:?}",
            self.node, state.revision
        ));
    }

    fn make_durable(&self, _: Revision) -> std::io::Result<()> {
        Ok(())
    }
}

struct Open(Shelf);

#[async_trait]
impl Handlers for Open {
    fn admit(&self, _: &State, _: &Forwarded) -> Result<(), Refusal> {
        Ok(())
    }

    async fn ask(&self, question: Bytes) -> Result<Bytes, String> {
        Ok(question)
    }

    async fn fetch_archive(&self, _: Bytes) -> Result<Vec<Bytes>, String> {
        Ok(Vec::new())
    }

    fn archive_is_whole(&self) -> bool {
        self.0.is_whole()
    }
}

struct Memory {
    net: Net,
    node: u64,
}

impl Dialer for Memory {
    fn channel(&self, _: u64, address: &str) -> Channel {
        // Never dialled: `line` comes first.
        tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .expect("an address")
            .connect_lazy()
    }

    fn line(&self, node: u64) -> Option<Line> {
        Some(Line {
            net: self.net.clone(),
            from: self.node,
            to: node,
        })
    }
}

/// Runs something of the world's own.
pub fn aside(work: impl Future<Output = ()> + Send + 'static) {
    spawn_as(WORLD, work);
}

pub fn drawn(range: std::ops::Range<u64>) -> u64 {
    here().map_or(range.start, |core| core.chance.lock().between(range))
}

pub fn chance(percent: u64) -> bool {
    here().is_some_and(|core| core.chance.lock().percent(percent))
}

pub fn pick<T: Clone>(from: &[T]) -> Option<T> {
    here().and_then(|core| core.chance.lock().pick(from))
}
