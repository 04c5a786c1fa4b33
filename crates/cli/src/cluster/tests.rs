//! What a cluster's nodes said, and what is shown, found and answered of it, letter by letter.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use reeve_client::v1;

use super::alarms::{Level, alarms};
use super::check::Checked;
use super::look::Picture;
use crate::show::Show;
use crate::show::cluster::Cluster;

const NOW: i64 = 1_795_472_100;

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn vitals() -> v1::Vitals {
    let end = |role: &str, days: i64| v1::vitals::CertificateEnd {
        role: role.into(),
        not_after: at(NOW + days * 86_400),
    };
    v1::Vitals {
        program_version: "0.1.0".into(),
        now: at(NOW),
        last_index: 42,
        committed_index: 42,
        hears_quorum: true,
        disk_free_bytes: 9 << 30,
        disk_total_bytes: 20 << 30,
        fsync_p99: Some(prost_types::Duration {
            seconds: 0,
            nanos: 1_900_000,
        }),
        log_bytes: 3 << 20,
        archive_whole: true,
        audit_chains_whole: true,
        audit_read_time: at(NOW - 60),
        backup_every: Some(seconds(3_600)),
        backup_time: at(NOW - 600),
        certificates: vec![end("node", 6), end("issuer", 300), end("root", 3_000)],
        ..Default::default()
    }
}

fn said(id: u64) -> v1::GetClusterResponse {
    use v1::node::Role;
    let node = |id: u64, role: Role| v1::Node {
        id,
        api_address: format!("n{id}.example:7400"),
        peer_address: format!("n{id}.example:7401"),
        role: role.into(),
        matched_index: if id == 2 { 0 } else { 42 },
        last_heard: (id != 2).then(|| seconds(0)),
    };
    v1::GetClusterResponse {
        cluster: "hospital".into(),
        cluster_id: "c1".into(),
        cluster_version: 1,
        leader_id: 2,
        term: 3,
        applied_index: 42,
        nodes: vec![
            node(1, Role::Follower),
            node(2, Role::Leader),
            node(3, Role::Follower),
        ],
        freshness: Some(v1::Freshness {
            revision: 40,
            staleness: Some(seconds(0)),
            stale: false,
            node_id: id,
        }),
        state_hash: "ab".into(),
        tenants: 2,
        vitals: Some(vitals()),
        ..Default::default()
    }
}

/// A cluster of three where these nodes say something else.
fn picture(change: impl Fn(u64, &mut v1::GetClusterResponse), silent: &[u64]) -> Picture {
    let told = |id: u64| {
        let mut said = said(id);
        change(id, &mut said);
        said
    };
    let answers = [1, 2, 3].map(|id| match silent.contains(&id) {
        true => (id, Err("connection refused".to_owned())),
        false => (id, Ok(told(id))),
    });
    let first = [1, 3, 2].into_iter().find(|id| !silent.contains(id)).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW as u64);
    Picture::of(told(first), answers.into(), now)
}

fn kinds(picture: &Picture) -> Vec<(&'static str, u64)> {
    let real = alarms(picture)
        .into_iter()
        .filter(|alarm| alarm.level > Level::Note);
    real.map(|alarm| (alarm.kind, alarm.node_id)).collect()
}

/// One node says this of itself; what is found.
fn found(change: impl Fn(&mut v1::Vitals)) -> Vec<(&'static str, u64)> {
    let change = |id: u64, said: &mut v1::GetClusterResponse| {
        if let (3, Some(vitals)) = (id, said.vitals.as_mut()) {
            change(vitals);
        }
    };
    kinds(&picture(change, &[]))
}

