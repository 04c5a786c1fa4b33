//! The leader's file system becomes read-only under its open files: the node ends and says why, others lead on, and
//! nothing that was acknowledged is lost. It comes back once the disk is mended.

use std::time::Duration;

use anyhow::{Result, ensure};
use reeve_client::v1::TransferLeaderRequest;
use reeve_local::{Fleet, until};

use crate::faults::read_only::{self, OwnDisk};
use crate::storm::{play_while, registers};
use crate::world::{Who, World, registry};

const PATIENCE: Duration = Duration::from_secs(60);
/// How a node ends when it may not go on.
const FATAL: i32 = 70;

pub async fn play() -> Result<()> {
    if let Some(why) = read_only::missing() {
        println!("not played: {why}");
        return Ok(());
    }
    let mut world = World::start(registry(), 29).await?;
    let mut registers = registers(&world).await?;
    let mut disks = Vec::new();
    let played = play_while(&mut world, &mut registers, 29, async |world, _| {
        let id = world.id(Who::Leader).await?;
        let node = world.fleet.node(id)?;
        node.stop().await?;
        disks.push(OwnDisk::below(node)?);
        node.start()?;
        world.fleet.wait_whole().await?;
        lead(&world.fleet, id).await?;

        let before = std::fs::metadata(node.log())?.len() as usize;
        disks[0].abort()?;
        until("the end of a node that cannot write", PATIENCE, async || {
            Ok((!node.is_running()).then_some(()))
        })
        .await?;
        ensure!(
            node.exit_code() == Some(FATAL),
            "it ended with {:?}",
            node.exit_code()
        );
        let said = std::fs::read_to_string(node.log())?.split_off(before);
        // A flush that is under way hears of a failed write, and a later one of what the kernel made of it.
        let reasons = ["Read-only file system", "Input/output error"];
        ensure!(
            reasons.iter().any(|reason| said.contains(reason)),
            "it does not say why: {said}"
        );
        world.fleet.leader().await?;
        disks[0].mend()?;
        node.start()?;
        world.fleet.wait_whole().await
    })
    .await?;
    played.judge()?;
    for node in world.fleet.nodes() {
        node.stop().await?;
    }
    drop(disks);
    world.shutdown().await
}

/// Until this node leads.
async fn lead(fleet: &Fleet, id: u64) -> Result<()> {
    until("leadership to be handed over", PATIENCE, async || {
        let leader = fleet.leader().await?;
        if leader.id() == id {
            return Ok(Some(()));
        }
        let order = TransferLeaderRequest { to_node_id: id };
        leader.api().cluster().transfer_leader(order).await?;
        Ok(None)
    })
    .await
}
