//! Findings open and close with what an agent tells, keep their ids, and keep tenants out; scans only look.

mod world;

use reeve_domain::isolation::{self, CLOSED_MAX, Found, NOBODYS, OPEN_MAX, ReportFindings, Rule, Severity};
use reeve_domain::operation::{Goal, Outcome, Scan, Status, Turn};
use reeve_domain::words::Slug;
use reeve_domain::{Actor, Command, OperationId, Refusal, TenantId, resolve, tenant};
use world::{World, name};

fn id(serial: u64) -> TenantId {
    TenantId::from_random(serial)
}

fn found(rule: Rule, tenant: Option<u64>, subject: &str) -> Found {
    Found {
        rule,
        tenant: tenant.map(id),
        subject: subject.to_owned(),
        detail: String::new(),
    }
}

/// Two hospitals that are served by one instance.
fn two() -> World {
    let mut world = World::with_regions(&["vn"]);
    for (serial, slug) in [(1, "cho-ray"), (2, "bach-mai")] {
        world.create(serial, slug, "vn", None);
        while world.report(&world.operation(serial), Outcome::Done).is_some() {}
        assert_eq!(world.state.tenants[&id(serial)].status, tenant::Status::Active);
    }
    world
}

fn say(world: &mut World, agent: &str, order: ReportFindings) -> reeve_domain::Applied {
    let actor = Actor::Principal(format!("spiffe://hospital/agent/{agent}"));
    world.say_as(actor, Command::ReportFindings(order))
}

fn scan(world: &mut World, serial: u64, operation: u64) -> reeve_domain::Applied {
    world.say(Command::ScanTenant(Scan {
        tenant: id(serial),
        operation: OperationId::from_random(operation),
        turn: Turn::default(),
    }))
}

#[test]
fn a_finding_opens_closes_and_comes_back_under_the_same_id() {
    let mut world = two();
    let grant = found(
        Rule::Grant,
        Some(1),
        "database t_000000000001: CONNECT to t_000000000002_a",
    );
    let told = world.find("vn-1", vec![grant.clone()]).unwrap();
    let shown = reeve_domain::audit::decode(&told.record.unwrap().canonical).unwrap();
    let known = world.state.findings.values().next().unwrap().clone();
    assert_eq!(
        (shown.action.as_str(), shown.resource.as_str(), shown.reason),
        (
            "isolation.report",
            "isolation/vn-1",
            format!("opened {} F1 {}", known.id, grant.subject)
        )
    );
    assert!(known.is_open() && known.times == 1 && known.group == name("vn-1"));
    assert_eq!(
        world.find("vn-1", vec![grant.clone()]),
        None,
        "it was said already"
    );

    world.now += 60_000;
    world.find("vn-1", vec![]).unwrap();
    let closed = &world.state.findings[&known.id];
    assert_eq!(closed.closed.map(|at| at.0), Some(world.now));
    assert_eq!(world.find("vn-1", vec![]), None);

    world.now += 60_000;
    world.find("vn-1", vec![grant]).unwrap();
    let again = &world.state.findings[&known.id];
    assert!(again.is_open() && again.times == 2 && again.opened.0 == world.now);
    assert_eq!(world.state.findings.len(), 1);
}

#[test]
fn a_report_that_comes_twice_or_late_changes_nothing() {
    let mut world = two();
    let grant = found(Rule::Grant, Some(1), "x");
    let order = isolation::delta(
        &world.state,
        &name("vn-1"),
        vec![grant],
        &isolation::Scope::default(),
    )
    .unwrap();
    assert!(say(&mut world, "vn-1", order.clone()).record.is_some());
    let before = world.state.findings.clone();
    let twice = say(&mut world, "vn-1", order.clone());
    assert!(twice.outcome.is_ok() && twice.record.is_none());
    let gone = ReportFindings {
        agent: name("vn-1"),
        opened: vec![],
        closed: vec![
            order.opened[0].id(&name("vn-1")),
            reeve_domain::ids::FindingId::from_random(9),
        ],
    };
    assert_eq!(world.state.findings, before);
    assert!(say(&mut world, "vn-1", gone.clone()).record.is_some());
    assert!(say(&mut world, "vn-1", gone).record.is_none());
}

