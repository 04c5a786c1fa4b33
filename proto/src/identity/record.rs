//! A statement of the registry to an agent, signed by the node that says it; it proves itself to whoever has the root.
//!
//! ```text
//! statement (MessagePack) | signature of the node's key | chain: the node's leaf, issuing CA
//! ```

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use reeve_domain::record::{Absurd, FORMAT, Statement};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{self, Certificate};
use super::credentials::{self, Credentials, certificates};
use super::provider;
use super::spiffe::Kind;
use crate::v1;

/// What a node's key signs besides handshakes begins with this, so that one can never pass for the other.
const PREFIX: &[u8] = b"reeve record of an agent, format 1\0";
/// The longest statement: all lists of a tenant at their bounds.
pub const STATEMENT_BYTES_MAX: usize = 256 * 1024;
/// Leaf and issuing CA.
const CHAIN_MAX: usize = 2;
const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// A statement as it is handed on and kept, word for word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    #[serde(with = "serde_bytes")]
    pub statement: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
    pub chain: Vec<serde_bytes::ByteBuf>,
}

/// What an agent gives out of all that it keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    pub format: u32,
    pub agent: String,
    pub records: Vec<Signed>,
}

impl Export {
    /// The bytes of a file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        rmp_serde::to_vec_named(self).map_err(|error| Error::Unreadable(error.to_string()))
    }

    /// Reads a file, and believes nothing of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Export, Error> {
        let export: Export =
            rmp_serde::from_slice(bytes).map_err(|error| Error::Unreadable(error.to_string()))?;
        match export.format {
            FORMAT => Ok(export),
            other => Err(Error::Format(other)),
        }
    }
}

impl From<Signed> for v1::SignedRecord {
    fn from(signed: Signed) -> v1::SignedRecord {
        v1::SignedRecord {
            statement: signed.statement,
            signature: signed.signature,
            chain: signed
                .chain
                .into_iter()
                .map(serde_bytes::ByteBuf::into_vec)
                .collect(),
        }
    }
}

impl From<v1::SignedRecord> for Signed {
    fn from(wire: v1::SignedRecord) -> Signed {
        Signed {
            statement: wire.statement,
            signature: wire.signature,
            chain: wire.chain.into_iter().map(serde_bytes::ByteBuf::from).collect(),
        }
    }
}

/// Why a record is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it has format {0}, and this program reads format {FORMAT}; use a newer one")]
    Format(u32),
    #[error("it is larger than any record: {0}")]
    TooLarge(&'static str),
    #[error(transparent)]
    Absurd(#[from] Absurd),
    #[error("its chain does not lead to the root of this cluster, or did not hold when it was said: {0}")]
    Chain(rustls::Error),
    #[error("its signer is refused")]
    Signer(#[from] certificate::Error),
    #[error("{0} signed it, and only a node of the registry may")]
    NotANode(String),
    #[error("its signature does not fit: it was altered, or never said")]
    Signature,
    #[error("it is of cluster {found:?}, this is {expected:?}")]
    Cluster { found: String, expected: String },
    #[error("it cannot be signed")]
    Sign(#[from] credentials::Error),
    #[error("roots cannot verify")]
    Roots(#[from] rustls::server::VerifierBuilderError),
}

/// Signs what a node says.
pub fn sign(statement: &Statement, node: &Credentials) -> Result<Signed, Error> {
    let bytes = rmp_serde::to_vec_named(statement).map_err(|error| Error::Unreadable(error.to_string()))?;
    let (signature, chain) = node.sign(&[PREFIX, &bytes].concat())?;
    Ok(Signed {
        statement: bytes,
        signature,
        chain: chain.into_iter().map(serde_bytes::ByteBuf::from).collect(),
    })
}

/// Judges records by the root of one cluster.
#[derive(Clone, Debug)]
pub struct Judge {
    cluster: String,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Judge {
    /// Of a cluster's name and its root.
    pub fn new(cluster: &str, roots_pem: &str) -> Result<Judge, Error> {
        let mut store = RootCertStore::empty();
        for root in certificates(roots_pem, "roots")? {
            store.add(root).map_err(Error::Chain)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider()).build()?;
        Ok(Judge {
            cluster: cluster.to_owned(),
            verifier,
        })
    }

    /// The statement, and the number of the node that signed it; or why it is not believed.
    pub fn open(&self, signed: &Signed) -> Result<(Statement, u64), Error> {
        let statement = read(signed)?;
        let node = self.signer(signed, &statement)?;
        if statement.cluster != self.cluster {
            return Err(Error::Cluster {
                found: statement.cluster,
                expected: self.cluster.clone(),
            });
        }
        Ok((statement, node))
    }

    fn signer(&self, signed: &Signed, statement: &Statement) -> Result<u64, Error> {
        let chain: Vec<_> = signed
            .chain
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let Some((leaf, above)) = chain.split_first() else {
            return Err(Error::TooLarge("no certificate"));
        };
        let said = UnixTime::since_unix_epoch(Duration::from_millis(statement.at.0));
        self.verifier
            .verify_client_cert(leaf, above, said)
            .map_err(Error::Chain)?;
        let caller = Certificate::read(leaf)?.caller(&self.cluster)?;
        let Kind::Node(node) = *caller.kind() else {
            return Err(Error::NotANode(caller.to_string()));
        };
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|error| Error::Unreadable(error.to_string()))?;
        let key = UnparsedPublicKey::new(
            &ECDSA_P256_SHA256_ASN1,
            &parsed.public_key().subject_public_key.data,
        );
        key.verify(&[PREFIX, &signed.statement].concat(), &signed.signature)
            .map_err(|_| Error::Signature)?;
        Ok(node)
    }
}

/// Reads a statement and believes nothing of it.
pub fn read(signed: &Signed) -> Result<Statement, Error> {
    /// What every format begins with, whatever follows.
    #[derive(Deserialize)]
    struct Any {
        format: u32,
    }
    if signed.statement.len() > STATEMENT_BYTES_MAX || signed.signature.len() > CERTIFICATE_BYTES_MAX {
        return Err(Error::TooLarge("the statement"));
    }
    if signed.chain.len() > CHAIN_MAX || signed.chain.iter().any(|der| der.len() > CERTIFICATE_BYTES_MAX) {
        return Err(Error::TooLarge("the chain"));
    }
    let unreadable = |error: rmp_serde::decode::Error| Error::Unreadable(error.to_string());
    let any: Any = rmp_serde::from_slice(&signed.statement).map_err(unreadable)?;
    if any.format != FORMAT {
        return Err(Error::Format(any.format));
    }
    let statement: Statement = rmp_serde::from_slice(&signed.statement).map_err(unreadable)?;
    statement.check()?;
    Ok(statement)
}
