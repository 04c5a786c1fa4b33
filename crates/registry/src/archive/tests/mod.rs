use std::path::Path;
use std::sync::Arc;

use reeve_domain::audit::{Head, Record, Shown, append};
use reeve_domain::restore::Leap;
use reeve_domain::{Event, OperationId, Revision, Stamp, State};

use super::{Archive, ArchiveError, Change, Cipher, mark};
use crate::files::tests::open_to_others;

mod flips;

/// Binds to the place and finds every flip, without keeping anything secret.
struct Checked;

impl Cipher for Checked {
    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, String> {
        let tag = reeve_domain::digest::of_bytes(&[place, plain]);
        Ok([plain, &tag].concat())
    }

    fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
        let (plain, tag) = sealed
            .split_at_checked(sealed.len().saturating_sub(32))
            .ok_or("short")?;
        let own = reeve_domain::digest::of_bytes(&[place, plain]);
        (own == tag)
            .then(|| plain.to_vec())
            .ok_or_else(|| "changed".to_owned())
    }
}

/// A fleet that changes: the changes, and the State whose heads name them.
#[derive(Default)]
struct Fleet {
    head: Head,
    revision: u64,
}

impl Fleet {
    fn record(&mut self) -> Record {
        self.revision += 1;
        let shown = Shown {
            version: 0,
            shard: "fleet".to_owned(),
            sequence: 0,
            stamp: Stamp(self.revision),
            revision: Revision(self.revision),
            actor: "founder".to_owned(),
            certificate: None,
            action: "region.create".to_owned(),
            resource: format!("region/r{}", self.revision),
            outcome: "done".to_owned(),
            reason: String::new(),
            request_id: String::new(),
            trace_id: String::new(),
            before: [0; 32],
            after: [1; 32],
            salt: [2; 16],
            personal: Vec::new(),
            previous: [0; 32],
        };
        append(&mut self.head, shown)
    }

    fn change(&mut self) -> Change {
        let record = self.record();
        Change {
            revision: Revision(self.revision),
            events: [Event::Node].into(),
            record: Some(record.into()),
            retired: vec![],
        }
    }

    fn changes(&mut self, count: usize) -> Vec<Change> {
        (0..count).map(|_| self.change()).collect()
    }

    fn state(&self) -> Arc<State> {
        let mut state = State {
            revision: Revision(self.revision),
            ..State::default()
        };
        state.heads.insert("fleet".into(), self.head);
        Arc::new(state)
    }
}

fn open(dir: &Path) -> Archive {
    Archive::open(dir.join("archive"), Arc::new(Checked)).unwrap()
}

fn follow(archive: &Archive, fleet: &Fleet) {
    let state = fleet.state();
    archive.follow(move || state.clone()).unwrap();
}

fn write(archive: &Archive, changes: &[Change]) {
    for change in changes {
        archive.write(change.clone()).unwrap();
    }
}

