//! Errors, sorted by what the caller would do next.

use std::time::Duration;

use reeve_proto::{error::info, v1::ErrorReason};
use tonic::{Code, Status};

/// Why a call did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Ask again after a pause; a mutating call with the same request_id.
    #[error("no registry node answered in time")]
    Retry(#[source] Box<Status>),
    /// Slow down; come back after the pause.
    #[error("the registry asks to slow down")]
    Busy { pause: Duration, source: Box<Status> },
    /// Nobody of that name that the caller may see.
    #[error("{0} is not known here")]
    Unknown(String),
    /// The tenant exists and must not be used now.
    #[error("tenant {tenant} does not serve now: {state}")]
    NotServing { tenant: String, state: String },
    /// This resolution was overtaken; resolve again.
    #[error("the placement of {tenant} has changed since it was resolved")]
    Superseded { tenant: String },
    /// Read again and decide again: it changed, or another operation holds it.
    #[error("{}", .0.message())]
    Conflict(#[source] Box<Status>),
    /// Ask for a certificate or a role; asking again will not help.
    #[error("the registry does not permit this: {}", .0.message())]
    Denied(#[source] Box<Status>),
    /// Change the request; asking again will not help.
    #[error("{}", .0.message())]
    Refused(#[source] Box<Status>),
    /// All connections that this process may open are in use.
    #[error("no database connection is free within the process's budget of {connections_max}")]
    Exhausted { connections_max: u32 },
    /// A setting or an argument cannot be used.
    #[error("{what}: {why}")]
    Invalid { what: &'static str, why: String },
    /// The registry answered with something this client cannot read.
    #[error("the registry's answer cannot be used: {0}")]
    Answer(String),
}

impl Error {
    /// The stable reason behind an answer of the registry.
    pub fn reason(&self) -> Option<ErrorReason> {
        match self {
            Error::Retry(status)
            | Error::Conflict(status)
            | Error::Denied(status)
            | Error::Refused(status) => reason(status),
            Error::Busy { source, .. } => reason(source),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without being changed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Error::Retry(_) | Error::Busy { .. } | Error::Exhausted { .. }
        )
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        let status = Box::new(status);
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                Error::Retry(status)
            }
            Code::ResourceExhausted if reason(&status) != Some(ErrorReason::NoCapacity) => Error::Busy {
                pause: pause(&status),
                source: status,
            },
            Code::Aborted => Error::Conflict(status),
            Code::Unauthenticated | Code::PermissionDenied => Error::Denied(status),
            _ => Error::Refused(status),
        }
    }
}

/// The stable reason that a status carries.
pub fn reason(status: &Status) -> Option<ErrorReason> {
    Some(info(status).reason).filter(|reason| *reason != ErrorReason::Unspecified)
}

/// The revision that a refusal was decided at, if it says so.
pub(crate) fn revision(status: &Status) -> Option<u64> {
    info(status).metadata.get("revision")?.parse().ok()
}

fn pause(status: &Status) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(1);
    info(status).retry_after.unwrap_or(DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_proto::error;

    #[test]
    fn kinds_follow_what_the_caller_would_do() {
        let of = |reason| Error::from(error::status(reason, "x", &[]));
        assert!(matches!(of(ErrorReason::NoLeader), Error::Retry(_)));
        assert!(matches!(of(ErrorReason::RateLimited), Error::Busy { .. }));
        assert!(matches!(of(ErrorReason::NoCapacity), Error::Refused(_)));
        assert!(matches!(of(ErrorReason::EtagMismatch), Error::Conflict(_)));
        assert!(matches!(of(ErrorReason::PrincipalRevoked), Error::Denied(_)));
        assert!(matches!(of(ErrorReason::ClaimTaken), Error::Refused(_)));
        assert_eq!(
            of(ErrorReason::ClaimTaken).reason(),
            Some(ErrorReason::ClaimTaken)
        );
        assert_eq!(Error::from(Status::internal("x")).reason(), None);
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept() {
        let asked = Duration::from_secs(7);
        let busy = Error::from(error::retry(ErrorReason::RateLimited, "x", asked));
        assert!(matches!(busy, Error::Busy { pause, .. } if pause == asked));
    }
}
