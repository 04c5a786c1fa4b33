//! A bundle says how the registry is, and nothing that must stay in the house.

use std::io::Read;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use reeve_client::v1::Role;
use reeve_local::{Fleet, hand, tenants};

fn reeve(fleet: &Fleet, home: &std::path::Path, words: &[&str]) -> Result<Output> {
    let files = fleet.admin_files();
    Ok(Command::new(env!("CARGO_BIN_EXE_reeve"))
        .args(words)
        .args(["-o", "json", "--nodes", &fleet.addresses().join(",")])
        .arg("--ca")
        .arg(files.ca)
        .arg("--cert")
        .arg(files.cert)
        .arg("--key")
        .arg(files.key)
        .env("REEVE_CONFIG", home.join("config.toml"))
        .stdin(Stdio::null())
        .output()?)
}

/// All that is in it, by name.
fn unpack(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let mut tar = tar::Archive::new(GzDecoder::new(bytes));
    let mut found = Vec::new();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        found.push((name, text));
    }
    Ok(found)
}

/// The middle of a PEM: whoever has it has enough.
fn middle(pem: &str) -> String {
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    lines[lines.len() / 2].to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_says_how_the_registry_is_and_keeps_what_is_secret() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder().regions(no_regions).direct().start().await?;
    let _hands = hand::region(&fleet, "vn", 1).await?;
    let order = tenants::order("cho-ray-saigon", "cho-ray.example", "vn", "ehr");
    let made = tenants::create(fleet.api(), order).await?;
    tenants::ended(fleet.api(), &made.id, std::time::Duration::from_secs(60)).await?;
    let token = fleet.token(Role::Service, "portal", "", &[]).await?.to_string();
    let home = tempfile::tempdir()?;
    let file = home.path().join("reeve.tar.gz");

    let ran = reeve(
        &fleet,
        home.path(),
        &["debug", "bundle", &file.display().to_string()],
    )?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let parts = unpack(&std::fs::read(&file)?)?;
    let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(
        names
            == [
                "MANIFEST.txt",
                "status.json",
                "check.json",
                "groups.json",
                "client.json"
            ]
            .map(|name| format!("reeve/{name}")),
        "{names:?}"
    );
    let status: serde_json::Value = serde_json::from_str(&parts[1].1)?;
    ensure!(
        status["quorum"]["voters"] == 3 && status["tenants"] == 1,
        "{status}"
    );

    let files = fleet.admin_files();
    let secret = token
        .rsplit(['.', ':', '-'])
        .next()
        .context("an odd token")?
        .to_owned();
    let kept = [
        ("the token", token),
        ("the token's secret", secret),
        ("the admin's key", middle(&std::fs::read_to_string(files.key)?)),
        (
            "the admin's certificate",
            middle(&std::fs::read_to_string(files.cert)?),
        ),
        ("a tenant's name", "cho-ray".to_owned()),
        ("a tenant's id", made.tenant_id),
    ];
    for (what, text) in kept {
        ensure!(text.len() > 1, "{what} is empty");
        for (name, content) in &parts {
            ensure!(!content.contains(&text), "{what} is in {name}");
        }
    }

    // When nobody answers, that is what it says.
    for node in fleet.nodes() {
        node.kill9()?;
    }
    let ran = reeve(
        &fleet,
        home.path(),
        &["debug", "bundle", &file.display().to_string(), "--timeout", "3s"],
    )?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let parts = unpack(&std::fs::read(&file)?)?;
    let (_, manifest) = parts.first().context("an empty bundle")?;
    ensure!(manifest.contains("status.json: missing"), "{manifest}");
    Ok(())
}
