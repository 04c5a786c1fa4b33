//! docs/operations.md is carried out: its commands, in its order, with the real programs, on one machine.
//!
//! What stands for what is in three tables: hosts become ports, `systemctl` becomes this test's own hand, and what needs
//! root or PostgreSQL is left out, and said.

mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use page::Step;
use reeve_local::{free_ports, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
/// Whoever has no machine of their own on the page.
const DESK: &str = "your machine";
const HOSTS: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// What is left out, and why.
const LEFT_OUT: [(&str, &str); 7] = [
    ("sudo systemctl daemon-reload", "needs root and systemd"),
    ("sudo systemctl enable reeve-registry", "needs root and systemd"),
    ("sudo install -m 755", "needs root; the program stays the same"),
    ("reeve cluster join-token --role agent", "needs PostgreSQL"),
    ("reeve-agent --config agent.toml join", "needs PostgreSQL"),
    (
        "reeve-agent --config agent.toml",
        "needs PostgreSQL; crates/cli/tests/records.rs has the records",
    ),
    (
        "reeve cluster join-token --role service --name kiosk",
        "needs a tenant, and so PostgreSQL",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_carried_out_from_the_first_node_to_the_loss_of_all() -> Result<()> {
    let mut operator = Operator::new()?;
    operator.play("Begin", &[]).await?;
    operator.play("Add nodes", &[]).await?;
    operator.play("Add nodes", &[("n2", "n3")]).await?;
    ensure!(operator.voters().await? == [1, 2, 3].into(), "three nodes vote");
    operator.play("Add a PostgreSQL instance", &[]).await?;
    operator.play("Let services and people in", &[]).await?;

    // One node at a time, the leader last.
    let leader = operator.status().await?["leader_id"]
        .as_u64()
        .context("nobody leads")?;
    let others = (1..=3).filter(|id| *id != leader);
    for id in others.chain([leader]) {
        operator.play("Upgrade", &[("n2", &format!("n{id}"))]).await?;
    }
    let after = operator.status().await?;
    ensure!(
        after["leader_id"] != leader,
        "whoever stops hands leadership over: {after}"
    );

    operator.play("Add nodes", &[("n2", "n4")]).await?;
    operator.play("Replace a node", &[]).await?;
    ensure!(
        operator.voters().await? == [2, 3, 4].into(),
        "the new one is there for the old one"
    );
    operator.play("Bring a damaged node back", &[]).await?;
    ensure!(
        operator.voters().await? == [3, 4, 5].into(),
        "it came back under a new id"
    );
    operator.play("Back up the registry", &[]).await?;

    let before = operator.status().await?;
    operator.lose_everything()?;
    let blocks = page::steps("Lose everything and come back")?;
    let second = blocks
        .iter()
        .position(|step| step.words.starts_with("reeve cluster recover"));
    let (restore, recover) = blocks.split_at(second.context("the page has no second way")?);
    operator.carry_out(restore, &[]).await?;
    operator.came_back(&before).await?;
    // The other way, as if the first had not been there.
    operator.lose_everything()?;
    operator.carry_out(recover, &[]).await?;
    operator
        .carry_out(&[Step::at_desk("reeve cluster check")], &[])
        .await?;
    operator.came_back(&before).await?;

    ensure!(
        operator.played == page::headings(),
        "{:?} were carried out",
        operator.played
    );
    let left_out: BTreeSet<_> = LEFT_OUT.iter().map(|(words, _)| *words).collect();
    ensure!(
        operator.left_out == left_out,
        "only these were left out: {:?}",
        operator.left_out
    );
    for (words, why) in LEFT_OUT {
        println!("left out: {words} … ({why})");
    }
    Ok(())
}

/// Somebody who follows the page, with all machines in one folder.
struct Operator {
    dir: tempfile::TempDir,
    /// Of each host: the API, the door for other nodes, probes.
    ports: BTreeMap<&'static str, [u16; 3]>,
    services: BTreeMap<String, Service>,
    played: BTreeSet<String>,
    left_out: BTreeSet<&'static str>,
}

/// A node as its machine keeps it.
struct Service {
    config: String,
    child: Option<Child>,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Operator {
    fn new() -> Result<Operator> {
        let ports = free_ports(3 * HOSTS.len())?;
        let ports = ports.chunks_exact(3).map(|three| [three[0], three[1], three[2]]);
        Ok(Operator {
            dir: tempfile::tempdir()?,
            ports: HOSTS.into_iter().zip(ports).collect(),
            services: BTreeMap::new(),
            played: BTreeSet::new(),
            left_out: BTreeSet::new(),
        })
    }

    /// Carries a section out; some words mean others this time.
    async fn play(&mut self, heading: &str, renamed: &[(&str, &str)]) -> Result<()> {
        let steps = page::steps(heading)?;
        self.carry_out(&steps, renamed)
            .await
            .with_context(|| format!("docs/operations.md, {heading}"))
    }

    async fn carry_out(&mut self, steps: &[Step], renamed: &[(&str, &str)]) -> Result<()> {
        for step in steps {
            self.played.insert(step.heading.clone());
            let (mut machine, mut words) = (step.machine.clone(), step.words.clone());
            for (from, to) in renamed {
                machine = machine.replace(from, to);
                words = words.replace(from, to);
            }
            let done = self.say(&machine, &words).await;
            done.with_context(|| format!("{words}   (on {machine})\n{}", self.logs()))?;
        }
        Ok(())
    }

    async fn say(&mut self, machine: &str, words: &str) -> Result<()> {
        match words {
            "sudo systemctl stop reeve-registry" => return self.stop(machine).await,
            "sudo systemctl start reeve-registry" => return self.start(machine, None),
            "reeve cluster check" => return self.check().await,
            _ => {}
        }
        if let Some((left_out, _)) = LEFT_OUT.iter().find(|(left_out, _)| words.starts_with(left_out)) {
            self.left_out.insert(*left_out);
            return Ok(());
        }
        ensure!(
            !words.starts_with("sudo "),
            "it needs root, and no table of this test has it"
        );
        if let Some(config) = in_foreground(words) {
            return self.start(machine, Some(config));
        }
        let (_, told) = self.run(machine, words)?;
        // A restore says how its node is started, and the page says to do so.
        let begins = "start it with: ";
        let printed = told.lines().find_map(|line| line.strip_prefix(begins));
        match printed.filter(|_| !words.starts_with("reeve cluster init")) {
            Some(command) => {
                let config = in_foreground(command).context("another command was printed")?;
                self.start("n1", Some(config))
            }
            None => Ok(()),
        }
    }

    /// Runs what must succeed; what it printed, and what it told beside.
    fn run(&self, machine: &str, words: &str) -> Result<(String, String)> {
        let programs = reeve_local::registry_program()?;
        let programs = programs.parent().context("a program stands in a folder")?;
        let home = self.dir.path().join(format!("home of {machine}"));
        fs::create_dir_all(&home)?;
        let ran = Command::new("bash")
            .args(["-euc", &self.here(words)])
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .env("REEVE_BIN_DIR", programs)
            .env("REEVE_CONFIG", home.join("config.toml"))
            .stdin(Stdio::null())
            .output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, told) = (text(&ran.stdout), text(&ran.stderr));
        ensure!(ran.status.success(), "{}\n{out}\n{told}", ran.status);
        Ok((out, told))
    }

    /// The same words with this machine's addresses.
    fn here(&self, words: &str) -> String {
        let mut here = words.to_owned();
        for (host, [api, peer, http]) in &self.ports {
            here = here.replace(&format!("{host}.example:7400"), &format!("127.0.0.1:{api}"));
            here = here.replace(&format!("{host}.example:7401"), &format!("127.0.0.1:{peer}"));
            if *host == "n1" {
                here = here.replace("127.0.0.1:7403", &format!("127.0.0.1:{http}"));
            }
        }
        here
    }

    /// Keeps a node running: with this configuration, or with the one that it had.
    fn start(&mut self, machine: &str, config: Option<&str>) -> Result<()> {
        let had = self.services.get(machine).map(|service| service.config.clone());
        let config = config
            .map(str::to_owned)
            .or(had)
            .context("nothing was started there yet")?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(machine))?;
        let [_, _, http] = self.ports[machine];
        let child = Command::new(reeve_local::registry_program()?)
            .args(["--config", &config])
            .current_dir(self.dir.path())
            // On the page each node has a machine of its own, and this door of it.
            .env("REEVE_REGISTRY_LISTEN__HTTP", format!("127.0.0.1:{http}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let child = Some(child);
        self.services
            .insert(machine.to_owned(), Service { config, child });
        Ok(())
    }

    /// SIGTERM, and an end in peace.
    async fn stop(&mut self, machine: &str) -> Result<()> {
        let service = self.services.get_mut(machine).context("nothing runs there")?;
        let mut child = service.child.take().context("it is stopped already")?;
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let ended = until("the node to leave", PATIENCE, async || Ok(child.try_wait()?)).await?;
        ensure!(ended.code() == Some(0), "it ended with {ended}");
        Ok(())
    }

    /// A reader looks until it is so: everybody votes, and nothing is wrong.
    async fn check(&self) -> Result<()> {
        until("the cluster to be well", PATIENCE, async || {
            self.run(DESK, "reeve cluster check")?;
            let status = self.status().await?;
            let nodes = status["nodes"].as_array().context("no nodes")?;
            let votes = |node: &Value| node["role"] == "leader" || node["role"] == "follower";
            ensure!(nodes.iter().all(votes), "not everybody votes yet: {status}");
            Ok(Some(()))
        })
        .await
    }

    async fn status(&self) -> Result<Value> {
        let (out, _) = self.run(DESK, "reeve cluster status -o json")?;
        Ok(serde_json::from_str(&out)?)
    }

    async fn voters(&self) -> Result<BTreeSet<u64>> {
        self.check().await?;
        let (names, _) = self.run(DESK, "reeve cluster members -o name")?;
        Ok(names.lines().map(str::parse).collect::<Result<_, _>>()?)
    }

    /// All at once: no node runs, and whatever was restored before is gone.
    fn lose_everything(&mut self) -> Result<()> {
        self.services.clear();
        let restored = self.dir.path().join("reeve-hospital-2");
        match restored.exists() {
            true => Ok(fs::remove_dir_all(restored)?),
            false => Ok(()),
        }
    }

    async fn came_back(&self, before: &Value) -> Result<()> {
        let after = self.status().await?;
        ensure!(after["cluster"] == before["cluster"], "{after}");
        ensure!(
            after["cluster_id"] != before["cluster_id"],
            "it is a new cluster: {after}"
        );
        let revision = |status: &Value| status["freshness"]["revision"].as_u64();
        ensure!(
            revision(&after) > revision(before),
            "{after}\nbegan before\n{before}"
        );
        Ok(())
    }

    fn log(&self, machine: &str) -> PathBuf {
        self.dir.path().join(format!("{machine}.log"))
    }

    /// The last words of every node.
    fn logs(&self) -> String {
        let last = |machine: &String| {
            let text = fs::read_to_string(self.log(machine)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(15).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!("{machine}:\n  {}", lines.join("\n  "))
        };
        self.services.keys().map(last).collect::<Vec<_>>().join("\n")
    }
}

/// The configuration of a node that is to run until it is stopped.
fn in_foreground(words: &str) -> Option<&str> {
    let config = words.strip_prefix("reeve-registry --config ")?;
    (!config.contains(' ')).then_some(config)
}

#[test]
fn a_section_that_is_not_there_is_said() {
    assert!(page::steps("Begin").is_ok_and(|steps| steps.len() > 3));
    assert!(page::steps("Sing").is_err());
}
