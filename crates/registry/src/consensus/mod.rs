//! Consensus: a handle to one node's place in the Raft group. No other room names an openraft type.
//!
//! ```text
//! propose ─► (leader) log ─► fdatasync on a majority ─► apply ─► State ─► published ─► sink, answers
//! read ────► freshness, or one ReadIndex round for all who wait ─────────────► a view of State
//! ```
//! The log is `raft-log`, the state is in memory, snapshots are files of our own.

mod compare;
mod decode;
mod disk;
mod folder;
mod freshness;
mod ground;
mod incoming;
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
mod snapshot;
mod survivor;
mod tail;
mod types;
mod versions;
mod wal;
mod wholes;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::storage::RaftLogStorage;
use openraft::{Config, Instant as _, SnapshotPolicy};
use reeve_domain::{Applied, NodeId, Refusal, Revision, State};
use reeve_proto::internal::v1 as wire;
use reeve_proto::internal::v1::peer_service_server::PeerServiceServer;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

pub use disk::{DiskSettings, Health};
pub use folder::Folder;
pub use machine::Published;
pub use membership::{NodeRole, NodeStatus, Status};
pub use peer_server::PeerServer;
pub use plant::plant;
pub use propose::Forwarded;
pub use read::{Level, View};
pub use removal::{Stays, Turn, Voters, may_leave};
pub use survivor::{Survivor, read as read_survivor};
pub use types::Committed;
pub use versions::Program;

use crate::mutant::Mutant;
use crate::vault::Sealer;
use compare::{Compare, Mark};
use disk::Disk;
use freshness::Freshness;
use ground::time;
use incoming::Incoming;
use links::{Line, Links, MESSAGE_BYTES_MAX};
use log_time::LogTime;
use machine::{Board, Machine};
use propose::Forwarder;
use read::ReadQueue;
use snapshot::SnapshotStore;
use types::{Metrics, Raft};
use versions::Programs;
use wholes::{Question, Wholes};

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node_id: u64,
    pub cluster: String,
    pub data_dir: PathBuf,
    pub timing: Timing,
    /// A snapshot is made after so many entries.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot, so that one who was away briefly catches up from the log.
    pub trailing_entries: u64,
    /// How often the nodes compare their States.
    pub compare_every: Duration,
    pub disk: DiskSettings,
}

/// Heartbeats and elections. After a leader dies, writes are back after about
/// `election_max + (election_min ..= election_max) + 50 ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
}

impl Timing {
    /// Nodes in one data centre.
    pub const LAN: Timing = Timing {
        heartbeat_ms: 100,
        election_min_ms: 300,
        election_max_ms: 400,
    };
    /// Nodes in several.
    pub const WAN: Timing = Timing {
        heartbeat_ms: 250,
        election_min_ms: 800,
        election_max_ms: 1_000,
    };
}

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

/// Who leads, as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<u64>,
    pub term: u64,
    /// Leader only: when a quorum last answered.
    pub quorum_acked: Option<Instant>,
    /// Leader only: the last entry of its own term that it knows to be committed. Until there is one it may lack
    /// what the leader before it acknowledged.
    settled: Option<u64>,
    /// Leader only: it needs nobody else.
    alone: bool,
}

/// What a leader can say of its own state: all that was acknowledged so long ago is in so many entries.
#[derive(Clone, Copy, Debug)]
struct Word {
    committed_index: u64,
    quorum_age: Duration,
}

impl Leadership {
    fn of(metrics: &Metrics) -> Leadership {
        let leads = metrics.state == openraft::ServerState::Leader;
        let settled = metrics.cluster_committed.filter(|id| {
            let leader = id.committed_leader_id();
            leads && (leader.term, leader.node_id) == (metrics.current_term, metrics.id)
        });
        let mut voters = metrics.membership_config.voter_ids();
        Leadership {
            leader: metrics.current_leader,
            term: metrics.current_term,
            quorum_acked: metrics.last_quorum_acked.map(|at| time::now() - at.elapsed()),
            settled: settled.map(|id| id.index),
            alone: leads && voters.all(|id| id == metrics.id),
        }
    }

    fn word(&self) -> Option<Word> {
        let quorum_age = match self.alone {
            true => Duration::ZERO,
            false => time::now() - self.quorum_acked?,
        };
        self.settled.map(|committed_index| Word {
            committed_index,
            quorum_age,
        })
    }
}

