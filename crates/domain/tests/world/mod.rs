//! A cluster in memory, driven by words: what stories and properties share.
#![allow(dead_code, reason = "each test uses its own part of it")]

use std::collections::BTreeMap;

use reeve_domain::access::{Expect, MintToken, RedeemToken};
use reeve_domain::audit::Seed;
use reeve_domain::command::{Found, Witness};
use reeve_domain::entry::FORMAT;
use reeve_domain::group::{Endpoint, Facts, Region, ReportMember};
use reeve_domain::ids::TokenId;
use reeve_domain::isolation::{self, Found as Discovered};
use reeve_domain::operation::{Cancel, Limits, Outcome, Report, SetLimits, Timeout, Turn};
use reeve_domain::plan::{Sighting, Sightings};
use reeve_domain::policy::Role;
use reeve_domain::request::Key;
use reeve_domain::secret::{Parts, Sealed};
use reeve_domain::tenant::{Class, Create, Delete};
use reeve_domain::words::{Claim, Domain, Name, Slug};
use reeve_domain::{
    Actor, Applied, Command, Entry, NodeId, OperationId, RequestId, Stamp, State, TenantId, Versions, apply,
};

pub const ADMIN: &str = "spiffe://hospital/person/ann";

/// The state, the log that made it, and a clock that the story turns.
#[derive(Clone, Default)]
pub struct World {
    pub state: State,
    pub log: Vec<Entry>,
    pub applied: Vec<Applied>,
    pub now: u64,
    pub serial: u64,
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub fn sealed(aad: &str) -> Sealed {
    let parts = Parts {
        kid: "k1",
        version: 1,
        nonce: &[7; 12],
        aad,
        ciphertext: &[1, 2, 3],
    };
    Sealed::new(parts).unwrap()
}

impl World {
    /// A founded cluster with one ready agent in each region.
    pub fn with_regions(regions: &[&str]) -> World {
        let mut world = World {
            now: 1_000,
            ..World::default()
        };
        world.found(regions);
        for region in regions {
            let agent = format!("{region}-1");
            world.enrol(&agent, region);
            world.up(&agent, true);
        }
        world
    }

    /// Two tenants in one region and one in another, all served.
    pub fn hospital() -> World {
        let mut world = World::with_regions(&["vn", "eu"]);
        for (serial, slug, region) in [(1, "cho-ray", "vn"), (2, "bach-mai", "vn"), (3, "charite", "eu")] {
            world.create(serial, slug, region, None);
            while world
                .report(&OperationId::from_random(serial), Outcome::Done)
                .is_some()
            {}
        }
        world
    }

    /// How many operations may be at work.
    pub fn limit(&mut self, per_server: u32, per_region: u32) -> Applied {
        let limits = Limits {
            per_server,
            per_region,
        };
        self.say(Command::SetOperationLimits(SetLimits {
            limits,
            instead_of: None,
        }))
    }

    pub fn entry(&mut self, actor: Actor, request: Option<Key>, command: Command) -> Entry {
        self.serial += 1;
        let principal_rev = match &actor {
            Actor::Principal(id) => self.state.principals.get(id).map_or(0, |p| p.rev),
            _ => 0,
        };
        Entry {
            format: FORMAT,
            stamp: Stamp(self.now),
            actor,
            principal_rev,
            policy_rev: self.state.policy_rev,
            request,
            seed: Seed {
                salt: [self.serial as u8; 16],
                ..Seed::default()
            },
            command,
        }
    }

    pub fn run(&mut self, entry: Entry) -> Applied {
        let applied = apply(&mut self.state, &entry);
        self.log.push(entry);
        self.applied.push(applied.clone());
        applied
    }

    pub fn say(&mut self, command: Command) -> Applied {
        let entry = self.entry(Actor::Principal(ADMIN.into()), None, command);
        self.run(entry)
    }

