//! Exit codes, and errors that say what, why and what to do next.

use std::process::ExitCode;

use reeve_proto::error::{Info, Reason, info, word};
use tonic::{Code, Status};

pub const NOT_FOUND: u8 = 3;
pub const CONFLICT: u8 = 4;
pub const NOT_ALLOWED: u8 = 5;
pub const UNAVAILABLE: u8 = 6;
pub const STILL_RUNNING: u8 = 7;
pub const UNDONE: u8 = 8;
pub const WAITS_FOR_A_PERSON: u8 = 9;
pub const INTERRUPTED: u8 = 130;

/// Prints an error and chooses the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let status = status_of(error);
    eprintln!("error: {}", told(error, status.as_ref()));
    if let Some(status) = &status {
        let Info { reason, retry_after, .. } = info(status);
        if reason != Reason::Unspecified {
            eprintln!("reason: {} (docs/errors.md explains it)", word(reason));
        }
        if let Some(pause) = retry_after {
            eprintln!("try again in {} s", pause.as_secs().max(1));
        }
    }
    ExitCode::from(code(status.as_ref()))
}

fn told(error: &anyhow::Error, status: Option<&Status>) -> String {
    match status {
        Some(status) => {
            let above: Vec<String> =
                error.chain().take_while(|cause| cause.downcast_ref::<Status>().is_none()).map(ToString::to_string).collect();
            let mut parts = above;
            parts.push(status.message().to_owned());
            parts.dedup();
            parts.join(": ")
        }
        None => format!("{error:#}"),
    }
}

fn status_of(error: &anyhow::Error) -> Option<Status> {
    error.chain().find_map(|cause| cause.downcast_ref::<Status>().cloned())
}

/// The exit code for what the registry said.
pub fn code(status: Option<&Status>) -> u8 {
    match status.map(Status::code) {
        None => 1,
        Some(Code::InvalidArgument) => 2,
        Some(Code::NotFound) => NOT_FOUND,
        Some(Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition | Code::ResourceExhausted) => CONFLICT,
        Some(Code::Unauthenticated | Code::PermissionDenied) => NOT_ALLOWED,
        Some(Code::Unavailable | Code::DeadlineExceeded) => UNAVAILABLE,
        Some(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_no_has_its_code() {
        let of = |code_of: Code| code(Some(&Status::new(code_of, "x")));
        assert_eq!(code(None), 1);
        assert_eq!(of(Code::InvalidArgument), 2);
        assert_eq!(of(Code::NotFound), NOT_FOUND);
        assert_eq!(of(Code::AlreadyExists), CONFLICT);
        assert_eq!(of(Code::PermissionDenied), NOT_ALLOWED);
        assert_eq!(of(Code::Unavailable), UNAVAILABLE);
        assert_eq!(of(Code::Internal), 1);
    }

    #[test]
    fn the_story_is_told_once() {
        let status = Status::not_found("no tenant x");
        let error = anyhow::Error::new(status).context("looking");
        assert_eq!(told(&error, status_of(&error).as_ref()), "looking: no tenant x");
        assert_eq!(told(&anyhow::anyhow!("b").context("a"), None), "a: b");
    }
}
