//! What a watcher is told is ordered, unique, complete, whole per revision, resumable and bookmarked, whatever happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_chaos::faults::kill::Crowd;
use reeve_chaos::faults::{Fault, strike};
use reeve_chaos::watching::changes::Changes;
use reeve_chaos::watching::judge::judge;
use reeve_chaos::watching::watchers::Watchers;
use reeve_chaos::watching::{Heard, Stream};
use reeve_chaos::world::Who::{Follower, Leader};
use reeve_chaos::world::World;
use reeve_client::v1::watch_response::Event;
use reeve_client::v1::{GetClusterRequest, WatchRequest};
use reeve_local::{Builder, Fleet, Node, until};

const SEED: u64 = 11;
const FAULTS: [Fault; 6] = [
    Fault::Kill(Crowd::Leader),
    Fault::Kill(Crowd::All),
    Fault::Pause(Leader),
    Fault::Isolate(Leader),
    Fault::Freeze(Follower),
    Fault::SlowEverybody,
];
const HURT: Duration = Duration::from_millis(900);
const BETWEEN: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(120);
/// More than a log keeps, and two snapshots.
const FAR: u64 = 150;

/// Snapshots are near, so that a node that was away for a while comes back by one.
fn registry() -> Builder {
    let no_regions: [&str; 0] = [];
    let settings = toml::toml! {
        [raft]
        snapshot_entries = 50
        trailing_entries = 10
    };
    Fleet::builder().regions(no_regions).node_settings(settings)
}

/// One node is away while the others make a snapshot and forget the log behind it.
async fn fall_behind(fleet: &Fleet) -> Result<()> {
    let leader = fleet.leader().await?.id();
    let away = fleet.node(if leader == 3 { 2 } else { 3 })?;
    let before = applied(fleet).await?;
    away.kill9()?;
    until("more than a log keeps", PATIENCE, async || {
        Ok((applied(fleet).await? > before + FAR).then_some(()))
    })
    .await?;
    away.start()?;
    fleet.wait_whole().await?;
    let first = until("the end of a history", PATIENCE, async || first_of(away).await).await?;
    ensure!(
        matches!(first, Event::Compacted(_)),
        "a history that begins with a snapshot goes back to the beginning: {first:?}"
    );
    Ok(())
}

/// How far the log has come.
async fn applied(fleet: &Fleet) -> Result<u64> {
    let mut leader = fleet.leader().await?.api().cluster();
    let asked = GetClusterRequest::default();
    Ok(leader.get_cluster(asked).await?.into_inner().applied_index)
}

/// The first that a watcher hears who stands at the beginning.
async fn first_of(node: &Node) -> Result<Option<Event>> {
    let asked = WatchRequest {
        after_revision: 1,
        ..Default::default()
    };
    let mut stream = node.api().resolver().watch(asked).await?.into_inner();
    Ok(stream.message().await?.and_then(|message| message.event))
}

/// Changes and faults, and watchers of every temper; what the watchers heard, and whether it fits together.
async fn play(
    world: &mut World,
    faults: &[Fault],
    seed: u64,
    is_enough: impl Fn(&[Stream]) -> bool,
) -> Result<(Vec<Stream>, Result<()>)> {
    let mut changes = Changes::prepare(&world.fleet, seed).await?;
    let watchers = Watchers::begin(&world.fleet, 1, seed);
    let is_over = AtomicBool::new(false);
    let hurting = async {
        tokio::time::sleep(BETWEEN).await;
        for fault in faults {
            strike(world, *fault, HURT).await?;
            tokio::time::sleep(BETWEEN).await;
        }
        if !faults.is_empty() {
            fall_behind(&world.fleet).await?;
        }
        world.fleet.wait_whole().await?;
        until("enough to judge", PATIENCE, async || {
            Ok(watchers.look(&is_enough).then_some(()))
        })
        .await
    };
    let hurting = async {
        let hurt = hurting.await;
        is_over.store(true, Ordering::Relaxed);
        hurt
    };
    let (hurt, ()) = tokio::join!(hurting, changes.go_on(&is_over));
    hurt?;
    let last = changes.last().await?;
    let streams = watchers.end(last).await;
    let judged = judge(&streams, &changes.acked);
    Ok((
        streams,
        judged.map(|()| println!("{} changes", changes.acked.len())),
    ))
}

fn count(streams: &[Stream], is_wanted: impl Fn(&Heard) -> bool) -> usize {
    let heard = streams.iter().flat_map(|stream| &stream.heard);
    heard.filter(|heard| is_wanted(heard)).count()
}

fn resumed(streams: &[Stream]) -> usize {
    let resumed = |stream: &&Stream| stream.after > 0 && !stream.heard.is_empty();
    streams.iter().filter(resumed).count()
}

fn deltas(streams: &[Stream]) -> usize {
    count(streams, |heard| matches!(heard, Heard::Delta(..)))
}

fn bookmarks(streams: &[Stream]) -> usize {
    count(streams, |heard| matches!(heard, Heard::Bookmark(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_told_everything_once_and_in_order_while_the_nodes_are_hurt() -> Result<()> {
    let mut world = World::start(registry(), SEED).await?;
    let is_enough =
        |streams: &[Stream]| deltas(streams) > 500 && bookmarks(streams) > 50 && resumed(streams) > 30;
    let (streams, judged) = play(&mut world, &FAULTS, SEED, is_enough).await?;
    let compacted = count(&streams, |heard| matches!(heard, Heard::Compacted(_)));
    println!(
        "{} streams, {} of them resumed; {} changes told, {} bookmarks, {compacted} compacted",
        streams.len(),
        resumed(&streams),
        deltas(&streams),
        bookmarks(&streams)
    );
    judged?;
    world.shutdown().await
}

/// The judge is judged: nodes with a planted fault are found, without any other fault.
async fn must_be_found(mutant: &str, property: &str) -> Result<()> {
    let mut world = World::start(registry().node_env("REEVE_MUTANT", mutant), SEED).await?;
    let is_enough = |streams: &[Stream]| deltas(streams) > 500 && bookmarks(streams) > 50;
    let (_, judged) = play(&mut world, &[], SEED, is_enough).await?;
    let found = judged.err().with_context(|| format!("{mutant} was not found"))?;
    let found = format!("{found:#}");
    println!("{mutant}: {found}");
    ensure!(
        found.contains(property),
        "{mutant} was found by another property: {found}"
    );
    world.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_no_watcher_hears_of_is_found() -> Result<()> {
    must_be_found("watch_gap", "reliable").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bookmark_ahead_of_what_was_delivered_is_found() -> Result<()> {
    must_be_found("bookmark_ahead", "bookmarkable").await
}
