//! The cluster version: which commands may be proposed, and which programs may take part.
//!
//! ```text
//! every node tells (min ..= max) ─► plan::raise: all of the roll, lately ─► RaiseVersion ─► State.cluster.version
//!                    a command of a later version is refused until then ◄───────────────────────┘
//! ```
//! A program that knows a version knows every command, field and layout that may be written at it. What is new comes
//! with a new version: a number here, and a line in `tests/golden/since.txt`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::ids::{NodeId, Stamp};
use crate::operation::{Allow, Rotate, Scan};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::tenant::{Create, Delete};

/// The cluster versions that a program knows, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    pub min: u32,
    pub max: u32,
}

impl Versions {
    /// What this program knows.
    pub const KNOWN: Versions = Versions { min: 1, max: 4 };

    /// Whether a cluster at this version may be taken part in.
    pub fn holds(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Versions { min: 0, max: 0 } => write!(f, "none that it told"),
            Versions { min, max } if min == max => write!(f, "{min}"),
            Versions { min, max } => write!(f, "{min} to {max}"),
        }
    }
}

/// The version of a cluster whose founding names none.
pub const FIRST: u32 = 1;
/// Since here agents tell what their audits find, and a finding keeps a tenant out.
pub const ISOLATION: u32 = 2;
/// Since here credentials are changed, and it is written down who was given one.
pub const ROTATION: u32 = 3;

/// Since here operations wait for their turn, agents tell who is ready, and alerts are kept.
pub const TURNS: u32 = 4;

/// Layouts of a log entry, and since which version each is written.
const ENTRY_FORMATS: [(u32, u16); 1] = [(1, 1)];

/// The layout of an entry that is written at a version.
pub fn entry_format(version: u32) -> u16 {
    let written = ENTRY_FORMATS.iter().rev().find(|(since, _)| *since <= version);
    written.map_or(ENTRY_FORMATS[0].1, |(_, format)| *format)
}

/// Whether a program that knows these versions can read an entry of this layout.
pub fn reads_entry(known: Versions, format: u16) -> bool {
    ENTRY_FORMATS
        .iter()
        .any(|(since, written)| *written == format && *since <= known.max)
}

/// Since which version a command may be proposed. One that uses a later field needs that field's version.
pub fn since(command: &Command) -> u32 {
    match command {
        Command::Found(order) => order.version,
        Command::CreateTenant(Create { turn, .. })
        | Command::DeleteTenant(Delete { turn, .. })
        | Command::ScanTenant(Scan { turn, .. })
        | Command::SetAllowlist(Allow { turn, .. })
        | Command::RotateCredential(Rotate { turn, .. })
            if !turn.is_plain() =>
        {
            TURNS
        }
        Command::CreateRegion(_)
        | Command::MintToken(_)
        | Command::RedeemToken(_)
        | Command::RevokePrincipal { .. }
        | Command::RemoveNode { .. }
        | Command::CreateTenant(_)
        | Command::UpdateTenant(_)
        | Command::SuspendTenant { .. }
        | Command::ResumeTenant { .. }
        | Command::DeleteTenant(_)
        | Command::ReportMember(_)
        | Command::FenceGroup { .. }
        | Command::UnfenceGroup { .. }
        | Command::ReportStep(_)
        | Command::TimeoutStep(_)
        | Command::CancelOperation(_)
        | Command::Witness(_)
        // Every node must read the raise itself, whatever it raises to: it is as old as the founding.
        | Command::RaiseVersion(_) => 1,
        Command::ReportFindings(_)
        | Command::ScanTenant(_)
        | Command::RetryOperation(_)
        | Command::SetAllowlist(_) => ISOLATION,
        Command::RotateCredential(_) | Command::ReadCredential(_) | Command::AcknowledgeCredential(_) => ROTATION,
        Command::BeginOperation(_)
        | Command::SetOperationLimits(_)
        | Command::ReportReadiness(_)
        | Command::ReportAlerts(_)
        | Command::NoteTold(_)
        | Command::AcknowledgeAlert(_)
        | Command::TestAlert(_) => TURNS,
        #[cfg(feature = "mutants")]
        Command::Rehearse(_) => Versions::KNOWN.max + 1,
    }
}

