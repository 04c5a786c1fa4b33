//! Why a tenant or a group came back fenced: what clashed, who says so, and what a person should do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{PlacementNumber, Revision, Stamp, TenantId};
use crate::tenant::Status;
use crate::words::{Claim, Name};

/// Keeps a tenant fenced until a person has decided: resuming it takes its claims back, deleting it gives them up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispute {
    pub clashes: Vec<Clash>,
    /// Claims that others hold now.
    pub claims: Vec<Claim>,
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clash {
    /// The snapshot has it, its host heard later that it is gone.
    Gone { agent: Name, revision: Revision },
    /// The snapshot has it, and its host, which heard later things, does not know it.
    Unheard { agent: Name, revision: Revision },
    /// Two groups were told that they host it.
    TwoHosts {
        group: Name,
        number: PlacementNumber,
        revision: Revision,
        other: Name,
        other_number: PlacementNumber,
        other_revision: Revision,
    },
    /// A later record says older things.
    Backwards { agent: Name, revision: Revision },
    /// Two records of one revision differ.
    Forked { agent: Name, revision: Revision },
    /// More than one tenant has the claim.
    Claim { claim: Claim, other: TenantId },
    /// It was being made or removed, and nobody goes on with that.
    Unfinished {
        status: Status,
        agent: Name,
        revision: Revision,
    },
    /// It was deleted before the snapshot, and its host heard of it later.
    Deleted {
        at: Stamp,
        agent: Name,
        revision: Revision,
    },
    /// Nobody has told what its group is.
    NoGroup { group: Name },
    /// A group's primary is another one than the snapshot says.
    Primary {
        agent: Name,
        revision: Revision,
        known: Name,
    },
    /// The group's agent has lost its rights.
    Revoked { agent: Name },
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LOOK: &str = "look at the database";
        match self {
            Clash::Gone { agent, revision } => write!(
                f,
                "the snapshot has it, and agent {agent} heard at revision {revision} that it is gone; delete it, or {LOOK} and resume it"
            ),
            Clash::Unheard { agent, revision } => write!(
                f,
                "the snapshot has it, and agent {agent}, whose records go up to revision {revision}, holds none of it; {LOOK}, then resume or delete it"
            ),
            Clash::TwoHosts {
                group,
                number,
                revision,
                other,
                other_number,
                other_revision,
            } => write!(
                f,
                "group {group} hosts it by placement {number} of revision {revision}, and group {other} by placement {other_number} of revision {other_revision}; {LOOK} in both, then resume it when group {group} has the right one"
            ),
            Clash::Backwards { agent, revision } => write!(
                f,
                "the record of agent {agent} is of revision {revision} and says older things than others do; {LOOK}, then resume or delete it"
            ),
            Clash::Forked { agent, revision } => write!(
                f,
                "two records of revision {revision} differ, one is of agent {agent}; {LOOK}, then resume or delete it"
            ),
            Clash::Claim { claim, other } => write!(
                f,
                "tenant {other} has claim {claim} as well; delete the one that should not, then resume the other"
            ),
            Clash::Unfinished {
                status,
                agent,
                revision,
            } => write!(
                f,
                "it was {} when agent {agent} last heard of it, at revision {revision}; delete it, or {LOOK} and resume it",
                status.word()
            ),
            Clash::Deleted { at, agent, revision } => write!(
                f,
                "it was deleted at stamp {}, and agent {agent} heard of it later, at revision {revision}; {LOOK}, then resume or delete it",
                at.0
            ),
            Clash::NoGroup { group } => write!(
                f,
                "nobody has told what group {group} is; restore again with the records of its agent"
            ),
            Clash::Primary {
                agent,
                revision,
                known,
            } => write!(
                f,
                "agent {agent} heard at revision {revision} that it is the primary, the snapshot says {known}; unfence the group once it is sure who is"
            ),
            Clash::Revoked { agent } => write!(
                f,
                "agent {agent} was revoked; enrol it again or delete its tenants"
            ),
        }
    }
}
