//! What is wrong is raised, told to a webhook, looked after and over, whichever node leads and however often one dies.

mod admin;
mod webhook;

use std::time::Duration;

use admin::{Admin, onboard};
use anyhow::{Result, ensure};
use reeve_client::v1::operation::State;
use reeve_local::{Fleet, until};
use serde_json::Value;

/// A tenant may be away for a minute, and what is over must be so for half of one.
const PATIENCE: Duration = Duration::from_secs(180);

fn find<'a>(seen: &'a Value, kind: &str) -> Option<&'a Value> {
    let alerts = seen["alerts"].as_array()?;
    alerts.iter().find(|alert| alert["kind"] == kind)
}

/// Waits until the list says so of a kind.
async fn alert(admin: &Admin<'_>, what: &str, kind: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    until(what, PATIENCE, async || {
        // While nobody leads, nobody answers.
        let seen = admin.json("alert ls --all", 0).ok();
        Ok(seen.and_then(|seen| find(&seen, kind).filter(|one| holds(one)).cloned()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_looked_after_and_over_whoever_leads() -> Result<()> {
    let (url, heard) = webhook::listen().await?;
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/ehr");
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples)
        .node_settings(toml::from_str(&format!("[alerts]\nwebhook = {url:?}"))?)
        .agent_settings(toml::from_str(
            "[isolation]\nevery_s = 1\nrepair = []\n[health]\nevery_s = 1",
        )?);
    let fleet = fleet.start().await?;
    let admin = Admin::of(&fleet)?;
    let made = onboard(&fleet, "cho-ray").await?;
    ensure!(made.state() == State::Done, "{made:?}");
    ensure!(
        admin.json("alert ls", 0)?["alerts"] == Value::Array(Vec::new()),
        "all is well"
    );
    let (_, table) = admin.said("alert ls")?;
    ensure!(table.contains("nothing is wrong"), "{table}");

    let postgres = fleet.agent("vn-1")?.postgres().clone();
    let role = format!("{}_a", made.tenant_id);
    postgres
        .ask("postgres", &format!("ALTER ROLE {role} PASSWORD 'another'"))
        .await?;

    let raised = admin.json("alert test --note night", 0)?;
    ensure!(raised["alerts"][0]["kind"] == "Test", "{raised}");
    alert(&admin, "the test to arrive", "Test", |one| one["told"] == true).await?;
    let (code, told) = admin.said("alert test")?;
    ensure!(
        code == Some(4) && told.contains("over within a minute"),
        "{code:?} {told}"
    );

    // A webhook that is away hears of it when it is back, from whoever leads then.
    heard.refuse(true);
    let leader = fleet.leader().await?;
    leader.kill9()?;
    postgres.ask("postgres", "CREATE ROLE intruder SUPERUSER").await?;
    let broken = alert(
        &admin,
        "the wall to be told of",
        "IsolationFindingCritical",
        |_| true,
    )
    .await?;
    ensure!(
        broken["subject"] == "vn-1" && broken["severity"] == "critical",
        "{broken}"
    );
    ensure!(broken["told"] == false, "it cannot have been told: {broken}");
    until("the webhook to be asked", PATIENCE, async || {
        Ok(heard.has_refused().then_some(()))
    })
    .await?;
    heard.refuse(false);
    alert(&admin, "the webhook to know", "IsolationFindingCritical", |one| {
        one["told"] == true
    })
    .await?;
    ensure!(
        heard.of("IsolationFindingCritical") == ["firing"],
        "{:?}",
        heard.all()
    );
    ensure!(
        heard.of("Test").first().map(String::as_str) == Some("firing"),
        "{:?}",
        heard.all()
    );
    leader.start()?;

    let id = broken["id"].as_str().unwrap_or_default();
    let acked = admin.json(&format!("alert ack {id} --note on-my-way"), 0)?;
    let by = acked["alerts"][0]["acknowledged_by"].as_str().unwrap_or_default();
    ensure!(
        by.contains("/person/") && acked["alerts"][0]["note"] == "on-my-way",
        "{acked}"
    );
    let (_, table) = admin.said("alert ls")?;
    ensure!(table.contains(": on-my-way"), "{table}");
    let (code, told) = admin.said("alert ack a_0000000000000000")?;
    ensure!(
        code == Some(3) && told.contains("alert ls --all"),
        "{code:?} {told}"
    );
    let (code, told) = admin.said("alert ack nothing")?;
    ensure!(code == Some(2) && told.contains("alert"), "{code:?} {told}");

    postgres.ask("postgres", "DROP ROLE intruder").await?;
    let over = alert(&admin, "the wall to stand", "IsolationFindingCritical", |one| {
        one["resolve_time"] != "" && one["told"] == true
    })
    .await?;
    ensure!(
        over["acknowledged_by"] == by,
        "who looked after it is kept: {over}"
    );
    let away = alert(&admin, "the tenant to be missed", "TenantsNotReady", |one| {
        one["told"] == true
    })
    .await?;
    ensure!(
        away["detail"]
            .as_str()
            .is_some_and(|told| told.contains("turned away")),
        "{away}"
    );
    admin.json("secret rotate cho-ray --leaked", 0)?;
    for kind in ["TenantsNotReady", "IsolationFindingCritical", "Test"] {
        alert(&admin, "all to be over", kind, |one| {
            one["resolve_time"] != "" && one["told"] == true
        })
        .await?;
        ensure!(
            heard.of(kind) == ["firing", "resolved"],
            "{kind}: {:?}",
            heard.all()
        );
    }
    let records = admin.json("audit tail --limit 300", 0)?;
    let actions = records["records"].as_array().cloned().unwrap_or_default();
    for action in ["alert.test", "alert.report", "alert.tell", "alert.acknowledge"] {
        ensure!(actions.iter().any(|one| one["action"] == action), "no {action}");
    }
    fleet.shutdown().await
}
