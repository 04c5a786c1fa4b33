//! A bucket as the shelf: a real server of S3 over TLS that checks signatures, and fails as it is told.

use std::path::PathBuf;
use std::sync::Arc;

use reeve_bucket::{Fault, Options, Rule, SECRET_KEY, Server};
use reeve_domain::Command;
use reeve_domain::command::Witness;

use super::shelf::{ID, keep, keep_world};
use super::world::{World, key};
use crate::backup::shelf::source::Source;
use crate::backup::shelf::trouble::Reason;
use crate::backup::shelf::{Kept, Shelf, ShelfError, Slot};
use crate::config::S3;
use crate::mutant::{Mutant, simulated};

const URL: &str = "s3://backups/reeve";
const FIRST: u64 = 1_000_000_000_000;
const SECOND: u64 = FIRST + 60_000;

async fn server() -> Server {
    Server::start(Options::default()).await.unwrap()
}

fn settings(server: &Server) -> S3 {
    S3 {
        endpoint: server.endpoint(),
        ca_file: server.ca_file(),
        access_key_file: server.access_key_file(),
        secret_key_file: server.secret_key_file(),
        ..S3::default()
    }
}

fn open(server: &Server) -> Shelf {
    Shelf::open(URL, &settings(server), "hospital", ID).unwrap()
}

async fn newest(shelf: &Shelf) -> Option<Slot> {
    shelf.look().await.unwrap().newest()
}

fn name(kept: Kept) -> String {
    match kept {
        Kept::Ours(name) => name,
        Kept::Theirs => panic!("somebody else kept it"),
    }
}

/// So large that it goes in parts.
fn large() -> World {
    let mut world = World::busy();
    for _ in 0..36 {
        world.ask(Command::Witness(Witness {
            action: "snapshot.save".into(),
            resource: "cluster".into(),
            tenant: None,
            detail: "x".repeat(512 << 10),
        }));
    }
    world
}

