//! Audit records.

use reeve_domain::audit::{Record, decode};
use serde::Serialize;

use super::page::shortened;
use super::{Page, Show, col, cut, lines, table, to_the_second};
use crate::fail::Failure;

/// What a record says, without its bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub shard: String,
    pub sequence: u64,
    pub time: String,
    pub revision: u64,
    pub actor: String,
    pub action: String,
    pub resource: String,
    pub outcome: String,
    pub reason: String,
    pub request_id: String,
    pub trace_id: String,
    pub chain: String,
}

impl Entry {
    /// Reads a record's bytes.
    pub fn of(record: &Record) -> Result<Entry, Failure> {
        let shown = decode(&record.canonical).map_err(|error| {
            let what = format!(
                "record {} of shard {} cannot be read",
                record.sequence, record.shard
            );
            Failure::error(what, error.to_string()).fix("export the log and verify it")
        })?;
        let at = i64::try_from(shown.stamp.0).ok();
        let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        Ok(Entry {
            shard: shown.shard,
            sequence: shown.sequence,
            time: at.map(|at| at.to_string()).unwrap_or_default(),
            revision: shown.revision.0,
            actor: shown.actor,
            action: shown.action,
            resource: shown.resource,
            outcome: shown.outcome,
            reason: shown.reason,
            request_id: shown.request_id,
            trace_id: shown.trace_id,
            chain: hex::encode(record.chain),
        })
    }

    /// Whose it is: the cluster of a name is the one that was asked.
    fn known(name: &str) -> String {
        match name.split_once("spiffe://") {
            Some((before, id)) => format!("{before}{}", id.split_once('/').map_or(id, |(_, own)| own)),
            None => name.to_owned(),
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.sequence.to_string(),
            to_the_second(&self.time),
            self.action.clone(),
            Entry::known(&self.resource),
            self.outcome.clone(),
            Entry::known(&self.actor),
            self.reason.clone(),
        ]
    }

    /// One line, for a log that is followed; no broader than a terminal, when it is one.
    pub fn line(&self, width: Option<usize>) -> String {
        let line = format!(
            "{:<4}  {:<20}  {:<14}  {:<21}  {:<7}  {}  {}",
            self.sequence,
            to_the_second(&self.time),
            self.action,
            Entry::known(&self.resource),
            self.outcome,
            Entry::known(&self.actor),
            self.reason
        );
        let line = line.trim_end();
        width.map_or(line.to_owned(), |width| shortened(line, width))
    }
}

#[derive(Debug, Serialize)]
pub struct Entries {
    pub records: Vec<Entry>,
}

impl Show for Entries {
    fn lines(&self) -> Vec<String> {
        lines(&self.records)
    }

    fn page(&self) -> Page {
        let head = [
            col("#"),
            col("TIME"),
            col("ACTION"),
            cut("RESOURCE"),
            col("OUTCOME"),
            cut("ACTOR"),
            cut("REASON"),
        ];
        table(head, self.records.iter().map(Entry::cells))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_domain::audit::{Head, Shown, append};
    use reeve_domain::{Revision, Stamp};

    fn record() -> Record {
        let shown = Shown {
            version: 0,
            shard: "fleet".into(),
            sequence: 0,
            stamp: Stamp(1_795_472_100_000),
            revision: Revision(7),
            actor: "pilot".into(),
            certificate: None,
            action: "tenant.create".into(),
            resource: "tenant/t_0123456789ab".into(),
            outcome: "done".into(),
            reason: String::new(),
            request_id: "r".into(),
            trace_id: String::new(),
            before: [1; 32],
            after: [2; 32],
            salt: [0; 16],
            personal: vec![],
            previous: [0; 32],
        };
        append(&mut Head::default(), shown)
    }

    #[test]
    fn a_record_is_told_in_a_line() {
        let entry = Entry::of(&record()).unwrap();
        let expected = "\
#  TIME                  ACTION         RESOURCE               OUTCOME  ACTOR  REASON
1  2026-11-23T22:15:00Z  tenant.create  tenant/t_0123456789ab  done     pilot  -";
        assert_eq!(
            Entries {
                records: vec![entry.clone()]
            }
            .table(),
            expected
        );
        let line = "1     2026-11-23T22:15:00Z  tenant.create   tenant/t_0123456789ab  done     pilot";
        assert_eq!(entry.line(None), line);
        assert_eq!(entry.line(Some(line.len())), line);
        assert_eq!(
            entry.line(Some(60)),
            "1     2026-11-23T22:15:00Z  tenant.create   tenant/t_012345…"
        );
    }

    #[test]
    fn people_are_named_without_the_cluster_that_was_asked() {
        for (name, shown) in [
            ("spiffe://hospital/agent/vn-1", "agent/vn-1"),
            ("principal/spiffe://hospital/person/ann", "principal/person/ann"),
            ("tenant/t_0123456789ab", "tenant/t_0123456789ab"),
            ("pilot", "pilot"),
        ] {
            assert_eq!(Entry::known(name), shown);
        }
    }

    #[test]
    fn bytes_that_are_no_record_are_said_to_be_none() {
        let mut odd = record();
        odd.canonical.push(0);
        let failure = Entry::of(&odd).unwrap_err().to_string();
        assert!(
            failure.starts_with("record 1 of shard fleet cannot be read"),
            "{failure}"
        );
    }
}
