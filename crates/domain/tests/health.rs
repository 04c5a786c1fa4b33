//! Who is ready and who is not: only transitions are written down, everybody hears of them; and whether it is safe.

mod world;

use std::collections::BTreeSet;

use reeve_domain::audit::decode;
use reeve_domain::health::{
    Cause, Grade, ReportReadiness, TURNED_MAX, Terms, Tried, Turned, Vitals, conditions, delta, worst,
};
use reeve_domain::isolation::{Found, Rule};
use reeve_domain::operation::Outcome;
use reeve_domain::plan::Sightings;
use reeve_domain::{Actor, Applied, Command, Epoch, Event, OperationId, Refusal, Stamp, TenantId, resolve};
use world::{World, name};

const NO_TERMS: Terms = Terms { credential_ms: 0 };

fn tenant(serial: u64) -> TenantId {
    TenantId::from_random(serial)
}

fn inside() -> Tried {
    Tried::In {
        schema_version: Some(6),
    }
}

fn not(cause: Cause) -> Tried {
    Tried::Not(cause, "28P01: no".into())
}

fn tell(world: &mut World, agent: &str, tried: Vec<(TenantId, Tried)>) -> Option<Applied> {
    let order = delta(&world.state, &name(agent), tried)?;
    world.now += 1;
    let actor = Actor::Principal(format!("spiffe://hospital/agent/{agent}"));
    Some(world.say_as(actor, Command::ReportReadiness(order)))
}

fn unready(world: &World, serial: u64) -> Option<(Cause, Stamp)> {
    let unready = world.state.tenants[&tenant(serial)].unready.as_ref()?;
    Some((unready.cause, unready.since))
}

#[test]
fn a_transition_is_written_once_and_watchers_hear_whom_it_is_about() {
    let mut world = World::hospital();
    assert!(
        tell(
            &mut world,
            "vn-1",
            vec![(tenant(1), inside()), (tenant(2), inside())]
        )
        .is_none()
    );
    let said = tell(
        &mut world,
        "vn-1",
        vec![(tenant(1), not(Cause::TurnedAway)), (tenant(2), inside())],
    );
    let said = said.expect("it is news");
    let heard: Vec<_> = said
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Resolves(r) => Some((r.tenant.clone(), r.unready.as_ref().map(|u| u.cause))),
            _ => None,
        })
        .collect();
    assert_eq!(heard, [(tenant(1), Some(Cause::TurnedAway))]);
    let record = decode(&said.record.unwrap().canonical).unwrap();
    assert_eq!(record.action, "tenant.readiness");
    assert_eq!(record.reason, format!("turned away: {}", tenant(1)));
    let since = unready(&world, 1).unwrap().1;

    assert!(
        tell(&mut world, "vn-1", vec![(tenant(1), not(Cause::TurnedAway))]).is_none(),
        "it is known"
    );
    tell(&mut world, "vn-1", vec![(tenant(1), not(Cause::Full))]).unwrap();
    assert_eq!(
        unready(&world, 1),
        Some((Cause::Full, since)),
        "not ready for as long, if for another cause"
    );
    let tenant_1 = &world.state.tenants[&tenant(1)];
    assert!(
        resolve::of(&world.state, tenant_1).serves(),
        "it is flagged, and whoever wants goes there"
    );
    tell(&mut world, "vn-1", vec![(tenant(1), inside())]).unwrap();
    assert_eq!(unready(&world, 1), None);
}

#[test]
fn the_audit_log_names_all_of_whom_a_report_is() {
    let turned = |serial: u64| Turned {
        tenant: tenant(serial),
        cause: [None, Some(Cause::Full), Some(Cause::Schema)][serial as usize % 3],
        detail: "x".repeat(200),
    };
    let order = |many: usize| ReportReadiness {
        agent: name("vn-1"),
        epoch: Epoch(1),
        turned: (0..many as u64).map(turned).collect(),
    };
    let [a, b, c, d] = [0, 1, 2, 3].map(tenant);
    assert_eq!(
        order(4).told(),
        format!("another schema version: {c}; full: {b}; ready: {a}, {d}")
    );
    let named = |told: &str| {
        let ids = told
            .split([' ', ',', ';'])
            .filter(|word| TenantId::parse(word).is_ok());
        ids.collect::<BTreeSet<_>>().len()
    };
    let all = order(TURNED_MAX).told();
    assert_eq!(named(&all), TURNED_MAX);
    assert!(!all.contains("more"), "{all}");
    // However many there were, a line has an end, and says how many are not in it.
    let cut = order(5_000).told();
    let left: usize = cut
        .rsplit_once("; ")
        .unwrap()
        .1
        .strip_suffix(" more")
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(named(&cut) + left, 5_000);
    assert!(cut.len() < 10_020, "{}", cut.len());
}

