//! The journal: how each try ended, on disk before it is reported, so that a repeated order gets the same answer.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use reeve_proto::v1::step_key::Direction;
use reeve_proto::v1::{StepKey, StepReport};
use serde::{Deserialize, Serialize};

use crate::disk;

/// Outcomes of operations that the registry may still ask for.
pub struct Journal {
    folder: PathBuf,
    held: Mutex<BTreeMap<String, Vec<Recorded>>>,
}

/// One outcome as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    step: u32,
    attempt: u32,
    direction: i32,
    epoch: u64,
    outcome: i32,
    proof: Vec<String>,
    error: String,
    code: String,
    schema_version: u32,
    schema_checksum: String,
}

/// Operations kept; the oldest files go first.
const OPERATIONS_MAX: usize = 2_000;

impl Journal {
    /// Opens the journal of an agent's folder.
    pub fn open(folder: &Path) -> io::Result<Journal> {
        let folder = folder.join("journal");
        fs::create_dir_all(&folder)?;
        let mut held = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Some(operation) = path
                .file_name()
                .and_then(|n| n.to_str())
                .and_then(|n| n.strip_suffix(".json"))
            else {
                continue;
            };
            held.insert(operation.to_owned(), serde_json::from_slice(&fs::read(&path)?)?);
        }
        Ok(Journal {
            folder,
            held: Mutex::new(held),
        })
    }

    /// What was reported for this very try, if it was made.
    pub fn recall(&self, key: &StepKey) -> Option<StepReport> {
        let held = self.held.lock();
        let recorded = held.get(&key.operation_id)?.iter().find(|r| r.is(key))?;
        Some(recorded.report(key))
    }

    /// Whether a step of the operation was taken back already, at this epoch or a later one. What was taken back at
    /// an older one goes forwards again when the registry came back from a copy that was made before.
    pub fn has_turned_back(&self, operation: &str, epoch: u64) -> bool {
        let back = |t: &Recorded| t.direction == Direction::Undo as i32 && t.epoch >= epoch;
        self.held
            .lock()
            .get(operation)
            .is_some_and(|tries| tries.iter().any(back))
    }

    /// Writes an outcome down; it is on disk when this returns.
    pub fn record(&self, report: &StepReport) -> io::Result<()> {
        let Some(key) = &report.key else {
            return Err(io::Error::other("a report needs a key"));
        };
        // The id becomes a file's name.
        reeve_domain::OperationId::parse(&key.operation_id).map_err(io::Error::other)?;
        let mut held = self.held.lock();
        let mut recorded = held.get(&key.operation_id).cloned().unwrap_or_default();
        recorded.retain(|r| !r.is(key));
        recorded.push(Recorded::of(key, report));
        let path = self.folder.join(format!("{}.json", key.operation_id));
        disk::write_durably(&path, &serde_json::to_vec(&recorded)?)?;
        held.insert(key.operation_id.clone(), recorded);
        if held.len() > OPERATIONS_MAX {
            self.drop_oldest(&mut held)?;
        }
        Ok(())
    }

    fn drop_oldest(&self, held: &mut BTreeMap<String, Vec<Recorded>>) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        for (_, path) in files.iter().take(OPERATIONS_MAX / 10) {
            fs::remove_file(path)?;
            if let Some(operation) = path.file_stem().and_then(|n| n.to_str()) {
                held.remove(operation);
            }
        }
        Ok(())
    }
}

impl Recorded {
    fn is(&self, key: &StepKey) -> bool {
        (self.step, self.attempt, self.direction) == (key.step, key.attempt, key.direction)
    }

    fn of(key: &StepKey, report: &StepReport) -> Recorded {
        Recorded {
            step: key.step,
            attempt: key.attempt,
            direction: key.direction,
            epoch: report.epoch,
            outcome: report.outcome,
            proof: report.proof.clone(),
            error: report.error.clone(),
            code: report.code.clone(),
            schema_version: report.schema_version,
            schema_checksum: report.schema_checksum.clone(),
        }
    }

    fn report(&self, key: &StepKey) -> StepReport {
        StepReport {
            key: Some(key.clone()),
            outcome: self.outcome,
            proof: self.proof.clone(),
            error: self.error.clone(),
            code: self.code.clone(),
            schema_version: self.schema_version,
            schema_checksum: self.schema_checksum.clone(),
            epoch: self.epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_proto::v1::step_report::Outcome;

    fn report(operation: &str, attempt: u32, proof: &str) -> StepReport {
        StepReport {
            key: Some(StepKey {
                operation_id: operation.into(),
                step: 1,
                attempt,
                direction: 1,
            }),
            outcome: Outcome::Done as i32,
            proof: vec![proof.into()],
            epoch: 4,
            ..Default::default()
        }
    }

    #[test]
    fn an_outcome_is_recalled_after_a_restart_for_that_very_try_only() {
        let folder = tempfile::tempdir().unwrap();
        let first = report("op_0000000000000001", 1, "made");
        Journal::open(folder.path()).unwrap().record(&first).unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.recall(first.key.as_ref().unwrap()), Some(first.clone()));
        let other = StepKey {
            attempt: 2,
            ..first.key.clone().unwrap()
        };
        assert_eq!(journal.recall(&other), None);
        let undo = StepKey {
            direction: 2,
            ..first.key.clone().unwrap()
        };
        assert_eq!(journal.recall(&undo), None);
    }

    #[test]
    fn an_operation_cannot_name_a_file_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        assert!(journal.record(&report("../fence", 1, "x")).is_err());
        assert!(journal.record(&StepReport::default()).is_err());
    }
}
