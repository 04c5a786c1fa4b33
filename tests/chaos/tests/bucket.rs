//! Real nodes keep their backups in a bucket, of a server that checks signatures, over TLS: through leaders that are
//! killed or stand still in the middle of an upload, and keys that are wrong for a while.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_bucket::{ACCESS_KEY, Fault, Options, Rule, SECRET_KEY, Server};
use reeve_client::v1::{GetClusterRequest, Role, Vitals};
use reeve_local::{Fleet, Node, registry_program, until};

const PATIENCE: Duration = Duration::from_secs(120);
const KEEP: usize = 3;
const WRONG: &str = "the-key-of-another-store";

/// A fleet, and the store that its backups go to.
struct Ground {
    server: Server,
    fleet: Fleet,
}

impl Ground {
    async fn start(every_ms: i64) -> Result<Ground> {
        let server = Server::start(Options::default()).await?;
        let settings = toml::toml! {
            [backup]
            every_ms = 0
            keep = 3
            url = "s3://backups/reeve"
            [backup.s3]
            patience_ms = 5000
        };
        let mut settings = settings;
        settings["backup"]["every_ms"] = every_ms.into();
        let s3 = settings["backup"]["s3"].as_table_mut().context("[backup.s3]")?;
        let path = |path: PathBuf| toml::Value::from(path.display().to_string());
        s3.insert("endpoint".into(), server.endpoint().into());
        s3.insert("ca_file".into(), path(server.ca_file()));
        s3.insert("access_key_file".into(), path(server.access_key_file()));
        s3.insert("secret_key_file".into(), path(server.secret_key_file()));
        let no_regions: [&str; 0] = [];
        let fleet = Fleet::builder()
            .regions(no_regions)
            .node_settings(settings)
            .start()
            .await?;
        Ok(Ground { server, fleet })
    }

    fn named(&self, end: &str) -> Result<BTreeSet<String>> {
        let all = self.server.objects("reeve")?;
        Ok(all.into_iter().filter(|name| name.ends_with(end)).collect())
    }

    /// Waits until a backup was kept that was not there before.
    async fn one_more(&self, before: &BTreeSet<String>) -> Result<()> {
        until("one more backup", PATIENCE, async || {
            let newest = self.named(".kept")?.pop_last();
            Ok((newest > before.last().cloned()).then_some(()))
        })
        .await
    }

    /// Waits until nothing half done is left, and no more is kept than was asked for.
    async fn tidy(&self) -> Result<()> {
        until("a tidy shelf", PATIENCE, async || {
            let (marks, files) = (self.named(".kept")?, self.named(".snapshot")?);
            let is_tidy = marks.len() <= KEEP + 1 && files.len() <= marks.len() + 1;
            Ok((is_tidy && self.server.uploads().is_empty()).then_some(()))
        })
        .await
    }

