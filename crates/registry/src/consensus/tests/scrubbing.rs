//! A node reads its own files again while it runs: what it finds damaged costs nothing, and it stops at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{Cluster, Gate};

/// Snapshots of a node that count, the oldest first.
fn snapshots(cluster: &Cluster, id: u64) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cluster.folder(id).join("snapshots")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_none());
    files.sort();
    files
}

async fn with_a_snapshot(gate: Arc<Gate>) -> Cluster {
    let cluster = Cluster::gated(1000, gate).await;
    cluster.region(1, "vn", None).await;
    cluster.nodes[&1].consensus.snapshot_now().await.unwrap();
    cluster
        .wait_until(1, |_| !snapshots(&cluster, 1).is_empty())
        .await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_keeps_its_place_until_another_one_is_there() {
    let gate = Arc::new(Gate::default());
    let cluster = with_a_snapshot(gate.clone()).await;
    let damaged = snapshots(&cluster, 1).pop().unwrap();
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&damaged, &bytes).unwrap();

    gate.close();
    let node = cluster.nodes[&1].consensus.clone();
    let scrub = tokio::spawn(async move { node.check_snapshots(1 << 30).await });
    gate.is_waited_at().await;
    assert_eq!(
        std::fs::read(&damaged).unwrap(),
        bytes,
        "nothing stands in its place"
    );
    gate.open();
    scrub.await.unwrap().unwrap();

    let aside = damaged.with_extension("damaged");
    assert_eq!(std::fs::read(&aside).unwrap(), bytes, "it is kept as evidence");
    let newest = snapshots(&cluster, 1).pop().unwrap();
    assert!(newest >= damaged && std::fs::read(&newest).unwrap() != bytes);
    let node = &cluster.nodes[&1].consensus;
    assert_eq!(node.damages().places().len(), 1);
    node.check_snapshots(1 << 30).await.unwrap();
    assert_eq!(node.damages().places().len(), 1, "all is well again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_does_not_wait_for_what_it_reads() {
    let mut cluster = with_a_snapshot(Arc::default()).await;
    // At a byte a second these take hours.
    let (log, files) = (
        cluster.nodes[&1].consensus.clone(),
        cluster.nodes[&1].consensus.clone(),
    );
    let scrubs = [
        tokio::spawn(async move { log.check_log(1).await }),
        tokio::spawn(async move { files.check_snapshots(1).await }),
    ];
    cluster.stop(1).await;
    for scrub in scrubs {
        let ended = tokio::time::timeout(Duration::from_secs(60), scrub).await;
        let ended = ended.expect("it reads on").unwrap().unwrap_err();
        assert_eq!(ended.kind(), std::io::ErrorKind::Interrupted, "{ended}");
    }
}
