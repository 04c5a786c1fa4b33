//! A thousand clients raise one number at once, each only if nobody else did meanwhile: it has been raised exactly as
//! often as they were told.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use reeve_client::v1::read_level::{Level, Linearizable};
use reeve_client::v1::{GetTenantRequest, ReadLevel, Tenant, UpdateTenantRequest};
use reeve_client::{Api, Error};
use reeve_local::{hand, tenants};

use crate::world::registry;

const CLIENTS: usize = 1_000;
const REGION: &str = "vn";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
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
    let mut told = 0;
    for raised in join_all(clients).await {
        told += raised??;
    }
    let (value, _) = get(fleet.api(), &tenant).await?;
    println!("{CLIENTS} clients raised it {told} times");
    ensure!(
        value == told,
        "they were told that they raised it {told} times, and it is {value}"
    );
    ensure!(told >= TURNS, "it was raised only {told} times");
    fleet.shutdown().await
}

/// How often it won.
async fn raise(api: Api, tenant: Arc<str>) -> Result<u64> {
    let mut told = 0;
    for _ in 0..TURNS {
        let (value, etag) = get(&api, &tenant).await?;
        match set(&api, &tenant, value + 1, &etag).await {
            Ok(()) => told += 1,
            // Somebody else was faster.
            Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(told)
}

async fn get(api: &Api, tenant: &str) -> Result<(u64, String)> {
    let level = Some(Level::Linearizable(Linearizable {}));
    let asked = GetTenantRequest {
        tenant: tenant.to_owned(),
        read: Some(ReadLevel { level }),
    };
    let answer = api.tenants().get_tenant(asked).await?.into_inner();
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
    api.tenants().update_tenant(order).await?;
    Ok(())
}
