//! What has a story: something taken, stale, spent, of another query, or too much of it.

use std::future::Future;

use anyhow::{Context, Result};
use reeve_bad::call::Outcome;
use reeve_bad::hostile::Expect;
use reeve_bad::judge::{self, Ends};
use reeve_bad::world::{Who, World};
use reeve_client::v1::access_service_client::AccessServiceClient;
use reeve_client::v1::agent_service_client::AgentServiceClient;
use reeve_client::v1::tenant_service_client::TenantServiceClient;
use reeve_client::v1::{self, CreateTenantRequest, Role};
use reeve_client::{JoinToken, KeyRequest};
use reeve_local::until;
use reeve_proto::error::Reason;
use tonic::{Response, Status};

use crate::{Tally, Watch};

/// As many as nobody may send.
const BATCH: usize = 10_000;
/// A moment of the year 2024.
const OLD_ID: &str = "018cc251-f400-7000-8000-000000000000";

pub struct Special<'a> {
    world: &'a World,
    watch: &'a mut Watch,
    tally: &'a mut Tally,
}

pub async fn play(world: &World, watch: &mut Watch, tally: &mut Tally) -> Result<()> {
    let mut special = Special { world, watch, tally };
    special.words().await?;
    special.claims_and_places().await?;
    special.requests().await?;
    special.pages().await?;
    special.much().await?;
    special.tokens().await?;
    special.rights().await
}

