//! How others are reached over HTTP, a store of backups and a webhook: HTTP/1.1 on the TLS that everything here has, one
//! connection for each request.
//!
//! No pool, no proxy, no redirect: these are few requests. What matters is that nothing waits for ever, and that slow is
//! told from stuck: a request may take as long as it needs while bytes go either way.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use url::Host;

/// Pieces of an answer that wait to be taken.
const QUEUE_MAX: usize = 4;
/// The longest answer that is not a backup: a list, an error.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("{at} cannot be reached: {why}")]
    Connect { at: String, why: String },
    #[error("{at} shows a certificate that is not trusted: {why}")]
    Certificate { at: String, why: String },
    #[error("{at} sent and took nothing for {} ms", after.as_millis())]
    Stalled { at: String, after: Duration },
    #[error("{at} ended the connection too early: {why}")]
    Cut { at: String, why: String },
    #[error("{at} sends more than {PAGE_BYTES_MAX} bytes where a page belongs")]
    TooLong { at: String },
    #[error("{0} is not an address that can be used")]
    Address(String),
}

impl From<WireError> for HttpError {
    /// The kind decides whether it is tried again.
    fn from(error: WireError) -> HttpError {
        let kind = match error {
            WireError::Connect { .. } => HttpErrorKind::Connect,
            WireError::Stalled { .. } => HttpErrorKind::Timeout,
            WireError::Cut { .. } => HttpErrorKind::Interrupted,
            WireError::Certificate { .. } | WireError::TooLong { .. } | WireError::Address(_) => {
                HttpErrorKind::Unknown
            }
        };
        HttpError::new(kind, error)
    }
}

/// Opens connections to one store.
#[derive(Clone)]
pub struct Wire {
    tls: TlsConnector,
    patience: Duration,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Wire").field("patience", &self.patience).finish()
    }
}

impl Wire {
    /// Trusts the CAs of one file alone, or without one (an empty path) those that browsers trust.
    pub fn new(ca_file: &Path, patience: Duration) -> Result<Wire, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
        Ok(Wire {
            tls: TlsConnector::from(Arc::new(config)),
            patience,
        })
    }

    /// As something that an object store can use.
    pub fn client(&self) -> HttpClient {
        HttpClient::new(self.clone())
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.client())
    }
}

