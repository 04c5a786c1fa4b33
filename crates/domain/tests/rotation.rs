//! A tenant's password changes: who holds which version, who is waited for, and what can be taken back.

mod world;

use reeve_domain::access::Expect;
use reeve_domain::command::Answer;
use reeve_domain::credential::{Acknowledge, HOLDERS_PER_PRINCIPAL_MAX, Next, Read, Slot, behind};
use reeve_domain::operation::{Goal, Outcome, Retry, Rotate, Status, StepState, Turn};
use reeve_domain::plan::Sightings;
use reeve_domain::plan::operations::{Reason, Verdict, judge, orders_for, plan};
use reeve_domain::plan::rotation::{Schedule, due};
use reeve_domain::policy::Role;
use reeve_domain::version::ROTATION;
use reeve_domain::{Actor, Applied, Command, Event, OperationId, Refusal, Stamp, TenantId};
use world::{World, name, sealed};

const GRACE_MS: u64 = 60_000;
const EHR: &str = "spiffe://hospital/svc/ehr";
const LAB: &str = "spiffe://hospital/svc/lab";

/// An active tenant, and two services.
fn hospital() -> World {
    let mut world = World::with_regions(&["vn"]);
    onboard(&mut world, 1, "cho-ray");
    for (token, who) in [("00000000000b", "ehr"), ("00000000000c", "lab")] {
        world.mint(token, Role::Service, who, None);
        world.redeem(token, 9, 1, Expect::ServiceOrPerson);
    }
    world
}

fn onboard(world: &mut World, serial: u64, slug: &str) {
    world.create(serial, slug, "vn", None);
    while world.report(&world.operation(serial), Outcome::Done).is_some() {}
}

fn tenant() -> TenantId {
    TenantId::from_random(1)
}

fn order(world: &World, serial: u64, leaked: bool) -> Rotate {
    let credential = &world.state.tenants[&tenant()].credential;
    let (slot, version) = (credential.active.other(), credential.version + 1);
    Rotate {
        tenant: tenant(),
        operation: OperationId::from_random(serial),
        etag: String::new(),
        next: Next {
            version,
            slot,
            sealed: sealed(&format!("credential/{}/{}/{version}", tenant(), slot.letter())),
        },
        leaked,
        grace_ms: GRACE_MS,
        turn: Turn::default(),
    }
}

fn rotate(world: &mut World, serial: u64, leaked: bool) -> Applied {
    let order = order(world, serial, leaked);
    world.say(Command::RotateCredential(order))
}

fn read(world: &mut World, who: &str, instance: &str) -> Applied {
    let credential = &world.state.tenants[&tenant()].credential;
    let order = Read {
        tenant: tenant(),
        slot: credential.active,
        version: credential.version,
        instance: instance.into(),
    };
    world.say_as(Actor::Principal(who.into()), Command::ReadCredential(order))
}

fn acknowledge(world: &mut World, who: &str, instance: &str, version: u64) -> Applied {
    let order = Acknowledge {
        tenant: tenant(),
        version,
        instance: instance.into(),
    };
    world.say_as(
        Actor::Principal(who.into()),
        Command::AcknowledgeCredential(order),
    )
}

fn sightings(world: &World) -> Sightings {
    world.heard(&["vn-1"])
}

/// What the pilot would say, said.
fn pilot(world: &mut World) -> usize {
    let said = plan(&world.state, &sightings(world), Stamp(world.now));
    for timeout in said.iter().cloned() {
        let done = world.say_as(Actor::Pilot, Command::TimeoutStep(timeout));
        assert!(done.outcome.is_ok(), "{:?}", done.outcome);
    }
    said.len()
}

/// What watchers hear of the login.
fn heard(applied: &Applied) -> Option<(String, u64)> {
    applied.events.iter().find_map(|event| match event {
        Event::Resolves(resolution) => Some((resolution.role.clone(), resolution.credential_version)),
        _ => None,
    })
}

fn at(world: &World, serial: u64) -> (Status, Option<Goal>) {
    let operation = &world.state.operations[&OperationId::from_random(serial)];
    (operation.status, operation.open_step().map(|(step, _)| step.goal))
}

fn waits_for(world: &World, serial: u64) -> Option<Verdict> {
    let operation = &world.state.operations[&OperationId::from_random(serial)];
    judge(&world.state, operation, &sightings(world), Stamp(world.now))
}

