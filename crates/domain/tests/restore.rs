//! A restored State is ahead of everything that anybody can have seen, and goes on where the copy was made.

mod world;

use reeve_domain::audit::Verifier;
use reeve_domain::operation::Outcome;
use reeve_domain::policy::Role;
use reeve_domain::restore::{LEAP_MIN, Restore, Restored, restore};
use reeve_domain::{
    Actor, Command, Epoch, NodeId, PlacementNumber, Refusal, Revision, Stamp, State, Tenant, tenant,
};
use world::{ADMIN, World, name};

fn order(cluster: &str) -> Restore {
    Restore {
        cluster_id: cluster.into(),
        api_address: "127.0.0.1:8400".into(),
        peer_address: "127.0.0.1:8401".into(),
        admin: "spiffe://hospital/person/vera".into(),
        salt: [7; 16],
        reason: "from a copy".into(),
        heard: Vec::new(),
        audit_keys: Default::default(),
        seed: [9; 16],
    }
}

fn restored(state: &State, now: Stamp) -> (State, Restored) {
    let mut state = state.clone();
    let restored = restore(&mut state, now, order("c-2")).unwrap();
    (state, restored)
}

fn busy() -> World {
    let mut world = World::with_regions(&["vn"]);
    world.create(1, "cho-ray", "vn", None);
    world.report(&world.operation(1), Outcome::Done);
    world.mint("00000000000b", Role::Service, "portal", None);
    world
}

#[test]
fn every_number_leaps_and_the_same_copy_restored_later_leaps_further() {
    let before = busy().state;
    let (first, node) = restored(&before, before.clock);
    assert!(first.revision.0 >= before.revision.0 + LEAP_MIN);
    let leap = first.leaps[0];
    assert_eq!(
        (leap.from, leap.to.next()),
        (before.revision.next(), first.revision)
    );
    for (group, was) in first.groups.values().zip(before.groups.values()) {
        assert!(group.epoch.0 >= was.epoch.0 + LEAP_MIN, "{group:?}");
    }
    for (tenant, was) in first.tenants.values().zip(before.tenants.values()) {
        assert!(tenant.placement.number.0 >= was.placement.number.0 + LEAP_MIN);
    }
    assert!(node.node > before.next_node && first.next_node > node.node);

    // An hour of a thousand changes a second in the first one is not enough to be ahead of the second.
    let hour = 3_600_000;
    let (second, later) = restored(&before, before.clock.plus_millis(hour));
    assert!(second.revision.0 >= first.revision.0 + hour);
    assert!(later.node > node.node);
}

#[test]
fn old_nodes_and_open_tokens_are_gone_and_everybody_else_stays() {
    let before = busy().state;
    let (after, node) = restored(&before, before.clock);
    assert_eq!(after.nodes.keys().collect::<Vec<_>>(), [&node.node]);
    assert!(after.principals["spiffe://hospital/node/1"].revoked);
    assert!(!after.principals[&format!("spiffe://hospital/node/{}", node.node)].revoked);
    assert!(after.tokens.is_empty() && !before.tokens.is_empty());
    assert_eq!(
        after.principals["spiffe://hospital/person/vera"].role,
        Role::Admin
    );
    for who in [ADMIN, "spiffe://hospital/agent/vn-1"] {
        assert_eq!(after.principals.get(who), before.principals.get(who), "{who}");
    }
    assert_ne!(before.next_node, NodeId(0));
    assert_eq!(after.requests, before.requests);
}

#[test]
fn the_chain_goes_on_and_an_operation_in_flight_ends() {
    let mut world = busy();
    let (state, made) = restored(&world.state, world.state.clock);
    world.state = state;
    world.applied.push(made.applied);
    let operation = world.operation(1);
    while world.report(&operation, Outcome::Done).is_some() {}
    assert_eq!(
        world.state.find_tenant("cho-ray").unwrap().status,
        tenant::Status::Active
    );
    let records = world
        .applied
        .iter()
        .filter_map(|applied| applied.record.as_deref());
    let mut fleet = Verifier::new("fleet");
    let mut words = Vec::new();
    for record in records.filter(|record| record.shard == "fleet") {
        words.push(fleet.check(record).unwrap().action);
    }
    fleet.finish(&world.state.heads["fleet"]).unwrap();
    assert!(words.contains(&"cluster.restore".to_owned()), "{words:?}");
}

#[test]
fn what_was_answered_once_is_answered_alike() {
    let mut world = busy();
    let order = world.order(5, "bach-mai", "vn", None);
    let command = Command::CreateTenant(order);
    let first = world.ask("r-1", 1, command.clone());
    let (state, _) = restored(&world.state, world.state.clock);
    world.state = state;
    assert_eq!(world.ask("r-1", 1, command).outcome, first.outcome);
}

#[test]
fn a_state_of_nobody_and_the_same_cluster_again_are_refused() {
    let mut nobody = State::default();
    assert!(restore(&mut nobody, Stamp(1), order("c-2")).is_err());
    let mut same = busy().state;
    let refused = restore(&mut same, Stamp(1), order("c-1")).unwrap_err();
    assert!(matches!(refused, Refusal::AlreadyExists(_)));
    let mut world = busy();
    let (state, _) = restored(&world.state, Stamp(1));
    world.state = state;
    let founded_again = world.found(&[name("x").as_str()]);
    assert!(founded_again.outcome.is_err());
    let old = world.say_as(
        Actor::Principal("spiffe://hospital/node/1".into()),
        Command::RemoveNode { node: NodeId(1) },
    );
    assert!(matches!(old.outcome, Err(Refusal::PrincipalRevoked(_))));
}

#[test]
fn a_copy_whose_numbers_leave_no_room_is_refused_and_stays_as_it_is() {
    let sound = busy().state;
    type Spoil = fn(&mut State, u64);
    let odd: [(&str, Spoil); 4] = [
        ("revision", |state, number| state.revision = Revision(number)),
        ("node id", |state, number| state.next_node = NodeId(number)),
        ("epoch", |state, number| {
            let mut group = state.groups.values().next().unwrap().clone();
            group.epoch = Epoch(number);
            state.groups.insert(group.name.clone(), group);
        }),
        ("placement number", |state, number| {
            let mut tenant = Tenant::clone(state.tenants.values().next().unwrap());
            tenant.placement.number = PlacementNumber(number);
            state.tenants.insert(tenant.id.clone(), tenant.into());
        }),
    ];
    for (what, set) in odd {
        for number in [1 << 60, u64::MAX - LEAP_MIN, u64::MAX] {
            let mut state = sound.clone();
            set(&mut state, number);
            let before = state.clone();
            let refused = restore(&mut state, before.clock, order("c-2")).unwrap_err();
            assert!(refused.to_string().contains(what), "{what}: {refused}");
            assert_eq!(state, before, "{what}");
        }
    }
    let mut state = sound.clone();
    let refused = restore(&mut state, Stamp(u64::MAX), order("c-2")).unwrap_err();
    assert!(refused.to_string().contains("clock"), "{refused}");
    assert_eq!(state, sound);
}
