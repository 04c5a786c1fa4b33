//! A service in Rust: a tenant by its domain, a query in its database, a certificate that does not end.

use std::path::Path;

use anyhow::Result;
use reeve_client::{Access, Credentials, Fleet, KeyRequest, Selector, v1::RenewCertificateRequest};

pub fn credentials(identity: &Path) -> Result<Credentials> {
    let file = |name| identity.join(name);
    Ok(Credentials::from_files(
        &file("client.crt"),
        &file("client.key"),
        &file("root.crt"),
    )?)
}

/// One for the whole process: it watches, and keeps pools.
pub fn fleet(nodes: Vec<String>, credentials: Credentials) -> Result<Fleet> {
    Ok(Fleet::builder().nodes(nodes).credentials(credentials).build()?)
}

/// Ask for the pool for each piece of work: after a move or a change of the credential it is another one.
pub async fn patients(fleet: &Fleet, host: &str) -> Result<i64> {
    let tenant = fleet.resolve(&Selector::domain(host)?).await?;
    let pool = fleet.pool(&tenant, Access::Read).await?;
    let patients = sqlx::query_scalar("SELECT count(*) FROM patient");
    Ok(patients.fetch_one(&pool).await?)
}

/// Every twelve hours; connections that are made from then on show the next certificate.
pub async fn renew(fleet: &Fleet, credentials: &Credentials, root_pem: &str) -> Result<()> {
    let own = KeyRequest::generate()?;
    let asked = RenewCertificateRequest { csr_pem: own.csr_pem };
    let answer = fleet.api().access().renew_certificate(asked).await?.into_inner();
    Ok(credentials.replace_pem(&answer.certificate_chain_pem, &own.key_pem, root_pem)?)
}
