//! A service outlives its certificate: it is renewed in use and on disk, once for all who share the files.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use prost::Message;
use reeve_client::{Credentials, Fleet, IdentityFiles, KeyRequest, v1};
use reeve_proto::identity::Usage;
use support::*;
use tonic::Status;

/// The first certificate is one of moments: it is due for renewal at once.
const MOMENTS: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry that renews certificates, knows its callers, and counts renewals.
struct Registry {
    cluster: Arc<Cluster>,
    renewals: Arc<AtomicUsize>,
}

impl Registry {
    fn new() -> Registry {
        Registry {
            cluster: Arc::new(Cluster::new()),
            renewals: Arc::default(),
        }
    }

    async fn node(&self, number: u64) -> Node {
        let (cluster, renewals) = (self.cluster.clone(), self.renewals.clone());
        let handler: Handler = Arc::new(move |path, message| {
            let answer = match path.rsplit('/').next() {
                Some("RenewCertificate") => {
                    renewals.fetch_add(1, Ordering::SeqCst);
                    let order = v1::RenewCertificateRequest::decode(message).unwrap();
                    let chain = cluster.issue(&order.csr_pem, "svc/ehr", &Usage::Client);
                    Ok(frame(&v1::RenewCertificateResponse {
                        certificate_chain_pem: chain,
                    }))
                }
                Some("WhoAmI") => Ok(frame(&v1::WhoAmIResponse::default())),
                _ => Err(Status::unimplemented("not here")),
            };
            Box::pin(async move { answer.map(one) })
        });
        self.cluster.node(number, handler).await
    }

    /// Chain and key that end in a moment.
    fn first(&self) -> (String, String) {
        let own = KeyRequest::generate().unwrap();
        let chain = self
            .cluster
            .issue_for(MOMENTS, &own.csr_pem, "svc/ehr", &Usage::Client);
        (chain, own.key_pem.to_string())
    }

    fn enroll(&self, folder: &Path) -> IdentityFiles {
        let (chain, key) = self.first();
        fs::write(folder.join("client.crt"), chain).unwrap();
        fs::write(folder.join("client.key"), key).unwrap();
        fs::write(folder.join("root.crt"), &self.cluster.root.cert_pem).unwrap();
        IdentityFiles::in_folder(folder)
    }
}

fn fleet(nodes: &[&Node], files: IdentityFiles) -> Fleet {
    let nodes = nodes.iter().map(|node| node.addr());
    Fleet::builder()
        .nodes(nodes)
        .identity(files)
        .watch(false)
        .build()
        .unwrap()
}

/// Waits until a certificate has ended, and no longer.
async fn end_of(certificate: &Credentials) {
    let left = certificate.not_after().duration_since(SystemTime::now());
    // A second, because the other side counts whole ones.
    tokio::time::sleep(left.unwrap_or_default() + Duration::from_secs(1)).await;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited for {what}"));
}

#[tokio::test]
async fn processes_that_share_an_identity_renew_it_once_and_outlive_it() {
    let registry = Registry::new();
    let folder = tempfile::tempdir().unwrap();
    let files = registry.enroll(folder.path());
    let first = files.credentials().unwrap();
    let (one, other) = (registry.node(1).await, registry.node(2).await);
    let fleets = [
        fleet(&[&one, &other], files.clone()),
        fleet(&[&one, &other], files.clone()),
    ];
    until("the next certificate", || {
        files.credentials().unwrap().serial() != first.serial()
    })
    .await;
    end_of(&first).await;
    // What is open would go on; who dials anew shows what is in use now.
    drop(one);
    for fleet in &fleets {
        fleet.api().access().who_am_i(v1::WhoAmIRequest {}).await.unwrap();
    }
    assert_eq!(registry.renewals.load(Ordering::SeqCst), 1, "one for both");
    let kept = files.credentials().unwrap();
    assert!(kept.not_after() > first.not_after() && kept.spiffe() == first.spiffe());
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| !name.to_string_lossy().ends_with(".next")),
        "{left:?}"
    );
}

#[tokio::test]
async fn where_nothing_can_be_written_it_is_renewed_in_memory() {
    let registry = Registry::new();
    let folder = tempfile::tempdir().unwrap();
    let files = registry.enroll(folder.path());
    let first = files.credentials().unwrap();
    // A folder stands where the next key would be put, and one where the lock would.
    fs::create_dir(folder.path().join("client.key.next")).unwrap();
    fs::create_dir(folder.path().join("client.crt.lock")).unwrap();
    let (one, other) = (registry.node(1).await, registry.node(2).await);
    let on_disk = fleet(&[&one, &other], files.clone());
    let (chain, key) = registry.first();
    let held = Credentials::from_pem(&chain, &key, &registry.cluster.root.cert_pem).unwrap();
    let nodes = [&one, &other].map(Node::addr);
    let in_memory = Fleet::builder()
        .nodes(nodes)
        .credentials(held.clone())
        .watch(false)
        .build()
        .unwrap();
    let before = held.serial();
    until("both to be renewed", || {
        held.serial() != before && registry.renewals.load(Ordering::SeqCst) >= 2
    })
    .await;
    end_of(&first).await;
    drop(one);
    for fleet in [&on_disk, &in_memory] {
        fleet.api().access().who_am_i(v1::WhoAmIRequest {}).await.unwrap();
    }
    assert_eq!(
        files.credentials().unwrap().serial(),
        first.serial(),
        "it stays as it was"
    );
    assert_eq!(registry.renewals.load(Ordering::SeqCst), 2, "once each");
}

#[test]
fn a_renewal_that_was_cut_off_is_completed_and_what_fits_nothing_is_refused() {
    let registry = Registry::new();
    let folder = tempfile::tempdir().unwrap();
    let files = registry.enroll(folder.path());
    let ((chain, key), (_, foreign)) = (registry.first(), registry.first());
    // The chain was renamed, and the key was not.
    fs::write(folder.path().join("client.crt"), &chain).unwrap();
    fs::write(folder.path().join("client.key.next"), &foreign).unwrap();
    assert!(files.credentials().is_err(), "a key of something else");
    assert!(
        folder.path().join("client.key.next").exists(),
        "and it is left where it is"
    );
    fs::write(folder.path().join("client.key.next"), &key).unwrap();
    files.credentials().unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("client.key")).unwrap(), key);
    assert!(!folder.path().join("client.key.next").exists());
}

#[tokio::test]
async fn a_persons_session_is_not_made_longer() {
    let registry = Registry::new();
    let node = registry.node(1).await;
    let own = KeyRequest::generate().unwrap();
    let chain = registry
        .cluster
        .issue_for(MOMENTS, &own.csr_pem, "person/ann", &Usage::Client);
    let ann = Credentials::from_pem(&chain, &own.key_pem, &registry.cluster.root.cert_pem).unwrap();
    let fleet = Fleet::builder()
        .nodes([node.addr()])
        .credentials(ann.clone())
        .watch(false)
        .build()
        .unwrap();
    end_of(&ann).await;
    assert_eq!(registry.renewals.load(Ordering::SeqCst), 0);
    drop(fleet);
}
