//! Errors on the wire: a status that always carries `google.rpc.ErrorInfo` with a stable reason.

use std::collections::HashMap;
use std::time::Duration;

use reeve_domain::Refusal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use crate::v1::ErrorReason as Reason;

/// The domain of every reason.
pub const DOMAIN: &str = "reeve.dev";

/// The word of a reason on the wire: `TENANT_NOT_FOUND`.
pub fn word(reason: Reason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

/// Reads a reason's word.
pub fn from_word(word: &str) -> Option<Reason> {
    Reason::from_str_name(&format!("ERROR_REASON_{word}"))
}

/// The gRPC code that goes with a reason.
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::BadField | Reason::RequestIdReused | Reason::ConfirmationMissing => Code::InvalidArgument,
        Reason::TenantNotFound
        | Reason::RegionUnknown
        | Reason::GroupNotFound
        | Reason::OperationNotFound
        | Reason::AlertNotFound
        | Reason::NodeNotFound
        | Reason::PrincipalNotFound => Code::NotFound,
        Reason::ClaimTaken | Reason::AlreadyExists => Code::AlreadyExists,
        Reason::TenantNotServing
        | Reason::TenantNotReady
        | Reason::WrongState
        | Reason::OperationEnded
        | Reason::LastAdmin
        | Reason::ClusterVersionTooLow
        | Reason::ProgramVersionUnfit
        | Reason::QuorumAtRisk
        | Reason::NotIsolated
        | Reason::Fenced => Code::FailedPrecondition,
        Reason::OperationInProgress | Reason::EtagMismatch => Code::Aborted,
        Reason::NoCapacity
        | Reason::RateLimited
        | Reason::TooManyRequestsRemembered
        | Reason::QueueFull
        | Reason::DiskFull => Code::ResourceExhausted,
        Reason::TokenInvalid | Reason::TokenExpired | Reason::TokenUsed | Reason::Unauthenticated => {
            Code::Unauthenticated
        }
        Reason::PermissionDenied | Reason::PrincipalRevoked => Code::PermissionDenied,
        Reason::NoLeader
        | Reason::NotCaughtUp
        | Reason::NodeStopping
        | Reason::Sealed
        | Reason::ArchiveIncomplete => Code::Unavailable,
        Reason::NotOffered => Code::Unimplemented,
        Reason::Internal | Reason::Unspecified => Code::Internal,
    }
}

/// When to come back after a refusal that says so itself in no other way. Whatever is exhausted says it always.
fn pause(reason: Reason) -> Option<Duration> {
    let exhausted = code(reason) == Code::ResourceExhausted;
    exhausted.then_some(match reason {
        Reason::NoCapacity | Reason::TooManyRequestsRemembered => Duration::from_secs(60),
        Reason::DiskFull | Reason::QueueFull => Duration::from_secs(10),
        _ => Duration::from_secs(1),
    })
}

/// A status with its reason and whatever names the thing at hand.
pub fn status(reason: Reason, message: impl Into<String>, metadata: &[(&str, &str)]) -> Status {
    said(reason, message, pause(reason), metadata)
}

/// A field that cannot be read: what was wrong and what would be right.
pub fn field(field: &str, why: impl ToString) -> Status {
    let why = why.to_string();
    let mut details =
        ErrorDetails::with_error_info(word(Reason::BadField), DOMAIN, owned(&[("field", field)]));
    details.add_bad_request_violation(field, &why);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {why}"), details)
}

/// Come back after a pause.
pub fn retry(reason: Reason, message: impl Into<String>, after: Duration) -> Status {
    retry_with(reason, message, after, &[])
}

/// Come back after a pause, with whatever names the thing at hand.
pub fn retry_with(
    reason: Reason,
    message: impl Into<String>,
    after: Duration,
    metadata: &[(&str, &str)],
) -> Status {
    said(reason, message, Some(after), metadata)
}

fn said(
    reason: Reason,
    message: impl Into<String>,
    after: Option<Duration>,
    metadata: &[(&str, &str)],
) -> Status {
    let mut details = ErrorDetails::with_error_info(word(reason), DOMAIN, owned(metadata));
    if after.is_some() {
        details.set_retry_info(after);
    }
    Status::with_error_details(code(reason), message, details)
}

/// A refusal of the state machine.
pub fn refusal(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::BadField { field: name, why } => field(name, why),
        Refusal::OperationInProgress { tenant, operation } => status(
            Reason::OperationInProgress,
            message,
            &[("tenant", tenant.as_str()), ("operation", operation.as_str())],
        ),
        Refusal::ClaimTaken(claim) => status(Reason::ClaimTaken, message, &[("claim", &claim.to_string())]),
        Refusal::EtagMismatch(etag) => status(Reason::EtagMismatch, message, &[("etag", etag)]),
        Refusal::OperationEnded(operation) => status(
            Reason::OperationEnded,
            message,
            &[("operation", operation.as_str())],
        ),
        Refusal::NotIsolated { tenant, finding, .. } => status(
            Reason::NotIsolated,
            message,
            &[("tenant", tenant.as_str()), ("finding", finding.as_str())],
        ),
        _ => status(reason(refusal), message, &[]),
    }
}

