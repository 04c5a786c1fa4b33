//! Findings, scans, and when instances were last looked at.

use reeve_client::v1;
use serde::Serialize;

use super::{
    Freshness, Page, Show, ago_ms, col, cut, lines, plain, table, time, to_the_second, took, wide, wrap,
};

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub id: String,
    pub rule: String,
    pub severity: String,
    pub agent: String,
    pub group: String,
    pub tenant_id: String,
    pub tenant_slug: String,
    pub subject: String,
    pub detail: String,
    pub open_time: String,
    pub close_time: String,
    pub times: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct Audited {
    pub agent: String,
    pub group: String,
    /// Since the last round that came to its end; none when there was none.
    pub last_round_ms: Option<u64>,
    pub open_findings: u32,
}

impl From<v1::Finding> for Finding {
    fn from(finding: v1::Finding) -> Finding {
        Finding {
            severity: plain(finding.severity().as_str_name(), "SEVERITY_"),
            open_time: time(finding.open_time),
            close_time: time(finding.close_time),
            id: finding.id,
            rule: finding.rule,
            agent: finding.agent,
            group: finding.group,
            tenant_id: finding.tenant_id,
            tenant_slug: finding.tenant_slug,
            subject: finding.subject,
            detail: finding.detail,
            times: finding.times,
        }
    }
}

impl From<v1::Audited> for Audited {
    fn from(audited: v1::Audited) -> Audited {
        Audited {
            agent: audited.agent,
            group: audited.group,
            last_round_ms: audited.last_round.map(ago_ms),
            open_findings: audited.open_findings,
        }
    }
}

/// What is found in the fleet.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub audited: Vec<Audited>,
    pub freshness: Option<Freshness>,
}

impl Report {
    pub fn open(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.close_time.is_empty())
            .count()
    }

    fn findings_page(&self) -> Page {
        let row = |finding: &Finding| {
            let whose = match finding.tenant_slug.is_empty() {
                true => &finding.tenant_id,
                false => &finding.tenant_slug,
            };
            let state = match finding.close_time.is_empty() {
                true => finding.severity.clone(),
                false => "closed".to_owned(),
            };
            vec![
                finding.id.clone(),
                finding.rule.clone(),
                state,
                whose.clone(),
                finding.agent.clone(),
                to_the_second(&finding.open_time),
                finding.subject.clone(),
                finding.group.clone(),
                finding.close_time.clone(),
                finding.times.to_string(),
                finding.detail.clone(),
            ]
        };
        let head = [
            col("FINDING"),
            col("RULE"),
            col("STATE"),
            col("TENANT"),
            col("AGENT"),
            cut("SINCE"),
            cut("WHAT"),
            wide("GROUP"),
            wide("CLOSED"),
            wide("TIMES"),
            wide("DETAIL"),
        ];
        table(head, self.findings.iter().map(row))
    }

    fn audited_page(&self) -> Page {
        let row = |one: &Audited| {
            let ago = match one.last_round_ms {
                Some(ms) => format!("{:.0} s ago", ms as f64 / 1000.0),
                None => "never".to_owned(),
            };
            vec![
                one.agent.clone(),
                one.group.clone(),
                ago,
                one.open_findings.to_string(),
            ]
        };
        table(
            ["AGENT", "GROUP", "LOOKED AT", "OPEN"],
            self.audited.iter().map(row),
        )
    }
}

impl Show for Report {
    fn lines(&self) -> Vec<String> {
        lines(&self.findings)
    }

    fn names(&self) -> Vec<String> {
        self.findings.iter().map(|finding| finding.id.clone()).collect()
    }

    fn page(&self) -> Page {
        match self.findings.is_empty() {
            true => self.audited_page(),
            false => self.findings_page().and(self.audited_page()),
        }
    }
}

/// One tenant's walls, looked at once.
#[derive(Clone, Debug, Serialize)]
pub struct Scan {
    pub tenant_id: String,
    pub tenant_slug: String,
    pub operation: String,
    pub stands: bool,
    pub reason: String,
    pub detail: String,
    /// What was looked at, and what it said.
    pub proof: Vec<String>,
    #[serde(skip)]
    took: String,
}

impl From<v1::Operation> for Scan {
    fn from(operation: v1::Operation) -> Scan {
        Scan {
            stands: operation.state() == v1::operation::State::Done,
            took: took(operation.create_time, operation.end_time),
            proof: operation
                .steps
                .iter()
                .flat_map(|step| step.proof.clone())
                .collect(),
            tenant_id: operation.tenant_id,
            tenant_slug: operation.tenant_slug,
            operation: operation.id,
            reason: operation.reason,
            detail: operation.detail,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Scans {
    pub scans: Vec<Scan>,
}

impl Scans {
    pub fn broken(&self) -> usize {
        self.scans.iter().filter(|scan| !scan.stands).count()
    }
}

impl Show for Scans {
    fn lines(&self) -> Vec<String> {
        lines(&self.scans)
    }

    fn page(&self) -> Page {
        let row = |scan: &Scan| {
            let walls = if scan.stands { "stand" } else { "BROKEN" };
            let what = match scan.stands {
                true => format!("{} looks", scan.proof.len()),
                false => scan.detail.clone(),
            };
            vec![
                scan.tenant_slug.clone(),
                walls.to_owned(),
                scan.took.clone(),
                scan.operation.clone(),
                what,
                scan.reason.clone(),
            ]
        };
        table(
            [
                col("TENANT"),
                col("WALLS"),
                col("TOOK"),
                col("OPERATION"),
                wrap("WHAT"),
                wide("REASON"),
            ],
            self.scans.iter().map(row),
        )
    }
}
