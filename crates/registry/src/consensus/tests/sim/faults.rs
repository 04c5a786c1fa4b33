//! What goes wrong in a simulated day. Each seed plays with some of these, not with all: rare pairs meet more often so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::exec::here;
use super::ground::time::sleep;
use super::history::tell;
use super::roll;
use super::world::{World, aside, chance, drawn, pick};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    CrashOne,
    CrashLeader,
    CrashMajority,
    CrashAll,
    CrashInChange,
    CrashInRemoval,
    StopInPeace,
    Pause,
    PauseLeader,
    Split,
    Isolate,
    OneWay,
    Bridge,
    Flap,
    HalfOpen,
    SlowLinks,
    LossyLinks,
    Doubles,
    DiskStall,
    SlowDisk,
    ClockJump,
    ClockFarAhead,
    Snapshot,
    Behind,
    Transfer,
    Join,
    Remove,
    RemoveLeader,
    LoseArchives,
}

use Fault::*;

/// The jump of a clock that forgot what day it is.
pub const YEAR_MS: i64 = 365 * 24 * 3_600_000;

pub const ALL: [Fault; 29] = [
    CrashOne,
    CrashLeader,
    CrashMajority,
    CrashAll,
    CrashInChange,
    CrashInRemoval,
    StopInPeace,
    Pause,
    PauseLeader,
    Split,
    Isolate,
    OneWay,
    Bridge,
    Flap,
    HalfOpen,
    SlowLinks,
    LossyLinks,
    Doubles,
    DiskStall,
    SlowDisk,
    ClockJump,
    ClockFarAhead,
    Snapshot,
    Behind,
    Transfer,
    Join,
    Remove,
    RemoveLeader,
    LoseArchives,
];

/// Faults that are under way; the storm ends when all of them have ended.
#[derive(Clone, Default)]
pub struct UnderWay(Arc<AtomicU64>);

impl UnderWay {
    fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        let count = self.0.clone();
        count.fetch_add(1, Ordering::Relaxed);
        aside(async move {
            work.await;
            count.fetch_sub(1, Ordering::Relaxed);
        });
    }

    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Plays with faults for so long; what it leaves behind is healed by the caller.
pub async fn storm(world: &World, kinds: &[Fault], long: Duration) -> UnderWay {
    let under_way = UnderWay::default();
    let end = super::ground::time::now() + long;
    while super::ground::time::now() < end && !world.is_over() {
        sleep(Duration::from_millis(drawn(50..700))).await;
        let Some(kind) = pick(kinds) else { break };
        under_way.begin(play(world.clone(), kind));
    }
    under_way
}

