//! Reads this node's audit chains to their ends, as an auditor with a file would, without being asked.

use std::time::{Duration, SystemTime};

use reeve_domain::audit::{Break, Head, Verifier};
use tokio::time::sleep;
use tracing::{debug, error, info};

use super::seconds;
use crate::Rooms;
use crate::archive::{Archive, ArchiveError};

/// A node that starts has other things to do first.
const FIRST: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(12 * 3600);
/// Something was missing, and is being fetched.
const AGAIN: Duration = Duration::from_secs(300);
/// Records read at once, and the rest that the disk has between.
const CHUNK: usize = 256;
const REST: Duration = Duration::from_millis(20);

/// Why a chain was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Broken(#[from] Break),
    /// It says nothing about the chain.
    #[error("the archive cannot be read now")]
    Unread(#[from] ArchiveError),
}

/// Checks twice a day.
pub(super) async fn run(rooms: Rooms) {
    let mut pause = FIRST;
    loop {
        sleep(pause).await;
        pause = match check(&rooms).await {
            Ok(()) => {
                info!("every audit chain of this node is whole");
                rooms.metrics.audit_chain_ok.set(1);
                rooms.metrics.audit_last_verify.set(seconds(SystemTime::now()));
                EVERY
            }
            Err(Failure::Broken(broken)) => {
                error!(%broken, "an audit chain of this node is broken");
                rooms.metrics.audit_chain_ok.set(0);
                EVERY
            }
            Err(Failure::Unread(error)) => {
                debug!(%error, "the audit chains were not read to their ends; trying again");
                AGAIN
            }
        };
    }
}

async fn check(rooms: &Rooms) -> Result<(), Failure> {
    let heads = rooms.consensus.published().state.heads.clone();
    for (shard, head) in &heads {
        check_shard(&rooms.archive, shard, head).await?;
    }
    Ok(())
}

/// Reads one shard up to the head that State has.
pub(super) async fn check_shard(archive: &Archive, shard: &str, head: &Head) -> Result<(), Failure> {
    let mut verifier = Verifier::new(shard);
    while verifier.head().sequence < head.sequence {
        let from = verifier.head().sequence + 1;
        let limit = CHUNK.min(usize::try_from(head.sequence - from + 1).unwrap_or(CHUNK));
        let (archive, shard) = (archive.clone(), shard.to_owned());
        let read = tokio::task::spawn_blocking(move || archive.records(&shard, from, limit)).await;
        let records = read.map_err(|_| ArchiveError::Stopped)??;
        if records.is_empty() {
            break;
        }
        for record in &records {
            verifier.check(record)?;
        }
        sleep(REST).await;
    }
    verifier.finish(head)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reeve_domain::audit::{Record, Shown, append};
    use reeve_domain::{Revision, Stamp};

    use super::*;
    use crate::archive::{Change, Cipher};

    struct Plain;

    impl Cipher for Plain {
        fn seal(&self, _: &[u8], plain: &[u8]) -> Result<Vec<u8>, String> {
            Ok(plain.to_vec())
        }

        fn open(&self, _: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
            Ok(sealed.to_vec())
        }
    }

    fn chain(length: u64) -> (Vec<Record>, Head) {
        let mut head = Head::default();
        let shown = |revision| Shown {
            version: 0,
            shard: "fleet".into(),
            sequence: 0,
            stamp: Stamp(revision),
            revision: Revision(revision),
            actor: "pilot".into(),
            certificate: None,
            action: "step.report".into(),
            resource: String::new(),
            outcome: "done".into(),
            reason: String::new(),
            request_id: String::new(),
            trace_id: String::new(),
            before: [0; 32],
            after: [0; 32],
            salt: [0; 16],
            personal: vec![],
            previous: [0; 32],
        };
        let records = (1..=length).map(|revision| append(&mut head, shown(revision)));
        (records.collect(), head)
    }

    /// What the check says of an archive that holds these.
    async fn verdict(records: Vec<Record>, head: Head) -> Result<(), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(folder.path().to_owned(), Arc::new(Plain)).unwrap();
        for (revision, record) in (1..).zip(records) {
            let change = Change {
                revision: Revision(revision),
                events: Arc::default(),
                record: Some(record.into()),
                retired: vec![],
            };
            archive.write(change).unwrap();
        }
        check_shard(&archive, "fleet", &head).await
    }

    #[tokio::test]
    async fn a_whole_chain_is_whole_and_one_changed_byte_breaks_it() {
        let (records, head) = chain(300);
        assert!(verdict(records.clone(), head).await.is_ok());

        let mut changed = records.clone();
        changed[299].canonical[40] ^= 1;
        let found = verdict(changed, head).await.unwrap_err();
        assert!(
            matches!(&found, Failure::Broken(Break::Changed { sequence: 300, .. })),
            "{found}"
        );

        let short = verdict(records[..299].to_vec(), head).await.unwrap_err();
        assert!(matches!(short, Failure::Broken(Break::Tail { .. })), "{short}");
    }
}
