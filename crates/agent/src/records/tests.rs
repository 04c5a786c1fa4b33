//! What is kept is whole, was signed, and is the newest, whatever happens to the agent and its disk.

use std::time::{Duration, SystemTime};

use reeve_domain::record::{NUMBER_MAX, Statement};
use reeve_domain::words::Name;
use reeve_domain::{Revision, Stamp, TenantId};
use reeve_proto::identity::{Credentials, Issuer, KeyRequest, SpiffeId, Usage, ca};
use tempfile::TempDir;

use super::*;

const AGENT: &str = "vn-1";
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that signs, and a folder that keeps.
struct World {
    dir: TempDir,
    root_pem: String,
    issuer: Issuer,
    node: Credentials,
}

impl World {
    fn new() -> World {
        World::of("hospital")
    }

    fn of(cluster: &str) -> World {
        let now = SystemTime::now();
        let root = ca::root(cluster, now).unwrap();
        let issuing = ca::issuing(&root, cluster, now).unwrap();
        let issuer = Issuer::new(&issuing.cert_pem, &issuing.key_pem, &root.cert_pem).unwrap();
        let usage = Usage::Node {
            hosts: vec!["localhost".into()],
        };
        World {
            dir: tempfile::tempdir().unwrap(),
            node: leaf(
                &issuer,
                &root.cert_pem,
                &format!("spiffe://{cluster}/node/1"),
                &usage,
            ),
            root_pem: root.cert_pem,
            issuer,
        }
    }

    fn open(&self) -> Result<Store, Error> {
        let judge = Judge::new("hospital", &self.root_pem).unwrap();
        Store::open(self.dir.path(), AGENT, judge)
    }

    /// What the registry says of a tenant at a revision.
    fn said(&self, tenant: u64, revision: u64) -> Signed {
        record::sign(&statement(AGENT, tenant, revision), &self.node).unwrap()
    }

    fn file(&self, tenant: u64) -> PathBuf {
        let name = format!("{}.record", TenantId::from_random(tenant));
        self.dir.path().join("records").join(name)
    }

    fn exported(&self) -> Vec<Signed> {
        let file = self.dir.path().join("all.records");
        export(self.dir.path(), AGENT, &file).unwrap();
        Export::from_bytes(&fs::read(file).unwrap()).unwrap().records
    }
}

fn leaf(issuer: &Issuer, root_pem: &str, id: &str, usage: &Usage) -> Credentials {
    let request = KeyRequest::generate().unwrap();
    let hour = Duration::from_secs(3_600);
    let id = SpiffeId::parse(id).unwrap();
    let issued = issuer.issue(&request.csr_pem, &id, usage, hour, SystemTime::now());
    Credentials::from_pem(&issued.unwrap().chain_pem, &request.key_pem, root_pem).unwrap()
}

fn statement(agent: &str, tenant: u64, revision: u64) -> Statement {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Statement {
        format: FORMAT,
        cluster: "hospital".into(),
        cluster_id: "c-1".into(),
        agent: Name::parse(agent).unwrap(),
        revision: Revision(revision),
        at: Stamp(at.as_millis() as u64),
        said: Said::Gone(TenantId::from_random(tenant)),
    }
}

fn revisions(store: &Store) -> Vec<u64> {
    store.held().iter().map(|held| held.revision).collect()
}

/// The registry's word on a tenant that is here, with a credential of this version.
fn hosts(tenant: u64, revision: u64, credential: u64) -> Statement {
    let sealed = r#"{"kid":"k","version":1,"nonce":[],"aad":"","ciphertext":[]}"#;
    let said = format!(
        r#"{{"Hosts":{{"id":"{}","slug":"cho-ray","status":"Active","access_mode":"ReadWrite","regions":[],
        "class":"Shared","claims":[],"placement":{{"group":"vn-1","number":1}},"schema":{{"channel":"ehr","target":0,
        "applied":6,"checksum":""}},"allowlist":[],"connections_max":50,"settings":{{}},"credential":{{"version":
        {credential},"active":"A","a":{sealed},"b":{sealed}}},"legal_hold":false,"created":1}}}}"#,
        TenantId::from_random(tenant)
    );
    Statement {
        said: serde_json::from_str(&said).unwrap(),
        ..statement(AGENT, tenant, revision)
    }
}

