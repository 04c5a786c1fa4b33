//! Finds tenants in a Reeve fleet and opens connections to their databases.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use reeve_client::{Access, Fleet, IdentityFiles, Selector};
//!
//! let fleet = Fleet::builder()
//!     .nodes(["n1.example:7400", "n2.example:7400", "n3.example:7400"])
//!     .identity(IdentityFiles::in_folder("/etc/ehr"))
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
//! # In a service
//! A [`TenantLayer`] finds the tenant of each request before a handler sees it, by whatever [`Select`](select::Select)
//! describes: the host, a header, a verified token. Handlers take a [`TenantDb`] and know nothing else of tenants.
//! With axum (feature `axum`), and with a `FleetMock` (feature `mock`) where a service's own tests have no registry:
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::Request;
//! use reeve_client::{FleetMock, Refused, Selector, TenantDb, TenantLayer, select::Select};
//! use tower::ServiceExt;
//!
//! async fn visits(db: TenantDb) -> Result<String, Refused> {
//!     let pool = db.read().await?;
//!     // … a query of this hospital's visits …
//!     # let _ = pool;
//!     Ok(format!("visits of {}", db.tenant().slug()))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mock = FleetMock::new();
//! mock.tenant("cho-ray", [Selector::domain("cho-ray.example")?]);
//! let app = Router::new()
//!     .route("/visits", get(visits))
//!     .layer(TenantLayer::new(mock.fleet(), Select::domain()));
//!
//! let ask = async |host: &str| {
//!     let request = Request::get("/visits").header("host", host).body(Body::empty());
//!     app.clone().oneshot(request.unwrap()).await.unwrap().status()
//! };
//! assert_eq!(ask("cho-ray.example").await, 200);
//! assert_eq!(ask("nobody.example").await, 404);
//! # Ok(())
//! # }
//! ```
//! `examples/clinic.rs` is a whole service. A tonic server puts the same layer around those of its services that are of
//! tenants: `Server::builder().add_service(layer.layer(VisitsServer::new(visits)))`; their methods find the [`TenantDb`]
//! in the request's extensions, and who is refused gets a gRPC status.
//!
//! # Features
//! None is on by default.
//! - `axum`: [`TenantDb`] is an extractor, [`Refused`] an answer.
//! - `token`: `token::Tokens` verifies signed tokens.
//! - `metrics`: `Fleet::register_metrics`.
//! - `mock`: `FleetMock`.
//!
//! # Inside
//! ```text
//! Fleet ─► cache (by claim) ◄─ watch ─┐
//!   │        └ miss ─► Api ───────────┴─► Failover ─► node 1..n
//!   └─► pools (by tenant, place, credential) ─► PostgreSQL, TLS verified in full
//! ```

mod acknowledge;
mod answer;
mod api;
mod away;
mod cache;
mod channel;
mod counts;
mod error;
mod fleet;
mod flight;
mod identity;
pub mod join;
pub mod layer;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "mock")]
mod mock;
mod pools;
mod refused;
mod resolution;
pub mod select;
mod selector;
#[cfg(feature = "stand")]
#[doc(hidden)]
pub mod stand;
mod tenant_db;
mod times;
#[cfg(feature = "token")]
pub mod token;
mod warm;
mod watch;

pub use api::{Api, request_id};
pub use cache::{GRACE, LEASE};
pub use channel::{AnsweredBy, Failover};
pub use error::{Error, reason};
pub use fleet::{Builder, Fleet};
pub use identity::IdentityFiles;
pub use layer::{TenantLayer, TenantService};
#[cfg(feature = "mock")]
pub use mock::{Failure, FleetMock};
pub use pools::{Access, Limits};
/// What signatures of this crate name of the fleet's own words.
pub use reeve_domain::{Epoch, PlacementNumber, Revision, TenantId, words::Claim};
pub use reeve_proto::{
    identity::{Connector, Credentials, JoinToken, KeyRequest, Tuning},
    v1,
};
pub use refused::Refused;
pub use resolution::{Host, NotReady, Resolution};
pub use selector::Selector;
pub use tenant_db::TenantDb;
pub use warm::WarmUp;
