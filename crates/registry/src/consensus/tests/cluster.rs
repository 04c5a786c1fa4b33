//! Nodes in this process, over real loopback sockets, that can be dropped and opened again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reeve_domain::audit::Seed;
use reeve_domain::command::Found;
use reeve_domain::entry::FORMAT;
use reeve_domain::group::Region;
use reeve_domain::request::Key;
use reeve_domain::secret::{Parts, Sealed};
use reeve_domain::words::Name;
use reeve_domain::{
    Actor, Answer, Applied, Command, Entry, NodeId, Refusal, RequestId, Revision, Stamp, State,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Server};

use crate::consensus::{
    AppliedSink, Committed, Consensus, Dialer, DiskSettings, Fatal, Forwarded, Handlers, Settings, Timing,
};
use crate::vault::Sealer;

pub(super) struct Plain;

impl Dialer for Plain {
    fn channel(&self, _node: u64, address: &str) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        endpoint
            .connect_timeout(Duration::from_millis(300))
            .tcp_nodelay(true)
            .connect_lazy()
    }
}

struct Open;

#[async_trait]
impl Handlers for Open {
    fn admit(&self, _: &State, proposal: &Forwarded) -> Result<(), Refusal> {
        match proposal.caller.as_slice() {
            b"nobody" => Err(Refusal::Unauthenticated("nobody".into())),
            _ => Ok(()),
        }
    }

    async fn ask(&self, question: Bytes) -> Result<Bytes, String> {
        Ok([b"heard ", question.as_ref()].concat().into())
    }

    async fn fetch_archive(&self, range: Bytes) -> Result<Vec<Bytes>, String> {
        Ok(vec![range.clone(), range])
    }

    fn archive_is_whole(&self) -> bool {
        true
    }
}

pub(super) struct Node {
    pub(super) consensus: Consensus,
    /// Everything of the node runs here; without it nothing of the node is left.
    runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<u64, Node>,
    folders: BTreeMap<u64, TempDir>,
    addresses: BTreeMap<u64, SocketAddr>,
    pub(super) snapshot_entries: u64,
    gate: Arc<Gate>,
}

/// A sink that can make a snapshot wait: where its archive is to be durable, or where it is taken in.
#[derive(Default)]
pub(super) struct Gate {
    state: parking_lot::Mutex<Closed>,
    opened: parking_lot::Condvar,
}

#[derive(Default)]
struct Closed {
    building: bool,
    installing: bool,
    waiting: usize,
}

impl Gate {
    pub(super) fn close(&self) {
        self.state.lock().building = true;
    }

    pub(super) fn close_installing(&self) {
        self.state.lock().installing = true;
    }

    pub(super) fn open(&self) {
        *self.state.lock() = Closed::default();
        self.opened.notify_all();
    }

    /// Returns when a snapshot stands still.
    pub(super) async fn is_waited_at(&self) {
        let poll = async {
            while self.state.lock().waiting == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), poll)
            .await
            .expect("no snapshot came");
    }

    fn pass(&self, is_closed: impl Fn(&Closed) -> bool) {
        let mut state = self.state.lock();
        if is_closed(&state) {
            state.waiting += 1;
            self.opened.wait_while(&mut state, |state| is_closed(state));
        }
    }
}

impl AppliedSink for Gate {
    fn applied(&self, _: &[Arc<Applied>]) {}

    fn installed(&self, state: &State) {
        // A node that starts takes its own snapshot in, of what it had long ago.
        self.pass(|closed| closed.installing && state.regions.len() > 15);
    }

