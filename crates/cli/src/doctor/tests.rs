//! Each check, by breaking precisely what it is about, with real certificates and real ports and no fleet.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use reeve_client::Credentials;
use reeve_proto::identity::{
    Authority, Bounds, ClientAuth, Issuer, KeyRequest, SpiffeId, Usage, ca, incoming, server_config,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::context::{Context, Contexts};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A cluster's keys, and a folder with an identity of it.
struct Hospital {
    name: &'static str,
    root: Authority,
    issuing: Authority,
    dir: tempfile::TempDir,
}

impl Hospital {
    fn founded(name: &'static str) -> Hospital {
        // Long enough ago for a certificate that ended yesterday.
        let then = SystemTime::now() - 30 * DAY;
        let root = ca::root(name, then).unwrap();
        let issuing = ca::issuing(&root, name, then).unwrap();
        let hospital = Hospital {
            name,
            root,
            issuing,
            dir: tempfile::tempdir().unwrap(),
        };
        hospital.give("person/ann", 30 * DAY, SystemTime::now());
        hospital
    }

    fn leaf(&self, who: &str, usage: &Usage, ttl: Duration, at: SystemTime) -> (String, String) {
        let issuer = Issuer::new(&self.issuing.cert_pem, &self.issuing.key_pem, &self.root.cert_pem).unwrap();
        let who = match who.contains("://") {
            true => SpiffeId::parse(who).unwrap(),
            false => SpiffeId::parse(&format!("spiffe://{}/{who}", self.name)).unwrap(),
        };
        let request = KeyRequest::generate().unwrap();
        let issued = issuer.issue(&request.csr_pem, &who, usage, ttl, at).unwrap();
        (issued.chain_pem, request.key_pem.to_string())
    }

    fn give(&self, who: &str, ttl: Duration, at: SystemTime) {
        let (chain, key) = self.leaf(who, &Usage::Client, ttl, at);
        let context = self.context();
        crate::files::write_secret(&context.cert, chain).unwrap();
        crate::files::write_secret(&context.key, key).unwrap();
        crate::files::write_secret(&context.ca, &self.root.cert_pem).unwrap();
    }

    fn context(&self) -> Context {
        let file = |name| self.dir.path().join(name);
        Context {
            nodes: vec!["n1:7400".into()],
            ca: file("root.crt"),
            cert: file("client.crt"),
            key: file("client.key"),
        }
    }

    fn looked_at(&self) -> Vec<Check> {
        identity::look(&self.context(), SystemTime::now()).0
    }

    fn credentials(&self) -> Credentials {
        identity::look(&self.context(), SystemTime::now()).1.unwrap()
    }

    /// A node's door, at which nothing is ever said.
    async fn node(&self, who: &str, usage: &Usage, ttl: Duration, at: SystemTime) -> SocketAddr {
        let (chain, key) = self.leaf(who, usage, ttl, at);
        let credentials = Credentials::from_pem(&chain, &key, &self.root.cert_pem).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = server_config(&credentials, ClientAuth::Required).unwrap();
        let mut inside = Box::pin(incoming(listener, config, &credentials, Bounds::default()));
        tokio::spawn(async move { while inside.next().await.is_some() {} });
        address
    }
}

fn node_usage() -> Usage {
    Usage::Node {
        hosts: vec!["127.0.0.1".into()],
    }
}

fn of<'a>(checks: &'a [Check], kind: &str) -> &'a Check {
    let found = checks.iter().find(|check| check.kind == kind);
    found.unwrap_or_else(|| panic!("nobody asked about {kind}: {checks:#?}"))
}

/// That this check alone is not well, and those that rest on it were not looked at.
fn only(checks: &[Check], kind: &str, level: Level, told: &str) {
    let found = of(checks, kind);
    assert_eq!(found.result, level, "{found:?}");
    assert!(found.told.contains(told), "{found:?}");
    assert!(!found.fix.is_empty(), "{found:?} does not say what to do");
    for other in checks.iter().filter(|other| other.kind != kind) {
        assert!(
            matches!(other.result, Level::Ok | Level::Skipped),
            "{other:?} beside {kind}"
        );
    }
}

