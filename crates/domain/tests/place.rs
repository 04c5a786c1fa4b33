//! A tenant with a group of its own stays alone there, and shared ones keep out of it, however many there are.

mod world;

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
