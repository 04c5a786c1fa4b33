//! The leader's second look at every proposal: the same policy, on the leader's own State.
//!
//! What the other node says of the caller is taken (it saw the certificate); what it says of the action is
//! not: the action follows from the command itself, so that no proposal can be called something harmless.

use std::net::SocketAddr;

use reeve_domain::command::Witness;
use reeve_domain::policy::Action;
use reeve_domain::words::Name;
use reeve_domain::{Actor, Command, Refusal, State, TenantId};
use reeve_proto::identity::SpiffeId;
use serde::{Deserialize, Serialize};

use crate::consensus::{Forwarded, Unavailable};
use crate::policy::{Caller, Denied, Permit, decide};

/// Decides again, as the leader.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate;

/// The verified caller, on its way to the leader.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    spiffe: Option<String>,
    certificate: Option<[u8; 32]>,
    source: SocketAddr,
}

/// Writes down who was seen at this node's door; empty for what no caller asked for.
pub(super) fn pack(permit: &Permit) -> Result<Vec<u8>, Unavailable> {
    match &permit.caller {
        Some(caller) => write_caller(caller),
        None => Ok(Vec::new()),
    }
}

/// Writes down who was seen at this node's door.
pub fn write_caller(caller: &Caller) -> Result<Vec<u8>, Unavailable> {
    let seen = Seen {
        spiffe: caller.spiffe().map(ToString::to_string),
        certificate: caller.certificate,
        source: caller.address,
    };
    rmp_serde::to_vec_named(&seen).map_err(|error| Unavailable::Broken(error.to_string()))
}

/// Who was seen at another node's door.
pub fn read_caller(bytes: &[u8]) -> Result<Caller, Refusal> {
    let seen: Seen = rmp_serde::from_slice(bytes)
        .map_err(|_| Refusal::Unauthenticated("whom another node saw".to_owned()))?;
    seen.caller()
}

/// Whether a permit is for this command: one for another action, or another tenant, is worth nothing.
pub(super) fn covers(permit: &Permit, command: &Command) -> bool {
    match needs(command) {
        Needs::Founding | Needs::Nobody => false,
        Needs::Pilot => permit.actor == Actor::Pilot,
        Needs::Token => permit.action == Action::Join,
        Needs::Action(action, tenant) => permit.action == action && permit.tenant.as_ref() == tenant,
        Needs::PilotOr(action, tenant) => {
            permit.actor == Actor::Pilot || (permit.action == action && permit.tenant.as_ref() == tenant)
        }
        Needs::Agent(_) => permit.action == Action::ServeAsAgent,
        Needs::Certificate => {
            matches!(
                permit.action,
                Action::Join | Action::KnowSelf | Action::ServeAsAgent
            )
        }
    }
}