#[test]
fn a_new_password_is_published_once_it_lets_in_and_the_former_one_retired_when_nobody_holds_it() {
    let mut world = hospital();
    for (who, instance) in [(EHR, "p1"), (EHR, "p2"), (LAB, "p1")] {
        assert!(read(&mut world, who, instance).outcome.is_ok());
    }
    let begun = rotate(&mut world, 2, false);
    assert!(matches!(begun.outcome, Ok(Answer::Operation { .. })), "{begun:?}");
    assert_eq!(at(&world, 2), (Status::Running, Some(Goal::PrepareLogin)));
    assert_eq!(
        heard(&begun),
        Some((format!("{}_a", tenant()), 1)),
        "heard too early"
    );
    let before = &world.state.tenants[&tenant()].credential;
    assert_eq!((before.version, before.active), (1, Slot::A));

    let published = world.report(&world.operation(2), Outcome::Done).unwrap();
    assert_eq!(heard(&published), Some((format!("{}_b", tenant()), 2)));
    assert_eq!(at(&world, 2), (Status::Running, Some(Goal::DrainClients)));
    assert_eq!(
        waits_for(&world, 2),
        Some(Verdict::Wait(Reason::Acknowledged { behind: 3 }))
    );
    assert_eq!(pilot(&mut world), 0, "nobody has acknowledged");

    acknowledge(&mut world, EHR, "p1", 2);
    read(&mut world, EHR, "p2");
    assert_eq!(
        waits_for(&world, 2),
        Some(Verdict::Wait(Reason::Acknowledged { behind: 2 })),
        "who has both holds both"
    );
    acknowledge(&mut world, EHR, "p2", 2);
    let again = acknowledge(&mut world, EHR, "p2", 2);
    assert!(
        again.outcome.is_ok() && again.record.is_none(),
        "it is written down twice"
    );
    assert_eq!(pilot(&mut world), 0, "the laboratory has not acknowledged");
    acknowledge(&mut world, LAB, "p1", 2);
    assert_eq!(pilot(&mut world), 1);
    assert_eq!(at(&world, 2), (Status::Running, Some(Goal::RetireLogin)));
    world.report(&world.operation(2), Outcome::Done);
    assert_eq!(at(&world, 2), (Status::Done, None));
    let tenant = &world.state.tenants[&tenant()];
    assert_eq!((tenant.credential.version, tenant.operation.clone()), (2, None));
    assert_eq!(
        tenant.credential.sealed(Slot::B).parts().aad,
        format!("credential/{}/b/2", tenant.id)
    );
    assert_eq!(
        world.state.holders[&tenant.id].len(),
        1,
        "only who read the new one holds anything"
    );

    // And back again, to the other login.
    rotate(&mut world, 3, false);
    world.report(&world.operation(3), Outcome::Done);
    assert_eq!(world.state.tenants[&self::tenant()].credential.active, Slot::A);
}

#[test]
fn a_leaked_one_is_retired_at_once() {
    let mut world = hospital();
    read(&mut world, EHR, "p1");
    rotate(&mut world, 2, true);
    world.report(&world.operation(2), Outcome::Done);
    assert_eq!(at(&world, 2), (Status::Running, Some(Goal::RetireLogin)));
    let ordered = orders_for(&world.state, &name("vn-1"));
    assert_eq!(ordered.len(), 1, "the agent does not hear of it");
    world.report(&world.operation(2), Outcome::Done);
    assert_eq!(at(&world, 2), (Status::Done, None));
    assert!(
        world.state.holders.is_empty(),
        "what it opened opens nothing any more"
    );
}

#[test]
fn a_leak_hastens_the_change_that_is_at_work() {
    let mut world = hospital();
    read(&mut world, EHR, "p1");
    rotate(&mut world, 2, false);
    world.report(&world.operation(2), Outcome::Done);
    assert_eq!(at(&world, 2), (Status::Running, Some(Goal::DrainClients)));
    let hastened = rotate(&mut world, 3, true).outcome;
    let same =
        matches!(&hastened, Ok(Answer::Operation { operation, .. }) if *operation == world.operation(2));
    assert!(same, "{hastened:?}");
    assert_eq!(at(&world, 2), (Status::Running, Some(Goal::RetireLogin)));
    let late = rotate(&mut world, 4, true).outcome;
    assert!(
        matches!(late, Err(Refusal::OperationInProgress { .. })),
        "nothing is waited for any more"
    );
    world.report(&world.operation(2), Outcome::Done);
    assert_eq!(at(&world, 2), (Status::Done, None));

    // Before it is published it loses the wait.
    read(&mut world, EHR, "p1");
    rotate(&mut world, 5, false);
    rotate(&mut world, 6, true);
    world.report(&world.operation(5), Outcome::Done);
    assert_eq!(at(&world, 5), (Status::Running, Some(Goal::RetireLogin)));
    assert_eq!(
        world.state.operations[&world.operation(5)].wanted,
        None,
        "it is the tenant's own"
    );
}

