//! Which action each RPC is. The match is exhaustive over the descriptor: a new RPC fails the build here.

use reeve_domain::policy::Action;
use reeve_proto::Rpc;

/// The action that a call of this RPC is.
pub fn action(rpc: Rpc) -> Action {
    match rpc {
        Rpc::ResolverResolve | Rpc::ResolverBatchResolve | Rpc::ResolverWatch => Action::ResolveTenant,
        Rpc::ResolverGetCredential | Rpc::ResolverAcknowledgeCredential => Action::ReadCredential,

        Rpc::TenantCreateTenant => Action::CreateTenant,
        Rpc::TenantGetTenant | Rpc::TenantListTenants => Action::ReadTenant,
        Rpc::TenantUpdateTenant
        | Rpc::TenantSuspendTenant
        | Rpc::TenantResumeTenant
        | Rpc::TenantSetAllowlist => Action::ChangeTenant,
        Rpc::TenantDeleteTenant => Action::DeleteTenant,

        Rpc::DatabaseListFindings | Rpc::DatabaseListCredentials | Rpc::DatabaseGetHealth => {
            Action::ReadTenant
        }
        Rpc::DatabaseScanIsolation | Rpc::DatabaseRotateCredential => Action::ChangeTenant,

        Rpc::GroupListRegions | Rpc::GroupListGroups | Rpc::GroupGetGroup => Action::ReadGroup,
        Rpc::GroupCreateRegion | Rpc::GroupFenceGroup | Rpc::GroupUnfenceGroup => Action::ChangeGroup,

        Rpc::OperationGetOperation
        | Rpc::OperationListOperations
        | Rpc::OperationWaitOperation
        | Rpc::OperationWatchOperation
        | Rpc::OperationGetOperationLimits => Action::ReadOperation,
        Rpc::OperationCancelOperation | Rpc::OperationRetryOperation => Action::CancelOperation,

        Rpc::ClusterGetCluster => Action::ReadCluster,
        Rpc::ClusterRemoveNode
        | Rpc::ClusterTransferLeader
        | Rpc::ClusterSaveSnapshot
        | Rpc::OperationSetOperationLimits => Action::ChangeCluster,
        Rpc::ClusterRenewNode => Action::KnowSelf,

        Rpc::AccessCreateJoinToken | Rpc::AccessRevokePrincipal => Action::ChangeAccess,
        Rpc::AccessListPrincipals => Action::ReadAccess,
        Rpc::AccessRenewCertificate | Rpc::AccessWhoAmI => Action::KnowSelf,

        Rpc::AlertListAlerts => Action::ReadAlert,
        Rpc::AlertAcknowledgeAlert | Rpc::AlertTestAlert => Action::ChangeAlert,

        Rpc::AuditTailRecords | Rpc::AuditListShards => Action::ReadAudit,

        // What a Resolve costs before it does anything is measured as what a Resolve is.
        Rpc::BenchEmpty => Action::ResolveTenant,

        Rpc::AgentSession | Rpc::AgentRenew => Action::ServeAsAgent,

        Rpc::AgentJoin | Rpc::ClusterJoinNode | Rpc::AccessEnroll => Action::Join,
    }
}
