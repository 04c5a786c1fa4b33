//! Alerts.

use reeve_client::v1;
use serde::Serialize;

use super::{Freshness, Page, Show, col, cut, lines, plain, table, time, to_the_second, wide, wrap};

#[derive(Clone, Debug, Serialize)]
pub struct Alert {
    pub id: String,
    pub kind: String,
    pub severity: String,
    pub subject: String,
    pub summary: String,
    pub detail: String,
    pub raise_time: String,
    pub resolve_time: String,
    pub acknowledged_by: String,
    pub acknowledge_time: String,
    pub note: String,
    pub times: u32,
    pub told: bool,
}

impl From<v1::Alert> for Alert {
    fn from(alert: v1::Alert) -> Alert {
        let severity = plain(alert.severity().as_str_name(), "SEVERITY_");
        let by = alert.acknowledgement.unwrap_or_default();
        Alert {
            severity,
            raise_time: time(alert.raise_time),
            resolve_time: time(alert.resolve_time),
            acknowledged_by: by.principal,
            acknowledge_time: time(by.time),
            note: by.note,
            id: alert.id,
            kind: alert.kind,
            subject: alert.subject,
            summary: alert.summary,
            detail: alert.detail,
            times: alert.times,
            told: alert.told,
        }
    }
}

impl Alert {
    fn is_open(&self) -> bool {
        self.resolve_time.is_empty()
    }

    fn state(&self) -> &str {
        match self.is_open() {
            true => &self.severity,
            false => "resolved",
        }
    }
}

/// What is wrong in the fleet, or was.
#[derive(Debug, Default, Serialize)]
pub struct Alerts {
    pub alerts: Vec<Alert>,
    /// Unset behind a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
}

impl Alerts {
    /// What is open before what is over, the critical before the warnings, and the oldest first.
    pub fn sort(&mut self) {
        let rank = |alert: &Alert| (!alert.is_open(), alert.severity != "critical");
        self.alerts.sort_by(|one, other| {
            (rank(one), &one.raise_time, &one.id).cmp(&(rank(other), &other.raise_time, &other.id))
        });
    }
}

impl Show for Alerts {
    fn lines(&self) -> Vec<String> {
        lines(&self.alerts)
    }

    fn names(&self) -> Vec<String> {
        self.alerts.iter().map(|alert| alert.id.clone()).collect()
    }

    fn page(&self) -> Page {
        let row = |alert: &Alert| {
            let by = alert.acknowledged_by.rsplit('/').next().unwrap_or_default();
            let after = match (by.is_empty(), alert.note.is_empty()) {
                (true, _) => "nobody".to_owned(),
                (false, true) => by.to_owned(),
                (false, false) => format!("{by}: {}", alert.note),
            };
            vec![
                alert.id.clone(),
                alert.state().to_owned(),
                alert.kind.clone(),
                alert.subject.clone(),
                to_the_second(&alert.raise_time),
                after,
                if alert.told { "yes" } else { "no" }.to_owned(),
                alert.detail.clone(),
                alert.summary.clone(),
                alert.times.to_string(),
                alert.resolve_time.clone(),
                alert.acknowledge_time.clone(),
            ]
        };
        let head = [
            col("ALERT"),
            col("STATE"),
            col("KIND"),
            col("ABOUT"),
            cut("SINCE"),
            cut("LOOKED AFTER BY"),
            col("TOLD"),
            wrap("WHAT"),
            wide("SUMMARY"),
            wide("TIMES"),
            wide("RESOLVED"),
            wide("ACKNOWLEDGED"),
        ];
        table(head, self.alerts.iter().map(row)).or("nothing is wrong that anybody has seen")
    }
}
