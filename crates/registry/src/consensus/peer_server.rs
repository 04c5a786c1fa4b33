//! What this node answers to the others. A caller must hold the certificate of the node it says it is.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use reeve_domain::NodeId;
use reeve_proto::identity::{Kind, Peer};
use reeve_proto::internal::v1 as wire;
use reeve_proto::internal::v1::peer_service_server::PeerService;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::incoming::Which;
use super::links::{pack, unpack};
use super::propose::{Forwarded, Verdict};
use super::types::{C, Vote};
use super::{Consensus, ground, types};
use crate::mutant::Mutant;

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Whose word it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A node's on the roll: it says who its callers are, and is believed.
    Roll,
    /// Any member's of the group. A node that was struck off the roll keeps its vote until the group has let it go, and
    /// may hold what none of the others does: if it could not be elected, and its leader died, nobody could.
    Member,
}

/// The peer door of one node.
#[derive(Clone)]
pub struct PeerServer {
    pub(super) consensus: Consensus,
    /// Off only in tests without TLS.
    pub(super) check_identity: bool,
}

fn fatal(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

impl PeerServer {
    /// Checks cluster and sender, and gives the body.
    fn open<T>(
        &self,
        request: &Request<T>,
        envelope: Option<&wire::Envelope>,
        by: By,
    ) -> Result<bytes::Bytes, Status> {
        let envelope = envelope.ok_or_else(|| Status::invalid_argument("no envelope"))?;
        self.check(envelope, request.extensions().get::<Peer>(), by)?;
        Ok(envelope.body.clone())
    }

    /// A full disk takes no entries: what cannot be kept is not begun. The leader's beats are heard.
    fn check_room(&self, request: &openraft::raft::AppendEntriesRequest<C>) -> Result<(), Status> {
        match !request.entries.is_empty() && self.consensus.disk().health().full {
            true => Err(Status::resource_exhausted("the disk of this node is full")),
            false => Ok(()),
        }
    }

    /// Which snapshot it is about. An old leader may not disturb what a newer one sends.
    fn which(&self, envelope: &wire::Envelope, id: bytes::Bytes) -> Result<(Vote, Which), Status> {
        let (vote, meta): (Vote, types::SnapshotMeta) = unpack(&envelope.body)?;
        if vote.leader_id.term < self.consensus.term() {
            return Err(Status::failed_precondition("this node follows a newer leader"));
        }
        let from = envelope.from;
        Ok((vote, Which { from, id, meta }))
    }

    /// When the leader that this node follows said this, at the earliest. None: whoever said it leads no more, or does not
    /// lead yet, or nobody knows when it was.
    fn said_at(&self, told: &wire::LeadRequest) -> Option<Instant> {
        let from = told.envelope.as_ref()?.from;
        let lead = self.consensus.leadership().borrow().clone();
        let leads = (lead.leader, lead.term) == (Some(from), told.term);
        leads.then(|| self.consensus.freshness().said_at(told.clock_ms))?
    }

    fn check(&self, envelope: &wire::Envelope, peer: Option<&Peer>, by: By) -> Result<(), Status> {
        if envelope.cluster != self.consensus.cluster() {
            return Err(Status::permission_denied("this node belongs to another cluster"));
        }
        let spiffe = peer.and_then(|p| p.spiffe.as_ref());
        let is_shown = matches!(spiffe.map(|id| id.kind()), Some(Kind::Node(id)) if *id == envelope.from);
        if self.check_identity && !is_shown {
            return Err(Status::permission_denied(
                "the certificate is not of the node that sends",
            ));
        }
        let by_vote = by == By::Member && !Mutant::DenyByRoll.is_planted();
        match self.is_on_roll(envelope.from) || by_vote && self.consensus.is_member(envelope.from) {
            true => Ok(()),
            false => Err(Status::permission_denied("this node was removed")),
        }
    }

    /// A node that has no State yet cannot know the roll; its first entries come from the leader.
    fn is_on_roll(&self, node: u64) -> bool {
        let state = &self.consensus.published().state;
        state.nodes.contains_key(&NodeId(node)) || state.nodes.is_empty() || state.next_node.0 <= node
    }
}

#[tonic::async_trait]
impl PeerService for PeerServer {
    async fn append(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let body = self.open(&request, request.get_ref().envelope.as_ref(), By::Member)?;
        let entries = unpack(&body)?;
        self.check_room(&entries)?;
        let answer = self
            .consensus
            .raft()
            .append_entries(entries)
            .await
            .map_err(fatal)?;
        Ok(Response::new(wire::AppendResponse { body: pack(&answer)? }))
    }

    type AppendStreamStream = Boxed<wire::AppendStreamResponse>;

    async fn append_stream(
        &self,
        request: Request<Streaming<wire::AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let server = self.clone();
        let inbound = request.into_inner();
        // Whatever is wrong ends the stream; the sender starts a new one.
        let entries = futures::stream::unfold(inbound, move |mut inbound| {
            let (server, peer) = (server.clone(), peer.clone());
            async move {
                // A leader that has nothing to send would keep a node that stops for as long.
                let next = server.consensus.unless_stopped(inbound.message()).await?;
                let envelope = next.ok()??.envelope?;
                let checked = server.check(&envelope, peer.as_ref(), By::Member);
                let entries = checked
                    .and_then(|()| unpack::<openraft::raft::AppendEntriesRequest<C>>(&envelope.body))
                    .and_then(|entries| server.check_room(&entries).map(|()| entries));
                let told =
                    |why: &Status| tracing::warn!(from = envelope.from, %why, "a replication stream is cut");
                Some((entries.inspect_err(told).ok()?, inbound))
            }
        });
        let answers = self.consensus.raft().stream_append(entries).map(|answer| {
            let body = pack(&answer.map_err(fatal)?)?;
            Ok(wire::AppendStreamResponse { body })
        });
        // Left open, it would keep the door of a node that stops.
        let stopped = self.consensus.0.stop.clone().cancelled_owned();
        Ok(Response::new(Box::pin(answers.take_until(stopped))))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let body = self.open(&request, request.get_ref().envelope.as_ref(), By::Member)?;
        let answer = self.consensus.raft().vote(unpack(&body)?).await.map_err(fatal)?;
        Ok(Response::new(wire::VoteResponse { body: pack(&answer)? }))
    }

    async fn pre_vote(
        &self,
        request: Request<wire::PreVoteRequest>,
    ) -> Result<Response<wire::PreVoteResponse>, Status> {
        let body = self.open(&request, request.get_ref().envelope.as_ref(), By::Member)?;
        let answer = self
            .consensus
            .raft()
            .pre_vote(unpack(&body)?)
            .await
            .map_err(fatal)?;
        Ok(Response::new(wire::PreVoteResponse { body: pack(&answer)? }))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        let body = self.open(&request, request.get_ref().envelope.as_ref(), By::Member)?;
        let answer = self
            .consensus
            .raft()
            .handle_transfer_leader(unpack(&body)?)
            .await
            .map_err(fatal)?;
        Ok(Response::new(wire::TransferLeaderResponse {
            body: pack(&answer)?,
        }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::InstallSnapshotRequest>>,
    ) -> Result<Response<wire::InstallSnapshotResponse>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let mut inbound = request.into_inner();
        let first = inbound
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("an empty snapshot"))?;
        let envelope = first
            .envelope
            .ok_or_else(|| Status::invalid_argument("no envelope"))?;
        self.check(&envelope, peer.as_ref(), By::Member)?;
        let (vote, which) = self.which(&envelope, first.snapshot_id)?;
        let (answer, answered) = tokio::sync::oneshot::channel();
        let (incoming, store) = (
            self.consensus.incoming().clone(),
            self.consensus.snapshots().clone(),
        );
        let (raft, meta) = (self.consensus.raft().clone(), which.meta.clone());
        // A task of its own: when the caller is gone, this call is dropped, and what has come must be kept.
        self.consensus.spawn(async move {
            let received = incoming.receive(&store, which, first.offset, inbound).await;
            let installed = match received {
                Ok(snapshot) => raft
                    .install_full_snapshot(vote, openraft::Snapshot { meta, snapshot })
                    .await
                    .map_err(fatal),
                Err(status) => Err(status),
            };
            // Whoever asked may be gone.
            let _ = answer.send(installed);
        });
        let installed = answered.await.map_err(|_| fatal("this node is stopping"))??;
        Ok(Response::new(wire::InstallSnapshotResponse {
            body: pack(&installed)?,
        }))
    }

    async fn snapshot_offset(
        &self,
        request: Request<wire::SnapshotOffsetRequest>,
    ) -> Result<Response<wire::SnapshotOffsetResponse>, Status> {
        self.open(&request, request.get_ref().envelope.as_ref(), By::Member)?;
        let asked = request.into_inner();
        let envelope = asked.envelope.unwrap_or_default();
        let (_, which) = self.which(&envelope, asked.snapshot_id)?;
        let offset = self.consensus.incoming().offset(&which).await;
        Ok(Response::new(wire::SnapshotOffsetResponse { offset }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        self.open(&request, request.get_ref().envelope.as_ref(), By::Roll)?;
        let index = self.consensus.leader_read_index().await.map_err(fatal)?;
        Ok(Response::new(wire::ReadIndexResponse { index }))
    }

    async fn propose(
        &self,
        request: Request<wire::ProposeRequest>,
    ) -> Result<Response<wire::ProposeResponse>, Status> {
        self.open(&request, request.get_ref().envelope.as_ref(), By::Roll)?;
        let proposals = request.into_inner().entries.into_iter().map(|bytes| async move {
            // One that cannot be read is tried again alone; the others have nothing to do with it.
            let verdict = match unpack::<Forwarded>(&bytes) {
                Ok(forwarded) => self.consensus.propose_here(forwarded).await,
                Err(why) => {
                    tracing::warn!(%why, "a forwarded proposal cannot be read");
                    Verdict::Again
                }
            };
            pack(&verdict)
        });
        let results = futures::future::try_join_all(proposals).await?;
        Ok(Response::new(wire::ProposeResponse { results }))
    }

    async fn ask(&self, request: Request<wire::AskRequest>) -> Result<Response<wire::AskResponse>, Status> {
        let body = self.open(&request, request.get_ref().envelope.as_ref(), By::Roll)?;
        if !self.consensus.is_leader() {
            return Err(Status::unavailable("this node does not lead"));
        }
        let handler = self.consensus.handlers();
        let body = handler.ask(body).await.map_err(fatal)?;
        Ok(Response::new(wire::AskResponse { body }))
    }

    async fn lead(
        &self,
        request: Request<wire::LeadRequest>,
    ) -> Result<Response<wire::LeadResponse>, Status> {
        self.open(&request, request.get_ref().envelope.as_ref(), By::Member)?;
        let mut told = request.into_inner();
        self.consensus
            .freshness()
            .heard(told.term, told.committed_index, told.quorum_age_ms, told.clock_ms);
        self.consensus.hear_compare(told.compare_index, told.odd_index);
        let known = std::mem::take(&mut told.known);
        if let Some(at) = self.said_at(&told) {
            let published = self.consensus.published();
            self.consensus.programs().told(known, &published.state, at);
        }
        let own = self.consensus.compare().own();
        let known = crate::release::known();
        let disk = self.consensus.disk().health();
        let whole = self.consensus.own_whole();
        Ok(Response::new(wire::LeadResponse {
            disk_full: disk.full,
            disk_slow: disk.slow,
            version_min: known.min,
            version_max: known.max,
            program: crate::release::program(),
            archive_whole: whole.is_some(),
            archive_whole_index: whole,
            clock_ms: self.consensus.freshness().clock_ms(),
            wall_ms: ground::wall_ms(),
            compared_index: own.map(|mark| mark.index).unwrap_or_default(),
            compared_hash: own.map(|mark| mark.hash.to_vec().into()).unwrap_or_default(),
        }))
    }

    type FetchArchiveStream = Boxed<wire::FetchArchiveResponse>;

    async fn fetch_archive(
        &self,
        request: Request<wire::FetchArchiveRequest>,
    ) -> Result<Response<Self::FetchArchiveStream>, Status> {
        let body = self.open(&request, request.get_ref().envelope.as_ref(), By::Roll)?;
        let handler: Arc<dyn super::Handlers> = self.consensus.handlers();
        let found = handler.fetch_archive(body).await.map_err(fatal)?;
        let answers = found
            .into_iter()
            .map(|body| Ok(wire::FetchArchiveResponse { body }));
        Ok(Response::new(Box::pin(futures::stream::iter(answers))))
    }
}
