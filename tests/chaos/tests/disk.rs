//! What the registry owes to its disk: nothing is answered before it is flushed, and a disk that failed or lost
//! something ends the node instead of its promises.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use reeve_chaos::invariants::nodes_agree;
use reeve_chaos::trace::{self, Call, Micros, Trace};
use reeve_client::v1::Role;
use reeve_local::{Builder, Fleet, Node, until};

const PATIENCE: Duration = Duration::from_secs(60);
const WRITES: usize = 40;
/// A disk that takes its time: whoever does not wait for it is far ahead.
const SLOW: Duration = Duration::from_millis(20);
/// So slow that an answer which does not wait comes first on any machine.
const STANDSTILL: Duration = Duration::from_secs(2);
/// How a node ends when it may not go on.
const FATAL: i32 = 70;

fn registry() -> Builder {
    let no_regions: [&str; 0] = [];
    Fleet::builder().regions(no_regions)
}

/// One audited command.
async fn write(fleet: &Fleet, name: &str) -> Result<()> {
    fleet.token(Role::Service, name, "", &[]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_leaves_before_a_majority_has_flushed() -> Result<()> {
    let fleet = registry().start().await?;
    let early = early_answers(&fleet, WRITES, SLOW).await?;
    ensure!(early == 0, "{early} of {WRITES} answers were early");
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_answers_before_its_flush_is_found() -> Result<()> {
    let fleet = registry()
        .node_env("REEVE_MUTANT", "answer_before_flush")
        .start()
        .await?;
    ensure!(
        early_answers(&fleet, 2, STANDSTILL).await? > 0,
        "the mutant was not noticed"
    );
    fleet.shutdown().await
}

/// Writes one after the other and says how many were answered before two nodes had written and flushed their log.
async fn early_answers(fleet: &Fleet, writes: usize, flush: Duration) -> Result<usize> {
    let fault = format!("inject=fdatasync:delay_enter={}", flush.as_micros());
    let slow = ["-e", fault.as_str()];
    let attach = |node: &std::sync::Arc<Node>| {
        let pid = node.pid().unwrap_or_default();
        Trace::attach(pid, "write,writev,fdatasync", &slow)
    };
    let traces = fleet.nodes().iter().map(attach).collect::<Result<Vec<_>>>()?;
    let mut answered: Vec<(Micros, Micros)> = Vec::new();
    for n in 0..writes {
        let sent = trace::now();
        write(fleet, &format!("w-{n}")).await?;
        answered.push((sent, trace::now()));
    }
    let calls = traces.into_iter().map(Trace::end).collect::<Result<Vec<_>>>()?;
    let early = answered.iter().filter(|(sent, answered)| {
        let flushed = calls.iter().filter(|calls| has_flushed(calls, *sent, *answered));
        flushed.count() < 2
    });
    Ok(early.count())
}

fn has_flushed(calls: &[Call], sent: Micros, answered: Micros) -> bool {
    let log = |call: &&Call| call.is_ok && call.path.ends_with(".wal");
    let mut writes = calls
        .iter()
        .filter(log)
        .filter(|call| call.name != "fdatasync" && call.began >= sent);
    writes.any(|write| {
        let mut flushes = calls.iter().filter(log).filter(|call| call.name == "fdatasync");
        flushes.any(|flush| flush.began >= write.ended && flush.ended <= answered)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_ends_the_node_and_is_not_tried_again() -> Result<()> {
    let fleet = registry().start().await?;
    write(&fleet, "before").await?;
    let victim = fleet.leader().await?;
    let fault = ["-e", "inject=fdatasync:error=EIO"];
    let trace = Trace::attach(victim.pid().unwrap_or_default(), "fdatasync", &fault)?;
    // The others take over, and nothing that was answered is lost.
    for n in 0..5 {
        write(&fleet, &format!("while-{n}")).await?;
    }
    ended(victim).await?;
    ensure!(
        victim.exit_code() == Some(FATAL),
        "it ended with {:?}",
        victim.exit_code()
    );
    let log = std::fs::read_to_string(victim.log())?;
    ensure!(
        log.contains("flush") && log.contains("Input/output error"),
        "its log does not say why"
    );
    let calls = trace.end()?;
    let flushes: Vec<_> = calls.iter().filter(|call| call.path.ends_with(".wal")).collect();
    ensure!(
        flushes.len() == 1 && !flushes[0].is_ok,
        "it was tried again: {flushes:?}"
    );

    victim.start()?;
    fleet.wait_whole().await?;
    nodes_agree::hold(&fleet).await?;
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_folder_was_lost_or_rolled_back_stays_away() -> Result<()> {
    let fleet = registry().start().await?;
    let leader = fleet.leader().await?.id();
    let victim = fleet.node(if leader == 3 { 2 } else { 3 })?;
    let data = victim.data_dir();

    // Its log is as it was some writes ago; it has voted and promised since then.
    victim.stop().await?;
    let older = tempfile::tempdir()?;
    copy(&data.join("wal"), &older.path().join("wal"))?;
    victim.start()?;
    fleet.wait_whole().await?;
    for n in 0..5 {
        write(&fleet, &format!("later-{n}")).await?;
    }
    nodes_agree::hold(&fleet).await?;
    victim.stop().await?;
    let newer = tempfile::tempdir()?;
    copy(&data.join("wal"), &newer.path().join("wal"))?;
    put_back(&older.path().join("wal"), &data.join("wal"))?;
    refuses(victim, "rolled back").await?;

    // With its own log it is welcome again.
    put_back(&newer.path().join("wal"), &data.join("wal"))?;
    victim.start()?;
    fleet.wait_whole().await?;

    // All of it is gone but its name.
    victim.kill9()?;
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        match path.is_dir() {
            true => std::fs::remove_dir_all(&path)?,
            false if path.ends_with("node_id") => {}
            false => std::fs::remove_file(&path)?,
        }
    }
    refuses(victim, "lost its data").await?;
    write(&fleet, "without-it").await?;
    fleet.shutdown().await
}

async fn refuses(node: &Node, why: &str) -> Result<()> {
    node.start()?;
    ended(node).await?;
    let log = std::fs::read_to_string(node.log())?;
    ensure!(log.contains(why), "{why:?} is missing in its log");
    Ok(())
}

async fn ended(node: &Node) -> Result<()> {
    until("the end of a node", PATIENCE, async || {
        Ok((!node.is_running()).then_some(()))
    })
    .await
}

fn put_back(from: &Path, to: &Path) -> Result<()> {
    std::fs::remove_dir_all(to)?;
    copy(from, to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
