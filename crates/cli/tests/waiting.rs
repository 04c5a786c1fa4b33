//! Somebody waits at a terminal for an operation, leaves, and comes back; and types again what is to be destroyed.

mod admin;
mod pty;

use std::time::Duration;

use admin::Admin;
use anyhow::{Context, Result, ensure};
use pty::Terminal;
use reeve_client::v1::operation::State;
use reeve_local::{Fleet, examples_dir, tenants};
use regex::Regex;

const PATIENCE: Duration = Duration::from_secs(60);

fn fits(text: &str, width: usize) -> Result<()> {
    for line in text.lines() {
        ensure!(
            line.chars().count() <= width,
            "over {width} columns: {line:?}\n{text}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_is_told_the_way_back_and_the_operation_goes_on() -> Result<()> {
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples_dir()?.join("ehr"))
        .direct()
        .start()
        .await?;
    let admin = Admin::of(&fleet)?;
    let agent = fleet.agent("vn-1")?;
    agent.kill9()?;
    let create = "tenant create hue --region vn --channel ehr --wait";

    // Nobody takes the first step: who has no patience leaves, and so does who presses Ctrl-C.
    let (code, said) = admin.said(&format!("{create} --request-id hue-1 --timeout 2s"))?;
    ensure!(code == Some(7), "{code:?} {said}");
    let id = Regex::new("op_[0-9a-f]{16}")?;
    let id = id.find(&said).context("no operation")?.as_str().to_owned();
    let back = format!("come back with `reeve op watch {id}`");
    ensure!(said.contains(&back), "{said}");

    let watching = Terminal::run(80, &mut admin.command(&format!("op watch {id}")))?;
    watching.wait_for("agent/vn-1")?;
    watching.interrupt()?;
    let (code, text) = watching.ended()?;
    ensure!(code == Some(130), "{code:?} {text}");
    ensure!(text.contains(&back), "{text}");
    fits(&text, 80)?;

    // The way back leads to the same operation, which is at work still; each step is shown as it comes.
    let mut both = Vec::new();
    for width in [80, 200] {
        let watching = Terminal::run(width, &mut admin.command(&format!("op watch {id}")))?;
        watching.wait_for("agent/vn-1")?;
        both.push((width, watching));
    }
    agent.start()?;
    for (width, watching) in both {
        let (code, text) = watching.ended()?;
        ensure!(code == Some(0), "{code:?} {text}");
        fits(&text, width.into())?;
        for step in ["create_roles", "create_database", "migrate", "audit", "activate"] {
            ensure!(text.contains(&format!("✓ {step}")), "{step} at {width}:\n{text}");
        }
    }
    let ended = tenants::ended(fleet.api(), &id, PATIENCE).await?;
    ensure!(ended.state() == State::Done, "{ended:?}");

    for width in [80, 200] {
        let asked = Terminal::run(width, &mut admin.command("tenant status hue"))?;
        let (code, text) = asked.ended()?;
        ensure!(code == Some(0) && text.contains("hue"), "{code:?} {text}");
        fits(&text, width.into())?;
    }

    // What is typed must be the tenant's own name.
    for (typed, expected) in [("hu", Some(2)), ("hue", Some(0))] {
        let mut deleting = Terminal::run(80, &mut admin.command("tenant delete hue"))?;
        deleting.wait_for("Type hue to go on: ")?;
        ensure!(
            deleting.text().contains("this destroys all data of hue"),
            "{}",
            deleting.text()
        );
        deleting.types(typed)?;
        let (code, text) = deleting.ended()?;
        ensure!(code == expected, "{typed}: {code:?} {text}");
        let is_told = text.contains("what you typed is not hue");
        ensure!(is_told == (expected == Some(2)), "{text}");
    }
    let (code, said) = admin.said("tenant get hue")?;
    ensure!(code == Some(3) || said.contains("deleted"), "{code:?} {said}");
    fleet.shutdown().await
}
