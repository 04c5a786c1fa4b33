//! Calls that only the leader can carry out: whichever node is asked hands them on as they are.
//!
//! ```text
//! caller ─► this node: who, permit ─► Carried ─► the leader: the same handler, so the same checks ─► answer ─► caller
//! ```

use std::time::Duration;

use prost::Message;
use reeve_domain::NodeId;
use reeve_proto::error::{self, Reason};
use reeve_proto::v1::cluster_service_server::ClusterService;
use reeve_proto::{Rpc, v1};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::asks::{Carried, Carrier, Question, Reply, ask_leader};
use crate::config::Limits;
use crate::edge::admit::Call;
use crate::edge::cluster::Cluster;
use crate::edge::desk::Desk;
use crate::edge::status;
use crate::policy;
use crate::rooms::Rooms;

/// Whoever handed a call on asks again after this.
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// Between two tries while another leader is looked for.
const PAUSE: Duration = Duration::from_millis(50);

impl Desk {
    /// Has the leader carry a call out, whoever leads until the caller's deadline. Calls that come here may be carried
    /// out twice. When another node leads by now, `is_done` says whether that is what was asked for.
    pub(super) async fn at_leader<Q: Message, A: Message + Default>(
        &self,
        call: &Call,
        asked: &Q,
        is_done: impl Fn(u64) -> bool,
    ) -> Result<A, Status> {
        if call.is_carried {
            // It led when it was asked to, and whoever asked it looks again.
            return Err(status::no_leader());
        }
        let mut leader = self.leader(call).await?;
        loop {
            match ask_leader(&self.rooms.consensus, &self.carried(call, asked)?).await {
                Ok(Reply::Carried(answer)) => {
                    let answer = A::decode(answer.as_slice());
                    return answer.map_err(|error| status::internal("reading the leader's answer", &error));
                }
                Ok(Reply::Failed(failed)) => {
                    let status = Status::from(failed);
                    if error::info(&status).reason != Reason::NoLeader {
                        return Err(status);
                    }
                }
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
            let now = self.leader(call).await?;
            if now != leader && is_done(now) {
                return Ok(A::default());
            }
            if Instant::now() >= call.deadline {
                return Err(self.silent(now));
            }
            leader = now;
        }
    }

    fn carried<Q: Message>(&self, call: &Call, asked: &Q) -> Result<Question, Status> {
        let caller = policy::write_caller(&call.caller);
        let patience = call.deadline.saturating_duration_since(Instant::now());
        Ok(Question::Carry(Carried {
            rpc: call.rpc.path().to_owned(),
            caller: caller.map_err(|error| status::internal("writing down who asks", &error))?,
            message: asked.encode_to_vec(),
            patience_ms: patience.min(PATIENCE_MAX).as_millis() as u64,
            trace_id: call.trace_id.clone(),
        }))
    }

    async fn leader(&self, call: &Call) -> Result<u64, Status> {
        let mut leadership = self.rooms.consensus.leadership();
        let known = timeout_at(call.deadline, leadership.wait_for(|now| now.leader.is_some()));
        let known = known.await.ok().and_then(Result::ok);
        known.and_then(|now| now.leader).ok_or_else(status::no_leader)
    }

    /// Somebody leads, and did not answer this node in time.
    fn silent(&self, leader: u64) -> Status {
        let state = self.state();
        let Some(known) = state.nodes.get(&NodeId(leader)) else {
            return status::no_leader();
        };
        let message = format!(
            "node {leader} leads, and did not answer this node in time; send it again, or ask it at {}",
            known.api
        );
        let id = leader.to_string();
        let metadata = [("leader_id", id.as_str()), ("leader_address", known.api.as_str())];
        error::retry_with(Reason::NoLeader, message, PAUSE, &metadata)
    }
}

/// Carries out, on the leader, what other nodes were asked.
pub struct Bearer {
    cluster: Cluster,
}

impl Bearer {
    pub fn new(rooms: Rooms, limits: &Limits, leaving: CancellationToken) -> Bearer {
        let desk = Desk::new(rooms, limits, leaving);
        Bearer {
            cluster: Cluster { desk },
        }
    }
}

#[tonic::async_trait]
impl Carrier for Bearer {
    /// The node that hands a call on says who its caller is, as it does of a proposal; everything else is checked here.
    async fn carry(&self, carried: Carried) -> Result<Vec<u8>, Status> {
        let unknown = || Status::unimplemented(format!("{} is not carried out for others", carried.rpc));
        let rpc = Rpc::from_path(&carried.rpc).ok_or_else(unknown)?;
        let caller = policy::read_caller(&carried.caller).map_err(|refusal| error::refusal(&refusal))?;
        let patience = Duration::from_millis(carried.patience_ms).min(PATIENCE_MAX);
        let call = Call {
            rpc,
            caller,
            deadline: Instant::now() + patience,
            trace_id: carried.trace_id.clone(),
            is_carried: true,
        };
        let cluster = &self.cluster;
        match rpc {
            Rpc::ClusterRemoveNode => {
                let asked: v1::RemoveNodeRequest = read(&carried)?;
                cluster.remove_node(request(call, asked)).await.map(written)
            }
            Rpc::ClusterTransferLeader => {
                let asked: v1::TransferLeaderRequest = read(&carried)?;
                cluster.transfer_leader(request(call, asked)).await.map(written)
            }
            _ => Err(unknown()),
        }
    }
}

fn read<Q: Message + Default>(carried: &Carried) -> Result<Q, Status> {
    Q::decode(carried.message.as_slice()).map_err(|error| error::field("message", error))
}

fn request<Q>(call: Call, asked: Q) -> Request<Q> {
    let mut request = Request::new(asked);
    request.extensions_mut().insert(call);
    request
}

fn written<A: Message>(answer: Response<A>) -> Vec<u8> {
    answer.into_inner().encode_to_vec()
}
