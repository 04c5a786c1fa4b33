//! A disk gives back something else than was written: the node says where, stays out when it must, and comes back by
//! the others. Nothing damaged is believed, and nothing that was acknowledged is missing afterwards.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_chaos::history::History;
use reeve_chaos::invariants::audit_chain_whole;
use reeve_chaos::metrics::metric;
use reeve_client::v1::{GetClusterRequest, GetClusterResponse, Role, node};
use reeve_local::{Builder, Fleet, Node, registry_program, until};

const PATIENCE: Duration = Duration::from_secs(60);
const DAMAGE: &str = "the disk gave back something else than was written";

fn registry() -> Builder {
    let no_regions: [&str; 0] = [];
    // Two snapshots soon, and a log that reaches back to the older one.
    let settings = toml::toml! {
        [raft]
        snapshot_entries = 20
        trailing_entries = 1000
        [scrub]
        every_ms = 1000
        mb_per_s = 100
    };
    Fleet::builder().regions(no_regions).node_settings(settings)
}

async fn write(fleet: &Fleet, names: &str, count: usize) -> Result<()> {
    for n in 0..count {
        fleet
            .token(Role::Service, &format!("{names}-{n}"), "", &[])
            .await?;
    }
    Ok(())
}

/// A follower with seeds in its configuration.
async fn follower(fleet: &Fleet) -> Result<&Node> {
    let leader = fleet.leader().await?.id();
    fleet.node(if leader == 3 { 2 } else { 3 })
}

fn flip(path: &Path, at: usize) -> Result<()> {
    let mut bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    bytes[at] ^= 1 << (at % 8);
    Ok(std::fs::write(path, bytes)?)
}

