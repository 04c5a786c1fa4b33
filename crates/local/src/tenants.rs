//! Tenants as everybody in a test or a demonstration makes them: ordered, followed, ended.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use reeve_client::Api;
use reeve_client::v1::operation::State;
use reeve_client::v1::{
    Claim, CreateTenantRequest, Operation, RegionPolicy, SchemaPolicy, WatchOperationRequest, claim,
};
use reeve_client::{Fleet, Resolution, Selector};
use tonic::{Request, Status};

use crate::ready::until;

const HEARD_PATIENCE: Duration = Duration::from_secs(60);
/// The longest that a registry honours: on a slow machine a leader may have to be found first.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
const REOPEN_PAUSE: Duration = Duration::from_millis(50);
/// A stream that says nothing for so long is opened anew, perhaps at another node.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// An order for a tenant with one domain, whose request id makes it safe to say again.
pub fn order(slug: &str, domain: &str, region: &str, channel: &str) -> CreateTenantRequest {
    CreateTenantRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        slug: slug.to_owned(),
        display_name: slug.to_owned(),
        region_policy: Some(RegionPolicy {
            home: region.to_owned(),
            allowed: vec![region.to_owned()],
        }),
        claims: vec![Claim {
            kind: claim::Kind::Domain.into(),
            key: domain.to_owned(),
        }],
        schema: Some(SchemaPolicy {
            channel: channel.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Sends an order and gives back the operation that carries it out.
pub async fn create(api: &Api, order: CreateTenantRequest) -> Result<Operation> {
    let slug = order.slug.clone();
    let mut order = Request::new(order);
    order.set_timeout(WRITE_PATIENCE);
    let answer = api
        .tenants()
        .create_tenant(order)
        .await
        .with_context(|| format!("creating {slug}"))?;
    answer
        .into_inner()
        .operation
        .with_context(|| format!("creating {slug} brought no operation"))
}

/// Whether it will not change any more by itself.
pub fn has_ended(operation: &Operation) -> bool {
    matches!(operation.state(), State::Done | State::Undone | State::Stuck)
}

/// Follows an operation to its end, telling each change; leader changes on the way do not matter.
pub async fn follow(
    api: &Api,
    id: &str,
    patience: Duration,
    mut on_change: impl FnMut(&Operation),
) -> Result<Operation> {
    let mut last = String::from("no answer");
    let watching = async {
        loop {
            match watch(api, id, &mut on_change).await {
                Ok(Some(ended)) => return ended,
                Ok(None) => {}
                Err(status) => last = status.to_string(),
            }
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
    };
    let ended = tokio::time::timeout(patience, watching).await.ok();
    ended.with_context(|| format!("operation {id} did not end in {} s ({last})", patience.as_secs()))
}

/// One stream of changes; none when it broke off or fell silent before the end.
async fn watch(
    api: &Api,
    id: &str,
    on_change: &mut impl FnMut(&Operation),
) -> Result<Option<Operation>, Status> {
    let asked = WatchOperationRequest {
        operation: id.to_owned(),
    };
    let mut stream = api.operations().watch_operation(asked).await?.into_inner();
    while let Ok(message) = tokio::time::timeout(SILENCE_MAX, stream.message()).await {
        let Some(operation) = message?.and_then(|answer| answer.operation) else {
            return Ok(None);
        };
        on_change(&operation);
        if has_ended(&operation) {
            return Ok(Some(operation));
        }
    }
    Ok(None)
}

/// The first resolve of a tenant that was just made: whichever node answers may hear of it a moment later.
pub async fn heard(service: &Fleet, domain: &str) -> Result<Arc<Resolution>> {
    let selector = Selector::domain(domain)?;
    until(&format!("{domain} to resolve"), HEARD_PATIENCE, async || {
        Ok(Some(service.resolve(&selector).await?))
    })
    .await
}

/// Waits until an operation has ended, however.
pub async fn ended(api: &Api, id: &str, patience: Duration) -> Result<Operation> {
    follow(api, id, patience, |_| {}).await
}