#[test]
fn the_version_of_a_credential_is_the_newest_that_was_kept() {
    let world = World::new();
    let keeper = Keeper::start(world.open().unwrap()).unwrap();
    let version = |keeper: &Keeper| keeper.credential_version(&TenantId::from_random(1));
    assert_eq!(version(&keeper), None);
    for (revision, credential) in [(7, 1), (9, 2), (8, 1)] {
        let said = record::sign(&hosts(1, revision, credential), &world.node).unwrap();
        keeper.store.keep(&said).unwrap();
    }
    assert_eq!(version(&keeper), Some(2));
    let said = record::sign(&hosts(2, 9, 5), &world.node).unwrap();
    keeper.store.keep(&said).unwrap();
    assert_eq!(version(&keeper), Some(2), "another's is not its own");
}

#[test]
fn what_was_kept_is_there_after_a_restart_and_an_older_word_never_replaces_it() {
    let world = World::new();
    let store = world.open().unwrap();
    assert!(store.is_empty());
    assert!(store.keep(&world.said(1, 7)).unwrap(), "it is new");
    for older in [7, 6] {
        assert!(
            !store.keep(&world.said(1, older)).unwrap(),
            "revision {older} is no news"
        );
    }
    drop(store);
    let store = world.open().unwrap();
    assert_eq!(revisions(&store), [7]);
    assert!(!store.keep(&world.said(1, 6)).unwrap());
    assert!(store.keep(&world.said(1, 8)).unwrap());
    let kept: Vec<u64> = world
        .exported()
        .iter()
        .map(|signed| record::read(signed).unwrap().revision.0)
        .collect();
    assert_eq!(kept, [8]);
}

#[test]
fn a_crash_between_writing_and_renaming_leaves_what_was_there() {
    let world = World::new();
    let (old, new) = (world.said(1, 7), world.said(1, 8));
    world.open().unwrap().keep(&old).unwrap();
    // The new record as far as it came: nothing, a piece, or all of it under a draft's name.
    let body = rmp_serde::to_vec_named(&new).unwrap();
    let whole = [&crc32c::crc32c(&body).to_le_bytes()[..], &body].concat();
    let draft = world.file(1).with_extension("draft");
    for cut in [0, whole.len() / 2, whole.len()] {
        fs::write(&draft, &whole[..cut]).unwrap();
        assert_eq!(
            world.exported(),
            std::slice::from_ref(&old),
            "a draft was never said"
        );
        let store = world.open().unwrap();
        assert_eq!(revisions(&store), [7], "{cut} bytes were written");
        assert!(!draft.exists(), "what is unfinished does not stay");
    }
    // The registry hears that 7 is held, and says 8 again.
    assert!(world.open().unwrap().keep(&new).unwrap());
    assert_eq!(world.exported(), [new]);
}

#[test]
fn a_damaged_file_is_taken_away_whichever_byte_it_is() {
    let world = World::new();
    world.open().unwrap().keep(&world.said(1, 7)).unwrap();
    world.open().unwrap().keep(&world.said(2, 9)).unwrap();
    let whole = fs::read(world.file(1)).unwrap();
    let cut = |length: usize| whole[..length].to_vec();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let flips = (0..whole.len()).step_by(7).map(flipped);
    for damaged in flips.chain([0, 3, CRC_BYTES, whole.len() - 1].map(cut)) {
        fs::write(world.file(1), &damaged).unwrap();
        assert_eq!(world.exported().len(), 1, "what is damaged is not given out");
        let store = world.open().unwrap();
        assert_eq!(revisions(&store), [9], "and not counted, so that it comes again");
        assert!(!world.file(1).exists());
    }
    assert!(world.open().unwrap().keep(&world.said(1, 7)).unwrap());
    assert_eq!(world.exported().len(), 2);
}

#[test]
fn what_no_node_of_this_cluster_signed_for_this_agent_is_not_kept() {
    let (world, stranger) = (World::new(), World::new());
    let store = world.open().unwrap();
    let mut altered = world.said(1, 7);
    altered.signature.reverse();
    let mut other_words = world.said(1, 7);
    other_words.statement = world.said(2, 9).statement;
    let agent = leaf(
        &world.issuer,
        &world.root_pem,
        "spiffe://hospital/agent/vn-1",
        &Usage::Client,
    );
    let by_an_agent = record::sign(&statement(AGENT, 1, 7), &agent).unwrap();
    let for_another = record::sign(&statement("vn-2", 1, 7), &world.node).unwrap();
    let refused = |signed: &Signed| store.keep(signed).unwrap_err();
    for signed in [&altered, &other_words, &by_an_agent, &stranger.said(1, 7)] {
        assert!(matches!(refused(signed), Error::Record(_)), "{}", refused(signed));
    }
    assert!(matches!(refused(&for_another), Error::Other(agent) if agent == "vn-2"));
    assert!(store.is_empty());
    assert!(world.exported().is_empty(), "nothing of it is on the disk");
}

