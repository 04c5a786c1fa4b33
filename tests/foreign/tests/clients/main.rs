//! Rust, Python and Node are told the same of every tenant; and while the leader dies, a service in Python or Node
//! resolves without an error, watches without a loss, and follows its tenant's credential; a node that hangs costs no more.

mod contract;
mod live;
mod walls;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use reeve_foreign::{Language, Tools, World, cases, example, root};

const LANGUAGES: [Language; 2] = [Language::Python, Language::Node];
const DOMAIN: &str = "cho-ray.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_python_and_node_are_served_alike_also_while_the_leader_dies() -> Result<()> {
    let tools = Tools::ready()?;
    let world = World::start().await?;
    let cases = cases(world.known())?;
    contract::agrees("Rust", &cases, &contract::asked_by_rust(&world, &cases).await?)?;
    for language in LANGUAGES {
        let seen = contract::asked_by(&world, &tools, language, &cases).await?;
        contract::agrees(&format!("{language:?}"), &cases, &seen)?;
        walls::verifies(&world, &tools, language).await?;
    }
    contract::only_python_asks_for_health(&world, &tools, &cases).await?;
    runs_as_shown(&world).await?;
    for language in LANGUAGES {
        live::lives(&world, &tools, language)
            .await
            .with_context(|| format!("{language:?}"))?;
    }
    world.fleet.shutdown().await
}

/// Rust, as docs/clients.md has it.
async fn runs_as_shown(world: &World) -> Result<()> {
    let fleet = example::fleet(world.fleet.addresses(), &world.identity("ehr"))?;
    ensure!(example::warm_up(&fleet, &[DOMAIN, "nobody.example"]).await? == 1);
    for host in ["Cho-Ray.example:443", DOMAIN] {
        ensure!(example::patients(&fleet, host).await? == 0);
    }
    fleet.close().await;
    Ok(())
}

/// What is shipped for every gRPC client.
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