#[test]
fn nobody_closes_what_another_agent_found() {
    let mut world = two();
    world.enrol("eu-1", "vn");
    world.up("eu-1", true);
    world.find("vn-1", vec![found(Rule::Hba, None, "open")]).unwrap();
    let theirs = world.state.findings.keys().next().unwrap().clone();
    let order = ReportFindings {
        agent: name("eu-1"),
        opened: vec![],
        closed: vec![theirs],
    };
    let refused = say(&mut world, "eu-1", order);
    assert!(matches!(refused.outcome, Err(Refusal::Fenced(_))), "{refused:?}");
    assert_eq!(
        world.find("eu-1", vec![]),
        None,
        "and a clean round of its own says nothing of it"
    );
    // The same thing on another instance is another finding.
    world.find("eu-1", vec![found(Rule::Hba, None, "open")]).unwrap();
    assert_eq!(world.state.findings.len(), 2);
}

#[test]
fn a_suspended_tenant_comes_back_only_behind_its_own_walls() {
    let mut world = two();
    for serial in [1, 2] {
        let command = Command::SuspendTenant {
            tenant: id(serial),
            etag: String::new(),
        };
        assert!(world.say(command).outcome.is_ok());
    }
    let resume = |world: &mut World, serial: u64| {
        let tenant = id(serial);
        world.say(Command::ResumeTenant {
            tenant,
            etag: String::new(),
        })
    };
    let own = found(Rule::Object, Some(1), "extension dblink in t_000000000001");
    world.find("vn-1", vec![own.clone()]).unwrap();
    let before = world.state.clone();
    let refused = resume(&mut world, 1).outcome.unwrap_err();
    assert!(matches!(&refused, Refusal::NotIsolated { tenant, .. } if *tenant == id(1)));
    assert!(refused.to_string().contains("F13: extension dblink"), "{refused}");
    assert_eq!(world.state, before);
    assert!(
        resume(&mut world, 2).outcome.is_ok(),
        "a neighbour's wall is not its own"
    );

    world.find("vn-1", vec![]).unwrap();
    assert!(resume(&mut world, 1).outcome.is_ok(), "it was mended");
}

#[test]
fn what_is_everybodys_bars_everybody_when_it_is_critical_and_nobody_otherwise() {
    for rule in Rule::ALL {
        let everybodys = found(rule, None, "x");
        assert_eq!(
            everybodys.bars(&id(1)),
            rule.severity() == Severity::Critical,
            "{rule}"
        );
        let own = found(rule, Some(1), "x");
        assert!(own.bars(&id(1)) && !own.bars(&id(2)), "{rule}");
        assert_eq!(Rule::parse(rule.code()), Some(rule));
    }
    let codes: std::collections::BTreeSet<_> = Rule::ALL.map(Rule::code).into();
    assert_eq!(codes.len(), 15);
}

#[test]
fn who_came_while_the_agent_looked_is_not_taken_for_an_intruder() {
    let mut world = two();
    let unknown = |serial: u64| {
        found(
            Rule::Unknown,
            Some(serial),
            &format!("{NOBODYS}role t_{serial:012x}"),
        )
    };
    assert_eq!(world.find("vn-1", vec![unknown(1), unknown(2)]), None);
    world.find("vn-1", vec![unknown(1), unknown(3)]).unwrap();
    let open: Vec<_> = world.state.findings.values().map(|f| f.tenant.clone()).collect();
    assert_eq!(open, [Some(id(3))]);
    // Nor when the agent's word comes to a leader that knows more than the node it came by.
    let order = ReportFindings {
        agent: name("vn-1"),
        opened: vec![unknown(2)],
        closed: vec![],
    };
    assert!(say(&mut world, "vn-1", order).record.is_none());
    // A wrong owner is one, whoever is known.
    let owner = found(
        Rule::Unknown,
        Some(1),
        "owner of database t_000000000001: somebody",
    );
    world.find("vn-1", vec![owner, unknown(3)]).unwrap();
    assert_eq!(world.state.findings.len(), 2);
}

