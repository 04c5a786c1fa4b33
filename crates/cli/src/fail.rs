//! Failures: what, why, how to fix it, and the exit code that a script decides by.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use reeve_client::v1::ErrorReason;
use reeve_proto::error::word;
use tonic::{Code, Status};

use crate::audit::export::ExportError;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    NotFound = 3,
    /// Something else holds it, or its state does not allow it.
    Conflict = 4,
    Auth = 5,
    /// No quorum, or nobody there.
    Unavailable = 6,
    /// The work goes on; only the waiting ended.
    TimedOut = 7,
    /// The operation failed and was undone.
    RolledBack = 8,
    NeedsPerson = 9,
    /// What was looked for was found: something is not well.
    Found = 10,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    pub what: String,
    pub why: String,
    pub fix: String,
    /// The stable reason, when the registry gave one.
    pub reason: Option<ErrorReason>,
    /// When the registry would like to be asked again.
    pub pause: Option<Duration>,
}

impl Failure {
    pub fn new(exit: Exit, what: impl Into<String>, why: impl Into<String>) -> Failure {
        Failure {
            exit,
            what: what.into(),
            why: why.into(),
            fix: String::new(),
            reason: None,
            pause: None,
        }
    }

    pub fn error(what: impl Into<String>, why: impl Into<String>) -> Failure {
        Failure::new(Exit::Error, what, why)
    }

    pub fn usage(what: impl Into<String>, why: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, what, why)
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Failure {
        self.fix = fix.into();
        self
    }

    /// Puts what was being done before what went wrong.
    pub fn doing(mut self, what: impl Into<String>) -> Failure {
        let gone_wrong = std::mem::replace(&mut self.what, what.into());
        self.why = match self.why.is_empty() {
            true => gone_wrong,
            false => format!("{gone_wrong}: {}", self.why),
        };
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for (label, text) in [("why", &self.why), ("fix", &self.fix)] {
            if !text.is_empty() {
                write!(f, "\n  {label}: {text}")?;
            }
        }
        if let Some(pause) = self.pause {
            write!(f, "\n  try again in: {} s", pause.as_secs().max(1))?;
        }
        if let Some(reason) = self.reason {
            let word = word(reason);
            write!(f, "\n  reason: {word}\n  more: reeve explain {word}")?;
        }
        Ok(())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::from(reeve_client::Error::from(status))
    }
}