#[test]
fn who_does_not_follow_is_waited_for_as_long_as_the_grace_and_named() {
    let mut world = hospital();
    read(&mut world, EHR, "p1");
    rotate(&mut world, 2, false);
    world.report(&world.operation(2), Outcome::Done);
    world.now += GRACE_MS - 1;
    assert_eq!(pilot(&mut world), 0);
    world.now += 1;
    assert_eq!(pilot(&mut world), 1);
    assert_eq!(at(&world, 2).1, Some(Goal::RetireLogin));
    let operation = &world.state.operations[&world.operation(2)];
    let drain = operation
        .steps
        .iter()
        .find(|s| s.goal == Goal::DrainClients)
        .unwrap();
    assert!(
        drain.proof[0].contains("grace of 60 s is over; 1 did not"),
        "{:?}",
        drain.proof
    );
    assert_eq!(drain.proof[1], format!("{EHR} p1 holds v1"));
}

#[test]
fn nobody_waits_for_who_has_no_rights_any_more() {
    let mut world = hospital();
    read(&mut world, EHR, "p1");
    rotate(&mut world, 2, false);
    world.report(&world.operation(2), Outcome::Done);
    assert_eq!(pilot(&mut world), 0);
    world.say(Command::RevokePrincipal {
        principal: EHR.into(),
    });
    assert_eq!(pilot(&mut world), 1);
}

#[test]
fn what_is_published_is_not_taken_back_and_what_is_not_leaves_nothing() {
    let mut world = hospital();
    rotate(&mut world, 2, false);
    assert!(world.cancel(&world.operation(2)).outcome.is_ok());
    assert_eq!(at(&world, 2), (Status::Undoing, Some(Goal::PrepareLogin)));
    world.report(&world.operation(2), Outcome::Done);
    assert_eq!(at(&world, 2), (Status::Undone, None));
    assert_eq!(world.state.tenants[&tenant()].credential.version, 1);

    rotate(&mut world, 3, false);
    world.report(&world.operation(3), Outcome::Failed);
    world.report(&world.operation(3), Outcome::Done);
    assert_eq!(
        at(&world, 3),
        (Status::Undone, None),
        "a login that cannot be prepared"
    );

    read(&mut world, EHR, "p1");
    rotate(&mut world, 4, false);
    world.report(&world.operation(4), Outcome::Done);
    let refused = world.cancel(&world.operation(4)).outcome.unwrap_err().to_string();
    assert!(refused.contains("published"), "{refused}");
    acknowledge(&mut world, EHR, "p1", 2);
    pilot(&mut world);
    // The former login cannot be retired: a person looks, and it goes on where it was.
    for _ in 0..5 {
        world.report(&world.operation(4), Outcome::Retry);
        world.now += 10_000;
    }
    assert_eq!(at(&world, 4), (Status::Stuck, None));
    assert_eq!(
        world.state.tenants[&tenant()].status,
        reeve_domain::tenant::Status::Active
    );
    let retry = Command::RetryOperation(Retry {
        operation: world.operation(4),
        reason: "looked at".into(),
    });
    assert!(world.say(retry).outcome.is_ok());
    assert_eq!(at(&world, 4), (Status::Running, Some(Goal::RetireLogin)));
    world.report(&world.operation(4), Outcome::Done);
    assert_eq!(at(&world, 4), (Status::Done, None));
    let done = |step: &reeve_domain::operation::Step| step.state == StepState::Done;
    assert!(world.state.operations[&world.operation(4)].steps.iter().all(done));
}

#[test]
fn a_cluster_that_has_not_always_written_down_who_reads_waits_the_whole_grace_once() {
    let mut world = hospital();
    world.state.cluster.holders_since = Some(Stamp(world.now));
    world.now += 1;
    rotate(&mut world, 2, false);
    world.report(&world.operation(2), Outcome::Done);
    assert_eq!(
        waits_for(&world, 2),
        Some(Verdict::Wait(Reason::Acknowledged { behind: 0 }))
    );
    assert_eq!(
        pilot(&mut world),
        0,
        "somebody may hold it of whom nothing is known"
    );
    world.now += GRACE_MS;
    assert_eq!(pilot(&mut world), 1);
    world.report(&world.operation(2), Outcome::Done);
    rotate(&mut world, 3, false);
    world.report(&world.operation(3), Outcome::Done);
    assert_eq!(pilot(&mut world), 1, "of the second version everybody is known");
}

