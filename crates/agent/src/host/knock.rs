//! A knock at PostgreSQL's door: the first words of the protocol, to hear whether the rules let somebody in.
//!
//! No password is shown: the rules speak before it is asked for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use reeve_domain::TenantId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ident::{Ending, Ident};
use super::{Error, Settings};

/// Who knocks, where, and how.
#[derive(Clone, Debug)]
pub struct Knock {
    pub host: String,
    pub port: u16,
    pub ca: std::path::PathBuf,
    pub user: String,
    pub database: String,
    pub replication: Option<&'static str>,
    pub tls: bool,
}

/// What the door said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The rules let this one in, as far as asking for a password.
    AsksForPassword,
    /// In without a password.
    LetIn,
    /// Turned away, with a SQLSTATE.
    Refused(String),
}

const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 << 10;

impl Knock {
    /// As a tenant's login at its own database, over TLS.
    pub fn at(settings: &Settings, tenant: &TenantId) -> Knock {
        Knock {
            host: settings.own_host().to_owned(),
            port: settings.port,
            ca: settings.tls.ca.clone(),
            user: Ident::role(tenant, Ending::A).as_str().to_owned(),
            database: Ident::of(tenant).as_str().to_owned(),
            replication: None,
            tls: true,
        }
    }

    /// Knocks once.
    pub async fn go(&self) -> Result<Said, Error> {
        match tokio::time::timeout(PATIENCE, self.knock()).await {
            Ok(said) => said,
            Err(_) => Err(Error::retry("KNOCK", "the door does not answer")),
        }
    }

    async fn knock(&self) -> Result<Said, Error> {
        let mut socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // A few short words each way: to wait for more of them costs forty milliseconds a knock.
        socket.set_nodelay(true)?;
        if !self.tls {
            return self.speak(socket).await;
        }
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        socket.write_all(&request).await?;
        if socket.read_u8().await? != b'S' {
            return Err(Error::permanent("TLS", "the server offers no TLS"));
        }
        let name = match self.host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(self.host.clone())
                .map_err(|_| Error::permanent("TLS", "postgres.listen is no host name"))?,
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.tls_config()?));
        self.speak(connector.connect(name, socket).await?).await
    }

    fn tls_config(&self) -> Result<rustls::ClientConfig, Error> {
        let bad =
            |error: &dyn std::fmt::Display| Error::permanent("TLS", format!("the root certificate: {error}"));
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.ca).map_err(|e| bad(&e))? {
            roots
                .add(certificate.map_err(|e| bad(&e))?)
                .map_err(|e| bad(&e))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Ok(builder
            .map_err(|e| bad(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin>(&self, mut socket: S) -> Result<Said, Error> {
        let mut words = vec![("user", self.user.as_str()), ("database", self.database.as_str())];
        words.extend(self.replication.map(|kind| ("replication", kind)));
        let mut hello = BytesMut::new();
        frontend::startup_message(words, &mut hello)?;
        socket.write_all(&hello).await?;
        let mut heard = BytesMut::new();
        loop {
            if socket.read_buf(&mut heard).await? == 0 || heard.len() > ANSWER_BYTES_MAX {
                return Err(Error::retry("KNOCK", "the door was slammed"));
            }
            match Message::parse(&mut heard)? {
                None => {}
                Some(Message::AuthenticationOk) => return Ok(Said::LetIn),
                Some(Message::ErrorResponse(body)) => return Ok(Said::Refused(sqlstate(&body))),
                Some(_) => return Ok(Said::AsksForPassword),
            }
        }
    }
}

fn sqlstate(body: &postgres_protocol::message::backend::ErrorResponseBody) -> String {
    use fallible_iterator::FallibleIterator;
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        if field.type_() == b'C' {
            return String::from_utf8_lossy(field.value_bytes()).into_owned();
        }
    }
    String::new()
}
