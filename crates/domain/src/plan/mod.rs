//! What the leader's loops should propose, and what they wait for: functions of state, sightings and time.

pub mod alerts;
pub mod operations;
pub mod raise;
pub mod rotation;
pub mod turns;

use std::collections::BTreeMap;

use crate::ids::{Stamp, TenantId};
use crate::state::State;
use crate::words::Name;

/// The leader's soft memory of heartbeats. Never in the log; gone with the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings {
    pub agents: BTreeMap<Name, Sighting>,
}

/// One agent's last heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub seen: Stamp,
    pub lag_bytes: u64,
    pub connections: u32,
    /// When its isolation audit last came to the end of a round.
    pub audited: Option<Stamp>,
}

impl Sightings {
    /// Whether an agent was heard lately.
    pub fn hears(&self, agent: &Name, now: Stamp) -> bool {
        let sighting = self.agents.get(agent);
        sighting.is_some_and(|s| now.millis_since(s.seen) <= AGENT_SILENT_MS)
    }

    /// Whether the agent was heard lately that a tenant's orders go to.
    pub fn answers_for(&self, state: &State, tenant: &TenantId, now: Stamp) -> bool {
        let tenant = state.tenants.get(tenant);
        let group = tenant.and_then(|tenant| state.groups.get(&tenant.placement.group));
        group.is_some_and(|group| self.hears(&group.primary, now))
    }
}

/// Silence after which an agent is said to be silent.
pub const AGENT_SILENT_MS: u64 = 5_000;
