//! Every command that was ever released, as the bytes it had then. A file is added, never changed:
//! `UPDATE=1` writes only those that are missing.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reeve_domain::access::{Expect, MintToken, NodeAddresses, RedeemToken};
use reeve_domain::audit::Seed;
use reeve_domain::command::{Found, Witness};
use reeve_domain::digest;
use reeve_domain::entry::FORMAT;
use reeve_domain::group::{Endpoint, Facts, Region, ReportMember};
use reeve_domain::ids::TokenId;
use reeve_domain::operation::{Cancel, Direction, Outcome, Report, Timeout};
use reeve_domain::policy::Role;
use reeve_domain::request::Key;
use reeve_domain::tenant::{Delete, Setting, Update};
use reeve_domain::version::RaiseVersion;
use reeve_domain::words::{Cidr, Claim};
use reeve_domain::{Actor, Command, Entry, Epoch, NodeId, OperationId, RequestId, Stamp, TenantId, Versions};
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
        Command::Found(Found {
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
    ]
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

fn word(command: &Command) -> String {
    let text = format!("{command:?}");
    text.split([' ', '(', '{']).next().unwrap().to_owned()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn every_released_command_is_read_as_it_was_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let mut words = BTreeSet::new();
    for command in commands() {
        let path = folder.join(format!("{}.hex", word(&command)));
        let bytes = rmp_serde::to_vec_named(&entry(command.clone())).unwrap();
        if std::env::var_os("UPDATE").is_some() && !path.exists() {
            std::fs::create_dir_all(&folder).unwrap();
            let lines: Vec<String> = bytes.chunks(40).map(digest::hex).collect();
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        }
        let golden = unhex(&std::fs::read_to_string(&path).unwrap());
        let read: Entry = rmp_serde::from_slice(&golden).unwrap();
        assert_eq!(read, entry(command.clone()), "{}", path.display());
        assert_eq!(golden, bytes, "{} is written in another way now", path.display());
        words.insert(word(&command));
    }
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(
        (words.len(), files),
        (19, 19),
        "a command without its golden file, or a file without its command"
    );
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