async fn play(world: World, kind: Fault) {
    let long = Duration::from_millis(drawn(50..3_000));
    let leader = world.leader();
    let any = pick(&world.nodes());
    match kind {
        CrashOne => crash(&world, any.into_iter().collect(), long).await,
        CrashLeader => crash(&world, leader.into_iter().collect(), long).await,
        CrashMajority => {
            let all = shuffled(world.nodes());
            let count = all.len() / 2 + 1;
            crash(&world, all.into_iter().take(count).collect(), long).await;
        }
        CrashAll => crash(&world, world.nodes(), long).await,
        CrashInChange => {
            // Between the two steps of a change of the group.
            let in_change = || {
                let leader = world.leader().and_then(|leader| world.consensus(leader));
                leader.is_some_and(|leader| leader.group().configs.len() > 1)
            };
            let joins = world.clone();
            aside(async move { roll::join(&joins).await });
            if world.until_often(Duration::from_secs(4), in_change).await {
                tell("a change of the group is half done");
                crash(&world, world.leader().into_iter().collect(), long).await;
            }
        }
        CrashInRemoval => crash_in_removal(&world).await,
        StopInPeace => {
            let Some(node) = pick(&world.running()) else {
                return;
            };
            world.stop(node).await;
            sleep(long).await;
            world.start(node).await;
        }
        Pause => pause(any, long).await,
        PauseLeader => pause(leader, long).await,
        Split => {
            let all = shuffled(world.nodes());
            let at = drawn(1..all.len().max(2) as u64) as usize;
            let (some, others) = all.split_at(at.min(all.len()));
            apart(&world, some, others, long).await;
        }
        Isolate => {
            let Some(node) = leader.or(any) else { return };
            let others: Vec<u64> = world.nodes().into_iter().filter(|other| *other != node).collect();
            apart(&world, &[node], &others, long).await;
        }
        OneWay => {
            let Some(node) = (if chance(60) { leader } else { any }) else {
                return;
            };
            let hears = chance(50);
            tell(format!(
                "node {node} {} nobody",
                if hears { "reaches" } else { "hears" }
            ));
            let others: Vec<u64> = world.nodes().into_iter().filter(|other| *other != node).collect();
            let ways = others
                .into_iter()
                .map(|other| if hears { (node, other) } else { (other, node) });
            cut(&world, ways.collect(), long).await;
        }
        Bridge => {
            // All reach one node, and nobody reaches anybody else.
            let Some(bridge) = any else { return };
            tell(format!("node {bridge} is the only bridge"));
            let others: Vec<u64> = world
                .nodes()
                .into_iter()
                .filter(|other| *other != bridge)
                .collect();
            let ways = others.iter().flat_map(|a| others.iter().map(move |b| (*a, *b)));
            cut(&world, ways.filter(|(a, b)| a != b).collect(), long).await;
        }
        Flap => {
            let Some((a, b)) = two(&world) else { return };
            tell(format!("the link of {a} and {b} flaps"));
            for _ in 0..drawn(3..15) {
                cut(
                    &world,
                    vec![(a, b), (b, a)],
                    Duration::from_millis(drawn(20..150)),
                )
                .await;
                sleep(Duration::from_millis(drawn(20..150))).await;
            }
        }
        HalfOpen => {
            let Some((a, b)) = two(&world) else { return };
            tell(format!("streams from {a} to {b} are half open"));
            world.net().break_streams(a, b);
        }
        SlowLinks => {
            let ms = drawn(20..400);
            let Some((a, b)) = two(&world) else { return };
            let ways = if chance(50) { ways_of(&world) } else { vec![(a, b)] };
            tell(format!("{} ways are slow by {ms} ms", ways.len()));
            ways.iter().for_each(|(a, b)| world.net().slow(*a, *b, ms));
            sleep(2 * long).await;
            ways.iter().for_each(|(a, b)| world.net().slow(*a, *b, 0));
        }
        LossyLinks => {
            let percent = drawn(2..40);
            let ways = ways_of(&world);
            tell(format!("all ways lose {percent} %"));
            ways.iter().for_each(|(a, b)| world.net().lossy(*a, *b, percent));
            sleep(2 * long).await;
            ways.iter().for_each(|(a, b)| world.net().lossy(*a, *b, 0));
        }
        Doubles => {
            tell("calls come twice");
            world.net().double(drawn(5..50));
            sleep(2 * long).await;
            world.net().double(0);
        }
        DiskStall => {
            let Some(node) = (if chance(50) { leader } else { any }) else {
                return;
            };
            tell(format!("the disk of node {node} stands still for {long:?}"));
            world.disk(node).inspect(|disk| disk.stall(long));
            if chance(60) {
                // What was not flushed is lost with its node.
                sleep(long.mul_f64(0.8)).await;
                crash(&world, vec![node], Duration::from_millis(drawn(10..800))).await;
            }
        }
        SlowDisk => {
            let Some(node) = any else { return };
            tell(format!("the disk of node {node} is slow"));
            world.disk(node).inspect(|disk| disk.slow(drawn(5..120)));
            sleep(2 * long).await;
            world.disk(node).inspect(|disk| disk.slow(0));
        }
        ClockJump => {
            let Some(node) = (if chance(70) { leader } else { any }) else {
                return;
            };
            let jump = drawn(0..7_200_000) as i64 - 3_600_000;
            tell(format!("the clock of node {node} is wrong by {jump} ms"));
            let Some(core) = here() else { return };
            core.skew_ms.lock().insert(node, jump);
        }
        ClockFarAhead => {
            let Some(core) = here() else { return };
            let mut skew = core.skew_ms.lock();
            // Two such clocks of three would be the group's own.
            let is_first = skew.values().all(|off| *off < YEAR_MS);
            let Some(node) = leader.filter(|_| is_first && world.size().nodes > 2) else {
                return;
            };
            tell(format!("the clock of node {node} is a year ahead"));
            skew.insert(node, YEAR_MS);
        }
        Snapshot => {
            let Some(node) = pick(&world.running()) else {
                return;
            };
            tell(format!("node {node} is to make a snapshot"));
            let _ = world
                .at(node, |consensus| async move { consensus.snapshot_now().await })
                .await;
        }
        Behind => behind(&world, long).await,
        Transfer => {
            let (Some(from), Some(to)) = (leader, any) else {
                return;
            };
            tell(format!("node {from} is to hand over to node {to}"));
            let _ = world
                .at(from, move |consensus| async move {
                    consensus.transfer_leader(to).await
                })
                .await;
        }
        Join => roll::join(&world).await,
        Remove => roll::remove(&world, any).await,
        RemoveLeader => roll::remove(&world, leader).await,
        LoseArchives => {
            tell("every archive has a hole that nobody can fill");
            let shelves = world.nodes().into_iter().filter_map(|node| world.shelf(node));
            shelves.for_each(|shelf| shelf.lose());
        }
    }
}

