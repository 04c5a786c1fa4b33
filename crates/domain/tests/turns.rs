//! Whose turn it is: behind another one of its tenant, behind others of its server and of its region, the most urgent
//! first.

mod gold;
mod world;

use std::collections::BTreeMap;

use reeve_domain::access::Expect;
use reeve_domain::audit::decode;
use reeve_domain::credential::{Next, Read, Slot};
use reeve_domain::operation::{
    Begin, Goal, Limits, Outcome, Priority, QUEUED_MAX, QUEUED_PER_TENANT_MAX, Rotate, Scan, SetLimits,
    Status, Turn,
};
use reeve_domain::plan::operations::{Verdict, judge, orders_for};
use reeve_domain::plan::{Sightings, turns};
use reeve_domain::policy::Role;
use reeve_domain::restore::{Restore, restore};
use reeve_domain::{Actor, Applied, Command, Event, OperationId, Refusal, Stamp, TenantId};
use world::{World, name};

const QUEUE: Turn = Turn {
    queue: true,
    priority: Priority::Normal,
};

fn status(world: &World, serial: u64) -> Status {
    world.state.operations[&OperationId::from_random(serial)].status
}

fn ward(serial: u64) -> String {
    format!("ward-{serial}")
}

/// A tenant that is served.
fn served(world: &mut World, serial: u64, region: &str) {
    world.create(serial, &ward(serial), region, None);
    finish(world, serial);
}

fn finish(world: &mut World, serial: u64) {
    while world
        .report(&OperationId::from_random(serial), Outcome::Done)
        .is_some()
    {}
    assert_eq!(status(world, serial), Status::Done);
}

fn scan(world: &mut World, serial: u64, tenant: u64, turn: Turn) -> Applied {
    world.now += 1;
    world.say(Command::ScanTenant(Scan {
        tenant: TenantId::from_random(tenant),
        operation: OperationId::from_random(serial),
        turn,
    }))
}

fn urgent(priority: Priority) -> Turn {
    Turn {
        queue: false,
        priority,
    }
}

fn waits_for(world: &World, serial: u64) -> String {
    let operation = &world.state.operations[&OperationId::from_random(serial)];
    match judge(&world.state, operation, &Sightings::default(), Stamp(world.now)) {
        Some(Verdict::Wait(reason)) => reason.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_caller_says_whether_it_waits_behind_what_holds_its_tenant() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    scan(&mut world, 2, 1, Turn::default());
    let refused = scan(&mut world, 3, 1, Turn::default()).outcome;
    assert!(
        matches!(&refused, Err(Refusal::OperationInProgress { operation, .. }) if *operation == world.operation(2)),
        "{refused:?}"
    );
    scan(&mut world, 4, 1, QUEUE).outcome.unwrap();
    world.delete(5, "ward-1", "ward-1").outcome.unwrap_err();
    assert_eq!(
        (status(&world, 2), status(&world, 4)),
        (Status::Running, Status::Queued)
    );
    assert!(waits_for(&world, 4).contains(&world.operation(2).to_string()));
    assert!(
        orders_for(&world.state, &name("vn-1"))
            .iter()
            .all(|o| o.operation != world.operation(4))
    );
    assert!(
        world.report(&world.operation(4), Outcome::Done).is_none(),
        "nobody was told of it"
    );

    // The last report of the one begins the other, in one change, and whoever watches hears of it.
    world.report(&world.operation(2), Outcome::Done);
    let last = world.report(&world.operation(2), Outcome::Done).unwrap();
    assert_eq!(
        (status(&world, 2), status(&world, 4)),
        (Status::Done, Status::Running)
    );
    assert!(
        last.events.contains(&Event::Operation(world.operation(4))),
        "{:?}",
        last.events
    );
    finish(&mut world, 4);
    assert_eq!(world.state.tenants[&TenantId::from_random(1)].operation, None);
    assert!(world.state.queued.is_empty());
}

#[test]
fn what_makes_no_sense_any_more_when_its_turn_comes_ends_and_says_why() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    world.delete(2, "ward-1", "ward-1").outcome.unwrap();
    scan(&mut world, 3, 1, QUEUE).outcome.unwrap();
    scan(&mut world, 4, 1, QUEUE).outcome.unwrap();
    finish(&mut world, 2);
    for serial in [3, 4] {
        let ended = &world.state.operations[&OperationId::from_random(serial)];
        assert_eq!(ended.status, Status::Undone);
        assert_eq!(ended.reason, "NOT_POSSIBLE_ANY_MORE");
        assert!(ended.detail.starts_with("no tenant "), "{}", ended.detail);
    }
    assert!(world.state.queued.is_empty() && world.state.open.is_empty());
}

