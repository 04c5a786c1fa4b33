//! Every command that was ever released, as the bytes it had then. A file is added, never changed:
//! `UPDATE=1` writes only those that are missing.

mod gold;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use reeve_domain::access::{Expect, MintToken, NodeAddresses, RedeemToken};
use reeve_domain::alert::{self, Kind, NoteTold, Raised, ReportAlerts, TestAlert};
use reeve_domain::audit::Seed;
use reeve_domain::command::{Found as Founding, Witness};
use reeve_domain::credential::{Acknowledge, Next, Read, Slot};
use reeve_domain::entry::FORMAT;
use reeve_domain::group::{Endpoint, Facts, Region, ReportMember};
use reeve_domain::health::{Cause, ReportReadiness, Turned};
use reeve_domain::ids::{AlertId, FindingId, TokenId};
use reeve_domain::isolation::{Found, ReportFindings, Rule};
use reeve_domain::operation::{
    Allow, Begin, Cancel, Direction, Limits, Outcome, Priority, Report, Retry, Rotate, Scan, SetLimits,
    Timeout, Turn,
};
use reeve_domain::policy::Role;
use reeve_domain::request::Key;
use reeve_domain::tenant::{Create, Delete, Setting, Update};
use reeve_domain::version::{self, RaiseVersion};
use reeve_domain::words::{Cidr, Claim};
use reeve_domain::{
    Actor, Command, Entry, Epoch, NodeId, OperationId, RequestId, Revision, Stamp, TenantId, Versions,
};
use world::{ADMIN, World, name, sealed};

