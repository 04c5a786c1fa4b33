//! What one revision after the other left behind, packed together: the store is asked to keep few, larger values.

use std::io::Cursor;

use super::{ArchiveError, Change};

/// Larger ones are begun anew. The store keeps values of this size in its pages; much larger ones would be files.
const BYTES_MAX: usize = 6 << 10;

/// A run of revisions without a hole, as it is sealed: its changes, one after the other.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub first: u64,
    pub last: u64,
    pub bytes: Vec<u8>,
}

/// Packs changes in ascending order of their revisions.
pub(super) fn pack<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Result<Vec<Block>, ArchiveError> {
    let mut blocks: Vec<Block> = Vec::new();
    for change in changes {
        let revision = change.revision.0;
        let encoded = rmp_serde::to_vec_named(change).map_err(|e| ArchiveError::Seal(e.to_string()))?;
        match blocks.last_mut() {
            Some(block) if block.last + 1 == revision && block.bytes.len() + encoded.len() <= BYTES_MAX => {
                block.last = revision;
                block.bytes.extend(encoded);
            }
            _ => blocks.push(Block {
                first: revision,
                last: revision,
                bytes: encoded,
            }),
        }
    }
    Ok(blocks)
}

/// The changes of a block that begins at this revision; nothing when it is not what it should be.
pub(super) fn unpack(first: u64, bytes: &[u8]) -> Option<Vec<Change>> {
    let (mut changes, mut reader): (Vec<Change>, _) = (Vec::new(), Cursor::new(bytes));
    while (reader.position() as usize) < bytes.len() {
        changes.push(rmp_serde::from_read(&mut reader).ok()?);
    }
    let in_order = (first..)
        .zip(&changes)
        .all(|(revision, change)| change.revision.0 == revision);
    (in_order && !changes.is_empty()).then_some(changes)
}

#[cfg(test)]
mod tests {
    use reeve_domain::{Event, Revision};

    use super::*;

    fn change(revision: u64, events: usize) -> Change {
        Change {
            revision: Revision(revision),
            events: vec![Event::Node; events].into(),
            record: None,
            retired: Vec::new(),
        }
    }

    #[test]
    fn a_block_is_a_run_without_a_hole_and_not_too_large() {
        let changes: Vec<Change> = [1, 2, 3, 7, 8].map(|revision| change(revision, 1)).into();
        let blocks = pack(&changes).unwrap();
        let runs: Vec<_> = blocks.iter().map(|block| (block.first, block.last)).collect();
        assert_eq!(runs, [(1, 3), (7, 8)]);
        assert_eq!(unpack(1, &blocks[0].bytes).unwrap(), changes[..3]);
        assert_eq!(unpack(2, &blocks[0].bytes), None, "it does not begin there");
        assert_eq!(unpack(1, &blocks[0].bytes[1..]), None);
        assert_eq!(unpack(1, &[]), None);

        let large: Vec<Change> = (1..=3).map(|revision| change(revision, 1_000)).collect();
        let sizes: Vec<usize> = pack(&large)
            .unwrap()
            .iter()
            .map(|block| block.bytes.len())
            .collect();
        assert_eq!(sizes.len(), 3, "{sizes:?}");
    }
}
