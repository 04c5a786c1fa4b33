//! A refusal: part of the answer, the same on every node, and nothing has changed.

use serde::{Deserialize, Serialize};

use crate::ids::{FindingId, OperationId, TenantId};
use crate::version::Versions;
use crate::words::{Claim, Name};

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields)]
pub enum Refusal {
    /// The same request id came with another request.
    #[error("request_id was used for another request; take a new one")]
    RequestIdReused,
    /// The table of remembered requests is full for this caller, or in all.
    #[error("too many requests are remembered; come back later")]
    TooManyRequestsRemembered,
    /// A field that cannot be.
    #[error("{field}: {why}")]
    BadField {
        /// Which one.
        field: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// No such tenant.
    #[error("no tenant {0}")]
    TenantNotFound(String),
    /// It exists and is in another state.
    #[error("tenant {tenant} is {state}; {next}")]
    WrongState {
        /// Which tenant, or what else.
        tenant: String,
        /// What it is now.
        state: String,
        /// What to do.
        next: String,
    },
    /// Another tenant holds the claim.
    #[error("{0} is taken by another tenant; choose another one")]
    ClaimTaken(Claim),
    /// No such region.
    #[error("no region {0}; `reeve group ls` shows the regions")]
    RegionUnknown(Name),
    /// Nowhere to put it.
    #[error("no group in region {region} has room for a {class} tenant; add an agent there")]
    NoCapacity {
        /// Where it was to go.
        region: Name,
        /// shared or dedicated.
        class: String,
    },
    /// No such group.
    #[error("no group {0}")]
    GroupNotFound(String),
    /// No such operation.
    #[error("no operation {0}")]
    OperationNotFound(String),
    /// No such alert.
    #[error("no alert {0}; `reeve alert ls --all` shows those that are known")]
    AlertNotFound(String),
    /// Another operation holds the tenant.
    #[error("operation {operation} holds tenant {tenant}; wait for it or cancel it")]
    OperationInProgress {
        /// Who is held.
        tenant: TenantId,
        /// By what.
        operation: OperationId,
    },
    /// It is over.
    #[error("operation {0} has ended")]
    OperationEnded(OperationId),
    /// Changed since it was read.
    #[error("it changed since you read it (etag is {0} now); read it again")]
    EtagMismatch(String),
    /// The typed name is not the tenant's.
    #[error("confirm must repeat the slug {0}")]
    ConfirmationMissing(String),
    /// There is one already.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// No such token, or a wrong secret.
    #[error("the join token is not valid; ask for a new one")]
    TokenInvalid,
    /// Too late.
    #[error("the join token has expired; ask for a new one")]
    TokenExpired,
    /// Somebody was faster.
    #[error("the join token has been used; ask for a new one, and find out who used it")]
    TokenUsed,
    /// The caller is nobody here.
    #[error("{0} is not a principal of this cluster")]
    Unauthenticated(String),
    /// The caller's rights ended or changed between asking and deciding.
    #[error("the rights of {0} have changed; sign in again")]
    PrincipalRevoked(String),
    /// No such principal.
    #[error("no principal {0}")]
    PrincipalNotFound(String),
    /// Someone must be able to let others in.
    #[error("{0} is the last admin; make another one first")]
    LastAdmin(String),
    /// An older epoch, attempt or sequence than the one in force.
    #[error("{0}")]
    Fenced(String),
    /// No such node.
    #[error("no node {0}")]
    NodeNotFound(u64),
    /// No majority of the nodes has room for a change.
    #[error(
        "the disks of nodes {0} are full: nothing can be changed until there is room, reads go on; free space there"
    )]
    DiskFull(String),
    /// Not every node is known to understand the command.
    #[error(
        "{command} needs cluster version {needs}, and this cluster is at {is}: upgrade all nodes first{behind}"
    )]
    ClusterVersionTooLow {
        /// What was asked for.
        command: String,
        /// The version that it came with.
        needs: u32,
        /// The version of this cluster.
        is: u32,
        /// Who holds it back, when the node that answers knows.
        behind: String,
    },
    /// A new node whose program cannot read this cluster's log.
    #[error(
        "the new node's program knows cluster versions {known}, and this cluster is at {is}: \
         install the program that the other nodes run"
    )]
    ProgramVersionUnfit {
        /// What it knows.
        known: Versions,
        /// The version of this cluster.
        is: u32,
    },
    /// Something that an audit found stands between the tenant and its services.
    #[error(
        "tenant {tenant} is not isolated: {finding} ({what}); mend it, and ask again when the next round of the audit, \
         within a minute, has closed it"
    )]
    NotIsolated {
        /// Whose wall is broken.
        tenant: TenantId,
        /// What was found.
        finding: FindingId,
        /// Its rule and subject.
        what: String,
    },
    /// Too many wait for their turn already.
    #[error("{max} operations of {of} wait for their turn already; come back when some have ended")]
    QueueFull {
        /// A tenant, or the fleet.
        of: String,
        /// How many may wait.
        max: usize,
    },
    /// The policy changed between asking and deciding.
    #[error("the policy has changed; ask again")]
    PolicyChanged,
}

impl Refusal {
    /// A field that cannot be, with why.
    pub fn field(field: &str, why: impl ToString) -> Refusal {
        Refusal::BadField {
            field: field.to_owned(),
            why: why.to_string(),
        }
    }
}
