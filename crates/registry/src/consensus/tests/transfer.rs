//! Snapshots between nodes: cut and gone on with, changed, mixed up, overtaken; and nobody waits for one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::network::RPCOption;
use openraft::{BasicNode, RaftNetworkFactory, RaftNetworkV2};
use reeve_domain::State;
use reeve_proto::internal::v1 as wire;
use reeve_proto::internal::v1::peer_service_client::PeerServiceClient;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tonic::Code;
use tonic::transport::Channel;

use super::cluster::{Cluster, Plain, name, soon};
use crate::consensus::links::{Links, pack};
use crate::consensus::network::Factory;
use crate::consensus::snapshot::{SnapshotFile, SnapshotStore};
use crate::consensus::types::{SnapshotMeta, StoredMembership, Vote, log_id};
use crate::consensus::wal::vote_from_wal;
use crate::vault::Sealer;

/// About a hundred blocks, in these tests.
const STATE_BYTES: usize = 400_000;

/// Carries bytes to a node, and can be cut.
struct Way {
    address: SocketAddr,
    /// What went to the node.
    carried: Arc<AtomicU64>,
    /// How much may go.
    limit: watch::Sender<u64>,
    cut: watch::Sender<u64>,
}

impl Way {
    async fn to(node: SocketAddr) -> Way {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Way {
            address: door.local_addr().unwrap(),
            carried: Arc::default(),
            limit: watch::Sender::new(u64::MAX),
            cut: watch::Sender::new(0),
        };
        let (carried, limit, cut) = (way.carried.clone(), way.limit.clone(), way.cut.clone());
        tokio::spawn(async move {
            while let Ok((here, _)) = door.accept().await {
                let there = TcpStream::connect(node).await.unwrap();
                let (carried, limit, mut cut) = (carried.clone(), limit.subscribe(), cut.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = carry(here, there, carried, limit) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        way
    }

    fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }
}

async fn carry(here: TcpStream, there: TcpStream, carried: Arc<AtomicU64>, mut limit: watch::Receiver<u64>) {
    let ((mut from_here, mut to_here), (mut from_there, mut to_there)) =
        (here.into_split(), there.into_split());
    let forth = async {
        let mut piece = vec![0; 2_048];
        while let Ok(read @ 1..) = from_here.read(&mut piece).await {
            let so_far = carried.load(Ordering::SeqCst);
            if limit.wait_for(|limit| *limit > so_far).await.is_err() {
                return;
            }
            carried.fetch_add(read as u64, Ordering::SeqCst);
            if to_there.write_all(&piece[..read]).await.is_err() {
                return;
            }
        }
    };
    let back = async { tokio::io::copy(&mut from_there, &mut to_here).await };
    tokio::join!(forth, back).1.ok();
}

/// Node 1, as far as it sends snapshots, and node 2, which receives them.
struct World {
    cluster: Cluster,
    folder: tempfile::TempDir,
    store: SnapshotStore,
}

impl World {
    async fn new() -> World {
        let mut cluster = Cluster::default();
        cluster.snapshot_entries = 1_000;
        cluster.start(2).await;
        let folder = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(folder.path().to_owned(), "test", Sealer::new(&[1; 32])).unwrap();
        World {
            cluster,
            folder,
            store,
        }
    }

    fn snapshot(&self, index: u64) -> (State, SnapshotMeta, SnapshotFile) {
        let mut state = State::default();
        // Nothing that could be made smaller on the way.
        let mut chance = index;
        let mut letter = || {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'!' + (chance >> 33) as u8 % 90)
        };
        state.cluster.name = (0..STATE_BYTES).map(|_| letter()).collect();
        let members = openraft::Membership::new(
            vec![[1].into()],
            [(1, BasicNode::new("n1")), (2, BasicNode::new("n2"))]
                .into_iter()
                .collect::<std::collections::BTreeMap<_, _>>(),
        );
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(1, 1, index)),
            last_membership: StoredMembership::new(Some(log_id(1, 1, 1)), members.unwrap()),
        };
        let file = self.store.write(&meta, &state, || Ok(())).unwrap();
        (state, meta, file)
    }

    /// Sends it as a leader does.
    async fn send(&self, to: SocketAddr, meta: &SnapshotMeta, file: &SnapshotFile) -> Result<(), String> {
        let mut factory = Factory {
            links: Links::new(1, "test", Arc::new(Plain)),
            store: self.store.clone(),
        };
        let mut peer = factory
            .new_snapshot_client(2, &BasicNode::new(to.to_string()))
            .await;
        let snapshot = openraft::Snapshot {
            meta: meta.clone(),
            snapshot: file.clone(),
        };
        let option = RPCOption::new(Duration::from_secs(60));
        let sent = peer
            .full_snapshot(vote(), snapshot, std::future::pending(), option)
            .await;
        sent.map(drop).map_err(|error| error.to_string())
    }

