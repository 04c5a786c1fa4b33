//! BenchService: the yardstick. What a call costs here, every other call costs too.

use reeve_proto::v1;
use reeve_proto::v1::bench_service_server::BenchService;
use tonic::{Request, Response, Status};

use crate::edge::desk::Desk;
use crate::policy;

pub(super) struct Bench {
    pub desk: Desk,
}

#[tonic::async_trait]
impl BenchService for Bench {
    /// Admitted and permitted as a Resolve is, and then answered.
    async fn empty(&self, request: Request<v1::EmptyRequest>) -> Result<Response<v1::EmptyResponse>, Status> {
        let (call, _) = self.desk.admit(request)?;
        policy::standing(&self.desk.state(), &call.caller, call.action())?;
        Ok(Response::new(v1::EmptyResponse {}))
    }
}
