//! Rust, Python and Node are told the same of every tenant; and while the leader dies, a service in Python or Node
//! resolves without an error, watches without a loss, and follows its tenant's credential; a node that hangs costs no more.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use reeve_client::v1::operation::State;
use reeve_client::v1::{ListCredentialsRequest, RotateCredentialRequest, TransferLeaderRequest};
use reeve_foreign::{Case, Language, Program, Tools, World, ask, cases, example, judge, judge_watch, root};
use reeve_local::{tenants, until};
use reeve_proto::identity::ca;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than anything here waits: a change of the credential that ends before was acknowledged.
const GRACE: Duration = Duration::from_secs(600);
const LANGUAGES: [Language; 2] = [Language::Python, Language::Node];
const TENANT: &str = "cho-ray";
/// Also this machine, and in no certificate.
const OTHER_HOST: &str = "127.0.0.2";
const DOMAIN: &str = "cho-ray.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_python_and_node_are_served_alike_also_while_the_leader_dies() -> Result<()> {
    let tools = Tools::ready()?;
    let world = World::start().await?;
    let cases = cases(world.known())?;
    agrees("Rust", &cases, &asked_by_rust(&world, &cases).await?)?;
    for language in LANGUAGES {
        let seen = asked_by(&world, &tools, language, &cases).await?;
        agrees(&format!("{language:?}"), &cases, &seen)?;
        verifies(&world, &tools, language).await?;
    }
    only_python_asks_for_health(&world, &tools, &cases).await?;
    let fleet = example::fleet(world.fleet.addresses(), &world.identity("ehr"))?;
    ensure!(example::patients(&fleet, "Cho-Ray.example:443").await? == 0);
    fleet.close().await;
    for language in LANGUAGES {
        lives(&world, &tools, language)
            .await
            .with_context(|| format!("{language:?}"))?;
    }
    world.fleet.shutdown().await
}

/// Every case is as the table says; what is not is told whole.
fn agrees(language: &str, cases: &[Case], seen: &[Value]) -> Result<()> {
    let mut wrong = Vec::new();
    for case in cases {
        let told = seen.iter().find(|line| line["name"] == case.name.as_str());
        let told = told.with_context(|| format!("{language} says nothing of {:?}", case.name))?;
        wrong.extend(
            judge(case, told)
                .iter()
                .map(|why| format!("{}: {why}", case.name)),
        );
    }
    ensure!(
        wrong.is_empty(),
        "{language} is told otherwise:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

async fn asked_by_rust(world: &World, cases: &[Case]) -> Result<Vec<Value>> {
    let mut seen = Vec::new();
    for case in cases {
        let mut told = ask(&world.api_of(&case.identity)?, case).await?;
        told["name"] = case.name.as_str().into();
        seen.push(told);
    }
    Ok(seen)
}

async fn asked_by(world: &World, tools: &Tools, language: Language, cases: &[Case]) -> Result<Vec<Value>> {
    asked_with(world, tools, language, cases, &service_config()).await
}

async fn asked_with(
    world: &World,
    tools: &Tools,
    language: Language,
    cases: &[Case],
    config: &Path,
) -> Result<Vec<Value>> {
    let file = world.identities().join("cases.json");
    std::fs::write(&file, serde_json::to_string(cases)?)?;
    let mut command = tools.command(language, "contract");
    command.args(places(world, language, world.identities(), config));
    command.arg(&file);
    Program::start(command)?.leave().await
}

fn service_config() -> PathBuf {
    root().join("deploy/clients/service-config.json")
}

/// What every program is told first. Node holds a node's identity against the cluster's name; Python, its host.
fn places(world: &World, language: Language, identity: &Path, config: &Path) -> Vec<OsString> {
    let mut all = vec![world.nodes().into(), identity.into()];
    if language == Language::Node {
        all.push(world.fleet.cluster().into());
    }
    all.push(config.into());
    all
}

/// The shipped config names the service whose health is asked for. Python believes what it hears, and calls no node
/// that does not know the service; Node does not ask.
async fn only_python_asks_for_health(world: &World, tools: &Tools, cases: &[Case]) -> Result<()> {
    let shipped = std::fs::read_to_string(service_config())?;
    let config = world.identities().join("service-config.json");
    let other = shipped
        .replace(
            "\"serviceName\": \"reeve.v1.ResolverService\"",
            "\"serviceName\": \"nobody\"",
        )
        .replace("\"timeout\": \"10s\"", "\"timeout\": \"2s\"");
    ensure!(
        other.matches("nobody").count() == 1 && other.contains("2s"),
        "{other}"
    );
    std::fs::write(&config, other)?;
    for (language, code) in [(Language::Python, "DEADLINE_EXCEEDED"), (Language::Node, "OK")] {
        let seen = asked_with(world, tools, language, &cases[..1], &config).await?;
        ensure!(seen[0]["code"] == code, "{language:?}: {seen:?}");
    }
    Ok(())
}

/// A database under a host that its certificate does not name, or with a root that did not sign it, gets no password.
async fn verifies(world: &World, tools: &Tools, language: Language) -> Result<()> {
    let port = world.fleet.postgres("vn-1")?.advertised_port();
    let detour = TcpListener::bind((OTHER_HOST, 0)).await?;
    let (other_port, root) = (detour.local_addr()?.port(), world.identities().join("other.crt"));
    std::fs::write(&root, ca::root("elsewhere", SystemTime::now())?.cert_pem)?;
    let leading = tokio::spawn(async move {
        while let Ok((mut from, _)) = detour.accept().await {
            let mut to = TcpStream::connect(("127.0.0.1", port)).await?;
            // Either side may hang up as it likes.
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        }
        std::io::Result::Ok(())
    });
    let mut command = tools.command(language, "walls");
    command.args(places(world, language, &world.identity("ehr"), &service_config()));
    command
        .args([DOMAIN, OTHER_HOST, &other_port.to_string()])
        .arg(root);
    let said = Program::start(command)?.leave().await?;
    leading.abort();
    let told = |what: &str| said.iter().find(|line| line["what"] == what);
    let refused = |what: &str, why: &str| {
        let line = told(what).filter(|line| line["event"] == "refused");
        line.is_some_and(|line| line["told"].as_str().is_some_and(|told| told.contains(why)))
    };
    ensure!(
        told("nothing").is_some_and(|line| line["event"] == "let in")
            && refused("host", "does not match")
            && refused("root", "is not the one named with the credential"),
        "{language:?}: {said:?}"
    );
    Ok(())
}

/// A service at work, through a bad day.
async fn lives(world: &World, tools: &Tools, language: Language) -> Result<()> {
    let mut command = tools.command(language, "live");
    command.args(places(world, language, &world.identity("ehr"), &service_config()));
    command.arg(DOMAIN);
    let mut service = Program::start(command)?;
    let version = service
        .until("a connection", |said| connected(said).last().copied())
        .await?;
    service.until("a watch", watched_node).await?;
    all_answer(world, &mut service).await?;

    let victim = lead_from_the_watched_node(world, &mut service).await?;
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
    answers_come_without(&mut service, after, victim).await?;

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