#[test]
fn who_came_later_does_not_overtake_a_queue_that_stands_still() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    served(&mut world, 2, "vn");
    world.limit(1, 64);
    scan(&mut world, 10, 2, Turn::default());
    // It has its tenant and waits for its server.
    scan(&mut world, 11, 1, Turn::default()).outcome.unwrap();
    let refused = scan(&mut world, 12, 1, Turn::default()).outcome;
    assert!(
        matches!(refused, Err(Refusal::OperationInProgress { operation, .. }) if operation == world.operation(11))
    );
}

#[test]
fn a_server_has_as_many_at_work_as_it_may_and_the_most_urgent_comes_next() {
    let mut world = World::with_regions(&["vn", "eu"]);
    for serial in 1..=5 {
        served(&mut world, serial, "vn");
    }
    served(&mut world, 6, "eu");
    world.limit(2, 64).outcome.unwrap();
    scan(&mut world, 11, 1, Turn::default());
    scan(&mut world, 12, 2, Turn::default());
    scan(&mut world, 13, 3, urgent(Priority::Background));
    scan(&mut world, 14, 4, urgent(Priority::Normal));
    scan(&mut world, 15, 5, urgent(Priority::Urgent));
    scan(&mut world, 16, 6, Turn::default());
    let all = |world: &World| (11..=16).map(|n| status(world, n)).collect::<Vec<_>>();
    use Status::{Done, Queued, Running};
    assert_eq!(all(&world), [Running, Running, Queued, Queued, Queued, Running]);
    assert_eq!(
        waits_for(&world, 13),
        "its turn: server vn-1 has as many at work as it may"
    );

    for (done, expected) in [
        (11, [Done, Running, Queued, Queued, Running, Running]),
        (12, [Done, Done, Queued, Running, Running, Running]),
        (14, [Done, Done, Running, Done, Running, Running]),
    ] {
        finish(&mut world, done);
        assert_eq!(all(&world), expected, "after {done}");
    }
}

#[test]
fn time_does_not_run_for_who_waits_for_its_turn() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    served(&mut world, 2, "vn");
    world.limit(1, 64);
    scan(&mut world, 11, 1, Turn::default());
    scan(&mut world, 12, 2, Turn::default());
    world.now += 30_000;
    finish(&mut world, 11);
    let step = &world.state.operations[&world.operation(12)].steps[0];
    assert_eq!(step.started, Some(Stamp(world.now)));
    assert!(
        world.timeout(&world.operation(12)).unwrap().outcome.is_err(),
        "it has time left"
    );
}

#[test]
fn what_waits_for_a_person_keeps_nobody_from_its_turn() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    served(&mut world, 2, "vn");
    world.limit(1, 64);
    world.delete(11, "ward-1", "ward-1").outcome.unwrap();
    scan(&mut world, 12, 2, Turn::default());
    assert_eq!(status(&world, 12), Status::Queued);
    world.report(&world.operation(11), Outcome::Failed);
    assert_eq!(
        (status(&world, 11), status(&world, 12)),
        (Status::Stuck, Status::Running)
    );
}

fn rotate(world: &mut World, serial: u64, tenant: u64, leaked: bool, turn: Turn) -> Applied {
    let tenant = TenantId::from_random(tenant);
    let credential = &world.state.tenants[&tenant].credential;
    let next = Next {
        version: credential.version + 1,
        slot: credential.active.other(),
        sealed: world::sealed("next"),
    };
    world.now += 1;
    world.say(Command::RotateCredential(Rotate {
        operation: OperationId::from_random(serial),
        etag: String::new(),
        next,
        leaked,
        grace_ms: 600_000,
        turn,
        tenant,
    }))
}

#[test]
fn what_waits_for_clients_keeps_nobody_from_its_turn() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    served(&mut world, 2, "vn");
    world.limit(1, 64);
    world.mint("00000000000e", Role::Service, "ehr", None);
    world.redeem("00000000000e", 9, 1, Expect::ServiceOrPerson);
    let read = Read {
        tenant: TenantId::from_random(1),
        slot: Slot::A,
        version: 1,
        instance: "p1".into(),
    };
    let service = Actor::Principal("spiffe://hospital/svc/ehr".into());
    world
        .say_as(service, Command::ReadCredential(read))
        .outcome
        .unwrap();
    rotate(&mut world, 11, 1, false, Turn::default()).outcome.unwrap();
    scan(&mut world, 12, 2, Turn::default());
    assert_eq!(status(&world, 12), Status::Queued);
    world.report(&world.operation(11), Outcome::Done);
    let drains = &world.state.operations[&world.operation(11)];
    assert_eq!(
        drains.open_step().map(|(step, _)| step.goal),
        Some(Goal::DrainClients)
    );
    assert_eq!(status(&world, 12), Status::Running);
}

