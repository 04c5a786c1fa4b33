//! AuditService: the records, in the exact bytes that were hashed.

use std::sync::Arc;

use std::time::Duration;

use futures::stream::BoxStream;
use reeve_domain::TenantId;
use reeve_domain::audit::{Head, Record};
use reeve_proto::convert::{self, BadField};
use reeve_proto::error::{self, Reason};
use reeve_proto::v1;
use reeve_proto::v1::audit_service_server::AuditService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::read::{self, Level};
use crate::edge::status;
use crate::policy;

/// Records read at once.
const CHUNK: usize = 256;
/// Records that wait for the network.
const QUEUE_MAX: usize = 64;
/// Between two looks of a follower that no event woke.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const FLEET: &str = "fleet";

#[derive(Clone)]
pub(super) struct Audit {
    pub desk: Desk,
}

/// What one stream still wants.
struct Tail {
    shard: String,
    next: u64,
    left: u64,
    follow: bool,
}

#[tonic::async_trait]
impl AuditService for Audit {
    type TailRecordsStream = BoxStream<'static, Result<v1::TailRecordsResponse, Status>>;

    async fn tail_records(
        &self,
        request: Request<v1::TailRecordsRequest>,
    ) -> Result<Response<Self::TailRecordsStream>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let tail = Tail::parse(wire)?;
        // What was acknowledged before the call is in the answer.
        let reading = self.desk.read(&call, Level::Linearizable).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let (send, receive) = mpsc::channel(QUEUE_MAX);
        let own = self.clone();
        tokio::spawn(async move {
            if let Err(status) = own.run(&call, tail, &send).await {
                // The reader may be gone, and then nobody is there to be told.
                let _ = send.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn list_shards(
        &self,
        request: Request<v1::ListShardsRequest>,
    ) -> Result<Response<v1::ListShardsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let reading = self.desk.read(&call, level).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let shard = |(name, head): (&Arc<str>, &Head)| v1::list_shards_response::Shard {
            name: name.to_string(),
            last_sequence: head.sequence,
            chain_hash: head.chain.to_vec(),
        };
        Ok(Response::new(v1::ListShardsResponse {
            shards: reading.state.heads.iter().map(shard).collect(),
            freshness: Some(reading.freshness),
        }))
    }
}

impl Tail {
    fn parse(wire: v1::TailRecordsRequest) -> Result<Tail, BadField> {
        let shard = match wire.shard.as_str() {
            "" | FLEET => FLEET.to_owned(),
            id => TenantId::parse(id)
                .map_err(|_| BadField::new("shard", "is \"fleet\" or a tenant's id"))?
                .to_string(),
        };
        Ok(Tail {
            shard,
            next: wire.from_sequence.max(1),
            left: match wire.limit {
                0 => u64::MAX,
                limit => u64::from(limit),
            },
            follow: wire.follow,
        })
    }
}

type Sender = mpsc::Sender<Result<v1::TailRecordsResponse, Status>>;

impl Audit {
    async fn run(&self, call: &Call, mut tail: Tail, send: &Sender) -> Result<(), Status> {
        loop {
            let reading = self.desk.stale();
            policy::standing(&reading.state, &call.caller, call.action())?;
            let head = reading
                .state
                .heads
                .get(tail.shard.as_str())
                .map_or(0, |head| head.sequence);
            // Only what State's own head confirms: a record is never shown before its change.
            while tail.next <= head && tail.left > 0 {
                let wanted = CHUNK.min(usize::try_from(head - tail.next + 1).unwrap_or(CHUNK));
                let found = self.records(&tail.shard, tail.next, wanted).await?;
                if found.is_empty() {
                    return Err(incomplete(&tail.shard, tail.next));
                }
                for record in found
                    .iter()
                    .take(usize::try_from(tail.left).unwrap_or(usize::MAX))
                {
                    let message = v1::TailRecordsResponse {
                        record: Some(convert::record(record)),
                        freshness: Some(reading.freshness),
                    };
                    if send.send(Ok(message)).await.is_err() {
                        return Ok(());
                    }
                    tail.next = record.sequence + 1;
                    tail.left -= 1;
                }
            }
            if !tail.follow || tail.left == 0 {
                return Ok(());
            }
            tokio::select! {
                () = send.closed() => return Ok(()),
                () = self.desk.leaving.cancelled() => return Err(status::stopping()),
                () = self.desk.newer_than(reading.state.revision) => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    async fn records(&self, shard: &str, from: u64, limit: usize) -> Result<Vec<Record>, Status> {
        let (archive, shard) = (self.desk.rooms.archive.clone(), shard.to_owned());
        self.desk
            .archived(move || archive.records(&shard, from, limit))
            .await
    }
}

fn incomplete(shard: &str, sequence: u64) -> Status {
    let message =
        format!("record {sequence} of shard {shard} is not on this node yet; ask another node or later");
    error::retry(Reason::ArchiveIncomplete, message, LOOK_AGAIN)
}