#[tokio::test]
async fn what_is_kept_in_a_bucket_comes_back_whole() {
    let server = server().await;
    let shelf = open(&server);
    assert_eq!(newest(&shelf).await, None);
    server.plant("reeve/letter.txt", b"to somebody").unwrap();
    server
        .plant("other/hospital-0123456789-1000000000000.kept", b"{}")
        .unwrap();
    let other = Shelf::open(URL, &settings(&server), "hospital", "0123456780").unwrap();
    name(keep(&other, FIRST, 1, false).await.unwrap());
    let others = server.objects("reeve").unwrap();
    for slot in [SECOND, FIRST] {
        name(keep(&shelf, slot, 1, false).await.unwrap());
    }
    assert_eq!(newest(&shelf).await, Some(Slot(SECOND)));

    let source = format!("{URL}/hospital-0123456789-{SECOND}.kept");
    let source = Source::find(&source, &settings(&server)).await.unwrap();
    let report = source.verify(Some(Arc::new(key()))).await.unwrap();
    // Its keys are drawn anew, so that no two of these worlds have one hash; `verify` has compared it with the State.
    let (world, header) = (World::busy().state, report.inside.unwrap().header);
    assert_eq!(
        (header.revision, header.tenants, header.cluster_id),
        (world.revision.0, world.tenants.len() as u64, world.cluster.id)
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fetched");
    source.fetch(&file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap().len() as u64, report.bytes);

    let seen = shelf.look().await.unwrap();
    assert_eq!(shelf.tidy(&seen, 1, Slot(0)).await.unwrap(), 2);
    assert_eq!(newest(&shelf).await, Some(Slot(SECOND)));
    let left = server.objects("reeve").unwrap();
    assert!(others.iter().all(|name| left.contains(name)), "{left:?}");
    assert_eq!(left.len(), others.len() + 2);
    assert_eq!(server.objects("other").unwrap().len(), 1);
}

#[tokio::test]
async fn each_trouble_has_its_name_and_tells_no_key() {
    let server = server().await;
    let good = settings(&server);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("https://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let open_to_all = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(open_to_all.path(), SECRET_KEY).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(open_to_all.path(), mode).unwrap();
    let skewed = Server::start(Options {
        clock_skew_s: 0,
        ..Options::default()
    })
    .await
    .unwrap();

    type Change = Box<dyn Fn(&mut S3)>;
    let wrong = server.wrong_key_file();
    let also_wrong = wrong.clone();
    let elsewhere = settings(&skewed);
    let cases: Vec<(Reason, &str, Change)> = vec![
        (
            Reason::WrongKey,
            URL,
            Box::new(move |s3| s3.secret_key_file = wrong.clone()),
        ),
        (
            Reason::WrongKey,
            URL,
            Box::new(move |s3| s3.access_key_file = also_wrong.clone()),
        ),
        (Reason::NoBucket, "s3://no-such-bucket/reeve", Box::new(|_| {})),
        (
            Reason::Unreachable,
            URL,
            Box::new(move |s3| s3.endpoint = closed.clone()),
        ),
        (Reason::Untrusted, URL, Box::new(|s3| s3.ca_file = PathBuf::new())),
        (
            Reason::ClockSkew,
            URL,
            Box::new(move |s3| *s3 = elsewhere.clone()),
        ),
        (
            Reason::Credentials,
            URL,
            Box::new(|s3| s3.secret_key_file = "/no/such/file".into()),
        ),
        (
            Reason::Credentials,
            URL,
            Box::new(move |s3| s3.secret_key_file = open_to_all.path().to_owned()),
        ),
        (
            Reason::Settings,
            URL,
            Box::new(|s3| s3.ca_file = "/no/such/file".into()),
        ),
    ];
    for (reason, url, change) in cases {
        let mut s3 = good.clone();
        change(&mut s3);
        let looked = match Shelf::open(url, &s3, "hospital", ID) {
            Ok(shelf) => shelf.look().await.map(drop),
            Err(error) => Err(error),
        };
        let trouble = looked.unwrap_err().trouble();
        assert_eq!(trouble.reason, reason, "{trouble}");
        for hush in [SECRET_KEY, "not-the-key", "reeve-test-access"] {
            assert!(!format!("{trouble:?}").contains(hush), "{trouble}");
        }
    }
}

#[tokio::test]
async fn a_store_that_stumbles_is_asked_again() {
    let server = server().await;
    let shelf = open(&server);
    server.fail(Rule::first(2, "PUT", ".snapshot", Fault::Busy));
    server.fail(Rule::first(1, "PUT", ".snapshot", Fault::Cut { after: 1_000 }));
    server.fail(Rule::first(1, "PUT", ".kept", Fault::Busy));
    server.fail(Rule::first(
        1,
        "GET",
        ".snapshot",
        Fault::CutAnswer { after: 900 },
    ));
    server.fail(Rule::first(1, "GET", "list-type", Fault::Busy));
    name(keep(&shelf, FIRST, 1, false).await.unwrap());
    assert_eq!(newest(&shelf).await, Some(Slot(FIRST)));
    assert_eq!(server.failed(), 6, "{:?}", server.asked());
    assert_eq!(server.objects("reeve").unwrap().len(), 2);
}

#[tokio::test]
async fn a_mark_whose_answer_was_lost_is_known_as_ones_own() {
    let server = server().await;
    let shelf = open(&server);
    server.fail(Rule::first(1, "PUT", ".kept", Fault::LoseAnswer));
    name(keep(&shelf, FIRST, 1, false).await.unwrap());
    assert_eq!(server.failed(), 1);
    assert_eq!(newest(&shelf).await, Some(Slot(FIRST)));
    assert_eq!(server.objects("reeve").unwrap().len(), 2);
}

#[tokio::test]
async fn a_store_that_stands_still_is_given_up_and_nothing_counts() {
    let server = server().await;
    let s3 = S3 {
        patience_ms: 200,
        ..settings(&server)
    };
    let shelf = Shelf::open(URL, &s3, "hospital", ID).unwrap();
    for fault in [Fault::Stall { after: 1_000 }, Fault::Cut { after: 1_000 }] {
        server.fail(Rule::each("PUT", ".snapshot", fault));
        let error = keep(&shelf, FIRST, 1, false).await.unwrap_err();
        let reason = error.trouble().reason;
        assert!(matches!(reason, Reason::Stalled | Reason::Cut), "{error}");
        server.heal();
        assert_eq!(newest(&open(&server)).await, None);
        assert!(server.objects("reeve").unwrap().is_empty());
    }
    name(keep(&open(&server), FIRST, 1, false).await.unwrap());
}

#[tokio::test]
async fn of_two_at_once_one_is_kept() {
    let server = server().await;
    let (one, two) = (open(&server), open(&server));
    for slot in (0..4).map(|n| FIRST + n * 60_000) {
        let (one, two) = tokio::join!(keep(&one, slot, 1, false), keep(&two, slot, 2, false));
        let kept = [one.unwrap(), two.unwrap()];
        assert_eq!(
            kept.iter().filter(|kept| **kept == Kept::Theirs).count(),
            1,
            "{kept:?}"
        );
    }
    let names = server.objects("reeve").unwrap();
    assert_eq!(names.len(), 8, "{names:?}");

    simulated::PLANTED.set(Some(Mutant::OverwriteMark));
    let slot = FIRST + 600_000;
    let (one, two) = tokio::join!(keep(&one, slot, 1, false), keep(&two, slot, 2, false));
    simulated::PLANTED.set(None);
    let kept = [one.unwrap(), two.unwrap()];
    assert!(
        !kept.contains(&Kept::Theirs),
        "the mutant went unnoticed: {kept:?}"
    );
}

#[tokio::test]
async fn a_large_one_goes_in_parts_and_leaves_none_behind() {
    let server = server().await;
    let shelf = open(&server);
    server.fail(Rule::first(1, "PUT", "partNumber=2", Fault::Busy));
    let kept = name(keep_world(large(), &shelf, FIRST, 1, false).await.unwrap());
    assert!(
        std::fs::metadata(server.folder().join("reeve").join(&kept))
            .unwrap()
            .len()
            > 16 << 20
    );
    assert!(server.asked().iter().any(|asked| asked.contains("partNumber=3")));
    assert_eq!(server.uploads(), [""; 0]);

    // A part that never comes through: given up at once.
    server.fail(Rule::each("PUT", "partNumber=2", Fault::Cut { after: 1_000 }));
    keep_world(large(), &shelf, SECOND, 1, false).await.unwrap_err();
    assert_eq!(server.uploads(), [""; 0]);
    assert_eq!(newest(&shelf).await, Some(Slot(FIRST)));
    server.heal();

    // The answer to the last request is lost, and what it did is there.
    server.fail(Rule::first(1, "POST", "uploadId", Fault::LoseAnswer));
    name(keep_world(large(), &shelf, SECOND, 1, false).await.unwrap());
    assert_eq!(newest(&shelf).await, Some(Slot(SECOND)));
}

#[tokio::test]
async fn what_a_node_that_died_had_begun_is_swept_by_the_next() {
    let server = server().await;
    server.fail(Rule::each("PUT", "partNumber=2", Fault::Stall { after: 1_000 }));
    let dying = open(&server);
    let dies = tokio::spawn(async move { keep_world(large(), &dying, FIRST, 1, false).await });
    while server.failed() == 0 {
        tokio::task::yield_now().await;
    }
    dies.abort();
    assert!(dies.await.unwrap_err().is_cancelled());
    server.heal();
    assert_eq!(server.uploads().len(), 1);

    let next = open(&server);
    let none = next.look().await.unwrap();
    assert_eq!(
        next.sweep_uploads(&none).await.unwrap(),
        0,
        "an upload that may go on"
    );
    name(keep(&next, FIRST, 2, false).await.unwrap());
    let seen = next.look().await.unwrap();
    assert_eq!(next.sweep_uploads(&seen).await.unwrap(), 1);
    assert_eq!(server.uploads(), [""; 0]);
    assert_eq!(server.objects("reeve").unwrap().len(), 2);
}

#[tokio::test]
async fn a_bit_that_turned_in_the_store_is_found() {
    let server = server().await;
    let shelf = open(&server);
    let kept = name(keep(&shelf, FIRST, 1, false).await.unwrap());
    let path = server.folder().join("reeve").join(&kept);
    let whole = std::fs::read(&path).unwrap();
    for byte in [9, whole.len() / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let source = Source::find(URL, &settings(&server)).await.unwrap();
        let error = source.verify(None).await.unwrap_err();
        assert_eq!(error.trouble().reason, Reason::Damaged, "{error}");
    }
    // Another whole one in its place is not the one that was marked.
    std::fs::write(&path, World::busy().save()).unwrap();
    let source = Source::find(URL, &settings(&server)).await.unwrap();
    let error = source.verify(Some(Arc::new(key()))).await.unwrap_err();
    assert!(error.to_string().contains("its mark says"), "{error}");
}

#[tokio::test]
async fn what_is_not_read_back_as_it_was_does_not_count() {
    let server = server().await;
    let shelf = open(&server);
    server.fail(Rule::each("GET", ".snapshot", Fault::FlipAnswer { byte: 700 }));
    let error = keep(&shelf, FIRST, 1, false).await.unwrap_err();
    assert!(matches!(error, ShelfError::Backup(_)), "{error}");
    assert_eq!(newest(&shelf).await, None);
    assert!(server.objects("reeve").unwrap().is_empty());

    simulated::PLANTED.set(Some(Mutant::MarkUnread));
    let kept = keep(&shelf, FIRST, 1, false).await;
    simulated::PLANTED.set(None);
    assert!(kept.is_ok(), "the mutant went unnoticed: {kept:?}");
}

#[tokio::test]
async fn a_server_on_this_machine_may_speak_plain_http() {
    let server = Server::start(Options {
        tls: false,
        ..Options::default()
    })
    .await
    .unwrap();
    name(keep(&open(&server), FIRST, 1, false).await.unwrap());
}
