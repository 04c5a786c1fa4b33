//! What a survivor's log holds counts, whether or not it knows it to be committed.

use openraft::EntryPayload;
use openraft::storage::RaftLogStorage;
use reeve_domain::audit::Seed;
use reeve_domain::command::Found;
use reeve_domain::entry::FORMAT;
use reeve_domain::group::Region;
use reeve_domain::secret::{Parts, Sealed};
use reeve_domain::words::Name;
use reeve_domain::{Actor, Command, Entry, NodeId, Stamp};

use super::store::append_all;
use crate::consensus::log::LogStore;
use crate::consensus::types::{self, Payload, log_id};
use crate::consensus::{Consensus, Fatal, Survivor, read_survivor};
use crate::vault::Sealer;

const ADMIN: &str = "spiffe://test/person/ann";

fn sealed() -> Sealed {
    let parts = Parts {
        kid: "k",
        version: 1,
        nonce: &[0; 12],
        aad: "a",
        ciphertext: &[],
    };
    Sealed::new(parts).unwrap()
}

fn region(name: &str) -> Region {
    Region {
        name: Name::parse(name).unwrap(),
        display_name: name.into(),
    }
}

fn logged(index: u64, actor: Actor, rev: u64, command: Command) -> types::Entry {
    let entry = Entry {
        format: FORMAT,
        stamp: Stamp(index),
        actor,
        principal_rev: rev,
        policy_rev: rev,
        request: None,
        seed: Seed::default(),
        command,
    };
    let payload = rmp_serde::to_vec_named(&entry).unwrap();
    types::Entry {
        log_id: log_id(1, 1, index),
        payload: EntryPayload::Normal(Payload(payload.into())),
    }
}

#[tokio::test]
async fn everything_in_the_log_counts() {
    let folder = tempfile::tempdir().unwrap();
    Consensus::make_folder(folder.path(), "test", 3).unwrap();
    let sealer = Sealer::new(&[1; 32]);
    let mut log = LogStore::open(folder.path(), sealer.clone(), Fatal::new(|why| panic!("{why}"))).unwrap();
    let found = Command::Found(Found {
        cluster: Name::parse("test").unwrap(),
        cluster_id: "c".into(),
        root_ca_pem: "root".into(),
        issuing_chain_pem: "chain".into(),
        issuing_key: sealed(),
        audit_key: sealed(),
        regions: vec![],
        admin: ADMIN.into(),
        node: NodeId(1),
        api_address: "127.0.0.1:1".into(),
        peer_address: "127.0.0.1:2".into(),
        version: reeve_domain::Versions::KNOWN.max,
    });
    let mut entries = vec![logged(0, Actor::Founder, 0, found)];
    for index in 1..=2_500 {
        let command = Command::CreateRegion(region(&format!("r{index}")));
        entries.push(logged(index, Actor::Principal(ADMIN.into()), 1, command));
    }
    append_all(&mut log, entries).await;
    log.save_committed(Some(log_id(1, 1, 2))).await.unwrap();
    log.save_mark().unwrap();
    drop(log);

    let taken = Survivor::take(folder.path()).unwrap();
    assert_eq!((taken.cluster.as_str(), taken.node_id), ("test", 3));
    assert!(Survivor::take(folder.path()).is_err(), "two read one folder");
    let mut heard = 0;
    let state = read_survivor(folder.path(), "test", sealer, |applied| {
        heard += u64::from(applied.record.is_some());
        Ok(())
    })
    .unwrap();
    assert_eq!((state.regions.len(), heard), (2_500, state.revision.0));
    drop(taken);
    std::fs::write(folder.path().join("diverged.json"), "{}").unwrap();
    let refused = Survivor::take(folder.path()).err().unwrap().to_string();
    assert!(refused.contains("stands in the way"), "{refused}");
    let nobody = tempfile::tempdir().unwrap();
    let refused = Survivor::take(nobody.path()).err().unwrap().to_string();
    assert!(refused.contains("is no data folder of a node"), "{refused}");
}
