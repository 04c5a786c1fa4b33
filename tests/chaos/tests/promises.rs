//! A fleet is hurt in every way of this slice while tenants come and go; then every promise is checked,
//! and every promise must notice its mutants.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reeve_chaos::faults::{agent_killed, follower_frozen, leader_killed};
use reeve_chaos::history::{History, Recorder};
use reeve_chaos::invariants::{
    acked_commands_survive, audit_chain_whole, hold, no_role_crosses, operations_end,
    resolve_never_names_a_fenced_host,
};
use reeve_chaos::workload::{Story, domain, serve};
use reeve_chaos::{cluster, faults, workload};
use reeve_local::{Fleet, tenants, until};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const ANCHORS: usize = 2;
const TELLERS: [&str; 3] = ["an", "binh", "chi"];

/// What goes on beside the faults.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    served: AtomicU64,
    stories: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_hold_while_things_break() -> Result<()> {
    let fleet = cluster::start().await?;
    let recorder = Recorder::default();
    let anchors = anchors(&fleet, &recorder).await?;
    let service = fleet.service_client("ehr", &[]).await?;

    let load = Load::default();
    let serving = try_join_all(
        anchors
            .iter()
            .map(|slug| serve(&service, slug, &load.is_over, &load.served)),
    );
    let telling = try_join_all(
        TELLERS
            .iter()
            .map(|teller| tell(&fleet, &recorder, teller, &load)),
    );
    let breaking = async {
        let broken = break_things(&fleet, &load).await;
        load.is_over.store(true, Ordering::Relaxed);
        broken
    };
    tokio::try_join!(serving, telling, breaking)?;
    service.close().await;
    fleet.wait_whole().await?;
    fence(&fleet, &recorder, &anchors).await.context("fencing")?;

    let history = recorder.history();
    use acked_commands_survive as survive;
    let seen = operations_end::observe(&fleet).await?;
    hold(
        "operations_end",
        &history,
        &seen,
        operations_end::judge,
        operations_end::MUTANTS,
    )?;
    let seen = survive::observe(&fleet).await?;
    hold(
        "acked_commands_survive",
        &history,
        &seen,
        survive::judge,
        survive::MUTANTS,
    )?;
    let seen = no_role_crosses::observe(&fleet, &history).await?;
    hold(
        "no_role_crosses",
        &history,
        &seen,
        no_role_crosses::judge,
        no_role_crosses::MUTANTS,
    )?;
    let seen = audit_chain_whole::observe(&fleet).await?;
    hold(
        "audit_chain_whole",
        &history,
        &seen,
        audit_chain_whole::judge,
        audit_chain_whole::MUTANTS,
    )?;
    let judge = |_: &_, seen: &_| resolve_never_names_a_fenced_host::judge(seen);
    let mutants = resolve_never_names_a_fenced_host::MUTANTS;
    hold(
        "resolve_never_names_a_fenced_host",
        &history,
        &history,
        judge,
        mutants,
    )?;
    planted(&fleet, &history)
        .await
        .context("damage done to PostgreSQL by hand")?;
    fleet.shutdown().await
}

/// Mutants in PostgreSQL itself: a right across and an orphan, which the promises must see there.
async fn planted(fleet: &Fleet, history: &History) -> Result<()> {
    let postgres = fleet.postgres("vn-1")?;
    let grant = "DO $$ DECLARE one text; other text; BEGIN
        SELECT min(datname), max(datname) INTO one, other FROM pg_database WHERE datname ~ '^t_';
        EXECUTE format('GRANT %I TO %I', one, other || '_a');
    END $$";
    postgres.ask("postgres", grant).await?;
    let seen = no_role_crosses::observe(fleet, history).await?;
    ensure!(
        no_role_crosses::judge(history, &seen).is_err(),
        "a role granted across is not noticed"
    );
    postgres
        .ask("postgres", "CREATE ROLE t_ffffffffffff NOLOGIN")
        .await?;
    let seen = operations_end::observe(fleet).await?;
    ensure!(
        operations_end::judge(history, &seen).is_err(),
        "an orphan role is not noticed"
    );
    Ok(())
}

/// Tenants that are there all along, whose services may never fail.
async fn anchors(fleet: &Fleet, recorder: &Recorder) -> Result<Vec<String>> {
    let stories: Vec<_> = (0..ANCHORS)
        .map(|n| Story::new(fleet.api(), recorder, "anchor", n))
        .collect();
    try_join_all(stories.iter().map(Story::create)).await?;
    Ok(stories.into_iter().map(|story| story.slug).collect())
}

/// One life after the other, until it is over; every third tenant leaves again.
async fn tell(fleet: &Fleet, recorder: &Recorder, teller: &str, load: &Load) -> Result<()> {
    for n in 0.. {
        if load.is_over.load(Ordering::Relaxed) {
            break;
        }
        let story = Story::new(fleet.api(), recorder, teller, n);
        story.create().await?;
        story.pause().await?;
        if n % 3 == 0 {
            story.delete().await?;
        }
        load.stories.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn break_things(fleet: &Fleet, load: &Load) -> Result<()> {
    for _ in 0..2 {
        progress(load).await?;
        let (dead, _) = leader_killed::strike(fleet).await?;
        progress(load).await?;
        leader_killed::mend(fleet, dead).await?;
    }
    for step in ["create_database", "migrate"] {
        die_at(fleet, step).await?;
    }
    progress(load).await?;
    follower_frozen::strike(fleet).await?;
    progress(load).await?;
    faults::follower_frozen::mend(fleet).await?;
    progress(load).await
}

/// An agent dies at this step of an onboarding of its own; a step may be over sooner than one can look.
async fn die_at(fleet: &Fleet, step: &str) -> Result<()> {
    const TRIES_MAX: usize = 5;
    let agent = fleet.agent("vn-1")?;
    for n in 0..TRIES_MAX {
        let slug = format!("orphan-{}-{n}", step.replace('_', "-"));
        let order = tenants::order(&slug, &domain(&slug), agent.region(), cluster::CHANNEL);
        let operation = tenants::create(fleet.api(), order).await?;
        if let Some(ended) = agent_killed::strike(fleet, agent, &operation.id, step).await? {
            let state = ended.state();
            ensure!(
                state == reeve_client::v1::operation::State::Done,
                "{step}: {state:?} {}",
                ended.detail
            );
            return Ok(());
        }
    }
    Ok(())
}

/// Until services and tellers have both gone on.
async fn progress(load: &Load) -> Result<()> {
    let (served, stories) = (
        load.served.load(Ordering::Relaxed),
        load.stories.load(Ordering::Relaxed),
    );
    until("services and stories to go on", PATIENCE, async || {
        let has_served = load.served.load(Ordering::Relaxed) > served + 5;
        let has_told = load.stories.load(Ordering::Relaxed) > stories;
        Ok((has_served && has_told).then_some(()))
    })
    .await
}

/// Fences a group while every node is asked at every level.
async fn fence(fleet: &Fleet, recorder: &Recorder, anchors: &[String]) -> Result<()> {
    let group = fleet.agents().first().context("no agent")?.name().to_owned();
    let asking = AtomicBool::new(true);
    let askers = fleet
        .nodes()
        .iter()
        .map(|node| workload::ask(node, recorder, anchors, &group, &asking));
    let fencing = async {
        let fenced = workload::fence_for_a_while(fleet, recorder, &group).await;
        asking.store(false, Ordering::Relaxed);
        fenced
    };
    tokio::try_join!(try_join_all(askers), fencing).map(drop)
}