fn all_well(checks: &[Check]) {
    assert!(
        checks.iter().all(|check| check.result == Level::Ok),
        "{checks:#?}"
    );
}

#[test]
fn an_identity_that_is_well_is_said_to_be_and_nothing_of_its_key_is_told() {
    let hospital = Hospital::founded("hospital");
    let checks = hospital.looked_at();
    all_well(&checks);
    assert_eq!(
        of(&checks, "identity_matches").told,
        "you are spiffe://hospital/person/ann"
    );
    assert_eq!(of(&checks, "certificate_lives").told, "29 days left");
    let key = fs::read_to_string(hospital.context().key).unwrap();
    let told = Examined::of(checks).json();
    for line in key.lines() {
        assert!(!told.contains(line), "{line}");
    }
}

#[test]
fn a_certificate_that_ended_or_ends_soon_or_begins_later_is_told() {
    let hospital = Hospital::founded("hospital");
    let now = SystemTime::now();
    let aged = |ttl: Duration, at: SystemTime| {
        hospital.give("person/ann", ttl, at);
        hospital.looked_at()
    };
    only(
        &aged(DAY, now - 2 * DAY),
        "certificate_lives",
        Level::Failure,
        "it ended 24 h ago",
    );
    let context = hospital.context();
    assert!(
        identity::look(&context, now).1.is_none(),
        "nobody is asked with one that is over"
    );
    only(
        &aged(30 * DAY, now - 25 * DAY),
        "certificate_lives",
        Level::Warning,
        "4 days left",
    );
    only(
        &aged(8 * HOUR, now - 5 * HOUR),
        "certificate_lives",
        Level::Warning,
        "left",
    );
    all_well(&aged(8 * HOUR, now - 3 * HOUR));
    only(
        &aged(DAY, now + 5 * HOUR),
        "certificate_lives",
        Level::Failure,
        "only",
    );
    // The root is the same, with more time to do something about it.
    let root = identity::look(&context, now + (3_650 - 30 - 60) * DAY).0;
    assert_eq!(of(&root, "root_lives").result, Level::Warning);
    let root = identity::look(&context, now + 3_650 * DAY).0;
    assert_eq!(of(&root, "root_lives").result, Level::Failure);
}

#[test]
fn a_key_that_others_may_read_is_told() {
    let hospital = Hospital::founded("hospital");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(hospital.context().key, fs::Permissions::from_mode(mode)).unwrap();
        only(
            &hospital.looked_at(),
            "key_mode",
            Level::Failure,
            &format!("{mode:04o}"),
        );
    }
    fs::set_permissions(hospital.context().key, fs::Permissions::from_mode(0o400)).unwrap();
    all_well(&hospital.looked_at());
}

#[test]
fn files_that_are_not_there_or_are_none_of_theirs_are_told() {
    let hospital = Hospital::founded("hospital");
    let context = hospital.context();
    for (path, kind) in [
        (&context.ca, "root"),
        (&context.cert, "certificate"),
        (&context.key, "key"),
    ] {
        let whole = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        only(&hospital.looked_at(), kind, Level::Failure, "No such file");
        crate::files::write_secret(path, "not PEM").unwrap();
        only(&hospital.looked_at(), kind, Level::Failure, "(PEM)");
        assert_eq!(
            of(&hospital.looked_at(), "identity_matches").result,
            Level::Skipped
        );
        crate::files::write_secret(path, whole).unwrap();
    }
    all_well(&hospital.looked_at());
}

#[test]
fn files_that_do_not_go_together_are_told_with_the_odd_one() {
    let (hospital, other) = (Hospital::founded("hospital"), Hospital::founded("hospital"));
    let context = hospital.context();
    let key = fs::read(&context.key).unwrap();
    fs::copy(other.context().key, &context.key).unwrap();
    let checks = hospital.looked_at();
    only(&checks, "identity_matches", Level::Failure, "do not go together");
    assert!(
        of(&checks, "identity_matches")
            .fix
            .starts_with("the key is another")
    );
    fs::write(&context.key, key).unwrap();
    fs::copy(other.context().ca, &context.ca).unwrap();
    let checks = hospital.looked_at();
    only(
        &checks,
        "identity_matches",
        Level::Failure,
        "does not lead to the given roots",
    );
    assert!(
        of(&checks, "identity_matches")
            .fix
            .starts_with("the root is another")
    );
}