fn commands() -> Vec<Command> {
    let (tenant, operation) = (TenantId::from_random(1), OperationId::from_random(2));
    let token = TokenId::parse("00000000000a").unwrap();
    let mut create = World::default().order(1, "cho-ray", "vn", Some("cho-ray.ehr.vn"));
    create.claims.push(Claim::header("X-Tenant: cho-ray").unwrap());
    create
        .claims
        .push(Claim::subject("https://id.example|42").unwrap());
    create.allowlist = vec![
        Cidr::parse("10.1.0.0/16").unwrap(),
        Cidr::parse("2001:db8::/32").unwrap(),
    ];
    create.settings = BTreeMap::from([
        ("beds".into(), Setting::Int(900)),
        ("lang".into(), Setting::Text("vi".into())),
        ("teaching".into(), Setting::Bool(true)),
    ]);
    create.labels = BTreeMap::from([("tier".into(), "gold".into())]);
    let facts = Facts {
        endpoints: vec![Endpoint {
            network: "default".into(),
            host: "vn-1.db".into(),
            port: 5432,
        }],
        postgres_version: "15.18".into(),
        postgres_up: true,
        system_identifier: "7301".into(),
    };
    vec![
        Command::Found(Founding {
            cluster: name("hospital"),
            cluster_id: "c-1".into(),
            root_ca_pem: "root".into(),
            issuing_chain_pem: "chain".into(),
            issuing_key: sealed("issuing"),
            audit_key: sealed("audit/fleet"),
            regions: vec![Region {
                name: name("vn"),
                display_name: "Việt Nam".into(),
            }],
            admin: ADMIN.into(),
            node: NodeId(1),
            api_address: "127.0.0.1:7400".into(),
            peer_address: "127.0.0.1:7401".into(),
            version: version::FIRST,
        }),
        Command::CreateRegion(Region {
            name: name("eu"),
            display_name: "Europe".into(),
        }),
        Command::MintToken(MintToken {
            id: token.clone(),
            secret_hash: [9; 32],
            role: Role::Service,
            name: name("portal"),
            region: Some(name("vn")),
            group: Some(name("vn-1")),
            tenants: BTreeSet::from([tenant.clone()]),
            ttl_ms: 600_000,
        }),
        Command::RedeemToken(RedeemToken {
            id: token,
            secret_hash: [9; 32],
            csr_hash: [8; 32],
            node: Some(NodeAddresses {
                api: "127.0.0.1:7410".into(),
                peer: "127.0.0.1:7411".into(),
                known: Versions { min: 1, max: 2 },
            }),
            expect: Expect::Node,
        }),
        Command::RevokePrincipal {
            principal: "spiffe://hospital/person/vera".into(),
        },
        Command::RemoveNode { node: NodeId(3) },
        Command::CreateTenant(create),
        Command::UpdateTenant(Update {
            tenant: tenant.clone(),
            etag: "t_000000000001.7".into(),
            display_name: Some("Chợ Rẫy".into()),
            labels: Some(BTreeMap::new()),
            settings: None,
        }),
        Command::SuspendTenant {
            tenant: tenant.clone(),
            etag: String::new(),
        },
        Command::ResumeTenant {
            tenant: tenant.clone(),
            etag: String::new(),
        },
        Command::DeleteTenant(Delete {
            tenant: tenant.clone(),
            operation: operation.clone(),
            etag: String::new(),
            confirm: "cho-ray".into(),
            turn: Turn::default(),
        }),
        Command::ReportMember(ReportMember {
            agent: name("vn-1"),
            facts,
        }),
        Command::FenceGroup { group: name("vn-1") },
        Command::UnfenceGroup { group: name("vn-1") },
        Command::ReportStep(Report {
            agent: name("vn-1"),
            operation: operation.clone(),
            step: 3,
            attempt: 2,
            direction: Direction::Undo,
            epoch: Epoch(4),
            outcome: Outcome::AlreadyTrue,
            proof: vec!["database absent".into()],
            error: String::new(),
            code: "00000".into(),
            schema_version: 6,
            schema_checksum: "c0ffee".into(),
        }),
        Command::TimeoutStep(Timeout {
            operation: operation.clone(),
            step: 3,
            attempt: 1,
            direction: Direction::Forward,
        }),
        Command::CancelOperation(Cancel {
            operation,
            reason: "by mistake".into(),
        }),
        Command::Witness(Witness {
            action: "credential.read".into(),
            resource: format!("tenant/{tenant}"),
            tenant: Some(tenant),
            detail: "v1 slot a".into(),
        }),
        Command::RaiseVersion(RaiseVersion {
            to: 2,
            known: BTreeMap::from([
                (NodeId(1), Versions { min: 1, max: 2 }),
                (NodeId(3), Versions { min: 1, max: 3 }),
            ]),
        }),
        Command::ReportFindings(ReportFindings {
            agent: name("vn-1"),
            opened: vec![Found {
                rule: Rule::Grant,
                tenant: Some(TenantId::from_random(1)),
                subject: "database t_000000000001: CONNECT to t_000000000002_a".into(),
                detail: "granted by somebody".into(),
            }],
            closed: vec![FindingId::from_random(3)],
        }),
        Command::RetryOperation(Retry {
            operation: OperationId::from_random(2),
            reason: "the disk has room again".into(),
        }),
        Command::SetAllowlist(Allow {
            tenant: TenantId::from_random(1),
            operation: OperationId::from_random(2),
            etag: "t_000000000001.7".into(),
            allowlist: vec![Cidr::parse("10.1.0.0/16").unwrap()],
            turn: Turn::default(),
        }),
        Command::ScanTenant(Scan {
            tenant: TenantId::from_random(1),
            operation: OperationId::from_random(2),
            turn: Turn::default(),
        }),
        Command::ReportReadiness(ReportReadiness {
            agent: name("vn-1"),
            epoch: Epoch(2),
            turned: vec![Turned {
                tenant: TenantId::from_random(1),
                cause: Some(Cause::TurnedAway),
                detail: "28P01".into(),
            }],
        }),
        Command::BeginOperation(Begin {
            operation: OperationId::from_random(5),
        }),
        Command::ReportAlerts(ReportAlerts {
            raised: vec![Raised {
                kind: Kind::TenantsNotReady,
                subject: "vn-1".into(),
                count: 1,
                detail: "t_000000000001 turned away".into(),
            }],
            resolved: vec![AlertId::from_random(3)],
        }),
        Command::NoteTold(NoteTold {
            through: Revision(12),
        }),
        Command::AcknowledgeAlert(alert::Acknowledge {
            alert: AlertId::from_random(3),
            note: "on my way".into(),
            undo: true,
        }),
        Command::TestAlert(TestAlert { note: "drill".into() }),
        Command::SetOperationLimits(SetLimits {
            limits: Limits {
                per_server: 4,
                per_region: 32,
            },
            instead_of: Some(Limits::default()),
        }),
        Command::RotateCredential(Rotate {
            tenant: TenantId::from_random(1),
            operation: OperationId::from_random(2),
            etag: "t_000000000001.7".into(),
            next: Next {
                version: 2,
                slot: Slot::B,
                sealed: sealed("credential/t_000000000001/b/2"),
            },
            leaked: true,
            grace_ms: 600_000,
            turn: Turn::default(),
        }),
        Command::ReadCredential(Read {
            tenant: TenantId::from_random(1),
            slot: Slot::A,
            version: 1,
            instance: "reeve-0123456789abcdef".into(),
        }),
        Command::AcknowledgeCredential(Acknowledge {
            tenant: TenantId::from_random(1),
            version: 2,
            instance: "reeve-0123456789abcdef".into(),
        }),
    ]
}

