//! How databases fare, as their agents last said: the leader's memory. It is never in the log, and gone with the leader.

use std::collections::BTreeMap;
use std::time::Duration;

use reeve_domain::health::Vitals;
use reeve_domain::{Stamp, TenantId};
use serde::{Deserialize, Serialize};

use super::{Shared, wall};
use crate::asks::{Question, Reply, ask_leader};
use crate::consensus::Consensus;

/// A leader that takes longer to answer has other worries.
const PATIENCE: Duration = Duration::from_secs(1);
/// What was said longer ago is forgotten.
const KEPT_MS: u64 = 600_000;

/// What an agent measured of one database, without a time of its own: whoever hears it knows when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    pub tenant: TenantId,
    pub tried_ago_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audited_ago_ms: Option<u64>,
    pub vitals: Vitals,
}

/// A cloneable handle on the board of one node.
#[derive(Clone)]
pub struct VitalsBoard {
    consensus: Consensus,
    own: Shared<Own>,
}

/// What this node heard while it led in this term.
#[derive(Default)]
struct Own {
    term: u64,
    vitals: BTreeMap<TenantId, Vitals>,
}

impl VitalsBoard {
    pub fn new(consensus: Consensus) -> VitalsBoard {
        VitalsBoard {
            consensus,
            own: Shared::default(),
        }
    }

    /// Passes what was measured on to the leader. When nobody leads it is lost, and said again in the next round.
    pub async fn report(&self, measured: Vec<Measured>) {
        if self.consensus.is_leader() {
            return self.note(measured);
        }
        let question = Question::Measured(measured);
        let asked = tokio::time::timeout(PATIENCE, ask_leader(&self.consensus, &question)).await;
        if let Ok(Err(error)) = asked {
            tracing::debug!(%error, "what was measured is not with the leader");
        }
    }

    /// What was last measured of a tenant's database, as the leader knows it.
    pub async fn read(&self, tenant: &TenantId) -> Option<Vitals> {
        if self.consensus.is_leader() {
            return self.own(tenant);
        }
        let question = Question::Vitals(tenant.clone());
        let asked = tokio::time::timeout(PATIENCE, ask_leader(&self.consensus, &question)).await;
        match asked {
            Ok(Ok(Reply::Vitals(vitals))) => vitals,
            _ => None,
        }
    }

    /// What this node itself heard as the leader of the present term.
    pub fn own(&self, tenant: &TenantId) -> Option<Vitals> {
        self.this_term(|own| own.vitals.get(tenant).cloned())
    }

    /// Looks at all that this node heard as the leader of the present term.
    pub fn look<T>(&self, look: impl FnOnce(&BTreeMap<TenantId, Vitals>) -> T) -> T {
        self.this_term(|own| look(&own.vitals))
    }

    /// Writes it down in this node's own memory.
    pub fn note(&self, measured: Vec<Measured>) {
        let now = wall();
        self.this_term(|own| {
            own.vitals
                .retain(|_, known| now.millis_since(known.at) <= KEPT_MS);
            let at = |ago_ms: u64| Stamp(now.0.saturating_sub(ago_ms));
            for one in measured {
                let vitals = Vitals {
                    at: now,
                    tried: one.tried_ago_ms.map(at),
                    audited: one.audited_ago_ms.map(at),
                    ..one.vitals
                };
                own.vitals.insert(one.tenant, vitals);
            }
        });
    }

    fn this_term<T>(&self, look: impl FnOnce(&mut Own) -> T) -> T {
        let term = self.consensus.term();
        let mut own = self.own.lock();
        if own.term != term {
            *own = Own {
                term,
                vitals: BTreeMap::new(),
            };
        }
        look(&mut own)
    }
}
