//! What somebody should know of: raised when it is the case, kept while nobody can tell, resolved when it is over.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use reeve_domain::alert::{
    Acknowledge, Alert, Kind, NoteTold, OPEN_MAX, RESOLVED_MAX, Raised, ReportAlerts, TestAlert, id, untold,
};
use reeve_domain::audit::decode;
use reeve_domain::health::{Cause, ReportReadiness, Terms, Turned, Vitals};
use reeve_domain::ids::AlertId;
use reeve_domain::isolation::{Found, Rule, Severity};
use reeve_domain::operation::{Outcome, Status as End};
use reeve_domain::plan::Sightings;
use reeve_domain::plan::alerts::{Look, Memory, Seen, delta, look};
use reeve_domain::{Actor, Command, Epoch, Refusal, Revision, Stamp, TenantId};
use world::{ADMIN, World, name};

const TERMS: Terms = Terms { credential_ms: 0 };

/// A leader that looks every now and then.
struct Leader {
    /// Agents beat on, and their audits end.
    is_beaten: bool,
    memory: Memory,
    sightings: Sightings,
    vitals: BTreeMap<TenantId, Vitals>,
    terms: Terms,
}

impl Leader {
    fn new() -> Leader {
        Leader {
            is_beaten: false,
            memory: Memory::default(),
            sightings: Sightings::default(),
            vitals: BTreeMap::new(),
            terms: TERMS,
        }
    }

    fn sees(&self, world: &World) -> Look {
        let seen = Seen {
            sightings: &self.sightings,
            vitals: &self.vitals,
        };
        look(&world.state, seen, self.terms, Stamp(world.now))
    }

    /// After so long; what it told, if it was news.
    fn after(&mut self, world: &mut World, ms: u64) -> Option<ReportAlerts> {
        world.now += ms;
        if self.is_beaten {
            self.hears(world);
        }
        let look = self.sees(world);
        let order = delta(&world.state, &look, &mut self.memory, Stamp(world.now))?;
        world
            .say_as(Actor::Pilot, Command::ReportAlerts(order.clone()))
            .outcome
            .unwrap();
        Some(order)
    }

    /// All agents beat, and their audits end; from now on.
    fn hears(&mut self, world: &World) {
        self.is_beaten = true;
        self.sightings = world.heard(&["vn-1", "eu-1"]);
        for sighting in self.sightings.agents.values_mut() {
            sighting.audited = Some(sighting.seen);
        }
    }
}

fn open(world: &World) -> Vec<(Kind, String)> {
    let open = world.state.alerts.values().filter(|alert| alert.is_open());
    let mut open: Vec<_> = open.map(|alert| (alert.kind, alert.subject.clone())).collect();
    open.sort();
    open
}

fn the(world: &World, kind: Kind, subject: &str) -> Alert {
    world.state.alerts[&id(kind, subject)].clone()
}

fn turn(world: &mut World, serial: u64, cause: Option<Cause>) {
    let order = ReportReadiness {
        agent: name("vn-1"),
        epoch: Epoch(1),
        turned: vec![Turned {
            tenant: TenantId::from_random(serial),
            cause,
            detail: String::new(),
        }],
    };
    world.say(Command::ReportReadiness(order)).outcome.unwrap();
}

fn acknowledge(world: &mut World, alert: &AlertId, note: &str, undo: bool) -> Result<(), Refusal> {
    let order = Acknowledge {
        alert: alert.clone(),
        note: note.to_owned(),
        undo,
    };
    let said = world.say(Command::AcknowledgeAlert(order));
    said.outcome.map(drop)
}

fn raised(serial: usize, kind: Kind) -> Raised {
    Raised {
        kind,
        subject: format!("g-{serial}"),
        count: 1,
        detail: String::new(),
    }
}

