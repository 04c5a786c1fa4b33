//! Starts again who died, as a service manager would.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::Restart;
use crate::agent::Agent;
use crate::node::Node;

const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn start(restart: Restart, nodes: &[Arc<Node>], agents: &[Arc<Agent>]) -> Option<JoinHandle<()>> {
    let nodes = if restart == Restart::Everybody {
        nodes.to_vec()
    } else {
        Vec::new()
    };
    let agents = agents.to_vec();
    (restart != Restart::Nobody).then(|| tokio::spawn(run(nodes, agents)))
}

async fn run(nodes: Vec<Arc<Node>>, agents: Vec<Arc<Agent>>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let nodes = nodes
            .iter()
            .map(|node| (format!("n{}", node.id()), node.process()));
        let agents = agents
            .iter()
            .map(|agent| (agent.name().to_owned(), agent.process()));
        for (name, process) in nodes.chain(agents) {
            match process.revive() {
                Ok(true) => info!(name, "died and was started again"),
                Ok(false) => {}
                Err(error) => warn!(name, %error, "died and could not be started again"),
            }
        }
    }
}
