//! What one certificate claims, read once and strictly.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::spiffe::{self, Kind, SpiffeId};

/// SHA-256 over a certificate's SubjectPublicKeyInfo: what a join token pins of the root.
pub type SpkiPin = [u8; 32];

/// The parts of a certificate that decisions rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// URI names in the order they stand; an identity has exactly one.
    pub uris: Vec<String>,
    pub client_auth: bool,
    pub server_auth: bool,
    /// The serial's bytes as they stand in the certificate.
    pub serial: Vec<u8>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub spki: SpkiPin,
    pub sha256: [u8; 32],
}

/// Why a certificate proves no identity here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("certificate cannot be read: {0}")]
    Malformed(String),
    #[error("certificate carries {0} URI names, an identity carries exactly one")]
    Names(usize),
    #[error("certificate's URI name is refused")]
    Spiffe(#[from] spiffe::Error),
    #[error("certificate was not issued for {0}")]
    Usage(&'static str),
    #[error("certificate belongs to cluster {found:?}, this is {expected:?}")]
    Cluster { found: String, expected: String },
    #[error("{found} answered where {expected} was expected")]
    Peer { found: String, expected: String },
    #[error("no self-signed root in the chain has the pinned key")]
    Pin,
}

impl Certificate {
    /// Reads a certificate; bytes behind it, or an extension twice, refuse it.
    pub fn read(der: &[u8]) -> Result<Certificate, Error> {
        let malformed = |e: String| Error::Malformed(e);
        let (rest, cert) = X509Certificate::from_der(der).map_err(|e| malformed(e.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("bytes follow the certificate".to_owned()));
        }
        let names = cert
            .subject_alternative_name()
            .map_err(|e| malformed(e.to_string()))?;
        let uses = cert.extended_key_usage().map_err(|e| malformed(e.to_string()))?;
        let uris = names
            .iter()
            .flat_map(|n| &n.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                _ => None,
            });
        Ok(Certificate {
            uris: uris.collect(),
            client_auth: uses.as_ref().is_some_and(|u| u.value.client_auth),
            server_auth: uses.as_ref().is_some_and(|u| u.value.server_auth),
            serial: cert.raw_serial().to_vec(),
            not_before: stamp(cert.validity().not_before.timestamp()),
            not_after: stamp(cert.validity().not_after.timestamp()),
            spki: Sha256::digest(cert.public_key().raw).into(),
            sha256: Sha256::digest(der).into(),
        })
    }

    /// The one identity, or why there is none.
    pub fn spiffe(&self) -> Result<SpiffeId, Error> {
        match self.uris.as_slice() {
            [uri] => Ok(SpiffeId::parse(uri)?),
            other => Err(Error::Names(other.len())),
        }
    }

    /// The identity of a caller: issued for clients, of this cluster.
    pub fn caller(&self, cluster: &str) -> Result<SpiffeId, Error> {
        if !self.client_auth {
            return Err(Error::Usage("clients"));
        }
        of_cluster(self.spiffe()?, cluster)
    }

    /// The identity of a node that answers: issued for servers, kind node, of this cluster when it is known.
    pub fn answerer(&self, cluster: Option<&str>) -> Result<SpiffeId, Error> {
        if !self.server_auth {
            return Err(Error::Usage("servers"));
        }
        let found = self.spiffe()?;
        if !matches!(found.kind(), Kind::Node(_)) {
            return Err(Error::Peer {
                found: found.to_string(),
                expected: "a node".to_owned(),
            });
        }
        match cluster {
            Some(cluster) => of_cluster(found, cluster),
            None => Ok(found),
        }
    }
}

/// The certificate in a chain whose key is pinned, provided that it really signed itself.
pub fn pinned_root<'a>(
    chain: &'a [CertificateDer<'a>],
    pin: &SpkiPin,
) -> Result<&'a CertificateDer<'a>, Error> {
    let is_root = |der: &&CertificateDer<'_>| {
        let Ok((_, cert)) = X509Certificate::from_der(der) else {
            return false;
        };
        let digest: SpkiPin = Sha256::digest(cert.public_key().raw).into();
        digest == *pin && cert.verify_signature(None).is_ok()
    };
    chain.iter().find(is_root).ok_or(Error::Pin)
}

/// The names and addresses that a server may be reached by, from the first certificate of a chain.
pub fn hosts(chain_pem: &str) -> Result<Vec<String>, Error> {
    let malformed = |why: String| Error::Malformed(why);
    let der = CertificateDer::from_pem_slice(chain_pem.as_bytes()).map_err(|e| malformed(e.to_string()))?;
    let (_, cert) = X509Certificate::from_der(&der).map_err(|e| malformed(e.to_string()))?;
    let names = cert
        .subject_alternative_name()
        .map_err(|e| malformed(e.to_string()))?;
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|b| IpAddr::from(b).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|b| IpAddr::from(b).to_string()),
        },
        _ => None,
    };
    let names = names.iter().flat_map(|n| &n.value.general_names);
    Ok(names.filter_map(host).collect())
}

fn of_cluster(id: SpiffeId, cluster: &str) -> Result<SpiffeId, Error> {
    if id.cluster() != cluster {
        return Err(Error::Cluster {
            found: id.cluster().to_owned(),
            expected: cluster.to_owned(),
        });
    }
    Ok(id)
}

fn stamp(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// A refusal in the words TLS understands; the peer sees an alert, our log the reason.
impl From<Error> for rustls::Error {
    fn from(error: Error) -> rustls::Error {
        let other = rustls::OtherError(std::sync::Arc::new(error));
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))
    }
}