    /// Bytes of the draft that lies on the receiver's disk.
    fn drafts(&self) -> Vec<u64> {
        let files = |folder: &Path| {
            let entries = std::fs::read_dir(folder).unwrap();
            let paths = entries.map(|entry| entry.unwrap().path());
            paths
                .filter(|path| path.extension().is_some_and(|end| end == "tmp"))
                .collect::<Vec<PathBuf>>()
        };
        let found = files(&self.cluster.folder(2).join("snapshots"));
        found
            .iter()
            .filter_map(|path| Some(std::fs::metadata(path).ok()?.len()))
            .collect()
    }

    async fn until(&self, holds: impl Fn(&World) -> bool) {
        let poll = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), poll)
            .await
            .expect("it never became true");
    }

    fn received(&self) -> reeve_domain::digest::Hash {
        self.cluster.nodes[&2].consensus.published().state.hash()
    }

    async fn client(&self) -> PeerServiceClient<Channel> {
        let address = format!("http://{}", self.cluster.address(2));
        PeerServiceClient::connect(address).await.unwrap()
    }
}

fn vote() -> Vote {
    vote_from_wal(((1, 1), 1))
}

fn envelope(meta: &SnapshotMeta) -> Option<wire::Envelope> {
    Some(wire::Envelope {
        cluster: "test".into(),
        from: 1,
        body: pack(&(vote(), meta)).unwrap(),
    })
}

async fn offset(client: &mut PeerServiceClient<Channel>, meta: &SnapshotMeta, id: &[u8]) -> u64 {
    let request = wire::SnapshotOffsetRequest {
        envelope: envelope(meta),
        snapshot_id: id.to_vec().into(),
    };
    client.snapshot_offset(request).await.unwrap().into_inner().offset
}