#[test]
fn what_is_wrong_is_raised_once_told_anew_seldom_and_over_when_it_was_over_for_long() {
    let mut world = World::hospital();
    let mut leader = Leader::new();
    leader.hears(&world);
    turn(&mut world, 1, Some(Cause::TurnedAway));
    assert_eq!(leader.after(&mut world, 40_000), None, "it may pass");
    leader.hears(&world);
    let told = leader.after(&mut world, 20_000).expect("it did not pass");
    assert_eq!(told.raised.len(), 1, "{told:?}");
    let record = world.applied.last().unwrap().record.clone().unwrap();
    let reason = decode(&record.canonical).unwrap().reason;
    let of = told.raised[0].id();
    let expected = format!(
        "raised {of} TenantsNotReady vn-1: {} turned away",
        TenantId::from_random(1)
    );
    assert_eq!(reason, expected);
    let alert = the(&world, Kind::TenantsNotReady, "vn-1");
    assert_eq!(alert.detail, format!("{} turned away", TenantId::from_random(1)));
    assert_eq!((alert.times, alert.raised), (1, Stamp(world.now)));
    let record = world.state.revision;
    assert_eq!(alert.turned, record);

    leader.hears(&world);
    assert_eq!(leader.after(&mut world, 1_000), None, "it is known");
    turn(&mut world, 1, Some(Cause::Full));
    leader.hears(&world);
    assert_ne!(leader.sees(&world).wrong[&alert.id].detail, alert.detail);
    assert_eq!(
        leader.after(&mut world, 58_000),
        None,
        "told differently once a minute"
    );
    leader.hears(&world);
    leader.after(&mut world, 3_000).expect("for another cause now");
    let again = the(&world, Kind::TenantsNotReady, "vn-1");
    assert_eq!(again.detail, format!("{} full", TenantId::from_random(1)));
    assert_eq!(
        (again.times, again.turned, again.raised),
        (1, alert.turned, alert.raised),
        "no new alert"
    );
    assert!(again.modified > alert.modified);

    turn(&mut world, 2, Some(Cause::Full));
    world.now += 60_000;
    leader.hears(&world);
    leader.after(&mut world, 1_000).expect("two of them now");
    let both = the(&world, Kind::TenantsNotReady, "vn-1").detail;
    assert!(both.starts_with("2, the first: t_"), "{both}");

    turn(&mut world, 1, None);
    turn(&mut world, 2, None);
    leader.hears(&world);
    assert_eq!(leader.after(&mut world, 1_000), None, "it may come again");
    turn(&mut world, 1, Some(Cause::Full));
    leader.hears(&world);
    world.now += 60_000;
    leader.hears(&world);
    leader.after(&mut world, 1_000);
    turn(&mut world, 1, None);
    leader.hears(&world);
    assert_eq!(leader.after(&mut world, 1_000), None);
    leader.hears(&world);
    assert_eq!(
        leader.after(&mut world, 29_000),
        None,
        "counted from when it was last the case"
    );
    leader.hears(&world);
    let over = leader.after(&mut world, 1_000).expect("it is over");
    assert_eq!(over.resolved, std::slice::from_ref(&alert.id));
    assert_eq!(
        the(&world, Kind::TenantsNotReady, "vn-1").resolved,
        Some(Stamp(world.now))
    );
    assert_eq!(leader.after(&mut world, 1_000), None, "said once");

    turn(&mut world, 1, Some(Cause::Full));
    leader.hears(&world);
    leader.after(&mut world, 60_000).expect("it is wrong again");
    let again = the(&world, Kind::TenantsNotReady, "vn-1");
    assert_eq!((again.times, again.resolved, again.id), (2, None, alert.id));
}