fn configured(dir: &Path, text: &str, mode: u32) -> std::path::PathBuf {
    let path = dir.join("config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_context_file_is_there_and_private_and_readable_and_names_a_fleet() {
    let dir = tempfile::tempdir().unwrap();
    let hospital = Hospital::founded("hospital");
    let contexts = Contexts {
        current: Some("hospital".into()),
        contexts: [("hospital".to_owned(), hospital.context())].into(),
    };
    let good = toml::to_string(&contexts).unwrap();
    let look = |text: &str, mode: u32, named: Option<&str>| {
        config::of_file(&configured(dir.path(), text, mode), named)
    };
    let (checks, is_said) = look(&good, 0o600, None);
    all_well(&checks);
    assert!(is_said);
    let bad = |text: &str, mode: u32, named: Option<&str>, kind: &str, level: Level, told: &str| {
        let (checks, is_said) = look(text, mode, named);
        only(&checks, kind, level, told);
        assert_eq!(is_said, kind == "context_mode");
    };
    bad(&good, 0o644, None, "context_mode", Level::Warning, "0644");
    bad(&good, 0o660, None, "context_mode", Level::Failure, "0660");
    bad(
        "curent = \"x\"",
        0o600,
        None,
        "context_parses",
        Level::Failure,
        "curent",
    );
    bad(
        &good,
        0o600,
        Some("clinic"),
        "context",
        Level::Failure,
        "no context clinic",
    );
    bad(
        "[contexts]",
        0o600,
        None,
        "context",
        Level::Failure,
        "no current context",
    );
    let nobody = good.replace("\"n1:7400\"", "");
    bad(&nobody, 0o600, None, "context", Level::Failure, "names no node");
    let (checks, is_said) = config::of_file(&dir.path().join("none.toml"), None);
    only(&checks, "context_file", Level::Failure, "No such file");
    assert!(!is_said);
}

#[tokio::test]
async fn a_port_that_is_closed_or_a_name_that_is_none_is_told() {
    let hospital = Hospital::founded("hospital");
    let credentials = hospital.credentials();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    only(
        &node::look(&address, Some(&credentials)).await,
        "node_port",
        Level::Failure,
        "refused",
    );
    let unknown = node::look("no-such-host.invalid:7400", Some(&credentials)).await;
    only(&unknown, "node_name", Level::Failure, "no-such-host.invalid");
    for odd in ["n1", ":7400", "n1:port"] {
        only(
            &node::look(odd, Some(&credentials)).await,
            "node_name",
            Level::Failure,
            "no address",
        );
    }
}

#[tokio::test]
async fn who_answers_without_tls_is_told() {
    let hospital = Hospital::founded("hospital");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let mut heard = [0; 16];
            let _ = caller.read(&mut heard).await;
            let _ = caller.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let checks = node::look(&address, Some(&hospital.credentials())).await;
    only(&checks, "node_certificate", Level::Failure, "does not speak TLS");
}

#[tokio::test]
async fn a_node_of_another_root_or_of_another_name_or_too_old_is_told() {
    let hospital = Hospital::founded("hospital");
    let credentials = hospital.credentials();
    let now = SystemTime::now();
    let look = async |at: SocketAddr| node::look(&at.to_string(), Some(&credentials)).await;

    let stranger = Hospital::founded("hospital")
        .node("node/1", &node_usage(), HOUR, now)
        .await;
    only(
        &look(stranger).await,
        "node_certificate",
        Level::Failure,
        "not from your root",
    );
    let old = hospital.node("node/1", &node_usage(), DAY, now - 2 * DAY).await;
    only(
        &look(old).await,
        "node_certificate",
        Level::Failure,
        "has expired",
    );
    let early = hospital.node("node/1", &node_usage(), DAY, now + 5 * HOUR).await;
    only(
        &look(early).await,
        "node_certificate",
        Level::Failure,
        "not good yet",
    );
    let agent = hospital.node("agent/vn-1", &Usage::Client, DAY, now).await;
    only(
        &look(agent).await,
        "node_certificate",
        Level::Failure,
        "it is somebody else",
    );
    let usage = node_usage();
    let clinic = hospital.node("spiffe://clinic/node/1", &usage, HOUR, now).await;
    only(
        &look(clinic).await,
        "node_certificate",
        Level::Failure,
        "belongs to cluster \"clinic\"",
    );
    let person = hospital.node("person/eve", &usage, HOUR, now).await;
    only(
        &look(person).await,
        "node_certificate",
        Level::Failure,
        "where a node was expected",
    );
    // Of this cluster, and fit: what it does not say is the next check's.
    let fit = hospital.node("node/1", &node_usage(), HOUR, now).await;
    let checks = look(fit).await;
    assert_eq!(of(&checks, "node_certificate").result, Level::Ok);
    assert_eq!(
        of(&checks, "node_knows_you").result,
        Level::Failure,
        "{checks:#?}"
    );
}

#[tokio::test]
async fn a_node_that_turns_this_certificate_away_is_told() {
    let (hospital, other) = (Hospital::founded("hospital"), Hospital::founded("hospital"));
    // It trusts another root than the one that its own certificate is from.
    let (chain, key) = hospital.leaf("node/1", &node_usage(), HOUR, SystemTime::now());
    let node = Credentials::from_pem(&chain, &key, &hospital.root.cert_pem).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = server_config(&node, ClientAuth::Required).unwrap();
    let mut inside = Box::pin(incoming(listener, config, &node, Bounds::default()));
    tokio::spawn(async move { while inside.next().await.is_some() {} });
    let both = format!("{}{}", other.root.cert_pem, hospital.root.cert_pem);
    crate::files::write_secret(&other.context().ca, both).unwrap();
    let checks = node::look(&address, Some(&other.credentials())).await;
    only(
        &checks,
        "node_certificate",
        Level::Failure,
        "turns your certificate away",
    );
}

#[test]
fn clocks_that_differ_and_versions_that_differ_are_told() {
    let now = SystemTime::now();
    let clock = |theirs: SystemTime| node::clock(Some(theirs.into()), now, now + Duration::from_secs(2));
    assert_eq!(clock(now).result, Level::Ok);
    assert_eq!(
        clock(now + Duration::from_secs(6)).result,
        Level::Ok,
        "the answer took two of them"
    );
    let ahead = clock(now + Duration::from_secs(9));
    assert_eq!(
        (ahead.result, ahead.told.as_str()),
        (Level::Warning, "7.0 s apart")
    );
    let behind = clock(now - Duration::from_secs(60));
    assert_eq!(
        (behind.result, behind.told.as_str()),
        (Level::Warning, "60.0 s apart")
    );
    assert_eq!(node::clock(None, now, now).result, Level::Note);
    assert_eq!(node::version(env!("CARGO_PKG_VERSION")).result, Level::Ok);
    only(&[node::version("9.9.9")], "node_version", Level::Warning, "9.9.9");
}

#[test]
fn a_page_has_a_mark_for_each_and_a_warning_is_no_failure() {
    let check = |kind, result| {
        Check::new(kind, "is it", result)
            .told("seen")
            .fix("do")
            .about("identity")
    };
    let examined = Examined::of(vec![
        check("a", Level::Ok),
        check("b", Level::Warning),
        check("c", Level::Skipped).told("").about("n1:7400"),
    ]);
    assert!(examined.passed);
    let expected = "\
identity
✓ is it: seen
! is it
    seen
      fix: do

n1:7400
- is it

0 failed, 1 warning";
    assert_eq!(examined.table(), expected);
    assert!(!Examined::of(vec![check("a", Level::Failure)]).passed);
}
