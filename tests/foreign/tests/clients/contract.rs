//! The table of cases, in each language.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reeve_foreign::{Case, Language, Program, Tools, World, ask, judge};
use serde_json::Value;

use super::{places, service_config};

/// Every case is as the table says; what is not is told whole.
pub(super) fn agrees(language: &str, cases: &[Case], seen: &[Value]) -> Result<()> {
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

pub(super) async fn asked_by_rust(world: &World, cases: &[Case]) -> Result<Vec<Value>> {
    let mut seen = Vec::new();
    for case in cases {
        let mut told = ask(&world.api_of(&case.identity)?, case).await?;
        told["name"] = case.name.as_str().into();
        seen.push(told);
    }
    Ok(seen)
}

pub(super) async fn asked_by(
    world: &World,
    tools: &Tools,
    language: Language,
    cases: &[Case],
) -> Result<Vec<Value>> {
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

/// The shipped config names the service whose health is asked for. Python believes what it hears, and calls no node
/// that does not know the service; Node does not ask.
pub(super) async fn only_python_asks_for_health(world: &World, tools: &Tools, cases: &[Case]) -> Result<()> {
    let shipped = std::fs::read_to_string(service_config())?;
    let unknown = shipped.replace(
        "\"serviceName\": \"reeve.v1.ResolverService\"",
        "\"serviceName\": \"nobody\"",
    );
    // Who waits in vain need not wait long.
    let hasty = unknown.replace("\"timeout\": \"10s\"", "\"timeout\": \"2s\"");
    ensure!(
        unknown != shipped && hasty != unknown,
        "nothing was planted: {shipped}"
    );
    let config = world.identities().join("service-config.json");
    for (language, planted, code) in [
        (Language::Python, hasty, "DEADLINE_EXCEEDED"),
        (Language::Node, unknown, "OK"),
    ] {
        std::fs::write(&config, planted)?;
        let seen = asked_with(world, tools, language, &cases[..1], &config).await?;
        ensure!(seen[0]["code"] == code, "{language:?}: {seen:?}");
    }
    Ok(())
}