#[test]
fn a_new_leader_that_has_heard_nothing_yet_neither_raises_nor_resolves() {
    let mut world = World::hospital();
    let mut leader = Leader::new();
    leader.hears(&world);
    leader
        .vitals
        .insert(TenantId::from_random(1), aged(&world, 400_000_000));
    leader.after(&mut world, 0).expect("ids age");
    leader.is_beaten = false;
    assert_eq!(leader.after(&mut world, 5_001), None, "they may be late");
    assert_eq!(leader.after(&mut world, 59_999), None);
    leader.after(&mut world, 1).expect("agents are silent");
    let known = [
        (Kind::AgentSilent, "eu-1".to_owned()),
        (Kind::AgentSilent, "vn-1".to_owned()),
        (Kind::TransactionIdsAging, "vn-1".to_owned()),
    ];
    assert_eq!(open(&world), known);

    let mut next = Leader::new();
    for _ in 0..6 {
        assert_eq!(next.after(&mut world, 10_000), None, "{:?}", open(&world));
    }
    assert_eq!(
        next.after(&mut world, 1),
        None,
        "they are silent to this one, too"
    );
    assert_eq!(open(&world), known);

    next.hears(&world);
    next.after(&mut world, 1_000);
    next.hears(&world);
    next.after(&mut world, 30_000).expect("they are heard");
    assert_eq!(open(&world), known[2..], "of ids nobody said anything");
    next.hears(&world);
    next.vitals.insert(TenantId::from_random(1), aged(&world, 1));
    assert_eq!(next.after(&mut world, 1_000), None);
    next.hears(&world);
    next.vitals.insert(TenantId::from_random(1), aged(&world, 1));
    next.after(&mut world, 30_000).expect("they are young");
    assert_eq!(open(&world), []);
}

fn aged(world: &World, xid_age: u64) -> Vitals {
    Vitals {
        at: Stamp(world.now),
        xid_age,
        ..Vitals::default()
    }
}

#[test]
fn an_agent_that_was_dismissed_is_missed_while_it_has_tenants() {
    let mut world = World::with_regions(&["vn", "eu"]);
    world.create(1, "cho-ray", "vn", None);
    let mut leader = Leader::new();
    assert_eq!(leader.after(&mut world, 0), None, "they have just come");
    leader.after(&mut world, 60_000).expect("both are silent");
    for agent in ["vn-1", "eu-1"] {
        let principal = format!("spiffe://hospital/agent/{agent}");
        world.say(Command::RevokePrincipal { principal }).outcome.unwrap();
    }
    assert_eq!(leader.after(&mut world, 1_000), None);
    leader
        .after(&mut world, 30_000)
        .expect("one of them is wanted no more");
    assert_eq!(open(&world), [(Kind::AgentSilent, "vn-1".to_owned())]);
}

#[test]
fn an_instance_that_is_down_explains_its_tenants() {
    let mut world = World::hospital();
    let mut leader = Leader::new();
    world.up("vn-1", false);
    turn(&mut world, 1, Some(Cause::Unreachable));
    leader.hears(&world);
    assert_eq!(leader.after(&mut world, 1_000), None, "its agent starts it again");
    leader.hears(&world);
    leader.after(&mut world, 15_000).expect("it did not");
    leader.hears(&world);
    world.now += 60_000;
    leader.hears(&world);
    assert_eq!(leader.after(&mut world, 1_000), None);
    assert_eq!(open(&world), [(Kind::PostgresDown, "vn-1".to_owned())]);
    world.up("vn-1", true);
    leader.hears(&world);
    let told = leader
        .after(&mut world, 1_000)
        .expect("its tenants are still away");
    assert_eq!(told.raised[0].kind, Kind::TenantsNotReady);
}

