//! A small registry without a node: State, the changes that led to it, and a file of both.

use std::time::{Duration, SystemTime};

use reeve_domain::access::MintToken;
use reeve_domain::audit::Seed;
use reeve_domain::command::{Found, Witness};
use reeve_domain::entry::FORMAT;
use reeve_domain::group::Region;
use reeve_domain::ids::TokenId;
use reeve_domain::policy::Role;
use reeve_domain::words::Name;
use reeve_domain::{Actor, Command, Entry, NodeId, Revision, Stamp, State, apply};
use reeve_proto::identity::ca;

use crate::archive::Change;
use crate::authority::{FLEET_AUDIT_KEY, ISSUING_KEY};
use crate::backup::{Copy, Header, header, save};
use crate::vault::{KeyProvider, RootKey};

pub(super) const KEY: [u8; 32] = [7; 32];
const ADMIN: &str = "spiffe://hospital/person/ann";

pub(super) fn key() -> RootKey {
    RootKey::new(&KEY)
}

#[derive(Default)]
pub(super) struct World {
    pub(super) state: State,
    pub(super) changes: Vec<Change>,
}

impl World {
    /// Founded, with some regions and tokens.
    pub(super) fn busy() -> World {
        let mut world = World::default();
        // Authorities that begin in sixty years: a file of today can still be restored then.
        let later = SystemTime::now() + Duration::from_secs(60 * 365 * 86_400);
        let root = ca::root("hospital", later).unwrap();
        let issuing = ca::issuing(&root, "hospital", later).unwrap();
        let seal = |place: &str, plain: &[u8]| key().seal(place, plain).unwrap();
        world.say(
            Actor::Founder,
            Command::Found(Found {
                cluster: Name::parse("hospital").unwrap(),
                cluster_id: "c-1".into(),
                root_ca_pem: root.cert_pem.clone(),
                issuing_chain_pem: format!("{}{}", issuing.cert_pem, root.cert_pem),
                issuing_key: seal(ISSUING_KEY, issuing.key_pem.as_bytes()),
                audit_key: seal(FLEET_AUDIT_KEY, &[3; 32]),
                regions: vec![region("vn")],
                admin: ADMIN.into(),
                node: NodeId(1),
                api_address: "127.0.0.1:7400".into(),
                peer_address: "127.0.0.1:7401".into(),
                version: reeve_domain::Versions::KNOWN.max,
            }),
        );
        for number in 0..6 {
            world.ask(Command::CreateRegion(region(&format!("r{number}"))));
            world.ask(Command::MintToken(MintToken {
                id: TokenId::parse(&format!("{number:012x}")).unwrap(),
                secret_hash: [1; 32],
                role: Role::Service,
                name: Name::parse("cho-ray").unwrap(),
                region: None,
                group: None,
                tenants: Default::default(),
                ttl_ms: 1_000,
            }));
        }
        world.ask(Command::Witness(Witness {
            action: "snapshot.save".into(),
            resource: "cluster".into(),
            tenant: None,
            detail: String::new(),
        }));
        world
    }

    pub(super) fn ask(&mut self, command: Command) {
        self.say(Actor::Principal(ADMIN.into()), command);
    }

    fn say(&mut self, actor: Actor, command: Command) {
        let founded = !self.state.cluster.id.is_empty();
        let entry = Entry {
            format: FORMAT,
            stamp: Stamp(1_000 + self.changes.len() as u64),
            actor,
            principal_rev: u64::from(founded),
            policy_rev: self.state.policy_rev,
            request: None,
            seed: Seed::default(),
            command,
        };
        let applied = apply(&mut self.state, &entry);
        assert!(applied.outcome.is_ok(), "{applied:?}");
        self.changes.extend(Change::of(&applied));
    }

    pub(super) fn header(&self) -> Header {
        header(&self.state, 1, SystemTime::UNIX_EPOCH + Duration::from_secs(5))
    }

    pub(super) fn save(&self) -> Vec<u8> {
        self.save_as(&self.header(), &self.changes)
    }

    /// Whatever is told, sealed as if it were true.
    pub(super) fn save_as(&self, header: &Header, changes: &[Change]) -> Vec<u8> {
        let mut file = Vec::new();
        let copy = Copy {
            state: &self.state,
            changes: &mut |from: Revision| {
                let rest = changes.iter().filter(|change| change.revision >= from);
                Ok(rest.take(5).cloned().collect())
            },
            said: &mut |_| {},
        };
        save(&mut file, &key(), header, copy).unwrap();
        file
    }
}

fn region(name: &str) -> Region {
    Region {
        name: Name::parse(name).unwrap(),
        display_name: name.to_uppercase(),
    }
}
