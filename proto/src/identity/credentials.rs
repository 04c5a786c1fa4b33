//! A process's own certificate, key, roots and revocations, replaced while connections live.
//!
//! Everything that needs them reads one pointer at the moment of need, so a renewal or a revocation
//! holds from the next handshake on, without rebuilding servers or channels.

use std::{collections::BTreeSet, io, path::Path, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, SignatureScheme,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::{
    certificate::{self, Certificate},
    provider,
    spiffe::SpiffeId,
};

/// A cloneable handle; all clones see a replacement at once.
#[derive(Clone)]
pub struct Credentials(Arc<ArcSwap<Held>>);

/// One consistent set. Chain and key always belong together.
pub(super) struct Held {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) clients: Arc<dyn ClientCertVerifier>,
    pub(super) spiffe: SpiffeId,
    pub(super) revoked: Arc<BTreeSet<Vec<u8>>>,
    leaf: Certificate,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} {path:?} cannot be read")]
    File {
        what: &'static str,
        path: String,
        source: io::Error,
    },
    #[error("{0} holds no readable PEM; expected {1}")]
    Pem(&'static str, &'static str),
    #[error("certificate is refused")]
    Certificate(#[from] certificate::Error),
    #[error("key and certificate do not go together, or the roots cannot verify")]
    Tls(#[from] rustls::Error),
    #[error("roots cannot verify clients")]
    Roots(#[from] rustls::server::VerifierBuilderError),
    #[error("certificate chain does not lead to the given roots")]
    Chain(#[source] rustls::Error),
    #[error("new certificate is {found}, this process is {expected}; an identity is never swapped")]
    Identity { found: SpiffeId, expected: SpiffeId },
}

impl Credentials {
    /// Takes a chain (leaf first), its key and the trusted roots, all PEM.
    pub fn from_pem(chain: &str, key: &str, roots: &str) -> Result<Credentials, Error> {
        let held = Held::build(chain, key, read_roots(roots)?)?;
        Ok(Credentials(Arc::new(ArcSwap::from_pointee(held))))
    }

    /// Reads the same from files.
    pub fn from_files(chain: &Path, key: &Path, roots: &Path) -> Result<Credentials, Error> {
        let [chain, key, roots] = read_all(chain, key, roots)?;
        Credentials::from_pem(&chain, &key, &roots)
    }

    /// Replaces chain, key and roots; the identity must stay the same. Revocations are kept.
    pub fn replace_pem(&self, chain: &str, key: &str, roots: &str) -> Result<(), Error> {
        self.replace(Held::build(chain, key, read_roots(roots)?)?)
    }

    /// Replaces chain and key, under the roots that are trusted already.
    pub fn renew_pem(&self, chain: &str, key: &str) -> Result<(), Error> {
        self.replace(Held::build(chain, key, self.held().roots.clone())?)
    }

    /// Takes what another handle holds; the identity must be the same.
    pub fn replace_with(&self, other: &Credentials) -> Result<(), Error> {
        let held = other.held();
        self.replace(held.with_revoked(held.revoked.clone()))
    }

    fn replace(&self, new: Held) -> Result<(), Error> {
        let expected = self.spiffe();
        if new.spiffe != expected {
            return Err(Error::Identity {
                found: new.spiffe,
                expected,
            });
        }
        self.0.rcu(|old| new.with_revoked(old.revoked.clone()));
        Ok(())
    }

    /// Reads the files again, for example after a renewal wrote them.
    pub fn replace_files(&self, chain: &Path, key: &Path, roots: &Path) -> Result<(), Error> {
        let [chain, key, roots] = read_all(chain, key, roots)?;
        self.replace_pem(&chain, &key, &roots)
    }

    /// Sets the serials that are refused from now on, in handshakes and on open connections.
    pub fn set_revoked(&self, serials: BTreeSet<Vec<u8>>) {
        let serials = Arc::new(serials);
        self.0.rcu(|old| old.with_revoked(serials.clone()));
    }

    pub fn is_revoked(&self, serial: &[u8]) -> bool {
        self.0.load().revoked.contains(serial)
    }

    /// Who this process is.
    pub fn spiffe(&self) -> SpiffeId {
        self.0.load().spiffe.clone()
    }

    /// When the certificate ends; renew at half of what is left at issue.
    pub fn not_after(&self) -> SystemTime {
        self.0.load().leaf.not_after
    }

    /// When the certificate began to hold.
    pub fn not_before(&self) -> SystemTime {
        self.0.load().leaf.not_before
    }

    /// The serial of the certificate in use.
    pub fn serial(&self) -> Vec<u8> {
        self.0.load().leaf.serial.clone()
    }

    /// Signs with this process's own key; the chain that proves whose it is comes with it, the root left out.
    pub fn sign(&self, message: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
        let held = self.held();
        let signer = held
            .key
            .key
            .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
        let signer =
            signer.ok_or_else(|| Error::Tls(rustls::Error::General("the key is not P-256".into())))?;
        let chain = held.key.cert.iter().take(2).map(|der| der.to_vec()).collect();
        Ok((signer.sign(message)?, chain))
    }

    pub(super) fn held(&self) -> Arc<Held> {
        self.0.load_full()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, key ***)", self.spiffe())
    }
}

impl Held {
    fn build(chain: &str, key: &str, roots: Arc<RootCertStore>) -> Result<Held, Error> {
        let chain = certificates(chain, "chain")?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| Error::Pem("key", "one PKCS#8 private key"))?;
        let leaf = Certificate::read(&chain[0])?;
        let spiffe = leaf.spiffe()?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build()?;
        leads_to_roots(&chain, &leaf, clients.as_ref())?;
        let key = CertifiedKey::from_der(chain, key, &provider())?;
        Ok(Held {
            key: Arc::new(key),
            roots,
            clients,
            spiffe,
            revoked: Arc::default(),
            leaf,
        })
    }

    fn with_revoked(&self, revoked: Arc<BTreeSet<Vec<u8>>>) -> Held {
        Held {
            key: self.key.clone(),
            roots: self.roots.clone(),
            clients: self.clients.clone(),
            spiffe: self.spiffe.clone(),
            revoked,
            leaf: self.leaf.clone(),
        }
    }
}

fn read_roots(pem: &str) -> Result<Arc<RootCertStore>, Error> {
    let mut store = RootCertStore::empty();
    for root in certificates(pem, "roots")? {
        store.add(root)?;
    }
    Ok(Arc::new(store))
}

/// Reads every certificate of a PEM text; an empty text is an error, a broken one too.
pub(super) fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wanted = "one or more certificates";
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        _ => Err(Error::Pem(what, wanted)),
    }
}

/// A chain that our own roots refuse would be refused by every peer: better to hear it here.
/// It is judged half-way through its life, so that an expired one may still be loaded and then renewed.
fn leads_to_roots(
    chain: &[CertificateDer<'_>],
    leaf: &Certificate,
    verifier: &dyn ClientCertVerifier,
) -> Result<(), Error> {
    let begin = leaf
        .not_before
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let life = leaf.not_after.duration_since(leaf.not_before).unwrap_or_default();
    let moment = UnixTime::since_unix_epoch(begin + life / 2);
    verifier
        .verify_client_cert(&chain[0], &chain[1..], moment)
        .map_err(Error::Chain)?;
    Ok(())
}

fn read_all(chain: &Path, key: &Path, roots: &Path) -> Result<[String; 3], Error> {
    let read = |what, path: &Path| {
        let path_text = path.display().to_string();
        std::fs::read_to_string(path).map_err(|source| Error::File {
            what,
            path: path_text,
            source,
        })
    };
    Ok([
        read("certificate chain", chain)?,
        read("key", key)?,
        read("root certificates", roots)?,
    ])
}