/// The messages of a whole transfer, from the beginning.
fn messages(world: &World, meta: &SnapshotMeta, file: &SnapshotFile) -> Vec<wire::InstallSnapshotRequest> {
    let mut reader = world.store.blocks(file).unwrap();
    let mut all = vec![wire::InstallSnapshotRequest {
        envelope: envelope(meta),
        snapshot_id: reader.id().to_vec().into(),
        ..Default::default()
    }];
    let (mut offset, mut sum) = (0, Sha256::new());
    while let Some(block) = reader.next_block().unwrap() {
        sum.update(&block);
        let len = block.len() as u64;
        all.push(wire::InstallSnapshotRequest {
            offset,
            block: block.into(),
            ..Default::default()
        });
        offset += len;
    }
    all.push(wire::InstallSnapshotRequest {
        offset,
        sha256: sum.finalize().to_vec().into(),
        ..Default::default()
    });
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_was_cut_goes_on_where_it_stopped() {
    let world = World::new().await;
    let (state, meta, file) = world.snapshot(50);
    let all = std::fs::metadata(&file.path).unwrap().len();
    let way = Way::to(world.cluster.address(2)).await;
    way.limit.send_replace(all / 2);
    let cut = async {
        world
            .until(|world| world.drafts().first().is_some_and(|bytes| *bytes > all / 3))
            .await;
        way.cut();
    };
    let (sent, ()) = tokio::join!(world.send(way.address, &meta, &file), cut);
    sent.expect_err("it was cut");
    assert_ne!(world.received(), state.hash());
    let id = world.store.blocks(&file).unwrap().id();
    let kept = offset(&mut world.client().await, &meta, &id).await;
    assert!(kept > all / 4, "{kept} of {all} were kept");

    way.limit.send_replace(u64::MAX);
    let before = way.carried.load(Ordering::SeqCst);
    world.send(way.address, &meta, &file).await.unwrap();
    let again = way.carried.load(Ordering::SeqCst) - before;
    // What frames and headers take is far less than what was kept.
    assert!(
        again < all - kept + all / 10,
        "{again} bytes of {all} went, and {kept} were there"
    );
    assert_eq!(world.received(), state.hash());
    assert_eq!(world.drafts().len(), 0, "a draft is left over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_block_is_refused_and_nothing_of_it_is_kept() {
    let world = World::new().await;
    let (state, meta, file) = world.snapshot(50);
    let mut client = world.client().await;
    let mut changed = messages(&world, &meta, &file);
    let mut block = changed[7].block.to_vec();
    block[100] ^= 1;
    changed[7].block = block.into();
    let id = changed[0].snapshot_id.clone();
    let refused = client
        .install_snapshot(futures::stream::iter(changed))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss, "{refused}");
    assert_eq!(offset(&mut client, &meta, &id).await, 0);
    assert_eq!(world.drafts().len(), 0);

    let mut short = messages(&world, &meta, &file);
    short.remove(9);
    let refused = client
        .install_snapshot(futures::stream::iter(short))
        .await
        .unwrap_err();
    assert!(
        refused.message().contains("a block of the snapshot is missing"),
        "{refused}"
    );
    assert_ne!(world.received(), state.hash());
    let whole = messages(&world, &meta, &file);
    client
        .install_snapshot(futures::stream::iter(whole))
        .await
        .unwrap();
    assert_eq!(world.received(), state.hash());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_snapshots_never_meet_and_the_last_comer_has_the_turn() {
    let world = World::new().await;
    let (state, meta, file) = world.snapshot(50);
    let all = messages(&world, &meta, &file);
    let id = all[0].snapshot_id.clone();
    let mut client = world.client().await;
    let kept: u64 = all[..10].iter().map(|message| message.block.len() as u64).sum();

    // A sender that stops in the middle, and does not hang up.
    let (blocks, waiting) = mpsc::channel(64);
    let mut first = world.client().await;
    let stalled = tokio::spawn(async move {
        first
            .install_snapshot(tokio_stream::wrappers::ReceiverStream::new(waiting))
            .await
    });
    for message in &all[..10] {
        blocks.send(message.clone()).await.unwrap();
    }
    // Most of it is on the disk; what is not is in the writer's hands.
    world
        .until(|world| world.drafts().first().is_some_and(|bytes| *bytes > kept * 3 / 4))
        .await;
    let here = offset(&mut client, &meta, &id).await;
    assert!(here > kept / 2, "{here} of {kept}");
    let overtaken = stalled.await.unwrap().unwrap_err();
    assert_eq!(overtaken.code(), Code::Aborted, "{overtaken}");

    // The same State in another file is another snapshot.
    let twin = world.store.write(&meta, &state, || Ok(())).unwrap();
    let twins = messages(&world, &meta, &twin);
    assert_ne!(twins[0].snapshot_id, id);
    assert_eq!(offset(&mut client, &meta, &twins[0].snapshot_id).await, 0);
    let mut mixed = twins.clone();
    mixed[0].offset = here;
    let refused = client
        .install_snapshot(futures::stream::iter(mixed))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    client
        .install_snapshot(futures::stream::iter(twins))
        .await
        .unwrap();
    assert_eq!(world.received(), state.hash());
    assert_eq!(world.drafts().len(), 0, "only one draft is ever kept");
    drop(world.folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_no_snapshot() {
    let gate = Arc::new(super::cluster::Gate::default());
    let mut cluster = Cluster::gated(20, gate.clone()).await;
    let leader = cluster.leader().await;
    let away = if leader == 3 { 2 } else { 3 };
    cluster.region(leader, "first", None).await;

    // Its snapshot has begun, and cannot end.
    gate.close();
    let building = cluster.nodes[&leader].consensus.clone();
    building.snapshot_now().await.unwrap();
    gate.is_waited_at().await;
    for n in 0..10 {
        assert!(
            cluster
                .region(leader, &format!("while-{n}"), None)
                .await
                .outcome
                .is_ok()
        );
    }
    let view = building
        .read(crate::consensus::Level::Linearizable, soon())
        .await
        .unwrap();
    assert!(view.state().regions.contains_key(&name("while-9")));
    gate.open();

    // One who was away takes a snapshot in, and stands still with it in its hands.
    let had = cluster.nodes[&away].consensus.published().applied_index;
    cluster.kill(away).await;
    for n in 0..60 {
        cluster.region(leader, &format!("behind-{n}"), None).await;
    }
    building.snapshot_now().await.unwrap();
    let is_beyond = |node: &crate::consensus::Consensus| {
        let purged = node.raft().metrics().borrow_watched().purged;
        purged.is_some_and(|purged| purged.index > had)
    };
    cluster.wait_until(leader, is_beyond).await;
    gate.close_installing();
    cluster.start(away).await;
    gate.is_waited_at().await;
    for n in 0..10 {
        assert!(
            cluster
                .region(leader, &format!("sent-{n}"), None)
                .await
                .outcome
                .is_ok()
        );
    }
    gate.open();
    cluster
        .wait_until(away, |node| {
            node.published().state.regions.contains_key(&name("sent-9"))
        })
        .await;
}
