//! Rust, Python and Node are told the same of every tenant, and verify whom they talk to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use reeve_foreign::{Case, Language, Program, Tools, World, ask, cases, example, judge, root};
use reeve_proto::identity::ca;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

const LANGUAGES: [Language; 2] = [Language::Python, Language::Node];
/// Also this machine, and in no certificate.
const OTHER_HOST: &str = "127.0.0.2";
const DOMAIN: &str = "cho-ray.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_python_and_node_are_served_alike() -> Result<()> {
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
