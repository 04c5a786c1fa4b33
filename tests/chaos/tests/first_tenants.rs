//! The first tenants, end to end: three real nodes, real agents, real PostgreSQL.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reeve_chaos::cluster::{self, CHANNEL, REGIONS};
use reeve_chaos::faults::leader_killed;
use reeve_chaos::workload::{domain, serve};
use reeve_client::v1::operation::State;
use reeve_client::v1::read_level::Level;
use reeve_client::v1::watch_response::Event;
use reeve_client::v1::{
    Claim, CreateTenantRequest, GetClusterRequest, ListTenantsRequest, ReadLevel, ResolveRequest, Role,
    SuspendTenantRequest, WatchRequest, claim, tenant,
};
use reeve_client::{Access, Api};
use reeve_local::{Fleet, tenants, until};

const PATIENCE: Duration = Duration::from_secs(60);

async fn onboard(api: &Api, slug: &str, region: &str) -> Result<String> {
    let operation = tenants::create(api, tenants::order(slug, &domain(slug), region, CHANNEL)).await?;
    let ended = tenants::ended(api, &operation.id, PATIENCE).await?;
    ensure!(
        ended.state() == State::Done,
        "{slug} ended {:?}: {} {}",
        ended.state(),
        ended.reason,
        ended.detail
    );
    Ok(ended.tenant_id)
}

fn stale() -> Option<ReadLevel> {
    Some(ReadLevel {
        level: Some(Level::Stale(Default::default())),
    })
}

/// One fleet for all stories: starting one is most of their time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_tenants() -> Result<()> {
    let small_snapshots = "[raft]\nsnapshot_entries = 60\ntrailing_entries = 10".parse()?;
    let fleet = cluster::builder().node_settings(small_snapshots).start().await?;
    every_node_takes_orders_and_postgres_obeys(&fleet)
        .await
        .context("every node takes orders")?;
    a_request_happens_once(&fleet)
        .await
        .context("a request happens once, whoever dies")?;
    a_watch_goes_on_where_it_was(&fleet)
        .await
        .context("a watch goes on where it was")?;
    services_notice_nothing(&fleet)
        .await
        .context("services notice nothing")?;
    a_node_that_was_away_catches_up(&fleet)
        .await
        .context("a node that was away catches up")?;
    a_tenant_leaves_without_a_trace(&fleet)
        .await
        .context("a tenant leaves without a trace")?;
    fleet.shutdown().await
}

async fn every_node_takes_orders_and_postgres_obeys(fleet: &Fleet) -> Result<()> {
    let mut made = Vec::new();
    for (node, region) in fleet.nodes().iter().zip(REGIONS.iter().cycle()) {
        let slug = format!("by-n{}", node.id());
        made.push((slug.clone(), onboard(&node.api(), &slug, region).await?));
    }
    let service = fleet.service_client("first", &[]).await?;
    for (slug, id) in &made {
        let resolution = tenants::heard(&service, &domain(slug)).await?;
        ensure!(
            resolution.tenant.as_str() == id,
            "{slug} resolves to {}",
            resolution.tenant
        );
        let pool = service.pool(&resolution, Access::Write).await?;
        let (database, kinds): (String, i64) =
            sqlx::query_as("SELECT current_database()::text, (SELECT count(*) FROM kind)")
                .fetch_one(&pool)
                .await?;
        ensure!(
            &database == id && kinds == 2,
            "{slug}: {database} with {kinds} kinds"
        );
    }
    service.close().await;
    // A node that did not decide knows it too, when asked for the freshest.
    for node in fleet.nodes() {
        for (slug, id) in &made {
            let claim = Claim {
                kind: claim::Kind::Slug.into(),
                key: slug.clone(),
            };
            let read = Some(ReadLevel {
                level: Some(Level::Linearizable(Default::default())),
            });
            let asked = ResolveRequest {
                claim: Some(claim),
                read,
                ..Default::default()
            };
            let found = node
                .api()
                .resolver()
                .resolve(asked)
                .await?
                .into_inner()
                .resolution;
            ensure!(
                found.is_some_and(|r| &r.tenant_id == id),
                "node {} does not know {slug}",
                node.id()
            );
        }
    }
    Ok(())
}

