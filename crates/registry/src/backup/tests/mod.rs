mod bucket;
mod forged;
mod golden;
mod shelf;
mod world;

use super::{BackupError, check};
use crate::vault::RootKey;
use world::{World, key};

#[test]
fn a_copy_is_read_back_as_it_was_and_says_nothing_without_its_key() {
    let world = World::busy();
    let file = world.save();
    let mut heard = Vec::new();
    let take = &mut |change| {
        heard.push(change);
        Ok(())
    };
    let (report, state) = check(file.as_slice(), Some(&key()), take).unwrap();
    assert_eq!((state, heard), (Some(world.state.clone()), world.changes.clone()));
    let inside = report.inside.unwrap();
    assert_eq!(inside.records, world.changes.len() as u64);
    assert_eq!(inside.header.state_hash, world.state.hash());

    let (outside, nothing) = check(file.as_slice(), None, &mut |_| Ok(())).unwrap();
    assert!(outside.inside.is_none() && nothing.is_none());
    assert_eq!(
        (outside.bytes, outside.blocks),
        (file.len() as u64, report.blocks)
    );
    for word in ["hospital", "cho-ray", "region", "spiffe"] {
        let told = file.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert!(!told, "{word} can be read in the file");
    }
}

#[test]
fn a_flipped_bit_is_found_where_it_is_also_without_the_key() {
    let file = World::busy().save();
    let ends = file.len().saturating_sub(64);
    for byte in (0..file.len()).filter(|byte| *byte < 200 || *byte >= ends || byte % 5 == 0) {
        let mut flipped = file.clone();
        flipped[byte] ^= 1 << (byte % 8);
        match check(flipped.as_slice(), None, &mut |_| Ok(())) {
            Err(BackupError::NoSnapshot(_)) => assert!(byte < 8, "byte {byte}"),
            // A length that grew swallows what follows; nothing before it is blamed.
            Err(BackupError::Damaged { at, .. }) => {
                let byte = byte as u64;
                assert!(
                    at <= byte && byte < at + (1 << 20),
                    "byte {byte} was found at {at}"
                );
            }
            other => panic!("byte {byte}: {other:?}"),
        }
    }
}

#[test]
fn a_file_that_was_cut_or_grew_is_not_whole() {
    let file = World::busy().save();
    for length in (0..file.len()).step_by(97).chain([file.len() - 1]) {
        let cut = check(&file[..length], None, &mut |_| Ok(()));
        assert!(cut.is_err(), "{length} of {} bytes", file.len());
    }
    let grown = [file.as_slice(), b"?"].concat();
    let grown = check(grown.as_slice(), None, &mut |_| Ok(())).unwrap_err();
    assert!(grown.to_string().contains("bytes follow the end"), "{grown}");
}

#[test]
fn another_root_key_is_named_as_such() {
    let file = World::busy().save();
    let other = RootKey::new(&[9; 32]);
    let refused = check(file.as_slice(), Some(&other), &mut |_| Ok(())).unwrap_err();
    assert!(matches!(refused, BackupError::WrongKey { .. }), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("give the root.key of the cluster"), "{told}");
}