#[test]
fn each_kind_is_raised_by_its_cause_and_by_nothing_else() {
    let quiet = World::hospital();
    let mut leader = Leader::new();
    leader.hears(&quiet);
    assert_eq!(leader.sees(&quiet).wrong, BTreeMap::new());

    let kinds = |world: &World, leader: &Leader| -> Vec<Kind> {
        let look = leader.sees(world);
        let mut kinds: Vec<Kind> = look.wrong.values().map(|raised| raised.kind).collect();
        kinds.sort();
        kinds
    };
    for (rule, kind) in [
        (Rule::Grant, Kind::IsolationFindingCritical),
        (Rule::Unknown, Kind::IsolationFindingWarning),
    ] {
        let mut world = World::hospital();
        let found = Found {
            rule,
            tenant: None,
            subject: "something".into(),
            detail: String::new(),
        };
        assert_eq!(
            rule.severity() == Severity::Critical,
            kind == Kind::IsolationFindingCritical
        );
        world.find("vn-1", vec![found]);
        leader.hears(&world);
        assert_eq!(kinds(&world, &leader), [kind]);
    }

    let mut world = World::hospital();
    world.now += 181_000;
    leader.hears(&world);
    let vn = name("vn-1");
    leader.sightings.agents.get_mut(&vn).unwrap().audited = Some(Stamp(world.now - 180_000));
    assert_eq!(kinds(&world, &leader), []);
    for audited in [Some(Stamp(world.now - 180_001)), None] {
        leader.sightings.agents.get_mut(&vn).unwrap().audited = audited;
        assert_eq!(kinds(&world, &leader), [Kind::IsolationAuditStale]);
    }
    leader.is_beaten = false;
    assert_eq!(
        leader.after(&mut world, 0),
        None,
        "its first round may be under way"
    );

    leader.hears(&world);
    for (age, kind) in [
        (299_999_999, None),
        (300_000_000, Some(Kind::TransactionIdsAging)),
        (1_500_000_000, Some(Kind::TransactionIdsEnding)),
    ] {
        leader.vitals.insert(TenantId::from_random(2), aged(&world, age));
        assert_eq!(kinds(&world, &leader), Vec::from_iter(kind), "{age}");
    }
    leader.vitals.clear();

    let mut world = World::hospital();
    leader.hears(&world);
    let operation = world.operation(9);
    world.delete(9, "cho-ray", "cho-ray").outcome.unwrap();
    while world.state.operations[&operation].status != End::Stuck {
        world
            .report(&operation, Outcome::Failed)
            .expect("it is not stuck");
    }
    leader.hears(&world);
    assert_eq!(kinds(&world, &leader), [Kind::OperationStuck]);

    let summaries: BTreeSet<&str> = Kind::ALL.into_iter().map(Kind::summary).collect();
    assert_eq!(summaries.len(), Kind::ALL.len());
    let mut world = World::hospital();
    world.now += 110_000;
    leader.hears(&world);
    leader.terms = Terms {
        credential_ms: 200_000,
    };
    assert_eq!(kinds(&world, &leader), []);
    // Made 110 s ago and some milliseconds: a tenth more than the schedule is late, and no less.
    leader.terms = Terms {
        credential_ms: 101_000,
    };
    assert_eq!(kinds(&world, &leader), []);
    leader.terms = Terms {
        credential_ms: 99_000,
    };
    assert_eq!(
        kinds(&world, &leader),
        [Kind::CredentialOverdue, Kind::CredentialOverdue]
    );
}

#[test]
fn who_looks_after_an_alert_is_known_until_it_is_over() {
    let mut world = World::hospital();
    let report = ReportAlerts {
        raised: vec![raised(1, Kind::PostgresDown)],
        resolved: Vec::new(),
    };
    world.say_as(Actor::Pilot, Command::ReportAlerts(report.clone()));
    let id = report.raised[0].id();
    let turned = world.state.alerts[&id].turned;
    acknowledge(&mut world, &id, "on my way", false).unwrap();
    let known = world.state.alerts[&id].acknowledged.clone().unwrap();
    let told = (known.by.as_str(), known.note.as_str(), known.at);
    assert_eq!(told, (ADMIN, "on my way", Stamp(world.now)));
    let before = world.state.revision;
    acknowledge(&mut world, &id, "on my way", false).unwrap();
    assert_eq!(world.state.revision, before, "said again");
    assert_eq!(
        world.state.alerts[&id].turned, turned,
        "a webhook is told of turns alone"
    );
    acknowledge(&mut world, &id, "", true).unwrap();
    assert_eq!(world.state.alerts[&id].acknowledged, None);
    let before = world.state.revision;
    acknowledge(&mut world, &id, "", true).unwrap();
    assert_eq!(world.state.revision, before, "nobody did");
    for note in ["again", "later", &"x".repeat(200)] {
        acknowledge(&mut world, &id, note, false).unwrap();
        let known = world.state.alerts[&id].acknowledged.clone().unwrap();
        assert_eq!(known.note, note);
    }

    for note in ["x".repeat(201), "two\nlines".to_owned()] {
        let refused = acknowledge(&mut world, &id, &note, false);
        assert!(
            matches!(refused, Err(Refusal::BadField { ref field, .. }) if field == "note"),
            "{refused:?}"
        );
    }
    let unknown = AlertId::from_random(7);
    let refused = acknowledge(&mut world, &unknown, "", false);
    assert_eq!(refused, Err(Refusal::AlertNotFound(unknown.to_string())));

    let over = ReportAlerts {
        raised: Vec::new(),
        resolved: vec![id.clone()],
    };
    world.say_as(Actor::Pilot, Command::ReportAlerts(over));
    assert!(world.state.alerts[&id].acknowledged.is_some(), "who did is kept");
    let refused = acknowledge(&mut world, &id, "", false);
    assert!(matches!(refused, Err(Refusal::WrongState { .. })), "{refused:?}");
    world.say_as(Actor::Pilot, Command::ReportAlerts(report));
    let again = &world.state.alerts[&id];
    assert_eq!(
        (again.times, &again.acknowledged),
        (2, &None),
        "nobody looks after it again"
    );
}

