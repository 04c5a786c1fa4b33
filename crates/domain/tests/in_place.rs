//! A change that is made in place, without a copy to fall back on, leaves nothing behind when it is refused.

mod world;

use reeve_domain::tenant::{LABELS_MAX, Update};
use reeve_domain::{Command, Event, TenantId};
use world::World;

fn update(tenant: &TenantId) -> Update {
    Update {
        tenant: tenant.clone(),
        etag: String::new(),
        display_name: Some("Bệnh viện Chợ Rẫy".to_owned()),
        labels: None,
        settings: None,
    }
}

#[test]
fn a_refused_update_leaves_the_state_as_it_was() {
    let mut world = World::with_regions(&["vn"]);
    world.create(1, "cho-ray", "vn", None);
    let tenant = world.state.find_tenant("cho-ray").unwrap().id.clone();
    let too_many = (0..=LABELS_MAX).map(|number| (format!("l{number}"), String::new()));
    let refused = [
        Update {
            etag: "another".to_owned(),
            ..update(&tenant)
        },
        Update {
            labels: Some(too_many.collect()),
            ..update(&tenant)
        },
        update(&TenantId::from_random(77)),
    ];
    for order in refused {
        let mut before = world.state.clone();
        let said = world.say(Command::UpdateTenant(order));
        assert!(said.outcome.is_err() && said.record.is_none(), "{said:?}");
        // Log time goes on with every entry.
        before.clock = world.state.clock;
        assert_eq!(world.state, before);
    }
}

#[test]
fn an_update_says_what_it_was_before_and_is_after() {
    let mut world = World::with_regions(&["vn"]);
    world.create(1, "cho-ray", "vn", None);
    let tenant = world.state.find_tenant("cho-ray").unwrap().id.clone();
    let revision = world.state.revision;
    let said = world.say(Command::UpdateTenant(update(&tenant)));
    assert_eq!(said.revision, revision.next());
    assert_eq!(world.state.revision, said.revision);
    assert!(
        matches!(&said.events[..], [Event::Resolves(now)] if now.tenant == tenant && now.modified == said.revision)
    );
    let record = said.record.unwrap();
    let shown = reeve_domain::audit::decode(&record.canonical).unwrap();
    assert_ne!(
        shown.before, shown.after,
        "the display name is part of the tenant"
    );
}
