//! Why a request is turned away at the door, and what its sender is told.
//!
//! The sender learns a status, a stable reason and one fixed sentence: neither what was sent nor who else exists.

use std::time::Duration;

use http::StatusCode;

use crate::{
    Error,
    select::{InvalidToken, Mismatch},
};

/// How long a sender should wait for a tenant that is suspended, moving or failing over.
const SERVING_PAUSE: Duration = Duration::from_secs(5);
const REGISTRY_PAUSE: Duration = Duration::from_secs(1);

/// Why a request is turned away.
///
/// | Status | Reason | When |
/// |---|---|---|
/// | 400 | `TENANT_UNREADABLE` | a host, header or token that is there twice, empty, or no name at all |
/// | 400 | `TENANT_UNNAMED` | nothing names a tenant |
/// | 401 | `TOKEN_MISSING` `TOKEN_EXPIRED` `TOKEN_INVALID` | with `WWW-Authenticate` |
/// | 403 | `TENANT_MISMATCH` | two names that do not lead to the same tenant |
/// | 404 | `TENANT_NOT_FOUND` | nobody has this name |
/// | 421 | `HOST_IS_ADDRESS` | the host is an address |
/// | 503 | `TENANT_NOT_SERVING` `TENANT_MOVING` `REGISTRY_UNAVAILABLE` `BUSY` | with `Retry-After` |
/// | 500 | `INTERNAL` | this service's certificate or settings are wrong; its log says how |
///
/// gRPC callers find the reason in `reeve-reason`, and the pause in `grpc-retry-pushback-ms`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Something that would name the tenant cannot be read.
    #[error("{what} cannot be used: {why}")]
    Malformed { what: &'static str, why: &'static str },
    /// The host is an address, which is nobody's name.
    #[error("the host is an address, and no tenant's name")]
    Misdirected,
    /// Nothing in it names a tenant.
    #[error("nothing in the request names a tenant")]
    Unnamed,
    /// A token is needed.
    #[error("a bearer token is needed")]
    TokenMissing,
    /// The token is not believed.
    #[error("the token is not valid: {0}")]
    TokenInvalid(InvalidToken),
    /// Two of its names do not lead to the same tenant.
    #[error("the request names two tenants")]
    Mismatch(Mismatch),
    /// The tenant could not be found, or its database not be reached.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// What is said to the sender.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
    pub(crate) detail: &'static str,
    pub(crate) retry_after: Option<Duration>,
}

impl Refused {
    /// The HTTP status of the answer.
    pub fn status(&self) -> StatusCode {
        self.told().status
    }

    /// The stable reason in the answer: decide by it, never by the sentence.
    pub fn reason(&self) -> &'static str {
        self.told().reason
    }

    /// When the same request may be sent again, if waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        self.told().retry_after
    }

    /// Whether a name is only missing, so that another one may stand for it.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Refused::Unnamed | Refused::TokenMissing)
    }

    pub(crate) fn told(&self) -> Told {
        let told = |status, reason, detail| Told {
            status,
            reason,
            detail,
            retry_after: None,
        };
        match self {
            Refused::Malformed { .. } => told(
                StatusCode::BAD_REQUEST,
                "TENANT_UNREADABLE",
                "what names the tenant cannot be read",
            ),
            Refused::Unnamed => told(
                StatusCode::BAD_REQUEST,
                "TENANT_UNNAMED",
                "nothing in the request names a tenant",
            ),
            Refused::Misdirected => told(
                StatusCode::MISDIRECTED_REQUEST,
                "HOST_IS_ADDRESS",
                "ask for a name, not for an address",
            ),
            Refused::TokenMissing => told(
                StatusCode::UNAUTHORIZED,
                "TOKEN_MISSING",
                "a bearer token is needed",
            ),
            Refused::TokenInvalid(InvalidToken::Expired) => {
                told(StatusCode::UNAUTHORIZED, "TOKEN_EXPIRED", "the token has expired")
            }
            Refused::TokenInvalid(_) => told(
                StatusCode::UNAUTHORIZED,
                "TOKEN_INVALID",
                "the token is not valid",
            ),
            Refused::Mismatch(_) => told(
                StatusCode::FORBIDDEN,
                "TENANT_MISMATCH",
                "the request names two tenants",
            ),
            Refused::Failed(error) => failed(error),
        }
    }
}

