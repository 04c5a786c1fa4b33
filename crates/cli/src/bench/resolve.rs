//! Resolving: the tenants' domains, one after the other.

use std::sync::Arc;

use clap::ValueEnum;
use reeve_client::v1;
use reeve_client::v1::read_level::Level as Wire;
use reeve_client::v1::resolver_service_client::ResolverServiceClient;
use tonic::transport::Channel;

use super::load::{Load, drive};
use super::tally::Tally;
use super::target::reason_of;

/// How fresh each answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Within 10 s of what a quorum knows; what a client asks for unless told otherwise
    #[default]
    Bounded,
    /// Everything that was acknowledged before the call
    Linearizable,
    /// What the node has
    Stale,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Level::Bounded => "bounded",
            Level::Linearizable => "linearizable",
            Level::Stale => "stale",
        }
    }

    /// Bounded goes unsaid: the registry's own default is what clients meet.
    fn wire(self) -> Option<v1::ReadLevel> {
        let level = match self {
            Level::Bounded => return None,
            Level::Linearizable => Wire::Linearizable(Default::default()),
            Level::Stale => Wire::Stale(Default::default()),
        };
        Some(v1::ReadLevel { level: Some(level) })
    }
}

/// A domain of each tenant, or its slug where it has none.
pub fn claims(tenants: &[v1::Tenant]) -> Arc<[v1::Claim]> {
    let claim = |tenant: &v1::Tenant| {
        let mut claims = tenant.claims.iter();
        let domain = claims.find(|claim| claim.kind() == v1::claim::Kind::Domain);
        domain.cloned().unwrap_or_else(|| v1::Claim {
            kind: v1::claim::Kind::Slug.into(),
            key: tenant.slug.clone(),
        })
    };
    tenants.iter().map(claim).collect()
}

/// Resolves for a while. There must be a claim.
pub async fn measure(channels: &[Channel], claims: Arc<[v1::Claim]>, level: Level, load: &Load) -> Tally {
    drive(load, |worker| {
        let client = ResolverServiceClient::new(channels[worker % channels.len()].clone());
        let claims = claims.clone();
        move |number| {
            let mut client = client.clone();
            let asked = v1::ResolveRequest {
                claim: claims.get(number as usize % claims.len()).cloned(),
                read: level.wire(),
                ..Default::default()
            };
            async move {
                let answered = client.resolve(asked).await;
                answered.map(drop).map_err(|status| reason_of(&status))
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_asked_for_by_its_domain_or_else_by_its_slug() {
        let claim = |kind: v1::claim::Kind, key: &str| v1::Claim {
            kind: kind.into(),
            key: key.into(),
        };
        let tenant = |claims| v1::Tenant {
            slug: "a".into(),
            claims,
            ..Default::default()
        };
        let slug = claim(v1::claim::Kind::Slug, "a");
        let domain = claim(v1::claim::Kind::Domain, "a.example");
        let found = claims(&[tenant(vec![slug.clone(), domain.clone()]), tenant(vec![])]);
        assert_eq!(*found, [domain, slug]);
    }

    #[test]
    fn bounded_is_what_clients_get_unasked() {
        assert_eq!(Level::default().wire(), None);
        let level = Level::Linearizable.wire().and_then(|read| read.level);
        assert!(matches!(level, Some(Wire::Linearizable(_))));
    }
}
