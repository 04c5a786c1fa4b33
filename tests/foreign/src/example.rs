//! A service in Rust: a tenant by its domain, a query in its database, a certificate that does not end.

use std::path::Path;

use anyhow::Result;
use reeve_client::{Access, Fleet, IdentityFiles, Selector};

/// One for the whole process: it watches, keeps pools, and renews the certificate in the folder.
pub fn fleet(nodes: Vec<String>, identity: &Path) -> Result<Fleet> {
    let files = IdentityFiles::in_folder(identity);
    Ok(Fleet::builder().nodes(nodes).identity(files).build()?)
}

/// Ask for the pool for each piece of work: after a move or a change of the credential it is another one.
pub async fn patients(fleet: &Fleet, host: &str) -> Result<i64> {
    let tenant = fleet.resolve(&Selector::domain(host)?).await?;
    let pool = fleet.pool(&tenant, Access::Read).await?;
    let patients = sqlx::query_scalar("SELECT count(*) FROM patient");
    Ok(patients.fetch_one(&pool).await?)
}

/// For a service without a watch: many tenants in few calls, before anybody asks for them.
pub async fn warm_up(fleet: &Fleet, hosts: &[&str]) -> Result<usize> {
    let selectors: Result<Vec<_>, _> = hosts.iter().map(|host| Selector::domain(host)).collect();
    let warm = fleet.warm_up(selectors?).await;
    for (host, why) in &warm.refused {
        eprintln!("{host} is asked for again when it is needed: {why}");
    }
    Ok(warm.known)
}
