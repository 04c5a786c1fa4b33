//! The doors: gRPC for clients, agents, people and joining nodes. Every handler reads alike.
//!
//! ```text
//! admit (who, not too fast) ─► parse (words become types) ─► permit (policy) ─► propose or read ─► answer
//! ```
//! Deliberately absent: any decision about what a command does, and any name of what is under consensus.

mod access;
mod admit;
mod agent;
mod alert;
mod audit;
mod bench;
mod carry;
mod certificate;
mod cluster;
mod credentials;
mod database;
mod desk;
mod find;
mod group;
mod hash;
mod health;
mod join;
mod leaving;
mod mint;
mod newest;
mod operation;
mod pace;
mod page;
mod parse;
mod read;
mod request;
mod resolver;
mod room;
mod snapshot;
mod status;
mod tenant;
mod turns;
mod vitals;
mod weigh;

#[cfg(test)]
mod tests;

use reeve_proto::v1::access_service_server::AccessServiceServer;
use reeve_proto::v1::agent_service_server::AgentServiceServer;
use reeve_proto::v1::alert_service_server::AlertServiceServer;
use reeve_proto::v1::audit_service_server::AuditServiceServer;
use reeve_proto::v1::bench_service_server::BenchServiceServer;
use reeve_proto::v1::cluster_service_server::ClusterServiceServer;
use reeve_proto::v1::database_service_server::DatabaseServiceServer;
use reeve_proto::v1::group_service_server::GroupServiceServer;
use reeve_proto::v1::operation_service_server::OperationServiceServer;
use reeve_proto::v1::resolver_service_server::ResolverServiceServer;
use reeve_proto::v1::tenant_service_server::TenantServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::config::Limits;
use crate::rooms::Rooms;
use desk::Desk;

pub use carry::Bearer;

const HEALTH_BYTES_MAX: usize = 4 << 10;

/// How the doors are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub limits: Limits,
    /// Whether the empty call is served, which only measuring needs.
    pub empty: bool,
}

/// Why the doors could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The descriptors that this program carries cannot be read.
    #[error("reflection cannot be offered")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// All services of port 7400, for a server whose connections say who their peer is.
///
/// Once `leaving` is cancelled, what is open for as long as its caller likes ends; calls go on to their ends.
pub fn routes(rooms: Rooms, options: Options, leaving: CancellationToken) -> Result<Routes, Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(health::run(reporter, rooms.consensus.clone()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(reeve_proto::DESCRIPTORS)
        .with_service_name("reeve.v1")
        .build_v1()?;
    let desk = Desk::new(rooms, &options.limits, leaving);

    let request_bytes = options.limits.request_bytes;
    macro_rules! serve {
        ($server:ident, $handler:expr) => {
            $server::new($handler).max_decoding_message_size(request_bytes)
        };
    }
    let desk_of = || desk.clone();
    // Nobody needs to be known to ask for health, and none of its questions is long.
    let mut routes = Routes::new(health.max_decoding_message_size(HEALTH_BYTES_MAX))
        .add_service(reflection.max_decoding_message_size(request_bytes))
        .add_service(serve!(
            ResolverServiceServer,
            resolver::Resolver { desk: desk_of() }
        ))
        .add_service(serve!(TenantServiceServer, tenant::Tenants { desk: desk_of() }))
        .add_service(serve!(
            DatabaseServiceServer,
            database::Databases { desk: desk_of() }
        ))
        .add_service(serve!(GroupServiceServer, group::Groups { desk: desk_of() }))
        .add_service(serve!(
            OperationServiceServer,
            operation::Operations { desk: desk_of() }
        ))
        .add_service(serve!(ClusterServiceServer, cluster::Cluster { desk: desk_of() }))
        .add_service(serve!(AccessServiceServer, access::Access { desk: desk_of() }))
        .add_service(serve!(AlertServiceServer, alert::Alerts { desk: desk_of() }))
        .add_service(serve!(AuditServiceServer, audit::Audit { desk: desk_of() }))
        .add_service(serve!(AgentServiceServer, agent::Agents { desk: desk_of() }));
    if options.empty {
        routes = routes.add_service(serve!(BenchServiceServer, bench::Bench { desk: desk_of() }));
    }
    let router = resolver::route(routes.into_axum_router(), desk.clone(), request_bytes);
    let door = axum::middleware::from_fn_with_state(desk, admit::door);
    Ok(Routes::from(router.layer(door)))
}
