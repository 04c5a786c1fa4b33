//! Fetches from peers what this node's archive lacks: after a snapshot, or when it was set aside.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::asks::fetch_changes;
use crate::{Rooms, consensus::NodeRole};

/// A look without being told, for what a peer could not give the last time.
const EVERY: Duration = Duration::from_secs(5);

/// Fills gaps until told to stop.
pub async fn run(rooms: Rooms, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = rooms.archive.missing() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        while !stop.is_cancelled() && fill_once(&rooms).await {}
    }
}

/// Fetches a piece of the first gap from any peer; false when there is none, or nobody had it.
async fn fill_once(rooms: &Rooms) -> bool {
    let archive = rooms.archive.clone();
    let Ok(Ok(Some((from, to)))) = tokio::task::spawn_blocking(move || archive.gap()).await else {
        return false;
    };
    let me = rooms.node_id.0;
    let peers = rooms
        .consensus
        .status()
        .nodes
        .into_iter()
        .filter(|n| n.id != me && n.role != NodeRole::Joining);
    for peer in peers {
        let changes = match fetch_changes(&rooms.consensus, peer.id, from).await {
            Ok(changes) if !changes.is_empty() => changes,
            Ok(_) => continue,
            Err(error) => {
                warn!(peer = peer.id, %error, "a peer could not fill a gap of the archive");
                continue;
            }
        };
        let count = changes.len();
        for change in changes.into_iter().filter(|change| change.revision <= to) {
            if let Err(error) = rooms.archive.write(change) {
                warn!(%error, "the archive did not take a fetched change");
                return false;
            }
        }
        info!(peer = peer.id, count, "fetched what the archive lacked");
        return true;
    }
    false
}
