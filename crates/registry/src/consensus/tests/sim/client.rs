//! Clients: they write, send again what nobody answered, read at every level, and tell the oracle what they heard.

use std::time::Duration;

use reeve_domain::group::Region;
use reeve_domain::{Actor, Command, Revision};

use super::super::cluster::{entry, name};
use super::exec::now_ns;
use super::ground::time::{now, sleep};
use super::history::tell;
use super::world::{World, chance, drawn, pick};
use crate::consensus::{Committed, Level, Unavailable};

/// Names that several clients want.
const CONTENDED: u64 = 40;
const TRIES_MAX: u64 = 8;

/// One client, until the world is over.
pub async fn play(world: World, number: u64) {
    let mut asked = 0;
    while !world.is_over() {
        sleep(Duration::from_millis(drawn(5..150))).await;
        match drawn(0..100) {
            0..50 => {
                asked += 1;
                write(&world, number, asked).await;
            }
            50..75 => read(&world, number).await,
            75..95 => look(&world).await,
            _ => at_least(&world).await,
        }
    }
}

fn region(text: &str) -> Command {
    Command::CreateRegion(Region {
        name: name(text),
        display_name: String::new(),
    })
}

async fn write(world: &World, number: u64, asked: u64) {
    let unique = !chance(15);
    let text = match unique {
        true => format!("u{number}-{asked}"),
        false => format!("c{}", drawn(0..CONTENDED)),
    };
    let request = format!("client-{number}-{asked}");
    let floor = world.oracle().floor();
    let tries = drawn(1..TRIES_MAX);
    for _ in 0..tries {
        let said = say(world, region(&text), &request).await;
        if let Some((node, committed)) = said {
            let told = match &committed.outcome {
                Ok(_) => "done".to_owned(),
                Err(refusal) => refusal.to_string(),
            };
            tell(format!(
                "client {number}: {request} creates {text} at node {node}: {told}, {:?}",
                committed.revision
            ));
            world.oracle().answered(&request, &committed, floor, unique);
            if !chance(20) {
                return;
            }
            // Its answer gets lost on the last few metres: it asks again.
        }
        sleep(Duration::from_millis(drawn(1..400))).await;
        if world.is_over() {
            return;
        }
    }
}

/// Proposes through any node; none when the end is unknown.
pub async fn say(world: &World, command: Command, request: &str) -> Option<(u64, Committed)> {
    let node = pick(&world.running())?;
    let proposal = entry(Actor::Pilot, Some(request), command);
    let limit = Duration::from_millis(drawn(300..4_000));
    let oracle = world.oracle().clone();
    let said: Option<Result<Committed, Unavailable>> = world
        .at(node, |consensus| async move {
            let said = consensus.propose(proposal, now() + limit).await;
            if let Ok(committed) = &said
                && consensus.published().state.revision < committed.revision
            {
                oracle.fail(format!("node {node} answered before it had the change itself"));
            }
            said
        })
        .await;
    said?.ok().map(|committed| (node, committed))
}

async fn read(world: &World, number: u64) {
    let Some(node) = pick(&world.running()) else {
        return;
    };
    let floor = world.oracle().floor();
    let limit = Duration::from_millis(drawn(300..3_000));
    let read = world
        .at(node, |consensus| async move {
            consensus.read(Level::Linearizable, now() + limit).await
        })
        .await;
    if let Some(Ok(view)) = read {
        let revision = view.state().revision;
        tell(format!("client {number} reads {revision:?} at node {node}"));
        world.oracle().read(node, view.state(), floor);
    }
}

/// Looks at once, and holds a node to what it says of its age.
async fn look(world: &World) {
    let Some(node) = pick(&world.running()) else {
        return;
    };
    let level = match chance(50) {
        true => Level::Stale,
        false => Level::Bounded(Duration::from_millis(drawn(50..2_000))),
    };
    let looked = world
        .at(node, |consensus| async move {
            let asked_ns = now_ns();
            (asked_ns, consensus.read(level, now()).await)
        })
        .await;
    let Some((asked_ns, Ok(view))) = looked else {
        return;
    };
    if let Level::Bounded(max) = level
        && view.staleness.is_none_or(|age| age > max) != view.stale
    {
        world
            .oracle()
            .fail(format!("node {node} flags a view wrongly: {:?}", view.staleness));
    }
    match view.staleness {
        Some(age) => world.oracle().aged(node, view.state(), age, asked_ns),
        None => world.oracle().holds(node, view.state()),
    }
}

async fn at_least(world: &World) {
    let Some(node) = pick(&world.running()) else {
        return;
    };
    let floor = Revision(world.oracle().floor());
    let limit = Duration::from_millis(drawn(10..1_000));
    let read = world
        .at(node, |consensus| async move {
            consensus.read(Level::AtLeast(floor), now() + limit).await
        })
        .await;
    if let Some(Ok(view)) = read {
        if view.state().revision < floor {
            world
                .oracle()
                .fail(format!("node {node} gave less than {floor:?}"));
        }
        world.oracle().holds(node, view.state());
    }
}
