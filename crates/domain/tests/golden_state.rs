//! What State, answers and events were written as: one golden file for each variant, and one State that holds some of
//! everything.

mod gold;
mod world;

use reeve_domain::access::{Expect, NodeAddresses, RedeemToken, Redeemed};
use reeve_domain::alert::{self, Kind, NoteTold, Raised, ReportAlerts};
use reeve_domain::credential::{Next, Read, Slot};
use reeve_domain::group::{Endpoint, Region};
use reeve_domain::health::{Cause, ReportReadiness, Turned, Unready};
use reeve_domain::ids::{AlertId, FindingId, PlacementNumber, TokenId};
use reeve_domain::isolation::{Found, Rule};
use reeve_domain::operation::{Allow, Limits, Outcome, Priority, Rotate, Scan, SetLimits, Turn};
use reeve_domain::policy::Role;
use reeve_domain::restore::Leap;
use reeve_domain::tenant::Status;
use reeve_domain::words::{Cidr, Claim, Slug};
use reeve_domain::{
    Actor, Answer, Command, Epoch, Event, NodeId, OperationId, Refusal, Resolution, Revision, Stamp, State,
    TenantId, Versions,
};
use world::{World, name, sealed};

/// A cluster in the middle of everything.
fn busy() -> State {
    let mut world = World::with_regions(&["vn", "eu"]);
    // One tenant is served, one is coming, one is gone, one turned back and is stuck.
    for (serial, slug, region) in [
        (1, "cho-ray", "vn"),
        (2, "bach-mai", "eu"),
        (3, "hue", "vn"),
        (4, "da-nang", "eu"),
    ] {
        world.create(serial, slug, region, Some(&format!("{slug}.ehr.vn")));
    }
    for serial in [1, 3] {
        while world.report(&world.operation(serial), Outcome::Done).is_some() {}
    }
    world.report(&world.operation(2), Outcome::Done);
    world.cancel(&world.operation(4));
    world.report(&world.operation(4), Outcome::Retry);
    world.delete(5, "hue", "hue");
    while world.report(&world.operation(5), Outcome::Done).is_some() {}
    let tenant = TenantId::from_random(1);
    world.ask(
        "r-1",
        1,
        Command::SuspendTenant {
            tenant: tenant.clone(),
            etag: String::new(),
        },
    );
    world.ask(
        "r-2",
        2,
        Command::ResumeTenant {
            tenant: tenant.clone(),
            etag: String::new(),
        },
    );
    world.ask(
        "r-3",
        3,
        Command::CreateRegion(Region {
            name: name("eu"),
            display_name: String::new(),
        }),
    );
    world.say(Command::FenceGroup { group: name("eu-1") });
    world.up("vn-1", false);
    world.mint("00000000000b", Role::Node, "node", None);
    let order = RedeemToken {
        id: TokenId::parse("00000000000b").unwrap(),
        secret_hash: [9; 32],
        csr_hash: [1; 32],
        node: Some(NodeAddresses {
            api: "127.0.0.1:7410".into(),
            peer: "127.0.0.1:7411".into(),
            known: Versions::KNOWN,
        }),
        expect: Expect::Node,
    };
    world.say_as(Actor::Joiner, Command::RedeemToken(order));
    world.mint("00000000000c", Role::Service, "portal", None);
    world.witness(&tenant);
    let grant = |serial: u64| Found {
        rule: Rule::Grant,
        tenant: Some(tenant.clone()),
        subject: format!("database {tenant}: CONNECT to role {serial}"),
        detail: String::new(),
    };
    world.find("vn-1", vec![grant(8), grant(9)]);
    world.find("vn-1", vec![grant(9)]);
    world.say(Command::SetAllowlist(Allow {
        tenant: tenant.clone(),
        operation: OperationId::from_random(6),
        etag: String::new(),
        allowlist: vec![Cidr::parse("10.1.0.0/16").unwrap()],
        turn: Turn::default(),
    }));
    for (token, who) in [("00000000000d", "lab"), ("00000000000e", "desk")] {
        world.mint(token, Role::Service, who, None);
        world.redeem(token, 9, 1, Expect::ServiceOrPerson);
        world.say_as(
            Actor::Principal(format!("spiffe://hospital/svc/{who}")),
            Command::ReadCredential(Read {
                tenant: tenant.clone(),
                slot: Slot::A,
                version: 1,
                instance: "reeve-0123456789abcdef".into(),
            }),
        );
    }
    world.report(&OperationId::from_random(6), Outcome::Done);
    for serial in [7, 8] {
        let credential = &world.state.tenants[&tenant].credential;
        let (slot, version) = (credential.active.other(), credential.version + 1);
        world.say(Command::RotateCredential(Rotate {
            tenant: tenant.clone(),
            operation: OperationId::from_random(serial),
            etag: String::new(),
            next: Next {
                version,
                slot,
                sealed: sealed(&format!("credential/{tenant}/{}/{version}", slot.letter())),
            },
            leaked: serial == 7,
            grace_ms: 600_000,
            turn: Turn::default(),
        }));
        world.report(&OperationId::from_random(serial), Outcome::Done);
        if serial == 7 {
            world.report(&OperationId::from_random(serial), Outcome::Done);
            world.say_as(
                Actor::Principal("spiffe://hospital/svc/lab".into()),
                Command::ReadCredential(Read {
                    tenant: tenant.clone(),
                    slot: Slot::B,
                    version: 2,
                    instance: String::new(),
                }),
            );
        }
    }
    world.say(Command::SetOperationLimits(SetLimits {
        limits: Limits {
            per_server: 4,
            per_region: 32,
        },
        instead_of: None,
    }));
    world.say(Command::ScanTenant(Scan {
        tenant: tenant.clone(),
        operation: OperationId::from_random(9),
        turn: Turn {
            queue: true,
            priority: Priority::Urgent,
        },
    }));
    let turned = Turned {
        tenant: tenant.clone(),
        cause: Some(Cause::TurnedAway),
        detail: "28P01".into(),
    };
    world.say(Command::ReportReadiness(ReportReadiness {
        agent: name("vn-1"),
        epoch: Epoch(1),
        turned: vec![turned],
    }));
    let raised = Raised {
        kind: Kind::PostgresDown,
        subject: "vn-1".into(),
        count: 1,
        detail: "of group vn-1".into(),
    };
    let report = ReportAlerts {
        raised: vec![raised.clone()],
        resolved: Vec::new(),
    };
    world.say_as(Actor::Pilot, Command::ReportAlerts(report));
    world.say(Command::AcknowledgeAlert(alert::Acknowledge {
        alert: raised.id(),
        note: "on my way".into(),
        undo: false,
    }));
    let through = world.state.revision;
    world.say_as(Actor::Pilot, Command::NoteTold(NoteTold { through }));
    let over = ReportAlerts {
        raised: Vec::new(),
        resolved: vec![raised.id()],
    };
    world.say_as(Actor::Pilot, Command::ReportAlerts(over));
    world.state.cluster.holders_since = Some(Stamp(1_000));
    world.state.leaps.push(Leap {
        from: Revision(2),
        to: Revision(3),
    });
    world.state
}

