//! The cluster version rises when every node of the roll has told that it can follow, never falls, and lets nothing in
//! that came later.

mod world;

use std::collections::BTreeMap;

use reeve_domain::access::{Expect, NodeAddresses, RedeemToken};
use reeve_domain::group::Region;
use reeve_domain::ids::TokenId;
use reeve_domain::plan::raise::{Reason, Verdict, plan};
use reeve_domain::policy::Role;
use reeve_domain::version::{self, RaiseVersion};
use reeve_domain::{Actor, Applied, Command, NodeId, Refusal, Versions};
use world::{World, name};

fn known(of: &[(u64, u32, u32)]) -> BTreeMap<NodeId, Versions> {
    of.iter()
        .map(|(id, min, max)| (NodeId(*id), Versions { min: *min, max: *max }))
        .collect()
}

/// Three nodes on the roll.
fn three() -> World {
    let mut world = World::with_regions(&["vn"]);
    world.state.cluster.version = version::FIRST;
    for (id, port) in [("00000000000b", 2), ("00000000000c", 3)] {
        let joined = join(&mut world, id, port, Versions::KNOWN);
        assert!(joined.outcome.is_ok(), "{joined:?}");
    }
    world
}

fn join(world: &mut World, token: &str, port: u8, known: Versions) -> Applied {
    world.mint(token, Role::Node, "node", None);
    let node = NodeAddresses {
        api: format!("127.0.0.1:740{port}"),
        peer: format!("127.0.0.1:741{port}"),
        known,
    };
    let order = RedeemToken {
        id: TokenId::parse(token).unwrap(),
        secret_hash: [9; 32],
        csr_hash: [port; 32],
        node: Some(node),
        expect: Expect::Node,
    };
    world.say_as(Actor::Joiner, Command::RedeemToken(order))
}

fn raise(world: &mut World, to: u32, of: &[(u64, u32, u32)]) -> Applied {
    let order = RaiseVersion { to, known: known(of) };
    world.say_as(Actor::Pilot, Command::RaiseVersion(order))
}

#[test]
fn the_version_waits_for_every_node_and_rises_to_what_all_know() {
    let state = three().state;
    let wait = |reason| Verdict::Wait(reason);
    assert_eq!(
        plan(&state, &known(&[(1, 1, 1), (2, 1, 1), (3, 1, 1)])),
        Verdict::Current
    );
    assert_eq!(plan(&state, &known(&[])), Verdict::Current, "nobody knows more");
    assert_eq!(
        plan(&state, &known(&[(1, 1, 2), (2, 1, 2)])),
        wait(Reason::Silent(vec![NodeId(3)]))
    );
    assert_eq!(
        plan(&state, &known(&[(1, 1, 2), (2, 1, 1), (3, 1, 2)])),
        wait(Reason::Behind(vec![NodeId(2)]))
    );
    assert_eq!(
        plan(&state, &known(&[(1, 1, 2), (2, 0, 0), (3, 1, 2)])),
        wait(Reason::Behind(vec![NodeId(2)])),
        "one that says nothing knows nothing"
    );
    assert_eq!(
        plan(&state, &known(&[(1, 1, 2), (2, 3, 4), (3, 1, 2)])),
        wait(Reason::Apart { needed: 3, known: 2 })
    );
    let told = known(&[(1, 1, 2), (2, 1, 4), (3, 1, 3)]);
    assert_eq!(
        plan(&state, &told),
        Verdict::Raise(RaiseVersion {
            to: 2,
            known: told.clone()
        })
    );
    let off_the_roll = known(&[(1, 1, 2), (2, 1, 2), (3, 1, 2), (9, 1, 1)]);
    assert!(
        matches!(plan(&state, &off_the_roll), Verdict::Raise(order) if !order.known.contains_key(&NodeId(9)))
    );
}

#[test]
fn a_raise_is_written_down_once_and_never_taken_back() {
    let mut world = three();
    let done = raise(&mut world, 2, &[(1, 1, 2), (2, 1, 2), (3, 1, 2)]);
    assert_eq!((done.outcome.is_ok(), world.state.cluster.version), (true, 2));
    let shown = reeve_domain::audit::decode(&done.record.unwrap().canonical).unwrap();
    assert_eq!(
        (shown.actor.as_str(), shown.action.as_str(), shown.reason.as_str()),
        ("pilot", "cluster.raise_version", "to 2")
    );
    for to in [2, 1] {
        let again = raise(&mut world, to, &[(1, 1, 2), (2, 1, 2), (3, 1, 2)]);
        assert!(again.outcome.is_ok() && again.record.is_none(), "nothing happens");
    }
    assert_eq!(world.state.cluster.version, 2);
}

#[test]
fn a_node_that_came_in_meanwhile_ends_the_raise() {
    let mut world = three();
    join(&mut world, "00000000000d", 4, Versions::KNOWN);
    let refused = raise(&mut world, 2, &[(1, 1, 2), (2, 1, 2), (3, 1, 2)]);
    let why = refused.outcome.unwrap_err().to_string();
    assert!(why.contains("node 4"), "{why}");
    assert_eq!(world.state.cluster.version, 1);
}

#[test]
fn a_node_comes_in_only_with_a_program_that_can_read_the_log() {
    let mut world = three();
    raise(&mut world, 2, &[(1, 1, 2), (2, 1, 2), (3, 1, 2)]);
    let versions = [(0, 0), (1, 1), (3, 4)];
    for (n, (min, max)) in versions.into_iter().enumerate() {
        let refused = join(&mut world, &format!("00000000001{n}"), 5, Versions { min, max });
        let known = Versions { min, max };
        assert_eq!(
            refused.outcome,
            Err(Refusal::ProgramVersionUnfit { known, is: 2 })
        );
    }
    assert_eq!(world.state.nodes.len(), 3);
    assert!(
        join(&mut world, "00000000001f", 5, Versions { min: 1, max: 2 })
            .outcome
            .is_ok()
    );
}

#[test]
fn a_command_of_a_later_version_changes_nothing() {
    let mut world = three();
    let region = Region {
        name: name("eu"),
        display_name: String::new(),
    };
    let command = Command::CreateRegion(region);
    let needs = version::since(&command);
    world.state.cluster.version = needs - 1;
    let before = world.state.clone();
    let refused = world.say(command.clone());
    let why = refused.outcome.unwrap_err().to_string();
    assert!(
        why.contains("CreateRegion needs cluster version 1") && why.contains("upgrade all nodes"),
        "{why}"
    );
    assert_eq!(world.state, before);
    world.state.cluster.version = needs;
    assert!(world.say(command).outcome.is_ok());
}

#[test]
fn this_program_knows_every_command_and_layout_that_it_has() {
    let known = Versions::KNOWN;
    assert!(known.holds(version::FIRST) && known.min <= known.max);
    assert!(version::reads_entry(known, version::entry_format(known.max)));
    assert!(!version::reads_entry(known, u16::MAX));
    assert_eq!(version::entry_format(known.max), reeve_domain::entry::FORMAT);
}
