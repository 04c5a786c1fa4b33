//! What is called: the nodes over connections of their own, and the tenants that are known there.

use reeve_client::v1::tenant::State;
use reeve_client::{Api, Credentials, Error, reason, v1};
use reeve_proto::error::word;
use reeve_proto::identity::{Connector, Expect, Tuning, channel, connector};
use tonic::Status;
use tonic::transport::Channel;

/// Tenants that are gone round over.
const TENANTS_MAX: usize = 10_000;
const PAGE: u32 = 1_000;

/// A cluster, and the identity that is shown to it.
pub struct Target {
    nodes: Vec<String>,
    connector: Connector,
    api: Api,
}

impl Target {
    /// Nothing is dialled yet.
    pub fn new(nodes: Vec<String>, credentials: Credentials) -> Result<Target, Error> {
        let connector = connector(&credentials, Expect::AnyNode).map_err(|error| Error::Invalid {
            what: "credentials",
            why: error.to_string(),
        })?;
        Ok(Target {
            api: Api::over(&nodes, &connector, &Tuning::default())?,
            nodes,
            connector,
        })
    }

    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Whichever node serves, for what is not measured.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// So many connections, dealt out over the nodes in their order. Failing over is left out on purpose.
    pub fn channels(&self, count: usize) -> Result<Vec<Channel>, Error> {
        let nodes = self.nodes.iter().cycle().take(count);
        let dial = |node: &String| {
            channel(node, self.connector.clone(), &Tuning::default()).map_err(|_| Error::Invalid {
                what: "nodes",
                why: format!("{node:?} is not host:port"),
            })
        };
        nodes.map(dial).collect()
    }

    /// The active tenants that this identity may see.
    pub async fn tenants(&self) -> Result<Vec<v1::Tenant>, Error> {
        let mut tenants = Vec::new();
        let mut page_token = String::new();
        loop {
            let asked = v1::ListTenantsRequest {
                page_size: PAGE,
                page_token,
                state: State::Active.into(),
                ..Default::default()
            };
            let page = self.api.tenants().list_tenants(asked).await?.into_inner();
            tenants.extend(page.tenants);
            if page.next_page_token.is_empty() || tenants.len() >= TENANTS_MAX {
                tenants.truncate(TENANTS_MAX);
                return Ok(tenants);
            }
            page_token = page.next_page_token;
        }
    }
}

/// What a failed call is counted under: the stable reason, or the code where none was given.
pub fn reason_of(status: &Status) -> String {
    match reason(status) {
        Some(reason) => word(reason).to_owned(),
        None => format!("{:?}", status.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_proto::error;

    #[test]
    fn a_failure_is_counted_under_its_reason_or_its_code() {
        let known = error::status(v1::ErrorReason::NoLeader, "nobody leads", &[]);
        assert_eq!(reason_of(&known), "NO_LEADER");
        assert_eq!(
            reason_of(&Status::unavailable("connection refused")),
            "Unavailable"
        );
    }
}