/// A new noun of State is written down here, too.
#[test]
fn a_state_with_every_noun_in_it_is_read_as_it_was_written() {
    gold::kept("state.v1/busy", &busy());
    gold::kept("state.v2/busy", &busy());
    gold::kept("state.v3/busy", &busy());
    let (now, state) = (busy(), gold::kept("state.v4/busy", &busy()));
    let new: Vec<String> = gold::paths(&now)
        .difference(&gold::paths(&state))
        .cloned()
        .collect();
    assert!(
        new.is_empty(),
        "no golden State holds {new:?}; add one beside `busy`, and think of the cluster version"
    );
    let State {
        revision,
        clock,
        cluster,
        policy_rev,
        nodes,
        next_node,
        regions,
        groups,
        tenants,
        tombstones,
        claims,
        placed,
        operations,
        open,
        queued,
        ended,
        principals,
        tokens,
        requests,
        heads,
        leaps,
        findings,
        holders,
        alerts,
        alerts_told,
    } = &state;
    let counts = [
        nodes.len(),
        regions.len(),
        groups.len(),
        tenants.len(),
        tombstones.len(),
        claims.len(),
        placed.len(),
        operations.len(),
        open.len(),
        queued.len(),
        ended.len(),
        principals.len(),
        tokens.len(),
        heads.len(),
        leaps.len(),
        findings.len(),
        holders.len(),
        alerts.len(),
    ];
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert!(revision.0 > 0 && clock.0 > 0 && *policy_rev > 0 && next_node.0 > 1 && cluster.version > 0);
    assert!(alerts_told.is_some());
    assert_ne!(requests, &Default::default());
    gold::check("state.v1/empty", &State::default());
}

