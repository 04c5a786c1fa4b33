//! The cluster's certificate authority: an offline root, one issuing CA, and the leaves it signs.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Eku, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use zeroize::Zeroizing;

use super::{
    certificate::{self, Certificate},
    credentials,
    spiffe::{Kind, SpiffeId},
};

const DAY: Duration = Duration::from_secs(86_400);
pub const ROOT_TTL: Duration = Duration::from_secs(DAY.as_secs() * 3_650);
pub const ISSUING_TTL: Duration = Duration::from_secs(DAY.as_secs() * 730);
pub const NODE_TTL: Duration = Duration::from_secs(DAY.as_secs() * 7);
pub const AGENT_TTL: Duration = DAY;
pub const SERVICE_TTL: Duration = DAY;
pub const PERSON_TTL: Duration = Duration::from_secs(8 * 3_600);
/// How far before now a certificate begins. Whoever signs may be an hour ahead, and whoever judges an hour behind: they
/// still understand each other, and what was signed meanwhile is good when the clocks are right again.
pub const SKEW: Duration = Duration::from_secs(3 * 3_600);
const SERIAL_BYTES: usize = 20;
const COMMON_NAME_BYTES_MAX: usize = 64;
const HOSTS_MAX: usize = 32;

/// A certificate authority's certificate and private key.
pub struct Authority {
    pub cert_pem: String,
    pub key_pem: Zeroizing<String>,
}

/// What a leaf may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Answers and calls: client and server authentication under these DNS names and addresses.
    Node { hosts: Vec<String> },
    /// Calls only.
    Client,
    /// PostgreSQL's own server certificate: names hosts, and no identity of the cluster.
    Postgres { hosts: Vec<String> },
}

/// A signed leaf.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf, issuing CA and root, in this order.
    pub chain_pem: String,
    /// The leaf's serial as bytes; revocation speaks of it.
    pub serial: Vec<u8>,
    pub not_after: SystemTime,
    /// SHA-256 of the leaf, as a connection's peer shows it.
    pub sha256: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("request is no readable PEM certificate request")]
    Request,
    #[error("request is not signed by its own key")]
    Proof,
    #[error("request's key is not ECDSA P-256; make a new key and ask again")]
    Key,
    #[error("host {0:?} is neither a DNS name nor an address")]
    Host(String),
    #[error("{0} hosts asked for, a certificate carries 1 to {HOSTS_MAX}")]
    Hosts(usize),
    #[error("issuing CA has expired; a new one must be signed by the root")]
    Expired,
    #[error("no randomness to be had")]
    Randomness,
    #[error("certificate authority cannot be read")]
    Authority(#[from] credentials::Error),
    #[error("certificate authority's certificate is refused")]
    Certificate(#[from] certificate::Error),
    #[error("signing failed")]
    Sign(#[from] rcgen::Error),
}

/// Makes a root. It signs issuing CAs and nothing else; keep its key off the machines.
pub fn root(cluster: &str, now: SystemTime) -> Result<Authority, Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let params = authority_params(&format!("{cluster} root"), cluster, 1, now, now + ROOT_TTL)?;
    let cert = params.self_signed(&key)?;
    Ok(Authority {
        cert_pem: cert.pem(),
        key_pem: Zeroizing::new(key.serialize_pem()),
    })
}

/// Makes an issuing CA under a root. It can sign leaves and no further CA.
pub fn issuing(root: &Authority, cluster: &str, now: SystemTime) -> Result<Authority, Error> {
    let root_key = KeyPair::from_pem(&root.key_pem)?;
    let signer = rcgen::Issuer::from_ca_cert_pem(&root.cert_pem, root_key)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let params = authority_params(&format!("{cluster} issuing"), cluster, 0, now, now + ISSUING_TTL)?;
    let cert = params.signed_by(&key, &signer)?;
    Ok(Authority {
        cert_pem: cert.pem(),
        key_pem: Zeroizing::new(key.serialize_pem()),
    })
}

/// An issuing CA that is open for signing, with the root it stands under.
pub struct Issuer {
    signer: rcgen::Issuer<'static, KeyPair>,
    not_after: SystemTime,
    above_pem: String,
}

impl Issuer {
    /// Opens an issuing CA from its PEM key; the caller unseals the key and forgets it afterwards.
    pub fn new(issuing_cert_pem: &str, issuing_key_pem: &str, root_pem: &str) -> Result<Issuer, Error> {
        let cert = credentials::certificates(issuing_cert_pem, "issuing CA")?;
        let not_after = Certificate::read(&cert[0])?.not_after;
        let signer = rcgen::Issuer::from_ca_cert_pem(issuing_cert_pem, KeyPair::from_pem(issuing_key_pem)?)?;
        Ok(Issuer {
            signer,
            not_after,
            above_pem: join_pem(&[issuing_cert_pem, root_pem]),
        })
    }

    /// Signs a leaf for an identity. Of the request only the public key is used, once its signature holds:
    /// names, usages and lifetimes that it asks for are ignored.
    pub fn issue(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        usage: &Usage,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Issued, Error> {
        if now >= self.not_after {
            return Err(Error::Expired);
        }
        let public_key = proven_key(csr_pem)?;
        let not_after = (now + ttl).min(self.not_after);
        let params = leaf_params(id, usage, now, not_after)?;
        let cert = params.signed_by(&public_key, &self.signer)?;
        let leaf = Certificate::read(cert.der())?;
        Ok(Issued {
            chain_pem: join_pem(&[&cert.pem(), &self.above_pem]),
            serial: leaf.serial,
            not_after: leaf.not_after,
            sha256: leaf.sha256,
        })
    }
}

/// How long a leaf of this identity lives unless policy says otherwise.
pub fn default_ttl(kind: &Kind) -> Duration {
    match kind {
        Kind::Node(_) => NODE_TTL,
        Kind::Agent(_) => AGENT_TTL,
        Kind::Service(_) => SERVICE_TTL,
        Kind::Person(_) => PERSON_TTL,
    }
}

/// Whether a request can be signed: before anything is written down for whoever brings it.
pub fn check_request(csr_pem: &str) -> Result<(), Error> {
    proven_key(csr_pem).map(drop)
}

/// Whether a certificate can hold this host.
pub fn check_host(host: &str) -> Result<(), Error> {
    host_name(host).map(drop)
}

/// The public key of a request, if the request is signed by the matching private key.
fn proven_key(csr_pem: &str) -> Result<SubjectPublicKeyInfo, Error> {
    let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes()).map_err(|_| Error::Request)?;
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|_| Error::Request)?;
    if !rest.is_empty() {
        return Err(Error::Request);
    }
    request.verify_signature().map_err(|_| Error::Proof)?;
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|_| Error::Key)?;
    if *key.algorithm() != PKCS_ECDSA_P256_SHA256 {
        return Err(Error::Key);
    }
    Ok(key)
}