/// The reason of a refusal.
pub fn reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::RequestIdReused => Reason::RequestIdReused,
        Refusal::TooManyRequestsRemembered => Reason::TooManyRequestsRemembered,
        Refusal::BadField { .. } => Reason::BadField,
        Refusal::TenantNotFound(_) => Reason::TenantNotFound,
        Refusal::WrongState { .. } => Reason::WrongState,
        Refusal::ClaimTaken(_) => Reason::ClaimTaken,
        Refusal::RegionUnknown(_) => Reason::RegionUnknown,
        Refusal::NoCapacity { .. } => Reason::NoCapacity,
        Refusal::GroupNotFound(_) => Reason::GroupNotFound,
        Refusal::OperationNotFound(_) => Reason::OperationNotFound,
        Refusal::AlertNotFound(_) => Reason::AlertNotFound,
        Refusal::OperationInProgress { .. } => Reason::OperationInProgress,
        Refusal::OperationEnded(_) => Reason::OperationEnded,
        Refusal::EtagMismatch(_) => Reason::EtagMismatch,
        Refusal::ConfirmationMissing(_) => Reason::ConfirmationMissing,
        Refusal::AlreadyExists(_) => Reason::AlreadyExists,
        Refusal::TokenInvalid => Reason::TokenInvalid,
        Refusal::TokenExpired => Reason::TokenExpired,
        Refusal::TokenUsed => Reason::TokenUsed,
        Refusal::Unauthenticated(_) => Reason::Unauthenticated,
        Refusal::PrincipalRevoked(_) | Refusal::PolicyChanged => Reason::PrincipalRevoked,
        Refusal::PrincipalNotFound(_) => Reason::PrincipalNotFound,
        Refusal::LastAdmin(_) => Reason::LastAdmin,
        Refusal::Fenced(_) => Reason::Fenced,
        Refusal::NodeNotFound(_) => Reason::NodeNotFound,
        Refusal::DiskFull(_) => Reason::DiskFull,
        Refusal::ClusterVersionTooLow { .. } => Reason::ClusterVersionTooLow,
        Refusal::NotIsolated { .. } => Reason::NotIsolated,
        Refusal::ProgramVersionUnfit { .. } => Reason::ProgramVersionUnfit,
        Refusal::QueueFull { .. } => Reason::QueueFull,
    }
}

/// What a status carries, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its reason; `Unspecified` when it is none of ours.
    pub reason: Reason,
    /// What names the thing at hand.
    pub metadata: HashMap<String, String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

/// Reads the details of a status.
pub fn info(status: &Status) -> Info {
    let details = status.get_error_details();
    let ours = details.error_info().filter(|info| info.domain == DOMAIN);
    Info {
        reason: ours
            .and_then(|info| from_word(&info.reason))
            .unwrap_or(Reason::Unspecified),
        metadata: ours.map(|info| info.metadata.clone()).unwrap_or_default(),
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
    }
}

fn owned(metadata: &[(&str, &str)]) -> HashMap<String, String> {
    metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_wire() {
        let sent = status(Reason::ClaimTaken, "taken", &[("claim", "domain a.vn")]);
        let read = info(&sent);
        assert_eq!(sent.code(), Code::AlreadyExists);
        assert_eq!(read.reason, Reason::ClaimTaken);
        assert_eq!(read.metadata["claim"], "domain a.vn");
        assert_eq!(info(&Status::internal("bare")).reason, Reason::Unspecified);
    }

    #[test]
    fn a_bad_field_is_named_twice_and_a_pause_is_said() {
        let status = field("slug", "holds 'A'");
        assert_eq!(info(&status).metadata["field"], "slug");
        assert_eq!(
            status
                .get_error_details()
                .bad_request()
                .map(|b| b.field_violations.len()),
            Some(1)
        );
        let later = retry(Reason::RateLimited, "slow down", Duration::from_secs(2));
        assert_eq!(info(&later).retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn every_refusal_has_a_reason_of_its_own_code() {
        let refusals = [
            (Refusal::TokenUsed, Code::Unauthenticated),
            (Refusal::DiskFull("1".into()), Code::ResourceExhausted),
            (Refusal::LastAdmin("x".into()), Code::FailedPrecondition),
            (Refusal::TooManyRequestsRemembered, Code::ResourceExhausted),
            (
                Refusal::QueueFull {
                    of: "the fleet".into(),
                    max: 9,
                },
                Code::ResourceExhausted,
            ),
            (Refusal::field("slug", "is empty"), Code::InvalidArgument),
            (Refusal::PolicyChanged, Code::PermissionDenied),
            (Refusal::EtagMismatch("t.1".into()), Code::Aborted),
        ];
        for (given, expected) in refusals {
            let status = refusal(&given);
            assert_eq!(status.code(), expected, "{given}");
            assert_eq!(info(&status).reason, reason(&given));
        }
        assert_eq!(from_word("NONSENSE"), None);
    }

    #[test]
    fn whatever_is_exhausted_says_when_to_come_back() {
        let reasons = (1..1_000).map_while(|number| Reason::try_from(number).ok());
        let exhausted: Vec<_> = reasons
            .filter(|reason| code(*reason) == Code::ResourceExhausted)
            .collect();
        assert!(exhausted.len() >= 4, "{exhausted:?}");
        for reason in exhausted {
            let said = info(&status(reason, "x", &[]));
            assert!(
                said.retry_after.is_some_and(|after| !after.is_zero()),
                "{reason:?}"
            );
        }
    }
}
