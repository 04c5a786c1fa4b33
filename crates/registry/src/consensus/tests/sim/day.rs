//! A simulated day: a cluster is founded, clients come, much goes wrong, then all is healed and judged.

use std::time::Duration;

use reeve_domain::digest::hex;

use super::client;
use super::exec::{self, here};
use super::faults::{Fault, storm};
use super::ground::time::{now, sleep, timeout};
use super::history::tell;
use super::oracle::Oracle;
use super::roll;
use super::world::{Size, World, aside, chance, drawn};
use crate::consensus::Level;
use crate::mutant::Mutant;

/// After all faults have ended, everything works again within this.
const HEALING: Duration = Duration::from_secs(150);
/// Kinds of faults in one day, so that rare ones meet.
const KINDS_MAX: u64 = 9;

/// What is wrong with the nodes themselves: nothing, all of them, or one.
pub type Planted = Option<(Mutant, Option<u64>)>;

/// How a day went.
#[derive(Debug)]
pub struct Report {
    pub wrong: Option<String>,
    /// The same for the same seed, always.
    pub hash: u64,
    pub history: String,
    pub acknowledged: usize,
}

/// Plays the day of a seed.
pub fn play(seed: u64, planted: Planted, faults: &[Fault]) -> Report {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Another test may have begun to show them.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).try_init();
    }
    let folder = scratch();
    let path = folder.path().to_owned();
    let faults = faults.to_vec();
    let (ran, core) = exec::run(seed, planted, async move {
        let oracle = Oracle::default();
        let kinds = kinds(faults);
        let world = World::new(size(), path, oracle.clone());
        tell(format!("seed {seed}: {:?}, {kinds:?}", world.size()));
        let went = timeout(Duration::from_secs(1_800), whole(&world, &kinds)).await;
        if went.is_err() {
            oracle.fail("the day does not end".to_owned());
        }
        world.end();
        let nodes = world.running();
        nodes.into_iter().for_each(|node| world.crash(node));
        (oracle.wrong(), oracle.acknowledged())
    });
    drop(folder);
    let history = core.history.lock();
    let (wrong, acknowledged) = ran.unwrap_or_else(|panic| (Some(format!("a panic: {panic}")), 0));
    Report {
        wrong,
        hash: history.hash() ^ core.polls().rotate_left(32),
        history: history.text(),
        acknowledged,
    }
}

/// In memory when there is such a place: a folder for snapshots, of which no flush must be waited for.
fn scratch() -> tempfile::TempDir {
    let mut make = tempfile::Builder::new();
    let make = make.prefix("reeve-sim-");
    make.tempdir_in("/dev/shm")
        .or_else(|_| make.tempdir())
        .expect("a folder for snapshots")
}

fn size() -> Size {
    Size {
        nodes: if chance(70) { 3 } else { 5 },
        clients: drawn(2..7),
        snapshot_entries: drawn(8..80),
        trailing_entries: drawn(0..12),
    }
}

fn kinds(mut all: Vec<Fault>) -> Vec<Fault> {
    here().inspect(|core| core.chance.lock().shuffle(&mut all));
    all.truncate(drawn(1..KINDS_MAX) as usize);
    all
}

async fn whole(world: &World, kinds: &[Fault]) {
    if !roll::found(world).await {
        return world.oracle().fail("the cluster was not founded".to_owned());
    }
    tell("founded");
    for number in 0..world.size().clients {
        aside(client::play(world.clone(), number));
    }
    let long = Duration::from_millis(drawn(2_000..6_000));
    let under_way = storm(world, kinds, long).await;
    // Faults end by themselves; those that wait for an answer end once the others have.
    sleep(Duration::from_millis(drawn(0..2_000))).await;
    heal(world).await;
    if !world.until(2 * HEALING, || under_way.is_over()).await {
        return world
            .oracle()
            .fail("what was begun in the storm does not end".to_owned());
    }
    heal(world).await;
    sleep(Duration::from_millis(drawn(0..2_000))).await;
    world.end();
    judge(world).await;
    if chance(25) {
        tell("the power fails everywhere");
        let nodes = world.nodes();
        nodes.iter().for_each(|node| world.crash(*node));
        heal(world).await;
        judge(world).await;
    }
}

async fn heal(world: &World) {
    tell("all is healed");
    world.net().heal();
    let Some(core) = here() else { return };
    core.skew_ms.lock().clear();
    for node in world.nodes() {
        core.go_on(node);
        world.disk(node).inspect(|disk| disk.heal());
        world.start(node).await;
    }
}

/// Everything works again, and nothing is missing.
async fn judge(world: &World) {
    // Somebody may have asked to join in the storm, and come only now.
    let settled = world
        .until(HEALING, || {
            !world.is_anybody_coming() && roll::is_settled(world, world.nodes().len())
        })
        .await;
    let nodes = world.nodes();
    if !settled {
        let why = format!("the group of {nodes:?} does not come to rest:{}", standing(world));
        if world.oracle().wrong().is_none() {
            world.oracle().fail(why);
        }
        return;
    }
    let end = now() + HEALING;
    for node in nodes {
        let (floor, deadline) = (world.oracle().floor(), end);
        let read = world
            .at(node, move |consensus| async move {
                consensus.read(Level::Linearizable, deadline).await
            })
            .await;
        match read {
            Some(Ok(view)) => world.oracle().read(node, view.state(), floor),
            other => {
                let why = other.map(|read| read.err());
                world.oracle().fail(format!(
                    "node {node} cannot be read ({why:?}): {}",
                    standing(world)
                ));
                return;
            }
        }
    }
    let same = || {
        let revisions: Vec<_> = states(world).into_iter().map(|(_, index, _)| index).collect();
        revisions.windows(2).all(|pair| pair[0] == pair[1])
    };
    if !world.until(HEALING, same).await {
        return world
            .oracle()
            .fail("the nodes do not come to the same entry".to_owned());
    }
    let states = states(world);
    for (node, index, hash) in &states {
        if let Some(consensus) = world.consensus(*node) {
            world.oracle().holds(*node, &consensus.published().state);
        }
        if *hash != states[0].2 {
            world.oracle().fail(format!(
                "node {node}'s State at entry {index} is not node {}'s",
                states[0].0
            ));
        }
    }
    tell(format!(
        "all nodes hold the same: {}",
        states.first().map(|s| s.2.clone()).unwrap_or_default()
    ));
}

/// How each node sees the group.
fn standing(world: &World) -> String {
    let groups: Vec<_> = world
        .running()
        .into_iter()
        .filter_map(|id| world.consensus(id).map(|consensus| (id, consensus)))
        .map(|(id, consensus)| {
            let status = consensus.status();
            let group = consensus.group();
            format!(
                "\n  node {id} in term {}: leader {:?}, voters {:?}, learners {:?}, last {}, committed {}, applied {}, matched {:?}",
                status.term,
                status.leader,
                group.configs,
                group.learners,
                status.last_index,
                status.commit_index,
                status.applied_index,
                group.matched,
            )
        })
        .collect();
    groups.concat()
}

fn states(world: &World) -> Vec<(u64, u64, String)> {
    let running = world.running().into_iter();
    running
        .filter_map(|id| world.consensus(id).map(|consensus| (id, consensus.published())))
        .map(|(id, published)| (id, published.applied_index, hex(&published.state.hash())))
        .collect()
}
