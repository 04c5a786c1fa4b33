//! Everything that can be asked of the state, and what is answered.

use serde::{Deserialize, Serialize};

use crate::access::{MintToken, RedeemToken, Redeemed};
use crate::alert::{Acknowledge, NoteTold, ReportAlerts, TestAlert};
use crate::credential::{self, Read};
use crate::group::{Region, ReportMember};
use crate::health::ReportReadiness;
use crate::ids::{AlertId, NodeId, OperationId, TenantId, TokenId};
use crate::isolation::ReportFindings;
use crate::operation::{Allow, Begin, Cancel, Report, Retry, Rotate, Scan, SetLimits, Timeout};
use crate::secret::Sealed;
use crate::tenant::{Create, Delete, Update};
use crate::version::{self, RaiseVersion};
use crate::words::Name;

/// One command. A new feature is a new variant and a new function beside its noun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    clippy::large_enum_variant,
    reason = "a command lives for one apply; boxing would change its encoding's reader for nothing"
)]
pub enum Command {
    Found(Found),
    CreateRegion(Region),
    MintToken(MintToken),
    RedeemToken(RedeemToken),
    RevokePrincipal {
        principal: String,
    },
    RemoveNode {
        node: NodeId,
    },
    CreateTenant(Create),
    UpdateTenant(Update),
    SuspendTenant {
        tenant: TenantId,
        etag: String,
    },
    ResumeTenant {
        tenant: TenantId,
        etag: String,
    },
    DeleteTenant(Delete),
    ReportMember(ReportMember),
    FenceGroup {
        group: Name,
    },
    UnfenceGroup {
        group: Name,
    },
    ReportStep(Report),
    TimeoutStep(Timeout),
    CancelOperation(Cancel),
    /// Nothing changes but the audit log: a secret is about to be read, a certificate to be issued.
    Witness(Witness),
    /// From now on the commands of a later version may be proposed.
    RaiseVersion(RaiseVersion),
    ReportFindings(ReportFindings),
    ScanTenant(Scan),
    RetryOperation(Retry),
    SetAllowlist(Allow),
    RotateCredential(Rotate),
    /// A service is about to be given the password in force.
    ReadCredential(Read),
    AcknowledgeCredential(credential::Acknowledge),
    /// An operation need not wait for those of its region that nobody hears.
    BeginOperation(Begin),
    SetOperationLimits(SetLimits),
    ReportReadiness(ReportReadiness),
    ReportAlerts(ReportAlerts),
    /// The webhook was told.
    NoteTold(NoteTold),
    AcknowledgeAlert(Acknowledge),
    TestAlert(TestAlert),
    /// What a later release might bring: a command that only rehearsals of an upgrade know.
    #[cfg(feature = "mutants")]
    Rehearse(Region),
}

/// The beginning of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    pub cluster: Name,
    pub cluster_id: String,
    pub root_ca_pem: String,
    /// Certificates of the issuing CA and the root.
    pub issuing_chain_pem: String,
    pub issuing_key: Sealed,
    pub audit_key: Sealed,
    pub regions: Vec<Region>,
    pub admin: String,
    pub node: NodeId,
    pub api_address: String,
    pub peer_address: String,
    /// The version that the cluster begins with: the founding program's own. Programs that knew one only named none.
    #[serde(default = "first_version", skip_serializing_if = "is_first_version")]
    pub version: u32,
}

fn first_version() -> u32 {
    version::FIRST
}

fn is_first_version(version: &u32) -> bool {
    *version == version::FIRST
}

/// Something that must be written down before it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// "credential.read", "certificate.issue".
    pub action: String,
    pub resource: String,
    /// The shard it belongs to; the fleet's when unset.
    pub tenant: Option<TenantId>,
    /// What identifies the thing: a version, a serial.
    pub detail: String,
}

/// What a command brought. Ids only: bodies are read from State at the answer's revision or later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Answer {
    Done,
    Tenant(TenantId),
    Operation {
        operation: OperationId,
        tenant: TenantId,
    },
    Token(TokenId),
    Redeemed(Redeemed),
    Region(Name),
    Group(Name),
    Principal(String),
    Witnessed {
        shard: String,
        sequence: u64,
    },
    Alert(AlertId),
}
