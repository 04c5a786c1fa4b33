//! Linux' profiler, as a program beside us.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::say;

/// Samples a second of each processor; odd, so that it keeps no step with anything by the clock.
pub const FREQUENCY: u32 = 499;
/// One line for each call of each sample. The name of the thread is `comm`.
const FIELDS: &str = "comm,pid,tid,time,event,ip,sym,dso";

/// Copies of stacks are many: in memory they keep no node from its disk.
const MEMORY: &str = "/dev/shm";

pub struct Perf {
    dir: TempDir,
    call_graph: String,
}

impl Perf {
    /// Tries it out; an error says what it lacks.
    pub async fn find(call_graph: &str) -> Result<Perf> {
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix("reeve-bench-perf-");
        let perf = Perf {
            dir: dir.tempdir_in(MEMORY).or_else(|_| dir.tempdir())?,
            call_graph: call_graph.to_owned(),
        };
        perf.record(&["--", "true"], "try").await?;
        Ok(perf)
    }

    /// Records these processes for so long, and gives back their stacks as text.
    pub async fn stacks(&self, pids: &[i32], span: Duration, name: &str) -> Result<Vec<u8>> {
        let pids: Vec<_> = pids.iter().map(i32::to_string).collect();
        let seconds = span.as_secs_f64().to_string();
        let args = ["-p", &pids.join(","), "--", "sleep", &seconds];
        self.record(&args, name).await?;
        // Calls that were built into others stay hidden: to look each of them up takes minutes.
        let data = self.data(name);
        let mut script = Command::new("perf");
        script
            .args(["script", "--no-inline", "-F", FIELDS, "-i"])
            .arg(&data);
        let said = good(script, "perf script").await?;
        // It is large, and everything that counts is in the text.
        std::fs::remove_file(&data).with_context(|| format!("removing {}", data.display()))?;
        let told = String::from_utf8_lossy(&said.stderr);
        for lost in told.lines().filter(|line| line.contains("lost")) {
            say(&format!("profile of {name}: {}", lost.trim()));
        }
        Ok(said.stdout)
    }

    async fn record(&self, what: &[&str], name: &str) -> Result<()> {
        let frequency = FREQUENCY.to_string();
        let mut record = Command::new("perf");
        record
            .args([
                "record",
                "-F",
                &frequency,
                "-g",
                "--call-graph",
                &self.call_graph,
                "-o",
            ])
            .arg(self.data(name))
            .args(what);
        good(record, "perf record").await.map(drop)
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("perf-{name}.data"))
    }
}

async fn good(mut command: Command, what: &str) -> Result<Output> {
    let said = command.kill_on_drop(true).output().await;
    let said = said.with_context(|| format!("{what} does not run"))?;
    let told = String::from_utf8_lossy(&said.stderr);
    ensure!(
        said.status.success(),
        "{what} ended with {}: {}",
        said.status,
        told.trim()
    );
    Ok(said)
}