/// Whether an address is on this very machine, where nobody is on the way.
pub fn is_here(host: Option<Host<&str>>) -> bool {
    match host {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn roots(ca_file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if ca_file.as_os_str().is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    }
    let wrong = |why: String| format!("{}: {why}", ca_file.display());
    let found = CertificateDer::pem_file_iter(ca_file).map_err(|error| wrong(error.to_string()))?;
    for cert in found {
        let cert = cert.map_err(|error| wrong(error.to_string()))?;
        roots.add(cert).map_err(|error| wrong(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("no certificate is in it".to_owned())),
        false => Ok(roots),
    }
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let door = Door::of(request.uri())?;
        let pulse = Pulse::new(self.patience, &door.at);
        let stream = pulse.watch(self.open(&door, &pulse)).await??;
        let cut = |error: hyper::Error| WireError::Cut {
            at: door.at.clone(),
            why: error.to_string(),
        };
        let shaken = pulse.watch(http1::handshake(TokioIo::new(stream))).await?;
        let (mut sender, connection) = shaken.map_err(cut)?;
        let driven = Ends(tokio::spawn(async move {
            // Its end is seen by whoever waits for the answer.
            let _ = connection.await;
        }));
        let is_object = request.method() == Method::GET && request.uri().query().is_none();
        let answered = pulse.watch(sender.send_request(to_host(request, &door)?)).await?;
        let (parts, body) = answered.map_err(cut)?.into_parts();
        let bytes_max = match is_object && parts.status.is_success() {
            true => usize::MAX,
            false => PAGE_BYTES_MAX,
        };
        let (send, pieces) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(pump(body, send, pulse, bytes_max, driven));
        let frames = ReceiverStream::new(pieces).map(|piece| piece.map(Frame::data));
        let body = HttpResponseBody::new(StreamBody::new(frames));
        Ok(HttpResponse::from_parts(parts, body))
    }
}

impl Wire {
    async fn open(&self, door: &Door, pulse: &Pulse) -> Result<Box<dyn Stream>, WireError> {
        let lost = |error: io::Error| WireError::Connect {
            at: door.at.clone(),
            why: error.to_string(),
        };
        let tcp = TcpStream::connect((door.host.as_str(), door.port))
            .await
            .map_err(lost)?;
        // A small request should not wait for a larger one.
        tcp.set_nodelay(true).map_err(lost)?;
        let tcp = Felt {
            inner: tcp,
            pulse: pulse.clone(),
        };
        let Some(name) = &door.tls else {
            return Ok(Box::new(tcp));
        };
        let tls = self.tls.connect(name.clone(), tcp).await.map_err(|error| {
            let inner = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(why)) => WireError::Certificate {
                    at: door.at.clone(),
                    why: why.to_string(),
                },
                _ => lost(error),
            }
        })?;
        Ok(Box::new(tls))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where a request goes.
struct Door {
    host: String,
    port: u16,
    tls: Option<ServerName<'static>>,
    at: String,
}

impl Door {
    fn of(uri: &Uri) -> Result<Door, WireError> {
        let odd = || WireError::Address(format!("{:?}", uri.authority().map(|at| at.as_str())));
        let host = uri.host().ok_or_else(odd)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = match is_tls {
            true => Some(ServerName::try_from(host.clone()).map_err(|_| odd())?),
            false => None,
        };
        let at = format!("{host}:{port}");
        Ok(Door { host, port, tls, at })
    }
}

/// The request as it goes over the wire: the path alone, and the host beside it.
fn to_host(request: HttpRequest, door: &Door) -> Result<hyper::Request<HttpRequestBody>, WireError> {
    let odd = || WireError::Address(door.at.clone());
    let mut request = request;
    if !request.headers().contains_key(HOST) {
        let authority = request.uri().authority().ok_or_else(odd)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| odd())?;
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().ok_or_else(odd)?.as_str();
    *request.uri_mut() = path.parse().map_err(|_| odd())?;
    Ok(request)
}

/// Passes an answer on, piece by piece, as its reader takes them.
async fn pump(
    mut body: Incoming,
    to: mpsc::Sender<Result<Bytes, HttpError>>,
    pulse: Pulse,
    bytes_max: usize,
    _driven: Ends,
) {
    let mut bytes = 0;
    loop {
        // How long the reader took for the last piece is not the store's fault.
        pulse.beat();
        let piece = match pulse.watch(body.frame()).await {
            Ok(None) => return,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Ok(data),
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => Err(WireError::Cut {
                at: pulse.at.to_string(),
                why: error.to_string(),
            }),
            Err(stalled) => Err(stalled),
        };
        let piece = piece.and_then(|data| {
            bytes += data.len();
            match bytes > bytes_max {
                true => Err(WireError::TooLong {
                    at: pulse.at.to_string(),
                }),
                false => Ok(data),
            }
        });
        let is_last = piece.is_err();
        if to.send(piece.map_err(HttpError::from)).await.is_err() || is_last {
            return;
        }
    }
}

/// A task that ends with this.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// When a byte last went either way.
#[derive(Clone)]
struct Pulse {
    last: Arc<Mutex<Instant>>,
    patience: Duration,
    at: Arc<str>,
}

impl Pulse {
    fn new(patience: Duration, at: &str) -> Pulse {
        Pulse {
            last: Arc::new(Mutex::new(Instant::now())),
            patience,
            at: at.into(),
        }
    }

    fn beat(&self) {
        *self.last.lock() = Instant::now();
    }

    /// Waits while bytes go, and not for long when none do.
    async fn watch<F: Future>(&self, work: F) -> Result<F::Output, WireError> {
        let mut work = pin!(work);
        loop {
            let until = *self.last.lock() + self.patience;
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep_until(until) => {}
            }
            if *self.last.lock() + self.patience <= Instant::now() {
                return Err(WireError::Stalled {
                    at: self.at.to_string(),
                    after: self.patience,
                });
            }
        }
    }
}

/// A connection whose pulse is felt.
struct Felt {
    inner: TcpStream,
    pulse: Pulse,
}

impl AsyncRead for Felt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(context, into);
        if read.is_ready() {
            self.pulse.beat();
        }
        read
    }
}

impl AsyncWrite for Felt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        if written.is_ready() {
            self.pulse.beat();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
