use std::time::SystemTime;

use reeve_domain::access;
use reeve_domain::policy::{Role, Scope};
use reeve_domain::{Stamp, State};
use reeve_proto::identity::{Certificate, Credentials, KeyRequest, SpiffeId, Usage, ca};

use super::sign::{IssueOrder, first_block, issue};
use super::{ISSUING_KEY, IssueError, renew};
use crate::config::Identity;
use crate::vault::{KeyProvider, RootKey};

struct Founded {
    root: RootKey,
    state: State,
}

fn founded() -> Founded {
    let now = SystemTime::now();
    let root = RootKey::new(&[9; 32]);
    let authority = ca::root("hospital", now).unwrap();
    let issuing = ca::issuing(&authority, "hospital", now).unwrap();
    let mut state = State::default();
    state.cluster.name = "hospital".to_owned();
    state.cluster.issuing_key = Some(root.seal(ISSUING_KEY, issuing.key_pem.as_bytes()).unwrap());
    state.cluster.issuing_chain_pem = format!("{}{}", issuing.cert_pem, authority.cert_pem);
    state.cluster.root_ca_pem = authority.cert_pem;
    for (id, role) in [
        ("node/1", Role::Node),
        ("agent/vn-1", Role::Agent),
        ("svc/ehr", Role::Service),
    ] {
        access::admit(
            &mut state,
            Stamp(1),
            &format!("spiffe://hospital/{id}"),
            role,
            Scope::Fleet,
        );
    }
    Founded { root, state }
}

impl Founded {
    fn issue(&self, id: &str, usage: Usage) -> Result<(String, KeyRequest), IssueError> {
        let request = KeyRequest::generate().unwrap();
        let id = SpiffeId::parse(id).unwrap();
        let order = IssueOrder::new(&request.csr_pem, &id, usage);
        issue(&self.root, &self.state, &order, SystemTime::now()).map(|chain| (chain, request))
    }
}

fn hosts() -> Vec<String> {
    vec!["127.0.0.1".to_owned()]
}

#[test]
fn each_kind_gets_its_own_certificates_and_no_other() {
    let founded = founded();
    let (chain, request) = founded
        .issue("spiffe://hospital/node/1", Usage::Node { hosts: hosts() })
        .unwrap();
    let credentials =
        Credentials::from_pem(&chain, &request.key_pem, &founded.state.cluster.root_ca_pem).unwrap();
    assert_eq!(credentials.spiffe().to_string(), "spiffe://hospital/node/1");
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 3);
    assert!(
        founded
            .issue("spiffe://hospital/agent/vn-1", Usage::Postgres { hosts: hosts() })
            .is_ok()
    );
    assert!(founded.issue("spiffe://hospital/svc/ehr", Usage::Client).is_ok());

    assert!(
        founded
            .issue("spiffe://hospital/svc/ehr", Usage::Node { hosts: hosts() })
            .is_err()
    );
    assert!(founded.issue("spiffe://hospital/node/1", Usage::Client).is_err());
    assert!(
        founded
            .issue("spiffe://hospital/svc/ehr", Usage::Postgres { hosts: hosts() })
            .is_err()
    );
    assert!(
        founded
            .issue("spiffe://hospital/svc/stranger", Usage::Client)
            .is_err()
    );
}

#[test]
fn a_revoked_principal_gets_none() {
    let mut founded = founded();
    access::revoke(&mut founded.state, "spiffe://hospital/svc/ehr").unwrap();
    let refused = founded
        .issue("spiffe://hospital/svc/ehr", Usage::Client)
        .err()
        .unwrap();
    assert!(refused.to_string().contains("revoked"), "{refused}");
}

#[test]
fn the_issuing_key_opens_only_under_the_right_root_key() {
    let mut founded = founded();
    founded.root = RootKey::new(&[8; 32]);
    assert!(founded.issue("spiffe://hospital/svc/ehr", Usage::Client).is_err());
}

/// Whatever rename a crash fell between, chain and key fit again after `finish`.
#[test]
fn a_swap_that_a_crash_cut_in_two_is_finished_or_forgotten() {
    let founded = founded();
    let usage = || Usage::Node { hosts: hosts() };
    for crashed_after in 0..=4 {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let identity = Identity {
            cert: at("node.crt"),
            key: at("node.key"),
            ca: at("root.crt"),
        };
        std::fs::write(&identity.ca, &founded.state.cluster.root_ca_pem).unwrap();
        let (old, old_key) = founded.issue("spiffe://hospital/node/1", usage()).unwrap();
        renew::swap(&identity, &old, &old_key.key_pem).unwrap();
        let (new, new_key) = founded.issue("spiffe://hospital/node/1", usage()).unwrap();

        if crashed_after >= 1 {
            std::fs::write(at("node.crt.next"), &new).unwrap();
        }
        if crashed_after >= 2 {
            std::fs::write(at("node.key.next"), new_key.key_pem.as_bytes()).unwrap();
        }
        if crashed_after >= 3 {
            std::fs::rename(at("node.key.next"), &identity.key).unwrap();
        }
        if crashed_after >= 4 {
            std::fs::rename(at("node.crt.next"), &identity.cert).unwrap();
        }
        renew::finish(&identity).unwrap();
        let credentials = Credentials::from_files(&identity.cert, &identity.key, &identity.ca);
        let expected = if crashed_after >= 3 { &new } else { &old };
        let serial = serial_of(expected);
        assert_eq!(
            credentials.unwrap().serial(),
            serial,
            "crash after {crashed_after}"
        );
        assert!(!at("node.crt.next").exists() && !at("node.key.next").exists());
    }
}

fn serial_of(chain: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    let der = rustls_pki_types::CertificateDer::from_pem_slice(first_block(chain).as_bytes()).unwrap();
    Certificate::read(&der).unwrap().serial
}
