//! What there are alerts of. Each has one severity, and a runbook of its name.

use serde::{Deserialize, Serialize};

use crate::isolation::Severity;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// An agent is not heard.
    AgentSilent,
    /// An instance's PostgreSQL does not answer its agent.
    PostgresDown,
    /// Services of active tenants do not come in.
    TenantsNotReady,
    /// Somebody may read or write what is not theirs.
    IsolationFindingCritical,
    /// One wall of two is weaker than it should be.
    IsolationFindingWarning,
    /// Nobody looks whether the walls stand.
    IsolationAuditStale,
    /// PostgreSQL is about to take no more writes.
    TransactionIdsEnding,
    /// Rows are not frozen as fast as transactions are made.
    TransactionIdsAging,
    /// Operations wait for a person.
    OperationStuck,
    /// Credentials are older than the schedule lets them be.
    CredentialOverdue,
    /// Somebody tries whether alerts arrive.
    Test,
}

impl Kind {
    /// All of them; the worst are the first.
    pub const ALL: [Kind; 11] = [
        Kind::AgentSilent,
        Kind::PostgresDown,
        Kind::TenantsNotReady,
        Kind::IsolationFindingCritical,
        Kind::IsolationAuditStale,
        Kind::TransactionIdsEnding,
        Kind::IsolationFindingWarning,
        Kind::TransactionIdsAging,
        Kind::OperationStuck,
        Kind::CredentialOverdue,
        Kind::Test,
    ];

    /// Its name, for people, machines and runbooks.
    pub fn name(self) -> &'static str {
        match self {
            Kind::AgentSilent => "AgentSilent",
            Kind::PostgresDown => "PostgresDown",
            Kind::TenantsNotReady => "TenantsNotReady",
            Kind::IsolationFindingCritical => "IsolationFindingCritical",
            Kind::IsolationFindingWarning => "IsolationFindingWarning",
            Kind::IsolationAuditStale => "IsolationAuditStale",
            Kind::TransactionIdsEnding => "TransactionIdsEnding",
            Kind::TransactionIdsAging => "TransactionIdsAging",
            Kind::OperationStuck => "OperationStuck",
            Kind::CredentialOverdue => "CredentialOverdue",
            Kind::Test => "Test",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Kind::AgentSilent
            | Kind::PostgresDown
            | Kind::TenantsNotReady
            | Kind::IsolationFindingCritical
            | Kind::IsolationAuditStale
            | Kind::TransactionIdsEnding => Severity::Critical,
            Kind::IsolationFindingWarning
            | Kind::TransactionIdsAging
            | Kind::OperationStuck
            | Kind::CredentialOverdue
            | Kind::Test => Severity::Warning,
        }
    }

    /// What it means, in a line.
    pub fn summary(self) -> &'static str {
        match self {
            Kind::AgentSilent => "an agent is not heard: nobody looks after its instance",
            Kind::PostgresDown => "PostgreSQL does not answer its agent: its tenants have no database",
            Kind::TenantsNotReady => "services of active tenants do not come into their databases",
            Kind::IsolationFindingCritical => "somebody may read or write what is not theirs",
            Kind::IsolationFindingWarning => "one wall of two is weaker than it should be",
            Kind::IsolationAuditStale => "nobody looks whether the walls between tenants stand",
            Kind::TransactionIdsEnding => {
                "PostgreSQL will soon take no more writes: its transaction ids run out"
            }
            Kind::TransactionIdsAging => "rows are not frozen as fast as transactions are made",
            Kind::OperationStuck => "operations wait for a person",
            Kind::CredentialOverdue => "credentials are older than the schedule lets them be",
            Kind::Test => "somebody tries whether alerts arrive",
        }
    }
}
