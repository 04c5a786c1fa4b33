//! Every node is lost, what is left of the registry is old, and the agents' signed records bring back what happened
//! behind it: behind a snapshot, and behind the folder of a node that was away.

#[allow(dead_code, reason = "total_loss uses the rest of it")]
mod ashes;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ashes::{Ashes, PATIENCE, reeve, reeve_owned};
use reeve_client::{Access, v1};
use reeve_domain::record::Said;
use reeve_domain::tenant::Status;
use reeve_local::{Fleet, examples_dir, tenants, until};
use reeve_proto::identity::record::{Export, read};
use serde_json::Value;

const KEPT: [&str; 2] = ["before", "behind"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_behind_a_snapshot_comes_back_from_the_agents_records() -> Result<()> {
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples_dir()?.join("ehr"))
        .direct()
        .start()
        .await?;
    let ashes = Ashes::of(&fleet)?;
    onboard(&fleet, "before").await?;
    let leaving = onboard(&fleet, "leaving").await?;
    let file = ashes.dir().join("hospital.snapshot");
    reeve(&ashes, "cluster snapshot save", &[&file])?;
    onboard(&fleet, "behind").await?;
    offboard(&fleet, &leaving).await?;
    // Whoever joins now is not in the snapshot; a service that was there before is asked at the end.
    let seen = ashes::newest_revision(&fleet).await?;
    let folder = ashes.dir().join("told");
    std::fs::create_dir(&folder)?;
    // What was handed out last says that a tenant is gone.
    let told = until("the agent to keep all of it", PATIENCE, async || {
        let export = export(&fleet, &folder)?;
        let mut all = export.records.iter().filter_map(|signed| read(signed).ok());
        let is_gone = all.any(|told| matches!(told.said, Said::Gone(_)));
        Ok(is_gone.then_some(export))
    })
    .await?;
    fleet.nodes().iter().try_for_each(|node| node.kill9())?;
    ashes.lose_everything(&fleet)?;
    let again = export(&fleet, &folder)?;
    ensure!(
        again == told,
        "with no registry the agent gives out something else"
    );

    let asked = |dir: &str, records: &Path| -> Vec<PathBuf> {
        let records = ["--records".into(), records.to_owned()];
        [
            vec![file.clone()],
            ashes.place(&fleet, dir).owned(),
            records.into(),
        ]
        .concat()
    };
    let forged = forge(&ashes, &told)?;
    let odd = reeve_owned(&ashes, &[], "cluster snapshot restore", &asked("forged", &forged))?;
    let refused = odd["heard"]["refused"].as_array().context("no list")?;
    ensure!(refused.len() == told.records.len(), "{odd}");
    ensure!(odd["heard"]["records"] == 0, "{odd}");
    let mutant = [("REEVE_MUTANT", "restore_takes_unsigned")];
    let odd = reeve_owned(
        &ashes,
        &mutant,
        "cluster snapshot restore",
        &asked("odd", &forged),
    )?;
    ensure!(odd["heard"]["records"] != 0, "the mutant went unnoticed: {odd}");

    let made = reeve_owned(&ashes, &[], "cluster snapshot restore", &asked("new", &folder))?;
    ensure!(made["revision"].as_u64() > Some(seen), "{made}");
    ensure!(fate(&made, "behind") == Some("came back"), "{made}");
    ensure!(fate(&made, "leaving") == Some("fenced"), "{made}");
    ensure!(
        made["heard"]["refused"].as_array().is_some_and(Vec::is_empty),
        "{made}"
    );
    let _first = ashes.start_restored(&made)?;

    let service = until("the restored node to let a service in", PATIENCE, async || {
        Ok(fleet.service_client("after", &[]).await.ok())
    })
    .await?;
    for slug in KEPT {
        ashes::resolved_at(&fleet, &domain(slug)).await?;
        let resolution = tenants::heard(&service, &domain(slug)).await?;
        let pool = service.pool(&resolution, Access::Write).await?;
        let database: String = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(&pool)
            .await?;
        ensure!(database == resolution.tenant.as_str(), "{slug}: {database}");
    }
    service.close().await;

    // A person sees why it is fenced, and decides.
    let told = reeve(&ashes, "tenant status", &[Path::new("leaving")])?;
    let why = told["tenant"]["fenced_because"][0].as_str();
    ensure!(why.is_some_and(|why| why.contains("is gone")), "{told}");
    let gone = [Path::new("leaving"), Path::new("--confirm"), Path::new("leaving")];
    ashes::text(&ashes, "tenant delete", &gone)?;
    let export = ashes.dir().join("audit.jsonl");
    reeve(&ashes, "audit export", &[&export])?;
    reeve(&ashes, "audit verify", &[&export])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_behind_the_last_folder_comes_back_from_the_agents_records() -> Result<()> {
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples_dir()?.join("ehr"))
        .direct()
        .start()
        .await?;
    let ashes = Ashes::of(&fleet)?;
    onboard(&fleet, "before").await?;
    // One is away from now on, and the only one whose folder is left in the end.
    let leader = fleet.leader().await?.id();
    let survivor = fleet.nodes().iter().find(|node| node.id() != leader);
    let survivor = survivor.context("a follower")?;
    until(
        "the follower to have what was there before",
        PATIENCE,
        async || {
            let newest = ashes::newest_revision(&fleet).await?;
            Ok((ashes::revision_of(survivor).await? >= newest).then_some(()))
        },
    )
    .await?;
    survivor.kill9()?;
    let behind = onboard(&fleet, "behind").await?;
    let seen = ashes::revision_of(fleet.leader().await?).await?;
    let folder = ashes.dir().join("told");
    std::fs::create_dir(&folder)?;
    until("the agent to keep all of it", PATIENCE, async || {
        let export = export(&fleet, &folder)?;
        let mut all = export.records.iter().filter_map(|signed| read(signed).ok());
        let is_active = |said: &Said| match said {
            Said::Hosts(hosted) => hosted.id.as_str() == behind && hosted.status == Status::Active,
            Said::Group(_) | Said::Gone(_) => false,
        };
        Ok(all.any(|told| is_active(&told.said)).then_some(()))
    })
    .await?;
    fleet.nodes().iter().try_for_each(|node| node.kill9())?;
    ashes.lose_all_but(&fleet, survivor.id())?;

    let data = survivor.data_dir().to_owned();
    let asked = |dir: &str| -> Vec<PathBuf> {
        let flag: Vec<PathBuf> = vec!["--data-dir".into(), data.clone()];
        [flag, ashes.place_away_from(&fleet, dir, survivor.id()).owned()].concat()
    };
    let alone = reeve_owned(&ashes, &[], "cluster recover", &asked("alone"))?;
    ensure!(
        alone["tenants"] == 1,
        "the folder knows of the second one: {alone}"
    );
    let told = [asked("new"), vec!["--records".into(), folder]].concat();
    let made = reeve_owned(&ashes, &[], "cluster recover", &told)?;
    ensure!(
        made["revision"].as_u64() > Some(seen),
        "{made}, and {seen} was seen"
    );
    ensure!(fate(&made, "behind") == Some("came back"), "{made}");
    ensure!(made["tenants"] == 2, "{made}");
    ensure!(
        made["heard"]["refused"].as_array().is_some_and(Vec::is_empty),
        "{made}"
    );
    let _first = ashes.start_restored(&made)?;
    for slug in KEPT {
        ensure!(
            ashes::resolved_at(&fleet, &domain(slug)).await? > seen,
            "{slug} is from before"
        );
    }
    Ok(())
}