#[test]
fn a_leaked_credential_goes_before_all_others_and_its_next_one_is_not_kept_when_it_is_called_off() {
    let mut world = World::with_regions(&["vn"]);
    for serial in 1..=3 {
        served(&mut world, serial, "vn");
    }
    world.limit(1, 64);
    scan(&mut world, 11, 1, Turn::default());
    scan(&mut world, 12, 2, Turn::default());
    rotate(&mut world, 13, 3, true, Turn::default()).outcome.unwrap();
    finish(&mut world, 11);
    assert_eq!(
        (status(&world, 12), status(&world, 13)),
        (Status::Queued, Status::Running)
    );
    rotate(&mut world, 14, 1, false, Turn::default()).outcome.unwrap();
    assert!(world.state.operations[&world.operation(14)].wanted.is_some());
    world.cancel(&world.operation(14)).outcome.unwrap();
    assert_eq!(world.state.operations[&world.operation(14)].wanted, None);
    // Behind one that is not published yet it would be drawn for the same version.
    let refused = rotate(&mut world, 15, 3, false, QUEUE).outcome;
    assert!(
        matches!(refused, Err(Refusal::OperationInProgress { .. })),
        "{refused:?}"
    );
    world.report(&world.operation(13), Outcome::Done);
    rotate(&mut world, 15, 3, true, QUEUE).outcome.unwrap();
    finish(&mut world, 13);
    finish(&mut world, 15);
    finish(&mut world, 12);
    assert_eq!(
        world.state.tenants[&TenantId::from_random(3)].credential.version,
        3
    );
}

#[test]
fn a_new_tenant_waits_and_may_be_called_off_before_anything_is_begun() {
    let mut world = World::with_regions(&["vn"]);
    world.limit(1, 64);
    world.create(1, "ward-1", "vn", None);
    world.create(2, "ward-2", "vn", None).outcome.unwrap();
    assert_eq!(status(&world, 2), Status::Queued);
    world.cancel(&world.operation(2)).outcome.unwrap();
    assert_eq!(status(&world, 2), Status::Undone);
    assert!(world.state.find_tenant("ward-2").is_err());
    world.create(3, "ward-2", "vn", None).outcome.unwrap();
    // The one at work turns back: to its end it has its place.
    world.cancel(&world.operation(1)).outcome.unwrap();
    assert_eq!(
        (status(&world, 1), status(&world, 3)),
        (Status::Undoing, Status::Queued)
    );
    while world.report(&world.operation(1), Outcome::Done).is_some() {}
    assert_eq!(
        (status(&world, 1), status(&world, 3)),
        (Status::Undone, Status::Running)
    );
}

#[test]
fn a_tenant_is_served_until_its_offboarding_begins_and_until_then_it_may_be_called_off() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    served(&mut world, 2, "vn");
    world.limit(1, 64);
    let life = |world: &World, serial| world.state.tenants[&TenantId::from_random(serial)].status.word();
    scan(&mut world, 11, 1, Turn::default());
    world.delete(12, "ward-2", "ward-2").outcome.unwrap();
    assert_eq!((status(&world, 12), life(&world, 2)), (Status::Queued, "active"));
    // Whoever has to stop it now can.
    let suspend = Command::SuspendTenant {
        tenant: TenantId::from_random(2),
        etag: String::new(),
    };
    world.say(suspend).outcome.unwrap();
    world.cancel(&world.operation(12)).outcome.unwrap();
    assert_eq!(
        (status(&world, 12), life(&world, 2)),
        (Status::Undone, "suspended")
    );

    // Behind another one of its tenant: when it is called off the other one still holds it.
    let tenant = TenantId::from_random(1);
    let order = |serial| reeve_domain::tenant::Delete {
        tenant: TenantId::from_random(1),
        operation: OperationId::from_random(serial),
        etag: String::new(),
        confirm: "ward-1".into(),
        turn: QUEUE,
    };
    world.say(Command::DeleteTenant(order(13))).outcome.unwrap();
    world.cancel(&world.operation(13)).outcome.unwrap();
    let held = &world.state.tenants[&tenant];
    assert_eq!(
        (life(&world, 1), held.operation.clone()),
        ("active", Some(world.operation(11)))
    );

    // Its turn comes with somebody else's change, and watchers hear that nobody is sent to it any more.
    world.delete(14, "ward-2", "ward-2").outcome.unwrap();
    world.report(&world.operation(11), Outcome::Done);
    let last = world.report(&world.operation(11), Outcome::Done).unwrap();
    assert_eq!(
        (status(&world, 14), life(&world, 2)),
        (Status::Running, "deleting")
    );
    let heard = last.events.iter().any(
        |event| matches!(event, Event::Resolves(r) if r.tenant == TenantId::from_random(2) && !r.serves()),
    );
    assert!(heard, "{:?}", last.events);
    let record = decode(&last.record.unwrap().canonical).unwrap();
    assert!(
        record
            .reason
            .ends_with(&format!("; {} begun", world.operation(14))),
        "{}",
        record.reason
    );
}

