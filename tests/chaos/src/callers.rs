//! Services that call as services do, with a deadline and through whichever node serves: not one of their calls may
//! fail, and what they were told is written must be there when they read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::Api;
use reeve_client::v1::read_level::{Level, Linearizable};
use reeve_client::v1::{GetTenantRequest, ReadLevel, Tenant, UpdateTenantRequest};
use reeve_local::{Fleet, hand, tenants, until};
use tokio::task::JoinSet;
use tonic::Request;

const REGION: &str = "callers";
/// What a patient service allows for one call.
const DEADLINE: Duration = Duration::from_secs(30);
const ONBOARD_PATIENCE: Duration = Duration::from_secs(60);
const PROGRESS_PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Callers at work, each with a value of its own.
pub struct Callers {
    working: JoinSet<Result<()>>,
    stop: Arc<AtomicBool>,
    done: Vec<Arc<AtomicU64>>,
    _hands: JoinSet<()>,
}

impl Callers {
    /// One caller for each list of addresses.
    pub async fn begin(fleet: &Fleet, lists: Vec<Vec<String>>) -> Result<Callers> {
        let hands = hand::region(fleet, REGION, 1).await?;
        let (mut working, mut done) = (JoinSet::new(), Vec::new());
        let stop = Arc::new(AtomicBool::new(false));
        for (number, addresses) in lists.into_iter().enumerate() {
            let slug = format!("caller-{number}");
            let order = tenants::order(&slug, &format!("{slug}.example"), REGION, "ehr");
            let made = tenants::create(fleet.api(), order).await?;
            tenants::ended(fleet.api(), &made.id, ONBOARD_PATIENCE).await?;
            let written = Arc::new(AtomicU64::new(0));
            done.push(written.clone());
            let api = Api::connect(&addresses, fleet.admin())?;
            let (stop, tenant) = (stop.clone(), made.tenant_id);
            working.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let next = written.load(Ordering::Relaxed) + 1;
                    write(&api, &tenant, next)
                        .await
                        .with_context(|| format!("{slug} could not write"))?;
                    written.store(next, Ordering::Relaxed);
                    let found = read(&api, &tenant)
                        .await
                        .with_context(|| format!("{slug} could not read"))?;
                    ensure!(
                        found == next.to_string(),
                        "{slug} wrote {next} and reads {found:?}"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(())
            });
        }
        Ok(Callers {
            working,
            stop,
            done,
            _hands: hands,
        })
    }

    /// Until each has gone on by some calls since now.
    pub async fn progress(&mut self) -> Result<()> {
        const MORE: u64 = 5;
        let read = |done: &[Arc<AtomicU64>]| -> Vec<u64> {
            done.iter().map(|done| done.load(Ordering::Relaxed)).collect()
        };
        let before = read(&self.done);
        until("every caller to go on", PROGRESS_PATIENCE, async || {
            if let Some(ended) = self.working.try_join_next() {
                return Ok(Some(ended?));
            }
            let now = read(&self.done);
            let went_on = before.iter().zip(&now).all(|(before, now)| now - before > MORE);
            Ok(went_on.then_some(Ok(())))
        })
        .await?
    }

    /// How many values were written and read back; an error if one call failed.
    pub async fn end(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.working.join_next().await {
            ended??;
        }
        Ok(self.done.iter().map(|done| done.load(Ordering::Relaxed)).sum())
    }
}

async fn write(api: &Api, tenant: &str, value: u64) -> Result<()> {
    let mut request = Request::new(UpdateTenantRequest {
        request_id: reeve_client::request_id(),
        tenant: Some(Tenant {
            id: tenant.to_owned(),
            display_name: value.to_string(),
            ..Default::default()
        }),
        update_mask: vec!["display_name".to_owned()],
    });
    request.set_timeout(DEADLINE);
    api.tenants().update_tenant(request).await?;
    Ok(())
}

async fn read(api: &Api, tenant: &str) -> Result<String> {
    let mut request = Request::new(GetTenantRequest {
        tenant: tenant.to_owned(),
        read: Some(ReadLevel {
            level: Some(Level::Linearizable(Linearizable {})),
        }),
    });
    request.set_timeout(DEADLINE);
    let answer = api.tenants().get_tenant(request).await?.into_inner();
    Ok(answer.tenant.context("no tenant came")?.display_name)
}
