//! An agent without a PostgreSQL: it says of every step that it is done, so that tenants are on the roll and resolve.

use std::time::Duration;

use anyhow::Result;
use reeve_client::v1::session_request::{Beat, Hello, Message as Up};
use reeve_client::v1::session_response::Message as Down;
use reeve_client::v1::step_report::Outcome;
use reeve_client::v1::{
    CreateRegionRequest, Endpoint, ListGroupsRequest, MemberFacts, Region, Role, SessionRequest, StepOrder,
    StepReport, member,
};
use reeve_client::{Api, KeyRequest, join};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::fleet::Fleet;
use crate::ready::until;

const BEAT: Duration = Duration::from_secs(1);
const DIAL_AGAIN: Duration = Duration::from_millis(200);
/// No PostgreSQL listens there, and nobody asks it for anything.
const PORT: u32 = 5432;

const READY_PATIENCE: Duration = Duration::from_secs(60);

/// A region with so many hands, each of a group of its own. They work until what is given back is dropped.
pub async fn region(fleet: &Fleet, region: &str, count: usize) -> Result<JoinSet<()>> {
    let order = CreateRegionRequest {
        request_id: reeve_client::request_id(),
        region: Some(Region {
            name: region.to_owned(),
            ..Default::default()
        }),
    };
    fleet.api().groups().create_region(order).await?;
    let mut hands = JoinSet::new();
    for number in 1..=count {
        let api = enlist(fleet, &format!("{region}-{number}"), region).await?;
        hands.spawn(work(api));
    }
    until("every group to be ready", READY_PATIENCE, async || {
        let listed = fleet
            .api()
            .groups()
            .list_groups(ListGroupsRequest::default())
            .await?;
        let groups = listed.into_inner().groups;
        let members = groups.iter().flat_map(|group| &group.members);
        let ready = members
            .filter(|member| member.state() == member::State::Ready)
            .count();
        Ok((ready == count).then_some(()))
    })
    .await?;
    Ok(hands)
}

/// Joins as a real agent does.
async fn enlist(fleet: &Fleet, name: &str, region: &str) -> Result<Api> {
    let token = fleet.token(Role::Agent, name, region, &[]).await?;
    let (own, postgres) = (KeyRequest::generate()?, KeyRequest::generate()?);
    let hosts = ["127.0.0.1".to_owned()];
    let joined = join::join_agent(&fleet.addresses(), &token, &own, &postgres, &hosts).await?;
    Ok(Api::connect(&fleet.addresses(), &joined.identity.credentials)?)
}

/// Works until it is aborted.
async fn work(api: Api) {
    loop {
        // A session ends with its node; the next node hears the same again.
        let _ = session(&api).await;
        tokio::time::sleep(DIAL_AGAIN).await;
    }
}

async fn session(api: &Api) -> Result<()> {
    let (up, outbound) = mpsc::unbounded_channel();
    up.send(said(Up::Hello(hello())))?;
    let dialled = api
        .agents()
        .session(UnboundedReceiverStream::new(outbound))
        .await?;
    let mut inbound = dialled.into_inner();
    let mut beat = tokio::time::interval(BEAT);
    let mut sequence = 0;
    loop {
        tokio::select! {
            heard = inbound.message() => match heard?.and_then(|heard| heard.message) {
                Some(Down::Order(order)) => up.send(said(Up::Report(done(order))))?,
                Some(_) => {}
                None => return Ok(()),
            },
            _ = beat.tick() => {
                sequence += 1;
                up.send(said(Up::Beat(Beat { sequence, facts: Some(facts()), ..Default::default() })))?;
            }
        }
    }
}

fn said(message: Up) -> SessionRequest {
    SessionRequest {
        message: Some(message),
    }
}

fn hello() -> Hello {
    Hello {
        boot_id: reeve_client::request_id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        facts: Some(facts()),
        ..Default::default()
    }
}

fn facts() -> MemberFacts {
    MemberFacts {
        endpoints: vec![Endpoint {
            network: "default".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: PORT,
        }],
        postgres_version: "16.4".to_owned(),
        postgres_up: true,
        system_identifier: "1".to_owned(),
    }
}

fn done(order: StepOrder) -> StepReport {
    StepReport {
        key: order.key,
        outcome: Outcome::Done.into(),
        epoch: order.epoch,
        schema_version: 1,
        ..Default::default()
    }
}
