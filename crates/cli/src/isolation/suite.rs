//! `reeve isolation test`: the walls of a fleet as cases that a CI counts.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args as ClapArgs;
use serde::Serialize;

use super::{ReportArgs, everybody, findings, scan_one, was_looked_at};
use crate::fail::{Exit, Failure};
use crate::junit::{self, Case, Suite, Verdict};
use crate::session::Session;
use crate::show::isolation::{Report, Scan};
use crate::show::{Page, Show, col, table, wrap};
use crate::turn::Turn;

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Ids or slugs
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    tenants: Vec<String>,
    /// Every active and suspended tenant that you may see
    #[arg(long)]
    all: bool,
    /// Also write the cases as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub async fn run(args: Args, session: &Session) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let what = format!("{} was not written", path.display());
        move |error: std::io::Error| Failure::error(what, error.to_string())
    };
    if let Some(path) = &args.junit {
        forget(path).map_err(failed(path))?;
    }
    let tenants = match args.all {
        true => everybody(session).await?,
        false => args.tenants,
    };
    let mut scanned = Vec::new();
    for tenant in tenants {
        scanned.push(scanned_case(tenant, session).await);
    }
    // After the scans: what they let open is in it.
    let report = findings(&ReportArgs::default(), session).await?;
    let suites = [
        Suite {
            name: "instances",
            cases: instances(&report),
        },
        Suite {
            name: "findings",
            cases: open_findings(&report),
        },
        Suite {
            name: "tenants",
            cases: scanned,
        },
    ];
    if let Some(path) = &args.junit {
        let document = junit::document("reeve isolation", &suites).map_err(failed(path))?;
        std::fs::write(path, document).map_err(failed(path))?;
    }
    session.print(&Cases::of(&suites))?;
    verdict(&suites)
}

/// Puts a failure in the file until the run has ended: what an earlier one passed proves nothing of this one.
fn forget(path: &Path) -> std::io::Result<()> {
    // A pipe or a terminal keeps nothing, and would be told twice.
    if path.exists() && !path.is_file() {
        return Ok(());
    }
    let run = Case {
        name: "the run has come to its end".to_owned(),
        seconds: 0.0,
        verdict: Verdict::Unproved("it was cut off, or failed before its first case".to_owned()),
        seen: Vec::new(),
    };
    let begun = [Suite {
        name: "run",
        cases: vec![run],
    }];
    std::fs::write(path, junit::document("reeve isolation", &begun)?)
}

fn verdict(suites: &[Suite]) -> Result<(), Failure> {
    let all: usize = suites.iter().map(|suite| suite.cases.len()).sum();
    let bad: usize = suites.iter().map(Suite::bad).sum();
    let empty: Vec<&str> = suites
        .iter()
        .filter(|s| s.cases.is_empty())
        .map(|s| s.name)
        .collect();
    if bad > 0 {
        let what = format!("{bad} of {all} cases are no pass");
        let fix = "docs/isolation.md says what each rule means and how to mend it";
        return Err(Failure::new(Exit::Found, what, "what was found stands above").fix(fix));
    }
    if !empty.is_empty() {
        let what = format!("nothing was looked at: {}", empty.join(", "));
        return Err(Failure::new(
            Exit::Found,
            what,
            "what was not looked at proves nothing",
        ));
    }
    Ok(())
}

fn instances(report: &Report) -> Vec<Case> {
    let case = |one: &crate::show::isolation::Audited| Case {
        name: format!("{} was looked at lately", one.agent),
        seconds: 0.0,
        verdict: match was_looked_at(one) {
            true => Verdict::Passed,
            false => Verdict::Unproved("no round of its audit has ended within 3 min".to_owned()),
        },
        seen: Vec::new(),
    };
    report.audited.iter().map(case).collect()
}