/// What came to commands that were there before.
fn grown() -> Vec<(&'static str, Command)> {
    let found = commands().into_iter().find_map(|command| match command {
        Command::Found(found) => Some(Command::Found(Founding { version: 2, ..found })),
        _ => None,
    });
    let turn = Turn {
        queue: true,
        priority: Priority::Urgent,
    };
    let turned = commands().into_iter().filter_map(|command| match command {
        Command::CreateTenant(order) => Some((
            "CreateTenant.turn",
            Command::CreateTenant(Create { turn, ..order }),
        )),
        Command::DeleteTenant(order) => Some((
            "DeleteTenant.turn",
            Command::DeleteTenant(Delete { turn, ..order }),
        )),
        Command::ScanTenant(order) => Some(("ScanTenant.turn", Command::ScanTenant(Scan { turn, ..order }))),
        Command::SetAllowlist(order) => Some((
            "SetAllowlist.turn",
            Command::SetAllowlist(Allow { turn, ..order }),
        )),
        Command::RotateCredential(order) => Some((
            "RotateCredential.turn",
            Command::RotateCredential(Rotate { turn, ..order }),
        )),
        _ => None,
    });
    let mut grown: Vec<_> = turned.collect();
    grown.push(("Found.version", found.unwrap()));
    grown
}

fn entry(command: Command) -> Entry {
    Entry {
        format: FORMAT,
        stamp: Stamp(1_700_000_000_000),
        actor: Actor::Principal(ADMIN.into()),
        principal_rev: 2,
        policy_rev: 1,
        request: Some(Key {
            id: RequestId::parse("r-1").unwrap(),
            hash: [7; 32],
        }),
        seed: Seed {
            salt: [5; 16],
            personal: Some(sealed("audit/fleet")),
            reason: "because".into(),
            trace_id: "t-1".into(),
            certificate: Some([6; 32]),
        },
        command,
    }
}

/// A new command has its file, and one that went away is still read.
#[test]
fn every_released_command_is_read_as_it_was_written() {
    let mut words = BTreeSet::new();
    for command in commands() {
        let word = version::name(&command).to_owned();
        assert_eq!(word, gold::word(&command));
        gold::check(&format!("v1/{word}"), &entry(command));
        words.insert(word);
    }
    let known: BTreeSet<String> = gold::variants::<Command>()
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(words, known, "a command without its golden file");
    let files = std::fs::read_dir(gold::folder().join("v1")).unwrap().count();
    assert_eq!(files, words.len(), "a golden file without its command");
    for (what, command) in grown() {
        gold::check(&format!("grown/{what}"), &entry(command));
    }
}