impl Special<'_> {
    async fn refused<T>(
        &mut self,
        name: &str,
        expect: Expect,
        asked: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<()> {
        let outcome = match asked.await {
            Ok(_) => Outcome::Done,
            Err(status) => Outcome::Refused(status),
        };
        let mut faults = judge::faults(&expect, &Ends::Done, &outcome);
        faults.extend(self.watch.changes().await?);
        self.tally.note(name, faults, &format!("{outcome:?}"));
        Ok(())
    }

    async fn create(
        &mut self,
        name: &str,
        expect: Expect,
        change: impl FnOnce(&mut CreateTenantRequest),
    ) -> Result<()> {
        let mut order = reeve_local::tenants::order("da-nang", "da-nang.example", "vn", "ehr");
        change(&mut order);
        let mut tenants = self.world.api()?.tenants();
        self.refused(name, expect, tenants.create_tenant(order)).await
    }

    /// Words that are nearly right.
    async fn words(&mut self) -> Result<()> {
        for slug in ["-a", "a-", "a_b", "chợ-rẫy", "a.b", &"a".repeat(41)] {
            let order = |order: &mut CreateTenantRequest| order.slug = slug.to_owned();
            self.create(&format!("slug {slug:?}"), field("slug"), order)
                .await?;
        }
        let long = format!("{}.example", ["a"; 130].join("."));
        for domain in [
            "-a.example",
            "a..example",
            ".example",
            "a.example/",
            "ex ample",
            "10.0.0.1",
            "a:b",
            "http://a.example",
            &format!("{}.example", "a".repeat(64)),
            &long,
            "bệnh-viện.example",
        ] {
            let order = |order: &mut CreateTenantRequest| order.claims[0].key = domain.to_owned();
            self.create(&format!("domain {domain:?}"), field("claims[0].key"), order)
                .await?;
        }
        for header in [
            "X-Tenant",
            "X-Tenant:",
            ": a",
            "X Tenant: a",
            "X-Tenant: a\r\nX-Admin: b",
            "X-Tenant: a b",
            "X-Tenant: \u{0}",
            &format!("X-Tenant: {}", "a".repeat(129)),
        ] {
            let key = claim(v1::claim::Kind::Header, header);
            let asked = v1::ResolveRequest {
                claim: Some(key),
                ..Default::default()
            };
            let channel = self.world.channel(Who::Service)?;
            let mut resolver = v1::resolver_service_client::ResolverServiceClient::new(channel);
            let name = format!("header {header:?}");
            self.refused(&name, field("claim.key"), resolver.resolve(asked))
                .await?;
        }
        for cidr in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8 ",
            "010.0.0.0/8",
            "10.0.0/8",
            "10.0.0.0/8/8",
            "::ffff:0:1/64",
            "localhost",
            "0x0a000000/8",
        ] {
            let order = |order: &mut CreateTenantRequest| order.allowlist_cidrs = vec![cidr.to_owned()];
            self.create(&format!("cidr {cidr:?}"), field("allowlist_cidrs[0]"), order)
                .await?;
        }
        Ok(())
    }

    async fn claims_and_places(&mut self) -> Result<()> {
        let taken = Expect::Reason(Reason::ClaimTaken);
        self.create("a slug that is taken", taken.clone(), |order| {
            order.slug = "cho-ray".to_owned()
        })
        .await?;
        self.create("a domain that is taken", taken, |order| {
            order.claims[0].key = "Cho-Ray.example.".to_owned();
        })
        .await?;
        let home = |region: &'static str| {
            move |order: &mut CreateTenantRequest| {
                order.region_policy = Some(v1::RegionPolicy {
                    home: region.to_owned(),
                    allowed: Vec::new(),
                });
            }
        };
        self.create(
            "an unknown region",
            Expect::Reason(Reason::RegionUnknown),
            home("mars"),
        )
        .await?;
        self.create(
            "a region without room",
            Expect::Reason(Reason::NoCapacity),
            home("eu"),
        )
        .await?;
        self.create(
            "nobody has an instance to itself",
            Expect::Reason(Reason::NoCapacity),
            |order| {
                order.class = v1::tenant::Class::Dedicated.into();
            },
        )
        .await
    }

    async fn requests(&mut self) -> Result<()> {
        let region = |name: &str, id: &str| v1::CreateRegionRequest {
            request_id: id.to_owned(),
            region: Some(v1::Region {
                name: name.to_owned(),
                ..Default::default()
            }),
        };
        let mut groups = self.world.api()?.groups();
        let reused = Expect::Reason(Reason::RequestIdReused);
        let used = World::USED_ID;
        self.refused(
            "a request said twice is one",
            Expect::Legal,
            groups.clone().create_region(region("eu", used)),
        )
        .await?;
        self.refused(
            "its id for another region",
            reused.clone(),
            groups.create_region(region("us", used)),
        )
        .await?;
        self.create("its id for another call", reused, |order| {
            order.request_id = used.to_owned()
        })
        .await?;
        self.create("an id of long ago", field("request_id"), |order| {
            order.request_id = OLD_ID.to_owned();
        })
        .await?;
        let mut tenants = self.world.api()?.tenants();
        let stale = v1::SuspendTenantRequest {
            request_id: reeve_client::request_id(),
            tenant: "bach-mai".to_owned(),
            etag: format!("{}.1", self.world.tenant),
            ..Default::default()
        };
        self.refused(
            "an etag of before",
            Expect::Reason(Reason::EtagMismatch),
            tenants.suspend_tenant(stale),
        )
        .await?;
        let delete = v1::DeleteTenantRequest {
            request_id: reeve_client::request_id(),
            tenant: "bach-mai".to_owned(),
            confirm: "cho-ray".to_owned(),
            ..Default::default()
        };
        let missing = Expect::Reason(Reason::ConfirmationMissing);
        self.refused(
            "another tenant's name to confirm",
            missing,
            tenants.delete_tenant(delete),
        )
        .await
    }

    async fn pages(&mut self) -> Result<()> {
        let mut tenants = self.world.api()?.tenants();
        let page = |token: &str, region: &str| v1::ListTenantsRequest {
            page_size: 1,
            page_token: token.to_owned(),
            region: region.to_owned(),
            ..Default::default()
        };
        let token = tenants
            .list_tenants(page("", ""))
            .await?
            .into_inner()
            .next_page_token;
        anyhow::ensure!(!token.is_empty(), "there is a second page");
        self.refused(
            "the next page",
            Expect::Legal,
            tenants.clone().list_tenants(page(&token, "")),
        )
        .await?;
        for (name, token, region) in [
            ("a token of another query", token.clone(), "vn"),
            ("a token cut short", token[..token.len() - 3].to_owned(), ""),
            ("a token with more behind it", format!("{token}AAAA"), ""),
        ] {
            self.refused(
                name,
                field("page_token"),
                tenants.clone().list_tenants(page(&token, region)),
            )
            .await?;
        }
        let mut operations = self.world.api()?.operations();
        let asked = v1::ListOperationsRequest {
            page_token: token,
            ..Default::default()
        };
        self.refused(
            "a token of another call",
            field("page_token"),
            operations.list_operations(asked),
        )
        .await
    }

    async fn much(&mut self) -> Result<()> {
        let claims = vec![claim(v1::claim::Kind::Slug, "cho-ray"); BATCH];
        let asked = v1::BatchResolveRequest {
            claims,
            ..Default::default()
        };
        let channel = self.world.channel(Who::Service)?;
        let mut resolver = v1::resolver_service_client::ResolverServiceClient::new(channel);
        self.refused(
            "a batch of ten thousand",
            field("claims"),
            resolver.batch_resolve(asked),
        )
        .await?;
        self.create("ten thousand ranges", field("allowlist_cidrs"), |order| {
            order.allowlist_cidrs = (0..BATCH)
                .map(|i| format!("10.{}.{}.0/24", i / 256, i % 256))
                .collect();
        })
        .await?;
        self.create("ten thousand regions", field("region_policy.allowed"), |order| {
            let regions = (0..BATCH).map(|i| format!("r{i}")).collect();
            order.region_policy = Some(v1::RegionPolicy {
                home: "vn".to_owned(),
                allowed: regions,
            });
        })
        .await
    }

    /// A token is spent on what can be signed, and on nothing else.
    async fn tokens(&mut self) -> Result<()> {
        let fleet = &self.world.fleet;
        let used = fleet.token(Role::Operator, "lan", "", &[]).await?;
        let mut nobody = AccessServiceClient::new(self.world.channel(Who::Nobody)?);
        nobody
            .enroll(enroll(&used, &KeyRequest::generate()?.csr_pem))
            .await?;
        let node = fleet.token(Role::Node, "", "", &[]).await?;
        let good = fleet.token(Role::Operator, "minh", "", &[]).await?;
        let agent = fleet.token(Role::Agent, "vn-3", "vn", &[]).await?;
        // The last: where another one is made, those that are too old make room.
        let expired = self.expired().await?;
        self.watch.forget().await?;

        let csr = self.world.csr.as_str();
        let reason = Expect::Reason;
        for (name, token, csr, expect) in [
            ("a token that is spent", &used, csr, reason(Reason::TokenUsed)),
            (
                "a token that is too old",
                &expired,
                csr,
                reason(Reason::TokenExpired),
            ),
            (
                "a node's token at the people's door",
                &node,
                csr,
                reason(Reason::TokenInvalid),
            ),
            (
                "a good token for what cannot be signed",
                &good,
                SPOILT,
                field("csr_pem"),
            ),
            (
                "a good token for a certificate",
                &good,
                CERTIFICATE,
                field("csr_pem"),
            ),
        ] {
            self.refused(name, expect, nobody.clone().enroll(enroll(token, csr)))
                .await?;
        }
        let mut cluster =
            v1::cluster_service_client::ClusterServiceClient::new(self.world.channel(Who::Nobody)?);
        for (name, csr, host, expect) in [
            (
                "a node that cannot be signed",
                SPOILT,
                "n9.example:7400",
                field("csr_pem"),
            ),
            ("a node at no host", csr, "a'b:7400", field("api_address")),
        ] {
            let asked = v1::JoinNodeRequest {
                token_id: node.id().to_owned(),
                token_secret: node.secret_text().to_string(),
                csr_pem: csr.to_owned(),
                api_address: host.to_owned(),
                peer_address: "n9.example:7401".to_owned(),
                version_min: 1,
                version_max: 99,
            };
            self.refused(name, expect, cluster.join_node(asked)).await?;
        }
        let mut agents = AgentServiceClient::new(self.world.channel(Who::Nobody)?);
        for (name, csr, host, expect) in [
            (
                "an agent that cannot be signed",
                SPOILT,
                "db.example",
                field("csr_pem"),
            ),
            ("an agent at no host", csr, "-", field("postgres_hosts[0]")),
        ] {
            let asked = v1::JoinRequest {
                token_id: agent.id().to_owned(),
                token_secret: agent.secret_text().to_string(),
                csr_pem: csr.to_owned(),
                postgres_csr_pem: self.world.csr.clone(),
                postgres_hosts: vec![host.to_owned()],
            };
            self.refused(name, expect, agents.join(asked)).await?;
        }
        Ok(())
    }

    /// A token whose time is over, as the registry's own clock has it.
    async fn expired(&self) -> Result<JoinToken> {
        let order = v1::CreateJoinTokenRequest {
            request_id: reeve_client::request_id(),
            role: Role::Auditor.into(),
            name: "old".to_owned(),
            ttl: Some(prost_types::Duration {
                seconds: 0,
                nanos: 1_000_000,
            }),
            ..Default::default()
        };
        let minted = self
            .world
            .fleet
            .api()
            .access()
            .create_join_token(order)
            .await?
            .into_inner();
        let expires = minted.expire_time.context("no time")?;
        let expires = (expires.seconds, expires.nanos);
        let patience = std::time::Duration::from_secs(10);
        until("its time to be over", patience, async || {
            let asked = v1::GetClusterRequest::default();
            let cluster = self
                .world
                .fleet
                .api()
                .cluster()
                .get_cluster(asked)
                .await?
                .into_inner();
            let now = cluster.vitals.and_then(|vitals| vitals.now).context("no clock")?;
            Ok(((now.seconds, now.nanos) > expires).then_some(()))
        })
        .await?;
        Ok(JoinToken::parse(&minted.token)?)
    }

    async fn rights(&mut self) -> Result<()> {
        let order = || reeve_local::tenants::order("da-nang", "da-nang.example", "vn", "ehr");
        for (who, reason) in [
            (Who::Service, Reason::PermissionDenied),
            (Who::Agent, Reason::PermissionDenied),
            (Who::Node, Reason::PermissionDenied),
            (Who::Nobody, Reason::Unauthenticated),
        ] {
            let mut tenants = TenantServiceClient::new(self.world.channel(who)?);
            let name = format!("{who:?} creates a tenant");
            self.refused(&name, Expect::Reason(reason), tenants.create_tenant(order()))
                .await?;
        }
        let channel = self.world.channel(Who::Service)?;
        let mut resolver = v1::resolver_service_client::ResolverServiceClient::new(channel);
        let asked = v1::ResolveRequest {
            claim: Some(claim(v1::claim::Kind::Slug, "bach-mai")),
            ..Default::default()
        };
        let hidden = Expect::Reason(Reason::TenantNotFound);
        self.refused(
            "a service asks for a tenant of others",
            hidden,
            resolver.resolve(asked),
        )
        .await
    }
}

/// PEM, and no request.
const SPOILT: &str = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn enroll(token: &JoinToken, csr: &str) -> v1::EnrollRequest {
    v1::EnrollRequest {
        token_id: token.id().to_owned(),
        token_secret: token.secret_text().to_string(),
        csr_pem: csr.to_owned(),
    }
}

fn field(name: &str) -> Expect {
    Expect::Field(name.to_owned())
}

fn claim(kind: v1::claim::Kind, key: &str) -> v1::Claim {
    v1::Claim {
        kind: kind.into(),
        key: key.to_owned(),
    }
}
