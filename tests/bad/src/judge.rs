//! What a refusal must be: a reason, the code that goes with it, the field, and words that help.

use reeve_proto::error::{self, Reason};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::call::Outcome;
use crate::hostile::Expect;

/// A message is for a person's screen.
const MESSAGE_BYTES_MAX: usize = 600;

/// What the request comes to as it is, without anything bad in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ends {
    Done,
    Refused(Reason),
    /// `BAD_FIELD`, naming this one.
    Field(&'static str),
    /// An agent's word is turned away in the answer to it.
    TurnedAway,
    /// It would change something: it is asked only with something bad in it.
    Changes,
}

/// What is wrong with what came of a row; nothing, if all is as it must be.
pub fn faults(expect: &Expect, ends: &Ends, outcome: &Outcome) -> Vec<String> {
    if is_own_clock(outcome) {
        return match expect {
            Expect::Reason(Reason::NotCaughtUp) => Vec::new(),
            _ => vec!["the caller gave up".to_owned()],
        };
    }
    let mut faults = match outcome {
        Outcome::Refused(status) => manners(status),
        Outcome::TurnedAway(words) => plain(words),
        Outcome::Done => Vec::new(),
    };
    let met = match (expect, ends) {
        (Expect::Field(field), _) => names(outcome, field),
        (Expect::Reason(reason), _) | (Expect::Legal, Ends::Refused(reason)) => is(outcome, *reason),
        (Expect::Legal, Ends::Field(field)) => names(outcome, field),
        (Expect::Legal, Ends::TurnedAway) => matches!(outcome, Outcome::TurnedAway(_)),
        (Expect::Legal, Ends::Done | Ends::Changes) => matches!(outcome, Outcome::Done),
    };
    if !met {
        faults.push(format!("{expect:?} ({ends:?}) was expected"));
    }
    faults
}

/// Who waits for what never comes may hear its own clock first.
fn is_own_clock(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(status) if status.code() == Code::Cancelled)
}

/// What every refusal has.
pub fn manners(status: &Status) -> Vec<String> {
    let mut faults = plain(status.message());
    let reason = error::info(status).reason;
    match reason {
        Reason::Unspecified => faults.push("it has no reason".to_owned()),
        Reason::Internal => faults.push("it is called a defect of ours".to_owned()),
        reason if error::code(reason) != status.code() => {
            faults.push(format!("{reason:?} goes with another code"));
        }
        _ => {}
    }
    if matches!(status.code(), Code::Internal | Code::Unknown) {
        faults.push(format!("{:?} is for what went wrong here", status.code()));
    }
    if status.code() == Code::ResourceExhausted && error::info(status).retry_after.is_none() {
        faults.push("it does not say when to come back".to_owned());
    }
    if reason == Reason::BadField {
        faults.extend(violations(status));
    }
    faults
}

fn violations(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone());
    match violations.unwrap_or_default().as_slice() {
        [one] if one.field.is_empty() => vec!["the field has no name".to_owned()],
        [one] if named(status) != one.field => vec!["metadata names another field".to_owned()],
        // Whoever reads it must learn what would be right.
        [one] if one.description.split_whitespace().count() < 2 => {
            vec![format!("{:?} does not say what would be right", one.description)]
        }
        [_] => Vec::new(),
        others => vec![format!("{} fields are named", others.len())],
    }
}

/// A message is one line, and not the caller's own words at length.
fn plain(words: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if words.trim().is_empty() {
        faults.push("it says nothing".to_owned());
    }
    if words.len() > MESSAGE_BYTES_MAX {
        faults.push(format!("it says {} bytes", words.len()));
    }
    if let Some(odd) = words.chars().find(|c| c.is_control() || is_turning(*c)) {
        faults.push(format!("it repeats {odd:?}"));
    }
    faults
}

/// Letters that change the direction of what comes after them.
pub fn is_turning(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn named(status: &Status) -> String {
    error::info(status)
        .metadata
        .get("field")
        .cloned()
        .unwrap_or_default()
}

fn is(outcome: &Outcome, reason: Reason) -> bool {
    matches!(outcome, Outcome::Refused(status) if error::info(status).reason == reason)
}

/// In an agent's session a field is called as it is in its own message.
fn names(outcome: &Outcome, field: &str) -> bool {
    match outcome {
        Outcome::Refused(status) => is(outcome, Reason::BadField) && is_end(field, &named(status)),
        Outcome::TurnedAway(words) => words
            .split_once(": ")
            .is_some_and(|(name, _)| is_end(field, name) || field.ends_with(&format!(".{name}"))),
        Outcome::Done => false,
    }
}

fn is_end(field: &str, name: &str) -> bool {
    let before = field.strip_suffix(name);
    !name.is_empty()
        && before.is_some_and(|before| {
            let parts = ["", "beat.", "hello.", "report.", "findings.", "health."];
            parts.contains(&before)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: Status) -> Outcome {
        Outcome::Refused(status)
    }

    #[test]
    fn a_good_refusal_passes_and_each_bad_one_is_told_of() {
        let field = Expect::Field("slug".to_owned());
        let judge = |outcome: &Outcome| faults(&field, &Ends::Done, outcome);
        assert_eq!(
            judge(&refused(error::field("slug", "is one word"))),
            Vec::<String>::new()
        );
        for bad in [
            error::field("slag", "is one word"),
            error::field("slug", ""),
            error::field("slug", "\u{202e}is one word"),
            error::field("slug", "is one word".repeat(100)),
            error::status(Reason::TenantNotFound, "no tenant a", &[]),
            error::status(Reason::Internal, "oh no, it broke", &[]),
            Status::invalid_argument("slug: is one word"),
            Status::internal("decoding failed"),
        ] {
            assert!(!judge(&refused(bad.clone())).is_empty(), "{bad:?}");
        }
        assert!(!judge(&Outcome::Done).is_empty());
    }

    #[test]
    fn a_legal_value_changes_nothing_about_how_it_ends() {
        let ends = Ends::Refused(Reason::EtagMismatch);
        let status = error::status(Reason::EtagMismatch, "it changed meanwhile", &[]);
        assert!(faults(&Expect::Legal, &ends, &refused(status)).is_empty());
        assert!(!faults(&Expect::Legal, &ends, &Outcome::Done).is_empty());
        assert!(faults(&Expect::Legal, &Ends::Done, &Outcome::Done).is_empty());
    }

    #[test]
    fn a_session_names_a_field_of_its_message() {
        assert!(is_end("beat.facts.port", "facts.port"));
        assert!(!is_end("beat.facts.port", "port"));
        assert!(!is_end("slug", ""));
    }
}
