//! Consensus: a handle to one node's place in the Raft group. No other room names an openraft type.
//!
//! ```text
//! propose ─► (leader) log ─► fdatasync on a majority ─► apply ─► State ─► published ─► sink, answers
//! read ────► freshness, or one ReadIndex round for all who wait ─────────────► a view of State
//! ```
//! The log is `raft-log`, the state is in memory, snapshots are files of our own.

mod ask;
mod compare;
mod decode;
mod disk;
mod fatal;
mod folder;
mod freshness;
mod ground;
mod incoming;
mod leadership;
mod leave;
mod links;
mod log;
mod log_time;
mod machine;
mod mark;
mod membership;
mod network;
mod peer_server;
mod plant;
mod progress;
mod propose;
mod read;
mod recent;
mod removal;
mod scrub;
mod seams;
mod settings;
mod snapshot;
mod survivor;
mod tail;
mod tell;
mod types;
mod under_way;
mod versions;
mod wal;
mod wholes;

#[cfg(test)]
mod tests;

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::storage::RaftLogStorage;
use reeve_domain::{NodeId, Revision};
use reeve_proto::internal::v1::peer_service_server::PeerServiceServer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use disk::{DiskSettings, Health};
pub use fatal::Fatal;
pub use folder::Folder;
pub use leadership::Leadership;
pub use machine::Published;
pub use membership::{NodeRole, NodeStatus, Status};
pub use peer_server::PeerServer;
pub use plant::plant;
pub use propose::Forwarded;
pub use read::{Level, View};
pub use removal::{Stays, Turn, Voters, may_leave};
pub use seams::{AppliedSink, Dialer, Handlers, Timer, Work};
pub use settings::{Settings, Timing};
pub use survivor::{Survivor, read as read_survivor};
pub use types::Committed;
pub use versions::Program;

use crate::vault::Sealer;
use compare::Compare;
use disk::Disk;
use freshness::Freshness;
use ground::time;
use incoming::Incoming;
use links::{Links, MESSAGE_BYTES_MAX};
use log_time::LogTime;
use machine::{Board, Machine};
use propose::Forwarder;
use read::ReadQueue;
use snapshot::{Best, SnapshotStore};
use types::Raft;
use under_way::UnderWay;
use versions::Programs;
use wholes::Wholes;

/// Why there is no answer. Nothing is known to have changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Send it again with the same request id.
    #[error("no leader answered within the deadline; send it again with the same request_id")]
    NoLeader,
    /// This node is behind.
    #[error("this node has not caught up to revision {asked}")]
    NotCaughtUp {
        /// The revision that was asked for.
        asked: Revision,
    },
    /// This node cannot go on.
    #[error("{0}")]
    Broken(String),
}

/// One node's place in the group. Cheap to clone.
#[derive(Clone)]
pub struct Consensus(Arc<Inner>);

struct Inner {
    settings: Settings,
    raft: Raft,
    board: Board,
    links: Links,
    snapshots: SnapshotStore,
    incoming: Incoming,
    save_mark: SaveMark,
    flushing_for: FlushingFor,
    freshness: Freshness,
    programs: Programs,
    wholes: Wholes,
    exit: removal::Exit,
    leadership: watch::Receiver<Leadership>,
    forwarder: Forwarder,
    reads: ReadQueue,
    handlers: Arc<dyn Handlers>,
    log_time: LogTime,
    compare: Compare,
    disk: Disk,
    under_way: UnderWay,
    tasks: TaskTracker,
    /// This node is about to stop: it begins no change of the group.
    leaving: CancellationToken,
    stop: CancellationToken,
    _folder: folder::Folder,
}

/// Writes down how far the log is known to be durable.
type SaveMark = Arc<dyn Fn() -> std::io::Result<()> + Send + Sync>;
/// For how long a flush of the log has been under way.
type FlushingFor = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// What a node has on its disk besides snapshots.
struct Opened<L> {
    folder: folder::Folder,
    log: L,
    save_mark: SaveMark,
    flushing_for: FlushingFor,
    disk: Disk,
    snapshots: SnapshotStore,
    /// The State to begin with.
    best: io::Result<Best>,
}

/// A data folder that was taken and read, and that no node runs on yet.
pub struct Recalled(Opened<log::LogStore>);

/// A log that is older is worth a snapshot however short it is: the next start replays it.
const SNAPSHOT_PERIOD: Duration = Duration::from_secs(6 * 3600);

impl Consensus {
    /// Gives a node its data folder, before its first start. A folder that is not there later was lost, and a node
    /// that lost it must not vote: it may have voted before.
    pub fn make_folder(data_dir: &std::path::Path, cluster: &str, node_id: u64) -> std::io::Result<()> {
        folder::make(data_dir, cluster, node_id)
    }

    /// The file that says that a process uses the folder.
    pub const LOCK: &str = folder::LOCK;