#[test]
fn what_becomes_worse_is_told_again_and_nobody_looks_after_it_yet() {
    let mut world = World::hospital();
    let say = |world: &mut World, kind: Kind, count: u32, detail: &str| {
        let raised = Raised {
            count,
            detail: detail.to_owned(),
            ..raised(1, kind)
        };
        let order = ReportAlerts {
            raised: vec![raised.clone()],
            resolved: Vec::new(),
        };
        world
            .say_as(Actor::Pilot, Command::ReportAlerts(order))
            .outcome
            .unwrap();
        world.state.alerts[&raised.id()].clone()
    };
    let first = say(&mut world, Kind::TenantsNotReady, 2, "2, the first: a");
    acknowledge(&mut world, &first.id, "mine", false).unwrap();
    let better = say(&mut world, Kind::TenantsNotReady, 1, "b");
    assert_eq!((better.turned, better.count), (first.turned, 1));
    assert!(better.acknowledged.is_some(), "it became better");
    let worse = say(&mut world, Kind::TenantsNotReady, 3, "3, the first: a");
    assert!(worse.turned > first.turned && worse.acknowledged.is_none() && worse.times == 1);

    let first = say(&mut world, Kind::IsolationFindingCritical, 1, "f_1");
    acknowledge(&mut world, &first.id, "mine", false).unwrap();
    let other = say(&mut world, Kind::IsolationFindingCritical, 1, "f_2");
    assert!(
        other.turned > first.turned && other.acknowledged.is_none(),
        "another wall"
    );
    let warning = say(&mut world, Kind::IsolationFindingWarning, 1, "f_1");
    let same = say(&mut world, Kind::IsolationFindingWarning, 1, "f_2");
    assert_eq!(same.turned, warning.turned);
}

#[test]
fn a_test_arrives_as_any_other_does_and_is_over_by_itself() {
    let mut world = World::hospital();
    let mut leader = Leader::new();
    let said = world.say(Command::TestAlert(TestAlert { note: "drill".into() }));
    let record = decode(&said.record.unwrap().canonical).unwrap();
    assert_eq!(
        (record.action.as_str(), record.reason.as_str()),
        ("alert.test", "drill")
    );
    let test = untold(&world.state)[0].clone();
    assert_eq!((test.kind, test.detail.as_str()), (Kind::Test, "drill"));
    let again = world.say(Command::TestAlert(TestAlert { note: "twice".into() }));
    assert!(
        matches!(again.outcome, Err(Refusal::AlreadyExists(_))),
        "{:?}",
        again.outcome
    );
    for _ in 0..59 {
        leader.hears(&world);
        assert_eq!(leader.after(&mut world, 1_000), None);
    }
    leader.hears(&world);
    let over = leader.after(&mut world, 1_000).expect("it is over");
    assert_eq!(over.resolved, [test.id]);
}