/// Hears of everything that was applied, in order, before anyone is answered.
pub trait AppliedSink: Send + Sync {
    /// These were applied; called on the applying task, and with it on the thread of consensus: it may wait for nothing
    /// but room in the archive's queue (docs/architecture.md, "Threads").
    fn applied(&self, batch: &[Arc<Applied>]);
    /// The state was replaced by a snapshot's; what lies between was not heard.
    fn installed(&self, state: &State);
    /// Everything up to this revision must survive a power cut once this returns.
    fn make_durable(&self, upto: Revision) -> std::io::Result<()>;
    /// Who hears how long this node's disk took. The log keeps it: it must not lead back to consensus.
    fn timer(&self) -> Timer {
        Arc::new(|_, _| {})
    }
}

/// Called where the disk was waited for, also on the log's own thread: it must not wait itself.
pub type Timer = Arc<dyn Fn(Work, Duration) + Send + Sync>;

/// What this node's disk is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// From handing a flush to the log's writer to its callback.
    LogFlush,
    SnapshotWrite,
    /// Read whole, checked and taken in.
    SnapshotInstall,
}

/// What other rooms answer when nodes ask each other.
#[async_trait]
pub trait Handlers: Send + Sync {
    /// Decides policy again, as the leader, for a proposal that came from another node.
    fn admit(&self, state: &State, proposal: &Forwarded) -> Result<(), Refusal>;
    /// Answers a question to the leader.
    async fn ask(&self, question: Bytes) -> Result<Bytes, String>;
    /// Answers for a range of the archive.
    async fn fetch_archive(&self, range: Bytes) -> Result<Vec<Bytes>, String>;
    /// Whether nothing is missing in this node's archive; it must not wait.
    fn archive_is_whole(&self) -> bool;
}

/// Opens channels to peers; TLS and proxies are its business.
pub trait Dialer: Send + Sync {
    /// A lazy channel to a node that is said to be at this address.
    fn channel(&self, node: u64, address: &str) -> Channel;
    /// In memory instead, to a node of the same simulation.
    #[cfg(test)]
    fn line(&self, _node: u64) -> Option<tests::sim::wire::Line> {
        None
    }
}

/// Ends the process when going on would lie.
#[derive(Clone)]
pub struct Fatal(Arc<dyn Fn(&str) + Send + Sync>);

impl Fatal {
    /// What to do; the process must not go on afterwards.
    pub fn new(end: impl Fn(&str) + Send + Sync + 'static) -> Fatal {
        Fatal(Arc::new(end))
    }

    /// Logs why and exits with status 70.
    #[allow(
        clippy::disallowed_methods,
        reason = "what would run on the way out could acknowledge what is not durable"
    )]
    pub fn exit() -> Fatal {
        Fatal::new(|why| {
            tracing::error!(why, "this node cannot go on");
            std::process::exit(70);
        })
    }

    /// Says why.
    pub fn raise(&self, why: &str) {
        (self.0)(why);
    }
}

impl std::fmt::Debug for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fatal")
    }
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
    /// The last entry that only a snapshot holds.
    purged: Option<u64>,
    save_mark: SaveMark,
    flushing_for: FlushingFor,
    disk: Disk,
}

/// How often the leader tells the others how fresh it is, and the durable mark is written.
const LEAD_PERIOD: Duration = Duration::from_millis(100);