fn leaf_params(
    id: &SpiffeId,
    usage: &Usage,
    now: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, Error> {
    let identity = || Ok::<_, Error>(SanType::URI(id.to_string().try_into()?));
    let name = format!("{} {}", id.kind().word(), id.kind().name());
    let (common_name, names, uses) = match usage {
        Usage::Client => (name, vec![identity()?], vec![Eku::ClientAuth]),
        Usage::Node { hosts } => {
            let mut names = host_names(hosts)?;
            names.push(identity()?);
            (name, names, vec![Eku::ServerAuth, Eku::ClientAuth])
        }
        Usage::Postgres { hosts } => {
            let names = host_names(hosts)?;
            (hosts[0].clone(), names, vec![Eku::ServerAuth])
        }
    };
    let mut params = base_params(&common_name, id.cluster(), now, not_after)?;
    params.subject_alt_names = names;
    params.extended_key_usages = uses;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    Ok(params)
}

fn authority_params(
    common_name: &str,
    cluster: &str,
    below_max: u8,
    now: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, Error> {
    let mut params = base_params(common_name, cluster, now, not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below_max));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn base_params(
    common_name: &str,
    cluster: &str,
    now: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, Error> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, cluster);
    if common_name.len() <= COMMON_NAME_BYTES_MAX {
        subject.push(DnType::CommonName, common_name);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(serial()?);
    params.use_authority_key_identifier_extension = true;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since(now - SKEW);
    params.not_after = epoch + since(not_after);
    Ok(params)
}

/// Random, positive and always of full length, so that its bytes read back as they were drawn.
fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0u8; SERIAL_BYTES];
    rand::fill(&mut bytes).map_err(|_| Error::Randomness)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn host_names(hosts: &[String]) -> Result<Vec<SanType>, Error> {
    if !(1..=HOSTS_MAX).contains(&hosts.len()) {
        return Err(Error::Hosts(hosts.len()));
    }
    hosts.iter().map(|host| host_name(host)).collect()
}

fn host_name(host: &str) -> Result<SanType, Error> {
    use rustls::pki_types::ServerName;
    let refused = || Error::Host(host.to_owned());
    match ServerName::try_from(host).map_err(|_| refused())? {
        ServerName::IpAddress(ip) => Ok(SanType::IpAddress(ip.into())),
        ServerName::DnsName(name) => Ok(SanType::DnsName(name.as_ref().to_owned().try_into()?)),
        _ => Err(refused()),
    }
}

fn join_pem(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("{}\n", part.trim())).collect()
}
