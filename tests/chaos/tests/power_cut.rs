//! Everything dies at once, nodes, agents and PostgreSQL, and comes back from its folders.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use reeve_chaos::cluster::{self, REGIONS};
use reeve_chaos::history::Recorder;
use reeve_chaos::invariants::{acked_commands_survive, audit_chain_whole, operations_end};
use reeve_chaos::workload::{Story, domain};
use reeve_client::Access;
use reeve_local::Fleet;

const ROW: &str = "written before the cut";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_power_cut() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let start = || cluster::builder().dir(folder.path().join("fleet")).start();
    let recorder = Recorder::default();
    let fleet = start().await?;
    let stories: Vec<_> = (0..REGIONS.len())
        .map(|n| Story::new(fleet.api(), &recorder, "cut", n))
        .collect();
    try_join_all(stories.iter().map(Story::create)).await?;
    let slugs: Vec<String> = stories.iter().map(|story| story.slug.clone()).collect();
    for slug in &slugs {
        let sql = "INSERT INTO note (hospital, text) VALUES ($1, $2)";
        sqlx::query(sql)
            .bind(slug)
            .bind(ROW)
            .execute(&pool(&fleet, slug).await?)
            .await?;
    }
    // In the middle of one more onboarding, which must end all the same.
    let order = reeve_local::tenants::order("late", &domain("late"), REGIONS[0], cluster::CHANNEL);
    let late = reeve_local::tenants::create(fleet.api(), order).await?;
    drop(stories);
    drop(fleet);

    let fleet = start().await?;
    let ended = reeve_local::tenants::ended(fleet.api(), &late.id, Duration::from_secs(90)).await?;
    ensure!(reeve_local::tenants::has_ended(&ended), "{:?}", ended.state());
    for slug in &slugs {
        let sql = "SELECT count(*) FROM note WHERE hospital = $1 AND text = $2";
        let found: i64 = sqlx::query_scalar(sql)
            .bind(slug)
            .bind(ROW)
            .fetch_one(&pool(&fleet, slug).await?)
            .await?;
        ensure!(found == 1, "{slug} holds its row {found} times");
    }
    let history = recorder.history();
    operations_end::judge(&history, &operations_end::observe(&fleet).await?)?;
    acked_commands_survive::judge(&history, &acked_commands_survive::observe(&fleet).await?)?;
    audit_chain_whole::judge(&history, &audit_chain_whole::observe(&fleet).await?)?;
    fleet.shutdown().await
}

async fn pool(fleet: &Fleet, slug: &str) -> Result<sqlx::PgPool> {
    let name = format!("cut-{:08x}", rand::random::<u32>());
    let service = fleet.service_client(&name, &[]).await?;
    let resolution = reeve_local::tenants::heard(&service, &domain(slug)).await?;
    Ok(service.pool(&resolution, Access::Write).await?)
}