/// The name of a command, as its bytes have it.
pub fn name(command: &Command) -> &'static str {
    match command {
        Command::Found(_) => "Found",
        Command::CreateRegion(_) => "CreateRegion",
        Command::MintToken(_) => "MintToken",
        Command::RedeemToken(_) => "RedeemToken",
        Command::RevokePrincipal { .. } => "RevokePrincipal",
        Command::RemoveNode { .. } => "RemoveNode",
        Command::CreateTenant(_) => "CreateTenant",
        Command::UpdateTenant(_) => "UpdateTenant",
        Command::SuspendTenant { .. } => "SuspendTenant",
        Command::ResumeTenant { .. } => "ResumeTenant",
        Command::DeleteTenant(_) => "DeleteTenant",
        Command::ReportMember(_) => "ReportMember",
        Command::FenceGroup { .. } => "FenceGroup",
        Command::UnfenceGroup { .. } => "UnfenceGroup",
        Command::ReportStep(_) => "ReportStep",
        Command::TimeoutStep(_) => "TimeoutStep",
        Command::CancelOperation(_) => "CancelOperation",
        Command::Witness(_) => "Witness",
        Command::RaiseVersion(_) => "RaiseVersion",
        Command::ReportFindings(_) => "ReportFindings",
        Command::ScanTenant(_) => "ScanTenant",
        Command::RetryOperation(_) => "RetryOperation",
        Command::SetAllowlist(_) => "SetAllowlist",
        Command::RotateCredential(_) => "RotateCredential",
        Command::ReadCredential(_) => "ReadCredential",
        Command::AcknowledgeCredential(_) => "AcknowledgeCredential",
        Command::BeginOperation(_) => "BeginOperation",
        Command::SetOperationLimits(_) => "SetOperationLimits",
        Command::ReportReadiness(_) => "ReportReadiness",
        Command::ReportAlerts(_) => "ReportAlerts",
        Command::NoteTold(_) => "NoteTold",
        Command::AcknowledgeAlert(_) => "AcknowledgeAlert",
        Command::TestAlert(_) => "TestAlert",
        #[cfg(feature = "mutants")]
        Command::Rehearse(_) => "Rehearse",
    }
}

/// Refuses a command that not every node of the cluster is known to understand.
pub fn check(state: &State, command: &Command) -> Result<(), Refusal> {
    let (needs, is) = (since(command), state.cluster.version);
    if needs <= is {
        return Ok(());
    }
    Err(Refusal::ClusterVersionTooLow {
        command: name(command).to_owned(),
        needs,
        is,
        behind: String::new(),
    })
}

/// An order to let the commands of a version in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaiseVersion {
    pub to: u32,
    /// What each node of the roll said that it knows. One that came in meanwhile ends the order.
    pub known: BTreeMap<NodeId, Versions>,
}

/// Raises the version; it never falls, and no node of the roll is left behind.
pub fn raise(state: &mut State, at: Stamp, order: &RaiseVersion) -> Result<Change, Refusal> {
    if order.to <= state.cluster.version {
        return Ok(Change::none());
    }
    let knows = |id: &NodeId| order.known.get(id).is_some_and(|known| known.holds(order.to));
    if let Some(behind) = state.nodes.keys().find(|id| !knows(id)) {
        let why = format!(
            "node {behind} is not known to know version {}; upgrade it first",
            order.to
        );
        return Err(Refusal::Fenced(why));
    }
    if state.cluster.version < ROTATION && order.to >= ROTATION {
        state.cluster.holders_since = Some(at);
    }
    state.cluster.version = order.to;
    Ok(Change::of("cluster".to_owned()))
}
