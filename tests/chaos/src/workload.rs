//! Tenants that come, are suspended, resumed and deleted, while services resolve and write.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::v1::{
    Claim, DeleteTenantRequest, ErrorReason, FenceGroupRequest, ReadLevel, ResolveRequest,
    ResumeTenantRequest, SuspendTenantRequest, UnfenceGroupRequest, claim, operation, read_level,
};
use reeve_client::{Access, Api, Selector, reason};
use reeve_local::{Fleet, Node, tenants, until};
use tonic::{Code, Request, Status};

use crate::cluster::{CHANNEL, REGIONS};
use crate::history::{Answer, Call, Fence, Level, Outcome, Recorder, Wanted};

/// One try may span an election; many tries span everything that is done to the fleet here.
const TRY_PATIENCE: Duration = Duration::from_secs(10);
const TRIES_MAX: usize = 12;
const OPERATION_PATIENCE: Duration = Duration::from_secs(90);

/// One tenant's life, told to the registry through whichever node serves.
pub struct Story<'a> {
    pub api: &'a Api,
    pub recorder: &'a Recorder,
    pub slug: String,
    pub region: &'static str,
}

impl<'a> Story<'a> {
    /// The n-th tenant of a teller; regions take turns.
    pub fn new(api: &'a Api, recorder: &'a Recorder, teller: &str, n: usize) -> Story<'a> {
        Story {
            api,
            recorder,
            slug: format!("{teller}-{n}"),
            region: REGIONS[n % REGIONS.len()],
        }
    }

    pub fn domain(&self) -> String {
        domain(&self.slug)
    }

    /// Comes in; every yes is asked for once more, and must be the same yes.
    pub async fn create(&self) -> Result<()> {
        let order = tenants::order(&self.slug, &self.domain(), self.region, CHANNEL);
        let send = || async {
            let answer = self
                .api
                .tenants()
                .create_tenant(patiently(order.clone()))
                .await?
                .into_inner();
            Ok(answer.operation.unwrap_or_default())
        };
        let answered = insist(send).await;
        let outcome = self.note(
            Wanted::Create,
            &order.request_id,
            answered.map(|op| (op.tenant_id, op.id)),
        );
        let Outcome::Acked { operation, .. } = outcome else {
            return Ok(());
        };
        let again = insist(send).await.context("the same request once more")?;
        ensure!(
            again.id == operation,
            "one request made operations {operation} and {}",
            again.id
        );
        self.end(&operation).await
    }

    /// Is suspended and comes back.
    pub async fn pause(&self) -> Result<()> {
        let tenant = self.slug.clone();
        let order = SuspendTenantRequest {
            request_id: new_id(),
            tenant,
            ..Default::default()
        };
        let send = || async {
            let answer = self
                .api
                .tenants()
                .suspend_tenant(patiently(order.clone()))
                .await?
                .into_inner();
            Ok((answer.tenant.unwrap_or_default().id, String::new()))
        };
        self.note(Wanted::Suspend, &order.request_id, insist(send).await);

        let order = ResumeTenantRequest {
            request_id: new_id(),
            tenant: self.slug.clone(),
            ..Default::default()
        };
        let send = || async {
            let answer = self
                .api
                .tenants()
                .resume_tenant(patiently(order.clone()))
                .await?
                .into_inner();
            Ok((answer.tenant.unwrap_or_default().id, String::new()))
        };
        self.note(Wanted::Resume, &order.request_id, insist(send).await);
        Ok(())
    }

    /// Leaves.
    pub async fn delete(&self) -> Result<()> {
        let order = DeleteTenantRequest {
            request_id: new_id(),
            tenant: self.slug.clone(),
            confirm: self.slug.clone(),
            ..Default::default()
        };
        let send = || async {
            let answer = self
                .api
                .tenants()
                .delete_tenant(patiently(order.clone()))
                .await?
                .into_inner();
            Ok(answer.operation.unwrap_or_default())
        };
        let answered = insist(send).await.map(|op| (op.tenant_id, op.id));
        match self.note(Wanted::Delete, &order.request_id, answered) {
            Outcome::Acked { operation, .. } => self.end(&operation).await,
            _ => Ok(()),
        }
    }

    async fn end(&self, operation: &str) -> Result<()> {
        let ended = tenants::ended(self.api, operation, OPERATION_PATIENCE).await?;
        let is_done = ended.state() == operation::State::Done;
        ensure!(
            is_done,
            "{} of {} ended {:?}: {}",
            operation,
            self.slug,
            ended.state(),
            ended.detail
        );
        Ok(())
    }

    fn note(&self, wanted: Wanted, request_id: &str, answered: Result<(String, String), Status>) -> Outcome {
        let outcome = match answered {
            Ok((tenant, operation)) => Outcome::Acked { tenant, operation },
            Err(status) if is_transient(&status) => Outcome::Unknown,
            Err(status) => Outcome::Refused(status.to_string()),
        };
        let call = Call {
            wanted,
            slug: self.slug.clone(),
            request_id: request_id.to_owned(),
            outcome: outcome.clone(),
        };
        self.recorder.with(|history| history.calls.push(call));
        outcome
    }
}

/// A tenant's domain.
pub fn domain(slug: &str) -> String {
    format!("{slug}.example")
}

