//! The verbs about nodes, against real ones: what they show, what they refuse, what they change.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use reeve_local::{Fleet, free_ports, until};
use serde_json::Value;

/// The program, as the fleet's admin.
struct Admin<'a> {
    fleet: &'a Fleet,
    home: tempfile::TempDir,
}

impl Admin<'_> {
    fn run(&self, words: &str) -> Result<(Option<i32>, String, String)> {
        let files = self.fleet.admin_files();
        let ran = Command::new(env!("CARGO_BIN_EXE_reeve"))
            .arg("cluster")
            .args(words.split(' '))
            .args(["-o", "json", "--nodes", &self.fleet.addresses().join(",")])
            .arg("--ca")
            .arg(files.ca)
            .arg("--cert")
            .arg(files.cert)
            .arg("--key")
            .arg(files.key)
            .env("REEVE_CONFIG", self.home.path().join("config.toml"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok((ran.status.code(), text(&ran.stdout), text(&ran.stderr)))
    }

    fn json(&self, words: &str, code: i32) -> Result<Value> {
        let (got, out, err) = self.run(words)?;
        ensure!(got == Some(code), "{words} ended with {got:?}\n{out}\n{err}");
        Ok(serde_json::from_str(&out)?)
    }

    fn refused(&self, words: &str, code: i32, reason: &str) -> Result<()> {
        let (got, out, err) = self.run(words)?;
        ensure!(got == Some(code), "{words} ended with {got:?}\n{out}\n{err}");
        ensure!(err.contains(reason), "{words}: {reason} is missing in\n{err}");
        Ok(())
    }
}

fn node(status: &Value, id: u64) -> Result<&Value> {
    let nodes = status["nodes"].as_array().context("no nodes")?;
    nodes.iter().find(|node| node["id"] == id).context("no such node")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_and_a_dead_node_leaves_but_a_needed_one_stays() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder().regions(no_regions).direct().start().await?;
    let home = tempfile::tempdir()?;
    let admin = Admin { fleet: &fleet, home };
    let cluster = fleet.cluster();

    let before = admin.json("status", 0)?;
    ensure!(
        before["quorum"]["voters"] == 3 && before["quorum"]["spare"] == 1,
        "{before}"
    );
    for id in 1..=3 {
        let node = node(&before, id)?;
        ensure!(
            node["disk"] == "ok" && node["program_version"].is_string(),
            "{node}"
        );
    }
    ensure!(admin.json("check", 0)?["passed"] == true);

    let leader = before["leader_id"].as_u64().context("nobody leads")?;
    let heir = leader % 3 + 1;
    let handed = admin.json(&format!("transfer-leader --to {heir}"), 0)?;
    ensure!(handed["from"] == leader && handed["to"] == heir, "{handed}");
    ensure!(admin.json("status", 0)?["leader_id"] == heir);

    // Whoever is neither: it dies, and from then on the old leader is needed.
    let dead = 6 - leader - heir;
    let process = fleet.nodes().iter().find(|node| node.id() == dead);
    process.context("no such node")?.kill9()?;
    let ill = admin.json("check", 10)?;
    ensure!(ill["passed"] == false, "{ill}");
    let status = admin.json("status", 0)?;
    ensure!(node(&status, dead)?["unreachable"].is_string(), "{status}");
    ensure!(status["quorum"]["spare"] == 0, "{status}");

    admin.refused(&format!("remove-node {dead}"), 2, "add --confirm")?;
    admin.refused(
        &format!("remove-node {dead} --confirm other/{dead}"),
        2,
        "CONFIRMATION_MISSING",
    )?;
    admin.refused("remove-node 77 --confirm x/77", 3, "there is no node 77")?;
    until(
        "the dead node to count as such",
        std::time::Duration::from_secs(60),
        async || {
            let status = admin.json("status", 0)?;
            let silent = node(&status, dead)?["last_heard_ms"].as_u64();
            Ok(silent.is_some_and(|ms| ms > 10_000).then_some(()))
        },
    )
    .await?;
    let needed = format!("remove-node {leader} --confirm {cluster}/{leader}");
    admin.refused(&needed, 4, "QUORUM_AT_RISK")?;
    let removed = admin.json(&format!("remove-node {dead} --confirm {cluster}/{dead}"), 0)?;
    ensure!(
        removed["voters_before"] == 3 && removed["voters"] == 2,
        "{removed}"
    );
    let members = admin.json("members", 0)?;
    ensure!(members["nodes"].as_array().map(Vec::len) == Some(2), "{members}");
    Ok(())
}

/// Ends with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One of the commands that were printed, as it stands there.
fn say(command: &Value) -> Result<Child> {
    let mut words = command.as_str().context("no command")?.split(' ');
    ensure!(words.next() == Some("reeve-registry"), "{command}");
    let mut started = Command::new(reeve_local::registry_program()?);
    let quiet = started
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(quiet.args(words).spawn()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_added_votes_after_the_two_commands_that_were_printed() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder()
        .nodes(1)
        .regions(no_regions)
        .direct()
        .start()
        .await?;
    let home = tempfile::tempdir()?;
    let dir = home.path().join("n2");
    let admin = Admin { fleet: &fleet, home };
    let ports = free_ports(3)?;
    let at = |port: usize| format!("127.0.0.1:{}", ports[port]);
    let add = format!(
        "add-node --dir {} --api {} --peer {} --http {} --root-key {}",
        dir.display(),
        at(0),
        at(1),
        at(2),
        fleet.dir().join("root.key").display()
    );
    let made = admin.json(&add, 0)?;
    admin.refused(&add, 2, "is there already")?;
    ensure!(say(&made["commands"][0])?.wait()?.success(), "joining failed");
    let _node = Started(say(&made["commands"][1])?);
    until("two voters", std::time::Duration::from_secs(60), async || {
        let (_, out, _) = admin.run("status")?;
        let status: Value = serde_json::from_str(&out)?;
        Ok((status["quorum"]["voters"] == 2).then_some(()))
    })
    .await?;
    let members = admin.json("members", 0)?;
    let addresses = members["nodes"].as_array().context("no nodes")?;
    ensure!(
        addresses.iter().any(|node| node["api_address"] == at(0)),
        "{members}"
    );
    Ok(())
}