    fn make_durable(&self, _: Revision) -> std::io::Result<()> {
        self.pass(|closed| closed.building);
        Ok(())
    }
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn sealed() -> Sealed {
    let parts = Parts {
        kid: "k",
        version: 1,
        nonce: &[],
        aad: "",
        ciphertext: &[],
    };
    Sealed::new(parts).unwrap()
}

pub(super) fn entry(actor: Actor, request: Option<&str>, command: Command) -> Forwarded {
    let request = request.map(|id| Key {
        id: RequestId::parse(id).unwrap(),
        hash: [0; 32],
    });
    let policy_rev = u64::from(actor != Actor::Founder);
    let entry = Entry {
        format: FORMAT,
        stamp: Stamp(0),
        actor,
        principal_rev: 0,
        policy_rev,
        request,
        seed: Seed::default(),
        command,
    };
    Forwarded {
        entry,
        caller: Vec::new(),
    }
}

/// The command that founds a cluster of one node.
pub(super) fn founding(peer_address: &str) -> Command {
    Command::Found(Found {
        cluster: name("test"),
        cluster_id: "c".into(),
        root_ca_pem: String::new(),
        issuing_chain_pem: String::new(),
        issuing_key: sealed(),
        audit_key: sealed(),
        regions: vec![],
        admin: "spiffe://test/person/ann".into(),
        node: NodeId(1),
        api_address: String::new(),
        peer_address: peer_address.to_owned(),
        version: reeve_domain::Versions::KNOWN.max,
    })
}

impl Cluster {
    /// One founded node.
    pub(super) async fn founded(snapshot_entries: u64) -> Cluster {
        Cluster::founded_at(snapshot_entries, Arc::default()).await
    }

    async fn founded_at(snapshot_entries: u64, gate: Arc<Gate>) -> Cluster {
        // RUST_LOG shows what the nodes say.
        let logs =
            tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env());
        let _ = logs.with_test_writer().try_init();
        let mut cluster = Cluster::default();
        cluster.snapshot_entries = snapshot_entries;
        cluster.gate = gate;
        cluster.start(1).await;
        let address = cluster.addresses[&1].to_string();
        cluster.nodes[&1].consensus.initialize(&address).await.unwrap();
        let found = founding(&address);
        let said = cluster.say(1, entry(Actor::Founder, None, found)).await;
        assert_eq!(said.outcome, Ok(Answer::Done));
        cluster
    }

    /// A founded cluster of three voters.
    pub(super) async fn of_three(snapshot_entries: u64) -> Cluster {
        Cluster::gated(snapshot_entries, Arc::default()).await
    }

    /// The same, with snapshots that can be made to wait.
    pub(super) async fn gated(snapshot_entries: u64, gate: Arc<Gate>) -> Cluster {
        let mut cluster = Cluster::founded_at(snapshot_entries, gate).await;
        for id in [2, 3] {
            cluster.start(id).await;
            cluster.put_on_the_roll(id).await;
        }
        for id in 1..=3 {
            cluster
                .wait_until(id, |node| {
                    let status = node.status();
                    status.nodes.len() == 3
                        && node.group().configs.len() == 1
                        && status.nodes.iter().all(|n| {
                            matches!(
                                n.role,
                                crate::consensus::NodeRole::Leader | crate::consensus::NodeRole::Follower
                            )
                        })
                })
                .await;
        }
        cluster
    }

    pub(super) async fn put_on_the_roll(&mut self, id: u64) {
        use reeve_domain::access::{Expect, MintToken, NodeAddresses, RedeemToken};
        let token = reeve_domain::ids::TokenId::parse(&format!("{id:012x}")).unwrap();
        let mint = Command::MintToken(MintToken {
            id: token.clone(),
            secret_hash: [1; 32],
            role: reeve_domain::policy::Role::Node,
            name: name("node"),
            region: None,
            group: None,
            tenants: Default::default(),
            ttl_ms: 60_000,
        });
        self.say(1, entry(Actor::Pilot, None, mint))
            .await
            .outcome
            .unwrap();
        let redeem = Command::RedeemToken(RedeemToken {
            id: token,
            secret_hash: [1; 32],
            csr_hash: [2; 32],
            node: Some(NodeAddresses {
                api: String::new(),
                peer: self.addresses[&id].to_string(),
                known: reeve_domain::Versions::KNOWN,
            }),
            expect: Expect::Node,
        });
        self.say(1, entry(Actor::Joiner, None, redeem))
            .await
            .outcome
            .unwrap();
    }

