//! What a node's word on a tenant makes of what is remembered.
//!
//! A node may be behind others: of two words the one of the later revision counts, whichever came first.

use std::{sync::Arc, time::Instant};

use reeve_proto::v1::{self, ErrorReason, Freshness};

use crate::{
    Error, Resolution, Selector,
    cache::{Cache, LEASE, Learnt, Lookup},
    watch::vouched,
};

/// Takes a tenant; what counts for whoever asked comes back.
pub(crate) fn found(
    cache: &Cache,
    asked: &Selector,
    wire: v1::Resolution,
    freshness: &Freshness,
    asked_at: Instant,
) -> Result<Arc<Resolution>, Error> {
    let resolution = cache.read(wire)?;
    let (revision, as_of) = match vouched(freshness, asked_at) {
        Some(vouched) => vouched,
        // True once, nobody knows when: good for this caller, and asked again by the next.
        None => (
            freshness.revision,
            asked_at.checked_sub(LEASE).unwrap_or(asked_at),
        ),
    };
    match cache.learn(asked, resolution.clone(), revision, as_of) {
        Learnt::Taken => Ok(resolution),
        // A node that is behind answered. What is known here already counts, whatever it says.
        Learnt::Overtaken(Some(Some(known))) => Ok(known),
        Learnt::Overtaken(Some(None)) => Err(unknown(asked)),
        Learnt::Overtaken(None) => Err(Error::Superseded {
            tenant: resolution.tenant.to_string(),
        }),
    }
}

/// Takes the reason why there is none, decided at `revision`; without one it counts as the newest word. `told` is the
/// error for whoever asked, unless the node is behind: then it is what is known here already.
pub(crate) fn refused(
    cache: &Cache,
    asked: &Selector,
    reason: Option<ErrorReason>,
    revision: Option<u64>,
    asked_at: Instant,
    told: Error,
) -> Result<Arc<Resolution>, Error> {
    let is_word = matches!(
        reason,
        Some(ErrorReason::TenantNotFound | ErrorReason::TenantNotServing)
    );
    if !is_word {
        return Err(told);
    }
    // Never again a fallback, whatever fails next; unless a later word says that it serves.
    if !cache.forget(asked, revision.unwrap_or(u64::MAX)) {
        return match cache.look_up(asked, Instant::now()) {
            Lookup::Fresh(known)
            | Lookup::Ask {
                fallback: Some(known),
            } => Ok(known),
            Lookup::Nobody | Lookup::Ask { fallback: None } => Err(told),
        };
    }
    if reason == Some(ErrorReason::TenantNotFound) {
        cache.learn_nobody(asked, revision.unwrap_or_default(), asked_at);
    }
    Err(told)
}

pub(crate) fn serving(resolution: Arc<Resolution>) -> Result<Arc<Resolution>, Error> {
    if resolution.serves() {
        Ok(resolution)
    } else {
        Err(resolution.not_serving())
    }
}

pub(crate) fn unknown(selector: &Selector) -> Error {
    Error::Unknown(selector.to_string())
}

pub(crate) fn unanswered() -> Error {
    Error::Retry(Box::new(tonic::Status::unavailable(
        "others are waiting for the registry already",
    )))
}