#[test]
fn of_the_same_moment_the_one_that_was_said_first_goes_first() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    scan(&mut world, 50, 1, Turn::default());
    // Ids are random, and log time may stand still.
    for serial in [42, 41, 43] {
        let order = Scan {
            tenant: TenantId::from_random(1),
            operation: OperationId::from_random(serial),
            turn: QUEUE,
        };
        world.say(Command::ScanTenant(order)).outcome.unwrap();
    }
    for (done, next) in [(50, 42), (42, 41), (41, 43)] {
        finish(&mut world, done);
        assert_eq!(status(&world, next), Status::Running, "after {done}");
    }
}

#[test]
fn what_waits_before_a_more_urgent_one_is_as_urgent() {
    let mut world = World::with_regions(&["vn"]);
    for serial in 1..=3 {
        served(&mut world, serial, "vn");
    }
    world.limit(1, 64);
    scan(&mut world, 10, 3, Turn::default());
    scan(&mut world, 11, 1, urgent(Priority::Background));
    scan(&mut world, 12, 2, Turn::default());
    let behind = Turn {
        queue: true,
        priority: Priority::Urgent,
    };
    scan(&mut world, 13, 1, behind).outcome.unwrap();
    finish(&mut world, 10);
    assert_eq!(
        (status(&world, 11), status(&world, 12)),
        (Status::Running, Status::Queued)
    );
    finish(&mut world, 11);
    assert_eq!(
        (status(&world, 13), status(&world, 12)),
        (Status::Running, Status::Queued)
    );
}

#[test]
fn a_leak_hastens_the_change_that_waits_for_its_turn_and_no_second_one_is_drawn_behind_it() {
    let mut world = World::with_regions(&["vn"]);
    for serial in 1..=3 {
        served(&mut world, serial, "vn");
    }
    world.limit(1, 64);
    scan(&mut world, 10, 3, Turn::default());
    rotate(&mut world, 11, 1, false, urgent(Priority::Background))
        .outcome
        .unwrap();
    scan(&mut world, 12, 2, Turn::default());
    let refused = rotate(&mut world, 13, 1, false, QUEUE).outcome;
    assert!(
        matches!(refused, Err(Refusal::OperationInProgress { operation, .. }) if operation == world.operation(11))
    );
    rotate(&mut world, 14, 1, true, Turn::default()).outcome.unwrap();
    let hastened = &world.state.operations[&world.operation(11)];
    assert_eq!(hastened.priority, Priority::Urgent);
    assert!(hastened.steps.iter().all(|step| step.goal != Goal::DrainClients));
    assert!(!world.state.operations.contains_key(&world.operation(14)));
    finish(&mut world, 10);
    assert_eq!(
        (status(&world, 11), status(&world, 12)),
        (Status::Running, Status::Queued)
    );
}