#[test]
fn a_file_that_somebody_else_signed_is_not_counted_and_waits_for_a_true_one() {
    let (world, stranger) = (World::new(), World::new());
    stranger.open().unwrap().keep(&stranger.said(1, 90)).unwrap();
    drop(world.open().unwrap());
    fs::copy(stranger.file(1), world.file(1)).unwrap();
    let store = world.open().unwrap();
    assert!(
        store.is_empty(),
        "a revision that nobody said would keep the true one away"
    );
    assert!(world.file(1).exists(), "with the right root it may be true");
    let signed = world.said(1, 7);
    assert!(store.keep(&signed).unwrap());
    assert_eq!(world.exported(), [signed]);
}

#[test]
fn two_agents_never_write_into_one_folder() {
    let world = World::new();
    let first = world.open().unwrap();
    first.keep(&world.said(1, 7)).unwrap();
    let told = world.open().err().unwrap().to_string();
    assert!(
        told.contains("records is in use") && told.contains("stop it first"),
        "{told}"
    );
    assert_eq!(world.exported().len(), 1, "an export needs no lock");
    drop(first);
    assert_eq!(revisions(&world.open().unwrap()), [7]);
}

#[test]
fn two_writers_at_once_leave_the_newest_of_each_tenant() {
    const NEWEST: u64 = 12;
    let world = World::new();
    let store = world.open().unwrap();
    let say = |revisions: Vec<u64>| {
        for revision in revisions {
            for tenant in [1, 2] {
                store.keep(&world.said(tenant, revision)).unwrap();
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| say((1..=NEWEST).collect()));
        scope.spawn(|| say((1..=NEWEST).rev().collect()));
    });
    assert_eq!(revisions(&store), [NEWEST, NEWEST]);
    drop(store);
    assert_eq!(
        revisions(&world.open().unwrap()),
        [NEWEST, NEWEST],
        "the disk says the same"
    );
}

#[test]
fn after_one_that_was_not_kept_none_is_kept_until_the_next_session() {
    let world = World::new();
    let keeper = Keeper::start(world.open().unwrap()).unwrap();
    let mut altered = world.said(2, 8);
    altered.signature.reverse();
    keeper.take(vec![
        world.said(1, 7).into(),
        altered.into(),
        world.said(3, 9).into(),
    ]);
    until(|| keeper.counts() == (1, 1, 2), &keeper);
    assert_eq!(
        keeper.begin().len(),
        1,
        "the registry hears what is held, and says the rest again"
    );
    keeper.take(vec![world.said(2, 8).into(), world.said(3, 9).into()]);
    until(|| keeper.counts() == (3, 3, 2), &keeper);
}

fn until(is_so: impl Fn() -> bool, keeper: &Keeper) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", keeper.counts());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_revision_that_no_registry_gave_is_not_kept_and_keeps_no_later_one_out() {
    let world = World::new();
    let store = world.open().unwrap();
    for absurd in [NUMBER_MAX + 1, u64::MAX - 1, u64::MAX] {
        let refused = store.keep(&world.said(1, absurd)).unwrap_err().to_string();
        assert!(refused.contains(&absurd.to_string()), "{refused}");
        assert!(store.is_empty());
    }
    assert!(store.keep(&world.said(1, 7)).unwrap());
    assert_eq!(revisions(&store), [7]);
    drop(store);

    // One that an earlier program kept does not count, is asked for again, and keeps no true one out.
    let body = rmp_serde::to_vec_named(&world.said(1, u64::MAX)).unwrap();
    let whole = [&crc32c::crc32c(&body).to_le_bytes()[..], &body].concat();
    fs::write(world.file(1), whole).unwrap();
    let store = world.open().unwrap();
    assert!(store.is_empty());
    assert!(store.keep(&world.said(1, 8)).unwrap());
    assert_eq!(revisions(&store), [8]);
}
