//! What a caller makes of those who answer.

use super::*;

/// A server that shows whatever chain it is given.
async fn impostor(cluster: &Cluster, leaf: &Leaf) -> SocketAddr {
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain(leaf), key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let any = cluster.credentials(&cluster.node(9));
    let mut connections = Box::pin(incoming(listener, Arc::new(config), &any, Bounds::default()));
    tokio::spawn(async move { while connections.next().await.is_some() {} });
    addr
}

async fn dial(caller: &Connector, addr: SocketAddr) -> Result<(), String> {
    caller
        .dial("127.0.0.1", addr.port())
        .await
        .map(drop)
        .map_err(|e| e.to_string())
}

#[tokio::test]
async fn only_the_expected_node_is_believed() {
    let cluster = Cluster::new("hospital");
    let addr = serve(&cluster.credentials(&cluster.node(1)), ClientAuth::Required).await;
    let own = cluster.credentials(&cluster.client("svc/ehr"));
    assert_eq!(
        dial(&connector(&own, Expect::AnyNode).unwrap(), addr).await,
        Ok(())
    );
    assert_eq!(
        dial(&connector(&own, Expect::Node(1)).unwrap(), addr).await,
        Ok(())
    );
    let error = dial(&connector(&own, Expect::Node(2)).unwrap(), addr)
        .await
        .unwrap_err();
    assert!(error.contains("node"), "{error}");
}

#[tokio::test]
async fn impostors_are_refused() {
    let cluster = Cluster::new("hospital");
    let own = cluster.credentials(&cluster.client("svc/ehr"));
    let caller = connector(&own, Expect::AnyNode).unwrap();
    let both = [Eku::ServerAuth, Eku::ClientAuth];
    let node = "spiffe://hospital/node/1";
    let cases = [
        ("a foreign root", Cluster::new("hospital").node(1)),
        (
            "an agent",
            cluster.forged(&["spiffe://hospital/agent/vn-1"], &both),
        ),
        ("a client certificate", cluster.client("node/1")),
        (
            "another cluster",
            cluster.forged(&["spiffe://clinic/node/1"], &both),
        ),
        (
            "two names",
            cluster.forged(&[node, "spiffe://hospital/node/2"], &both),
        ),
        (
            "postgres",
            cluster.leaf_at(
                "agent/a",
                &Usage::Postgres {
                    hosts: vec!["127.0.0.1".into()],
                },
                HOUR,
                now(),
            ),
        ),
    ];
    for (what, leaf) in cases {
        let addr = impostor(&cluster, &leaf).await;
        assert!(dial(&caller, addr).await.is_err(), "{what} was believed");
    }
    let honest = cluster.forged(&[node], &both);
    assert_eq!(dial(&caller, impostor(&cluster, &honest).await).await, Ok(()));
    own.set_revoked([serial(&honest)].into());
    assert!(
        dial(&caller, impostor(&cluster, &honest).await).await.is_err(),
        "a revoked node was believed"
    );
}

#[tokio::test]
async fn a_pin_believes_the_pinned_root_alone() {
    let cluster = Cluster::new("hospital");
    let addr = serve(&cluster.credentials(&cluster.node(1)), ClientAuth::Optional).await;
    let pin = token::pin_of(&cluster.root.cert_pem).unwrap();
    assert_eq!(dial(&pinned(pin).unwrap(), addr).await, Ok(()));

    let other = token::pin_of(&Cluster::new("hospital").root.cert_pem).unwrap();
    assert!(dial(&pinned(other).unwrap(), addr).await.is_err());
    let issuing = token::pin_of(&cluster.issuing.cert_pem).unwrap();
    assert!(
        dial(&pinned(issuing).unwrap(), addr).await.is_err(),
        "an issuing CA is no root"
    );
}

#[tokio::test]
async fn showing_the_pinned_root_without_its_signature_fools_nobody() {
    let cluster = Cluster::new("hospital");
    let pin = token::pin_of(&cluster.root.cert_pem).unwrap();
    let rogue = Cluster::new("hospital");
    let leaf = rogue.node(1);
    let dressed = Leaf {
        chain: format!("{}{}", leaf.chain, cluster.root.cert_pem),
        key: leaf.key.clone(),
    };
    let addr = impostor(&cluster, &dressed).await;
    assert!(dial(&pinned(pin).unwrap(), addr).await.is_err());
    let client_only = impostor(&cluster, &cluster.client("svc/ehr")).await;
    assert!(
        dial(&pinned(pin).unwrap(), client_only).await.is_err(),
        "a service answered for a node"
    );
}