#[test]
fn a_cluster_that_is_well_fits_a_narrow_terminal() {
    let expected = "\
cluster  hospital
id       c1
leader   node 2, term 3
quorum   3 of 3 voters, bears the loss of 1
applied  index 42, revision 40
tenants  2
told by  node 2

NODE  ROLE      API              LAG  HEARD  APPLIED  STALE
1     follower  n1.example:7400  0    0 ms   42       0 ms
2     leader    n2.example:7400  0    -      42       0 ms
3     follower  n3.example:7400  0    0 ms   42       0 ms

NODE  DISK  FREE     FSYNC P99  LOG      ARCHIVE  VERSION
1     ok    9.0 GiB  1.9 ms     3.0 MiB  whole    0.1.0
2     ok    9.0 GiB  1.9 ms     3.0 MiB  whole    0.1.0
3     ok    9.0 GiB  1.9 ms     3.0 MiB  whole    0.1.0

no alarms";
    let text = Cluster::from(&picture(|_, _| {}, &[])).table();
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn a_node_that_does_not_answer_is_a_row_that_says_so() {
    let shown = Cluster::from(&picture(|_, _| {}, &[3]));
    let text = shown.table();
    assert!(
        text.contains("quorum   2 of 3 voters, bears the loss of 0"),
        "{text}"
    );
    assert!(
        text.contains("\n3     follower  n3.example:7400  0    0 ms   -        no answer\n"),
        "{text}"
    );
    assert!(
        text.contains("\n3     -     -        -          -        -        -\n"),
        "{text}"
    );
    let alarm = "\n! node 3 does not answer at n3.example:7400: connection refused\n  start it, or look at the network between";
    assert!(text.contains(alarm), "{text}");
    let json: serde_json::Value = serde_json::from_str(&shown.json()).unwrap();
    assert_eq!(json["nodes"][2]["unreachable"], "connection refused");
    assert_eq!(json["nodes"][0]["disk"], "ok");
    assert_eq!(json["alarms"][0]["kind"], "unreachable");
    assert_eq!(json["quorum"]["spare"], 0);
}

#[test]
fn without_a_quorum_nobody_leads_whoever_is_still_named() {
    let lone = |_, said: &mut v1::GetClusterResponse| {
        said.vitals.as_mut().unwrap().hears_quorum = false;
    };
    let picture = picture(lone, &[2, 3]);
    assert_eq!(picture.leader(), None);
    let text = Cluster::from(&picture).table();
    assert!(text.contains("leader   nobody, last term 3"), "{text}");
    assert!(
        text.contains("quorum   lost: 1 of 3 voters, 2 are needed"),
        "{text}"
    );
    assert!(!text.contains("2     leader"), "{text}");
    assert!(kinds(&picture).contains(&("no_leader", 0)) && kinds(&picture).contains(&("quorum_lost", 0)));
}

#[test]
fn each_thing_that_is_wrong_is_found_and_nothing_else() {
    assert_eq!(found(|_| {}), []);
    assert_eq!(
        found(|v| v.disk_full = true),
        [("disk_full", 3), ("quorum_at_edge", 0)]
    );
    assert_eq!(found(|v| v.disk_slow = true), [("disk_slow", 3)]);
    assert_eq!(found(|v| v.fsync_p99 = Some(seconds(1))), [("fsync_slow", 3)]);
    assert_eq!(found(|v| v.archive_whole = false), [("archive_hole", 3)]);
    assert_eq!(found(|v| v.audit_chains_whole = false), [("audit_broken", 3)]);
    assert_eq!(
        found(|v| v.audit_read_time = at(NOW - 26 * 3_600)),
        [("audit_unread", 3)]
    );
    assert_eq!(
        found(|v| v.program_version = "0.2.0".into()),
        [("mixed_versions", 0)]
    );
    assert_eq!(found(|v| v.now = at(NOW - 60)), [("clock_skew", 3)]);
    assert_eq!(
        found(|v| v.certificates[0].not_after = at(NOW + 86_400)),
        [("certificate_ends", 3)]
    );
    let old = |_, said: &mut v1::GetClusterResponse| {
        said.vitals.as_mut().unwrap().backup_time = at(NOW - 3 * 3_600);
    };
    assert_eq!(kinds(&picture(old, &[])), [("backup_overdue", 0)]);
    let lags = |_, said: &mut v1::GetClusterResponse| {
        said.vitals.as_mut().unwrap().last_index = 5_000;
        said.nodes[1].matched_index = 5_000;
        said.nodes[2].matched_index = 5_000;
    };
    assert_eq!(kinds(&picture(lags, &[])), [("lagging", 1)]);
    let silent = |_, said: &mut v1::GetClusterResponse| said.nodes[0].last_heard = Some(seconds(60));
    assert_eq!(kinds(&picture(silent, &[])), [("silent", 1)]);
    let odd = |id, said: &mut v1::GetClusterResponse| {
        if id == 1 {
            said.state_hash = "cd".into();
        }
    };
    assert_eq!(kinds(&picture(odd, &[])), [("diverged", 0)]);
    let behind = |id, said: &mut v1::GetClusterResponse| {
        if id == 1 {
            said.state_hash = "cd".into();
            said.freshness.as_mut().unwrap().revision = 39;
        }
    };
    assert_eq!(
        kinds(&picture(behind, &[])),
        [],
        "another revision has another hash"
    );
}

#[test]
fn a_check_ticks_what_is_well_and_says_what_to_do_about_the_rest() {
    let well = Checked::of(&picture(|_, _| {}, &[]));
    assert!(well.passed);
    let text = well.table();
    assert_eq!(text.matches("✓ ").count(), 16, "{text}");
    assert!(text.ends_with("\nwell"), "{text}");

    let full = |id, said: &mut v1::GetClusterResponse| {
        said.vitals.as_mut().unwrap().disk_full = id == 3;
    };
    let ill = Checked::of(&picture(full, &[]));
    assert!(!ill.passed);
    let text = ill.table();
    let expected = "✗ every disk has room and keeps up\n    node 3 has a full disk: 9.0 GiB are free\n      fix: free space there;";
    assert!(
        text.contains(expected) && text.ends_with("\n1 failed, 1 warning"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&ill.json()).unwrap();
    assert_eq!(
        (&json["passed"], &json["checks"][8]["result"]),
        (&false.into(), &"failure".into())
    );
}

#[test]
fn a_node_that_cannot_keep_backups_says_why_and_what_helps() {
    let trouble = |vitals: &mut v1::Vitals| {
        vitals.backup_trouble = Some(v1::vitals::BackupTrouble {
            reason: "no_bucket".into(),
            what: "there is no such bucket (NoSuchBucket)".into(),
            fix: "make the bucket".into(),
        });
    };
    assert_eq!(found(trouble), [("backup_failing", 3)]);
    let change = |id: u64, said: &mut v1::GetClusterResponse| {
        if let (3, Some(vitals)) = (id, said.vitals.as_mut()) {
            trouble(vitals);
        }
    };
    let alarm = alarms(&picture(change, &[]))
        .into_iter()
        .find(|alarm| alarm.kind == "backup_failing")
        .unwrap();
    assert_eq!(
        alarm.what,
        "node 3 cannot keep backups (no_bucket): there is no such bucket (NoSuchBucket)"
    );
    assert_eq!(alarm.fix, "make the bucket");
}