    /// The newest backup below the URL, read whole with the settings of a node.
    async fn verify(&self) -> Result<serde_json::Value> {
        let output = self
            .registry(&["snapshot", "verify", "--file", "s3://backups/reeve"])
            .await?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    async fn registry(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(registry_program()?);
        command.args(args);
        command
            .arg("--settings")
            .arg(self.fleet.dir().join("n1/registry.toml"));
        command.arg("--root-key").arg(self.fleet.dir().join("root.key"));
        Ok(tokio::task::spawn_blocking(move || command.output()).await??)
    }

    /// No node wrote a key down.
    fn hush(&self) -> Result<()> {
        for node in self.fleet.nodes() {
            let log = std::fs::read_to_string(node.log())?;
            for secret in [SECRET_KEY, WRONG, ACCESS_KEY] {
                ensure!(!log.contains(secret), "node {} logged {secret}", node.id());
            }
        }
        Ok(())
    }
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

async fn vitals(node: &Node) -> Result<Vitals> {
    let asked = node
        .api()
        .cluster()
        .get_cluster(GetClusterRequest::default())
        .await?;
    asked.into_inner().vitals.context("no vitals")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_keeps_the_backup_that_a_dead_one_had_begun() -> Result<()> {
    let ground = Ground::start(1_000).await?;
    ground.one_more(&BTreeSet::new()).await?;
    ground.fleet.token(Role::Service, "kept", "", &[]).await?;

    let rule = Rule::each("PUT", ".snapshot", Fault::Stall { after: 1_000 });
    ground.server.fail(rule);
    until("an upload that has begun", PATIENCE, async || {
        Ok((ground.server.failed() > 0).then_some(()))
    })
    .await?;
    let dead = ground.fleet.leader().await?.id();
    ground.fleet.node(dead)?.kill9()?;
    ground.server.heal();
    let before = ground.named(".kept")?;
    ground.one_more(&before).await?;
    let told = ground.verify().await?;
    ensure!(told["inside"]["node"].as_u64() != Some(dead), "{told}");
    ensure!(told["inside"]["records"].as_u64() > Some(1), "{told}");

    ground.fleet.node(dead)?.start()?;
    ground.one_more(&ground.named(".kept")?).await?;
    ground.tidy().await?;
    ground.verify().await?;
    ground.hush()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_comes_back_in_the_middle_of_its_upload_takes_nobodys_place() -> Result<()> {
    let ground = Ground::start(20_000).await?;
    ground.one_more(&BTreeSet::new()).await?;
    let rule = Rule::first(1, "PUT", ".snapshot", Fault::Stall { after: 1_000 });
    ground.server.fail(rule);
    until("an upload that has begun", PATIENCE, async || {
        Ok((ground.server.failed() > 0).then_some(()))
    })
    .await?;
    let old = ground.fleet.leader().await?;
    old.pause();
    // The next one keeps the backup of the same time, and the old one goes on with its own.
    ground.one_more(&ground.named(".kept")?).await?;
    old.resume();
    until("an old leader that knows it was too late", PATIENCE, async || {
        let log = std::fs::read_to_string(old.log())?;
        Ok(log
            .contains("another node kept the backup of this time")
            .then_some(()))
    })
    .await?;
    ground.one_more(&ground.named(".kept")?).await?;
    let written = ground.server.written();
    let mut marks = written.iter().filter(|(key, _)| key.ends_with(".kept"));
    ensure!(
        marks.all(|(_, times)| *times == 1),
        "a mark was written over: {written:?}"
    );
    ground.tidy().await?;
    ground.verify().await?;
    ground.hush()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_is_told_by_every_node_and_needs_no_restart() -> Result<()> {
    let ground = Ground::start(1_000).await?;
    ground.one_more(&BTreeSet::new()).await?;
    std::fs::write(ground.server.secret_key_file(), WRONG)?;
    for node in ground.fleet.nodes() {
        let trouble = until("a node that says why", PATIENCE, async || {
            Ok(vitals(node).await?.backup_trouble)
        })
        .await?;
        ensure!(trouble.reason == "wrong_key", "{trouble:?}");
        ensure!(trouble.fix.contains("secret_key_file"), "{trouble:?}");
        let row = "reeve_registry_backup_failing{reason=\"wrong_key\"}";
        let value = reeve_chaos::metrics::metric(node, row).await?;
        ensure!(value == "1", "{row} {value}");
    }
    let refused = ground
        .registry(&["snapshot", "verify", "--file", "s3://backups/reeve"])
        .await?;
    let told = said(&refused);
    ensure!(!refused.status.success() && told.contains("wrong_key"), "{told}");
    ensure!(!told.contains(WRONG), "{told}");

    std::fs::write(ground.server.secret_key_file(), SECRET_KEY)?;
    let before = ground.named(".kept")?;
    ground.one_more(&before).await?;
    for node in ground.fleet.nodes() {
        until("a node that is well again", PATIENCE, async || {
            Ok(vitals(node).await?.backup_trouble.is_none().then_some(()))
        })
        .await?;
    }
    ground.hush()
}
