//! Is it safe? A database whose services would not come in: noticed by its agent, flagged where it is resolved, heard by
//! watchers, refused to whom that is too little, shown on the tenant's page, and well again by itself.

mod admin;

use std::time::Duration;

use admin::{Admin, onboard};
use anyhow::{Context, Result, ensure};
use reeve_client::Selector;
use reeve_client::v1;
use reeve_local::{Fleet, tenants, until};
use reeve_proto::error::Reason;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A condition on the tenant's page: its grade, and why.
fn condition(status: &Value, name: &str) -> Option<(String, String)> {
    let all = status["health"]["conditions"].as_array()?;
    let one = all.iter().find(|one| one["name"] == name)?;
    Some((
        one["grade"].as_str()?.to_owned(),
        one["told"].as_str()?.to_owned(),
    ))
}

async fn page(admin: &Admin<'_>, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    until(what, PATIENCE, async || {
        Ok(Some(admin.json("tenant status cho-ray", 0)?).filter(&holds))
    })
    .await
}

/// Asks each node, so that followers answer for the leader, too.
async fn resolve(fleet: &Fleet, require_ready: bool) -> Result<Vec<Result<v1::Resolution, tonic::Status>>> {
    let mut answers = Vec::new();
    for node in fleet.nodes() {
        let asked = v1::ResolveRequest {
            claim: Some(reeve_proto::convert::claim(
                Selector::parse("cho-ray.example")?.claim(),
            )),
            require_ready,
            ..Default::default()
        };
        let answer = node.api().resolver().resolve(asked).await;
        answers.push(answer.map(|answer| answer.into_inner().resolution.unwrap_or_default()));
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lets_its_services_not_in_is_noticed_by_everybody() -> Result<()> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/ehr");
    let settings: toml::Table = toml::from_str("[health]\nevery_s = 1\n[isolation]\nevery_s = 1\n")?;
    let fleet = Fleet::builder()
        .nodes(3)
        .regions(["vn"])
        .schema("ehr", examples)
        .agent_settings(settings)
        .start()
        .await?;
    let admin = Admin::of(&fleet)?;
    let made = onboard(&fleet, "cho-ray").await?;
    let tenant = made.tenant_id;

    // All but the backup that nobody takes.
    let well = page(&admin, "everything to be proved", |status| {
        let all = status["health"]["conditions"].as_array();
        all.is_some_and(|all| {
            all.iter()
                .all(|one| one["name"] == "backup" || one["grade"] == "good")
        })
    })
    .await?;
    ensure!(well["health"]["grade"] == "unknown", "{well}");
    let (_, told) = condition(&well, "ready").context("no word on readiness")?;
    ensure!(told.starts_with("in as the tenant over TLS in "), "{told}");
    let (_, told) = condition(&well, "upkeep").context("no word on upkeep")?;
    ensure!(told.contains("MiB") && told.contains("xid age"), "{told}");
    let (code, table) = admin.said("tenant status cho-ray")?;
    ensure!(
        code == Some(0) && table.contains("safe? not proved: backup"),
        "{table}"
    );

    let service = fleet.service_client("ehr", &[]).await?;
    service.ready().await?;
    ensure!(
        tenants::heard(&service, "cho-ray.example")
            .await?
            .not_ready
            .is_none()
    );

    let postgres = fleet.agent("vn-1")?.postgres().clone();
    let role = format!("{tenant}_a");
    postgres
        .ask("postgres", &format!("ALTER ROLE {role} NOLOGIN"))
        .await?;
    let bad = page(&admin, "it to be noticed", |status| {
        condition(status, "ready").is_some_and(|(grade, _)| grade == "bad")
    })
    .await?;
    let (grade, told) = condition(&bad, "ready").context("no word on readiness")?;
    ensure!(
        grade == "bad" && told.contains("turned away") && told.contains("28000"),
        "{told}"
    );
    let (_, table) = admin.said("tenant status cho-ray")?;
    ensure!(
        table.contains("safe? NO: ready") && table.contains("✗  ready"),
        "{table}"
    );
    // A watcher hears of it; who resolves is told, and sent there all the same unless it asked not to be.
    until("the service to hear of it", PATIENCE, async || {
        let heard = tenants::heard(&service, "cho-ray.example").await?;
        Ok(heard.not_ready.clone())
    })
    .await?;
    for answer in resolve(&fleet, false).await? {
        let not_ready = answer?.not_ready.context("not flagged")?;
        ensure!(
            not_ready.cause() == v1::not_ready::Cause::TurnedAway,
            "{not_ready:?}"
        );
    }
    for node in fleet.nodes() {
        for require_ready in [false, true] {
            let asked = v1::BatchResolveRequest {
                claims: ["cho-ray.example", "nowhere.example"]
                    .map(Selector::domain)
                    .into_iter()
                    .map(|selector| Ok(reeve_proto::convert::claim(selector?.claim())))
                    .collect::<Result<Vec<_>>>()?,
                require_ready,
                ..Default::default()
            };
            let items = node
                .api()
                .resolver()
                .batch_resolve(asked)
                .await?
                .into_inner()
                .items;
            let told: Vec<_> = items
                .iter()
                .map(|item| (item.resolution.is_some(), item.reason()))
                .collect();
            let hers = match require_ready {
                true => (false, Reason::TenantNotReady),
                false => (true, Reason::Unspecified),
            };
            ensure!(told == [hers, (false, Reason::TenantNotFound)], "{told:?}");
        }
    }
    for answer in resolve(&fleet, true).await? {
        let refused = answer.err().context("it was sent there")?;
        let info = reeve_proto::error::info(&refused);
        ensure!(
            info.reason == Reason::TenantNotReady
                && info
                    .metadata
                    .get("cause")
                    .is_some_and(|cause| cause == "CAUSE_TURNED_AWAY"),
            "{refused:?}"
        );
    }

    postgres
        .ask("postgres", &format!("ALTER ROLE {role} LOGIN"))
        .await?;
    page(&admin, "it to be well again", |status| {
        status["health"]["grade"] == "unknown"
    })
    .await?;
    for answer in resolve(&fleet, true).await? {
        ensure!(answer?.not_ready.is_none());
    }
    // Only transitions are written down: never the same twice in a row.
    let records = admin.json("audit tail --limit 200", 0)?;
    let all = records["records"].as_array().cloned().unwrap_or_default();
    let turned = all.iter().filter(|one| one["action"] == "tenant.readiness");
    let turned: Vec<&str> = turned.filter_map(|one| one["reason"].as_str()).collect();
    ensure!(
        turned.len() >= 2 && turned.windows(2).all(|two| two[0] != two[1]),
        "{turned:?}"
    );
    service.close().await;
    fleet.shutdown().await
}
