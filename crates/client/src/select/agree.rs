//! Whether all names in a request lead to the same tenant.

use std::sync::Arc;

use reeve_domain::TenantId;

use super::Kind;
use crate::{Error, Refused, Resolution};

/// Two names of one request that do not lead to the same tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mismatch {
    /// A name that leads to a tenant, and the tenant.
    pub one: (Kind, TenantId),
    /// A name that leads elsewhere; none when it is to nobody who serves.
    pub other: (Kind, Option<TenantId>),
}

/// Judges the answers, of which there is at least one, in the order of their names.
pub(crate) fn agree(
    answers: Vec<(Kind, Result<Arc<Resolution>, Error>)>,
) -> Result<Arc<Resolution>, Refused> {
    let mut found: Option<(Kind, Arc<Resolution>)> = None;
    let mut failed: Option<(Kind, Error)> = None;
    for (kind, answer) in answers {
        match (answer, &found) {
            (Ok(tenant), Some((first, one))) if tenant.tenant != one.tenant => {
                return Err(mismatch(*first, one, kind, Some(tenant.tenant.clone())));
            }
            (Ok(_), Some(_)) => {}
            (Ok(tenant), None) => found = Some((kind, tenant)),
            // Whoever could not be asked decides nothing; who is known not to be there does.
            (Err(error), _) => match &failed {
                Some((_, held)) if is_known(&error) || !is_known(held) => {}
                _ => failed = Some((kind, error)),
            },
        }
    }
    match (found, failed) {
        // A name of nobody, beside one of somebody: to say more would tell who exists.
        (Some((first, one)), Some((kind, error))) if is_known(&error) => {
            Err(mismatch(first, &one, kind, None))
        }
        (_, Some((_, error))) => Err(Refused::Failed(error)),
        (Some((_, one)), None) => Ok(one),
        (None, None) => Err(Refused::Unnamed),
    }
}

/// Whether the registry has spoken: nobody, or nobody who serves.
fn is_known(error: &Error) -> bool {
    matches!(error, Error::Unknown(_) | Error::NotServing { .. })
}

fn mismatch(first: Kind, one: &Resolution, kind: Kind, other: Option<TenantId>) -> Refused {
    Refused::Mismatch(Mismatch {
        one: (first, one.tenant.clone()),
        other: (kind, other),
    })
}