/// Writes and reads for one tenant until told to end; gives back how often. No failure is forgiven.
pub async fn serve(
    service: &reeve_client::Fleet,
    slug: &str,
    is_over: &AtomicBool,
    served: &AtomicU64,
) -> Result<()> {
    tenants::heard(service, &domain(slug)).await?;
    while !is_over.load(Ordering::Relaxed) {
        let resolution = service.resolve(&Selector::domain(&domain(slug))?).await?;
        let pool = service.pool(&resolution, Access::Write).await?;
        sqlx::query("INSERT INTO note (hospital, text) VALUES ($1, 'seen')")
            .bind(slug)
            .execute(&pool)
            .await?;
        let strangers: i64 = sqlx::query_scalar("SELECT count(*) FROM note WHERE hospital <> $1")
            .bind(slug)
            .fetch_one(&pool)
            .await?;
        ensure!(strangers == 0, "{slug} holds {strangers} rows of others");
        served.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends the same request until somebody says yes or no.
async fn insist<T, F: Future<Output = Result<T, Status>>>(send: impl Fn() -> F) -> Result<T, Status> {
    let mut last = Status::unavailable("never sent");
    for _ in 0..TRIES_MAX {
        match send().await {
            Err(status) if is_transient(&status) => last = status,
            answered => return answered,
        }
    }
    Err(last)
}

fn is_transient(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::ResourceExhausted
    )
}

fn patiently<T>(order: T) -> Request<T> {
    let mut request = Request::new(order);
    request.set_timeout(TRY_PATIENCE);
    request
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Asks one node where tenants live, at every level in turn, and notes what it names.
pub async fn ask(
    node: &Node,
    recorder: &Recorder,
    slugs: &[String],
    group: &str,
    goes_on: &AtomicBool,
) -> Result<()> {
    let levels = [Level::Linearizable, Level::Bounded, Level::Stale];
    for (slug, level) in slugs.iter().cycle().zip(levels.iter().cycle()) {
        if !goes_on.load(Ordering::Relaxed) {
            break;
        }
        let claim = Claim {
            kind: claim::Kind::Domain.into(),
            key: domain(slug),
        };
        let asked = recorder.now();
        let read = Some(ReadLevel { level: wire(*level) });
        let request = ResolveRequest {
            claim: Some(claim),
            read,
            ..Default::default()
        };
        let reply = node.api().resolver().resolve(request).await;
        let answered = recorder.now();
        let (revision, hosts, found) = match reply.map(|answer| answer.into_inner()) {
            Ok(answer) => {
                let resolution = answer.resolution.context("an answer without a resolution")?;
                let hosts = resolution
                    .write
                    .iter()
                    .map(|host| format!("{}:{}", host.host, host.port))
                    .collect();
                (
                    answer.freshness.map(|freshness| freshness.revision),
                    hosts,
                    resolution.group,
                )
            }
            // It says that nothing serves, and names nobody; the fence is the only cause there is here.
            Err(status) if reason(&status) == Some(ErrorReason::TenantNotServing) => {
                (None, Vec::new(), group.to_owned())
            }
            Err(status) => return Err(status).context(format!("resolving {slug}")),
        };
        let answer = Answer {
            node: node.id(),
            level: *level,
            asked,
            answered,
            revision,
            group: found,
            hosts,
        };
        recorder.with(|history| history.answers.push(answer));
    }
    Ok(())
}

/// Raises a fence, lets the askers see it, and lowers it again.
pub async fn fence_for_a_while(fleet: &Fleet, recorder: &Recorder, group: &str) -> Result<()> {
    answers_after(recorder, group, |answer| !answer.hosts.is_empty()).await?;
    let order = FenceGroupRequest {
        request_id: new_id(),
        group: group.to_owned(),
        reason: "a test".into(),
        confirm: group.to_owned(),
    };
    let fenced = fleet
        .api()
        .groups()
        .fence_group(order)
        .await?
        .into_inner()
        .group
        .context("no group")?;
    let raised = recorder.now();
    recorder.with(|history| {
        history.fences.push(Fence {
            group: group.to_owned(),
            raised,
            raised_at_revision: fenced.mod_revision,
            lowered: None,
            lowered_at_revision: None,
        });
    });
    answers_after(recorder, group, |answer| answer.hosts.is_empty()).await?;
    let lowering = recorder.now();
    let order = UnfenceGroupRequest {
        request_id: new_id(),
        group: group.to_owned(),
        reason: "a test".into(),
    };
    let open = fleet
        .api()
        .groups()
        .unfence_group(order)
        .await?
        .into_inner()
        .group
        .context("no group")?;
    recorder.with(|history| {
        if let Some(fence) = history.fences.last_mut() {
            (fence.lowered, fence.lowered_at_revision) = (Some(lowering), Some(open.mod_revision));
        }
    });
    answers_after(recorder, group, |answer| !answer.hosts.is_empty()).await
}

/// Until every node has given some answers of this kind from now on.
async fn answers_after(recorder: &Recorder, group: &str, wanted: impl Fn(&Answer) -> bool) -> Result<()> {
    const EACH: usize = 6;
    let from = recorder.with(|history| history.answers.len());
    until("answers of every node", OPERATION_PATIENCE, async || {
        let counts = recorder.with(|history| {
            let new = history
                .answers
                .iter()
                .skip(from)
                .filter(|answer| answer.group == group && wanted(answer));
            new.fold([0usize; 8], |mut counts, answer| {
                counts[usize::try_from(answer.node).unwrap_or_default() % 8] += 1;
                counts
            })
        });
        Ok((counts.iter().filter(|count| **count >= EACH).count() >= 3).then_some(()))
    })
    .await
}

fn wire(level: Level) -> Option<read_level::Level> {
    match level {
        Level::Linearizable => Some(read_level::Level::Linearizable(Default::default())),
        Level::Bounded => None,
        Level::Stale => Some(read_level::Level::Stale(Default::default())),
    }
}