#[test]
fn another_schema_than_the_registrys_is_not_ready_and_an_unknown_one_is_no_verdict() {
    let mut world = World::hospital();
    let found = |version| Tried::In {
        schema_version: version,
    };
    assert!(tell(&mut world, "vn-1", vec![(tenant(1), found(None))]).is_none());
    tell(&mut world, "vn-1", vec![(tenant(1), found(Some(5)))]).unwrap();
    let unready = world.state.tenants[&tenant(1)].unready.clone().unwrap();
    assert_eq!(unready.cause, Cause::Schema);
    assert_eq!(unready.detail, "version 5 is in the database, 6 in the registry");
}

#[test]
fn an_agent_speaks_of_its_own_tenants_at_its_own_epoch() {
    let mut world = World::hospital();
    let foreign = vec![(tenant(3), not(Cause::TurnedAway)), (tenant(9), not(Cause::Full))];
    assert!(tell(&mut world, "vn-1", foreign).is_none());
    let order = |epoch, serial| ReportReadiness {
        agent: name("vn-1"),
        epoch,
        turned: vec![Turned {
            tenant: tenant(serial),
            cause: Some(Cause::Full),
            detail: "x".repeat(500),
        }],
    };
    let epoch = world.state.groups[&name("vn-1")].epoch;
    let actor = || Actor::Principal("spiffe://hospital/agent/vn-1".into());
    let said = world.say_as(actor(), Command::ReportReadiness(order(epoch, 3)));
    assert!(said.outcome.is_ok() && said.record.is_none(), "another's tenant");
    let late = order(epoch, 1);
    world.say(Command::FenceGroup { group: name("vn-1") });
    let said = world.say_as(actor(), Command::ReportReadiness(late));
    assert!(
        matches!(said.outcome, Err(Refusal::Fenced(_))),
        "{:?}",
        said.outcome
    );
    let epoch = world.state.groups[&name("vn-1")].epoch;
    let many = ReportReadiness {
        turned: vec![order(epoch, 1).turned[0].clone(); TURNED_MAX + 1],
        ..order(epoch, 1)
    };
    let said = world.say_as(actor(), Command::ReportReadiness(many));
    assert!(matches!(said.outcome, Err(Refusal::BadField { .. })));
    world
        .say_as(actor(), Command::ReportReadiness(order(epoch, 1)))
        .outcome
        .unwrap();
    assert_eq!(
        world.state.tenants[&tenant(1)]
            .unready
            .as_ref()
            .unwrap()
            .detail
            .len(),
        200
    );
}

#[test]
fn who_is_not_served_is_not_spoken_of() {
    let mut world = World::hospital();
    let suspend = Command::SuspendTenant {
        tenant: tenant(1),
        etag: String::new(),
    };
    world.say(suspend);
    assert!(tell(&mut world, "vn-1", vec![(tenant(1), not(Cause::TurnedAway))]).is_none());
}

fn sightings(world: &World) -> Sightings {
    let mut sightings = world.heard(&["vn-1"]);
    for sighting in sightings.agents.values_mut() {
        sighting.audited = Some(Stamp(world.now));
    }
    sightings
}

fn vitals(world: &World) -> Vitals {
    Vitals {
        at: Stamp(world.now),
        tried: Some(Stamp(world.now)),
        audited: Some(Stamp(world.now)),
        tried_ms: Some(12),
        connections: 3,
        hits_permille: Some(998),
        xid_age: 1_000,
        size_bytes: Some(32 << 20),
        live_rows: Some(1_000),
        dead_rows: Some(10),
        ..Vitals::default()
    }
}

/// Everything that is not good, but for the backup: nobody takes one, so it is unknown.
fn bad(
    world: &World,
    sightings: &Sightings,
    vitals: Option<&Vitals>,
    terms: Terms,
) -> Vec<(&'static str, Grade)> {
    let tenant = &world.state.tenants[&tenant(1)];
    let all = conditions(&world.state, tenant, sightings, vitals, terms, Stamp(world.now));
    assert!(all.iter().all(|c| !c.told.is_empty()), "{all:?}");
    assert_eq!(worst(&all), all.iter().map(|c| c.grade).max().unwrap());
    let backup = all.iter().find(|c| c.name == "backup");
    assert_eq!(backup.map(|c| c.grade), Some(Grade::Unknown));
    let not_good = all
        .iter()
        .filter(|c| c.grade != Grade::Good && c.name != "backup");
    not_good.map(|c| (c.name, c.grade)).collect()
}

