//! What the archive keeps, as the bytes that it had: a revision's change, and a block of two.

use reeve_domain::{Event, Revision, State, apply};

use super::{Change, block};
use crate::gold;

/// The changes of a founding and of what came behind it, from the golden log of the domain.
fn changes() -> Vec<Change> {
    let mut state = State::default();
    let found = include_str!("../../../domain/tests/golden/v1/Found.hex");
    let region = include_str!("../../../domain/tests/golden/v1/CreateRegion.hex");
    let mut changes = Vec::new();
    for (text, actor) in [
        (found, reeve_domain::Actor::Founder),
        (region, reeve_domain::Actor::Pilot),
    ] {
        let text: String = text.split_whitespace().collect();
        let mut entry: reeve_domain::Entry = rmp_serde::from_slice(&hex::decode(text).unwrap()).unwrap();
        (entry.actor, entry.request) = (actor, None);
        let applied = apply(&mut state, &entry);
        changes.extend(Change::of(&applied));
    }
    // Ended operations leave State with a change.
    let busy = include_str!("../../../domain/tests/golden/state.v1/busy.hex");
    let busy: String = busy.split_whitespace().collect();
    let busy: State = rmp_serde::from_slice(&hex::decode(busy).unwrap()).unwrap();
    let ended = busy.operations.values().filter(|operation| operation.has_ended());
    changes[1].retired = ended.map(|operation| (**operation).clone()).collect();
    changes[1].events = [&changes[1].events[..], &[Event::Node]].concat().into();
    changes
}

#[test]
fn every_change_and_a_block_of_them_is_read_as_it_was_written() {
    let changes = changes();
    assert_eq!(changes.len(), 2);
    assert!(!changes[1].retired.is_empty() && changes[1].record.is_some());
    let mut written = Vec::new();
    for change in &changes {
        let name = format!("archive.v1/change_{}", change.revision);
        let kept = gold::kept(&name, change);
        assert_eq!(kept.revision, change.revision);
        assert_eq!(
            (kept.events.len(), kept.retired.len()),
            (change.events.len(), change.retired.len())
        );
        written.extend(gold::bytes(&name));
    }

    let read = block::unpack(1, &written).unwrap();
    let revisions: Vec<Revision> = read.iter().map(|change| change.revision).collect();
    assert_eq!(revisions, [Revision(1), Revision(2)]);
    let packed = block::pack(&read).unwrap();
    let again: Vec<u8> = packed.into_iter().flat_map(|block| block.bytes).collect();
    assert_eq!(again, written);
}
