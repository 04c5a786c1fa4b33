//! `reeve secret`: credentials are changed by hand, when they have leaked, and by the schedule; their age and holders shown.

mod admin;

use std::time::Duration;

use admin::{Admin, onboard};
use anyhow::{Context, Result, ensure};
use reeve_client::{Access, Fleet as Service};
use reeve_local::{Fleet, tenants, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const CONFLICT: i32 = 4;

fn age(admin: &Admin<'_>, words: &str) -> Result<Value> {
    let answer = admin.json(&format!("secret age {words}"), 0)?;
    answer["credentials"].get(0).cloned().context("no credential")
}

async fn write(service: &Service, domain: &str) -> Result<()> {
    let tenant = tenants::heard(service, domain).await?;
    let pool = service.pool(&tenant, Access::Write).await?;
    let written = sqlx::query(
        "INSERT INTO patient (mrn, family_name, given_name, birth_date, sex) \
         VALUES (upper(left(gen_random_uuid()::text, 30)), 'Nguyen', 'An', '1980-01-01', 'female')",
    )
    .execute(&pool)
    .await;
    written.map(drop).context("write")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_changed_by_hand_and_its_holders_are_told() -> Result<()> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/ehr");
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples)
        .start()
        .await?;
    let admin = Admin::of(&fleet)?;
    onboard(&fleet, "cho-ray").await?;
    let fresh = age(&admin, "cho-ray")?;
    ensure!(fresh["version"] == 1 && fresh["client_count"] == 0, "{fresh}");
    let service = fleet.service_client("ehr", &[]).await?;
    service.ready().await?;
    write(&service, "cho-ray.example").await?;

    let ended = admin.json("secret rotate cho-ray", 0)?;
    ensure!(ended["state"] == "done" && ended["kind"] == "rotate", "{ended}");
    let held = age(&admin, "cho-ray --clients")?;
    ensure!(held["version"] == 2 && held["behind_count"] == 0, "{held}");
    write(&service, "cho-ray.example").await?;
    let held = age(&admin, "cho-ray --clients")?;
    let client = held["clients"][0].clone();
    ensure!(
        client["principal"]
            .as_str()
            .is_some_and(|p| p.ends_with("/svc/ehr"))
            && client["newest_version"] == 2,
        "{held}"
    );

    // A leaked one ends at once, also for a client that is in the middle of something.
    let tenant = tenants::heard(&service, "cho-ray.example").await?;
    let pool = service.pool(&tenant, Access::Write).await?;
    let mut inside = pool.begin().await?;
    sqlx::query("SELECT 1").execute(&mut *inside).await?;
    let ended = admin.json("secret rotate cho-ray --leaked", 0)?;
    let steps: Vec<&str> = ended["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|s| s["name"].as_str())
        .collect();
    ensure!(
        steps == ["prepare_login", "publish_credential", "retire_login"],
        "{steps:?}"
    );
    ensure!(
        sqlx::query("SELECT 1").execute(&mut *inside).await.is_err(),
        "the session goes on"
    );
    drop(inside);
    until("the service to follow", PATIENCE, async || {
        Ok(write(&service, "cho-ray.example").await.ok())
    })
    .await?;
    let held = age(&admin, "cho-ray")?;
    ensure!(held["version"] == 3 && held["behind_count"] == 0, "{held}");

    let (code, told) = admin.said("secret rotate nowhere")?;
    ensure!(code == Some(3) && told.contains("nowhere"), "{code:?} {told}");
    let (code, told) = admin.said("secret rotate cho-ray --grace 8760h")?;
    ensure!(code == Some(2) && told.contains("grace"), "{code:?} {told}");
    let (code, table) = admin.said("secret age --clients")?;
    ensure!(
        code == Some(0) && table.contains("v3") && table.contains("/svc/ehr"),
        "{table}"
    );
    let (code, out) = admin.said("secret rotate cho-ray --no-wait")?;
    ensure!(code == Some(0), "{out}");
    let (code, told) = admin.said("secret rotate cho-ray --no-wait")?;
    ensure!(code == Some(CONFLICT) || code == Some(0), "{code:?} {told}");
    service.close().await;
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schedule_changes_what_is_old_and_services_follow() -> Result<()> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/ehr");
    let settings: toml::Table =
        toml::from_str("[rotation]\nevery_ms = 10000\ngrace_ms = 60000\nat_once = 1")?;
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples)
        .node_settings(settings)
        .start()
        .await?;
    let admin = Admin::of(&fleet)?;
    onboard(&fleet, "cho-ray").await?;
    onboard(&fleet, "hue").await?;
    let service = fleet.service_client("ehr", &[]).await?;
    service.ready().await?;
    for domain in ["cho-ray.example", "hue.example"] {
        write(&service, domain).await?;
    }
    for slug in ["cho-ray", "hue"] {
        until(&format!("{slug} to be changed twice"), PATIENCE, async || {
            let domain = format!("{slug}.example");
            write(&service, &domain).await?;
            let version = age(&admin, slug)?["version"].as_u64();
            Ok(version.filter(|version| *version >= 3))
        })
        .await?;
    }
    let operations = admin.json("op ls", 0)?;
    let rotations: Vec<&Value> = operations["operations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|o| o["kind"] == "rotate")
        .collect();
    ensure!(
        rotations.len() >= 4
            && rotations
                .iter()
                .all(|o| o["actor"] == "pilot" && o["state"] != "stuck"),
        "{rotations:?}"
    );
    service.close().await;
    fleet.shutdown().await
}
