//! A registry is upgraded node by node, and nothing is lost on the way: what is new waits until every node can follow,
//! and a node that cannot follow stops instead of guessing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_chaos::registers::Registers;
use reeve_chaos::release::{
    NEW, OLD, PROGRAM, RELEASE, change, cluster, gives_up, old, raised, raises, refuses_new, same_everywhere,
    watch,
};
use reeve_chaos::steady::{Steady, create_region};
use reeve_chaos::storm::Played;
use reeve_chaos::world::registry;
use reeve_client::v1::{ErrorReason, Role, TransferLeaderRequest};
use reeve_client::{Error, reason};
use reeve_local::{Mode, until};
use reeve_proto::identity::KeyRequest;

const REGISTERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN: Duration = Duration::from_millis(500);

fn at_new() -> String {
    format!("this cluster is at version {NEW}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_node_by_node_costs_nothing_and_what_is_new_waits_for_the_last() -> Result<()> {
    let fleet = old().start().await?;
    let mut registers = Registers::make(&fleet, REGISTERS).await?;
    registers.begin(&fleet).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let old_left = Arc::new(AtomicUsize::new(3));
    let mut players = registers.play(6, 11, &is_over);
    let mut watching = watch(&fleet, &old_left, &is_over);
    let steady = Steady::begin(&fleet)?;

    for id in 1..=3 {
        if id == 3 {
            old_left.store(0, Ordering::SeqCst);
        }
        let before = steady.acknowledged();
        change(&fleet, id, NEW).await?;
        if id < 3 {
            refuses_new(&fleet.node(id)?.api(), "next-too-early", 3).await?;
            until("more writes", PATIENCE, async || {
                Ok((steady.acknowledged() > before).then_some(()))
            })
            .await?;
            tokio::time::sleep(BETWEEN).await;
        }
    }
    raised(&fleet).await?;
    for node in fleet.nodes() {
        create_region(&node.api(), &format!("next-of-{}", node.id())).await?;
    }

    let written = steady.end(&fleet).await?;
    is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = players.join_next().await {
        ended?;
    }
    while let Some(rose_early) = watching.join_next().await {
        ensure!(!rose_early?, "the version rose while an old node was left");
    }
    let played = Played {
        seen: registers.end(&fleet).await?,
        glances: registers.glances(),
    };
    played.judge()?;
    same_everywhere(&fleet).await?;
    let raises = raises(fleet.api()).await?;
    ensure!(raises == 1, "the version rose {raises} times");
    println!("{written} acknowledged writes, all there");
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_the_version_rises_the_way_back_is_open() -> Result<()> {
    let fleet = old().start().await?;
    let steady = Steady::begin(&fleet)?;
    for (id, release) in [(1, NEW), (2, NEW), (2, OLD), (1, OLD)] {
        change(&fleet, id, release).await?;
        ensure!(cluster(fleet.node(id)?).await?.cluster_version == OLD);
    }
    steady.end(&fleet).await?;
    same_everywhere(&fleet).await?;
    ensure!(raises(fleet.api()).await? == 0);
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_the_version_rose_an_old_program_stays_out() -> Result<()> {
    let fleet = old().start().await?;
    for id in 1..=3 {
        change(&fleet, id, NEW).await?;
    }
    raised(&fleet).await?;
    create_region(fleet.api(), "next-one").await?;
    let node = fleet.node(2)?;
    node.stop().await?;
    node.set_env(RELEASE, &OLD.to_string());
    let at_new = at_new();
    let why = [at_new.as_str(), PROGRAM, "install the program"];
    // Twice: it says the same each time, and nothing of its folder is the worse for it.
    for _ in 0..2 {
        node.start()?;
        gives_up(node, &why).await?;
    }
    create_region(fleet.api(), "next-without-it").await?;

    let token = fleet.token(Role::Node, "", "", &[]).await?;
    let own = KeyRequest::generate()?;
    let (addresses, too_old) = (fleet.addresses(), reeve_domain::Versions { min: 1, max: OLD });
    let joined =
        reeve_client::join::join_node(&addresses, &token, &own, "127.0.0.1:1", "127.0.0.1:2", too_old);
    let refused: Error = joined.await.err().context("an old program was let in")?;
    ensure!(
        refused.reason() == Some(ErrorReason::ProgramVersionUnfit),
        "{refused}"
    );

    change(&fleet, 2, NEW).await?;
    same_everywhere(&fleet).await?;
    fleet.shutdown().await
}

/// The same through a snapshot: the log that raised it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_program_is_told_by_a_snapshot_too() -> Result<()> {
    let settings = toml::toml! {
        [raft]
        snapshot_entries = 20
        trailing_entries = 5
    };
    let fleet = registry()
        .node_env(RELEASE, &NEW.to_string())
        .node_settings(settings)
        .start()
        .await?;
    raised(&fleet).await?;
    let node = fleet.node(3)?;
    let snapshots = node.data_dir().join("snapshots");
    let mut written = 0;
    until("a snapshot behind the raise", PATIENCE, async || {
        written += 1;
        create_region(fleet.api(), &format!("next-{written}")).await?;
        let made = std::fs::read_dir(&snapshots)?.count();
        Ok((made >= 2).then_some(()))
    })
    .await?;
    node.stop().await?;
    node.set_env(RELEASE, &OLD.to_string());
    node.start()?;
    gives_up(node, &[&at_new(), "install the program"]).await?;
    ensure!(
        !std::fs::read_dir(&snapshots)?.any(|file| file.is_ok_and(|file| file.path().extension().is_some())),
        "a good snapshot was set aside"
    );
    change(&fleet, 3, NEW).await?;
    same_everywhere(&fleet).await?;
    fleet.shutdown().await
}

/// The check is checked: readers find a node that does not ask how far the others are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_misses_what_was_acknowledged_is_found() -> Result<()> {
    const ENOUGH: usize = 20_000;
    let fleet = registry()
        .node_env("REEVE_MUTANT", "read_without_index")
        .node_env("REEVE_REGISTRY_RAFT__PROFILE", "wan")
        .start()
        .await?;
    // It shows when a read comes between an acknowledgement and what this node hears of it: one of them hears late.
    let leader = fleet.leader().await?.id();
    let late = leader % 3 + 1;
    fleet.hops().set_between(leader, late, Mode::Delay(BETWEEN));
    let steady = Steady::begin_apart(&fleet)?;
    until("a reader to notice", 3 * PATIENCE, async || {
        Ok((steady.has_failed() || steady.acknowledged() > ENOUGH).then_some(()))
    })
    .await?;
    fleet.hops().heal();
    let found = steady.end(&fleet).await.err().context("it was not noticed")?;
    ensure!(
        found.to_string().contains("a linearizable read missed"),
        "{found:#}"
    );
    fleet.shutdown().await
}

/// The check is checked: a leader that raises the version alone leaves the others behind, and is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_rises_before_all_can_follow_is_found() -> Result<()> {
    let fleet = old().node_env("REEVE_MUTANT", "raise_alone").start().await?;
    let (is_over, old_left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(2)));
    let mut watching = watch(&fleet, &old_left, &is_over);
    change(&fleet, 1, NEW).await?;
    let order = TransferLeaderRequest { to_node_id: 1 };
    // It may lead already.
    let leader = fleet.leader().await?;
    if leader.id() != 1 {
        leader.api().cluster().transfer_leader(order).await?;
    }
    for id in [2, 3] {
        gives_up(fleet.node(id)?, &[&at_new(), "install the program"]).await?;
    }
    until("the version to rise", PATIENCE, async || {
        let version = cluster(fleet.node(1)?).await?.cluster_version;
        Ok((version == NEW).then_some(()))
    })
    .await?;
    is_over.store(true, Ordering::SeqCst);
    let mut found = false;
    while let Some(rose_early) = watching.join_next().await {
        found |= rose_early?;
    }
    ensure!(found, "it was not noticed");
    fleet.shutdown().await
}