async fn a_request_happens_once(fleet: &Fleet) -> Result<()> {
    let order = tenants::order("only-one", &domain("only-one"), "vn", CHANNEL);
    let before = tenants::create(fleet.api(), order.clone()).await?;
    let (dead, _) = leader_killed::strike(fleet).await?;
    for node in fleet.nodes().iter().filter(|node| node.id() != dead) {
        let again = until("the same answer", PATIENCE, async || {
            Ok(Some(tenants::create(&node.api(), order.clone()).await?))
        });
        let again = again.await?;
        ensure!(
            again.id == before.id && again.tenant_id == before.tenant_id,
            "another answer: {}",
            again.id
        );
    }
    let other = CreateTenantRequest {
        slug: "another".into(),
        ..order
    };
    let status = fleet
        .api()
        .tenants()
        .create_tenant(other)
        .await
        .err()
        .context("another request passed")?;
    let reason = reeve_client::reason(&status);
    ensure!(
        reason == Some(reeve_client::v1::ErrorReason::RequestIdReused),
        "{status}"
    );
    let ended = tenants::ended(fleet.api(), &before.id, PATIENCE).await?;
    ensure!(ended.state() == State::Done, "{:?}", ended.state());
    let asked = ListTenantsRequest {
        page_size: 1000,
        ..Default::default()
    };
    let listed = fleet
        .api()
        .tenants()
        .list_tenants(asked)
        .await?
        .into_inner()
        .tenants;
    let count = listed.iter().filter(|tenant| tenant.slug == "only-one").count();
    ensure!(count == 1, "{count} tenants of one request");
    leader_killed::mend(fleet, dead).await
}

/// Deltas of one stream and of the next one, resumed after the leader's death, make every change once.
async fn a_watch_goes_on_where_it_was(fleet: &Fleet) -> Result<()> {
    let api = Api::connect(
        &fleet.addresses(),
        &fleet.enroll(Role::Service, "watcher", &[]).await?,
    )?;
    let (mut after, mut seen) = (0, Vec::new());
    // Whichever node answers may hear of the watcher itself a moment later.
    until("a first listing", PATIENCE, async || {
        Ok(listen(&api, &mut after, &mut seen, async |_| Ok(true))
            .await?
            .then_some(()))
    })
    .await?;
    seen.clear();

    let suspend = async |slug: &str| {
        let tenant = slug.to_owned();
        let request_id = uuid::Uuid::new_v4().to_string();
        let order = SuspendTenantRequest {
            request_id,
            tenant,
            ..Default::default()
        };
        let mut request = tonic::Request::new(order);
        request.set_timeout(PATIENCE);
        anyhow::Ok(fleet.api().tenants().suspend_tenant(request).await.map(drop)?)
    };
    suspend("by-n1").await?;
    let (dead, _) = leader_killed::strike(fleet).await?;
    suspend("by-n2").await?;
    suspend("by-n3").await?;
    let suspended = async |seen: &[(u64, String, i32)]| {
        let state = i32::from(tenant::State::Suspended);
        Ok(seen.iter().filter(|(_, _, s)| *s == state).count() >= 3)
    };
    tokio::time::timeout(PATIENCE, async {
        loop {
            // The node behind the stream may be the one that died: resumed from the last revision heard.
            if let Ok(true) = listen(&api, &mut after, &mut seen, suspended).await {
                return;
            }
        }
    })
    .await
    .context("the suspensions never came")?;
    let mut slugs: Vec<&str> = seen.iter().map(|(_, slug, _)| slug.as_str()).collect();
    slugs.sort_unstable();
    ensure!(
        slugs == ["by-n1", "by-n2", "by-n3"],
        "changes were lost or came twice: {seen:?}"
    );
    ensure!(
        seen.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "out of order: {seen:?}"
    );
    leader_killed::mend(fleet, dead).await
}