fn files(folder: &Path, is_meant: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if is_meant(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The bytes of a file up to the last that is not zero.
fn used(path: &Path) -> Result<usize> {
    let bytes = std::fs::read(path)?;
    Ok(bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1))
}

fn log(node: &Node) -> Result<String> {
    Ok(std::fs::read_to_string(node.log())?)
}

async fn refuses(node: &Node, words: &[&str]) -> Result<()> {
    let before = log(node)?.len();
    node.start()?;
    until("the end of a node", PATIENCE, async || {
        Ok((!node.is_running()).then_some(()))
    })
    .await?;
    let said = log(node)?.split_off(before);
    for word in words {
        ensure!(said.contains(word), "{word:?} is missing in {said}");
    }
    Ok(())
}

/// Runs the program of a node beside it, with its configuration.
async fn run(fleet: &Fleet, node: u64, args: &[&str]) -> Result<Output> {
    let config = fleet.dir().join(format!("n{node}/registry.toml"));
    let mut command = Command::new(registry_program()?);
    command.arg("--config").arg(config).args(args);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

async fn cluster(node: &Node) -> Result<GetClusterResponse> {
    let asked = node
        .api()
        .cluster()
        .get_cluster(GetClusterRequest {
            with_state_hash: true,
            ..Default::default()
        })
        .await?;
    Ok(asked.into_inner())
}

async fn same_everywhere(fleet: &Fleet) -> Result<()> {
    until("the same State on every node", PATIENCE, async || {
        let mut seen = Vec::new();
        for node in fleet.nodes() {
            let cluster = cluster(node).await?;
            seen.push((cluster.applied_index, cluster.state_hash));
        }
        Ok(seen.windows(2).all(|pair| pair[0] == pair[1]).then_some(()))
    })
    .await
}

/// Every node exports the same whole chains.
async fn same_audit(fleet: &Fleet) -> Result<()> {
    until("the same audit log on every node", PATIENCE, async || {
        let seen = audit_chain_whole::observe(fleet).await?;
        audit_chain_whole::judge(&History::default(), &seen)?;
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_keeps_its_node_out_and_one_command_brings_it_back_as_a_new_one() -> Result<()> {
    let fleet = registry().start().await?;
    write(&fleet, "before", 30).await?;
    let victim = follower(&fleet).await?;
    let old = victim.id();
    let token_file = fleet.dir().join("again.token");
    let rejoin = ["rejoin", "--token-file", token_file.to_str().context("a path")?];

    let token = fleet.token(Role::Node, "", "", &[]).await?;
    std::fs::write(&token_file, token.to_string())?;
    std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(0o600))?;
    let refused = run(&fleet, old, &rejoin).await?;
    let why = said(&refused);
    ensure!(
        !refused.status.success() && why.contains("another process uses"),
        "{why}"
    );

    victim.stop().await?;
    let newest = files(&victim.data_dir().join("wal"), |name| name.ends_with(".wal"))?;
    let newest = newest.last().context("no log")?;
    flip(newest, used(newest)? / 2)?;
    let name = newest.display().to_string();
    refuses(victim, &[&name, "at byte", "rejoin --token-file"]).await?;
    write(&fleet, "without-it", 5).await?;

    let done = run(&fleet, old, &rejoin).await?;
    let told = said(&done);
    ensure!(done.status.success(), "{told}");
    ensure!(
        told.contains(&format!("joined as node 4 (it was node {old})")),
        "{told}"
    );
    ensure!(
        told.contains(&format!("reeve cluster remove-node {old}")),
        "{told}"
    );
    fleet.ask_to_remove(old).await?;
    // Its configuration still says the old id.
    victim.start()?;
    until("the new node among three voters", PATIENCE, async || {
        let nodes = cluster(victim).await?.nodes;
        let votes =
            |n: &&reeve_client::v1::Node| matches!(n.role(), node::Role::Leader | node::Role::Follower);
        let voters: Vec<u64> = nodes.iter().filter(votes).map(|node| node.id).collect();
        Ok((voters.len() == 3 && voters.contains(&4) && !voters.contains(&old)).then_some(()))
    })
    .await?;
    write(&fleet, "after", 5).await?;
    same_everywhere(&fleet).await?;
    same_audit(&fleet).await?;

    let kept = files(victim.data_dir(), |name| name.starts_with("quarantine-"))?;
    ensure!(kept.len() == 1 && kept[0].join("wal").is_dir(), "{kept:?}");
    ensure!(
        kept[0].join("owner.json").exists() && kept[0].join("node.key").exists(),
        "the evidence is not whole"
    );
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_archive_is_whole_again_by_the_others() -> Result<()> {
    let fleet = registry().start().await?;
    write(&fleet, "w", 40).await?;
    let victim = follower(&fleet).await?;
    let mut noticed = 0;
    for part in 1..6 {
        write(&fleet, &format!("p{part}"), 5).await?;
        victim.stop().await?;
        let db = victim.data_dir().join("archive/sled/db");
        flip(&db, used(&db)? * part / 6)?;
        let before = log(victim)?.len();
        victim.start()?;
        fleet.wait_whole().await?;
        same_audit(&fleet).await?;
        let told = log(victim)?.split_off(before);
        noticed += usize::from(told.contains(DAMAGE) && told.contains("archive/sled/"));
    }
    ensure!(
        noticed > 0,
        "no flip was noticed: all of them hit what nobody needs?"
    );
    same_everywhere(&fleet).await?;
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_set_aside_before_it_is_needed_and_when_it_is() -> Result<()> {
    let fleet = registry().start().await?;
    write(&fleet, "w", 60).await?;
    let victim = follower(&fleet).await?;
    let folder = victim.data_dir().join("snapshots");
    let whole = || files(&folder, |name| !name.contains('.'));
    until("two snapshots", PATIENCE, async || {
        Ok((whole()?.len() == 2).then_some(()))
    })
    .await?;

    // While it runs, the scrub finds it, and another one is made.
    let newest = whole()?.pop().context("no snapshot")?;
    let middle = std::fs::metadata(&newest)?.len() as usize / 2;
    flip(&newest, middle)?;
    until("a snapshot in place of the damaged one", PATIENCE, async || {
        let aside = files(&folder, |name| name.ends_with(".damaged"))?.len();
        // The newest, unless one that was under way came before the damage was found.
        Ok((aside == 1 && whole()?.pop() >= Some(newest.clone())).then_some(()))
    })
    .await?;
    let since = "reeve_data_damage_last_timestamp_seconds{part=\"snapshots\"}";
    until("the metric of it", PATIENCE, async || {
        Ok((metric(victim, since).await? != "0").then_some(()))
    })
    .await?;
    let told = log(victim)?;
    let named = newest
        .file_name()
        .context("a name")?
        .to_string_lossy()
        .into_owned();
    ensure!(
        told.contains(DAMAGE) && told.contains(&named) && told.contains("from byte"),
        "it is not named"
    );

    // At a start, an older one is used.
    write(&fleet, "more", 60).await?;
    until("two snapshots again", PATIENCE, async || {
        Ok((whole()?.len() == 2).then_some(()))
    })
    .await?;
    victim.stop().await?;
    let newest = whole()?.pop().context("no snapshot")?;
    flip(&newest, 20)?;
    victim.start()?;
    fleet.wait_whole().await?;
    ensure!(newest.with_extension("damaged").exists(), "it is not set aside");
    write(&fleet, "after", 3).await?;
    same_everywhere(&fleet).await?;
    same_audit(&fleet).await?;
    fleet.shutdown().await
}

/// The files whose every bit decides who a node is: a start on a flipped one names it, or nothing is changed by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_of_who_a_node_is_is_told_with_its_file() -> Result<()> {
    let fleet = registry().nodes(2).start().await?;
    let node = fleet.node(2)?;
    node.stop().await?;
    let file = node.data_dir().join("node_id");
    let whole = std::fs::read(&file)?;
    ensure!(whole == b"2", "{whole:?}");
    for bit in 0..8 {
        std::fs::write(&file, [whole[0] ^ (1 << bit)])?;
        let started = run(&fleet, 2, &["run"]).await?;
        let why = said(&started);
        ensure!(
            !started.status.success() && why.contains("node_id"),
            "bit {bit}: {why}"
        );
    }
    std::fs::write(&file, whole)?;

    // Its configuration says the id that it had before it came back as a new one.
    let former = node.data_dir().join("former_ids.json");
    std::fs::write(&former, "[7]")?;
    let had_seven = ["--set", "node_id=7", "run"];
    for (at, bit) in (0..3).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut odd = *b"[7]";
        odd[at] ^= 1 << bit;
        std::fs::write(&former, odd)?;
        let started = run(&fleet, 2, &had_seven).await?;
        let why = said(&started);
        ensure!(
            !started.status.success() && why.contains("former_ids.json"),
            "byte {at} bit {bit}: {why}"
        );
    }
    std::fs::remove_file(&former)?;
    node.start()?;
    fleet.wait_whole().await?;
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_another_cluster_and_a_second_process_are_turned_away() -> Result<()> {
    let fleet = registry().nodes(1).start().await?;
    let second = run(&fleet, 1, &["run"]).await?;
    let why = said(&second);
    ensure!(
        !second.status.success() && why.contains("another process uses"),
        "{why}"
    );
    write(&fleet, "unharmed", 3).await?;

    let other = registry().cluster("clinic").nodes(1).start().await?;
    let stranger = other.node(1)?;
    stranger.stop().await?;
    fleet.node(1)?.stop().await?;
    let folder = stranger.data_dir().display().to_string();
    let taken = run(&fleet, 1, &["--set", &format!("data_dir={folder}"), "run"]).await?;
    let why = said(&taken);
    ensure!(!taken.status.success(), "it ran on a stranger's folder");
    ensure!(
        why.contains("belongs to node 1 of cluster clinic") && why.contains("owner.json"),
        "{why}"
    );
    stranger.start()?;
    other.wait_whole().await?;
    other.shutdown().await?;
    fleet.shutdown().await
}