fn failed(error: &Error) -> Told {
    let later = |reason, detail, pause| Told {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason,
        detail,
        retry_after: Some(pause),
    };
    match error {
        Error::Unknown(_) => Told {
            status: StatusCode::NOT_FOUND,
            reason: "TENANT_NOT_FOUND",
            detail: "there is no such tenant",
            retry_after: None,
        },
        Error::NotServing { .. } => later(
            "TENANT_NOT_SERVING",
            "the tenant does not serve now",
            SERVING_PAUSE,
        ),
        Error::Superseded { .. } | Error::Conflict(_) => {
            later("TENANT_MOVING", "the tenant is moving", REGISTRY_PAUSE)
        }
        Error::Retry(_) => later(
            "REGISTRY_UNAVAILABLE",
            "where the tenant is cannot be found out now",
            REGISTRY_PAUSE,
        ),
        Error::Busy { pause, .. } => later("BUSY", "too much is asked at once", *pause),
        Error::Exhausted { .. } => later("BUSY", "too much is asked at once", REGISTRY_PAUSE),
        // Our own certificate, setting or program is at fault: the sender can do nothing about it.
        Error::Denied(_) | Error::Refused(_) | Error::Invalid { .. } | Error::Answer(_) => Told {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            reason: "INTERNAL",
            detail: "this service is not set up as it should be",
            retry_after: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::Kind;
    use reeve_domain::TenantId;
    use reeve_proto::{error, v1::ErrorReason};

    #[test]
    fn the_list_holds_every_reason_with_its_status() {
        let list = include_str!("refused.rs")
            .lines()
            .filter(|line| line.starts_with("/// | "));
        let list: Vec<&str> = list.collect();
        let own = [
            Refused::Malformed { what: "x", why: "y" },
            Refused::Unnamed,
            Refused::Misdirected,
            Refused::TokenMissing,
            Refused::TokenInvalid(InvalidToken::Expired),
            Refused::TokenInvalid(InvalidToken::Signature),
            Refused::Mismatch(Mismatch {
                one: (Kind::Domain, TenantId::from_random(1)),
                other: (Kind::Token, None),
            }),
        ];
        let errors = [
            Error::Unknown("x".into()),
            Error::NotServing {
                tenant: "t".into(),
                state: "x".into(),
            },
            Error::Superseded { tenant: "t".into() },
            Error::Exhausted { connections_max: 1 },
            Error::Retry(Box::new(tonic::Status::unavailable("x"))),
            Error::Answer("x".into()),
        ];
        for refused in own.into_iter().chain(errors.map(Refused::from)) {
            let (status, reason) = (refused.status().as_u16(), refused.reason());
            let is_listed = |line: &&&str| {
                line.starts_with(&format!("/// | {status} ")) && line.contains(&format!("`{reason}`"))
            };
            assert_eq!(list.iter().filter(is_listed).count(), 1, "{status} {reason}");
        }
    }

    #[test]
    fn a_sender_is_told_to_wait_only_when_waiting_helps() {
        let failed = |error| Refused::from(error);
        let status = |reason| failed(Error::from(error::status(reason, "x", &[])));
        let not_serving = Error::NotServing {
            tenant: "t".into(),
            state: "suspended".into(),
        };
        let superseded = Error::Superseded { tenant: "t".into() };
        let asked = Duration::from_secs(7);
        let busy = Error::from(error::retry(ErrorReason::RateLimited, "x", asked));
        for (refused, code, reason, pause) in [
            (failed(Error::Unknown("x".into())), 404, "TENANT_NOT_FOUND", None),
            (
                failed(not_serving),
                503,
                "TENANT_NOT_SERVING",
                Some(SERVING_PAUSE),
            ),
            (failed(superseded), 503, "TENANT_MOVING", Some(REGISTRY_PAUSE)),
            (
                failed(Error::Exhausted { connections_max: 1 }),
                503,
                "BUSY",
                Some(REGISTRY_PAUSE),
            ),
            (failed(busy), 503, "BUSY", Some(asked)),
            (
                status(ErrorReason::NoLeader),
                503,
                "REGISTRY_UNAVAILABLE",
                Some(REGISTRY_PAUSE),
            ),
            (status(ErrorReason::PermissionDenied), 500, "INTERNAL", None),
            (Refused::Misdirected, 421, "HOST_IS_ADDRESS", None),
            (
                Refused::TokenInvalid(InvalidToken::Expired),
                401,
                "TOKEN_EXPIRED",
                None,
            ),
            (
                Refused::TokenInvalid(InvalidToken::Signature),
                401,
                "TOKEN_INVALID",
                None,
            ),
        ] {
            assert_eq!(refused.status().as_u16(), code, "{refused}");
            assert_eq!(
                (refused.reason(), refused.retry_after()),
                (reason, pause),
                "{refused}"
            );
        }
    }
}
