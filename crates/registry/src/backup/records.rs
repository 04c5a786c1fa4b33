//! Reads what agents gave out of what they keep, and believes only what a node of this very cluster signed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reeve_domain::record::{Said, Statement};
use reeve_domain::secret::Sealed;
use reeve_domain::{Revision, State, TenantId};
use reeve_proto::identity::record::{Error, Export, Judge, Signed, read};
use serde::Serialize;

use super::BackupError;
use crate::authority::seal_new_key;
use crate::mutant::Mutant;
use crate::vault::KeyProvider;

/// Files in one folder, and the longest of them.
const FILES_MAX: usize = 10_000;
const FILE_BYTES_MAX: u64 = 1 << 30;
/// How files of records end.
const EXTENSION: &str = "records";

/// What came out of a folder of such files.
#[derive(Debug, Default)]
pub struct Testimony {
    pub files: u64,
    pub statements: Vec<Statement>,
    pub refused: Vec<Refused>,
}

/// One record that is not believed, or a file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub file: String,
    /// Whom it is about, as it says itself; empty when it cannot be read.
    pub subject: String,
    pub revision: u64,
    pub why: String,
}

/// Reads each file that ends in `.records`.
pub fn testimony(folder: &Path, state: &State) -> Result<Testimony, BackupError> {
    let judge = Judge::new(&state.cluster.name, &state.cluster.root_ca_pem)
        .map_err(|error| BackupError::Odd(format!("its root certificate: {error}")))?;
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| BackupError::file(folder, error))? {
        let path = entry.map_err(|error| BackupError::file(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() || files.len() > FILES_MAX {
        let why = format!(
            "{} files in it end in .{EXTENSION}; 1 to {FILES_MAX} are read",
            files.len()
        );
        return Err(BackupError::file(folder, why));
    }
    let mut testimony = Testimony {
        files: files.len() as u64,
        ..Testimony::default()
    };
    for path in files {
        hear(&path, state, &judge, &mut testimony)?;
    }
    Ok(testimony)
}

fn hear(path: &Path, state: &State, judge: &Judge, testimony: &mut Testimony) -> Result<(), BackupError> {
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let length = fs::metadata(path)
        .map_err(|error| BackupError::file(path, error))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(BackupError::file(path, "it is larger than any agent's records"));
    }
    let bytes = fs::read(path).map_err(|error| BackupError::file(path, error))?;
    let export = match Export::from_bytes(&bytes) {
        Ok(export) => export,
        Err(error) => {
            testimony.refused.push(Refused {
                file,
                subject: String::new(),
                revision: 0,
                why: error.to_string(),
            });
            return Ok(());
        }
    };
    for signed in &export.records {
        match believe(judge, state, signed) {
            Ok(statement) => testimony.statements.push(statement),
            Err(why) => testimony.refused.push(refused(&file, signed, why)),
        }
    }
    Ok(())
}

/// The statement, if a node of this cluster said it that had not been removed before.
fn believe(judge: &Judge, state: &State, signed: &Signed) -> Result<Statement, String> {
    if Mutant::RestoreTakesUnsigned.is_planted() {
        return read(signed).map_err(|error| error.to_string());
    }
    let (statement, node) = judge.open(signed).map_err(|error: Error| error.to_string())?;
    let principal = format!("spiffe://{}/node/{node}", state.cluster.name);
    match state.principals.get(&principal) {
        // A node that was taken off the roll has nothing to say of what came later.
        Some(known) if known.revoked && statement.revision > known.modified => Err(format!(
            "node {node} signed it, which was removed at revision {}",
            known.modified
        )),
        _ => Ok(statement),
    }
}

fn refused(file: &str, signed: &Signed, why: String) -> Refused {
    let told = read(signed).ok();
    Refused {
        file: file.to_owned(),
        subject: told
            .as_ref()
            .map(|told| told.said.subject().to_string())
            .unwrap_or_default(),
        revision: told.map_or(Revision(0), |told| told.revision).0,
        why,
    }
}

/// Keys for the audit records of tenants that come back: the old ones were never handed out.
pub fn audit_keys(
    heard: &[Statement],
    root: &dyn KeyProvider,
) -> Result<BTreeMap<TenantId, Sealed>, BackupError> {
    let mut keys = BTreeMap::new();
    for statement in heard {
        if let Said::Hosts(hosted) = &statement.said
            && !keys.contains_key(&hosted.id)
        {
            let key = seal_new_key(root, &format!("audit_key/{}", hosted.id))?;
            keys.insert(hosted.id.clone(), key);
        }
    }
    Ok(keys)
}
