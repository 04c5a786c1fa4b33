//! Says who may do what, and is the only door to a proposal.
//!
//! ```text
//! rpc ─► action ─► standing (who, which role) ─► Permit (which tenant) ─► propose ─► consensus
//!                                                                  leader: Gate decides again
//! ```
//! Deliberately absent: another way to make a `Permit`. It has no public field and no other constructor.

mod caller;
mod gate;
mod permit;
mod propose;
mod table;

#[cfg(test)]
mod tests;

pub use caller::Caller;
pub use gate::{Gate, read_caller, write_caller};
pub use permit::{Denied, Permit, Standing, decide, for_joiner, for_pilot, for_step, standing};
pub use propose::{Intent, propose, propose_in_turn, rehearse};
pub use table::action;

/// What may be witnessed: written down before it happens.
pub const CREDENTIAL_READ: &str = "credential.read";
/// A certificate is about to leave.
pub const CERTIFICATE_ISSUE: &str = "certificate.issue";
/// Leadership is about to be handed over.
pub const LEADER_TRANSFER: &str = "leader.transfer";
/// A copy of the registry is about to leave through the API.
pub const SNAPSHOT_SAVE: &str = "snapshot.save";
/// A copy of the registry is about to be kept where the configuration says.
pub const SNAPSHOT_KEEP: &str = "snapshot.keep";
