//! The registry's leader dies while tenants come in and rows are written.
//!
//! ```text
//! per hospital: resolve (asked anew) ─► insert + select   ┐
//! web service:  visits by host                            │
//! onboarding:   four more hospitals                       ├─ kill -9 leader ─► new leader ─► nothing failed
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use reeve_client::v1::{Claim, ResolveRequest, claim};
use reeve_client::{Api, Fleet};
use reeve_local::until;
use sqlx::PgPool;

use super::hospitals::{self, Hospital};
use super::live::Live;
use super::show::say;
use super::{Tour, clinic, patients};

const NEWCOMERS: usize = 4;
/// Requests on each side of the kill, so that it falls into the middle of the load.
const REQUESTS_AROUND: u64 = 600;
const PATIENCE: Duration = Duration::from_secs(30);
/// Row numbers of this stage begin here, beyond those of the stage before.
const ROWS_FROM: usize = 500_000;

/// What the services saw.
#[derive(Default)]
pub(super) struct Seen {
    requests: AtomicU64,
    slowest_ms: AtomicU64,
    pub(super) is_over: AtomicBool,
}

impl Tour {
    pub(super) async fn storm(&mut self) -> Result<()> {
        self.show
            .stage("kill -9 of the registry's leader, while hospitals come in and rows are written");
        let mut newcomers = hospitals::draw(self.hospitals.len() + NEWCOMERS, &self.regions());
        newcomers.drain(..self.hospitals.len());
        let seen = Seen::default();
        let serving = try_join_all(self.hospitals.iter().map(|h| serve(&self.service, h, &seen)));
        let web = self.clinic.as_ref();
        let browsing = try_join_all(self.hospitals.iter().map(|h| clinic::serve(web, h, &seen)));
        let killing = async {
            let killed = self.kill_leader(&mut newcomers, &seen).await;
            seen.is_over.store(true, Ordering::Relaxed);
            killed
        };
        // A request that fails ends the stage there and then.
        let (_, _, (dead, gap)) = tokio::try_join!(serving, browsing, killing)?;
        let requests = seen.requests.load(Ordering::Relaxed);
        let slowest = Duration::from_millis(seen.slowest_ms.load(Ordering::Relaxed));
        self.show
            .row_of("leader killed: another one writes", format!("node {dead}"), gap);
        self.show
            .row("requests of services meanwhile", format!("{requests}, 0 failed"));
        self.show
            .row_of("the slowest of them", format!("of {requests}"), slowest);
        self.show
            .row("hospitals onboarded meanwhile", format!("{NEWCOMERS}, all done"));
        self.fleet.node(dead)?.start()?;
        Ok(())
    }

    /// Gives back who died, and how long no change could be made.
    async fn kill_leader(&self, newcomers: &mut [Hospital], seen: &Seen) -> Result<(u64, Duration)> {
        let api = self.fleet.api();
        let (early, late) = newcomers.split_at_mut(NEWCOMERS / 2);
        let live = Live::new();
        let arriving = hospitals::onboard_all(api, early, "ehr", &live);
        let dying = async {
            wait_for(seen, REQUESTS_AROUND).await?;
            let leader = self.fleet.leader().await?;
            let killed = Instant::now();
            leader.kill9()?;
            say(format!("node {} led and is dead", leader.id()));
            // Ordered into the gap: they wait for the next leader, they do not fail.
            let gap = async {
                probe_writes(api).await?;
                Ok::<_, anyhow::Error>(killed.elapsed())
            };
            let (gap, ()) = tokio::try_join!(gap, hospitals::onboard_all(api, late, "ehr", &live))?;
            let heir = self.fleet.leader().await?;
            say(format!("node {} leads", heir.id()));
            Ok::<_, anyhow::Error>((leader.id(), gap))
        };
        let ((), died) = tokio::try_join!(arriving, dying)?;
        wait_for(seen, seen.requests.load(Ordering::Relaxed) + REQUESTS_AROUND).await?;
        Ok(died)
    }

    fn regions(&self) -> Vec<String> {
        self.fleet
            .agents()
            .iter()
            .map(|agent| agent.region().to_owned())
            .collect()
    }
}

/// One service's work for one hospital, until it is over; the first failure is told.
async fn serve(service: &Fleet, hospital: &Hospital, seen: &Seen) -> Result<()> {
    let api = service.api();
    for row in ROWS_FROM.. {
        if seen.is_over.load(Ordering::Relaxed) {
            break;
        }
        seen.request(resolve(&api, hospital)).await?;
        let pool = patients::pool(service, hospital).await?;
        let writing = patients::write(&pool, hospital, row, 1);
        seen.request(async {
            writing
                .await
                .with_context(|| format!("a row of {}", hospital.slug))
        })
        .await?;
        seen.request(read(&pool, hospital, row)).await?;
    }
    Ok(())
}

impl Seen {
    /// Counts a request, and the time it took.
    pub(super) async fn request(&self, request: impl Future<Output = Result<()>>) -> Result<()> {
        let begun = Instant::now();
        request.await?;
        self.slowest_ms
            .fetch_max(u64::try_from(begun.elapsed().as_millis())?, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads back the row just written.
async fn read(pool: &PgPool, hospital: &Hospital, row: usize) -> Result<()> {
    let own: i64 = sqlx::query_scalar("SELECT count(*) FROM patient WHERE mrn = $1")
        .bind(format!("{}-{row:06}", hospital.mark()))
        .fetch_one(pool)
        .await?;
    ensure!(own == 1, "{} wrote a row and cannot read it", hospital.slug);
    Ok(())
}

/// Asks the registry itself, past the client's cache.
async fn resolve(api: &Api, hospital: &Hospital) -> Result<()> {
    let claim = Claim {
        kind: claim::Kind::Domain.into(),
        key: hospital.domain.clone(),
    };
    let asked = ResolveRequest {
        claim: Some(claim),
        ..Default::default()
    };
    let answer = api.resolver().resolve(asked).await;
    let answer = answer
        .with_context(|| format!("resolving {}", hospital.domain))?
        .into_inner();
    match answer.resolution {
        Some(found) if found.tenant_id == hospital.tenant => Ok(()),
        other => bail!(
            "{} was answered with {:?}",
            hospital.domain,
            other.map(|r| r.tenant_id)
        ),
    }
}

/// The first change that a leader takes: a join token that nobody will use.
async fn probe_writes(api: &Api) -> Result<()> {
    let order = reeve_client::v1::CreateJoinTokenRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        role: reeve_client::v1::Role::Service.into(),
        name: "probe".to_owned(),
        ..Default::default()
    };
    let mut request = tonic::Request::new(order);
    request.set_timeout(PATIENCE);
    api.access()
        .create_join_token(request)
        .await
        .context("the first change after the leader's death")?;
    Ok(())
}

async fn wait_for(seen: &Seen, requests: u64) -> Result<()> {
    until(&format!("{requests} requests"), PATIENCE, async || {
        Ok((seen.requests.load(Ordering::Relaxed) >= requests).then_some(()))
    })
    .await
}