    pub fn say_as(&mut self, actor: Actor, command: Command) -> Applied {
        let entry = self.entry(actor, None, command);
        self.run(entry)
    }

    pub fn ask(&mut self, id: &str, hash: u8, command: Command) -> Applied {
        let key = Key {
            id: RequestId::parse(id).unwrap(),
            hash: [hash; 32],
        };
        let entry = self.entry(Actor::Principal(ADMIN.into()), Some(key), command);
        self.run(entry)
    }

    pub fn found(&mut self, regions: &[&str]) -> Applied {
        let command = Command::Found(Found {
            cluster: name("hospital"),
            cluster_id: "c-1".into(),
            root_ca_pem: "root".into(),
            issuing_chain_pem: "chain".into(),
            issuing_key: sealed("issuing"),
            audit_key: sealed("audit/fleet"),
            regions: regions
                .iter()
                .map(|r| Region {
                    name: name(r),
                    display_name: r.to_uppercase(),
                })
                .collect(),
            admin: ADMIN.into(),
            node: NodeId(1),
            api_address: "127.0.0.1:7400".into(),
            peer_address: "127.0.0.1:7401".into(),
            version: Versions::KNOWN.max,
        });
        self.say_as(Actor::Founder, command)
    }

    pub fn mint(&mut self, id: &str, role: Role, who: &str, region: Option<&str>) -> Applied {
        self.mint_with(9, id, role, who, region)
    }

    pub fn mint_with(
        &mut self,
        secret: u8,
        id: &str,
        role: Role,
        who: &str,
        region: Option<&str>,
    ) -> Applied {
        self.say(Command::MintToken(MintToken {
            id: TokenId::parse(id).unwrap(),
            secret_hash: [secret; 32],
            role,
            name: name(who),
            region: region.map(name),
            group: None,
            tenants: Default::default(),
            ttl_ms: 600_000,
        }))
    }

    pub fn redeem(&mut self, id: &str, secret: u8, csr: u8, expect: Expect) -> Applied {
        let order = RedeemToken {
            id: TokenId::parse(id).unwrap(),
            secret_hash: [secret; 32],
            csr_hash: [csr; 32],
            node: None,
            expect,
        };
        self.say_as(Actor::Joiner, Command::RedeemToken(order))
    }

    pub fn enrol(&mut self, agent: &str, region: &str) -> Applied {
        let id = format!("{:012x}", 0xa000 + self.serial);
        self.mint(&id, Role::Agent, agent, Some(region));
        self.redeem(&id, 9, 1, Expect::Agent)
    }

    pub fn up(&mut self, agent: &str, up: bool) -> Applied {
        let endpoint = Endpoint {
            network: "default".into(),
            host: format!("{agent}.db"),
            port: 5432,
        };
        let facts = Facts {
            endpoints: vec![endpoint],
            postgres_version: "15.18".into(),
            postgres_up: up,
            system_identifier: "1".into(),
        };
        self.say(Command::ReportMember(ReportMember {
            agent: name(agent),
            facts,
        }))
    }

    pub fn order(&self, serial: u64, slug: &str, region: &str, domain: Option<&str>) -> Create {
        let id = TenantId::from_random(serial);
        Create {
            operation: OperationId::from_random(serial),
            slug: Slug::parse(slug).unwrap(),
            display_name: slug.into(),
            regions: vec![name(region)],
            class: Class::Shared,
            claims: domain
                .map(|d| Claim::Domain(Domain::parse(d).unwrap()))
                .into_iter()
                .collect(),
            channel: name("ehr"),
            target: 0,
            allowlist: vec![],
            connections_max: 50,
            settings: BTreeMap::new(),
            labels: BTreeMap::new(),
            credential_a: sealed(&format!("credential/{id}/a/1")),
            credential_b: sealed(&format!("credential/{id}/b/1")),
            audit_key: sealed(&format!("audit/{id}")),
            id,
            turn: Turn::default(),
        }
    }

