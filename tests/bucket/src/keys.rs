//! The server's certificate with a CA of its own, and the keys of its caller.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;

use crate::{ACCESS_KEY, SECRET_KEY};

pub(crate) fn write(dir: &Path) -> Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::<String>::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key)?;
    let key = KeyPair::generate()?;
    let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let leaf = CertificateParams::new(hosts)?.signed_by(&key, &Issuer::new(ca, ca_key))?;
    secret(&dir.join("ca.crt"), &ca_cert.pem())?;
    secret(&dir.join("server.crt"), &leaf.pem())?;
    secret(&dir.join("server.key"), &key.serialize_pem())?;
    secret(&dir.join("access.key"), ACCESS_KEY)?;
    secret(&dir.join("secret.key"), SECRET_KEY)?;
    secret(&dir.join("wrong.key"), "not-the-key-of-anybody")
}

pub(crate) fn acceptor(dir: &Path) -> Result<TlsAcceptor> {
    let certs = CertificateDer::pem_file_iter(dir.join("server.crt"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certs, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn secret(path: &Path, text: &str) -> Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