/// The longest that another node may keep a question.
const ASK_LIMIT: Duration = Duration::from_secs(5);
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

    /// Opens the data folder and takes part. A new node waits until somebody makes it a member.
    pub async fn open(
        settings: Settings,
        sealer: Sealer,
        dialer: Arc<dyn Dialer>,
        sink: Arc<dyn AppliedSink>,
        handlers: Arc<dyn Handlers>,
        fatal: Fatal,
    ) -> std::io::Result<Consensus> {
        compare::check(&settings.data_dir)?;
        let folder = folder::Folder::take(&settings.data_dir, &settings.cluster, settings.node_id)?;
        let disk = Disk::open(settings.data_dir.clone(), settings.disk)?;
        let log = log::LogStore::open(&settings.data_dir, sealer.clone(), fatal.clone())?;
        log.tell(timer(disk.clone(), sink.timer()));
        let purged = log.purged()?;
        let (mark, flushing) = (log.clone(), log.clone());
        let opened = Opened {
            folder,
            log,
            purged,
            save_mark: Arc::new(move || mark.save_mark()),
            flushing_for: Arc::new(move || flushing.flushing_for()),
            disk,
        };
        Consensus::begin(settings, opened, sealer, dialer, sink, handlers, fatal).await
    }

    /// Takes part with what is on a disk.
    async fn begin<L: RaftLogStorage<types::C>>(
        settings: Settings,
        opened: Opened<L>,
        sealer: Sealer,
        dialer: Arc<dyn Dialer>,
        sink: Arc<dyn AppliedSink>,
        handlers: Arc<dyn Handlers>,
        fatal: Fatal,
    ) -> std::io::Result<Consensus> {
        let Opened {
            folder,
            log,
            purged,
            save_mark,
            flushing_for,
            disk,
        } = opened;
        let board = Board::new();
        let snapshots = SnapshotStore::open(settings.data_dir.join("snapshots"), &settings.cluster, sealer)?;
        let compare = Compare::start(&settings.data_dir, fatal.clone())?;
        let mut machine = Machine::open(snapshots.clone(), board.clone(), sink, fatal.clone(), purged)?;
        machine.compare_with(compare.clone());
        machine.stop_snapshots_on(disk.clone());
        let links = Links::new(settings.node_id, &settings.cluster, dialer);
        let factory = network::Factory {
            links: links.clone(),
            store: snapshots.clone(),
        };

        let config = Arc::new(config(&settings).map_err(std::io::Error::other)?);
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

    /// Tells the applied index after each change of the published state.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.0.board.applied.subscribe()
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

    /// Asks the leader's own memory; on the leader, this node's.
    pub async fn ask(&self, question: Bytes) -> Result<Bytes, Unavailable> {
        if self.is_leader() {
            return self.0.handlers.ask(question).await.map_err(Unavailable::Broken);
        }
        let mut leadership = self.leadership();
        let leader = leadership
            .borrow_and_update()
            .leader
            .ok_or(Unavailable::NoLeader)?;
        let address = self.address_of(leader).ok_or(Unavailable::NoLeader)?;
        let mut client = self.0.links.client(leader, &address, Line::Forward);
        let envelope = Some(self.0.links.envelope_of(question));
        let answer = tokio::select! {
            biased;
            answer = client.ask(wire::AskRequest { envelope }) => answer,
            // One that is frozen does not answer, and another may lead by now.
            _ = leadership.wait_for(|now| now.leader != Some(leader)) => return Err(Unavailable::NoLeader),
            () = time::sleep(ASK_LIMIT) => return Err(Unavailable::NoLeader),
        };
        let answer = answer.map_err(|status| match status.code() {
            tonic::Code::Unavailable => Unavailable::NoLeader,
            _ => Unavailable::Broken(status.message().to_owned()),
        })?;
        Ok(answer.into_inner().body)
    }

    /// Fetches a range of another node's archive.
    pub async fn fetch_archive(&self, from: u64, range: Bytes) -> Result<Vec<Bytes>, Unavailable> {
        let address = self.address_of(from).ok_or(Unavailable::NoLeader)?;
        let mut client = self.0.links.client(from, &address, Line::Snapshot);
        let envelope = Some(self.0.links.envelope_of(range));
        let broken = |status: tonic::Status| Unavailable::Broken(status.message().to_owned());
        let silent = |_| Unavailable::Broken(format!("node {from} fell silent"));
        let asked = client.fetch_archive(wire::FetchArchiveRequest { envelope });
        let answer = time::timeout(ASK_LIMIT, asked).await.map_err(silent)?;
        let mut stream = answer.map_err(broken)?.into_inner();
        let mut found = Vec::new();
        loop {
            let next = time::timeout(ASK_LIMIT, stream.message());
            match next.await.map_err(silent)?.map_err(broken)? {
                Some(item) => found.push(item.body),
                None => return Ok(found),
            }
        }
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

    /// Tells the others how fresh the leader is, and writes the durable mark.
    async fn tell(self) {
        let mut beat = time::interval(LEAD_PERIOD);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let save_mark = self.0.save_mark.clone();
            if let Ok(Err(error)) = ground::spawn_blocking(move || save_mark()).await {
                tracing::warn!(%error, "the durable mark was not written");
            }
            if self.is_leader() {
                self.tell_once();
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

    fn tell_once(&self) {
        let metrics = self.0.raft.metrics().borrow_watched().clone();
        let Some(word) = Leadership::of(&metrics).word() else {
            return;
        };
        let quorum_age_ms = word.quorum_age.as_millis() as u64 + 1;
        self.0
            .freshness
            .said(metrics.current_term, word.committed_index, quorum_age_ms);
        let known = self.known_to_tell();
        self.0
            .log_time
            .group(metrics.membership_config.voter_ids().collect());
        for (id, node) in metrics
            .membership_config
            .nodes()
            .filter(|(id, _)| **id != self.node_id())
        {
            let mut client = self.0.links.client(*id, &node.addr, Line::Beat);
            let told = wire::LeadRequest {
                envelope: Some(self.0.links.envelope_of(Bytes::new())),
                term: metrics.current_term,
                committed_index: word.committed_index,
                quorum_age_ms,
                clock_ms: self.0.freshness.clock_of(*id),
                compare_index: self.0.compare.wanted(),
                odd_index: self.0.compare.odd_at(*id),
                known: known.clone(),
            };
            let (freshness, compare, id) = (self.0.freshness.clone(), self.0.compare.clone(), *id);
            let (disk, programs) = (self.0.disk.clone(), self.0.programs.clone());
            let (wholes, log_time) = (self.0.wholes.clone(), self.0.log_time.clone());
            let question = Question {
                term: metrics.current_term,
                at: time::now(),
                last_index: metrics.last_log_index.unwrap_or_default(),
            };
            self.spawn(async move {
                // Silence is what staleness is made of; nobody needs to be told twice.
                if let Ok(Ok(heard)) = time::timeout(Duration::from_secs(1), client.lead(told)).await {
                    let heard = heard.into_inner();
                    freshness.keep_clock(id, heard.clock_ms);
                    log_time.heard(id, heard.wall_ms, time::now());
                    programs.heard(id, &heard, question.at);
                    wholes.heard(id, question, &heard);
                    let (full, slow) = (heard.disk_full, heard.disk_slow);
                    disk.heard(id, Health { full, slow });
                    if let Ok(hash) = heard.compared_hash.as_ref().try_into() {
                        let index = heard.compared_index;
                        compare.heard(id, Mark { index, hash });
                    }
                }
            });
        }
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

fn config(settings: &Settings) -> Result<Config, openraft::ConfigError> {
    let Timing {
        heartbeat_ms,
        election_min_ms,
        election_max_ms,
    } = settings.timing;
    Config {
        cluster_name: settings.cluster.clone(),
        heartbeat_interval: heartbeat_ms,
        election_timeout_min: election_min_ms,
        election_timeout_max: election_max_ms,
        enable_pre_vote: Some(true),
        // Without it an old leader that reaches one node only keeps its lease for ever.
        quorum_loss_probe_interval: Some(2 * election_max_ms),
        // Not all at once: nodes may share a disk.
        snapshot_policy: SnapshotPolicy::LogsSinceLast(
            settings.snapshot_entries + settings.node_id % 5 * settings.snapshot_entries / 20,
        ),
        max_in_snapshot_log_to_keep: settings.trailing_entries,
        replication_lag_threshold: settings.trailing_entries.max(settings.snapshot_entries),
        max_payload_entries: 512,
        broadcast_submitted_on_append: Some(true),
        allow_log_reversion: Some(false),
        // A restarted leader does not know what it had committed in its term: as its leader again it would serve
        // linearizable reads without what it acknowledged before.
        enable_leader_restore: Some(Mutant::RestoreLeader.is_planted()),
        ..Config::default()
    }
    .validate()
}

#[cfg(test)]
mod leadership_tests {
    use super::*;

    #[test]
    fn a_new_leader_does_not_speak_before_an_entry_of_its_own_term_is_committed() {
        let mut metrics = Metrics::new_initial(1);
        metrics.state = openraft::ServerState::Leader;
        (metrics.current_leader, metrics.current_term) = (Some(1), 3);
        let now = openraft::alias::InstantOf::<types::C>::now();
        metrics.last_quorum_acked = Some(now.into());
        metrics.cluster_committed = Some(types::log_id(2, 2, 10));
        assert!(
            Leadership::of(&metrics).word().is_none(),
            "what came after 10 may be acknowledged"
        );
        metrics.cluster_committed = Some(types::log_id(3, 1, 11));
        assert_eq!(
            Leadership::of(&metrics).word().map(|word| word.committed_index),
            Some(11)
        );
        metrics.state = openraft::ServerState::Follower;
        assert!(Leadership::of(&metrics).word().is_none());
    }
}