/// Listens until enough was heard (true) or the stream ends (false); remembers where it stands.
async fn listen(
    api: &Api,
    after: &mut u64,
    seen: &mut Vec<(u64, String, i32)>,
    is_enough: impl AsyncFn(&[(u64, String, i32)]) -> Result<bool>,
) -> Result<bool> {
    let asked = WatchRequest {
        after_revision: *after,
        ..Default::default()
    };
    let mut stream = api.resolver().watch(asked).await?.into_inner();
    while let Some(message) = tokio::time::timeout(Duration::from_secs(5), stream.message()).await?? {
        match message.event.context("a message without an event")? {
            Event::Initial(_) => {}
            Event::InitialDone(done) => *after = done.revision,
            Event::Delta(delta) => {
                ensure!(delta.revision > *after, "revision {} came again", delta.revision);
                *after = delta.revision;
                seen.extend(
                    delta
                        .changed
                        .into_iter()
                        .map(|r| (delta.revision, r.slug, r.state)),
                );
            }
            Event::Bookmark(bookmark) => {
                *after = (*after).max(bookmark.freshness.unwrap_or_default().revision);
            }
            other => anyhow::bail!("unexpected: {other:?}"),
        }
        if *after > 0 && is_enough(seen).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn services_notice_nothing(fleet: &Fleet) -> Result<()> {
    let slugs = ["busy-0", "busy-1"];
    try_join_all(
        slugs
            .iter()
            .zip(REGIONS)
            .map(|(slug, region)| onboard(fleet.api(), slug, region)),
    )
    .await?;
    let service = fleet.service_client("busy", &[]).await?;
    let (is_over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let serving = try_join_all(slugs.iter().map(|slug| serve(&service, slug, &is_over, &served)));
    let killing = async {
        let struck = async {
            more(&served).await?;
            let (dead, _) = leader_killed::strike(fleet).await?;
            more(&served).await?;
            leader_killed::mend(fleet, dead).await
        };
        let struck = struck.await;
        is_over.store(true, Ordering::Relaxed);
        struck
    };
    tokio::try_join!(serving, killing)?;
    service.close().await;
    Ok(())
}

async fn more(served: &AtomicU64) -> Result<()> {
    let from = served.load(Ordering::Relaxed);
    until("services to go on", PATIENCE, async || {
        Ok((served.load(Ordering::Relaxed) > from + 20).then_some(()))
    })
    .await
}

/// More happens than the log keeps, so that only a snapshot can bring the node up to date.
async fn a_node_that_was_away_catches_up(fleet: &Fleet) -> Result<()> {
    const CHANGES: usize = 100;
    let leader = fleet.leader().await?.id();
    let away = fleet
        .nodes()
        .iter()
        .find(|node| node.id() != leader)
        .context("no follower")?;
    away.stop().await?;
    for n in 0..CHANGES {
        fleet
            .token(Role::Service, &format!("nobody-{n}"), "", &[])
            .await?;
    }
    away.start()?;
    fleet.wait_whole().await?;
    until("one state on every node", PATIENCE, async || {
        let mut views = Vec::new();
        for node in fleet.nodes() {
            let asked = GetClusterRequest {
                read: stale(),
                with_state_hash: true,
            };
            let cluster = node.api().cluster().get_cluster(asked).await?.into_inner();
            views.push((cluster.freshness.unwrap_or_default().revision, cluster.state_hash));
        }
        Ok(views.windows(2).all(|pair| pair[0] == pair[1]).then_some(()))
    })
    .await?;
    onboard(&away.api(), "after-all", "eu").await.map(drop)
}

async fn a_tenant_leaves_without_a_trace(fleet: &Fleet) -> Result<()> {
    let order = reeve_client::v1::DeleteTenantRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        tenant: "only-one".into(),
        confirm: "only-one".into(),
        ..Default::default()
    };
    let answer = fleet.api().tenants().delete_tenant(order).await?.into_inner();
    let operation = answer.operation.context("a deletion without an operation")?;
    let ended = tenants::ended(fleet.api(), &operation.id, PATIENCE).await?;
    ensure!(
        ended.state() == State::Done,
        "{:?} {}",
        ended.state(),
        ended.detail
    );
    let id = &ended.tenant_id;
    let sql = format!(
        "SELECT datname FROM pg_database WHERE datname = '{id}'
         UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE '{id}%'"
    );
    let left = fleet.postgres("vn-1")?.ask("postgres", &sql).await?;
    ensure!(left.is_empty(), "{left} is left");
    // Its name is free again, and another tenant gets another database.
    let again = onboard(fleet.api(), "only-one", "vn").await?;
    ensure!(&again != id, "the database of a deleted tenant came back");
    Ok(())
}