/// Each that is open, or that none is.
fn open_findings(report: &Report) -> Vec<Case> {
    let open = report
        .findings
        .iter()
        .filter(|finding| finding.close_time.is_empty());
    let mut cases: Vec<Case> = open
        .map(|finding| Case {
            name: format!("{} {}", finding.id, finding.rule),
            seconds: 0.0,
            verdict: Verdict::Failed(format!("{}: {}", finding.agent, finding.subject)),
            seen: Vec::new(),
        })
        .collect();
    if cases.is_empty() {
        cases.push(Case {
            name: "none is open".to_owned(),
            seconds: 0.0,
            verdict: Verdict::Passed,
            seen: Vec::new(),
        });
    }
    cases
}

/// A tenant's scan. One that could not be made is a case, too, and the others go on.
async fn scanned_case(tenant: String, session: &Session) -> Case {
    let began = Instant::now();
    let scanned = scan_one(&tenant, Turn::queued(), reeve_client::request_id(), session).await;
    let (verdict, seen) = match scanned {
        Ok(scan) => judged(scan),
        Err(failure) => (Verdict::Unproved(failure.to_string()), Vec::new()),
    };
    Case {
        name: tenant,
        seconds: began.elapsed().as_secs_f64(),
        verdict,
        seen,
    }
}

/// A refusal between two successes is a pass, what was found is a failure, and all else proves nothing.
fn judged(scan: Scan) -> (Verdict, Vec<String>) {
    let why = format!("{} {}", scan.reason, scan.detail).trim().to_owned();
    let verdict = match (scan.stands, scan.reason.as_str()) {
        (true, _) => Verdict::Passed,
        (false, "LEAK" | "FINDING") => Verdict::Failed(why),
        (false, _) => Verdict::Unproved(why),
    };
    (verdict, scan.proof)
}

/// The cases on a screen.
#[derive(Debug, Serialize)]
struct Cases {
    cases: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    suite: &'static str,
    name: String,
    verdict: &'static str,
    why: String,
    seen: Vec<String>,
}

impl Cases {
    fn of(suites: &[Suite]) -> Cases {
        let rows = suites.iter().flat_map(|suite| {
            suite.cases.iter().map(|case| {
                let (verdict, why) = match &case.verdict {
                    Verdict::Passed => ("passed", String::new()),
                    Verdict::Failed(why) => ("failed", why.clone()),
                    Verdict::Unproved(why) => ("unproved", why.clone()),
                };
                Row {
                    suite: suite.name,
                    name: case.name.clone(),
                    verdict,
                    why,
                    seen: case.seen.clone(),
                }
            })
        });
        Cases {
            cases: rows.collect(),
        }
    }
}

impl Show for Cases {
    fn page(&self) -> Page {
        let row = |one: &Row| {
            vec![
                one.suite.to_owned(),
                one.name.clone(),
                one.verdict.to_uppercase(),
                one.why.clone(),
            ]
        };
        table(
            [col("SUITE"), col("CASE"), col("VERDICT"), wrap("WHY")],
            self.cases.iter().map(row),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(name: &'static str, verdicts: Vec<Verdict>) -> Suite {
        let case = |verdict| Case {
            name: "x".into(),
            seconds: 0.0,
            verdict,
            seen: Vec::new(),
        };
        Suite {
            name,
            cases: verdicts.into_iter().map(case).collect(),
        }
    }

    #[test]
    fn what_was_not_looked_at_is_no_pass() {
        let passed = || suite("tenants", vec![Verdict::Passed]);
        assert!(verdict(&[passed()]).is_ok());
        for bad in [
            suite("tenants", vec![Verdict::Passed, Verdict::Failed("P1".into())]),
            suite("tenants", vec![Verdict::Unproved("dark".into())]),
            suite("tenants", vec![]),
        ] {
            let failure = verdict(&[passed(), bad]).unwrap_err();
            assert_eq!(failure.exit, Exit::Found);
        }
        let report = Report::default();
        assert!(instances(&report).is_empty());
        assert_eq!(open_findings(&report)[0].verdict, Verdict::Passed);
    }
}
