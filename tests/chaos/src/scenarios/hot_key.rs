//! A thousand clients raise one number at once, each only if nobody else did meanwhile: it has been raised exactly as
//! often as they were told.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use reeve_client::v1::read_level::{Level, Linearizable};
use reeve_client::v1::{GetTenantRequest, ReadLevel, Tenant, UpdateTenantRequest};
use reeve_client::{Api, Error};
use reeve_local::{hand, tenants};
use tonic::{Request, Status};

use crate::world::registry;

const CLIENTS: usize = 1_000;
const REGION: &str = "vn";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// The longest that a registry honours.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);
/// A thousand at one value, and one wins: so each has several turns.
const TURNS: u64 = 3;

pub async fn play() -> Result<()> {
    let fleet = registry().start().await?;
    let _hands = hand::region(&fleet, REGION, 1).await?;
    let order = tenants::order("hot", "hot.example", REGION, "ehr");
    let made = tenants::create(fleet.api(), order).await?;
    tenants::ended(fleet.api(), &made.id, PATIENCE).await?;
    let tenant: Arc<str> = made.tenant_id.into();
    set(fleet.api(), &tenant, 0, "")
        .await
        .context("the first value")?;

    let doors: Vec<Api> = fleet.nodes().iter().map(|node| node.api()).collect();
    let clients = (0..CLIENTS).map(|n| tokio::spawn(raise(doors[n % doors.len()].clone(), tenant.clone())));
    let (mut told, mut unknown) = (0, 0);
    for raised in join_all(clients).await {
        let raised = raised??;
        (told, unknown) = (told + raised.told, unknown + raised.unknown);
    }
    let (value, _) = get(fleet.api(), &tenant).await?;
    println!("{CLIENTS} clients raised it {told} times, and {unknown} times they do not know");
    ensure!(
        (told..=told + unknown).contains(&value),
        "they were told that they raised it {told} times, {unknown} answers are missing, and it is {value}"
    );
    ensure!(told >= TURNS, "it was raised only {told} times");
    fleet.shutdown().await
}

/// How often it won, and how often it does not know.
#[derive(Default)]
struct Raised {
    told: u64,
    unknown: u64,
}

async fn raise(api: Api, tenant: Arc<str>) -> Result<Raised> {
    let mut raised = Raised::default();
    for _ in 0..TURNS {
        let (value, etag) = match get(&api, &tenant).await {
            Ok(seen) => seen,
            // A thousand ask at once: on a slow machine not everybody is answered in time.
            Err(error) if is_transient(&error) => continue,
            Err(error) => return Err(error),
        };
        match set(&api, &tenant, value + 1, &etag).await {
            Ok(()) => raised.told += 1,
            // Somebody else was faster.
            Err(Error::Conflict(_)) => {}
            Err(error) if error.is_transient() => raised.unknown += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(raised)
}

fn is_transient(error: &anyhow::Error) -> bool {
    let status = error.downcast_ref::<Status>();
    status.is_some_and(|status| Error::from(status.clone()).is_transient())
}

fn patiently<T>(order: T) -> Request<T> {
    let mut request = Request::new(order);
    request.set_timeout(DEADLINE);
    request
}

async fn get(api: &Api, tenant: &str) -> Result<(u64, String)> {
    let level = Some(Level::Linearizable(Linearizable {}));
    let asked = GetTenantRequest {
        tenant: tenant.to_owned(),
        read: Some(ReadLevel { level }),
    };
    let answer = api.tenants().get_tenant(patiently(asked)).await?.into_inner();
    let found = answer.tenant.context("no tenant came")?;
    Ok((found.display_name.parse()?, found.etag))
}

async fn set(api: &Api, tenant: &str, value: u64, etag: &str) -> Result<(), Error> {
    let order = UpdateTenantRequest {
        request_id: reeve_client::request_id(),
        tenant: Some(Tenant {
            id: tenant.to_owned(),
            display_name: value.to_string(),
            etag: etag.to_owned(),
            ..Default::default()
        }),
        update_mask: vec!["display_name".to_owned()],
    };
    api.tenants().update_tenant(patiently(order)).await?;
    Ok(())
}
