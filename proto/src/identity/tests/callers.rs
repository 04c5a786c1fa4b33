//! What a server makes of its callers.

use super::*;

async fn knock(auth: ClientAuth, bring: impl Fn(&Cluster) -> Option<Leaf>) -> Result<String, String> {
    let cluster = Cluster::new("hospital");
    let addr = serve(&cluster.credentials(&cluster.node(1)), auth).await;
    let leaf = bring(&cluster);
    call(addr, cluster.bare_client(leaf.as_ref()))
        .await
        .map_err(|e| e.to_string())
}

#[tokio::test]
async fn callers_are_known_by_their_one_identity() {
    for who in ["node/2", "agent/vn-1", "svc/ehr", "person/linh"] {
        let said = knock(ClientAuth::Required, |c| Some(c.client(who))).await;
        assert_eq!(said, Ok(format!("spiffe://hospital/{who}")));
    }
}

#[tokio::test]
async fn no_certificate_passes_only_where_joiners_knock() {
    assert!(knock(ClientAuth::Required, |_| None).await.is_err());
    assert_eq!(
        knock(ClientAuth::Optional, |_| None).await,
        Ok("nobody".to_owned())
    );
}

#[tokio::test]
async fn the_peer_door_opens_for_nodes_alone() {
    for who in ["agent/vn-1", "svc/ehr", "person/linh"] {
        let said = knock(ClientAuth::NodesOnly, |c| Some(c.client(who))).await;
        assert!(said.is_err(), "{who} passed");
    }
    assert!(knock(ClientAuth::NodesOnly, |_| None).await.is_err());
    let said = knock(ClientAuth::NodesOnly, |c| Some(c.node(2))).await;
    assert_eq!(said, Ok("spiffe://hospital/node/2".to_owned()));
}

#[tokio::test]
async fn plain_text_is_hung_up_on() {
    let cluster = Cluster::new("hospital");
    let addr = serve(&cluster.credentials(&cluster.node(1)), ClientAuth::Optional).await;
    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    plain.read_to_end(&mut said).await.ok();
    assert!(!said.windows(8).any(|w| w == b"hospital"), "{said:?}");
}

#[tokio::test]
async fn a_bad_certificate_is_refused_even_where_none_is_needed() {
    for auth in [ClientAuth::Required, ClientAuth::Optional] {
        let foreign = |_: &Cluster| Some(Cluster::new("hospital").client("svc/ehr"));
        let error = knock(auth, foreign).await.unwrap_err();
        assert!(error.contains("alert"), "{error}");
    }
}

#[tokio::test]
async fn time_is_kept() {
    let day = 24 * HOUR;
    let expired = |c: &Cluster| Some(c.leaf_at("svc/ehr", &Usage::Client, HOUR, now() - day));
    let error = knock(ClientAuth::Required, expired).await.unwrap_err();
    assert!(error.contains("Expired"), "{error}");
    let early = |c: &Cluster| Some(c.leaf_at("svc/ehr", &Usage::Client, HOUR, now() + day));
    assert!(knock(ClientAuth::Required, early).await.is_err());
}

#[tokio::test]
async fn forged_shapes_are_refused() {
    let ours = "spiffe://hospital/svc/ehr";
    let cases: [(&str, &[&str], &[Eku]); 8] = [
        (
            "two names",
            &[ours, "spiffe://hospital/person/linh"],
            &[Eku::ClientAuth],
        ),
        ("one name twice", &[ours, ours], &[Eku::ClientAuth]),
        (
            "a second, foreign name",
            &[ours, "https://example.org"],
            &[Eku::ClientAuth],
        ),
        ("no name", &[], &[Eku::ClientAuth]),
        ("servers only", &[ours], &[Eku::ServerAuth]),
        ("no usage", &[ours], &[]),
        (
            "another cluster",
            &["spiffe://clinic/svc/ehr"],
            &[Eku::ClientAuth],
        ),
        (
            "no grammar",
            &["spiffe://hospital/svc/ehr/root"],
            &[Eku::ClientAuth],
        ),
    ];
    for (what, uris, uses) in cases {
        let said = knock(ClientAuth::Required, |c| Some(c.forged(uris, uses))).await;
        assert!(said.is_err(), "{what} passed as {said:?}");
    }
    let honest = knock(ClientAuth::Required, |c| {
        Some(c.forged(&[ours], &[Eku::ClientAuth]))
    })
    .await;
    assert_eq!(
        honest,
        Ok(ours.to_owned()),
        "the forge itself must work, or the cases prove nothing"
    );
}

