//! The calling side: dials a node, proves it is one, and makes lazy gRPC channels of it.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    pki_types::ServerName,
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    codegen::http::Uri,
    transport::{Channel, Endpoint},
};

use super::{
    certificate::SpkiPin,
    credentials::Credentials,
    provider,
    verify::{Nodes, Trust},
};

/// Which node must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    AnyNode,
    Node(u64),
}

/// How a channel behaves.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// For TCP and TLS together.
    pub connect_patience: Duration,
    /// Between two pings on an otherwise silent connection.
    pub ping_every: Duration,
    /// How long a ping may stay unanswered before the connection counts as dead.
    pub ping_patience: Duration,
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            connect_patience: Duration::from_secs(2),
            ping_every: Duration::from_secs(5),
            ping_patience: Duration::from_secs(5),
            stream_window_bytes: 4 << 20,
            connection_window_bytes: 8 << 20,
        }
    }
}

/// The largest message either side takes; set it on generated clients and servers.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Dials nodes with our certificate; they must chain to our root, be nodes of our cluster, and be the
/// expected one. Host names are not compared: the identity says who it is, wherever it lives.
pub fn connector(credentials: &Credentials, expect: Expect) -> Result<Connector, rustls::Error> {
    let verifier = Nodes::new(Trust::Root(credentials.clone()), expect);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Connector::new(builder.with_client_cert_resolver(Arc::new(
        OwnCertificate(credentials.clone()),
    ))))
}

/// Dials a cluster that we do not belong to yet: no certificate of our own, and the answerer's chain must
/// hold a self-signed root with the pinned key that really signed it.
pub fn pinned(pin: SpkiPin) -> Result<Connector, rustls::Error> {
    let verifier = Nodes::new(Trust::Pin(pin), Expect::AnyNode);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Connector::new(builder.with_no_client_auth()))
}

/// A channel to `host:port` that dials when it is first used, and again whenever it must.
pub fn channel(
    addr: &str,
    connector: Connector,
    tuning: &Tuning,
) -> Result<Channel, tonic::transport::Error> {
    // The scheme is only tonic's: the connector does TLS for every address.
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))?
        .connect_timeout(tuning.connect_patience)
        .http2_keep_alive_interval(tuning.ping_every)
        .keep_alive_timeout(tuning.ping_patience)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(tuning.stream_window_bytes)
        .initial_connection_window_size(tuning.connection_window_bytes);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// A `tower::Service<Uri>` for tonic's `connect_with_connector_lazy`.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
}

impl Connector {
    fn new(mut config: ClientConfig) -> Connector {
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Connector {
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// Dials one address outside of tonic, under the same checks.
    pub async fn dial(&self, host: &str, port: u16) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is no host name")))?;
        let dialing = async {
            let tcp = TcpStream::connect((host, port)).await?;
            tcp.set_nodelay(true)?;
            self.tls.connect(name, tcp).await
        };
        tokio::time::timeout(CONNECT_PATIENCE, dialing).await?
    }
}

type Dialing = Pin<Box<dyn Future<Output = io::Result<TokioIo<TlsStream<TcpStream>>>> + Send>>;

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Dialing;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Dialing {
        let connector = self.clone();
        Box::pin(async move {
            let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
                let story = format!("address {uri} must be host:port");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, story));
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Ok(TokioIo::new(connector.dial(host, port).await?))
        })
    }
}

#[derive(Debug)]
struct OwnCertificate(Credentials);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.held().key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
