//! The program, as the admin of a fleet.
#![allow(dead_code, reason = "each test uses its own part of it")]

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use reeve_client::v1::Operation;
use reeve_local::{Fleet, tenants};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Brings a tenant in, and waits for how that ended.
pub async fn onboard(fleet: &Fleet, slug: &str) -> Result<Operation> {
    let order = tenants::order(slug, &format!("{slug}.example"), "vn", "ehr");
    let operation = tenants::create(fleet.api(), order).await?;
    tenants::ended(fleet.api(), &operation.id, PATIENCE).await
}

pub struct Admin<'a> {
    fleet: &'a Fleet,
    home: tempfile::TempDir,
}

impl Admin<'_> {
    pub fn of(fleet: &Fleet) -> Result<Admin<'_>> {
        Ok(Admin {
            fleet,
            home: tempfile::tempdir()?,
        })
    }

    /// Runs it, as nobody's terminal.
    pub fn run(&self, words: &str) -> Result<Output> {
        Ok(self.command(words).stdin(Stdio::null()).output()?)
    }

    pub fn command(&self, words: &str) -> Command {
        let files = self.fleet.admin_files();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
        command
            .args(words.split(' '))
            .args(["--nodes", &self.fleet.addresses().join(",")])
            .arg("--ca")
            .arg(files.ca)
            .arg("--cert")
            .arg(files.cert)
            .arg("--key")
            .arg(files.key)
            .env("REEVE_CONFIG", self.home.path().join("config.toml"))
            .env("NO_COLOR", "1");
        command
    }

    /// How it ended, and everything that it said.
    pub fn said(&self, words: &str) -> Result<(Option<i32>, String)> {
        let ran = self.run(words)?;
        let all = [ran.stdout, ran.stderr].concat();
        Ok((ran.status.code(), String::from_utf8_lossy(&all).into_owned()))
    }

    /// What it answered, when it ended as it should.
    pub fn json(&self, words: &str, code: i32) -> Result<Value> {
        let ran = self.run(&format!("{words} -o json"))?;
        let (out, err) = (
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr),
        );
        let got = ran.status.code();
        ensure!(got == Some(code), "{words} ended with {got:?}\n{out}\n{err}");
        Ok(serde_json::from_str(&out)?)
    }
}