#[test]
fn two_changes_at_once_are_refused_and_so_is_what_was_drawn_for_another_version() {
    let mut world = hospital();
    let (stale, mut long) = (order(&world, 9, false), order(&world, 8, false));
    long.grace_ms = u64::MAX;
    let refused = world.say(Command::RotateCredential(long)).outcome.unwrap_err();
    assert!(matches!(refused, Refusal::BadField { .. }), "{refused}");
    rotate(&mut world, 2, false);
    let busy = rotate(&mut world, 3, false).outcome.unwrap_err();
    assert!(matches!(busy, Refusal::OperationInProgress { .. }), "{busy}");
    world.report(&world.operation(2), Outcome::Done);
    pilot(&mut world);
    world.report(&world.operation(2), Outcome::Done);
    let refused = world.say(Command::RotateCredential(stale)).outcome.unwrap_err();
    assert!(refused.to_string().contains("ask again"), "{refused}");
    let tenant = world.state.tenants[&tenant()].clone();
    assert_eq!((tenant.credential.version, tenant.operation.clone()), (2, None));
}

#[test]
fn only_what_is_in_force_is_read_and_holders_are_bounded() {
    let mut world = hospital();
    let wrong = Command::ReadCredential(Read {
        tenant: tenant(),
        slot: Slot::B,
        version: 1,
        instance: String::new(),
    });
    assert!(world.say_as(Actor::Principal(EHR.into()), wrong).outcome.is_err());
    assert!(read(&mut world, EHR, "a b").outcome.is_err(), "an odd name");
    assert!(
        acknowledge(&mut world, EHR, "p1", 3).outcome.is_err(),
        "a version that never was"
    );
    read(&mut world, LAB, "first");
    for process in 0..=HOLDERS_PER_PRINCIPAL_MAX {
        world.now += 1;
        read(&mut world, EHR, &format!("p{process}"));
    }
    let holders = &world.state.holders[&tenant()];
    assert_eq!(holders.len(), HOLDERS_PER_PRINCIPAL_MAX + 1);
    assert!(
        !holders.iter().any(|h| h.instance == "p0"),
        "the one of longest ago goes"
    );
    assert!(
        holders.iter().any(|h| h.instance == "first"),
        "one pushes another out"
    );
    assert_eq!(
        behind(&world.state, &tenant(), 2).count(),
        HOLDERS_PER_PRINCIPAL_MAX + 1
    );
    // A process that ends says so, and holds nothing.
    acknowledge(&mut world, EHR, "p7", 2);
    assert_eq!(world.state.holders[&tenant()].len(), HOLDERS_PER_PRINCIPAL_MAX);
}

#[test]
fn the_oldest_are_changed_by_the_schedule_a_few_at_a_time_and_what_fails_rests() {
    let mut world = hospital();
    for (serial, slug) in [(20, "hue"), (21, "da-nang"), (22, "bach-mai")] {
        world.now += 1_000;
        onboard(&mut world, serial, slug);
    }
    let schedule = Schedule {
        every_ms: 86_400_000,
        at_once_max: 2,
    };
    let now = |world: &World| due(&world.state, &sightings(world), Stamp(world.now), schedule);
    world.now += schedule.every_ms - 3_000;
    assert_eq!(now(&world), [tenant()]);
    world.now += 3_000;
    let oldest: Vec<TenantId> = [1, 20].map(TenantId::from_random).into();
    assert_eq!(now(&world), oldest);
    assert!(
        due(
            &world.state,
            &sightings(&world),
            Stamp(world.now),
            Schedule {
                every_ms: 0,
                ..schedule
            }
        )
        .is_empty()
    );

    rotate(&mut world, 2, false);
    assert_eq!(now(&world), [TenantId::from_random(20)], "one is at work");
    world.report(&world.operation(2), Outcome::Failed);
    world.report(&world.operation(2), Outcome::Done);
    let others: Vec<TenantId> = [20, 21].map(TenantId::from_random).into();
    assert_eq!(now(&world), others, "what failed rests");
    world.now += 3_600_000;
    assert_eq!(now(&world), oldest, "and is tried again");

    rotate(&mut world, 3, true);
    world.report(&world.operation(3), Outcome::Done);
    world.report(&world.operation(3), Outcome::Done);
    assert_eq!(now(&world), others, "it is as young as its last change");
    let nobody = Sightings::default();
    let silent = due(&world.state, &nobody, Stamp(world.now), schedule);
    assert!(silent.is_empty(), "an agent that is away is given orders");
    world.state.cluster.version = ROTATION - 1;
    assert!(now(&world).is_empty(), "not every node could read the order");
}
