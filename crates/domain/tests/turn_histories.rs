//! Random histories of orders, reports, cancellations and limits: nobody waits who could begin, no two of a tenant are at
//! work, none is begun beyond a limit, and all come to their end.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use reeve_domain::operation::{Outcome, Priority, Scan, Status, Turn};
use reeve_domain::{Command, OperationId, TenantId};
use world::World;

#[derive(Clone, Debug)]
enum Act {
    Create(u64),
    Scan {
        tenant: usize,
        queue: bool,
        priority: u8,
    },
    Delete {
        tenant: usize,
        queue: bool,
    },
    Report {
        nth: usize,
        outcome: Outcome,
    },
    Cancel {
        nth: usize,
    },
    Limit {
        server: u32,
        region: u32,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let outcome =
        prop_oneof![8 => Just(Outcome::Done), 1 => Just(Outcome::Failed), 1 => Just(Outcome::Retry)];
    prop_oneof![
        3 => (1..7u64).prop_map(Act::Create),
        4 => (0..7usize, any::<bool>(), 0..3u8)
            .prop_map(|(tenant, queue, priority)| Act::Scan { tenant, queue, priority }),
        1 => (0..7usize, any::<bool>()).prop_map(|(tenant, queue)| Act::Delete { tenant, queue }),
        12 => (0..9usize, outcome).prop_map(|(nth, outcome)| Act::Report { nth, outcome }),
        1 => (0..9usize).prop_map(|nth| Act::Cancel { nth }),
        1 => (1..4u32, 1..5u32).prop_map(|(server, region)| Act::Limit { server, region }),
    ]
}

fn play(world: &mut World, act: &Act, serial: u64) {
    let tenants: Vec<TenantId> = world.state.tenants.keys().cloned().collect();
    let open: Vec<OperationId> = world.state.open_operations().map(|o| o.id.clone()).collect();
    let tenant = |nth: usize| tenants.get(nth % tenants.len().max(1)).cloned();
    let operation = |nth: usize| open.get(nth % open.len().max(1)).cloned();
    match act {
        Act::Create(n) => {
            let region = ["vn", "eu"][(*n % 2) as usize];
            world.create(serial, &format!("ward-{n}"), region, None);
        }
        Act::Scan {
            tenant: nth,
            queue,
            priority,
        } => {
            let Some(tenant) = tenant(*nth) else { return };
            let priority = [Priority::Urgent, Priority::Normal, Priority::Background][*priority as usize];
            world.say(Command::ScanTenant(Scan {
                tenant,
                operation: OperationId::from_random(serial),
                turn: Turn {
                    queue: *queue,
                    priority,
                },
            }));
        }
        Act::Delete { tenant: nth, queue } => {
            let Some(tenant) = tenant(*nth) else { return };
            let confirm = world.state.tenants[&tenant].slug.to_string();
            world.say(Command::DeleteTenant(reeve_domain::tenant::Delete {
                tenant,
                operation: OperationId::from_random(serial),
                etag: String::new(),
                confirm,
                turn: Turn {
                    queue: *queue,
                    priority: Priority::Normal,
                },
            }));
        }
        Act::Report { nth, outcome } => {
            let Some(operation) = operation(*nth) else { return };
            world.report(&operation, *outcome);
        }
        Act::Cancel { nth } => {
            let Some(operation) = operation(*nth) else { return };
            world.cancel(&operation);
        }
        Act::Limit { server, region } => {
            world.limit(*server, *region);
        }
    }
}

/// What holds whatever was said: nobody waits who could begin, nobody is at work beside another one of its tenant.
fn check(world: &World) -> BTreeMap<String, u32> {
    let state = &world.state;
    let queued: BTreeSet<OperationId> = state.queued.iter().map(|(_, _, id)| id.clone()).collect();
    let open = || state.open_operations();
    let waiting: BTreeSet<OperationId> = open()
        .filter(|o| o.status == Status::Queued)
        .map(|o| o.id.clone())
        .collect();
    assert_eq!(queued, waiting);
    let mut at_work: BTreeMap<&TenantId, usize> = BTreeMap::new();
    let mut servers: BTreeMap<String, u32> = BTreeMap::new();
    for operation in open().filter(|o| o.open_step().is_some()) {
        *at_work.entry(&operation.tenant).or_default() += 1;
        let group = &state.tenants[&operation.tenant].placement.group;
        *servers.entry(group.to_string()).or_default() += 1;
        assert_eq!(
            state.tenants[&operation.tenant].operation.as_ref(),
            Some(&operation.id)
        );
    }
    assert!(at_work.values().all(|count| *count == 1), "{at_work:?}");
    for operation in open().filter(|o| o.status == Status::Queued) {
        let tenant = state
            .tenants
            .get(&operation.tenant)
            .expect("nobody waits for a tenant that is gone");
        assert!(tenant.operation.is_some(), "{} waits for nothing", operation.id);
        assert!(operation.steps.iter().all(|s| s.started.is_none()), "it is begun");
        if tenant.operation.as_ref() == Some(&operation.id) {
            let limits = state.cluster.operation_limits();
            let here = servers
                .get(tenant.placement.group.as_str())
                .copied()
                .unwrap_or_default();
            // Each region has one server here.
            assert!(
                here >= limits.per_server.min(limits.per_region),
                "{} has room",
                operation.id
            );
        }
    }
    servers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_is_said_nobody_waits_who_could_begin_and_all_come_to_their_end(acts in vec(act(), 1..120)) {
        let mut world = World::with_regions(&["vn", "eu"]);
        world.limit(2, 2);
        let mut before = BTreeMap::new();
        for (serial, act) in (100..).zip(&acts) {
            // Now and then time stands still.
            world.now += serial % 2;
            play(&mut world, act, serial);
            let now = check(&world);
            let most = world.state.cluster.operation_limits();
            // What waited for a person is at work again when the person says so, room or not.
            let again = u32::from(matches!(act, Act::Cancel { .. }));
            let most = most.per_server.min(most.per_region) + again;
            for (server, count) in &now {
                let was = before.get(server).copied().unwrap_or_default();
                prop_assert!(*count <= most.max(was + again), "{server}: {count} at work, {was} before, {most} may be");
            }
            before = now;
        }
        for _ in 0..2_000 {
            let next = world.state.open_operations().find(|o| o.open_step().is_some()).map(|o| o.id.clone());
            let Some(next) = next else { break };
            world.report(&next, Outcome::Done);
            check(&world);
        }
        let left: Vec<_> = world.state.open_operations().map(|o| (o.id.clone(), o.status)).collect();
        // Behind one that waits for a person its tenant's others wait, too.
        let stuck = world.state.open_operations().any(|o| o.status == Status::Stuck);
        prop_assert!(left.is_empty() || stuck, "{left:?}");
    }
}
