//! Somebody who changes what is watched: tenants come, are suspended and resumed, and go; a group is fenced and opened.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reeve_client::v1::{
    DeleteTenantRequest, FenceGroupRequest, ResumeTenantRequest, SuspendTenantRequest, UnfenceGroupRequest,
};
use reeve_client::{Api, request_id};
use reeve_local::{Fleet, hand, tenants};
use tokio::task::JoinSet;
use tonic::{Request, Status};

const REGION: &str = "vn";
/// Its tenants change together: one revision, several of them.
const GROUP: &str = "vn-1";
const TENANTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(3);
const ONBOARD_PATIENCE: Duration = Duration::from_secs(60);

/// Who changes things, and the revisions of the changes that were acknowledged.
pub struct Changes {
    api: Api,
    chance: StdRng,
    made: usize,
    pub acked: BTreeSet<u64>,
    _hands: JoinSet<()>,
}

impl Changes {
    /// A few tenants to begin with.
    pub async fn prepare(fleet: &Fleet, seed: u64) -> Result<Changes> {
        let hands = hand::region(fleet, REGION, 1).await?;
        for number in 0..TENANTS {
            let slug = slug(number);
            let order = tenants::order(&slug, &format!("{slug}.example"), REGION, "ehr");
            let made = tenants::create(fleet.api(), order).await?;
            tenants::ended(fleet.api(), &made.id, ONBOARD_PATIENCE).await?;
        }
        Ok(Changes {
            api: fleet.api().clone(),
            chance: StdRng::seed_from_u64(seed),
            made: TENANTS,
            acked: BTreeSet::new(),
            _hands: hands,
        })
    }

    /// Goes on until the flag is up. What fails may have happened or not; nobody counts on it.
    pub async fn go_on(&mut self, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            if let Ok(Some(revision)) = self.one().await {
                self.acked.insert(revision);
            }
        }
    }

    /// One that is acknowledged, whatever it takes: its revision.
    pub async fn last(&mut self) -> Result<u64> {
        let last = async {
            loop {
                if let Ok(Some(revision)) = self.one().await {
                    break revision;
                }
            }
        };
        let revision = tokio::time::timeout(ONBOARD_PATIENCE, last)
            .await
            .context("no change is acknowledged any more")?;
        self.acked.insert(revision);
        Ok(revision)
    }

    /// One change, and its revision when the answer shows it.
    async fn one(&mut self) -> Result<Option<u64>, Status> {
        let tenant = slug(self.chance.random_range(0..TENANTS));
        let mut api = self.api.tenants();
        match self.chance.random_range(0..10) {
            0 => self.fence().await,
            1 => self.unfence().await,
            2 => self.come().await,
            3 => self.go().await,
            4..7 => {
                let order = SuspendTenantRequest {
                    request_id: request_id(),
                    tenant,
                    ..Default::default()
                };
                let answer = api.suspend_tenant(patiently(order)).await?.into_inner();
                Ok(answer.tenant.map(|tenant| tenant.mod_revision))
            }
            _ => {
                let order = ResumeTenantRequest {
                    request_id: request_id(),
                    tenant,
                    ..Default::default()
                };
                let answer = api.resume_tenant(patiently(order)).await?.into_inner();
                Ok(answer.tenant.map(|tenant| tenant.mod_revision))
            }
        }
    }

    async fn fence(&self) -> Result<Option<u64>, Status> {
        let order = FenceGroupRequest {
            request_id: request_id(),
            group: GROUP.to_owned(),
            reason: "a test".to_owned(),
            confirm: GROUP.to_owned(),
        };
        let answer = self.api.groups().fence_group(patiently(order)).await?;
        Ok(answer.into_inner().group.map(|group| group.mod_revision))
    }

    async fn unfence(&self) -> Result<Option<u64>, Status> {
        let order = UnfenceGroupRequest {
            request_id: request_id(),
            group: GROUP.to_owned(),
            reason: "a test".to_owned(),
        };
        let answer = self.api.groups().unfence_group(patiently(order)).await?;
        Ok(answer.into_inner().group.map(|group| group.mod_revision))
    }

    async fn come(&mut self) -> Result<Option<u64>, Status> {
        let slug = slug(self.made);
        self.made += 1;
        let order = tenants::order(&slug, &format!("{slug}.example"), REGION, "ehr");
        // The answer may show it as a later change left it.
        let answer = self.api.tenants().create_tenant(patiently(order)).await;
        answer.map(|_| None)
    }

    async fn go(&mut self) -> Result<Option<u64>, Status> {
        let tenant = slug(self.chance.random_range(0..self.made - TENANTS + 1) + TENANTS);
        let order = DeleteTenantRequest {
            request_id: request_id(),
            confirm: tenant.clone(),
            tenant,
            ..Default::default()
        };
        let answer = self.api.tenants().delete_tenant(patiently(order)).await;
        answer.map(|_| None)
    }
}

fn slug(number: usize) -> String {
    format!("watched-{number}")
}

fn patiently<T>(order: T) -> Request<T> {
    let mut request = Request::new(order);
    request.set_timeout(PATIENCE);
    request
}
