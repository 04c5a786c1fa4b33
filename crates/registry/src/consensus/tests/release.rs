//! What another release wrote stops a node with a message that says what, and nothing of it is taken in.

use std::sync::Arc;

use openraft::EntryPayload;
use openraft::storage::RaftStateMachine;
use parking_lot::Mutex;
use reeve_domain::audit::Seed;
use reeve_domain::version::RaiseVersion;
use reeve_domain::{Actor, Command, State, Versions};
use serde::Serialize;
use tempfile::TempDir;

use super::store::Deaf;
use crate::consensus::Fatal;
use crate::consensus::machine::{Board, Machine};
use crate::consensus::snapshot::SnapshotStore;
use crate::consensus::types::{Entry, Payload, SnapshotMeta, log_id};
use crate::vault::Sealer;

type Said = Arc<Mutex<String>>;

fn store(folder: &TempDir) -> SnapshotStore {
    SnapshotStore::open(folder.path().to_owned(), "test", Sealer::new(&[1; 32])).unwrap()
}

/// A machine, and its last words.
fn open(folder: &TempDir) -> (std::io::Result<Machine>, Said) {
    let said = Said::default();
    let heard = said.clone();
    let fatal = Fatal::new(move |why| *heard.lock() = why.to_owned());
    let store = store(folder);
    let best = store.best(None);
    (
        Machine::begin(best, store, Board::new(), Arc::new(Deaf), fatal),
        said,
    )
}

/// An entry as a later release might write it.
#[derive(Serialize)]
struct Later<T> {
    format: u16,
    stamp: u64,
    actor: Actor,
    principal_rev: u64,
    policy_rev: u64,
    request: Option<()>,
    seed: Seed,
    command: T,
}

#[derive(Serialize)]
enum LaterCommand {
    Migrate {
        tenant: String,
    },
    Rest,
    CreateRegion {
        name: String,
        display_name: String,
        law: String,
    },
}

fn later<T: Serialize>(format: u16, command: T) -> Vec<u8> {
    let entry = Later {
        format,
        stamp: 1,
        actor: Actor::Pilot,
        principal_rev: 0,
        policy_rev: 0,
        request: None,
        seed: Seed::default(),
        command,
    };
    rmp_serde::to_vec_named(&entry).unwrap()
}

async fn last_words(payload: Vec<u8>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (machine, said) = open(&folder);
    let mut machine = machine.unwrap();
    let entry = Entry {
        log_id: log_id(1, 1, 41),
        payload: EntryPayload::Normal(Payload(payload.into())),
    };
    let applied = machine.apply(futures::stream::iter([Ok((entry, None))])).await;
    assert!(applied.is_err(), "it went on");
    assert_eq!(
        machine.applied_state().await.unwrap().0,
        None,
        "it was passed over"
    );
    said.lock().clone()
}

#[tokio::test]
async fn an_entry_that_this_program_does_not_know_is_named_and_never_passed_over() {
    let migrate = LaterCommand::Migrate { tenant: "t".into() };
    let region = LaterCommand::CreateRegion {
        name: "vn".into(),
        display_name: String::new(),
        law: "vn".into(),
    };
    let cases = [
        (later(1, migrate), "holds command Migrate, which"),
        (later(1, LaterCommand::Rest), "holds command Rest, which"),
        (later(1, region), "does not know: unknown field `law`"),
        (
            later(9, LaterCommand::Rest),
            "holds layout 9 of an entry, with command Rest",
        ),
        (b"no entry".to_vec(), "holds something else than an entry"),
    ];
    for (payload, what) in cases {
        let said = last_words(payload).await;
        assert!(
            said.contains("log entry 41 ") && said.contains(what),
            "{what:?} is missing in: {said}"
        );
        assert!(
            said.contains(env!("CARGO_PKG_VERSION")) && said.contains("install the program"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_raise_beyond_what_this_program_knows_ends_it() {
    let to = Versions::KNOWN.max + 1;
    let folder = tempfile::tempdir().unwrap();
    let state = founded(1);
    store(&folder).write(&at(40), &state, || Ok(())).unwrap();
    let (machine, said) = open(&folder);
    let mut machine = machine.unwrap();
    let known = state.nodes.keys().map(|id| (*id, Versions { min: 1, max: to }));
    let raise = Command::RaiseVersion(RaiseVersion {
        to,
        known: known.collect(),
    });
    let mut entry: reeve_domain::Entry = rmp_serde::from_slice(&later(1, raise)).unwrap();
    entry.policy_rev = state.policy_rev;
    let entry = Entry {
        log_id: log_id(1, 1, 41),
        payload: EntryPayload::Normal(Payload(rmp_serde::to_vec_named(&entry).unwrap().into())),
    };
    assert!(
        machine
            .apply(futures::stream::iter([Ok((entry, None))]))
            .await
            .is_err()
    );
    let said = said.lock();
    assert!(
        said.contains(&format!("log entry 41: this cluster is at version {to}")),
        "{said}"
    );
}

fn founded(version: u32) -> State {
    let mut state = State::default();
    (state.cluster.id, state.cluster.version) = ("c-1".into(), version);
    state
}

fn at(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(1, 1, index)),
        ..Default::default()
    }
}

/// The bytes of a State with one more field.
fn with_a_later_field(state: &State) -> Vec<u8> {
    let mut bytes = rmp_serde::to_vec_named(state).unwrap();
    // A map of more than fifteen pairs: its type, and their number in two bytes.
    assert_eq!(bytes[0], 0xde);
    bytes[2] += 1;
    bytes.extend(rmp_serde::to_vec(&"law").unwrap());
    bytes.extend(rmp_serde::to_vec(&"vn").unwrap());
    bytes
}

#[tokio::test]
async fn a_snapshot_of_a_later_release_is_no_damage_and_is_not_taken_in() {
    let plain = |state: &State| rmp_serde::to_vec_named(state).unwrap();
    let cases = [
        (plain(&founded(9)), "this cluster is at version 9"),
        (
            with_a_later_field(&founded(9)),
            "a State of cluster version 9, which",
        ),
    ];
    for (bytes, what) in cases {
        // Its own, as it starts.
        let folder = tempfile::tempdir().unwrap();
        let make = |folder: &TempDir| {
            let mut writer = store(folder).writer(&at(7)).unwrap();
            std::io::Write::write_all(&mut writer, &bytes).unwrap();
            writer.finish().unwrap()
        };
        store(&folder).take_in(&make(&folder), &at(7)).unwrap();
        let (machine, said) = open(&folder);
        assert!(machine.is_err());
        assert!(said.lock().contains(what), "{}", said.lock());
        let kept = store(&folder).newest().unwrap();
        assert!(kept.is_some(), "it was set aside");

        // The leader's, as it comes.
        let folder = tempfile::tempdir().unwrap();
        let (machine, said) = open(&folder);
        let mut machine = machine.unwrap();
        assert!(machine.install_snapshot(&at(7), make(&folder)).await.is_err());
        assert!(said.lock().contains(what), "{}", said.lock());
        assert!(store(&folder).newest().unwrap().is_none(), "it was taken in");
    }
}