#[test]
fn what_is_well_is_good_and_what_nobody_looked_at_is_unknown() {
    let world = World::hospital();
    assert_eq!(
        bad(&world, &sightings(&world), Some(&vitals(&world)), NO_TERMS),
        []
    );
    assert_eq!(
        bad(&world, &Sightings::default(), None, NO_TERMS),
        ["agent", "ready", "isolated", "load", "upkeep"].map(|name| (name, Grade::Unknown))
    );
    // What was seen long ago proves nothing.
    let mut later = world.clone();
    later.now += 200_000;
    let stale = bad(&later, &sightings(&world), Some(&vitals(&world)), NO_TERMS);
    assert_eq!(
        stale,
        [
            ("agent", Grade::Bad),
            ("ready", Grade::Unknown),
            ("isolated", Grade::Unknown),
            ("load", Grade::Unknown),
            ("upkeep", Grade::Unknown)
        ]
    );
}

#[test]
fn a_round_of_the_instance_proves_nothing_of_a_database_that_it_did_not_look_into() {
    let world = World::hospital();
    let since = |ago_ms: u64| {
        let mut later = world.clone();
        later.now += ago_ms;
        let seen = Vitals {
            audited: Some(Stamp(world.now)),
            ..vitals(&later)
        };
        bad(&later, &sightings(&later), Some(&seen), NO_TERMS)
    };
    assert_eq!(since(1_200_000), [], "its turn was a while ago");
    assert_eq!(since(1_200_001), [("isolated", Grade::Unknown)]);
}

#[test]
fn each_thing_that_is_wrong_is_graded() {
    let world = World::hospital();
    let one = |change: &dyn Fn(&mut World, &mut Vitals), terms| {
        let (mut world, mut vitals) = (world.clone(), vitals(&world));
        change(&mut world, &mut vitals);
        bad(&world, &sightings(&world), Some(&vitals), terms)
    };
    type Change<'a> = &'a dyn Fn(&mut World, &mut Vitals);
    let cases: [(Change<'_>, (&str, Grade)); 13] = [
        (
            &|w, _| drop(w.say(Command::FenceGroup { group: name("vn-1") })),
            ("serving", Grade::Bad),
        ),
        (
            &|w, _| drop(tell(w, "vn-1", vec![(tenant(1), not(Cause::Full))])),
            ("ready", Grade::Bad),
        ),
        (&|_, v| v.tried = None, ("ready", Grade::Unknown)),
        (&|_, v| v.audited = None, ("isolated", Grade::Unknown)),
        (
            &|w, _| {
                let found = Found {
                    rule: Rule::Grant,
                    tenant: Some(tenant(1)),
                    subject: "CONNECT to PUBLIC".into(),
                    detail: String::new(),
                };
                w.find("vn-1", vec![found]);
            },
            ("isolated", Grade::Bad),
        ),
        (&|_, v| v.connections = 43, ("load", Grade::Warning)),
        (&|_, v| v.oldest_transaction_s = 3_600, ("load", Grade::Warning)),
        (&|_, v| v.xid_age = 300_000_000, ("upkeep", Grade::Warning)),
        (&|_, v| v.xid_age = 1_500_000_000, ("upkeep", Grade::Bad)),
        (
            &|_, v| (v.live_rows, v.dead_rows) = (Some(150_000), Some(100_000)),
            ("upkeep", Grade::Warning),
        ),
        (
            &|w, _| {
                w.delete(9, "cho-ray", "cho-ray");
                w.report(&OperationId::from_random(9), Outcome::Failed);
            },
            ("serving", Grade::Bad),
        ),
        (
            &|w, _| {
                let suspend = Command::SuspendTenant {
                    tenant: tenant(1),
                    etag: String::new(),
                };
                w.say(suspend);
            },
            ("serving", Grade::Warning),
        ),
        (&|_, v| v.slow_statements = 3, ("", Grade::Good)),
    ];
    for (i, (change, expected)) in cases.into_iter().enumerate() {
        let got = one(change, NO_TERMS);
        let wanted = if expected.0.is_empty() {
            None
        } else {
            Some(&expected)
        };
        assert_eq!(got.first(), wanted, "{i}: {got:?}");
    }
    let old = Terms { credential_ms: 1 };
    let mut later = world.clone();
    later.now += 5;
    assert_eq!(
        bad(&later, &sightings(&later), Some(&vitals(&later)), old),
        [("credential", Grade::Warning)]
    );
}
