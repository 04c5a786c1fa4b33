//! `reeve isolation`: whether each tenant's walls stand.

mod suite;

use clap::{Args, Subcommand};
use reeve_client::v1::{self, operation, tenant};

use crate::fail::{Exit, Failure};
use crate::session::Session;
use crate::show::Freshness;
use crate::show::isolation::{Audited, Report, Scan, Scans};
use crate::tenant as tenants;
use crate::turn::Turn;
use crate::wait::{self, Goal};

/// A round of the audit is due every minute; an instance without one for three has proved nothing lately.
const ROUND_AGE_MAX_MS: u64 = 180_000;

#[derive(Debug, Args)]
pub struct Isolation {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what audits found, and when each instance was last looked at
    #[command(
        after_help = "Examples:\n  reeve isolation report\n  reeve isolation report --tenant cho-ray --closed\n  reeve isolation report --group vn-1 -o json\n\nExit codes: 0 nothing is open and every instance was looked at lately, 10 otherwise."
    )]
    Report(ReportArgs),
    /// Look at the walls of tenants now: the audit of the instance, and a probe from outside
    #[command(
        after_help = "Examples:\n  reeve isolation scan cho-ray\n  reeve isolation scan cho-ray bach-mai -o json\n  reeve isolation scan --all\n\nExit codes: 0 all walls stand, 10 one does not, or could not be looked at."
    )]
    Scan(ScanArgs),
    /// Test the walls of a fleet from its owner's own CI: instances, findings, and a scan of each tenant
    #[command(
        after_help = "Examples:\n  reeve isolation test --all\n  reeve isolation test --all --junit walls.xml\n  reeve isolation test cho-ray bach-mai -o json\n\nWhat could not be looked at is no pass. A tenant that an operation holds is scanned when that has ended.\n\nExit codes: 0 every case passed, 10 one did not."
    )]
    Test(suite::Args),
}

#[derive(Debug, Default, Args)]
struct ReportArgs {
    /// Only what concerns this tenant (id or slug)
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only what is on this group's instances
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Also what was closed lately
    #[arg(long)]
    closed: bool,
}

#[derive(Debug, Args)]
struct ScanArgs {
    /// Ids or slugs
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    tenants: Vec<String>,
    /// Every active and suspended tenant that you may see
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    turn: Turn,
}

pub async fn run(isolation: Isolation, session: &Session) -> Result<(), Failure> {
    match isolation.verb {
        Verb::Report(args) => report(args, session).await,
        Verb::Scan(args) => scan(args, session).await,
        Verb::Test(args) => suite::run(args, session).await,
    }
}

async fn report(args: ReportArgs, session: &Session) -> Result<(), Failure> {
    let report = findings(&args, session).await?;
    session.print(&report)?;
    verdict(&report)
}

/// What is found, over as many pages as it takes.
async fn findings(args: &ReportArgs, session: &Session) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListFindingsRequest {
            page_size: 1000,
            page_token,
            tenant: args.tenant.clone().unwrap_or_default(),
            group: args.group.clone().unwrap_or_default(),
            include_closed: args.closed,
            ..Default::default()
        };
        let answer = session
            .api()?
            .databases()
            .list_findings(session.ask(asked))
            .await?
            .into_inner();
        report
            .findings
            .extend(answer.findings.into_iter().map(Into::into));
        report.audited = answer.audited.into_iter().map(Into::into).collect();
        report.freshness = Some(Freshness::of(answer.freshness));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(report);
        }
    }
}

/// Whether a round of the audit ended there lately.
fn was_looked_at(one: &Audited) -> bool {
    one.last_round_ms.is_some_and(|ago| ago <= ROUND_AGE_MAX_MS)
}

/// Nothing found where nobody looked is no good news.
fn verdict(report: &Report) -> Result<(), Failure> {
    let open = report.open();
    let unseen = report.audited.iter().filter(|one| !was_looked_at(one));
    let unseen: Vec<&str> = unseen.map(|one| one.agent.as_str()).collect();
    if open > 0 {
        let what = format!("{open} findings are open");
        let fix = "docs/isolation.md says what each rule means and how to mend it";
        return Err(Failure::new(
            Exit::Found,
            what,
            "a wall between tenants is weaker than it must be",
        )
        .fix(fix));
    }
    if !unseen.is_empty() {
        let what = format!("not looked at lately: {}", unseen.join(", "));
        let fix = "see whether the agent runs and its PostgreSQL answers: `reeve group ls`";
        return Err(Failure::new(Exit::Found, what, "what was not looked at proves nothing").fix(fix));
    }
    Ok(())
}

async fn scan(args: ScanArgs, session: &Session) -> Result<(), Failure> {
    let wanted = match args.all {
        true => everybody(session).await?,
        false => args.tenants,
    };
    let mut scans = Vec::new();
    for (i, tenant) in wanted.iter().enumerate() {
        // Each is a change of its own: only the first can go by the name that the caller gave.
        let request_id = match i {
            0 => session.request_id(),
            _ => reeve_client::request_id(),
        };
        scans.push(scan_one(tenant, args.turn, request_id, session).await?);
    }
    let scans = Scans { scans };
    session.print(&scans)?;
    match scans.broken() {
        0 => Ok(()),
        broken => Err(Failure::new(
            Exit::Found,
            format!("{broken} of {} are not behind their own walls", scans.scans.len()),
            "what was found stands above",
        )
        .fix("docs/isolation.md says what each rule means and how to mend it")),
    }
}

async fn scan_one(tenant: &str, turn: Turn, request_id: String, session: &Session) -> Result<Scan, Failure> {
    let asked = v1::ScanIsolationRequest {
        request_id,
        tenant: tenant.to_owned(),
        turn: turn.wire(),
    };
    let answer = session
        .api()?
        .databases()
        .scan_isolation(session.ask(asked))
        .await;
    let answer = answer.map_err(|status| Failure::from(status).doing(format!("{tenant} was not scanned")))?;
    let operation = answer.into_inner().operation;
    let operation = operation
        .ok_or_else(|| Failure::error("the registry named no operation", "its answer is incomplete"))?;
    session.say(&format!("{tenant}: {}", operation.id));
    let ended = wait::until_ended(session, &operation.id).await?;
    match ended.state() {
        operation::State::Done | operation::State::Undone => Ok(Scan::from(ended)),
        _ => wait::verdict(&ended, Goal::Done).map(|()| Scan::from(ended)),
    }
}

async fn everybody(session: &Session) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for state in [tenant::State::Active, tenant::State::Suspended] {
        let tenants = tenants::list(session, "", state).await?.0;
        all.extend(tenants.into_iter().map(|tenant| tenant.id));
    }
    Ok(all)
}
