//! The answering side: who may shake hands, and who a connection turned out to be.
//!
//! ```text
//! listener ─ accept ─► place (counted) ─► hello ─► handshake (in turn, 3 s in all) ─► TlsConn {Peer} ─► tonic
//! ```

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use rustls::{
    ServerConfig,
    server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Sleep,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{
    certificate::Certificate,
    credentials::Credentials,
    doorkeeper::{Bounds, Doorkeeper, Held},
    provider,
    spiffe::SpiffeId,
    verify::Callers,
};
use crate::seats::Full;

/// A connection that came when the door was full is closed after this; until then its calls are told so.
const TOLD_FOR: Duration = Duration::from_secs(2);
const READY_CONNECTIONS_MAX: usize = 64;
/// Between two tries when the process has no descriptor left for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whether a caller without a certificate is let through the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    Required,
    /// For the peer door: a certificate is needed, and it must be a node's.
    NodesOnly,
    /// For the door that joiners knock at; the handlers see `spiffe: None`.
    Optional,
}

/// Who is at the other end; found in a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub spiffe: Option<SpiffeId>,
    pub cert_sha256: Option<[u8; 32]>,
    pub addr: SocketAddr,
    /// What was full when this connection came: it is only told so.
    pub excess: Option<Full>,
}

/// TLS for a listener. Certificate, roots and revocations are read from `credentials` at each handshake.
/// No tickets and no session store: a resumed session would skip the revocation check.
pub fn server_config(
    credentials: &Credentials,
    auth: ClientAuth,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let verifier = Callers {
        credentials: credentials.clone(),
        auth,
    };
    let resolver = OwnCertificate(credentials.clone());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Accepted and identified connections, for tonic's `serve_with_incoming`. Dropping the stream closes
/// the listener. `credentials` are the ones of the config: a connection whose certificate is revoked
/// while it is open fails at its next read or write.
pub fn incoming(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    credentials: &Credentials,
    bounds: Bounds,
) -> impl Stream<Item = io::Result<TlsConn>> + Send + use<> {
    let (ready, connections) = mpsc::channel(READY_CONNECTIONS_MAX);
    tokio::spawn(accept_loop(
        listener,
        config,
        credentials.clone(),
        Doorkeeper::new(bounds),
        ready,
    ));
    ReceiverStream::new(connections)
}

type Ready = mpsc::Sender<io::Result<TlsConn>>;

async fn accept_loop(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    credentials: Credentials,
    keeper: Doorkeeper,
    ready: Ready,
) {
    loop {
        let accepted = tokio::select! {
            () = ready.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, addr)) => {
                let Some(held) = keeper.admit(addr.ip()) else {
                    continue;
                };
                let (tls, credentials) = (tls.clone(), credentials.clone());
                let (keeper, ready) = (keeper.clone(), ready.clone());
                tokio::spawn(async move {
                    match handshake(tcp, addr, held, tls, credentials, &keeper).await {
                        // A failed send means that the server is gone, and so is its caller.
                        Ok(connection) => drop(ready.send(Ok(connection)).await),
                        Err(error) => debug!(%addr, %error, "handshake refused"),
                    }
                });
            }
            Err(error) => {
                warn!(%error, "no new connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    tcp: TcpStream,
    addr: SocketAddr,
    held: Held,
    tls: Arc<ServerConfig>,
    credentials: Credentials,
    keeper: &Doorkeeper,
) -> io::Result<TlsConn> {
    tcp.set_nodelay(true)?;
    let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp);
    let stream = keeper
        .shake(addr.ip(), hello, |hello| hello.into_stream(tls))
        .await?;
    let leaf = match stream.get_ref().1.peer_certificates() {
        Some([leaf, ..]) => Some(Certificate::read(leaf).map_err(io::Error::other)?),
        _ => None,
    };
    let spiffe = leaf
        .as_ref()
        .map(Certificate::spiffe)
        .transpose()
        .map_err(io::Error::other)?;
    let held = keeper.recognise(held, addr.ip(), spiffe.as_ref());
    let held = held.ok_or_else(|| io::Error::other("the door is full"))?;
    let peer = Peer {
        spiffe,
        cert_sha256: leaf.as_ref().map(|l| l.sha256),
        addr,
        excess: held.excess,
    };
    let until = peer.excess.map(|_| Box::pin(tokio::time::sleep(TOLD_FOR)));
    Ok(TlsConn {
        stream,
        peer,
        serial: leaf.map(|l| l.serial),
        credentials,
        until,
        _held: held,
    })
}

/// One connection after its handshake.
pub struct TlsConn {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    serial: Option<Vec<u8>>,
    credentials: Credentials,
    /// The end of a connection that is only told that the door is full.
    until: Option<Pin<Box<Sleep>>>,
    _held: Held,
}

impl TlsConn {
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    fn still_welcome(&self) -> io::Result<()> {
        match &self.serial {
            Some(serial) if self.credentials.is_revoked(serial) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the caller's certificate was revoked",
            )),
            _ => Ok(()),
        }
    }

    fn still_told(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let until = self.until.as_mut();
        match until.is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
            true => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the door is full",
            )),
            false => Ok(()),
        }
    }
}

impl Connected for TlsConn {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.still_welcome()?;
        self.still_told(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.still_welcome()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    /// Lists of buffers are not taken, and TLS would copy them into a record anyway: h2 flushes each answer of over 256 bytes
    /// by itself where they are, and gathers those up to 1 KiB where they are not, so that one record and one system call
    /// carry many.
    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[derive(Debug)]
struct OwnCertificate(Credentials);

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.held().key.clone())
    }
}