    /// Refuses a folder that is not this node's, or that another process uses, before anything in it is opened.
    pub fn check_folder(data_dir: &std::path::Path, cluster: &str, node_id: u64) -> std::io::Result<()> {
        compare::check(data_dir)?;
        Folder::take(data_dir, cluster, node_id).map(drop)
    }

    /// Takes a folder that no node runs on, whoever it is of, for as long as what comes back lives.
    pub fn lock_folder(data_dir: &std::path::Path) -> std::io::Result<Folder> {
        Folder::lock(data_dir)
    }

    /// Whose folder it is.
    pub fn owner_of(data_dir: &std::path::Path) -> std::io::Result<u64> {
        folder::owner(data_dir).map(|(_, id)| id)
    }

    /// Takes the data folder and reads what is in it, log and snapshot side by side. It waits for the disk.
    pub fn recall(settings: &Settings, sealer: &Sealer, fatal: &Fatal) -> io::Result<Recalled> {
        let dir = &settings.data_dir;
        compare::check(dir)?;
        let folder = folder::Folder::take(dir, &settings.cluster, settings.node_id)?;
        let disk = Disk::open(dir.clone(), settings.disk)?;
        let snapshots = SnapshotStore::open(dir.join("snapshots"), &settings.cluster, sealer.clone())?;
        let (whole, log) = std::thread::scope(|side| {
            let whole = side.spawn(|| snapshots.newest_whole());
            let log = log::LogStore::open(dir, sealer.clone(), fatal.clone());
            (whole.join(), log)
        });
        let (log, whole) = (log?, whole.unwrap_or_else(|panic| resume_unwind(panic)));
        let purged = log.purged()?;
        let best = whole.and_then(|whole| snapshots.must_reach(whole, purged));
        let (mark, flushing) = (log.clone(), log.clone());
        Ok(Recalled(Opened {
            folder,
            log,
            save_mark: Arc::new(move || mark.save_mark()),
            flushing_for: Arc::new(move || flushing.flushing_for()),
            disk,
            snapshots,
            best,
        }))
    }

    /// Takes part with what was read. A new node waits until somebody makes it a member.
    pub async fn open(
        settings: Settings,
        Recalled(opened): Recalled,
        dialer: Arc<dyn Dialer>,
        sink: Arc<dyn AppliedSink>,
        handlers: Arc<dyn Handlers>,
        fatal: Fatal,
    ) -> io::Result<Consensus> {
        opened.log.tell(timer(opened.disk.clone(), sink.timer()));
        Consensus::begin(settings, opened, dialer, sink, handlers, fatal).await
    }

    /// Takes part with what is on a disk.
    async fn begin<L: RaftLogStorage<types::C>>(
        settings: Settings,
        opened: Opened<L>,
        dialer: Arc<dyn Dialer>,
        sink: Arc<dyn AppliedSink>,
        handlers: Arc<dyn Handlers>,
        fatal: Fatal,
    ) -> std::io::Result<Consensus> {
        let Opened {
            folder,
            log,
            save_mark,
            flushing_for,
            disk,
            snapshots,
            best,
        } = opened;
        let board = Board::new();
        let compare = Compare::start(&settings.data_dir, fatal.clone())?;
        let mut machine = Machine::begin(best, snapshots.clone(), board.clone(), sink, fatal.clone())?;
        machine.compare_with(compare.clone());
        machine.stop_snapshots_on(disk.clone());
        let under_way = UnderWay::default();
        machine.settle(under_way.clone());
        let links = Links::new(settings.node_id, &settings.cluster, dialer);
        let factory = network::Factory {
            links: links.clone(),
            store: snapshots.clone(),
        };

        let config = Arc::new(settings::config(&settings).map_err(std::io::Error::other)?);
        let raft = Raft::new(settings.node_id, config, factory, log, machine)
            .await
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        let (forwarder, batches) = Forwarder::new();
        let (reads, rounds) = ReadQueue::new();
        let (lead, leadership) = watch::channel(Leadership::default());

        let consensus = Consensus(Arc::new(Inner {
            settings,
            raft,
            board,
            links,
            snapshots,
            incoming: Incoming::default(),
            save_mark,
            flushing_for,
            freshness: Freshness::new(),
            programs: Programs::default(),
            wholes: Wholes::default(),
            exit: removal::Exit::default(),
            leadership,
            forwarder,
            reads,
            handlers,
            log_time: LogTime::default(),
            compare,
            disk,
            under_way,
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
            stop: CancellationToken::new(),
            _folder: folder,
        }));
        consensus.spawn(batches.run(consensus.clone()));
        consensus.spawn(rounds.run(consensus.clone()));
        consensus.spawn(consensus.clone().reconcile());
        consensus.spawn(consensus.clone().follow(lead, fatal));
        consensus.spawn(consensus.clone().tell());
        consensus.spawn(consensus.clone().keep_comparing());
        consensus.spawn(consensus.clone().keep_log_short());
        consensus.spawn(consensus.clone().keep_disk());
        Ok(consensus)
    }

