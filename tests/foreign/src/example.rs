//! A service in Rust: a tenant by its domain, and a query in its database.

use std::path::Path;

use anyhow::Result;
use reeve_client::{Access, Credentials, Fleet, Selector};

/// One for the whole process: it watches, and keeps pools.
pub fn fleet(nodes: Vec<String>, identity: &Path) -> Result<Fleet> {
    let file = |name| identity.join(name);
    let credentials = Credentials::from_files(&file("client.crt"), &file("client.key"), &file("root.crt"))?;
    Ok(Fleet::builder().nodes(nodes).credentials(credentials).build()?)
}

/// Ask for the pool for each piece of work: after a move or a change of the credential it is another one.
pub async fn patients(fleet: &Fleet, host: &str) -> Result<i64> {
    let tenant = fleet.resolve(&Selector::domain(host)?).await?;
    let pool = fleet.pool(&tenant, Access::Read).await?;
    let patients = sqlx::query_scalar("SELECT count(*) FROM patient");
    Ok(patients.fetch_one(&pool).await?)
}