/// What the gate prevents: two nodes of the new release write what the third cannot read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_meets_an_unknown_command_stops_and_goes_on_once_it_is_upgraded() -> Result<()> {
    let fleet = old()
        .node_env("REEVE_MUTANT", "skip_version_gate")
        .start()
        .await?;
    for id in [1, 2] {
        change(&fleet, id, NEW).await?;
    }
    let (new, old) = (fleet.node(1)?, fleet.node(3)?);
    if fleet.leader().await?.id() == 3 {
        let order = TransferLeaderRequest { to_node_id: 1 };
        old.api().cluster().transfer_leader(order).await?;
        until("another leader", PATIENCE, async || {
            Ok((fleet.leader().await?.id() != 3).then_some(()))
        })
        .await?;
    }
    // Those who can read it refuse it all the same: it came too early.
    let refused = create_region(&new.api(), "next-too-early").await.err();
    ensure!(
        refused.as_ref().and_then(reason) == Some(ErrorReason::ClusterVersionTooLow),
        "{refused:?}"
    );
    let why = [
        "log entry ",
        "command Rehearse",
        PROGRAM,
        "does not know",
        "install the program",
    ];
    gives_up(old, &why).await?;
    create_region(&new.api(), "the-others-go-on").await?;
    old.start()?;
    gives_up(old, &why).await?;

    old.set_env(RELEASE, &NEW.to_string());
    old.start()?;
    fleet.wait_whole().await?;
    raised(&fleet).await?;
    create_region(&old.api(), "next-in-time").await?;
    same_everywhere(&fleet).await?;
    fleet.shutdown().await
}
