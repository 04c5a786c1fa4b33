//! The answering side: who may shake hands, and who a connection turned out to be.
//!
//! ```text
//! listener ─ accept ─► handshake task (3 s, counted) ─► TlsConn {Peer} ─► tonic
//! ```

use std::{
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
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{
    certificate::Certificate, credentials::Credentials, provider, spiffe::SpiffeId, verify::Callers,
};

/// Handshakes under way at one listener; further callers wait in the kernel's backlog.
pub const HANDSHAKES_MAX: usize = 256;
/// A handshake that takes longer is dropped.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(3);
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
) -> impl Stream<Item = io::Result<TlsConn>> + Send + use<> {
    let (ready, connections) = mpsc::channel(READY_CONNECTIONS_MAX);
    tokio::spawn(accept_loop(
        listener,
        TlsAcceptor::from(config),
        credentials.clone(),
        ready,
    ));
    ReceiverStream::new(connections)
}

type Ready = mpsc::Sender<io::Result<TlsConn>>;

async fn accept_loop(listener: TcpListener, tls: TlsAcceptor, credentials: Credentials, ready: Ready) {
    let seats = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let accepted = tokio::select! {
            () = ready.closed() => return,
            accepted = next(&listener, &seats) => accepted,
        };
        match accepted {
            Ok((tcp, addr, seat)) => {
                let (tls, credentials, ready) = (tls.clone(), credentials.clone(), ready.clone());
                tokio::spawn(async move {
                    match handshake(tcp, addr, tls, credentials).await {
                        Ok(connection) => {
                            drop(seat);
                            // A failed send means that the server is gone, and so is its caller.
                            ready.send(Ok(connection)).await.ok();
                        }
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

async fn next(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let seat = seats.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (tcp, addr) = listener.accept().await?;
    Ok((tcp, addr, seat))
}

async fn handshake(
    tcp: TcpStream,
    addr: SocketAddr,
    tls: TlsAcceptor,
    credentials: Credentials,
) -> io::Result<TlsConn> {
    tcp.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(tcp)).await??;
    let leaf = match stream.get_ref().1.peer_certificates() {
        Some([leaf, ..]) => Some(Certificate::read(leaf).map_err(io::Error::other)?),
        _ => None,
    };
    let spiffe = leaf
        .as_ref()
        .map(Certificate::spiffe)
        .transpose()
        .map_err(io::Error::other)?;
    let peer = Peer {
        spiffe,
        cert_sha256: leaf.as_ref().map(|l| l.sha256),
        addr,
    };
    Ok(TlsConn {
        stream,
        peer,
        serial: leaf.map(|l| l.serial),
        credentials,
    })
}

/// One connection after its handshake.
pub struct TlsConn {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    serial: Option<Vec<u8>>,
    credentials: Credentials,
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.still_welcome()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.still_welcome()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
