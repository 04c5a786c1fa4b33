//! The doors as callers meet them.

mod bodies;
mod copies;
mod docs;
mod hand;
mod joining;
mod kept;
mod life;
mod limits;
mod listing;
mod metrics;
mod pages;
mod ready;
mod refusals;
mod reserve;
mod roll;
mod rotation;
mod secrets;
mod slow;
mod told;
mod watching;
mod world;
mod yardstick;

use std::time::Duration;

use reeve_proto::identity::KeyRequest;
use reeve_proto::v1;
use reeve_proto::v1::access_service_client::AccessServiceClient;
use reeve_proto::v1::agent_service_client::AgentServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use world::{ADMIN, World};

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn reason(status: &Status) -> &'static str {
    reeve_proto::error::word(reeve_proto::error::info(status).reason)
}

fn request() -> KeyRequest {
    KeyRequest::generate().unwrap()
}

/// Has the admin mint a token; its parts as a joiner shows them.
async fn token(world: &World, wanted: v1::CreateJoinTokenRequest) -> (String, String) {
    let mut admin = AccessServiceClient::new(world.channel_as(ADMIN));
    let token = admin.create_join_token(wanted).await.unwrap().into_inner().token;
    let token = reeve_proto::identity::JoinToken::parse(&token).unwrap();
    (token.id().to_owned(), token.secret_text().to_string())
}

/// Brings a service or a person in; a channel with its certificate.
async fn enrol(world: &World, role: v1::Role, name: &str, tenants: &[&str]) -> Channel {
    let wanted = v1::CreateJoinTokenRequest {
        role: role as i32,
        name: name.into(),
        tenants: tenants.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let (token_id, token_secret) = token(world, wanted).await;
    let mut nobody = AccessServiceClient::new(world.channel_as_nobody());
    let csr_pem = request().csr_pem;
    let enrolled = nobody.enroll(v1::EnrollRequest {
        token_id,
        token_secret,
        csr_pem,
    });
    let enrolled = enrolled.await.unwrap().into_inner();
    world.channel_as(&enrolled.principal_id)
}

/// Brings an agent in.
async fn join_agent(world: &World, name: &str) -> Channel {
    let wanted = v1::CreateJoinTokenRequest {
        role: v1::Role::Agent as i32,
        name: name.into(),
        region: "vn".into(),
        ..Default::default()
    };
    let (token_id, token_secret) = token(world, wanted).await;
    let mut nobody = AgentServiceClient::new(world.channel_as_nobody());
    let joined = nobody.join(v1::JoinRequest {
        token_id,
        token_secret,
        csr_pem: request().csr_pem,
        postgres_csr_pem: request().csr_pem,
        postgres_hosts: vec!["127.0.0.1".into()],
    });
    let joined = joined.await.unwrap().into_inner();
    assert_eq!(
        (
            joined.agent.as_str(),
            joined.group.as_str(),
            joined.region.as_str()
        ),
        (name, name, "vn")
    );
    assert_eq!(
        joined
            .postgres_certificate_chain_pem
            .matches("BEGIN CERTIFICATE")
            .count(),
        3
    );
    world.channel_as(&format!("spiffe://hospital/agent/{name}"))
}

/// What it takes to ask for a tenant.
fn wanted(slug: &str) -> v1::CreateTenantRequest {
    v1::CreateTenantRequest {
        request_id: id(),
        slug: slug.into(),
        region_policy: Some(v1::RegionPolicy {
            home: "vn".into(),
            allowed: vec![],
        }),
        schema: Some(v1::SchemaPolicy {
            channel: "ehr".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A claim on a slug.
fn slug(slug: &str) -> Option<v1::Claim> {
    Some(v1::Claim {
        kind: v1::claim::Kind::Slug as i32,
        key: slug.into(),
    })
}
