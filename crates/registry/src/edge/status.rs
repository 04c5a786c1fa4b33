//! Everything that can go wrong at a door, as a status with its reason.

use std::time::Duration;

use reeve_domain::group::{obstacles, place};
use reeve_domain::tenant::Class;
use reeve_domain::words::Name;
use reeve_domain::{Refusal, Revision, State};
use reeve_proto::error::{self, Reason};
use tonic::{Code, Status};

use crate::policy::Denied;

/// Between two tries of a caller that came while there was no leader.
const LEADER_PAUSE: Duration = Duration::from_millis(250);

/// Groups whose obstacle a message names.
const GROUPS_NAMED_MAX: usize = 5;

/// Says of a refusal that it was decided by a State that may be old, as `Freshness.stale` says of an answer.
pub(super) const STALE: (&str, &str) = ("stale", "true");

impl From<Denied> for Status {
    fn from(denied: Denied) -> Status {
        let reason = match denied {
            Denied::NoIdentity | Denied::Unknown(_) => Reason::Unauthenticated,
            Denied::Revoked(_) => Reason::PrincipalRevoked,
            Denied::WrongRole { .. } => Reason::PermissionDenied,
            Denied::OutOfScope => Reason::TenantNotFound,
        };
        error::status(reason, denied.to_string(), &[])
    }
}

/// A refusal of the state machine, and what State can say of its cause.
pub(super) fn refused(refusal: &Refusal, state: &State) -> Status {
    match refusal {
        Refusal::NoCapacity { region, class } => {
            let class = match class == Class::Dedicated.word() {
                true => Class::Dedicated,
                false => Class::Shared,
            };
            let why = no_room(state, region, class);
            error::status(Reason::NoCapacity, why, &[("region", region.as_str())])
        }
        other => error::refusal(other),
    }
}

/// Why no group of a region takes a new database, group by group, and what to do about it.
fn no_room(state: &State, region: &Name, class: Class) -> String {
    let word = class.word();
    // The refusal may be an answer that was remembered.
    if place(state, region, class).is_ok() {
        return format!(
            "region {region} had no room for a {word} tenant and has by now; ask with a new request_id"
        );
    }
    let mut each = obstacles(state, region, class).map(|(group, why)| format!("{group} {why}"));
    let mut named: Vec<String> = each.by_ref().take(GROUPS_NAMED_MAX).collect();
    if named.is_empty() {
        return format!("region {region} has no group; add an agent there");
    }
    let more = each.count();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    format!(
        "no group in region {region} takes a {word} tenant: {}; mend that, or add an agent there",
        named.join(", ")
    )
}

/// No such tenant, or none that the caller may see: one answer for both.
pub(super) fn no_tenant(text: &str) -> Status {
    error::refusal(&Refusal::TenantNotFound(text.to_owned()))
}

/// The same, and as of when: a client may remember it until something newer is known.
pub(super) fn no_tenant_at(text: &str, revision: Revision, is_stale: bool) -> Status {
    let message = Refusal::TenantNotFound(text.to_owned()).to_string();
    let revision = revision.to_string();
    let mut metadata = vec![("revision", revision.as_str())];
    metadata.extend(is_stale.then_some(STALE));
    error::status(Reason::TenantNotFound, message, &metadata)
}

/// Nobody decided in time.
pub(super) fn no_leader() -> Status {
    let message = "no leader was found in time; send it again, with the same request_id";
    error::retry(Reason::NoLeader, message, LEADER_PAUSE)
}

/// This node is about to stop.
pub(super) fn stopping() -> Status {
    let message = "this node is stopping; ask another one";
    error::status(Reason::NodeStopping, message, &[])
}

/// This node has not caught up to what was asked for.
pub(super) fn behind(message: impl Into<String>) -> Status {
    error::retry(Reason::NotCaughtUp, message, LEADER_PAUSE)
}

/// Something of ours is broken; the cause is in this node's log and not in the answer.
pub(super) fn internal(what: &str, cause: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(what, cause, "a call failed");
    error::status(
        Reason::Internal,
        format!("{what}; this node's log says more"),
        &[],
    )
}

/// A request that could not be read says so as every refusal does, in the field `request`. It was read by the library
/// that all calls go through, which calls it a defect of the node's; what is one indeed says more than that.
pub(super) fn unreadable(status: Status) -> Status {
    let is_bare = error::info(&status).reason == Reason::Unspecified;
    match status.code() {
        Code::Unimplemented if is_bare => not_offered(&status),
        Code::Internal | Code::OutOfRange if is_bare => {
            error::field("request", format!("cannot be read; {}", status.message()))
        }
        _ => status,
    }
}

/// The library says nothing of a call that it does not know, and why of a body that it does not unpack. What the
/// caller could do instead stays beside it.
fn not_offered(status: &Status) -> Status {
    let message = match status.message() {
        "" => "this node has no such call; look at its name, and whether the node is as new as you are"
            .to_owned(),
        why => format!("{why}; send it without compression"),
    };
    let mut told = error::status(Reason::NotOffered, message, &[]);
    *told.metadata_mut() = status.metadata().clone();
    told
}

/// An answer that does not belong to its command: a defect of ours.
pub(super) fn odd_answer(what: &'static str) -> Status {
    tracing::error!(what, "the state machine gave an answer of another kind");
    error::status(Reason::Internal, format!("{what} was answered oddly"), &[])
}