    /// Waits for something no longer than this node takes part.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.stop.run_until_cancelled(work).await
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Tasks hold a handle themselves: without a word to stop they would keep the folder for ever.
        let stop = self.0.stop.clone();
        ground::spawn(self.0.tasks.track_future(async move {
            stop.run_until_cancelled(task).await;
        }));
    }

    /// The door for other nodes.
    pub fn peer_service(&self, check_identity: bool) -> PeerServiceServer<PeerServer> {
        PeerServiceServer::new(PeerServer {
            consensus: self.clone(),
            check_identity,
        })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The state as it is published now.
    pub fn published(&self) -> Arc<Published> {
        self.0.board.published.load_full()
    }

    /// Tells who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// Whether this node believes that it leads. A write or a read round confirms it.
    pub fn is_leader(&self) -> bool {
        self.0.leadership.borrow().leader == Some(self.0.settings.node_id)
    }

    /// The term this node is in.
    pub fn term(&self) -> u64 {
        self.0.leadership.borrow().term
    }

    /// This node.
    pub fn node_id(&self) -> u64 {
        self.0.settings.node_id
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.0.settings.cluster
    }

    /// Makes a snapshot now.
    pub async fn snapshot_now(&self) -> Result<(), Unavailable> {
        self.0
            .raft
            .trigger()
            .snapshot()
            .await
            .map_err(|error| Unavailable::Broken(error.to_string()))
    }

    /// Follows openraft's own metrics, and ends the process when it has stopped.
    async fn follow(self, lead: watch::Sender<Leadership>, fatal: Fatal) {
        let mut metrics = self.0.raft.metrics();
        loop {
            let now = metrics.borrow_watched().clone();
            if let Err(error) = &now.running_state {
                if !matches!(error, openraft::errors::Fatal::Stopped) {
                    fatal.raise(&format!("consensus has stopped: {error}"));
                }
                return;
            }
            if now.state != openraft::ServerState::Leader {
                self.0.wholes.forget();
            }
            lead.send_replace(Leadership::of(&now));
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes snapshots by age; by size openraft does.
    async fn keep_log_short(self) {
        let mut beat = time::interval(SNAPSHOT_PERIOD);
        beat.tick().await;
        loop {
            beat.tick().await;
            if let Err(error) = self.snapshot_now().await {
                tracing::warn!(%error, "no snapshot was made");
            }
        }
    }

    fn under_way(&self) -> &UnderWay {
        &self.0.under_way
    }

    fn disk(&self) -> &Disk {
        &self.0.disk
    }

    fn wholes(&self) -> &Wholes {
        &self.0.wholes
    }

    fn exit(&self) -> &removal::Exit {
        &self.0.exit
    }

    fn programs(&self) -> &Programs {
        &self.0.programs
    }

    fn compare(&self) -> &Compare {
        &self.0.compare
    }

    fn compare_period(&self) -> Duration {
        self.0.settings.compare_every
    }

    pub(crate) fn address_of(&self, node: u64) -> Option<String> {
        let metrics = self.0.raft.metrics().borrow_watched().clone();
        let member = metrics
            .membership_config
            .get_node(&node)
            .map(|node| node.addr.clone());
        member.or_else(|| {
            self.published()
                .state
                .nodes
                .get(&NodeId(node))
                .map(|node| node.peer.clone())
        })
    }

    fn raft(&self) -> &Raft {
        &self.0.raft
    }

    fn board(&self) -> &Board {
        &self.0.board
    }

    fn links(&self) -> &Links {
        &self.0.links
    }

    fn incoming(&self) -> &Incoming {
        &self.0.incoming
    }

    fn snapshots(&self) -> &SnapshotStore {
        &self.0.snapshots
    }

    fn freshness(&self) -> &Freshness {
        &self.0.freshness
    }

    fn forwarder(&self) -> &Forwarder {
        &self.0.forwarder
    }

    fn read_queue(&self) -> &ReadQueue {
        &self.0.reads
    }

    fn handlers(&self) -> Arc<dyn Handlers> {
        self.0.handlers.clone()
    }

    fn log_time(&self) -> &LogTime {
        &self.0.log_time
    }

    /// Whether this node leads, and no other votes.
    fn is_alone(&self) -> bool {
        self.0.leadership.borrow().alone
    }
}

/// Tells the disk's keeper of each flush, and whoever else wants to know.
fn timer(disk: Disk, then: Timer) -> Timer {
    Arc::new(move |work, took| {
        if work == Work::LogFlush {
            disk.flushed(took);
        }
        then(work, took);
    })
}