#[test]
fn a_restore_ends_what_waited_and_would_take_a_tenant_out() {
    let mut world = World::with_regions(&["vn"]);
    for serial in 1..=3 {
        served(&mut world, serial, "vn");
    }
    world.limit(1, 64);
    scan(&mut world, 10, 1, Turn::default());
    world.delete(11, "ward-2", "ward-2").outcome.unwrap();
    rotate(&mut world, 12, 3, false, Turn::default()).outcome.unwrap();
    scan(&mut world, 13, 1, QUEUE).outcome.unwrap();
    world.create(4, "ward-4", "vn", None).outcome.unwrap();
    let order = Restore {
        cluster_id: "c-2".into(),
        admin: "spiffe://hospital/person/bo".into(),
        api_address: "127.0.0.1:7500".into(),
        peer_address: "127.0.0.1:7501".into(),
        salt: [1; 16],
        reason: "lost".into(),
        heard: vec![],
        audit_keys: BTreeMap::new(),
        seed: [2; 16],
    };
    restore(&mut world.state, Stamp(world.now), order).unwrap();
    for serial in [11, 13] {
        let ended = &world.state.operations[&world.operation(serial)];
        assert_eq!(
            (ended.status, ended.reason.as_str()),
            (Status::Undone, "RESTORED"),
            "{serial}"
        );
    }
    let kept = &world.state.tenants[&TenantId::from_random(2)];
    assert_eq!((kept.status.word(), kept.operation.clone()), ("active", None));
    // What made its tenant, or only changes a password, still has its turn.
    assert_eq!(
        (status(&world, 12), status(&world, 4)),
        (Status::Queued, Status::Queued)
    );
}

#[test]
fn a_region_has_as_many_at_work_as_it_may_unless_nobody_hears_them() {
    let mut world = World::with_regions(&["vn", "eu"]);
    world.enrol("vn-2", "vn");
    world.up("vn-2", true);
    for serial in 1..=4 {
        served(&mut world, serial, "vn");
    }
    let server = |world: &World, tenant: u64| {
        world.state.tenants[&TenantId::from_random(tenant)]
            .placement
            .group
            .clone()
    };
    let (first, second): (Vec<u64>, Vec<u64>) = (1..=4).partition(|n| server(&world, *n) == name("vn-1"));
    assert_eq!((first.len(), second.len()), (2, 2), "the emptiest is chosen");
    world.limit(8, 2);
    scan(&mut world, 11, first[0], Turn::default());
    scan(&mut world, 12, first[1], Turn::default());
    scan(&mut world, 13, second[0], Turn::default());
    scan(&mut world, 14, second[1], Turn::default());
    let queued = |world: &World| (status(world, 13), status(world, 14));
    assert_eq!(queued(&world), (Status::Queued, Status::Queued));
    assert_eq!(
        waits_for(&world, 13),
        "its turn: region vn has as many at work as it may"
    );

    let plan =
        |world: &World, agents: &[&str]| turns::plan(&world.state, &world.heard(agents), Stamp(world.now));
    assert_eq!(plan(&world, &["vn-1", "vn-2"]), [], "they are at work");
    assert_eq!(plan(&world, &[]), [], "nobody would do it");
    let due = plan(&world, &["vn-2"]);
    let both = [13, 14].map(|n| Begin {
        operation: world.operation(n),
    });
    assert_eq!(due, both);
    for begin in due {
        let said = world.say_as(Actor::Pilot, Command::BeginOperation(begin.clone()));
        said.outcome.unwrap();
        if begin.operation == world.operation(13) {
            assert_eq!(queued(&world), (Status::Running, Status::Queued), "nobody else");
        }
    }
    assert_eq!(queued(&world), (Status::Running, Status::Running));
    let again = Begin {
        operation: world.operation(13),
    };
    let said = world.say_as(Actor::Pilot, Command::BeginOperation(again));
    assert!(said.outcome.is_ok() && said.record.is_none(), "once");
}

#[test]
fn the_pilot_begins_no_more_than_the_region_may_bear() {
    let mut world = World::with_regions(&["vn"]);
    world.enrol("vn-2", "vn");
    world.up("vn-2", true);
    for serial in 1..=6 {
        served(&mut world, serial, "vn");
    }
    world.limit(8, 1);
    let on = |world: &World, group: &str| -> Vec<u64> {
        let here = |n: &u64| world.state.tenants[&TenantId::from_random(*n)].placement.group == name(group);
        (1..=6).filter(here).collect()
    };
    let silent = on(&world, "vn-1")[0];
    scan(&mut world, 20, silent, Turn::default());
    for (serial, tenant) in (21..).zip(on(&world, "vn-2")) {
        scan(&mut world, serial, tenant, Turn::default());
    }
    let sightings = world.heard(&["vn-2"]);
    assert_eq!(turns::plan(&world.state, &sightings, Stamp(world.now)).len(), 1);
    let early = Begin {
        operation: world.operation(99),
    };
    assert!(
        world
            .say_as(Actor::Pilot, Command::BeginOperation(early))
            .record
            .is_none()
    );
}

