//! Real handshakes over loopback between what we issue and what an attacker would bring.

mod answerers;
mod callers;
mod issuing;
mod records;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::StreamExt;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose as Eku, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A whole authority with its keys at hand.
struct Cluster {
    name: &'static str,
    root: Authority,
    issuing: Authority,
}

/// A leaf's chain and key, both PEM.
struct Leaf {
    chain: String,
    key: String,
}

fn now() -> SystemTime {
    SystemTime::now()
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

impl Cluster {
    fn new(name: &'static str) -> Cluster {
        let root = ca::root(name, now()).unwrap();
        let issuing = ca::issuing(&root, name, now()).unwrap();
        Cluster { name, root, issuing }
    }

    fn issuer(&self) -> Issuer {
        Issuer::new(&self.issuing.cert_pem, &self.issuing.key_pem, &self.root.cert_pem).unwrap()
    }

    fn leaf_at(&self, who: &str, usage: &Usage, ttl: Duration, at: SystemTime) -> Leaf {
        let request = KeyRequest::generate().unwrap();
        let who = id(&format!("spiffe://{}/{who}", self.name));
        let issued = self
            .issuer()
            .issue(&request.csr_pem, &who, usage, ttl, at)
            .unwrap();
        Leaf {
            chain: issued.chain_pem,
            key: request.key_pem.to_string(),
        }
    }

    fn client(&self, who: &str) -> Leaf {
        self.leaf_at(who, &Usage::Client, HOUR, now())
    }

    fn node(&self, number: u64) -> Leaf {
        let usage = Usage::Node {
            hosts: vec!["127.0.0.1".into(), "localhost".into()],
        };
        self.leaf_at(&format!("node/{number}"), &usage, HOUR, now())
    }

    /// A leaf that our own code would never issue, signed by the true issuing key.
    fn forged(&self, uris: &[&str], uses: &[Eku]) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let signing = KeyPair::from_pem(&self.issuing.key_pem).unwrap();
        let signer = rcgen::Issuer::from_ca_cert_pem(&self.issuing.cert_pem, signing).unwrap();
        let mut params = CertificateParams::default();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        params.extended_key_usages = uses.to_vec();
        let cert = params.signed_by(&key, &signer).unwrap();
        let chain = format!("{}{}{}", cert.pem(), self.issuing.cert_pem, self.root.cert_pem);
        Leaf {
            chain,
            key: key.serialize_pem(),
        }
    }

    fn credentials(&self, leaf: &Leaf) -> Credentials {
        Credentials::from_pem(&leaf.chain, &leaf.key, &self.root.cert_pem).unwrap()
    }

    /// An attacker's client: it sends whatever it has, and checks only that it reached this cluster.
    fn bare_client(&self, leaf: Option<&Leaf>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.root.cert_pem.as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let Some(leaf) = leaf else {
            return builder.with_no_client_auth();
        };
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        builder.with_client_auth_cert(chain(leaf), key).unwrap()
    }
}

fn chain(leaf: &Leaf) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(leaf.chain.as_bytes())
        .map(Result::unwrap)
        .collect()
}

fn serial(leaf: &Leaf) -> Vec<u8> {
    Certificate::read(&chain(leaf)[0]).unwrap().serial
}

/// Serves lines that say who called, and then repeats what it hears.
async fn serve(credentials: &Credentials, auth: ClientAuth) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let config = server_config(credentials, auth).unwrap();
    let mut connections = Box::pin(incoming(listener, config, credentials, Bounds::default()));
    tokio::spawn(async move {
        while let Some(Ok(mut connection)) = connections.next().await {
            tokio::spawn(async move {
                let who = connection
                    .peer()
                    .spiffe
                    .as_ref()
                    .map_or("nobody".into(), ToString::to_string);
                connection.write_all(format!("{who}\n").as_bytes()).await.ok();
                let mut byte = [0];
                while connection.read_exact(&mut byte).await.is_ok() {
                    if connection.write_all(&byte).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    addr
}

/// Calls and returns what the server made of us; an error when it hung up instead.
async fn call(addr: SocketAddr, config: ClientConfig) -> std::io::Result<String> {
    let tcp = TcpStream::connect(addr).await?;
    let name = "127.0.0.1".try_into().unwrap();
    let mut tls = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await?;
    line(&mut tls).await
}

async fn line(tls: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        match tls.read_u8().await? {
            b'\n' => return Ok(text),
            byte => text.push(char::from(byte)),
        }
    }
}