/// Everything that may stand in an entry, with the cluster version since which it may: a new field or variant gets a
/// line of its own, and whoever writes that line thinks about the version.
#[test]
fn every_field_and_variant_says_since_which_version_it_may_be_written() {
    let path = gold::folder().join("since.txt");
    let mut known: BTreeMap<String, u32> = BTreeMap::new();
    for line in std::fs::read_to_string(&path).unwrap_or_default().lines() {
        let (since, what) = line.split_once(' ').unwrap();
        known.insert(what.to_owned(), since.parse().unwrap());
    }
    let mut written: BTreeMap<String, u32> = BTreeMap::new();
    for command in commands()
        .into_iter()
        .chain(grown().into_iter().map(|(_, command)| command))
    {
        let since = version::since(&command);
        for path in gold::paths(&entry(command)) {
            let least = written.entry(path).or_insert(since);
            *least = since.min(*least);
        }
    }
    for variant in variants() {
        written.entry(variant).or_insert(Versions::KNOWN.max);
    }
    if gold::updates() {
        let newest = Versions::KNOWN.max;
        written.keys().for_each(|what| {
            known.entry(what.clone()).or_insert(newest);
        });
        let lines: Vec<String> = known
            .iter()
            .map(|(what, since)| format!("{since} {what}"))
            .collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    for (what, proposed) in &written {
        let since = known
            .get(what)
            .unwrap_or_else(|| panic!("{what} has no line in since.txt"));
        assert!(
            since <= proposed,
            "{what} is of version {since}, and version::since lets its command in at {proposed}"
        );
    }
    let gone: Vec<&String> = known.keys().filter(|what| !written.contains_key(*what)).collect();
    assert!(
        gone.is_empty(),
        "old logs hold {gone:?}, and nothing reads it any more"
    );
}

fn variants() -> Vec<String> {
    fn of<T: serde::de::DeserializeOwned>(name: &str) -> Vec<String> {
        let all = gold::variants::<T>().into_iter();
        all.map(|variant| format!("{name}::{variant}")).collect()
    }
    [
        of::<Command>("Command"),
        of::<Actor>("Actor"),
        of::<reeve_domain::access::Expect>("Expect"),
        of::<Claim>("Claim"),
        of::<Direction>("Direction"),
        of::<Outcome>("Outcome"),
        of::<Role>("Role"),
        of::<Setting>("Setting"),
        of::<reeve_domain::tenant::Class>("Class"),
        // What applying leaves in State and in the archive.
        of::<reeve_domain::Answer>("Answer"),
        of::<reeve_domain::Event>("Event"),
        of::<reeve_domain::Refusal>("Refusal"),
        of::<reeve_domain::operation::Goal>("Goal"),
        of::<reeve_domain::operation::Kind>("Kind"),
        of::<reeve_domain::operation::Status>("operation::Status"),
        of::<reeve_domain::operation::StepState>("StepState"),
        of::<reeve_domain::operation::Addressee>("Addressee"),
        of::<reeve_domain::operation::Wait>("Wait"),
        of::<reeve_domain::group::MemberStatus>("MemberStatus"),
        of::<reeve_domain::policy::Scope>("Scope"),
        of::<reeve_domain::tenant::AccessMode>("AccessMode"),
        of::<Slot>("Slot"),
        of::<reeve_domain::tenant::Status>("tenant::Status"),
        of::<Rule>("Rule"),
        of::<reeve_domain::operation::Wanted>("Wanted"),
        of::<Priority>("Priority"),
        of::<Cause>("Cause"),
    ]
    .concat()
}

#[test]
fn an_update_and_a_revocation_do_what_they_say() {
    let mut world = World::with_regions(&["vn"]);
    world.create(1, "cho-ray", "vn", None);
    let tenant = TenantId::from_random(1);
    let etag = world.state.tenants[&tenant].etag();
    let update = |etag: String, beds: usize| {
        Command::UpdateTenant(Update {
            tenant: TenantId::from_random(1),
            etag,
            display_name: Some("Chợ Rẫy".into()),
            labels: Some((0..beds).map(|i| (format!("l{i}"), "x".into())).collect()),
            settings: Some(BTreeMap::from([("beds".into(), Setting::Int(900))])),
        })
    };
    assert!(
        world.say(update(etag.clone(), 100)).outcome.is_err(),
        "too many labels"
    );
    assert!(world.say(update(etag.clone(), 2)).outcome.is_ok());
    assert!(world.say(update(etag, 2)).outcome.is_err(), "a stale etag");
    let changed = &world.state.tenants[&tenant];
    assert_eq!(
        (changed.display_name.as_str(), changed.labels.len()),
        ("Chợ Rẫy", 2)
    );

    let region = Region {
        name: name("eu"),
        display_name: String::new(),
    };
    assert!(world.say(Command::CreateRegion(region.clone())).outcome.is_ok());
    assert!(world.say(Command::CreateRegion(region)).outcome.is_err());
    assert!(
        world
            .say(Command::RemoveNode { node: NodeId(9) })
            .outcome
            .is_err()
    );
    assert!(
        world
            .say(Command::RemoveNode { node: NodeId(1) })
            .outcome
            .is_err(),
        "the only node"
    );

    // A revocation between asking and deciding holds.
    world.mint("00000000000a", Role::Admin, "bo", None);
    world.redeem("00000000000a", 9, 1, Expect::ServiceOrPerson);
    let bo = "spiffe://hospital/person/bo";
    let late = world.entry(
        Actor::Principal(bo.into()),
        None,
        Command::FenceGroup { group: name("vn-1") },
    );
    world.say(Command::RevokePrincipal { principal: bo.into() });
    let said = world.run(late);
    assert_eq!(
        said.outcome.unwrap_err().to_string(),
        format!("the rights of {bo} have changed; sign in again")
    );
    let stranger = Actor::Principal("spiffe://hospital/person/eve".into());
    assert!(
        world
            .say_as(stranger, Command::FenceGroup { group: name("vn-1") })
            .outcome
            .is_err()
    );
    let second = world.found(&["us"]);
    assert!(second.outcome.is_err(), "a cluster is founded once");
}