#[test]
fn a_webhook_is_told_of_each_turn_in_order_and_of_nothing_that_was_over_before() {
    let mut world = World::hospital();
    let say = |world: &mut World, raised: Vec<Raised>, resolved: Vec<AlertId>| {
        world.say_as(
            Actor::Pilot,
            Command::ReportAlerts(ReportAlerts { raised, resolved }),
        );
    };
    let tell = |world: &mut World, through: Revision| {
        world
            .say_as(Actor::Pilot, Command::NoteTold(NoteTold { through }))
            .outcome
    };
    let subjects = |world: &World| -> Vec<String> {
        untold(&world.state)
            .iter()
            .map(|alert| alert.subject.clone())
            .collect()
    };
    let [first, second, third] = [3, 1, 2].map(|serial| raised(serial, Kind::PostgresDown));
    say(&mut world, vec![first.clone()], Vec::new());
    say(&mut world, vec![second.clone()], vec![first.id()]);
    assert_eq!(subjects(&world), ["g-1"]);
    say(&mut world, vec![third.clone()], Vec::new());
    assert_eq!(subjects(&world), ["g-1", "g-2"]);
    let through = untold(&world.state)[0].turned;
    tell(&mut world, through).unwrap();
    assert_eq!(subjects(&world), ["g-2"]);
    let before = world.state.revision;
    tell(&mut world, Revision(1)).unwrap();
    assert_eq!(
        (subjects(&world).len(), world.state.revision),
        (1, before),
        "it never goes back"
    );
    let ahead = Revision(world.state.revision.0 + 1);
    assert!(matches!(tell(&mut world, ahead), Err(Refusal::BadField { .. })));
    say(&mut world, Vec::new(), vec![second.id(), third.id()]);
    assert_eq!(subjects(&world).len(), 2, "now it hears of ends, too");
}

#[test]
fn there_are_only_so_many_and_the_worst_come_first() {
    let mut world = World::hospital();
    let many: Vec<Raised> = (0..OPEN_MAX - 1)
        .map(|serial| raised(serial, Kind::OperationStuck))
        .collect();
    for part in many.chunks(200) {
        let order = ReportAlerts {
            raised: part.to_vec(),
            resolved: Vec::new(),
        };
        world
            .say_as(Actor::Pilot, Command::ReportAlerts(order))
            .outcome
            .unwrap();
    }
    let mut look = Look::default();
    for new in [
        raised(9_001, Kind::CredentialOverdue),
        raised(9_002, Kind::PostgresDown),
    ] {
        look.wrong.insert(new.id(), new);
    }
    for known in &many {
        look.wrong.insert(known.id(), known.clone());
    }
    let mut memory = Memory::default();
    let _ = delta(&world.state, &look, &mut memory, Stamp(world.now));
    let told = delta(&world.state, &look, &mut memory, Stamp(world.now + 15_000)).expect("one fits");
    assert_eq!(told.raised, [raised(9_002, Kind::PostgresDown)]);

    let too_many = ReportAlerts {
        raised: vec![raised(1, Kind::Test); 2 * OPEN_MAX],
        resolved: Vec::new(),
    };
    let refused = world
        .say_as(Actor::Pilot, Command::ReportAlerts(too_many))
        .outcome;
    assert!(matches!(refused, Err(Refusal::BadField { .. })), "{refused:?}");

    for part in many.chunks(200) {
        let order = ReportAlerts {
            raised: Vec::new(),
            resolved: part.iter().map(Raised::id).collect(),
        };
        world
            .say_as(Actor::Pilot, Command::ReportAlerts(order))
            .outcome
            .unwrap();
    }
    assert_eq!(world.state.alerts.len(), RESOLVED_MAX);

    // Whoever was told that they began is told that they are over, however many there are.
    let begin = |world: &mut World, resolved: bool| {
        for part in many.chunks(200) {
            let order = ReportAlerts {
                raised: part.iter().filter(|_| !resolved).cloned().collect(),
                resolved: part.iter().filter(|_| resolved).map(Raised::id).collect(),
            };
            world
                .say_as(Actor::Pilot, Command::ReportAlerts(order))
                .outcome
                .unwrap();
        }
    };
    begin(&mut world, false);
    let through = world.state.revision;
    world.say_as(Actor::Pilot, Command::NoteTold(NoteTold { through }));
    begin(&mut world, true);
    assert_eq!(untold(&world.state).len(), many.len());
}