#[test]
fn there_is_an_end_to_what_is_kept() {
    let mut world = two();
    let many = |from: usize, to: usize| -> Vec<Found> {
        let one = |i: usize| found(Rule::Unknown, None, &format!("role {i}"));
        (from..to).map(one).collect()
    };
    let order = isolation::delta(
        &world.state,
        &name("vn-1"),
        many(0, 2 * OPEN_MAX + 1),
        &isolation::Scope::default(),
    )
    .unwrap();
    let refused = say(&mut world, "vn-1", order);
    assert!(
        matches!(refused.outcome, Err(Refusal::BadField { .. })),
        "{refused:?}"
    );
    for round in 0..5 {
        world.now += 1;
        world
            .find("vn-1", many(round * OPEN_MAX, (round + 1) * OPEN_MAX))
            .unwrap();
    }
    let closed = world.state.findings.values().filter(|f| !f.is_open()).count();
    assert_eq!(
        (world.state.findings.len() - closed, closed),
        (OPEN_MAX, CLOSED_MAX)
    );
    let oldest = world
        .state
        .findings
        .values()
        .filter_map(|f| f.closed)
        .min()
        .unwrap();
    assert_eq!(oldest.0, world.now - 1, "the oldest went first");
    let long = ReportFindings {
        agent: name("vn-1"),
        opened: vec![found(Rule::Hba, None, &"x".repeat(241))],
        closed: vec![],
    };
    let refused = say(&mut world, "vn-1", long);
    assert!(refused.outcome.unwrap_err().to_string().contains("subject"));
    let told = ReportFindings {
        agent: name("vn-1"),
        opened: many(0, 400),
        closed: vec![],
    };
    let line = told.told();
    assert!(line.len() < 4_100 && line.ends_with(" more"), "{line}");
}

#[test]
fn a_scan_only_looks_and_the_tenant_is_served_meanwhile() {
    let mut world = two();
    let serves = |world: &World| {
        let slug = Slug::parse("cho-ray").unwrap();
        let tenant = world.state.find_tenant(slug.as_str()).unwrap();
        resolve::of(&world.state, tenant).status == tenant::Status::Active
    };
    assert!(scan(&mut world, 1, 7).outcome.is_ok());
    let goals: Vec<Goal> = world.state.operations[&world.operation(7)]
        .steps
        .iter()
        .map(|step| step.goal)
        .collect();
    assert_eq!(goals, [Goal::Audit, Goal::Probe]);
    assert!(serves(&world));
    let refused = scan(&mut world, 1, 8).outcome.unwrap_err();
    assert!(
        matches!(refused, Refusal::OperationInProgress { .. }),
        "{refused}"
    );
    while world.report(&world.operation(7), Outcome::Done).is_some() {}
    assert_eq!(world.state.operations[&world.operation(7)].status, Status::Done);
    assert_eq!(world.state.tenants[&id(1)].operation, None);

    // It fails: nothing is taken back, nobody is asked, and the tenant is as it was.
    for (operation, how) in [(9, Outcome::Failed), (10, Outcome::Done)] {
        assert!(scan(&mut world, 1, operation).outcome.is_ok());
        world.report(&world.operation(operation), how);
        if how == Outcome::Done {
            world.cancel(&world.operation(operation));
        }
        let ended = &world.state.operations[&world.operation(operation)];
        assert_eq!((ended.status, ended.has_ended()), (Status::Undone, true));
        let tenant = &world.state.tenants[&id(1)];
        assert_eq!(
            (tenant.status, tenant.operation.clone()),
            (tenant::Status::Active, None)
        );
        assert!(serves(&world));
    }
    assert!(matches!(
        scan(&mut world, 3, 11).outcome,
        Err(Refusal::TenantNotFound(_))
    ));
}

#[test]
fn a_cluster_that_has_not_risen_yet_knows_neither() {
    let mut world = two();
    world.state.cluster.version = 1;
    assert!(matches!(
        scan(&mut world, 1, 7).outcome,
        Err(Refusal::ClusterVersionTooLow { needs: 2, is: 1, .. })
    ));
    let told = world.find("vn-1", vec![found(Rule::Hba, None, "open")]).unwrap();
    assert!(matches!(told.outcome, Err(Refusal::ClusterVersionTooLow { .. })));
    world.create(3, "hue", "vn", None);
    let steps = &world.state.operations[&world.operation(3)].steps;
    assert!(steps.iter().all(|step| step.goal != Goal::Audit));
}
