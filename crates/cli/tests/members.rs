//! The verbs about nodes, against real ones: what they show, what they refuse, what they change.

use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::v1;
use reeve_local::{Fleet, free_ports, until};
use reeve_proto::error::{Reason, info};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// The program, as the fleet's admin.
struct Admin<'a> {
    fleet: &'a Fleet,
    home: tempfile::TempDir,
}

impl Admin<'_> {
    fn run(&self, words: &str) -> Result<(Option<i32>, String, String)> {
        Admin::end(self.command(words).args(["-o", "json"]))
    }

    fn command(&self, words: &str) -> Command {
        let files = self.fleet.admin_files();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
        command
            .arg("cluster")
            .args(words.split(' '))
            .args(["--nodes", &self.fleet.addresses().join(",")])
            .arg("--ca")
            .arg(files.ca)
            .arg("--cert")
            .arg(files.cert)
            .arg("--key")
            .arg(files.key)
            .env("REEVE_CONFIG", self.home.path().join("config.toml"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn end(command: &mut Command) -> Result<(Option<i32>, String, String)> {
        let ran = command.output()?;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_may_be_asked_to_hand_over_and_to_remove_and_the_leader_decides() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder().regions(no_regions).direct().start().await?;
    let before = fleet.leader().await?.id();
    let [heir, dead] = [before % 3 + 1, (before + 1) % 3 + 1];

    // Each is asked through a node that does not lead.
    let asked = |node: u64, to: u64| {
        let node = at(&fleet, node);
        let asked = v1::TransferLeaderRequest { to_node_id: to };
        async move { anyhow::Ok(node?.api().cluster().transfer_leader(asked).await.map(drop)) }
    };
    let refused = asked(heir, 77).await?.expect_err("there is no such node");
    ensure!(info(&refused).reason == Reason::NodeNotFound, "{refused}");
    asked(dead, heir).await??;
    until("the heir to lead", PATIENCE, async || {
        let seen = cluster_at(at(&fleet, dead)?).await?;
        Ok((seen.leader_id == heir).then_some(()))
    })
    .await?;
    asked(before, heir).await??;
    ensure!(
        cluster_at(at(&fleet, before)?).await?.leader_id == heir,
        "who leads already was asked to lead, and another one does"
    );

    // The check is the leader's, who alone knows whom it has heard.
    at(&fleet, dead)?.kill9()?;
    let remove = |request_id: &str, node: u64, through: u64| {
        let asked = v1::RemoveNodeRequest {
            request_id: request_id.to_owned(),
            node_id: node,
            confirm: format!("{}/{node}", fleet.cluster()),
            force: false,
        };
        let node = at(&fleet, through);
        async move { anyhow::Ok(node?.api().cluster().remove_node(asked).await.map(drop)) }
    };
    until("the dead node to count as such", PATIENCE, async || {
        let seen = cluster_at(at(&fleet, heir)?).await?;
        let silent = seen.nodes.into_iter().find(|node| node.id == dead);
        let silent = silent
            .and_then(|node| node.last_heard)
            .context("it was never heard")?;
        Ok((silent.seconds > 10).then_some(()))
    })
    .await?;
    let told = [before, heir].map(|through| remove("needed", before, through));
    for refused in futures::future::join_all(told).await {
        let refused = refused?.expect_err("nothing could be written any more");
        ensure!(info(&refused).reason == Reason::QuorumAtRisk, "{refused}");
        ensure!(refused.message().contains("only 1 of them"), "{refused}");
    }
    remove("gone", dead, before).await??;
    let seen = cluster_at(at(&fleet, before)?).await?;
    ensure!(
        !seen
            .nodes
            .iter()
            .any(|node| node.id == dead && !node.api_address.is_empty()),
        "{seen:?}"
    );
    remove("gone", dead, heir)
        .await?
        .context("it was said twice, and happened once")?;
    Ok(())
}

fn at(fleet: &Fleet, id: u64) -> Result<&reeve_local::Node> {
    fleet.node(id)
}

async fn cluster_at(node: &reeve_local::Node) -> Result<v1::GetClusterResponse> {
    let asked = v1::GetClusterRequest::default();
    Ok(node.api().cluster().get_cluster(asked).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_is_watched_until_ctrl_c_and_members_are_named_for_scripts() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder()
        .nodes(1)
        .regions(no_regions)
        .direct()
        .start()
        .await?;
    let home = tempfile::tempdir()?;
    let admin = Admin { fleet: &fleet, home };
    let (code, out, err) = Admin::end(admin.command("members").args(["-o", "name"]))?;
    ensure!((code, out.as_str()) == (Some(0), "1\n"), "{code:?}\n{out}\n{err}");
    let (code, _, err) = Admin::end(admin.command("check").args(["-o", "name"]))?;
    ensure!(code == Some(2) && err.contains("it is for"), "{code:?}\n{err}");

    for (form, begins) in [("table", "told by"), ("json", "{\"cluster\":")] {
        let mut watching = admin.command("status --watch --every 50ms");
        let mut watching = watching.args(["-o", form]).stdout(Stdio::piped()).spawn()?;
        let lines = std::io::BufReader::new(watching.stdout.take().context("no output")?).lines();
        let mut blocks = 0;
        for line in lines {
            let line = line?;
            ensure!(!line.contains('\u{1b}'), "this is no terminal: {line}");
            blocks += usize::from(line.starts_with(begins));
            if blocks == 3 {
                break;
            }
        }
        ensure!(blocks == 3, "{form}: it ended after {blocks} looks");
        let pid = rustix::process::Pid::from_child(&watching);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        let ended = watching.wait()?;
        ensure!(
            ended.code() == Some(0),
            "{form}: Ctrl-C is how one leaves, and it ended with {ended}"
        );
    }
    Ok(())
}
