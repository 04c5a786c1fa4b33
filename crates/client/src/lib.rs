//! Finds tenants in a Reeve fleet and opens connections to their databases.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::path::Path;
//! use reeve_client::{Access, Credentials, Fleet, Selector};
//!
//! let credentials =
//!     Credentials::from_files(Path::new("ehr.crt"), Path::new("ehr.key"), Path::new("root.crt"))?;
//! let fleet = Fleet::builder()
//!     .nodes(["n1.example:7400", "n2.example:7400", "n3.example:7400"])
//!     .credentials(credentials)
//!     .build()?;
//!
//! let tenant = fleet.resolve(&Selector::domain("cho-ray.example")?).await?;
//! let pool = fleet.pool(&tenant, Access::Write).await?;
//! sqlx::query("insert into visit default values").execute(&pool).await?;
//! # Ok(())
//! # }
//! ```
//! Ask for the pool each time instead of keeping it: after a move, a failover or a rotation it is another one.
//!
//! ```text
//! Fleet ─► cache (by claim) ◄─ watch ─┐
//!   │        └ miss ─► Api ───────────┴─► Failover ─► node 1..n
//!   └─► pools (by tenant, place, credential) ─► PostgreSQL, TLS verified in full
//! ```

mod acknowledge;
mod api;
mod cache;
mod channel;
mod counts;
mod error;
mod fleet;
mod flight;
pub mod join;
pub mod layer;
#[cfg(feature = "metrics")]
mod metrics;
mod pools;
mod refused;
mod resolution;
pub mod select;
mod selector;
mod tenant_db;
#[cfg(feature = "token")]
pub mod token;
mod watch;

pub use api::{Api, request_id};
pub use cache::{GRACE, LEASE};
pub use channel::{AnsweredBy, Failover};
pub use error::{Error, reason};
pub use fleet::{Builder, Fleet};
pub use layer::{TenantLayer, TenantService};
pub use pools::{Access, Limits};
pub use reeve_proto::{
    identity::{Credentials, JoinToken, KeyRequest},
    v1,
};
pub use refused::Refused;
pub use resolution::{Host, NotReady, Resolution};
pub use selector::Selector;
pub use tenant_db::TenantDb;
