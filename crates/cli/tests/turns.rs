//! `--queue`, `--priority`, `reeve op limits`: what waits for its turn, what for, and what becomes of it.

mod admin;

use admin::{Admin, onboard};
use anyhow::{Context, Result, ensure};
use reeve_local::Fleet;
use serde_json::Value;

const CONFLICT: i32 = 4;

fn id(operation: &Value) -> Result<String> {
    operation["id"].as_str().map(str::to_owned).context("no id")
}

/// When its first step was begun.
fn begun(operation: &Value) -> Result<String> {
    let time = operation["steps"][0]["start_time"].as_str();
    time.map(str::to_owned).context("nothing of it was begun")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_says_what_for_and_begins_in_its_turn() -> Result<()> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/ehr");
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples)
        .start()
        .await?;
    let admin = Admin::of(&fleet)?;
    for slug in ["cho-ray", "bach-mai"] {
        onboard(&fleet, slug).await?;
    }
    let limits = admin.json("op limits --per-server 1", 0)?;
    ensure!(
        limits["per_server"] == 1 && limits["per_region"] == 64,
        "{limits}"
    );
    let (code, told) = admin.said("op limits --per-server 99")?;
    ensure!(code == Some(2) && told.contains("1 to 64"), "{code:?} {told}");

    // While nobody carries anything out.
    fleet.agent("vn-1")?.pause();
    let first = admin.json("tenant allowlist cho-ray 127.0.0.0/8 --no-wait", 0)?;
    ensure!(first["state"] == "running", "{first}");
    let (code, told) = admin.said("secret rotate cho-ray --no-wait")?;
    ensure!(
        code == Some(CONFLICT) && told.contains("--queue"),
        "{code:?} {told}"
    );
    let behind = admin.json("secret rotate cho-ray --queue --no-wait", 0)?;
    ensure!(behind["state"] == "queued", "{behind}");
    let waits = behind["waits_for"].as_str().unwrap_or_default();
    ensure!(waits.contains(&id(&first)?), "{behind}");
    let other = admin.json("secret rotate bach-mai --priority background --no-wait", 0)?;
    ensure!(
        other["state"] == "queued"
            && other["waits_for"] == "its turn: server vn-1 has as many at work as it may",
        "{other}"
    );
    let told = admin.json("op ls --state queued", 0)?;
    ensure!(
        told["operations"].as_array().is_some_and(|all| all.len() == 2),
        "{told}"
    );

    // Nothing of a new tenant is begun, so nothing of it is left.
    let late = admin.json("tenant create hue --region vn --no-wait", 0)?;
    ensure!(late["state"] == "queued", "{late}");
    let ended = admin.json(&format!("op cancel {}", id(&late)?), 0)?;
    ensure!(
        ended["state"] == "undone" && ended["reason"] == "CANCELLED",
        "{ended}"
    );
    let (code, _) = admin.said("tenant get hue")?;
    ensure!(code == Some(3), "it is there");

    fleet.agent("vn-1")?.resume();
    let mut begins = Vec::new();
    for operation in [&first, &behind, &other] {
        let ended = admin.json(&format!("op wait {}", id(operation)?), 0)?;
        ensure!(ended["state"] == "done", "{ended}");
        begins.push(begun(&ended)?);
    }
    ensure!(
        begins.is_sorted(),
        "the urgent and the older come first: {begins:?}"
    );
    let limits = admin.json("op limits", 0)?;
    ensure!(limits["queued"] == 0, "{limits}");

    // One at a time: of three at once two wait.
    let measured = admin.json("bench onboard --region vn --tenants 3 --at-once 3", 0)?;
    for (kind, name) in [(0, "ONBOARD"), (1, "OFFBOARD")] {
        let kind = &measured["kinds"][kind];
        let parts = kind["times"].as_array().context("no times")?;
        let part = |name: &str| parts.iter().find(|one| one["part"] == name).cloned();
        let whole = part("whole").context("no whole")?;
        ensure!(kind["kind"] == name && whole["count"] == 3, "{measured}");
        let waited = part("waited for its turn").context("no waiting")?;
        ensure!(waited["max_ms"].as_f64().unwrap_or_default() > 1.0, "{measured}");
        ensure!(whole["max_ms"].as_f64() > waited["max_ms"].as_f64(), "{measured}");
    }
    let left = admin.json("tenant ls", 0)?;
    ensure!(
        left["tenants"].as_array().is_some_and(|all| all.len() == 2),
        "{left}"
    );
    fleet.shutdown().await
}
