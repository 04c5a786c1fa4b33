//! A change is done once, however often it is asked for under its id and whatever becomes of the answers.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reeve_chaos::faults::kill::Crowd;
use reeve_chaos::faults::{Fault, strike};
use reeve_chaos::world::{Who, World, registry};
use reeve_client::v1::{CreateRegionRequest, ListRegionsRequest, Region};
use reeve_client::{Api, request_id};
use tonic::{Code, Request};

const SEED: u64 = 5;
const REGIONS: usize = 60;
const FAULTS: [Fault; 3] = [
    Fault::Kill(Crowd::Leader),
    Fault::Pause(Who::Leader),
    Fault::Isolate(Who::Leader),
];
const HURT: Duration = Duration::from_millis(900);
/// So short that many an answer is not waited for; each try waits a little longer, so that a slow machine ends as well.
const IMPATIENCE: Duration = Duration::from_millis(40);
const MORE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks a node after the other until one answers, and once more after that: the answer must be a yes each time.
async fn create(doors: &[Api], name: &str) -> Result<()> {
    let order = CreateRegionRequest {
        request_id: request_id(),
        region: Some(Region {
            name: name.to_owned(),
            ..Default::default()
        }),
    };
    let mut yes = 0;
    let asking = async {
        let mut impatience = IMPATIENCE;
        for api in doors.iter().cycle() {
            let mut request = Request::new(order.clone());
            request.set_timeout(impatience);
            impatience += MORE;
            match api.groups().create_region(request).await {
                Ok(_) => yes += 1,
                Err(status) if status.code() == Code::AlreadyExists => {
                    bail!("{name} was made, and its maker is told that somebody else made it")
                }
                Err(_) => {}
            }
            if yes == 2 {
                break;
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .with_context(|| format!("{name} was never made"))?
}

/// Makes regions while the leader is hurt, and counts what there is.
async fn play(world: &mut World) -> Result<()> {
    let doors: Vec<Api> = world.fleet.nodes().iter().map(|node| node.api()).collect();
    let making = async {
        for number in 0..REGIONS {
            create(&doors, &format!("r-{number}")).await?;
        }
        Ok(())
    };
    let hurting = async {
        for fault in FAULTS {
            strike(world, fault, HURT).await?;
        }
        world.fleet.wait_whole().await
    };
    let (made, hurt): (Result<()>, Result<()>) = tokio::join!(making, hurting);
    made.and(hurt)?;
    let listed = world
        .fleet
        .api()
        .groups()
        .list_regions(ListRegionsRequest::default())
        .await?;
    let there = listed.into_inner().regions.len();
    ensure!(there == REGIONS, "{there} regions of {REGIONS} are there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_done_once_and_its_maker_is_told_so_each_time() -> Result<()> {
    let mut world = World::start(registry(), SEED).await?;
    play(&mut world).await?;
    world.shutdown().await
}

/// The check is checked: nodes that forget whom they answered are found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_forgets_requests_is_found() -> Result<()> {
    let mutants = registry().node_env("REEVE_MUTANT", "forget_request");
    let mut world = World::start(mutants, SEED).await?;
    let found = play(&mut world).await.err().context("it was not noticed")?;
    ensure!(found.to_string().contains("somebody else"), "{found:#}");
    world.shutdown().await
}
