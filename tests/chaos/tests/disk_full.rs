//! Full and slow disks: reads go on, writes do while a majority can keep them, and everything heals by itself.

mod held;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use held::{AGENT, Case, Held, Victim};
use reeve_chaos::faults::disk::{NEARLY_FULL, SmallDisk};
use reeve_chaos::invariants::nodes_agree;
use reeve_chaos::metrics::metric;
use reeve_chaos::trace::Trace;
use reeve_client::v1;
use reeve_client::v1::{ErrorReason, GetClusterRequest, Role};
use reeve_local::{Builder, Fleet, Node, until};
use tonic::{Request, Status};

const PATIENCE: Duration = Duration::from_secs(60);

fn registry() -> Builder {
    let no_regions: [&str; 0] = [];
    // Nobody but the disk may make a leader lose its place: not a machine that is slow for a moment, either.
    let settings = toml::toml! {
        [raft]
        profile = "wan"
        [disk]
        reserve_mb = 8
        ballast_mb = 4
    };
    Fleet::builder().regions(no_regions).node_settings(settings)
}

async fn write(fleet: &Fleet, name: &str) -> Result<()> {
    fleet.token(Role::Service, name, "", &[]).await.map(drop)
}

/// Writes one after the other, and not one may fail.
async fn write_until_another_leads(fleet: &Fleet, than: &Node) -> Result<()> {
    let writing = async {
        for number in 0.. {
            write(fleet, &format!("w-{number}")).await?;
            if fleet.leader().await?.id() != than.id() {
                break;
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, writing)
        .await
        .context("nobody else leads")?
}

/// A fleet whose nodes have a small disk each, in the order of the nodes.
async fn on_small_disks(registry: Builder) -> Result<(Fleet, Vec<SmallDisk>)> {
    let fleet = registry.start().await?;
    let disks = small_disks(&fleet).await?;
    Ok((fleet, disks))
}

async fn small_disks(fleet: &Fleet) -> Result<Vec<SmallDisk>> {
    let mut disks = Vec::new();
    for node in fleet.nodes() {
        node.stop().await?;
        disks.push(SmallDisk::below(node)?);
        node.start()?;
        fleet.wait_whole().await?;
    }
    Ok(disks)
}

async fn cluster(node: &Node) -> Result<v1::GetClusterResponse> {
    Ok(node
        .api()
        .cluster()
        .get_cluster(GetClusterRequest::default())
        .await?
        .into_inner())
}

async fn wait_for(node: &Node, name: &str, value: &str) -> Result<()> {
    until(&format!("{name} {value}"), PATIENCE, async || {
        Ok((metric(node, name).await? == value).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_refuse_changes_when_they_are_a_majority_and_heal_by_themselves() -> Result<()> {
    let (fleet, disks) = on_small_disks(registry()).await?;
    write(&fleet, "before").await?;

    // The leader's disk fills up: another one leads, and not one change fails.
    let first = fleet.leader().await?;
    disks[first.id() as usize - 1].fill(NEARLY_FULL)?;
    write_until_another_leads(&fleet, first).await?;
    wait_for(first, "reeve_disk_full", "1").await?;
    write(&fleet, "with-one-full").await?;

    // A second one: changes are refused with their reason, reads go on, nobody ends.
    let second = fleet.leader().await?;
    disks[second.id() as usize - 1].fill(NEARLY_FULL)?;
    let mut written = 0;
    let refused = until("a refusal", PATIENCE, async || {
        written += 1;
        Ok(write(&fleet, &format!("late-{written}")).await.err())
    })
    .await?;
    let reason = refused.downcast_ref::<Status>().and_then(reeve_client::reason);
    ensure!(
        reason == Some(ErrorReason::DiskFull),
        "another refusal: {refused:#}"
    );
    for node in fleet.nodes() {
        cluster(node)
            .await
            .with_context(|| format!("reading at node {}", node.id()))?;
        ensure!(node.is_running(), "node {} has ended", node.id());
    }

    // Room again: it goes on without anybody's help, and all nodes come to the same.
    disks[first.id() as usize - 1].clear()?;
    disks[second.id() as usize - 1].clear()?;
    until("changes again", PATIENCE, async || {
        Ok(write(&fleet, "after").await.is_ok().then_some(()))
    })
    .await?;
    nodes_agree::hold(&fleet).await?;
    for node in [first, second] {
        wait_for(node, "reeve_disk_full", "0").await?;
    }
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_has_not_happened_however_often_it_was_tried() -> Result<()> {
    refused_is_refused(registry()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_refuses_what_is_in_its_log_is_noticed() -> Result<()> {
    let planted = registry().node_env("REEVE_MUTANT", "refuse_blindly");
    let noticed = refused_is_refused(planted).await.err();
    let noticed = noticed.map(|error| format!("{error:#}"));
    ensure!(
        noticed
            .as_ref()
            .is_some_and(|told| told.contains("happened all the same")),
        "{noticed:?}"
    );
    Ok(())
}

/// While the disks of a majority are full and the leader's is not, a change may be in its log that nobody else has.
async fn refused_is_refused(registry: Builder) -> Result<()> {
    let (fleet, disks) = on_small_disks(registry).await?;
    let known = region("known");
    fleet.api().groups().create_region(known.clone()).await?;
    let full = full_but_for_the_leader(&fleet, &disks).await?;
    let mut refused = Vec::new();
    let mut number = 0;
    // Some of them are in the log before the leader has heard of the others' disks.
    until("refusals", PATIENCE, async || {
        number += 1;
        let names: Vec<String> = (0..4).map(|part| format!("late-{number}-{part}")).collect();
        let outcomes = join_all(names.iter().map(|name| make_region(&fleet, name))).await;
        for (name, outcome) in names.into_iter().zip(outcomes) {
            if outcome.is_err_and(|error| reason(&error) == Some(ErrorReason::DiskFull)) {
                refused.push(name);
            }
        }
        Ok((refused.len() >= 8).then_some(()))
    })
    .await?;
    // What was carried out is known, and has the answer that it had.
    let again = fleet.api().groups().create_region(known).await;
    ensure!(
        again.is_ok(),
        "known was refused and happened all the same: {again:?}"
    );
    for disk in full {
        disk.clear()?;
    }
    until("changes again", PATIENCE, async || {
        Ok(write(&fleet, "after").await.is_ok().then_some(()))
    })
    .await?;
    let made = regions(&fleet).await?;
    for name in refused {
        ensure!(
            !made.contains(&name),
            "{name} was refused and happened all the same: {made:?}"
        );
    }
    nodes_agree::hold(&fleet).await?;
    fleet.shutdown().await
}

/// Leaves room on the leader's disk alone: it has to hear of the others'.
async fn full_but_for_the_leader<'a>(fleet: &Fleet, disks: &'a [SmallDisk]) -> Result<Vec<&'a SmallDisk>> {
    let leader = fleet.leader().await?.id();
    let others = (1..).zip(disks).filter(|(id, _)| *id != leader);
    let full: Vec<&SmallDisk> = others.map(|(_, disk)| disk).collect();
    for disk in &full {
        disk.fill(NEARLY_FULL)?;
    }
    Ok(full)
}

fn reason(error: &anyhow::Error) -> Option<ErrorReason> {
    error.downcast_ref::<Status>().and_then(reeve_client::reason)
}

fn region(name: &str) -> v1::CreateRegionRequest {
    v1::CreateRegionRequest {
        request_id: reeve_client::request_id(),
        region: Some(v1::Region {
            name: name.to_owned(),
            ..Default::default()
        }),
    }
}

async fn make_region(fleet: &Fleet, name: &str) -> Result<()> {
    let mut asked = Request::new(region(name));
    asked.set_timeout(Duration::from_secs(15));
    fleet.api().groups().create_region(asked).await?;
    Ok(())
}

async fn regions(fleet: &Fleet) -> Result<Vec<String>> {
    let asked = v1::ListRegionsRequest::default();
    let answer = fleet.api().groups().list_regions(asked).await?.into_inner();
    Ok(answer.regions.into_iter().map(|region| region.name).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_has_done_while_nothing_can_be_written_down_is_neither_lost_nor_done_twice()
-> Result<()> {
    let held = Held::in_fleet(registry()).await?;
    let fleet = &held.fleet;
    let disks = small_disks(fleet).await?;
    let case = Case {
        step: "create_database",
        way: "forward",
        moment: "before",
        victim: Victim::Agent,
    };
    held.hold(&case)?;
    let begun = held.create("cho-ray", "ehr").await?;
    held.is_there().await?;
    let full = full_but_for_the_leader(fleet, &disks).await?;
    let mut number = 0;
    until("a refusal", PATIENCE, async || {
        number += 1;
        let refused = write(fleet, &format!("late-{number}")).await.err();
        Ok((refused.as_ref().and_then(reason) == Some(ErrorReason::DiskFull)).then_some(()))
    })
    .await?;

    held.release()?;
    let databases = format!(
        "SELECT count(*) FROM pg_database WHERE datname = '{}'",
        begun.tenant_id
    );
    until("its database", PATIENCE, async || {
        Ok((held.ask("postgres", &databases).await? == "1").then_some(()))
    })
    .await?;
    let asked = v1::GetOperationRequest {
        operation: begun.id.clone(),
        ..Default::default()
    };
    let seen = fleet.api().operations().get_operation(asked).await?.into_inner();
    let seen = seen.operation.context("no operation")?;
    let step = seen.steps.iter().find(|step| step.name == case.step);
    let state = step.map(v1::Step::state);
    ensure!(
        state == Some(v1::step::State::Open),
        "it was written down: {seen:?}"
    );

    // Whoever is killed now has nothing in memory that matters.
    let agent = fleet.agent(AGENT)?;
    agent.kill9()?;
    let leader = fleet.leader().await?;
    leader.kill9()?;
    leader.start()?;
    for disk in full {
        disk.clear()?;
    }
    agent.start()?;
    let ended = held.ended(&begun.id).await?;
    ensure!(ended.state() == v1::operation::State::Done, "{ended:?}");
    ensure!(
        held.ask("postgres", &databases).await? == "1",
        "its database is gone"
    );
    nodes_agree::hold(fleet).await?;
    held.fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_a_disk_without_any_room_starts_on_its_ballast() -> Result<()> {
    let (fleet, disks) = on_small_disks(registry()).await?;
    let leader = fleet.leader().await?.id();
    let victim = fleet.node(if leader == 3 { 2 } else { 3 })?;
    let (disk, ballast) = (
        &disks[victim.id() as usize - 1],
        victim.data_dir().join("ballast"),
    );
    until("its ballast", PATIENCE, async || {
        Ok(ballast.exists().then_some(()))
    })
    .await?;
    victim.kill9()?;
    disk.fill(0)?;
    victim.start()?;
    fleet.wait_whole().await?;
    ensure!(!ballast.exists(), "the ballast is still there");
    let seen = cluster(victim).await?;
    ensure!(seen.applied_index > 0, "it knows nothing");
    write(&fleet, "without-it").await?;

    disk.clear()?;
    nodes_agree::hold(&fleet).await?;
    until("its ballast again", PATIENCE, async || {
        Ok(ballast.exists().then_some(()))
    })
    .await?;
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_slow_disk_hands_over_and_no_change_fails() -> Result<()> {
    let fleet = registry().start().await?;
    let slow = fleet.leader().await?;
    let fault = ["-e", "inject=fdatasync:delay_enter=4000000"];
    let trace = Trace::attach(slow.pid().unwrap_or_default(), "fdatasync", &fault)?;
    write_until_another_leads(&fleet, slow).await?;
    let log = std::fs::read_to_string(slow.log())?;
    if !log.contains("this disk cannot lead") {
        bail!("it lost leadership for another reason");
    }
    trace.end()?;
    let mut written = 0;
    until("a disk that is well again", PATIENCE, async || {
        written += 1;
        write(&fleet, &format!("then-{written}")).await?;
        Ok((metric(slow, "reeve_disk_slow").await? == "0").then_some(()))
    })
    .await?;
    fleet.shutdown().await
}
