//! A service at work while the registry has a bad day.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::IdentityFiles;
use reeve_client::v1::operation::State;
use reeve_client::v1::{ListCredentialsRequest, RotateCredentialRequest, TransferLeaderRequest};
use reeve_foreign::{Language, Program, Tools, World, judge_watch};
use reeve_local::{tenants, until};
use serde_json::Value;

use super::{DOMAIN, places, service_config};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than anything here waits: a change of the credential that ends before was acknowledged.
const GRACE: Duration = Duration::from_secs(600);
const TENANT: &str = "cho-ray";

/// A service at work, through a bad day.
pub(super) async fn lives(world: &World, tools: &Tools, language: Language) -> Result<()> {
    let mut command = tools.command(language, "live");
    command.args(places(world, language, &world.identity("ehr"), &service_config()));
    command.arg(DOMAIN);
    let mut service = Program::start(command)?;
    let version = service
        .until("a connection", |said| connected(said).last().copied())
        .await?;
    service.until("a watch", watched_node).await?;
    all_answer(world, &mut service).await?;

    let (victim, changes) = kill_the_leader(world, &mut service).await?;
    rotate(world).await?;
    service
        .until("a connection with the next credential", |said| {
            connected(said)
                .last()
                .filter(|next| **next == version + 1)
                .copied()
        })
        .await?;
    world.fleet.node(victim)?.start()?;
    all_answer(world, &mut service).await?;
    freeze_the_watched_node(world, &mut service).await?;
    all_answer(world, &mut service).await?;

    let said = service.leave().await?;
    let left = said.last().and_then(|line| line["identity"].as_str());
    let successor = IdentityFiles::in_folder(world.identity(left.context("no successor")?)).credentials()?;
    let former = IdentityFiles::in_folder(world.identity("ehr")).credentials()?;
    ensure!(
        successor.spiffe() == former.spiffe() && successor.serial() != former.serial(),
        "the certificate was not renewed"
    );
    let failed: Vec<_> = said.iter().filter(|line| line["event"] == "failed").collect();
    ensure!(failed.is_empty(), "calls failed: {failed:?}");
    ensure!(
        connected(&said) == [version, version + 1],
        "{:?}",
        connected(&said)
    );
    judge_watch(&said, &changes)?;
    ensure!(
        holders(world).await? == 0,
        "it left, and still counts as one who holds a credential"
    );
    Ok(())
}

/// It takes the service's watch along. Who died, and the changes that were acknowledged before and after.
async fn kill_the_leader(world: &World, service: &mut Program) -> Result<(u64, Vec<u64>)> {
    let victim = lead_from_the_watched_node(world, service).await?;
    let mut changes = Vec::new();
    for nth in 0..3 {
        changes.push(world.change(TENANT, &format!("before {nth}")).await?);
    }
    let before = service.said()?.len();
    world.fleet.node(victim)?.kill9()?;
    let after = service.said()?.len();
    for nth in 0..3 {
        changes.push(world.change(TENANT, &format!("after {nth}")).await?);
    }
    service
        .until("its watch to break", |said| {
            let mut all = said[before..].iter();
            all.any(|line| line["kind"] == "broken").then_some(())
        })
        .await?;
    let last = changes.last().copied().unwrap_or_default();
    service
        .until("the last change to be heard", |said| heard(said, last))
        .await?;
    answers_come_without(service, after, victim).await?;
    Ok((victim, changes))
}

/// The versions that it has connected with, each over TLS.
fn connected(said: &[Value]) -> Vec<u64> {
    let all = said
        .iter()
        .filter(|line| line["event"] == "connected" && line["encrypted"] == true);
    all.filter_map(|line| line["version"].as_u64()).collect()
}

/// The node that its watch hangs on, by its last word.
fn watched_node(said: &[Value]) -> Option<u64> {
    let last = said.iter().rfind(|line| line["event"] == "watch")?;
    last["node"].as_u64()
}

fn heard(said: &[Value], revision: u64) -> Option<()> {
    let all = said.iter().filter(|line| line["kind"] == "delta");
    all.filter_map(|line| line["revision"].as_u64())
        .any(|seen| seen >= revision)
        .then_some(())
}

fn answered_without(said: &[Value], level: &str, node: u64) -> Option<()> {
    let mut all = said
        .iter()
        .filter(|line| line["event"] == "resolved" && line["level"] == level);
    all.any(|line| !names(line, node)).then_some(())
}

fn names(line: &Value, node: u64) -> bool {
    line["nodes"]
        .as_array()
        .is_some_and(|nodes| nodes.contains(&node.into()))
}

/// From now on each node answers, and has seen all that was acknowledged: the next one may die.
async fn all_answer(world: &World, service: &mut Program) -> Result<()> {
    let from = service.said()?.len();
    for node in world.fleet.nodes() {
        let told = format!("an answer of node {}", node.id());
        let answered = |said: &[Value]| {
            let mut all = said[from..].iter().filter(|line| line["level"] == "linearizable");
            all.any(|line| names(line, node.id())).then_some(())
        };
        service.until(&told, answered).await?;
    }
    Ok(())
}

/// It neither answers nor hangs up, until somebody else watches and answers for the service.
async fn freeze_the_watched_node(world: &World, service: &mut Program) -> Result<()> {
    let frozen = service.until("a watch", watched_node).await?;
    let node = world.fleet.node(frozen)?;
    node.pause();
    let gone_on = async {
        let from = service.said()?.len();
        let other = |said: &[Value]| watched_node(said).filter(|watched| *watched != frozen);
        service.until("a watch on another node", other).await?;
        answers_come_without(service, from, frozen).await
    };
    let gone_on = gone_on.await;
    node.resume();
    gone_on
}

/// Of both levels, from a line on.
async fn answers_come_without(service: &mut Program, from: usize, node: u64) -> Result<()> {
    for level in ["bounded", "linearizable"] {
        let told = format!("{level} answers of the others alone");
        service
            .until(&told, |said| answered_without(&said[from..], level, node))
            .await?;
    }
    Ok(())
}

/// Hands leadership to the node that the watch hangs on: who dies is the leader, and takes the watch along.
async fn lead_from_the_watched_node(world: &World, service: &mut Program) -> Result<u64> {
    until("the watched node to lead", PATIENCE, async || {
        let watched = watched_node(service.said()?).context("its watch is silent")?;
        let leader = world.fleet.leader().await?;
        if leader.id() == watched {
            return Ok(Some(watched));
        }
        let order = TransferLeaderRequest { to_node_id: watched };
        leader.api().cluster().transfer_leader(order).await?;
        Ok(None)
    })
    .await
}

async fn rotate(world: &World) -> Result<()> {
    let order = RotateCredentialRequest {
        request_id: reeve_client::request_id(),
        tenant: TENANT.to_owned(),
        grace: Some(prost_types::Duration::try_from(GRACE)?),
        ..Default::default()
    };
    let api = world.fleet.api();
    let operation = api
        .databases()
        .rotate_credential(order)
        .await?
        .into_inner()
        .operation;
    let ended = tenants::ended(api, &operation.context("no operation")?.id, PATIENCE).await?;
    ensure!(
        ended.state() == State::Done,
        "the credential was not changed: {ended:?}"
    );
    Ok(())
}

/// How many processes hold a credential of the tenant.
async fn holders(world: &World) -> Result<u32> {
    let asked = ListCredentialsRequest {
        tenant: TENANT.to_owned(),
        ..Default::default()
    };
    let listed = world
        .fleet
        .api()
        .databases()
        .list_credentials(asked)
        .await?
        .into_inner();
    Ok(listed.credentials.first().context("no credential")?.client_count)
}
