//! The roll of a simulated cluster: founded, joined and left as in a real one, by commands.

use std::time::Duration;

use reeve_domain::access::{Expect, MintToken, NodeAddresses, RedeemToken};
use reeve_domain::ids::TokenId;
use reeve_domain::{Answer, Command, NodeId};

use super::super::cluster::{entry, founding, name};
use super::client::say;
use super::ground::time::{now, sleep};
use super::history::tell;
use super::world::{World, drawn};
use crate::consensus::Committed;

/// Members at the most and, of those that are wanted, at the least.
const NODES_MAX: usize = 6;
pub const NODES_MIN: usize = 3;
const FOUNDING: Duration = Duration::from_secs(60);
/// Whoever is left takes over within this, other faults included; they end sooner.
const TAKING_OVER: Duration = Duration::from_secs(200);

/// The first node and those that begin with it. False when that did not come about.
pub async fn found(world: &World) -> bool {
    world.start(1).await;
    let founded = world
        .at(1, |consensus| async move {
            let initialized = consensus.initialize("simulated:1").await;
            let order = entry(
                reeve_domain::Actor::Founder,
                Some("found"),
                founding("simulated:1"),
            );
            initialized.is_ok() && consensus.propose(order, now() + FOUNDING).await.is_ok()
        })
        .await;
    if founded != Some(true) {
        return false;
    }
    for _ in 1..world.size().nodes {
        join(world).await;
    }
    let all = world.size().nodes as usize;
    world.until(FOUNDING, || is_settled(world, all)).await
}

/// Whether the group is as large as that, in one plain configuration.
pub fn is_settled(world: &World, all: usize) -> bool {
    world.running().iter().all(|id| {
        world.consensus(*id).is_some_and(|consensus| {
            let group = consensus.group();
            let voters = group.configs.first().map_or(0, |voters| voters.len());
            group.configs.len() == 1 && voters == all && group.learners.is_empty()
        })
    })
}

/// Puts a new node on the roll, and starts it.
pub async fn join(world: &World) {
    if !world.may_join(NODES_MAX) {
        return;
    }
    let serial = world.serial();
    let id = TokenId::parse(&format!("{serial:012x}")).expect("a token's id");
    let mint = Command::MintToken(MintToken {
        id: id.clone(),
        secret_hash: [1; 32],
        role: reeve_domain::policy::Role::Node,
        name: name("node"),
        region: None,
        group: None,
        tenants: Default::default(),
        ttl_ms: 20 * 3_600_000,
    });
    let redeem = Command::RedeemToken(RedeemToken {
        id,
        secret_hash: [1; 32],
        csr_hash: [2; 32],
        node: Some(NodeAddresses {
            api: String::new(),
            peer: format!("simulated:{}", serial + 2),
            known: reeve_domain::Versions::KNOWN,
        }),
        expect: Expect::Node,
    });
    if surely(world, mint, &format!("mint-{serial}")).await.is_none() {
        return;
    }
    let Some(committed) = surely(world, redeem, &format!("redeem-{serial}")).await else {
        return;
    };
    world.joined();
    match committed.outcome {
        Ok(Answer::Redeemed(redeemed)) => {
            let node = redeemed.node.map_or(0, |node| node.0);
            tell(format!("node {node} is on the roll"));
            world.start(node).await;
        }
        // A clock that jumped may have let the token expire.
        other => tell(format!("nobody joins: {other:?}")),
    }
}

/// Takes a node off the roll; a while later somebody switches it off.
pub async fn remove(world: &World, node: Option<u64>) {
    let Some(node) = node.filter(|_| !world.is_roll_locked()) else {
        return;
    };
    if strike(world, node).await {
        sleep(Duration::from_millis(drawn(0..6_000))).await;
        world.bury(node);
    }
}

/// Takes a node off the roll. False when it must stay, or nobody knows.
pub async fn strike(world: &World, node: u64) -> bool {
    if !world.may_remove(node, NODES_MIN) {
        return false;
    }
    let command = Command::RemoveNode { node: NodeId(node) };
    let serial = world.serial();
    tell(format!("node {node} is to leave the roll"));
    let committed = surely(world, command, &format!("remove-{serial}")).await;
    if committed.is_some() {
        tell(format!("node {node} is off the roll"));
    }
    committed.is_some()
}

/// Waits until the others have let a node go, while the one that led before is dead.
pub async fn must_let_go(world: &World, gone: u64, dead: u64) {
    let has_let_go = || {
        let leader = world.leader().filter(|leader| ![gone, dead].contains(leader));
        let leader = leader.and_then(|leader| world.consensus(leader));
        leader.is_some_and(|leader| {
            let group = leader.group();
            group.configs.len() == 1 && !group.configs[0].contains(&gone)
        })
    };
    if !world.until(TAKING_OVER, has_let_go).await && world.oracle().wrong().is_none() {
        world.oracle().fail(format!(
            "node {gone} was removed, and without node {dead} nobody lets it go"
        ));
    }
}

/// Asks until it is known how the command ended; none when the world ends before.
async fn surely(world: &World, command: Command, request: &str) -> Option<Committed> {
    let end = now() + Duration::from_secs(120);
    while now() < end && world.oracle().wrong().is_none() {
        if let Some((_, committed)) = say(world, command.clone(), request).await {
            return Some(committed);
        }
        sleep(Duration::from_millis(drawn(20..300))).await;
    }
    if world.oracle().wrong().is_none() {
        world
            .oracle()
            .fail(format!("{request} was not answered in two minutes"));
    }
    None
}