#[tokio::test]
async fn a_leaf_cannot_sign_another() {
    let error = knock(ClientAuth::Required, |cluster| {
        let middle = cluster.client("svc/ehr");
        let key = KeyPair::generate().unwrap();
        let signer =
            rcgen::Issuer::from_ca_cert_der(&chain(&middle)[0], KeyPair::from_pem(&middle.key).unwrap());
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://hospital/person/linh".try_into().unwrap())];
        params.extended_key_usages = vec![Eku::ClientAuth];
        let cert = params.signed_by(&key, &signer.unwrap()).unwrap();
        Some(Leaf {
            chain: format!("{}{}", cert.pem(), middle.chain),
            key: key.serialize_pem(),
        })
    });
    assert!(error.await.is_err());
}

#[tokio::test]
async fn postgres_certificates_are_no_identity() {
    let usage = Usage::Postgres {
        hosts: vec!["db.example.org".into()],
    };
    let said = knock(ClientAuth::Required, |c| {
        Some(c.leaf_at("agent/vn-1", &usage, HOUR, now()))
    })
    .await;
    assert!(said.is_err(), "{said:?}");
}

#[tokio::test]
async fn a_revoked_caller_is_refused_and_its_open_connection_ends() {
    let cluster = Cluster::new("hospital");
    let credentials = cluster.credentials(&cluster.node(1));
    let addr = serve(&credentials, ClientAuth::Required).await;
    let (bad, good) = (cluster.client("svc/ehr"), cluster.client("svc/lab"));

    let caller = connector(&cluster.credentials(&bad), Expect::AnyNode).unwrap();
    let mut open = caller.dial("127.0.0.1", addr.port()).await.unwrap();
    assert_eq!(line(&mut open).await.unwrap(), "spiffe://hospital/svc/ehr");
    open.write_all(b"a").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'a');

    credentials.set_revoked([serial(&bad)].into());
    open.write_all(b"b").await.ok();
    assert!(
        open.read_u8().await.is_err(),
        "an open connection outlived its revocation"
    );
    // Refused in the handshake already, and not only at the first byte.
    let error = call(addr, cluster.bare_client(Some(&bad)))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("Revoked"), "{error}");
    let other = call(addr, cluster.bare_client(Some(&good))).await.unwrap();
    assert_eq!(other, "spiffe://hospital/svc/lab");
}

#[tokio::test]
async fn no_session_is_ever_resumed() {
    let cluster = Cluster::new("hospital");
    let addr = serve(&cluster.credentials(&cluster.node(1)), ClientAuth::Required).await;
    let leaf = cluster.client("svc/ehr");
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(cluster.root.cert_pem.as_bytes()).unwrap())
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain(&leaf), key)
            .unwrap();
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        for _ in 0..3 {
            let tcp = TcpStream::connect(addr).await.unwrap();
            let mut stream = tls.connect("127.0.0.1".try_into().unwrap(), tcp).await.unwrap();
            line(&mut stream).await.unwrap();
            assert_eq!(
                stream.get_ref().1.handshake_kind(),
                Some(rustls::HandshakeKind::Full)
            );
        }
    }
}

#[tokio::test]
async fn silence_does_not_keep_a_seat() {
    let cluster = Cluster::new("hospital");
    let addr = serve(&cluster.credentials(&cluster.node(1)), ClientAuth::Required).await;
    let mut silent = TcpStream::connect(addr).await.unwrap();
    // It is the server that ends it: this side would read for ever.
    assert!(silent.read_u8().await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_serves_the_next_handshake() {
    let cluster = Cluster::new("hospital");
    let credentials = cluster.credentials(&cluster.node(1));
    let addr = serve(&credentials, ClientAuth::Required).await;
    let renewed = cluster.node(1);
    credentials
        .replace_pem(&renewed.chain, &renewed.key, &cluster.root.cert_pem)
        .unwrap();
    let caller = connector(&cluster.credentials(&cluster.client("svc/ehr")), Expect::Node(1)).unwrap();
    let stream = caller.dial("127.0.0.1", addr.port()).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(Certificate::read(&shown).unwrap().serial, serial(&renewed));

    let other = cluster.node(2);
    let swapped = credentials.replace_pem(&other.chain, &other.key, &cluster.root.cert_pem);
    assert!(
        matches!(swapped, Err(credentials::Error::Identity { .. })),
        "{swapped:?}"
    );
    let mixed = credentials.replace_pem(&renewed.chain, &other.key, &cluster.root.cert_pem);
    assert!(matches!(mixed, Err(credentials::Error::Tls(_))), "{mixed:?}");
}
