//! One node's clock is an hour ahead or behind while all others are right, the leader's, then a follower's: everybody
//! still believes everybody's certificates, those that are signed meanwhile too; a request is still remembered, stamps
//! never run back, views say their age, answers are as from one copy.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::v1::{CreateRegionRequest, GetClusterRequest, Region, Role};
use reeve_client::{Api, request_id};
use reeve_local::until;

use crate::faults::certificates;
use crate::faults::clock::Jump::{Ahead, Back};
use crate::faults::clock::{HEARD, HOUR_S, Jump, break_connections, clocks_right};
use crate::invariants::{audit_chain_whole, stamps_go_forward};
use crate::storm::{play_while, registers};
use crate::world::Who::{Follower, Leader};
use crate::world::{Who, World, registry};

const PATIENCE: Duration = Duration::from_secs(60);

pub async fn play() -> Result<()> {
    let mut world = World::with_clocks(registry(), 25).await?;
    let mut registers = registers(&world).await?;
    let known = region("asked-before");
    create(world.fleet.api(), &known).await?;
    let played = play_while(&mut world, &mut registers, 25, async |world, _| {
        for (who, jump) in [
            (Leader, Ahead),
            (Leader, Back),
            (Follower, Ahead),
            (Follower, Back),
        ] {
            odd(world, who, jump, &known)
                .await
                .with_context(|| format!("{who:?} {jump:?}"))?;
        }
        Ok(())
    })
    .await?;
    played.judge()?;
    stamps_go_forward::judge(&audit_chain_whole::observe(&world.fleet).await?)?;
    world.shutdown().await
}

/// What is signed and shaken hands with while one clock is wrong.
async fn odd(world: &mut World, who: Who, jump: Jump, known: &CreateRegionRequest) -> Result<()> {
    let id = world.id(who).await?;
    let hours = match jump {
        Ahead => 1,
        Back => -1,
    };
    let clocks = world.clocks.as_ref().context("its clocks are gone")?;
    clocks.set(id, hours * HOUR_S)?;
    tokio::time::sleep(HEARD).await;
    // Every certificate is judged by it, and its own by the others.
    break_connections(world, id).await;
    world.fleet.wait_whole().await?;

    let name = format!("{who:?}-{jump:?}").to_lowercase();
    let service = until("a new service", PATIENCE, async || {
        Ok(Some(world.fleet.enroll(Role::Operator, &name, &[]).await?))
    })
    .await?;
    // Each node has a new certificate then, signed by whoever leads.
    certificates::rotate(&world.fleet).await?;
    world.fleet.wait_whole().await?;
    let greet = async |world: &World| {
        for node in world.fleet.nodes() {
            let api = Api::connect(&[node.address().to_owned()], &service)?;
            until("an answer to a new identity", PATIENCE, async || {
                Ok(Some(
                    api.cluster().get_cluster(GetClusterRequest::default()).await?,
                ))
            })
            .await?;
            create(&node.api(), known).await?;
        }
        anyhow::Ok(())
    };
    greet(world).await.context("while its clock is wrong")?;

    clocks_right(world)?;
    tokio::time::sleep(HEARD).await;
    break_connections(world, id).await;
    world.fleet.wait_whole().await?;
    greet(world).await.context("after its clock is right again")?;
    ensure!(world.fleet.node(id)?.is_running(), "node {id} has ended");
    Ok(())
}

fn region(name: &str) -> CreateRegionRequest {
    CreateRegionRequest {
        request_id: request_id(),
        region: Some(Region {
            name: name.to_owned(),
            ..Default::default()
        }),
    }
}

/// However often it is asked for, the answer is the first one.
async fn create(api: &Api, order: &CreateRegionRequest) -> Result<()> {
    until("the first answer again", PATIENCE, async || {
        match api.groups().create_region(order.clone()).await {
            Ok(_) => Ok(Some(Ok(()))),
            Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(Some(Err(anyhow::anyhow!(
                "its own request is not known any more: {status}"
            )))),
            Err(status) => Err(status.into()),
        }
    })
    .await?
}
