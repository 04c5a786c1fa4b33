//! Signing on the leader.

use std::time::{Duration, SystemTime};

use reeve_domain::State;
use reeve_proto::identity::{Issuer, Kind, SpiffeId, Usage, ca};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Authority, ISSUING_KEY, IssueError};
use crate::consensus::Level;
use crate::vault::KeyProvider;

/// A leader that cannot confirm itself for so long is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be signed, on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueOrder {
    csr_pem: String,
    principal: String,
    usage: WantedUsage,
}

/// What the certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum WantedUsage {
    Node { hosts: Vec<String> },
    Client,
    Postgres { hosts: Vec<String> },
}

impl IssueOrder {
    pub(super) fn new(csr_pem: &str, principal: &SpiffeId, usage: Usage) -> IssueOrder {
        let usage = match usage {
            Usage::Node { hosts } => WantedUsage::Node { hosts },
            Usage::Client => WantedUsage::Client,
            Usage::Postgres { hosts } => WantedUsage::Postgres { hosts },
        };
        IssueOrder {
            csr_pem: csr_pem.to_owned(),
            principal: principal.to_string(),
            usage,
        }
    }

    fn usage(&self) -> Usage {
        match self.usage.clone() {
            WantedUsage::Node { hosts } => Usage::Node { hosts },
            WantedUsage::Client => Usage::Client,
            WantedUsage::Postgres { hosts } => Usage::Postgres { hosts },
        }
    }
}

impl Authority {
    /// Signs, once leadership is confirmed and the State is no older than the question.
    pub async fn sign(&self, order: &IssueOrder) -> Result<String, IssueError> {
        let read = self
            .consensus
            .read(Level::Linearizable, Instant::now() + PATIENCE)
            .await;
        let view = read.map_err(|error| IssueError::NotLeader(error.to_string()))?;
        if !self.consensus.is_leader() {
            return Err(IssueError::NotLeader("another node leads".to_owned()));
        }
        issue(self.root.as_ref(), view.state(), order, SystemTime::now())
    }
}

/// Opens the issuing key for this one signature; it is wiped on the way out.
pub(super) fn issue(
    root: &dyn KeyProvider,
    state: &State,
    order: &IssueOrder,
    now: SystemTime,
) -> Result<String, IssueError> {
    let refused = |why: &dyn std::fmt::Display| IssueError::Refused(why.to_string());
    let id = SpiffeId::parse(&order.principal).map_err(|error| refused(&error))?;
    may_hold(state, &id, &order.usage)?;

    let cluster = &state.cluster;
    let sealed = cluster
        .issuing_key
        .as_ref()
        .ok_or_else(|| refused(&"the cluster is not founded yet"))?;
    let issuing = first_block(&cluster.issuing_chain_pem);
    let key = root.open(sealed, ISSUING_KEY).map_err(|error| refused(&error))?;
    let key =
        Zeroizing::new(String::from_utf8(key.to_vec()).map_err(|_| refused(&"the issuing key is no PEM"))?);
    let issuer = Issuer::new(issuing, &key, &cluster.root_ca_pem).map_err(|error| refused(&error))?;
    let ttl = ca::default_ttl(id.kind());
    let issued = issuer
        .issue(&order.csr_pem, &id, &order.usage(), ttl, now)
        .map_err(|error| refused(&error))?;
    Ok(issued.chain_pem)
}

/// Only a principal in good standing gets a certificate, and only of its own kind.
fn may_hold(state: &State, id: &SpiffeId, usage: &WantedUsage) -> Result<(), IssueError> {
    let fits = match usage {
        WantedUsage::Node { .. } => matches!(id.kind(), Kind::Node(_)),
        WantedUsage::Postgres { .. } => matches!(id.kind(), Kind::Agent(_)),
        WantedUsage::Client => !matches!(id.kind(), Kind::Node(_)),
    };
    if !fits {
        return Err(IssueError::Refused(format!(
            "{id} may not hold a certificate of this kind"
        )));
    }
    match state.principals.get(&id.to_string()) {
        None => Err(IssueError::Refused(format!(
            "{id} is not a principal of this cluster"
        ))),
        Some(known) if known.revoked => Err(IssueError::Refused(format!("{id} was revoked"))),
        Some(_) => Ok(()),
    }
}

/// The first certificate of a PEM text.
pub(super) fn first_block(pem: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    pem.find(END).map_or(pem, |at| &pem[..at + END.len()])
}