async fn crash(world: &World, nodes: Vec<u64>, long: Duration) {
    nodes.iter().for_each(|node| world.crash(*node));
    for node in shuffled(nodes) {
        sleep(long.mul_f64(0.5)).await;
        world.start(node).await;
    }
}

/// A node has been struck off the roll and has its vote still, the leader dies for good, and what it wrote last came to
/// that node alone.
async fn crash_in_removal(world: &World) {
    if world.nodes().len() == roll::NODES_MIN {
        roll::join(world).await;
    }
    let all = world.nodes();
    let is_whole = || roll::is_settled(world, all.len()) && world.leader().is_some();
    if !world.until(Duration::from_secs(4), is_whole).await {
        return;
    }
    let Some(leader) = world.leader() else { return };
    let others: Vec<u64> = all.into_iter().filter(|node| *node != leader).collect();
    let Some(gone) = pick(&others) else { return };
    if !world.lock_roll() {
        return;
    }
    if roll::strike(world, gone).await {
        let slow = others.iter().filter(|node| **node != gone);
        slow.clone().for_each(|node| world.net().slow(leader, *node, 400));
        sleep(Duration::from_millis(drawn(0..400))).await;
        tell(format!("node {leader} dies; the others must do without it"));
        world.keep_away(leader, true);
        world.crash(leader);
        slow.for_each(|node| world.net().slow(leader, *node, 0));
        roll::must_let_go(world, gone, leader).await;
        world.bury(gone);
        world.keep_away(leader, false);
        world.start(leader).await;
    }
    world.unlock_roll();
}

async fn pause(node: Option<u64>, long: Duration) {
    let (Some(node), Some(core)) = (node, here()) else {
        return;
    };
    tell(format!("node {node} is stopped for {long:?}"));
    core.stop(node);
    sleep(long).await;
    core.go_on(node);
    tell(format!("node {node} goes on"));
}

async fn apart(world: &World, some: &[u64], others: &[u64], long: Duration) {
    tell(format!("{some:?} and {others:?} are apart"));
    let ways = some
        .iter()
        .flat_map(|a| others.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
    cut(world, ways.collect(), long).await;
}

async fn cut(world: &World, ways: Vec<(u64, u64)>, long: Duration) {
    ways.iter().for_each(|(a, b)| world.net().cut(*a, *b));
    sleep(long).await;
    ways.iter().for_each(|(a, b)| world.net().mend(*a, *b));
}

/// A follower is away, and meanwhile the others make snapshots and cut their logs.
async fn behind(world: &World, long: Duration) {
    let leader = world.leader();
    let followers: Vec<u64> = world
        .nodes()
        .into_iter()
        .filter(|node| Some(*node) != leader)
        .collect();
    let Some(away) = pick(&followers) else { return };
    tell(format!("node {away} falls behind"));
    let others: Vec<u64> = world.nodes().into_iter().filter(|node| *node != away).collect();
    let ways: Vec<_> = others
        .iter()
        .flat_map(|other| [(away, *other), (*other, away)])
        .collect();
    ways.iter().for_each(|(a, b)| world.net().cut(*a, *b));
    for _ in 0..2 {
        sleep(long.mul_f64(0.5)).await;
        for other in &others {
            let _ = world
                .at(*other, |consensus| async move { consensus.snapshot_now().await })
                .await;
        }
    }
    ways.iter().for_each(|(a, b)| world.net().mend(*a, *b));
    // What it lacks comes as a snapshot, and the way breaks in the middle of it.
    let receives = || {
        let node = world.consensus(away);
        node.is_some_and(|node| node.incoming().is_busy())
    };
    if chance(60) && world.until_often(Duration::from_secs(4), receives).await {
        sleep(Duration::from_millis(drawn(0..30))).await;
        tell(format!("the way of a snapshot to node {away} breaks"));
        others
            .iter()
            .for_each(|other| world.net().break_streams(*other, away));
    }
}

fn two(world: &World) -> Option<(u64, u64)> {
    let all = shuffled(world.nodes());
    Some((*all.first()?, *all.get(1)?))
}

fn ways_of(world: &World) -> Vec<(u64, u64)> {
    let all = world.nodes();
    let ways = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
    ways.filter(|(a, b)| a != b).collect()
}

fn shuffled(mut all: Vec<u64>) -> Vec<u64> {
    here().inspect(|core| core.chance.lock().shuffle(&mut all));
    all
}
