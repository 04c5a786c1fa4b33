//! A follower comes back to a log that is cut already, over links so slow that the log is cut again before a snapshot is
//! through, and it is stopped in the middle of one: the others go on meanwhile, and it comes to the same in the end.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use reeve_client::v1::GetClusterRequest;
use reeve_local::{Mode, Node, until};

use crate::metrics::metric;
use crate::storm::{play_while, registers};
use crate::world::{Who, World, registry};

const PATIENCE: Duration = Duration::from_secs(120);
/// Twice what the log keeps, and more.
const FAR: u64 = 100;
const SNAPSHOT_ENTRIES: &str = "20";
const TRAILING_ENTRIES: &str = "2";
/// A snapshot needs a word there, one back and another one there; the log is cut every 20 entries.
const SLOW: Duration = Duration::from_millis(250);
/// Three elections.
const STOPPED: Duration = Duration::from_millis(1_500);
const TAKEN_IN: &str = "reeve_raft_snapshot_duration_seconds_count{op=\"install\"}";

pub async fn play() -> Result<()> {
    let busy = registry()
        .node_env("REEVE_REGISTRY_RAFT__SNAPSHOT_ENTRIES", SNAPSHOT_ENTRIES)
        .node_env("REEVE_REGISTRY_RAFT__TRAILING_ENTRIES", TRAILING_ENTRIES);
    let mut world = World::start(busy, 30).await?;
    let mut registers = registers(&world).await?;
    let played = play_while(&mut world, &mut registers, 30, async |world, _| {
        let id = world.id(Who::Follower).await?;
        let node = world.fleet.node(id)?;
        let before = applied(world).await?;
        node.kill9()?;
        goes_on(world, before + FAR).await?;
        // Whatever it had when it died is not this far.
        let before = before + FAR / 2;
        for other in world.others(id) {
            world.fleet.hops().set_between(id, other, Mode::Delay(SLOW));
        }
        node.start()?;

        let snapshots = node.data_dir().join("snapshots");
        until("half a snapshot", PATIENCE, async || {
            if !is_coming(&snapshots, before)? {
                return Ok(None);
            }
            node.pause();
            // It may have been whole by then.
            let is_half = is_coming(&snapshots, before)?;
            if is_half {
                tokio::time::sleep(STOPPED).await;
            }
            node.resume();
            Ok(is_half.then_some(()))
        })
        .await?;

        // The log that follows the first one is gone before it is through.
        until("a second snapshot", PATIENCE, async || {
            Ok((taken_in(node).await? >= 2).then_some(()))
        })
        .await?;
        let now = applied(world).await?;
        goes_on(world, now + FAR).await?;
        world.fleet.hops().heal();
        Ok(())
    })
    .await?;
    played.judge()?;
    world.shutdown().await
}

/// How far the log has come.
async fn applied(world: &World) -> Result<u64> {
    let mut leader = world.fleet.leader().await?.api().cluster();
    let asked = GetClusterRequest::default();
    Ok(leader.get_cluster(asked).await?.into_inner().applied_index)
}

async fn goes_on(world: &World, upto: u64) -> Result<()> {
    until("the others to go on", PATIENCE, async || {
        Ok((applied(world).await? >= upto).then_some(()))
    })
    .await
}

/// Whether there is a draft of a snapshot that is newer than all that this node had: it comes from another one.
fn is_coming(snapshots: &Path, had: u64) -> Result<bool> {
    for entry in std::fs::read_dir(snapshots)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let index = name.strip_prefix("snapshot-").and_then(|rest| rest.get(..20));
        let index = index.and_then(|digits| digits.parse::<u64>().ok());
        if name.ends_with(".tmp") && index.is_some_and(|index| index > had) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn taken_in(node: &Node) -> Result<u64> {
    Ok(metric(node, TAKEN_IN).await?.parse::<f64>()? as u64)
}
