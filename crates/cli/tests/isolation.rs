//! A wall that breaks on a real instance: told by the agent, known to the registry, shown to people, mended, gone.

mod admin;

use std::time::Duration;

use admin::{Admin, onboard};
use anyhow::{Context, Result, ensure};
use reeve_client::v1::operation::State;
use reeve_local::{Fleet, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const FOUND: i32 = 10;

/// Until the report says so; how it exits is judged by the caller's last look.
async fn report(admin: &Admin<'_>, what: &str, code: i32, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    until(what, PATIENCE, async || {
        let seen = admin.json("isolation report --closed", code);
        Ok(seen.ok().filter(&holds))
    })
    .await
}

fn open(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let open = findings.iter().filter(|finding| finding["close_time"] == "");
    open.map(|finding| {
        format!(
            "{} {}",
            finding["rule"].as_str().unwrap_or(""),
            finding["subject"].as_str().unwrap_or("")
        )
    })
    .collect()
}

/// What a CI would read.
fn ci(admin: &Admin<'_>, words: &str, code: i32) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    admin.json(&format!("{words} --junit {}", file.path().display()), code)?;
    Ok(std::fs::read_to_string(file.path())?)
}

async fn started(repair: &str) -> Result<Fleet> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/ehr");
    let settings = format!("[isolation]\nevery_s = 1\nreap_after_s = 3\nrepair = {repair}");
    let settings: toml::Table = toml::from_str(&settings)?;
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples)
        .agent_settings(settings);
    fleet.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_that_breaks_is_told_shown_and_closed_and_keeps_tenants_out_meanwhile() -> Result<()> {
    let fleet = started("[]").await?;
    let admin = Admin::of(&fleet)?;
    let made = onboard(&fleet, "cho-ray").await?;
    ensure!(made.state() == State::Done, "{made:?}");
    ensure!(
        made.steps.iter().any(|step| step.name == "audit"),
        "no audit before it was let in"
    );
    let tenant = made.tenant_id.clone();
    // A clean report is one of an instance that was looked at.
    let clean = report(&admin, "a round of the audit", 0, |seen| {
        seen["audited"][0]["last_round_ms"].is_number()
    })
    .await?;
    ensure!(open(&clean).is_empty(), "{clean}");
    let scanned = admin.json("isolation scan cho-ray", 0)?;
    ensure!(scanned["scans"][0]["stands"] == true, "{scanned}");

    let postgres = fleet.agent("vn-1")?.postgres().clone();
    postgres.ask("postgres", "CREATE ROLE intruder SUPERUSER").await?;
    postgres
        .ask(
            "postgres",
            &format!("GRANT CONNECT ON DATABASE {tenant} TO intruder"),
        )
        .await?;
    let seen = report(&admin, "the findings", FOUND, |seen| open(seen).len() == 3).await?;
    ensure!(
        open(&seen).contains(&format!("F1 database {tenant}: CONNECT to intruder"))
            && open(&seen).contains(&"F3 role intruder: SUPERUSER".to_owned())
            && open(&seen).contains(&"F5 unknown role intruder".to_owned()),
        "{seen}"
    );
    let told = ci(&admin, "isolation test --all", FOUND)?;
    ensure!(
        told.contains(r#"<testsuite name="findings" tests="3" failures="3" errors="0">"#)
            && told.contains("role intruder: SUPERUSER")
            && told.contains(r#"<testsuite name="tenants" tests="1" failures="1" errors="0">"#),
        "{told}"
    );
    let scanned = admin.json("isolation scan --all", FOUND)?;
    let scan = &scanned["scans"][0];
    ensure!(
        scan["stands"] == false && scan["reason"] == "FINDING",
        "{scanned}"
    );
    // It is served all the same, and nobody else comes in.
    let refused = onboard(&fleet, "bach-mai").await?;
    ensure!(
        refused.state() == State::Undone && refused.reason == "FINDING",
        "{refused:?}"
    );
    ensure!(refused.detail.contains("F3: role intruder"), "{}", refused.detail);

    postgres
        .ask(
            "postgres",
            &format!("REVOKE ALL ON DATABASE {tenant} FROM intruder"),
        )
        .await?;
    postgres.ask("postgres", "DROP ROLE intruder").await?;
    let closed = report(&admin, "the walls to stand again", 0, |seen| {
        open(seen).is_empty()
    })
    .await?;
    let findings = closed["findings"].as_array().context("no findings")?;
    ensure!(findings.len() == 3, "what was closed is still shown: {closed}");
    ensure!(onboard(&fleet, "bach-mai").await?.state() == State::Done);
    let scanned = admin.json("isolation scan --all", 0)?;
    ensure!(
        scanned["scans"].as_array().is_some_and(|all| all.len() == 2),
        "{scanned}"
    );
    let told = ci(&admin, "isolation test --all", 0)?;
    ensure!(
        told.contains(r#"<testsuite name="instances" tests="1" failures="0" errors="0">"#)
            && told.contains(r#"<testsuite name="tenants" tests="2" failures="0" errors="0">"#)
            && told.contains("refused (42501)"),
        "{told}"
    );
    // Who is not there was not looked at, and that is no pass.
    let told = ci(&admin, "isolation test nowhere bach-mai", FOUND)?;
    ensure!(
        told.contains(r#"<testsuite name="tenants" tests="2" failures="0" errors="1">"#),
        "{told}"
    );
    let page = admin.json("isolation report --tenant bach-mai --closed", 0)?;
    ensure!(page["findings"].as_array().is_some_and(Vec::is_empty), "{page}");
    fleet.shutdown().await
}

/// The bytes of an offboarded tenant come back, as with an old disk; beside them is somebody's whom nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_that_is_gone_left_is_told_and_then_taken_away_and_nobody_elses() -> Result<()> {
    let fleet = started("[]").await?;
    let admin = Admin::of(&fleet)?;
    let tenant = onboard(&fleet, "cho-ray").await?.tenant_id;
    let ended = admin.json("tenant delete cho-ray --confirm cho-ray", 0)?;
    ensure!(ended["state"] == "done", "{ended}");
    let postgres = fleet.agent("vn-1")?.postgres().clone();
    let stranger = "t_00000000abcd";
    for id in [tenant.as_str(), stranger] {
        for sql in [
            format!("CREATE ROLE {id}"),
            format!("CREATE ROLE {id}_a LOGIN IN ROLE {id}"),
            format!("CREATE DATABASE {id} OWNER {id}"),
        ] {
            postgres.ask("postgres", &sql).await?;
        }
        postgres.ask(id, "CREATE TABLE patient (name text)").await?;
    }
    let of = |seen: &Value, id: &str| {
        let all = seen["findings"].as_array().cloned().unwrap_or_default();
        let its = all
            .into_iter()
            .filter(|one| one["rule"] == "F5" && one["tenant_id"] == id);
        its.collect::<Vec<Value>>()
    };
    let closed = |all: &[Value]| all.iter().filter(|one| one["close_time"] != "").count();
    let seen = report(&admin, "its leavings to be told and taken away", FOUND, |seen| {
        let its = of(seen, &tenant);
        its.len() >= 3 && closed(&its) == its.len()
    })
    .await?;
    let count = format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{tenant}%'");
    ensure!(postgres.ask("postgres", &count).await? == "0", "a role is left");
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{tenant}'");
    ensure!(
        postgres.ask("postgres", &count).await? == "0",
        "the database is left"
    );
    // Of the other nobody said that it is gone: a person decides.
    let its = of(&seen, stranger);
    ensure!(its.len() >= 3 && closed(&its) == 0, "{its:?}");
    let kept = postgres.ask(stranger, "SELECT count(*) FROM patient").await;
    ensure!(kept? == "0", "its table is gone");
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_mended_is_mended_by_itself_and_written_down() -> Result<()> {
    let fleet = started(r#"["F1", "F8", "F9", "F11"]"#).await?;
    let admin = Admin::of(&fleet)?;
    let made = onboard(&fleet, "cho-ray").await?;
    let tenant = made.tenant_id.clone();
    let postgres = fleet.agent("vn-1")?.postgres().clone();
    postgres
        .ask("postgres", &format!("ALTER ROLE {tenant}_a PASSWORD 'known'"))
        .await?;
    postgres
        .ask("postgres", &format!("ALTER ROLE {tenant}_a SET work_mem = '1GB'"))
        .await?;
    postgres
        .ask(
            "postgres",
            &format!("GRANT CONNECT ON DATABASE {tenant} TO PUBLIC"),
        )
        .await?;
    let hba = postgres.data_dir().join("pg_hba.conf");
    let lines = std::fs::read_to_string(&hba)?;
    std::fs::write(&hba, format!("host all all all trust\n{lines}"))?;
    postgres.ask("postgres", "SELECT pg_reload_conf()").await?;
    let seen = report(&admin, "all four to be found and mended", 0, |seen| {
        // A probe may have met the open door, too.
        let known = seen["findings"].to_string();
        let four = ["F1", "F8", "F9", "F11"];
        open(seen).is_empty()
            && four
                .iter()
                .all(|rule| known.contains(&format!("\"rule\":\"{rule}\"")))
    })
    .await?;
    ensure!(std::fs::read_to_string(&hba)? == lines, "{seen}");
    // The registry's password opens the door again.
    ensure!(admin.json("isolation scan cho-ray", 0)?["scans"][0]["stands"] == true);
    fleet.shutdown().await
}

#[test]
fn a_run_that_fails_leaves_no_pass_of_an_earlier_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("walls.xml");
    std::fs::write(&file, "<testsuites failures=\"0\"/>")?;
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_reeve"));
    run.args(["isolation", "test", "--all", "--nodes", "127.0.0.1:1", "--junit"])
        .arg(&file)
        .env("REEVE_CONFIG", folder.path().join("config.toml"));
    let ran = run.output()?;
    ensure!(ran.status.code() != Some(0), "nobody was asked");
    let left = std::fs::read_to_string(&file)?;
    ensure!(
        left.contains("the run has come to its end") && left.contains("it was cut off"),
        "{left}"
    );
    Ok(())
}
