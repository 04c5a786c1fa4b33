//! `reeve explain`: what an error's reason means and what to do, from the same page that docs/errors.md is.

use std::fmt;

use clap::Args;
use reeve_proto::error::{code, from_word, word};
use serde::Serialize;
use tonic::Code;

use crate::fail::{Exit, Failure, exit_of, fix_of};
use crate::form::Form;
use crate::session::Session;
use crate::show::{Page, Show, col, cut, table, wide, wrap};

/// The page itself: a heading for each reason, and under it the gRPC code and what it means.
const ERRORS: &str = include_str!("../../../docs/errors.md");

/// Explain an error's reason: what it means, what to do, and whether asking again helps
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve explain QUORUM_AT_RISK\n  reeve explain tenant-not-found -o json\n  reeve explain list\n\nNo registry is asked."
)]
pub struct Explain {
    /// One that an error named; or `list`, for all of them
    reason: String,
}

#[derive(Clone, Debug, Serialize)]
struct Explained {
    reason: &'static str,
    code: String,
    exit: u8,
    retry: Retry,
    meaning: String,
    fix: &'static str,
}

/// Whether asking again helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Retry {
    /// As it is, also at once.
    Yes,
    /// As it is, after the pause that the error tells.
    Later,
    /// Not as it is.
    No,
}

impl Retry {
    fn of(code: Code) -> Retry {
        match code {
            Code::Unavailable => Retry::Yes,
            Code::ResourceExhausted => Retry::Later,
            _ => Retry::No,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Retry::Yes => "yes, as it is; a change with the same --request-id",
            Retry::Later => "yes, as it is, after the pause that the error tells",
            Retry::No => "not as it is",
        }
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Retry::Yes => "yes",
            Retry::Later => "later",
            Retry::No => "no",
        })
    }
}

pub fn run(args: &Explain, session: &Session) -> Result<(), Failure> {
    if args.reason.eq_ignore_ascii_case("list") {
        if session.form() == Form::Env {
            let failure = Failure::usage("a list has no -o env", "variables are for one reason");
            return Err(failure.fix("name one reason, or use -o json"));
        }
        return session.print(&Reasons { reasons: all() });
    }
    let wanted = args.reason.trim().replace('-', "_").to_uppercase();
    match all().into_iter().find(|one| one.reason == wanted) {
        Some(one) => session.print(&one),
        None => Err(unknown(&wanted)),
    }
}

fn unknown(wanted: &str) -> Failure {
    let alike = |one: &Explained| {
        let (reason, wanted) = (one.reason.split('_'), wanted.split('_'));
        let wanted: Vec<&str> = wanted.filter(|word| word.len() > 2).collect();
        reason.filter(|word| wanted.contains(word)).count()
    };
    let near = all().into_iter().map(|one| (alike(&one), one.reason));
    let near = near
        .filter(|(alike, _)| *alike > 0)
        .max_by_key(|(alike, _)| *alike);
    let fix = match near {
        Some((_, reason)) => format!("did you mean {reason}? `reeve explain list` shows all of them"),
        None => "`reeve explain list` shows all of them".to_owned(),
    };
    Failure::new(Exit::NotFound, format!("there is no reason {wanted}"), "").fix(fix)
}

/// Every reason, in the order of the page.
fn all() -> Vec<Explained> {
    let sections = ERRORS.split("\n### ").skip(1);
    sections.filter_map(explained).collect()
}

fn explained(section: &str) -> Option<Explained> {
    let (heading, text) = section.split_once('\n')?;
    let reason = from_word(heading.trim())?;
    let text = text.split("\n## ").next().unwrap_or(text);
    // The code stands first on the page, and in a field of its own here.
    let (told, meaning) = text.trim().strip_prefix('`')?.split_once("`. ")?;
    Some(Explained {
        reason: word(reason),
        code: told.to_owned(),
        exit: exit_of(reason) as u8,
        retry: Retry::of(code(reason)),
        meaning: without_links(meaning),
        fix: fix_of(reason),
    })
}