#[test]
fn a_server_is_never_given_more_than_it_may_by_anybody() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    served(&mut world, 2, "vn");
    world.limit(1, 64);
    scan(&mut world, 11, 1, Turn::default());
    scan(&mut world, 12, 2, Turn::default());
    let begin = Begin {
        operation: world.operation(12),
    };
    let said = world.say_as(Actor::Pilot, Command::BeginOperation(begin));
    assert!(matches!(said.outcome, Err(Refusal::Fenced(_))));
    assert_eq!(status(&world, 12), Status::Queued);
}

#[test]
fn limits_are_checked_and_wider_ones_begin_what_waits() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    served(&mut world, 2, "vn");
    for (server, region) in [(0, 64), (65, 64), (8, 0), (8, 1_001)] {
        let refused = world.limit(server, region).outcome;
        assert!(
            matches!(refused, Err(Refusal::BadField { .. })),
            "{server} {region}"
        );
    }
    world.limit(1, 64).outcome.unwrap();
    scan(&mut world, 11, 1, Turn::default());
    scan(&mut world, 12, 2, Turn::default());
    let stale = SetLimits {
        limits: Limits {
            per_server: 3,
            per_region: 9,
        },
        instead_of: Some(Limits::default()),
    };
    let refused = world.say(Command::SetOperationLimits(stale)).outcome;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "it changed since you read it (etag is 1 per server, 64 per region now); read it again"
    );
    let wider = world.limit(8, 64);
    assert_eq!(status(&world, 12), Status::Running);
    assert!(wider.events.contains(&Event::Operation(world.operation(12))));
    assert_eq!(
        world.state.cluster.limits, None,
        "the default is not written down"
    );
    assert!(world.limit(8, 64).record.is_none(), "said twice");
}

#[test]
fn queues_are_bounded() {
    let mut world = World::with_regions(&["vn"]);
    served(&mut world, 1, "vn");
    scan(&mut world, 2, 1, Turn::default());
    for serial in (3..).take(QUEUED_PER_TENANT_MAX) {
        scan(&mut world, serial, 1, QUEUE).outcome.unwrap();
    }
    let refused = scan(&mut world, 50, 1, QUEUE).outcome.unwrap_err();
    assert!(
        refused.to_string().starts_with("8 operations of tenant t_"),
        "{refused}"
    );

    let mut world = World::with_regions(&["vn", "eu"]);
    world.limit(1, 64);
    // A server holds 2000 databases at the most.
    for number in 2..=6 {
        let agent = format!("vn-{number}");
        world.enrol(&agent, "vn");
        world.up(&agent, true);
    }
    for serial in 1..=(QUEUED_MAX as u64 + 6) {
        world.create(serial, &ward(serial), "vn", None).outcome.unwrap();
        world.log.clear();
        world.applied.clear();
    }
    let refused = world.create(50_000, "late", "vn", None).outcome.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("10000 operations of the fleet wait"),
        "{refused}"
    );
    assert!(world.state.find_tenant("late").is_err());
    world.create(50_001, "elsewhere", "eu", None).outcome.unwrap();
}

/// What an older node would not know must not be in the State of a cluster that has one.
#[test]
fn before_its_version_nobody_waits_for_a_turn_and_nothing_of_it_is_written() {
    let mut world = World::with_regions(&["vn"]);
    world.state.cluster.version = 3;
    for serial in 1..=20 {
        world.create(serial, &ward(serial), "vn", None).outcome.unwrap();
        assert_eq!(status(&world, serial), Status::Running);
    }
    for serial in 1..=4 {
        finish(&mut world, serial);
    }
    let refused = scan(&mut world, 30, 1, QUEUE).outcome;
    assert!(
        matches!(refused, Err(Refusal::ClusterVersionTooLow { needs: 4, .. })),
        "{refused:?}"
    );
    scan(&mut world, 31, 1, Turn::default()).outcome.unwrap();
    rotate(&mut world, 32, 2, true, Turn::default()).outcome.unwrap();
    world.delete(33, "ward-3", "ward-3").outcome.unwrap();
    // As it was refused then: the holder is told of before a wrong name is.
    let busy = world.delete(34, "ward-3", "wrong").outcome;
    assert!(
        matches!(busy, Err(Refusal::OperationInProgress { .. })),
        "{busy:?}"
    );
    let written = gold::paths(&world.state);
    for new in ["priority", "entered", "queued", "limits", "unready"] {
        let found: Vec<_> = written
            .iter()
            .filter(|path| path.split('.').any(|part| part == new))
            .collect();
        assert!(found.is_empty(), "{found:?}");
    }
}
