//! What nodes keep and say to each other, as the bytes that they had: a data folder, log payloads, messages. Each is
//! read by this program, and what it still writes it writes alike. `UPDATE=1` adds what is missing.

use std::fs;
use std::path::{Path, PathBuf};

use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::storage::RaftLogStorage;
use openraft::{BasicNode, EntryPayload, Membership, RaftLogReader};
use reeve_domain::entry::FORMAT;
use reeve_domain::group::Region;
use reeve_domain::{Actor, Answer, Command, Refusal, Revision, Stamp, State};

use super::cluster::name;
use super::store::append_all;
use crate::consensus::decode::decode;
use crate::consensus::log::LogStore;
use crate::consensus::propose::{Forwarded, Verdict};
use crate::consensus::snapshot::SnapshotStore;
use crate::consensus::types::{C, Committed, Entry, Payload, SnapshotMeta, StoredMembership, Vote, log_id};
use crate::consensus::{Fatal, wal};
use crate::gold;
use crate::vault::Sealer;

/// The State that the domain's own golden file holds.
const STATE: &str = include_str!("../../../../domain/tests/golden/state.v1/busy.hex");

fn state() -> State {
    let text: String = STATE.split_whitespace().collect();
    rmp_serde::from_slice(&hex::decode(text).unwrap()).unwrap()
}

fn vote() -> Vote {
    Vote {
        leader_id: LeaderId { term: 3, node_id: 2 },
        committed: true,
    }
}

fn command() -> reeve_domain::Entry {
    let region = Region {
        name: name("vn"),
        display_name: "Việt Nam".into(),
    };
    reeve_domain::Entry {
        format: FORMAT,
        stamp: Stamp(1_700_000_000_000),
        actor: Actor::Pilot,
        principal_rev: 0,
        policy_rev: 1,
        request: None,
        seed: Default::default(),
        command: Command::CreateRegion(region),
    }
}

fn membership() -> Membership<u64, BasicNode> {
    let node = |id: u64| (id, BasicNode::new(format!("127.0.0.1:{id}")));
    let nodes: std::collections::BTreeMap<_, _> = [1, 2, 3, 4].map(node).into();
    Membership::new(vec![[1, 2].into(), [1, 2, 3].into()], nodes).unwrap()
}

fn entries() -> Vec<Entry> {
    let payload = Payload(rmp_serde::to_vec_named(&command()).unwrap().into());
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(payload),
        EntryPayload::Membership(membership()),
    ];
    (1..)
        .zip(payloads)
        .map(|(index, payload)| Entry {
            log_id: log_id(2, 1, index),
            payload,
        })
        .collect()
}

fn meta() -> SnapshotMeta {
    let at = log_id(2, 1, 2);
    SnapshotMeta {
        last_log_id: Some(at),
        last_membership: StoredMembership::new(Some(at), membership()),
    }
}

/// The payloads as they are sealed.
#[test]
fn every_log_payload_is_read_as_it_was_written() {
    for entry in entries() {
        let kind = match &entry.payload {
            EntryPayload::Blank => "Blank",
            EntryPayload::Normal(_) => "Normal",
            EntryPayload::Membership(_) => "Membership",
        };
        gold::check(&format!("log.v1/{kind}"), &entry.payload);
        if let EntryPayload::Normal(payload) = &entry.payload {
            assert_eq!(decode(2, &payload.0), Ok(command()));
        }
    }
}

fn folder() -> PathBuf {
    gold::folder().join("folder.v1")
}

fn sealer() -> Sealer {
    Sealer::new(&[7; 32])
}

fn open(folder: &Path) -> LogStore {
    LogStore::open(folder, sealer(), Fatal::new(|why| panic!("{why}"))).unwrap()
}

