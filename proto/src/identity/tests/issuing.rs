//! What the authority signs, and what it does not.

use super::*;

#[test]
fn a_request_brings_its_key_and_nothing_else() {
    let cluster = Cluster::new("hospital");
    let key = KeyPair::generate().unwrap();
    let mut wish = CertificateParams::new(vec!["evil.example.org".to_owned()]).unwrap();
    wish.subject_alt_names
        .push(SanType::URI("spiffe://hospital/person/root".try_into().unwrap()));
    wish.extended_key_usages = vec![Eku::ServerAuth, Eku::ClientAuth];
    wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = wish.serialize_request(&key).unwrap().pem().unwrap();

    let ehr = id("spiffe://hospital/svc/ehr");
    let issued = cluster
        .issuer()
        .issue(&csr, &ehr, &Usage::Client, HOUR, now())
        .unwrap();
    let leaf = chain(&Leaf {
        chain: issued.chain_pem,
        key: String::new(),
    })[0]
        .clone();
    let read = Certificate::read(&leaf).unwrap();
    assert_eq!(read.spiffe().unwrap(), ehr);
    assert!(read.client_auth && !read.server_auth);
    let (_, x509) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    assert!(!x509.is_ca());
    assert_eq!(
        x509.subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .len(),
        1
    );
    assert_eq!(
        x509.public_key().subject_public_key.data.as_ref(),
        key.public_key_raw()
    );
}

#[test]
fn a_bent_request_never_certifies_another_key() {
    use rustls::pki_types::CertificateSigningRequestDer;
    let cluster = Cluster::new("hospital");
    let ehr = id("spiffe://hospital/svc/ehr");
    let issue = |csr: &str| cluster.issuer().issue(csr, &ehr, &Usage::Client, HOUR, now());
    let spki = |issued: Issued| {
        Certificate::read(
            &chain(&Leaf {
                chain: issued.chain_pem,
                key: String::new(),
            })[0],
        )
        .unwrap()
        .spki
    };
    let csr = KeyRequest::generate().unwrap().csr_pem;
    let honest = spki(issue(&csr).unwrap());
    let der = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes())
        .unwrap()
        .to_vec();
    // Algorithm and signature stand behind what is signed; a bent tag there may be forgiven.
    let signed = der.len() - 90;
    for at in 0..der.len() {
        let mut bent = der.clone();
        bent[at] ^= 1;
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bent);
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n");
        let Ok(issued) = issue(&pem) else { continue };
        assert!(at >= signed, "byte {at} bent, and signed all the same");
        assert_eq!(
            spki(issued),
            honest,
            "byte {at} bent, and another key was certified"
        );
    }
}

#[test]
fn other_kinds_of_key_are_refused() {
    let cluster = Cluster::new("hospital");
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let ehr = id("spiffe://hospital/svc/ehr");
    let refused = cluster.issuer().issue(&csr, &ehr, &Usage::Client, HOUR, now());
    assert!(matches!(refused, Err(ca::Error::Key)));
}

#[test]
fn serials_are_twenty_random_bytes_and_lives_begin_a_little_early() {
    let cluster = Cluster::new("hospital");
    let csr = KeyRequest::generate().unwrap().csr_pem;
    let ehr = id("spiffe://hospital/svc/ehr");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let issued = cluster
            .issuer()
            .issue(&csr, &ehr, &Usage::Client, HOUR, now())
            .unwrap();
        let leaf = Leaf {
            chain: issued.chain_pem.clone(),
            key: String::new(),
        };
        assert_eq!(issued.serial, serial(&leaf));
        assert_eq!(issued.serial.len(), 20);
        assert!(seen.insert(issued.serial));
        let read = Certificate::read(&chain(&leaf)[0]).unwrap();
        assert_eq!(
            read.not_after.duration_since(read.not_before).unwrap(),
            HOUR + ca::SKEW
        );
        assert_eq!(chain(&leaf).len(), 3, "leaf, issuing, root");
    }
}

#[test]
fn a_leaf_never_outlives_its_issuer() {
    let cluster = Cluster::new("hospital");
    let csr = KeyRequest::generate().unwrap().csr_pem;
    let ehr = id("spiffe://hospital/svc/ehr");
    let late = now() + ca::ISSUING_TTL - HOUR;
    let issued = cluster
        .issuer()
        .issue(&csr, &ehr, &Usage::Client, 24 * HOUR, late)
        .unwrap();
    assert!(issued.not_after <= late + HOUR);
    let too_late = now() + ca::ISSUING_TTL + HOUR;
    let refused = cluster.issuer().issue(&csr, &ehr, &Usage::Client, HOUR, too_late);
    assert!(matches!(refused, Err(ca::Error::Expired)));
}

#[test]
fn hosts_are_names_or_addresses() {
    let cluster = Cluster::new("hospital");
    let csr = KeyRequest::generate().unwrap().csr_pem;
    let node = id("spiffe://hospital/node/1");
    let issue = |hosts: &[&str]| {
        let hosts = hosts.iter().map(|h| (*h).to_owned()).collect();
        cluster
            .issuer()
            .issue(&csr, &node, &Usage::Node { hosts }, HOUR, now())
    };
    assert!(issue(&["127.0.0.1", "::1", "n1.example.org", "localhost"]).is_ok());
    for bad in ["", "a b", "n1:7400", "spiffe://hospital/node/2", "*"] {
        assert!(issue(&[bad]).is_err(), "{bad:?} passed");
    }
    assert!(issue(&[]).is_err());
}

#[test]
fn a_servers_certificate_tells_its_hosts() {
    let cluster = Cluster::new("hospital");
    let hosts = ["127.0.0.1", "::8", "db.example"].map(str::to_owned).to_vec();
    let usage = Usage::Postgres { hosts: hosts.clone() };
    let leaf = cluster.leaf_at("agent/vn-1", &usage, HOUR, now());
    assert_eq!(certificate::hosts(&leaf.chain).unwrap(), hosts);
    assert_eq!(
        certificate::hosts(&cluster.client("svc/ehr").chain).unwrap(),
        [""; 0]
    );
    assert!(certificate::hosts("nonsense").is_err());
}