/// Waits until the archive's thread has let go of the store, then closes it, so that it can be opened again.
fn close(archive: Archive) {
    let Archive { shared, jobs } = archive;
    drop(jobs);
    while Arc::strong_count(&shared) > 1 {
        std::thread::yield_now();
    }
    let locked = shared.store.load().dir.join("sled/db");
    drop(shared);
    // Threads of the store's own, and children that others begin just now, may hold its lock for a moment longer.
    let locked = std::fs::File::open(locked).unwrap();
    while locked.try_lock().is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn what_was_flushed_is_there_after_a_restart() {
    let (dir, mut fleet) = (tempfile::tempdir().unwrap(), Fleet::default());
    let changes = fleet.changes(700);
    let archive = open(dir.path());
    write(&archive, &changes);
    archive.flush_durable().unwrap();
    close(archive);

    let archive = open(dir.path());
    follow(&archive, &fleet);
    let records = archive.records("fleet", 600, 50).unwrap();
    assert_eq!(records[0], **changes[599].record.as_ref().unwrap());
    assert_eq!(records.len(), 50);
    assert_eq!(archive.records("fleet", 690, 100).unwrap().len(), 11);
    assert_eq!(archive.records("fleet", 701, 100).unwrap().len(), 0);
    assert_eq!(archive.changes(Revision(1), 1_000).unwrap(), changes);
    assert_eq!(
        archive.events(Revision(699), 10).unwrap(),
        [(Revision(700), [Event::Node].into())]
    );
    assert!(archive.is_whole());
}

#[test]
fn a_hole_is_never_served_and_closes_when_it_is_filled() {
    let (dir, mut fleet) = (tempfile::tempdir().unwrap(), Fleet::default());
    let changes = fleet.changes(30);
    let archive = open(dir.path());
    write(&archive, &changes[..10]);
    write(&archive, &changes[20..]);
    follow(&archive, &fleet);

    assert_eq!(archive.records("fleet", 1, 10).unwrap().len(), 10);
    for from in [1, 11, 15] {
        let refused = archive.records("fleet", from, 20);
        assert!(
            matches!(refused, Err(ArchiveError::Incomplete { to: 30, .. })),
            "{from}: {refused:?}"
        );
    }
    assert_eq!(archive.records("fleet", 21, 20).unwrap().len(), 10);
    assert_eq!(archive.gap().unwrap(), Some((Revision(11), Revision(20))));
    let unknown = OperationId::from_random(1);
    assert!(matches!(
        archive.operation(&unknown),
        Err(ArchiveError::Incomplete { .. })
    ));

    write(&archive, &changes[10..20]);
    assert_eq!(archive.records("fleet", 1, 100).unwrap().len(), 30);
    assert!(archive.is_whole());
    assert_eq!(archive.operation(&unknown).unwrap(), None);
}

#[test]
fn a_tail_that_the_state_names_and_the_archive_lacks_is_missing() {
    let (dir, mut fleet) = (tempfile::tempdir().unwrap(), Fleet::default());
    let changes = fleet.changes(9);
    let archive = open(dir.path());
    write(&archive, &changes[..6]);
    follow(&archive, &fleet);
    assert!(matches!(
        archive.records("fleet", 1, 100),
        Err(ArchiveError::Incomplete { from: 7, to: 9, .. })
    ));
    assert_eq!(archive.gap().unwrap(), Some((Revision(7), Revision(9))));
}

#[test]
fn what_a_restore_leapt_over_is_not_missing() {
    let (dir, mut fleet) = (tempfile::tempdir().unwrap(), Fleet::default());
    let before = fleet.changes(4);
    fleet.revision += 1_000_000;
    let after = fleet.changes(3);
    let mut state = State::clone(&fleet.state());
    state.leaps = vec![Leap {
        from: Revision(5),
        to: Revision(1_000_004),
    }];
    let state = Arc::new(state);
    let follow = |archive: &Archive| {
        let state = state.clone();
        archive.follow(move || state.clone()).unwrap();
    };
    let archive = open(dir.path());
    follow(&archive);
    assert_eq!(archive.gap().unwrap(), Some((Revision(1), Revision(4))));
    write(&archive, &before);
    assert_eq!(
        archive.gap().unwrap(),
        Some((Revision(1_000_005), Revision(1_000_007)))
    );
    write(&archive, &after);
    assert!(archive.is_whole());
    let all = [before, after.clone()].concat();
    assert_eq!(archive.changes(Revision(1), 100).unwrap(), all);
    assert_eq!(archive.changes(Revision(77), 100).unwrap(), after);
    assert_eq!(archive.changes(Revision(1_000_008), 100).unwrap(), []);
    assert_eq!(archive.records("fleet", 1, 100).unwrap().len(), 7);
    archive.flush_durable().unwrap();
    close(archive);
    let archive = open(dir.path());
    assert!(archive.is_whole());
    assert_eq!(archive.changes(Revision(1), 100).unwrap(), all);
}

#[test]
fn a_lost_tail_is_found_out_and_the_archive_set_aside() {
    let (dir, mut fleet) = (tempfile::tempdir().unwrap(), Fleet::default());
    let archive = open(dir.path());
    write(&archive, &fleet.changes(5));
    archive.flush_durable().unwrap();
    close(archive);
    mark::write(&dir.path().join("archive"), 6).unwrap();

    let archive = open(dir.path());
    follow(&archive, &fleet);
    assert!(archive.records("fleet", 1, 1).is_err());
    assert_eq!(archive.gap().unwrap(), Some((Revision(1), Revision(5))));
    let aside: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("archive.aside-"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(open_to_others(&aside[0].path()), Vec::<String>::new());
}

#[test]
fn what_was_fetched_again_in_other_portions_hides_what_was_there() {
    let (dir, mut fleet) = (tempfile::tempdir().unwrap(), Fleet::default());
    let changes = fleet.changes(40);
    let archive = open(dir.path());
    write(&archive, &changes);
    archive.flush_durable().unwrap();
    for portion in [7, 11, 40, 1] {
        archive.shared.store.load().miss(&[(1, 40)]).unwrap();
        for some in changes.chunks(portion) {
            write(&archive, some);
            archive.flush_durable().unwrap();
        }
        assert_eq!(
            archive.changes(Revision(1), 100).unwrap(),
            changes,
            "{portion} at once"
        );
    }
    follow(&archive, &fleet);
    assert_eq!(archive.records("fleet", 1, 100).unwrap().len(), 40);
    close(archive);
    assert_eq!(open(dir.path()).changes(Revision(1), 100).unwrap(), changes);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_archive_that_lacks_what_a_snapshot_spoke_of_never_seems_whole() {
    let (dir, mut fleet) = (tempfile::tempdir().unwrap(), Fleet::default());
    let changes = fleet.changes(20);
    let archive = open(dir.path());
    write(&archive, &changes[..5]);
    assert!(archive.seems_whole());
    archive.reach(&fleet.state()).unwrap();
    assert!(
        !archive.seems_whole(),
        "the store may not know yet what is missing"
    );
    assert!(archive.gap().unwrap().is_some());
    assert!(!archive.seems_whole());
    write(&archive, &changes[5..]);
    assert!(archive.gap().unwrap().is_none());
    assert!(archive.seems_whole());
}