fn domain(slug: &str) -> String {
    format!("{slug}.example")
}

async fn onboard(fleet: &Fleet, slug: &str) -> Result<String> {
    let order = tenants::order(slug, &domain(slug), "vn", "ehr");
    let operation = tenants::create(fleet.api(), order).await?;
    let ended = tenants::ended(fleet.api(), &operation.id, PATIENCE).await?;
    ensure!(ended.state() == v1::operation::State::Done, "{ended:?}");
    Ok(operation.tenant_id)
}

async fn offboard(fleet: &Fleet, tenant: &str) -> Result<()> {
    let asked = v1::DeleteTenantRequest {
        tenant: tenant.to_owned(),
        confirm: "leaving".to_owned(),
        request_id: reeve_client::request_id(),
        ..Default::default()
    };
    let answer = fleet.api().tenants().delete_tenant(asked).await?.into_inner();
    let operation = answer.operation.context("no operation")?;
    let ended = tenants::ended(fleet.api(), &operation.id, PATIENCE).await?;
    ensure!(ended.state() == v1::operation::State::Done, "{ended:?}");
    Ok(())
}

/// As a person does it, beside the agent that runs.
fn export(fleet: &Fleet, folder: &Path) -> Result<Export> {
    let agent = fleet.agents().first().context("an agent")?;
    let file = folder.join("vn.records");
    let ran = Command::new(reeve_local::Binaries::find()?.agent)
        .arg("--config")
        .arg(agent.config())
        .args(["records", "export"])
        .arg(&file)
        .output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Ok(Export::from_bytes(&std::fs::read(&file)?)?)
}

/// The same statements, and nobody signed them.
fn forge(ashes: &Ashes, told: &Export) -> Result<PathBuf> {
    let mut forged = told.clone();
    for record in &mut forged.records {
        record.signature.reverse();
    }
    let folder = ashes.dir().join("invented");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("vn.records"), forged.to_bytes()?)?;
    Ok(folder)
}

fn fate<'a>(made: &'a Value, name: &str) -> Option<&'a str> {
    let all = made["heard"]["verdicts"].as_array()?;
    all.iter().find(|verdict| verdict["name"] == name)?["fate"].as_str()
}
