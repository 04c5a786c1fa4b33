//! grpc.health.v1: what a load balancer asks. Resolving goes on without a quorum, changing does not.

use std::time::Duration;

use reeve_proto::v1::resolver_service_server::ResolverServiceServer;
use reeve_proto::v1::tenant_service_server::TenantServiceServer;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::consensus::Consensus;
use crate::edge::resolver::Resolver;
use crate::edge::tenant::Tenants;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Without word from a quorum for so long, changes are not served.
const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(3);

/// Tells health for as long as consensus runs.
pub(super) async fn run(reporter: HealthReporter, consensus: Consensus) {
    let mut leadership = consensus.leadership();
    let mut told = None;
    reporter.set_service_status("", ServingStatus::Serving).await;
    loop {
        let now = (
            !consensus.published().state.cluster.id.is_empty(),
            has_quorum(&consensus),
        );
        if told != Some(now) {
            let (resolves, changes) = now;
            reporter
                .set_service_status(ResolverServiceServer::<Resolver>::NAME, serving(resolves))
                .await;
            reporter
                .set_service_status(TenantServiceServer::<Tenants>::NAME, serving(changes))
                .await;
            told = Some(now);
        }
        let changed = tokio::time::timeout(LOOK_EVERY, leadership.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
    }
}

fn has_quorum(consensus: &Consensus) -> bool {
    let has_leader = consensus.leadership().borrow().leader.is_some();
    has_leader
        && consensus
            .staleness()
            .is_some_and(|silence| silence <= QUORUM_SILENCE_MAX)
}

fn serving(serves: bool) -> ServingStatus {
    match serves {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}