#[test]
fn every_event_is_read_as_it_was_written() {
    let (tenant, operation) = (TenantId::from_random(1), OperationId::from_random(2));
    let resolution = Resolution {
        tenant: tenant.clone(),
        slug: Slug::parse("cho-ray").unwrap(),
        status: Status::Active,
        region: name("vn"),
        group: name("vn-1"),
        epoch: Epoch(3),
        number: PlacementNumber(2),
        role: "t_1_a".into(),
        credential_version: 4,
        write: vec![Endpoint {
            network: "default".into(),
            host: "vn-1.db".into(),
            port: 5432,
        }],
        schema_version: 6,
        claims: vec![Claim::Slug(Slug::parse("cho-ray").unwrap())],
        modified: Revision(7),
        unready: None,
    };
    let unready = Resolution {
        unready: Some(Unready {
            since: Stamp(8),
            cause: Cause::Full,
            detail: "53300".into(),
        }),
        ..resolution.clone()
    };
    gold::check("event.v4/Resolves", &Event::Resolves(Box::new(unready)));
    gold::check_all(
        "event.v1",
        &[
            Event::Resolves(Box::new(resolution)),
            Event::Gone(tenant),
            Event::Operation(operation),
            Event::Group(name("vn-1")),
            Event::Access("spiffe://hospital/svc/portal".into()),
            Event::Node,
        ],
    );
}

#[test]
fn every_answer_is_read_as_it_was_written() {
    let (tenant, operation) = (TenantId::from_random(1), OperationId::from_random(2));
    gold::check_all(
        "answer.v1",
        &[
            Answer::Done,
            Answer::Tenant(tenant.clone()),
            Answer::Operation { operation, tenant },
            Answer::Token(TokenId::parse("00000000000b").unwrap()),
            Answer::Redeemed(Redeemed {
                principal: "spiffe://hospital/agent/vn-1".into(),
                role: Role::Agent,
                name: name("vn-1"),
                region: Some(name("vn")),
                group: Some(name("vn-1")),
                node: Some(NodeId(3)),
            }),
            Answer::Region(name("vn")),
            Answer::Group(name("vn-1")),
            Answer::Principal("spiffe://hospital/svc/portal".into()),
            Answer::Witnessed {
                shard: "fleet".into(),
                sequence: 9,
            },
            Answer::Alert(AlertId::from_random(3)),
        ],
    );
}

#[test]
fn every_refusal_is_read_as_it_was_written() {
    let (tenant, operation) = (TenantId::from_random(1), OperationId::from_random(2));
    let text = || "x".to_owned();
    gold::check_all(
        "refusal.v1",
        &[
            Refusal::RequestIdReused,
            Refusal::TooManyRequestsRemembered,
            Refusal::field("slug", "is empty"),
            Refusal::TenantNotFound(text()),
            Refusal::WrongState {
                tenant: text(),
                state: text(),
                next: text(),
            },
            Refusal::ClaimTaken(Claim::Slug(Slug::parse("hue").unwrap())),
            Refusal::RegionUnknown(name("vn")),
            Refusal::NoCapacity {
                region: name("vn"),
                class: text(),
            },
            Refusal::GroupNotFound(text()),
            Refusal::OperationNotFound(text()),
            Refusal::OperationInProgress {
                tenant,
                operation: operation.clone(),
            },
            Refusal::OperationEnded(operation),
            Refusal::EtagMismatch(text()),
            Refusal::ConfirmationMissing(text()),
            Refusal::AlreadyExists(text()),
            Refusal::TokenInvalid,
            Refusal::TokenExpired,
            Refusal::TokenUsed,
            Refusal::Unauthenticated(text()),
            Refusal::PrincipalRevoked(text()),
            Refusal::PrincipalNotFound(text()),
            Refusal::LastAdmin(text()),
            Refusal::Fenced(text()),
            Refusal::NodeNotFound(9),
            Refusal::DiskFull(text()),
            Refusal::ClusterVersionTooLow {
                command: text(),
                needs: 2,
                is: 1,
                behind: text(),
            },
            Refusal::ProgramVersionUnfit {
                known: Versions { min: 1, max: 1 },
                is: 2,
            },
            Refusal::PolicyChanged,
            Refusal::AlertNotFound(text()),
            Refusal::QueueFull {
                of: text(),
                max: 1_000,
            },
            Refusal::NotIsolated {
                tenant: TenantId::from_random(1),
                finding: FindingId::from_random(3),
                what: text(),
            },
        ],
    );
}

#[test]
fn every_actor_is_read_as_it_was_written() {
    let principal = Actor::Principal(world::ADMIN.into());
    gold::check_all(
        "actor.v1",
        &[Actor::Founder, Actor::Pilot, Actor::Joiner, principal],
    );
}
