//! A node more, a node less, while everything runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::Api;
use reeve_client::v1::{GetClusterRequest, RemoveNodeRequest, Role};

use super::Fleet;
use crate::node::Node;
use crate::plan::NodePlan;
use crate::ready::until;

const PATIENCE: Duration = Duration::from_secs(60);

impl Fleet {
    /// Whether a further node was planned for.
    pub fn can_grow(&self) -> bool {
        !self.plan.spares.is_empty()
    }

    /// The addresses of the nodes that there may be: those that are to come cannot be reached yet.
    pub fn future_addresses(&self) -> Vec<String> {
        self.plan.spares.iter().map(NodePlan::address).collect()
    }

    /// Adds the next of the nodes that were planned as spares: by a token, as a person would. It may not vote yet.
    /// Agents go on with the nodes that they were given.
    pub async fn add_node(&mut self) -> Result<Arc<Node>> {
        ensure!(
            self.supervisor.is_none(),
            "a fleet whose nodes are started again cannot grow"
        );
        let planned = self.plan.take_spare(&mut self.hops).await?;
        self.recipe.write_config(&self.plan, &planned, &self.dir)?;
        let node = self.recipe.make(&planned, &self.dir, &self.admin, &self.ledger)?;
        self.nodes.push(node.clone());
        self.change_api()?;
        self.plan.save(&self.dir)?;
        let token = self.token(Role::Node, "", "", &[]).await?;
        node.join(&token)
            .await
            .with_context(|| format!("node {} could not join", planned.id))?;
        node.start()?;
        Ok(node)
    }

    /// Takes a node out of the cluster for ever, the leader too; returns when the others have let it go and it is gone.
    pub async fn remove_node(&mut self, id: u64) -> Result<()> {
        self.ask_to_remove(id).await?;
        self.forget_node(id).await
    }

    /// Only asks for it: the group may still be about to change.
    pub async fn ask_to_remove(&self, id: u64) -> Result<()> {
        let order = RemoveNodeRequest {
            request_id: reeve_client::request_id(),
            node_id: id,
            confirm: format!("{}/{id}", self.cluster()),
            force: false,
        };
        // The leader alone knows whether the others can do without it, and it may change meanwhile.
        until(
            &format!("node {id} to be struck off the roll"),
            PATIENCE,
            async || {
                let leader = self.leader().await?;
                leader.api().cluster().remove_node(order.clone()).await?;
                Ok(Some(()))
            },
        )
        .await
    }

    /// Waits until the others have let a node go, ends its process, and takes its links away.
    pub async fn forget_node(&mut self, id: u64) -> Result<()> {
        let node = self.nodes.iter().find(|node| node.id() == id);
        let node = node.cloned().with_context(|| format!("there is no node {id}"))?;
        self.wait_gone(id).await?;
        node.stop().await?;
        self.nodes.retain(|node| node.id() != id);
        self.plan.forget(id);
        self.hops.drop_around(&format!("n{id}"));
        self.change_api()?;
        self.plan.save(&self.dir)
    }

    /// Until one of the others leads and counts it among the group no more.
    async fn wait_gone(&self, id: u64) -> Result<()> {
        until(
            &format!("the end of node {id}'s membership"),
            PATIENCE,
            async || {
                let leader = self.leader_now().await?.filter(|leader| *leader != id);
                let leader = self.node(leader.context("none of the others leads")?)?;
                let mut asked = leader.api().cluster();
                let answer = asked.get_cluster(GetClusterRequest::default()).await?;
                let cluster = answer.into_inner();
                let is_gone = cluster.nodes.iter().all(|node| node.id != id);
                Ok(is_gone.then_some(()))
            },
        )
        .await
    }

    /// Calls go to whoever is there now.
    fn change_api(&mut self) -> Result<()> {
        self.api = Api::connect(&self.addresses(), &self.admin)?;
        Ok(())
    }
}
