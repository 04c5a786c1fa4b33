//! Getting the first certificate: shows a join token, checks what comes back, trusts nothing unpinned.
//!
//! A lost answer is fetched by asking again with the same request; the registry gives the same certificate.

use std::time::Duration;

use reeve_domain::Versions;
use reeve_proto::{
    identity::{
        Credentials, JoinToken, KeyRequest, Tuning,
        certificate::{Certificate, pinned_root},
        pinned, token,
    },
    v1::{EnrollRequest, JoinNodeRequest, JoinNodeResponse, JoinRequest},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tonic::Request;

use crate::{Api, Error};

const JOIN_PATIENCE: Duration = Duration::from_secs(30);

/// A certificate that leads to the pinned root and belongs to the key that asked for it.
#[non_exhaustive]
pub struct Joined {
    /// Ready for use; the same chain, key and root as below.
    pub credentials: Credentials,
    pub chain_pem: String,
    pub root_pem: String,
    pub cluster: String,
}

/// What an agent gets.
#[non_exhaustive]
pub struct JoinedAgent {
    pub identity: Joined,
    /// For PostgreSQL's own server certificate.
    pub postgres_chain_pem: String,
    pub agent: String,
    pub region: String,
    pub group: String,
}

/// What a service or a person gets.
#[non_exhaustive]
pub struct Enrolled {
    pub identity: Joined,
    pub principal_id: String,
    /// API doors of all nodes, to write beside the certificate.
    pub nodes: Vec<String>,
}

/// Joins an agent: one certificate to call with, one for the PostgreSQL beside it.
pub async fn join_agent(
    nodes: &[String],
    token: &JoinToken,
    own: &KeyRequest,
    postgres: &KeyRequest,
    postgres_hosts: &[String],
) -> Result<JoinedAgent, Error> {
    let order = JoinRequest {
        token_id: token.id().to_owned(),
        token_secret: token.secret_text().to_string(),
        csr_pem: own.csr_pem.clone(),
        postgres_csr_pem: postgres.csr_pem.clone(),
        postgres_hosts: postgres_hosts.to_vec(),
    };
    let answer = dial(nodes, token)?
        .agents()
        .join(patiently(order))
        .await?
        .into_inner();
    let identity = accept(token, own, answer.certificate_chain_pem, answer.cluster)?;
    proves(&answer.postgres_certificate_chain_pem)?;
    Ok(JoinedAgent {
        identity,
        postgres_chain_pem: answer.postgres_certificate_chain_pem,
        agent: answer.agent,
        region: answer.region,
        group: answer.group,
    })
}

/// Enrols a service or a person.
pub async fn enroll(nodes: &[String], token: &JoinToken, own: &KeyRequest) -> Result<Enrolled, Error> {
    let order = EnrollRequest {
        token_id: token.id().to_owned(),
        token_secret: token.secret_text().to_string(),
        csr_pem: own.csr_pem.clone(),
    };
    let answer = dial(nodes, token)?
        .access()
        .enroll(patiently(order))
        .await?
        .into_inner();
    let identity = accept(token, own, answer.certificate_chain_pem, answer.cluster)?;
    Ok(Enrolled {
        identity,
        principal_id: answer.principal_id,
        nodes: answer.api_addresses,
    })
}

/// Joins a registry node that will be reachable under these addresses, and knows these cluster versions.
pub async fn join_node(
    nodes: &[String],
    token: &JoinToken,
    own: &KeyRequest,
    api_address: &str,
    peer_address: &str,
    known: Versions,
) -> Result<(Joined, JoinNodeResponse), Error> {
    let order = JoinNodeRequest {
        token_id: token.id().to_owned(),
        token_secret: token.secret_text().to_string(),
        csr_pem: own.csr_pem.clone(),
        api_address: api_address.to_owned(),
        peer_address: peer_address.to_owned(),
        version_min: known.min,
        version_max: known.max,
    };
    let answer = dial(nodes, token)?
        .cluster()
        .join_node(patiently(order))
        .await?
        .into_inner();
    let identity = accept(
        token,
        own,
        answer.certificate_chain_pem.clone(),
        answer.cluster.clone(),
    )?;
    Ok((identity, answer))
}

fn dial(nodes: &[String], token: &JoinToken) -> Result<Api, Error> {
    let connector = pinned(token.pin()).map_err(|e| Error::Invalid {
        what: "token",
        why: e.to_string(),
    })?;
    Api::over(nodes, &connector, &Tuning::default())
}

fn patiently<T>(order: T) -> Request<T> {
    let mut request = Request::new(order);
    request.set_timeout(JOIN_PATIENCE);
    request
}

/// Holds the answer to the pin, to our key and to its own word about the cluster.
fn accept(token: &JoinToken, own: &KeyRequest, chain_pem: String, cluster: String) -> Result<Joined, Error> {
    let chain = read(&chain_pem)?;
    let root = pinned_root(&chain, &token.pin()).map_err(|e| Error::Answer(e.to_string()))?;
    let at = chain.iter().position(|cert| cert == root).unwrap_or_default();
    let root_pem = nth_pem(&chain_pem, at).ok_or_else(|| Error::Answer("a chain without its root".into()))?;
    let credentials = Credentials::from_pem(&chain_pem, &own.key_pem, &root_pem)
        .map_err(|e| Error::Answer(format!("the certificate is refused: {e}")))?;
    let found = credentials.spiffe().cluster().to_owned();
    if found != cluster {
        return Err(Error::Answer(format!(
            "a certificate of cluster {found} from cluster {cluster}"
        )));
    }
    Ok(Joined {
        credentials,
        chain_pem,
        root_pem,
        cluster,
    })
}

fn read(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.map_err(|_| Error::Answer("a certificate chain that is no PEM".into()))
}

fn proves(postgres_pem: &str) -> Result<(), Error> {
    let leaf = read(postgres_pem)?.into_iter().next();
    let leaf = leaf.ok_or_else(|| Error::Answer("no certificate for PostgreSQL".into()))?;
    match Certificate::read(&leaf) {
        Ok(cert) if cert.server_auth => Ok(()),
        _ => Err(Error::Answer(
            "PostgreSQL's certificate is not for servers".into(),
        )),
    }
}

/// The text of the n-th certificate of a PEM bundle, as it stands there.
fn nth_pem(pem: &str, n: usize) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let block = pem.split_inclusive(END).nth(n)?;
    Some(format!(
        "{}\n",
        &block[block.find("-----BEGIN CERTIFICATE-----")?..]
    ))
}

/// The pin of a root that is already trusted, for minting tokens.
pub fn pin_of(root_pem: &str) -> Result<[u8; 32], Error> {
    token::pin_of(root_pem).map_err(|e| Error::Invalid {
        what: "root certificate",
        why: e.to_string(),
    })
}
