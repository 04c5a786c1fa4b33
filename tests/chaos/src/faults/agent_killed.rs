//! kill -9 of an agent in the middle of a step; it is started again as by a service manager.

use std::time::Duration;

use anyhow::{Context, Result};
use reeve_client::v1::{Operation, step};
use reeve_local::{Agent, Fleet, tenants};

const PATIENCE: Duration = Duration::from_secs(90);

/// Kills the agent when the operation reaches a step, and follows the operation to its end.
/// Gives back none when the step was over before anybody could look.
pub async fn strike(
    fleet: &Fleet,
    agent: &Agent,
    operation: &str,
    at_step: &str,
) -> Result<Option<Operation>> {
    let mut killed = None;
    let ended = tenants::follow(fleet.api(), operation, PATIENCE, |now| {
        let is_there = now
            .steps
            .iter()
            .any(|step| step.name == at_step && step.state() == step::State::Open);
        if is_there && killed.is_none() {
            killed = Some(agent.kill9());
        }
    })
    .await
    .with_context(|| format!("with the agent killed at {at_step}"))?;
    killed.transpose().map(|struck| struck.map(|()| ended))
}
