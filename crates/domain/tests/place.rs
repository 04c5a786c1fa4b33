//! A tenant with a group of its own stays alone there, and shared ones keep out of it, however many there are.

mod world;

use reeve_domain::group::obstacles;
use reeve_domain::tenant::Class;
use reeve_domain::{Command, Refusal};
use world::{World, name};

#[test]
fn a_dedicated_tenant_gets_an_empty_group_and_no_neighbour() {
    let mut world = World::with_regions(&["vn"]);
    world.enrol("vn-2", "vn");
    world.up("vn-2", true);
    world.create(1, "shared-1", "vn", None);
    let mut alone = world.order(2, "alone", "vn", None);
    alone.class = Class::Dedicated;
    assert!(world.say(Command::CreateTenant(alone)).outcome.is_ok());
    let own = world.state.find_tenant("alone").unwrap().placement.group.clone();
    for serial in 3..9 {
        world.create(serial, &format!("shared-{serial}"), "vn", None);
    }
    assert_eq!(world.state.databases_in(&own), 1);
    assert!(world.state.has_dedicated(&own));
    let other = world
        .state
        .find_tenant("shared-1")
        .unwrap()
        .placement
        .group
        .clone();
    assert_eq!(world.state.databases_in(&other), 7);
    assert!(!world.state.has_dedicated(&other));
    assert!(!world.state.has_dedicated(&name("nowhere")));

    let mut second = world.order(9, "second", "vn", None);
    second.class = Class::Dedicated;
    let refused = world.say(Command::CreateTenant(second)).outcome;
    assert!(matches!(refused, Err(Refusal::NoCapacity { .. })), "{refused:?}");
}

#[test]
fn what_keeps_a_tenant_out_of_each_group_is_said() {
    let mut world = World::with_regions(&["vn", "eu"]);
    let told = |world: &World, class| -> Vec<String> {
        let region = name("vn");
        let told = obstacles(&world.state, &region, class);
        told.map(|(group, why)| format!("{group} {why}")).collect()
    };
    let create = |world: &mut World, serial, class| {
        let mut order = world.order(serial, &format!("t-{serial}"), "vn", None);
        order.class = class;
        world.say(Command::CreateTenant(order)).outcome
    };
    assert_eq!(told(&world, Class::Shared), [""; 0]);
    world.enrol("vn-2", "vn");
    assert_eq!(told(&world, Class::Shared), ["vn-2 is not ready yet"]);
    world.up("vn-2", true);
    assert!(create(&mut world, 1, Class::Dedicated).is_ok());
    assert_eq!(told(&world, Class::Shared), ["vn-1 is one tenant's own"]);
    assert!(create(&mut world, 2, Class::Shared).is_ok());
    assert_eq!(
        told(&world, Class::Dedicated),
        ["vn-1 is not empty", "vn-2 is not empty"]
    );
    world.up("vn-2", false);
    let all = [
        "vn-1 is one tenant's own",
        "vn-2 is down: its PostgreSQL does not answer",
    ];
    assert_eq!(told(&world, Class::Shared), all);
    assert!(
        create(&mut world, 3, Class::Shared).is_err(),
        "placed on one that is down"
    );

    world.up("vn-2", true);
    let full = world.state.groups.get_mut(&name("vn-2")).unwrap();
    full.capacity = 1;
    assert_eq!(
        told(&world, Class::Shared)[1],
        "vn-2 is full: it holds 1 databases"
    );
    assert!(
        create(&mut world, 4, Class::Shared).is_err(),
        "placed beyond what it may hold"
    );
    world.state.groups.get_mut(&name("vn-2")).unwrap().fenced = true;
    assert_eq!(told(&world, Class::Shared)[1], "vn-2 is fenced");
    assert!(
        create(&mut world, 5, Class::Shared).is_err(),
        "placed on one that is fenced"
    );
}