/// `[text](where)` is its text alone: where it leads is another page.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('[') {
        plain.push_str(before);
        let link = behind.split_once("](").and_then(|(shown, tail)| {
            let (_, tail) = tail.split_once(')')?;
            (!shown.contains('[')).then_some((shown, tail))
        });
        match link {
            Some((shown, tail)) => {
                plain.push_str(shown);
                rest = tail;
            }
            None => {
                plain.push('[');
                rest = behind;
            }
        }
    }
    plain + rest
}

impl Show for Explained {
    fn page(&self) -> Page {
        let meaning = table([wrap("")], [vec![self.meaning.clone()]]);
        let rows = [
            ["what to do", self.fix],
            ["ask again", self.retry.words()],
            ["exit code", &self.exit.to_string()],
            ["gRPC code", &self.code],
        ];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        meaning.under(self.reason).and(table([col(""), wrap("")], rows))
    }

    fn names(&self) -> Vec<String> {
        vec![self.reason.to_owned()]
    }
}

#[derive(Debug, Serialize)]
struct Reasons {
    reasons: Vec<Explained>,
}

impl Show for Reasons {
    fn page(&self) -> Page {
        let row = |one: &Explained| {
            vec![
                one.reason.to_owned(),
                one.exit.to_string(),
                one.retry.to_string(),
                one.fix.to_owned(),
                one.code.clone(),
            ]
        };
        let head = ["REASON", "EXIT", "AGAIN"].map(Into::into);
        let head = head.into_iter().chain([cut("WHAT TO DO"), wide("CODE")]);
        table(head, self.reasons.iter().map(row))
    }

    fn lines(&self) -> Vec<String> {
        crate::show::lines(&self.reasons)
    }

    fn names(&self) -> Vec<String> {
        self.reasons.iter().map(|one| one.reason.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use reeve_client::v1::ErrorReason;

    use super::*;

    #[test]
    fn every_reason_is_explained_and_everything_explained_is_one() {
        let known = (1..1_000).filter_map(|number| ErrorReason::try_from(number).ok());
        let mut known: Vec<&str> = known.map(word).collect();
        let mut explained: Vec<&str> = all().iter().map(|one| one.reason).collect();
        let headings = ERRORS.lines().filter(|line| line.starts_with("### ")).count();
        assert_eq!(headings, explained.len(), "a heading is no reason");
        known.sort_unstable();
        explained.sort_unstable();
        assert_eq!(known, explained);
    }

    #[test]
    fn each_says_what_it_means_what_to_do_and_whether_to_ask_again() {
        for one in all() {
            assert!(one.meaning.len() > 15, "{one:?}");
            let same = format!("{:?}", code(from_word(one.reason).unwrap())).to_uppercase();
            assert_eq!(one.code.replace('_', ""), same, "{one:?}");
            assert!(
                !one.meaning.contains("](") && !one.meaning.contains("##"),
                "{one:?}"
            );
            assert!(!one.fix.is_empty(), "{one:?}");
            assert!(one.exit > 0, "{one:?}");
            // What a program may send again as it is, is what a script sees as 6; a full region is a conflict to it.
            let again = one.retry != Retry::No;
            assert_eq!(again, one.exit == 6 || one.reason == "NO_CAPACITY", "{one:?}");
        }
    }

    #[test]
    fn a_link_is_its_text() {
        let text = "Mend it ([isolation.md](isolation.md)); `claims[2].key` [stays";
        assert_eq!(
            without_links(text),
            "Mend it (isolation.md); `claims[2].key` [stays"
        );
        let code = "metadata `claims[2]`, see [limits.md](limits.md)";
        assert_eq!(without_links(code), "metadata `claims[2]`, see limits.md");
    }

    #[test]
    fn a_near_miss_is_told() {
        assert!(unknown("TENANT_MISSING").fix.contains("did you mean TENANT_"));
        assert!(unknown("XYZZY").fix.starts_with("`reeve explain list`"));
    }
}