    /// Opens a node on its folder and address, which stay the same over restarts.
    pub(super) async fn start(&mut self, id: u64) {
        let bind = self
            .addresses
            .get(&id)
            .copied()
            .unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let listener = TcpListener::bind(bind).await.unwrap();
        self.addresses.insert(id, listener.local_addr().unwrap());
        let folder = self
            .folders
            .entry(id)
            .or_insert_with(|| tempfile::tempdir().unwrap());
        Consensus::make_folder(folder.path(), "test", id).unwrap();
        let settings = Settings {
            node_id: id,
            cluster: "test".into(),
            data_dir: folder.path().to_owned(),
            timing: Timing::LAN,
            snapshot_entries: self.snapshot_entries,
            trailing_entries: 5,
            compare_every: Duration::from_millis(300),
            disk: DiskSettings {
                reserve_bytes: 1 << 20,
                ballast_bytes: 0,
                slow_flush: Duration::from_secs(10),
            },
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = listener.into_std().unwrap();
        let gate = self.gate.clone();
        let opened = runtime.spawn(async move {
            let fatal = Fatal::new(|why| eprintln!("fatal: {why}"));
            let recalled = Consensus::recall(&settings, &Sealer::new(&[id as u8; 32]), &fatal).unwrap();
            let consensus = Consensus::open(settings, recalled, Arc::new(Plain), gate, Arc::new(Open), fatal);
            let consensus = consensus.await.unwrap();
            let incoming =
                tokio_stream::wrappers::TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            let serve = Server::builder().add_service(consensus.peer_service(false));
            tokio::spawn(serve.serve_with_incoming(incoming));
            consensus
        });
        self.nodes.insert(
            id,
            Node {
                consensus: opened.await.unwrap(),
                runtime,
            },
        );
    }

    pub(super) fn address(&self, id: u64) -> SocketAddr {
        self.addresses[&id]
    }

    pub(super) fn folder(&self, id: u64) -> &std::path::Path {
        self.folders[&id].path()
    }

    /// Takes a node away: its socket closes and it stops, without handing anything over.
    pub(super) async fn kill(&mut self, id: u64) {
        let Node { consensus, runtime } = self.nodes.remove(&id).unwrap();
        drop(consensus);
        tokio::task::spawn_blocking(|| drop(runtime)).await.unwrap();
    }

    /// Holds all of a node still for so long; it keeps its sockets and hears nothing of it.
    pub(super) fn freeze(&self, id: u64, long: Duration) -> std::sync::mpsc::Receiver<()> {
        let (thawed, thaws) = std::sync::mpsc::channel();
        // Its runtime has one thread, and this keeps it.
        self.nodes[&id].runtime.spawn(async move {
            std::thread::sleep(long);
            let _ = thawed.send(());
        });
        thaws
    }

    /// Takes a node away after its own goodbye.
    pub(super) async fn stop(&mut self, id: u64) {
        let node = self.nodes[&id].consensus.clone();
        self.nodes[&id]
            .runtime
            .spawn(async move { node.shutdown().await })
            .await
            .unwrap();
        self.kill(id).await;
    }

    pub(super) async fn say(&self, id: u64, proposal: Forwarded) -> Committed {
        self.nodes[&id].consensus.propose(proposal, soon()).await.unwrap()
    }

    pub(super) async fn region(&self, via: u64, text: &str, request: Option<&str>) -> Committed {
        let region = Region {
            name: name(text),
            display_name: String::new(),
        };
        self.say(via, entry(Actor::Pilot, request, Command::CreateRegion(region)))
            .await
    }

    pub(super) async fn wait_until(&self, id: u64, holds: impl Fn(&Consensus) -> bool) {
        let node = &self.nodes[&id].consensus;
        let poll = async {
            while !holds(node) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), poll)
            .await
            .expect("it never became true");
    }

    /// The leader, once everyone here agrees on one that lives.
    pub(super) async fn leader(&self) -> u64 {
        let agreed = || {
            let leaders: Vec<_> = self
                .nodes
                .values()
                .map(|n| n.consensus.leadership().borrow().leader)
                .collect();
            let first = leaders.first().copied().flatten()?;
            let alive = self.nodes.contains_key(&first);
            (alive && leaders.iter().all(|l| *l == Some(first))).then_some(first)
        };
        let poll = async {
            loop {
                if let Some(leader) = agreed() {
                    return leader;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), poll)
            .await
            .expect("no leader")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A runtime may not be dropped where it could block another one.
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.runtime.shutdown_background();
        }
    }
}