/// What a command is to policy.
enum Needs<'a> {
    /// The state machine's beginning.
    Founding,
    /// The leader's own loops.
    Pilot,
    /// A join token, which the state machine judges itself.
    Token,
    Action(Action, Option<&'a TenantId>),
    /// The leader's own loops as well as who may do this.
    PilotOr(Action, Option<&'a TenantId>),
    /// An agent that speaks of itself.
    Agent(&'a Name),
    /// A certificate of the caller's own; whose it may be was decided where it was signed.
    Certificate,
    /// Nobody may propose it.
    Nobody,
}

impl Gate {
    /// Lets a proposal pass, or says what the state machine would say.
    pub fn admit(&self, state: &State, proposal: &Forwarded) -> Result<(), Refusal> {
        let entry = &proposal.entry;
        let needs = needs(&entry.command);
        match (&entry.actor, needs) {
            // Apply lets the founder in only before there is anybody.
            (Actor::Founder, Needs::Founding) | (Actor::Pilot, Needs::Pilot | Needs::PilotOr(..)) => Ok(()),
            (Actor::Joiner, Needs::Token | Needs::Certificate) => Ok(()),
            (Actor::Principal(id), Needs::Action(action, tenant) | Needs::PilotOr(action, tenant)) => {
                let caller = unpack(id, proposal)?.caller()?;
                decided(id, decide(state, &caller, action, tenant))
            }
            (Actor::Principal(id), Needs::Certificate) => {
                let caller = unpack(id, proposal)?.caller()?;
                decided(id, decide(state, &caller, Action::KnowSelf, None))
            }
            (Actor::Principal(id), Needs::Agent(name)) => {
                let caller = unpack(id, proposal)?.caller()?;
                if caller.agent().as_ref() != Some(name) {
                    return Err(Refusal::Fenced(format!("{id} may not speak for agent {name}")));
                }
                decided(id, decide(state, &caller, Action::ServeAsAgent, None))
            }
            (actor, _) => Err(Refusal::PrincipalRevoked(actor.name().to_owned())),
        }
    }
}

fn needs(command: &Command) -> Needs<'_> {
    match command {
        Command::Found(_) => Needs::Founding,
        Command::TimeoutStep(_)
        | Command::RaiseVersion(_)
        | Command::BeginOperation(_)
        | Command::ReportAlerts(_)
        | Command::NoteTold(_) => Needs::Pilot,
        Command::RedeemToken(_) => Needs::Token,
        Command::CreateRegion(_) | Command::FenceGroup { .. } | Command::UnfenceGroup { .. } => {
            Needs::Action(Action::ChangeGroup, None)
        }
        Command::MintToken(_) | Command::RevokePrincipal { .. } => Needs::Action(Action::ChangeAccess, None),
        Command::RemoveNode { .. } | Command::SetOperationLimits(_) => {
            Needs::Action(Action::ChangeCluster, None)
        }
        Command::CreateTenant(_) => Needs::Action(Action::CreateTenant, None),
        Command::UpdateTenant(order) => Needs::Action(Action::ChangeTenant, Some(&order.tenant)),
        Command::SuspendTenant { tenant, .. } | Command::ResumeTenant { tenant, .. } => {
            Needs::Action(Action::ChangeTenant, Some(tenant))
        }
        Command::DeleteTenant(order) => Needs::Action(Action::DeleteTenant, Some(&order.tenant)),
        Command::CancelOperation(_) | Command::RetryOperation(_) => {
            Needs::Action(Action::CancelOperation, None)
        }
        Command::AcknowledgeAlert(_) | Command::TestAlert(_) => Needs::Action(Action::ChangeAlert, None),
        Command::ReportMember(order) => Needs::Agent(&order.agent),
        Command::ReportStep(report) => Needs::Agent(&report.agent),
        Command::ReportFindings(order) => Needs::Agent(&order.agent),
        Command::ReportReadiness(order) => Needs::Agent(&order.agent),
        Command::SetAllowlist(order) => Needs::Action(Action::ChangeTenant, Some(&order.tenant)),
        Command::RotateCredential(order) => Needs::PilotOr(Action::ChangeTenant, Some(&order.tenant)),
        Command::ReadCredential(order) => Needs::Action(Action::ReadCredential, Some(&order.tenant)),
        Command::AcknowledgeCredential(order) => Needs::Action(Action::ReadCredential, Some(&order.tenant)),
        Command::ScanTenant(order) => Needs::Action(Action::ChangeTenant, Some(&order.tenant)),
        Command::Witness(witness) => witnessed(witness),
        #[cfg(feature = "mutants")]
        Command::Rehearse(_) => Needs::Action(Action::ChangeGroup, None),
    }
}

/// Only what is known to happen may be written down as happening.
fn witnessed(witness: &Witness) -> Needs<'_> {
    match (witness.action.as_str(), &witness.tenant) {
        (super::CREDENTIAL_READ, Some(tenant)) => Needs::Action(Action::ReadCredential, Some(tenant)),
        (super::CERTIFICATE_ISSUE, None) => Needs::Certificate,
        (super::LEADER_TRANSFER | super::SNAPSHOT_SAVE, None) => Needs::Action(Action::ChangeCluster, None),
        (super::SNAPSHOT_KEEP, None) => Needs::Pilot,
        _ => Needs::Nobody,
    }
}

fn decided(id: &str, decision: Result<Permit, Denied>) -> Result<(), Refusal> {
    decision.map(drop).map_err(|denied| match denied {
        Denied::NoIdentity | Denied::Unknown(_) => Refusal::Unauthenticated(id.to_owned()),
        // It was allowed where it was asked, a moment ago.
        Denied::Revoked(_) | Denied::WrongRole { .. } => Refusal::PrincipalRevoked(id.to_owned()),
        Denied::OutOfScope => Refusal::TenantNotFound("of this id".to_owned()),
    })
}

fn unpack(id: &str, proposal: &Forwarded) -> Result<Seen, Refusal> {
    let seen: Option<Seen> = rmp_serde::from_slice(&proposal.caller).ok();
    // The actor that will be written down is the one whose certificate was seen.
    let own = seen.filter(|seen| {
        seen.spiffe.as_deref() == Some(id) && seen.certificate == proposal.entry.seed.certificate
    });
    own.ok_or_else(|| Refusal::Unauthenticated(id.to_owned()))
}

impl Seen {
    fn caller(&self) -> Result<Caller, Refusal> {
        let text = self.spiffe.clone().unwrap_or_default();
        let spiffe = SpiffeId::parse(&text).map_err(|_| Refusal::Unauthenticated(text))?;
        Ok(Caller::new(Some(spiffe), self.certificate, self.source))
    }
}