async fn write(folder: &Path) {
    let mut log = open(folder);
    append_all(&mut log, entries()).await;
    log.save_vote(&vote()).await.unwrap();
    log.save_mark().unwrap();
    let snapshots = SnapshotStore::open(folder.join("snapshots"), "hospital", sealer()).unwrap();
    snapshots.write(&meta(), &state(), || Ok(())).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The log, the vote, the durable mark and a snapshot, sealed under a key of the test's.
#[tokio::test]
async fn a_data_folder_is_read_as_it_was_written() {
    if gold::updates() && !folder().exists() {
        write(&folder()).await;
    }
    // Opening writes: it is a copy that is opened.
    let here = tempfile::tempdir().unwrap();
    copy(&folder(), here.path());
    let mut log = open(here.path());
    let read = log.try_get_log_entries(1..10).await.unwrap();
    assert_eq!(read, entries());
    let kept = log.read_vote().await.unwrap().unwrap();
    assert_eq!(wal::vote_to_wal(&kept), wal::vote_to_wal(&vote()));
    let snapshots = SnapshotStore::open(here.path().join("snapshots"), "hospital", sealer()).unwrap();
    let (found, whole) = snapshots.best(None).unwrap().unwrap();
    assert_eq!((found, &whole), (meta(), &state()));

    let anew = tempfile::tempdir().unwrap();
    write(anew.path()).await;
    let mark = |folder: &Path| fs::read_to_string(folder.join("durable.json")).unwrap();
    assert_eq!(
        mark(anew.path()),
        mark(&folder()),
        "the mark is written in another way now"
    );
    // Each seal has its own nonce and tests cut smaller blocks, so what lies under them is compared.
    let blocks = |folder: &Path| {
        let store = SnapshotStore::open(folder.join("snapshots"), "hospital", sealer()).unwrap();
        let (_, file) = store.newest().unwrap().unwrap();
        let mut reader = store.blocks(&file).unwrap();
        std::iter::from_fn(|| reader.next_block().unwrap())
            .collect::<Vec<_>>()
            .concat()
    };
    assert_eq!(blocks(anew.path()), blocks(here.path()));
}

#[test]
fn every_message_between_nodes_is_read_as_it_was_written() {
    let last = Some(log_id(2, 1, 3));
    let append = AppendEntriesRequest::<C> {
        vote: vote(),
        prev_log_id: Some(log_id(1, 1, 0)),
        entries: entries(),
        leader_commit: last,
    };
    gold::kept("message.v1/append_request", &append);
    let responses = [
        ("success", AppendEntriesResponse::<C>::Success),
        ("partial", AppendEntriesResponse::PartialSuccess(last)),
        ("conflict", AppendEntriesResponse::Conflict),
        ("higher_vote", AppendEntriesResponse::HigherVote(vote())),
    ];
    for (kind, response) in responses {
        gold::kept(&format!("message.v1/append_response_{kind}"), &response);
    }
    let streamed: [(&str, StreamAppendResult<C>); 3] = [
        ("success", Ok(last)),
        ("conflict", Err(StreamAppendError::Conflict(log_id(2, 1, 3)))),
        ("higher_vote", Err(StreamAppendError::HigherVote(vote()))),
    ];
    for (kind, result) in streamed {
        gold::check(&format!("message.v1/stream_result_{kind}"), &result);
    }
    let mut ask = VoteRequest::<C>::new(vote(), last);
    ask.leadership_transfer = true;
    gold::check("message.v1/vote_request", &ask);
    gold::check(
        "message.v1/vote_response",
        &VoteResponse::<C>::new(vote(), last, true),
    );
    gold::check("message.v1/snapshot_head", &(vote(), meta()));
    gold::check(
        "message.v1/snapshot_response",
        &SnapshotResponse::<C>::new(vote()),
    );
    gold::check(
        "message.v1/transfer_request",
        &TransferLeaderRequest::<C>::new(vote(), 3, last),
    );
}

#[test]
fn every_proposal_and_verdict_is_read_as_it_was_written() {
    let forwarded = Forwarded {
        entry: command(),
        caller: vec![1, 2, 3],
    };
    let read = gold::kept("message.v1/forwarded", &forwarded);
    assert_eq!((read.entry, read.caller), (forwarded.entry, forwarded.caller));
    let committed = |outcome| {
        Verdict::Committed(Committed {
            revision: Revision(9),
            outcome,
        })
    };
    let verdicts = [
        ("Committed", committed(Ok(Answer::Done))),
        ("Committed_refusal", committed(Err(Refusal::TokenUsed))),
        ("Refused", Verdict::Refused(Refusal::PolicyChanged)),
        ("Again", Verdict::Again),
    ];
    for (kind, verdict) in verdicts {
        gold::kept(&format!("message.v1/verdict_{kind}"), &verdict);
    }
    assert_eq!(gold::variants::<Verdict>(), ["Committed", "Refused", "Again"]);
}
