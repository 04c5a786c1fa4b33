//! A fleet whose watch is fed by hand: all of the way from a message to an answer, without a registry. Its pools lead to
//! wherever its tenants' answers do.
//!
//! Not a part of the API: it is for the benches and tests of this crate, and may change with any of them.

use std::time::Instant;

use reeve_proto::v1::{
    Endpoint, Freshness, Resolution, WatchResponse,
    claim::Kind,
    tenant::State,
    watch_response::{Bookmark, Delta, Event, InitialDone},
};

use crate::{Fleet, Limits, watch::Watch};

/// What makes a session as new, before another caller gets it.
pub const RESET: &str = crate::pools::RESET;

/// The watch's end that a node would hold.
pub struct Feed(Watch);

/// A fleet that knows what its feed says, and asks nobody.
pub fn fleet() -> (Fleet, Feed) {
    with_pools(Limits::default(), String::new())
}

/// The same, with pools of these limits, to servers where every role has this password.
pub fn with_pools(limits: Limits, password: String) -> (Fleet, Feed) {
    let (fleet, watch) = Fleet::told(limits, password);
    (fleet, Feed(watch))
}

impl Feed {
    /// Lists these tenants, as of `revision`.
    pub fn list(&self, tenants: impl IntoIterator<Item = Resolution>, revision: u64) {
        self.0.cache.listing_begins();
        for tenant in tenants {
            self.say(Event::Initial(tenant));
        }
        self.say(Event::InitialDone(InitialDone { revision }));
    }

    /// One tenant has changed at `revision`.
    pub fn change(&self, tenant: Resolution, revision: u64) {
        self.say(Event::Delta(Delta {
            revision,
            changed: vec![tenant],
            removed_tenant_ids: Vec::new(),
        }));
    }

    /// Nothing else has changed up to `revision`.
    pub fn bookmark(&self, revision: u64) {
        let freshness = Freshness {
            revision,
            staleness: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        self.say(Event::Bookmark(Bookmark {
            freshness: Some(freshness),
        }));
    }

    fn say(&self, event: Event) {
        let message = WatchResponse { event: Some(event) };
        // What would end the stream is not said here.
        let _ = self.0.take(message, Instant::now());
    }
}

/// A hospital as a node describes it: a slug and a domain, one of fifty groups.
pub fn hospital(number: u64, changed: u64) -> Resolution {
    let tenant = format!("t_{number:012x}");
    let group = format!("vn-{}", number % 50);
    let endpoint = |role: &str| Endpoint {
        network: "default".into(),
        host: format!("{role}.{group}.db.example"),
        port: 5432,
    };
    let claim = |kind: Kind, key| reeve_proto::v1::Claim {
        kind: kind.into(),
        key,
    };
    Resolution {
        slug: slug(number),
        state: State::Active.into(),
        region: "vn".into(),
        epoch: 3,
        placement_number: 2,
        database: tenant.clone(),
        role: format!("{tenant}_a"),
        credential_version: 4,
        write: Some(endpoint("a")),
        read: vec![endpoint("b"), endpoint("c")],
        // As long as one of an ECDSA root is.
        server_ca_pem: format!("-----BEGIN CERTIFICATE-----\n{group:A>600}\n-----END CERTIFICATE-----\n"),
        schema_version: 7,
        claims: vec![
            claim(Kind::Slug, slug(number)),
            claim(Kind::Domain, domain(number)),
        ],
        mod_revision: changed,
        tenant_id: tenant,
        group,
        ..Default::default()
    }
}

/// A hospital's slug.
pub fn slug(number: u64) -> String {
    format!("hospital-{number:06}")
}

/// A hospital's domain.
pub fn domain(number: u64) -> String {
    format!("hospital-{number:06}.example.vn")
}