    pub fn create(&mut self, serial: u64, slug: &str, region: &str, domain: Option<&str>) -> Applied {
        let order = self.order(serial, slug, region, domain);
        self.say(Command::CreateTenant(order))
    }

    pub fn delete(&mut self, serial: u64, slug: &str, confirm: &str) -> Applied {
        let tenant = self
            .state
            .find_tenant(slug)
            .map_or(TenantId::from_random(0), |t| t.id.clone());
        self.say(Command::DeleteTenant(Delete {
            tenant,
            operation: OperationId::from_random(serial),
            etag: String::new(),
            confirm: confirm.into(),
            turn: Turn::default(),
        }))
    }

    /// The report that the open step of an operation waits for.
    pub fn report_of(&self, operation: &OperationId, outcome: Outcome) -> Option<Report> {
        let operation = self.state.operations.get(operation)?;
        let (step, direction) = operation.open_step()?;
        let tenant = self.state.tenants.get(&operation.tenant)?;
        let group = self.state.groups.get(&tenant.placement.group)?;
        let failed = matches!(outcome, Outcome::Failed | Outcome::Retry);
        Some(Report {
            agent: group.primary.clone(),
            operation: operation.id.clone(),
            step: operation.cursor as u32,
            attempt: step.attempt,
            direction,
            epoch: group.epoch,
            outcome,
            proof: vec![format!("{} checked", step.goal.word())],
            error: if failed { "it broke".into() } else { String::new() },
            code: if failed { "42P01".into() } else { String::new() },
            schema_version: 6,
            schema_checksum: "c0ffee".into(),
        })
    }

    pub fn report(&mut self, operation: &OperationId, outcome: Outcome) -> Option<Applied> {
        let report = self.report_of(operation, outcome)?;
        Some(self.say_report(report))
    }

    pub fn say_report(&mut self, report: Report) -> Applied {
        let actor = Actor::Principal(format!("spiffe://hospital/agent/{}", report.agent));
        self.say_as(actor, Command::ReportStep(report))
    }

    pub fn timeout(&mut self, operation: &OperationId) -> Option<Applied> {
        let open = self.state.operations.get(operation)?;
        let (step, direction) = open.open_step()?;
        let order = Timeout {
            operation: operation.clone(),
            step: open.cursor as u32,
            attempt: step.attempt,
            direction,
        };
        Some(self.say_as(Actor::Pilot, Command::TimeoutStep(order)))
    }

    pub fn cancel(&mut self, operation: &OperationId) -> Applied {
        let order = Cancel {
            operation: operation.clone(),
            reason: "changed our mind".into(),
        };
        self.say(Command::CancelOperation(order))
    }

    pub fn witness(&mut self, tenant: &TenantId) -> Applied {
        self.say(Command::Witness(Witness {
            action: "credential.read".into(),
            resource: format!("tenant/{tenant}"),
            tenant: Some(tenant.clone()),
            detail: "v1 slot a".into(),
        }))
    }

    /// What a round of an agent's audit found; none when State knows it already.
    pub fn find(&mut self, agent: &str, found: Vec<Discovered>) -> Option<Applied> {
        let order = isolation::delta(&self.state, &name(agent), found, &isolation::Scope::default())?;
        let actor = Actor::Principal(format!("spiffe://hospital/agent/{agent}"));
        Some(self.say_as(actor, Command::ReportFindings(order)))
    }

    /// What a leader has heard that heard these agents just now.
    pub fn heard(&self, agents: &[&str]) -> Sightings {
        let seen = Sighting {
            seen: Stamp(self.now),
            lag_bytes: 0,
            connections: 0,
            audited: None,
        };
        let agents = agents.iter().map(|agent| (name(agent), seen.clone()));
        Sightings {
            agents: agents.collect(),
        }
    }

    /// The operation that holds, or held, a tenant.
    pub fn operation(&self, serial: u64) -> OperationId {
        OperationId::from_random(serial)
    }
}