impl From<reeve_client::Error> for Failure {
    fn from(error: reeve_client::Error) -> Failure {
        use reeve_client::Error;
        let reason = error.reason();
        let exit = match (&error, reason) {
            (_, Some(reason)) => exit_of(reason),
            (Error::Retry(status), _) if is_spoken_by_registry(status) => Exit::Error,
            (Error::Retry(_) | Error::Busy { .. }, _) => Exit::Unavailable,
            (Error::Unknown(_), _) => Exit::NotFound,
            (Error::Conflict(_) | Error::NotServing { .. } | Error::Superseded { .. }, _) => Exit::Conflict,
            (Error::Denied(_), _) => Exit::Auth,
            (Error::Refused(status), _) => exit_of_code(status.code()),
            (Error::Invalid { .. }, _) => Exit::Usage,
            // What only services meet, and what this program does not know yet.
            _ => Exit::Error,
        };
        let why = match &error {
            Error::Retry(status) | Error::Busy { source: status, .. } => status.message().to_owned(),
            _ => String::new(),
        };
        let fix = match (reason, exit) {
            (Some(reason), _) => fix_of(reason),
            (None, Exit::Unavailable) => {
                "look at `reeve cluster status`, and whether --nodes is right and reachable"
            }
            (None, Exit::Auth) => "enrol with `reeve cluster enroll`, or choose another context",
            (None, Exit::Usage) => "change it, and say it again; --help has examples",
            _ => "",
        };
        let pause = match &error {
            Error::Busy { pause, .. } => Some(*pause),
            _ => None,
        };
        Failure {
            reason,
            pause,
            ..Failure::new(exit, error.to_string(), why).fix(fix)
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Failure {
        match error {
            ExportError::Call(error) => Failure::from(error).doing("the export was not written"),
            other => Failure::error("the export was not written", other.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        let mut chain = error.chain().map(ToString::to_string);
        let what = chain.next().unwrap_or_default();
        Failure::error(what, chain.collect::<Vec<_>>().join(": "))
    }
}

/// Unknown is what a transport says as well; with a message of the registry's it is an error of its own.
fn is_spoken_by_registry(status: &Status) -> bool {
    status.code() == Code::Unknown
        && std::error::Error::source(status).is_none()
        && !status.message().is_empty()
}

pub fn exit_of(reason: ErrorReason) -> Exit {
    match reason {
        ErrorReason::NoCapacity => Exit::Conflict,
        reason => exit_of_code(reeve_proto::error::code(reason)),
    }
}

fn exit_of_code(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Ok,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Exit::Conflict,
        Code::Unauthenticated | Code::PermissionDenied => Exit::Auth,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Exit::Unavailable,
        _ => Exit::Error,
    }
}

pub fn fix_of(reason: ErrorReason) -> &'static str {
    use ErrorReason as R;
    match reason {
        R::BadField => "change that field and send it again",
        R::RequestIdReused => "leave --request-id away, or take a new one",
        R::ConfirmationMissing => "type the name again, or give it with --confirm",
        R::TenantNotFound => "`reeve tenant ls` shows the ones that you may see",
        R::TenantNotServing => "`reeve tenant status` says what it is doing; ask again later",
        R::TenantNotReady => "`reeve tenant status` says why; ask again later",
        R::ClaimTaken => "choose another slug or domain",
        R::AlreadyExists => "choose another name",
        R::RegionUnknown => "`reeve group ls` shows the regions that have groups",
        R::NoCapacity => {
            "`reeve group ls` shows how the groups are; `reeve cluster join-token --role agent` adds one"
        }
        R::GroupNotFound => "`reeve group ls` shows all groups",
        R::NotOffered => {
            "compare `reeve version` with the nodes' in `reeve cluster status -o wide`; the newest calls need the newest nodes"
        }
        R::AlertNotFound => "`reeve alert ls --all` shows those that are known",
        R::OperationNotFound => "`reeve op ls` shows the operations",
        R::OperationInProgress => {
            "wait for it with `reeve op wait`, queue behind it with --queue, or `reeve op cancel` it"
        }
        R::QueueFull => "come back when some have ended; `reeve op ls --state queued` shows them",
        R::OperationEnded => "it is over; `reeve op get` shows how it ended",
        R::EtagMismatch => "it changed meanwhile: look at it, and say it again",
        R::WrongState | R::Fenced => "look at its present state, and decide again",
        R::NotIsolated => {
            "`reeve isolation report` shows what was found; mend it, and ask again once it is closed"
        }
        R::TokenInvalid | R::TokenExpired | R::TokenUsed => "ask an admin for a new join token",
        R::Unauthenticated => "enrol with `reeve cluster enroll`, or choose another context",
        R::PermissionDenied => "ask an admin for a role that may do this",
        R::PrincipalRevoked => {
            "`reeve doctor` says whether you are still let in: then ask again; else talk to an admin"
        }
        R::PrincipalNotFound | R::NodeNotFound => "look at the spelling",
        R::LastAdmin => "enrol another admin first",
        R::QuorumAtRisk => "look at `reeve cluster check`; bring the others back, or add a node first",
        R::RateLimited | R::TooManyRequestsRemembered => "come back a little later",
        R::ClusterVersionTooLow => "upgrade all nodes; `reeve cluster status` shows what they run",
        R::ProgramVersionUnfit => "install the program that the other nodes run",
        R::DiskFull => "free space on those nodes; `reeve cluster status` shows them",
        R::NoLeader => "look at `reeve cluster status`, then say it again with the same --request-id",
        R::NotCaughtUp | R::NodeStopping | R::Sealed | R::ArchiveIncomplete => {
            "ask another node with --nodes, or come back later"
        }
        R::Internal => "the node's log has the cause; report it",
        R::Unspecified => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_proto::error;

    #[test]
    fn a_script_can_decide_by_the_exit_code() {
        let expected = [
            (ErrorReason::Internal, 1),
            (ErrorReason::BadField, 2),
            (ErrorReason::ConfirmationMissing, 2),
            (ErrorReason::TenantNotFound, 3),
            (ErrorReason::OperationNotFound, 3),
            (ErrorReason::ClaimTaken, 4),
            (ErrorReason::TenantNotServing, 4),
            (ErrorReason::OperationInProgress, 4),
            (ErrorReason::NoCapacity, 4),
            (ErrorReason::EtagMismatch, 4),
            (ErrorReason::PermissionDenied, 5),
            (ErrorReason::TokenUsed, 5),
            (ErrorReason::NoLeader, 6),
            (ErrorReason::RateLimited, 6),
        ];
        for (reason, code) in expected {
            let failure = Failure::from(error::status(reason, "x", &[]));
            assert_eq!(failure.exit as u8, code, "{reason:?}");
            assert_eq!(failure.reason, Some(reason));
            assert!(!failure.fix.is_empty(), "{reason:?} says how to go on");
        }
    }

    #[test]
    fn nobody_there_is_unavailable_and_a_bad_setting_is_usage() {
        let dead = Failure::from(Status::unavailable("connection refused"));
        assert_eq!(
            (dead.exit, dead.why.as_str()),
            (Exit::Unavailable, "connection refused")
        );
        let bad = Failure::from(reeve_client::Error::Invalid {
            what: "nodes",
            why: "none".into(),
        });
        assert_eq!(bad.exit, Exit::Usage);
    }

    #[test]
    fn a_failure_tells_what_why_how_and_the_reason() {
        let status = error::status(ErrorReason::TenantNotFound, "no tenant cho-ray", &[]);
        let told = Failure::from(status).doing("nothing was deleted").to_string();
        assert_eq!(
            told,
            "nothing was deleted\n  why: no tenant cho-ray\n  fix: `reeve tenant ls` shows the ones that you may see\n  reason: TENANT_NOT_FOUND\n  more: reeve explain TENANT_NOT_FOUND"
        );
    }
}
