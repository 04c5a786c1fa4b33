//! openraft's network: what a leader or candidate sends to one other node.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use openraft::{BasicNode, RaftNetworkFactory, RaftNetworkV2};
use reeve_proto::internal::v1 as wire;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tonic::Code;

use super::ground::{self, time};
use super::links::{Client, Line, Links, pack, unpack};
use super::snapshot::{Reader, SnapshotFile, SnapshotStore};
use super::types::{C, LogId, Vote};
use crate::mutant::Mutant;

type RpcResult<T> = Result<T, RPCError<C>>;
type TransferLeaderResponse = openraft::raft::TransferLeaderResponse<C>;

/// A stream that has sent more than it was answered for, and hears nothing for so long, is cut.
const IDLE_MAX: Duration = Duration::from_millis(500);
/// A call for a vote goes on for so long, whoever has given up: time enough to dial.
const BALLOT_MAX: Duration = Duration::from_secs(2);
const SNAPSHOT_QUEUE: usize = 4;
/// How long another node may take to say how much of a snapshot it has.
const OFFSET_MAX: Duration = Duration::from_secs(5);
/// So many requests of one stream that lack the entries they should bring show that its log is purged. One or two are
/// usual: they only tell what is committed.
const HOLLOW_MAX: u32 = 8;
/// A snapshot of which nothing was taken for so long, and that nobody answered, is given up and sent anew. Without a
/// limit one lost answer would keep a follower behind for as long as its leader leads.
const SNAPSHOT_STILL_MAX: Duration = Duration::from_secs(60);

/// Makes clients; channels are shared between them.
pub(super) struct Factory {
    pub(super) links: Links,
    pub(super) store: SnapshotStore,
}

impl Factory {
    fn peer(&self, target: u64, node: &BasicNode, line: Line) -> Peer {
        Peer {
            links: self.links.clone(),
            store: self.store.clone(),
            target,
            address: node.addr.clone(),
            line,
        }
    }
}

impl RaftNetworkFactory<C> for Factory {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        self.peer(target, node, Line::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        self.peer(target, node, Line::Beat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        self.peer(target, node, Line::Snapshot)
    }
}

/// One other node, over one line.
pub(super) struct Peer {
    links: Links,
    store: SnapshotStore,
    target: u64,
    address: String,
    line: Line,
}

impl Peer {
    fn client(&self) -> Client {
        self.links.client(self.target, &self.address, self.line)
    }

    /// Calls with a limit, and tells openraft whether to back off.
    async fn call<T, F>(&self, action: RPCTypes, limit: Duration, future: F) -> RpcResult<T>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        match time::timeout(limit, future).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(failed(&status)),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action,
                id: self.links.node,
                target: self.target,
                timeout: limit,
            })),
        }
    }
}

fn failed(status: &tonic::Status) -> RPCError<C> {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            RPCError::Unreachable(Unreachable::from_string(status.message()))
        }
        _ => RPCError::Network(NetworkError::from_string(status.message())),
    }
}

impl RaftNetworkV2<C> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<C>> {
        let limit = option.hard_ttl().max(IDLE_MAX);
        self.call(RPCTypes::AppendEntries, limit, async {
            let request = wire::AppendRequest {
                envelope: self.links.envelope(&rpc)?,
            };
            unpack(&self.client().append(request).await?.into_inner().body)
        })
        .await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<BoxStream<'s, RpcResult<StreamAppendResult<C>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + openraft::OptionalSend + Unpin + 'static,
    {
        if self.line == Line::Beat {
            return stream_append_sequential(self, input, option);
        }
        let client = self.client();
        Box::pin(pipeline(self.links.clone(), client, input))
    }

    async fn vote(&mut self, rpc: VoteRequest<C>, option: RPCOption) -> RpcResult<VoteResponse<C>> {
        self.ballot(
            option,
            move |envelope, mut client| async move {
                let request = wire::VoteRequest { envelope };
                Ok(client.vote(request).await?.into_inner().body)
            },
            &rpc,
        )
        .await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<C>, option: RPCOption) -> RpcResult<VoteResponse<C>> {
        self.ballot(
            option,
            move |envelope, mut client| async move {
                let request = wire::PreVoteRequest { envelope };
                Ok(client.pre_vote(request).await?.into_inner().body)
            },
            &rpc,
        )
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<C, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + openraft::OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let unreachable = |why: String| StreamingError::Unreachable(Unreachable::from_string(why));
        let first = self
            .links
            .envelope(&(&vote, &snapshot.meta))
            .map_err(|e| unreachable(e.to_string()))?;
        tokio::pin!(cancel);
        let (store, file) = (self.store.clone(), snapshot.snapshot.clone());
        let opened = ground::spawn_blocking(move || store.blocks(&file)).await;
        let opened = opened.map_err(|error| unreachable(error.to_string()))?;
        let reader = opened.map_err(|error| unreachable(error.to_string()))?;
        let from = tokio::select! {
            biased;
            closed = &mut cancel => return Err(StreamingError::Closed(closed)),
            asked = self.offset_of(&reader, first.clone()) => asked.map_err(unreachable)?,
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(SNAPSHOT_QUEUE);
        let taken = Arc::new(AtomicU64::new(0));
        let feed = ground::spawn(feed(reader, first, from, sender, taken.clone()));
        let mut client = self.client();
        let send = client.install_snapshot(tokio_stream::wrappers::ReceiverStream::new(receiver));
        let answer = tokio::select! {
            biased;
            closed = &mut cancel => return Err(StreamingError::Closed(closed)),
            answer = send => answer.map_err(|status| unreachable(status.message().to_owned()))?,
            () = stands_still(&taken) => return Err(unreachable("nobody takes the snapshot".to_owned())),
        };
        match feed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(error) => return Err(unreachable(error.to_string())),
        }
        unpack(&answer.into_inner().body).map_err(|status| unreachable(status.message().to_owned()))
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse> {
        self.call(RPCTypes::TransferLeader, option.hard_ttl(), async {
            let request = wire::TransferLeaderRequest {
                envelope: self.links.envelope(&rpc)?,
            };
            unpack(&self.client().transfer_leader(request).await?.into_inner().body)
        })
        .await
    }
}

impl Peer {
    /// Asks for a vote, behind no data. Whoever gives up waits no longer, and the call goes on for a while: its dialling
    /// would stand still with it, and the next call find it where it stood, and too old.
    async fn ballot<F>(
        &self,
        option: RPCOption,
        ask: impl FnOnce(Option<wire::Envelope>, Client) -> F,
        rpc: &VoteRequest<C>,
    ) -> RpcResult<VoteResponse<C>>
    where
        F: Future<Output = Result<Bytes, tonic::Status>> + Send + 'static,
    {
        let envelope = self.links.envelope(rpc).map_err(|status| failed(&status))?;
        let client = self.links.client(self.target, &self.address, Line::Beat);
        let asked = ground::spawn(time::timeout(BALLOT_MAX, ask(envelope, client)));
        self.call(RPCTypes::Vote, option.hard_ttl(), async {
            let gone = |_| tonic::Status::deadline_exceeded("no answer to a call for a vote");
            unpack(
                &asked
                    .await
                    .map_err(|error| tonic::Status::unavailable(error.to_string()))?
                    .map_err(gone)??,
            )
        })
        .await
    }

    /// How much of this file the other node has already.
    async fn offset_of(&self, reader: &Reader, envelope: Option<wire::Envelope>) -> Result<u64, String> {
        let request = wire::SnapshotOffsetRequest {
            envelope,
            snapshot_id: reader.id().to_vec().into(),
        };
        let mut client = self.client();
        match time::timeout(OFFSET_MAX, client.snapshot_offset(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().offset),
            // A node of an older version begins anew each time.
            Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(0),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("it does not say how much of the snapshot it has".to_owned()),
        }
    }
}

/// Sends a snapshot block by block, from an offset on. The sum is over all of it, so all of it is read.
async fn feed(
    mut reader: Reader,
    envelope: Option<wire::Envelope>,
    from: u64,
    sender: tokio::sync::mpsc::Sender<wire::InstallSnapshotRequest>,
    taken: Arc<AtomicU64>,
) -> io::Result<()> {
    let gone = |_| io::Error::other("the receiver is gone");
    let request = wire::InstallSnapshotRequest {
        envelope,
        offset: from,
        snapshot_id: reader.id().to_vec().into(),
        ..Default::default()
    };
    sender.send(request).await.map_err(gone)?;
    let (mut sum, mut offset) = (Sha256::new(), 0);
    loop {
        let read = ground::spawn_blocking(move || {
            let block = reader.next_block();
            let hashed = block.as_ref().ok().and_then(Option::as_ref);
            hashed.inspect(|block| sum.update(block));
            (reader, sum, block)
        });
        let block;
        (reader, sum, block) = read.await.map_err(io::Error::other)?;
        let Some(block) = block? else { break };
        let len = block.len() as u64;
        if offset >= from {
            let request = wire::InstallSnapshotRequest {
                offset,
                block: block.into(),
                ..Default::default()
            };
            sender.send(request).await.map_err(gone)?;
        }
        taken.fetch_add(1, Ordering::Relaxed);
        offset += len;
    }
    let request = wire::InstallSnapshotRequest {
        offset,
        sha256: sum.finalize().to_vec().into(),
        ..Default::default()
    };
    sender.send(request).await.map_err(gone)
}

/// Waits until a count has not grown for a while.
async fn stands_still(count: &AtomicU64) {
    loop {
        let before = count.load(Ordering::Relaxed);
        time::sleep(SNAPSHOT_STILL_MAX).await;
        if count.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// Replication over one bidirectional stream: requests go out as they come, answers come back in order.
///
/// It takes no more requests once its answers are dropped. HTTP/2 goes on with what is sent when nobody reads the answers
/// any more, and openraft's stream of requests is one for all that come after each other: the old one would take every
/// other request from the new, whose answers nobody hears, and what was to be committed would stand still.
pub(super) async fn pipeline<'s, S>(
    links: Links,
    mut client: Client,
    mut input: S,
) -> RpcResult<BoxStream<'s, RpcResult<StreamAppendResult<C>>>>
where
    S: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
{
    // openraft backs off before it makes a request. Without one in hand a dead node would be dialled without a pause.
    let Some(first) = input.next().await else {
        return Ok(Box::pin(futures::stream::empty()));
    };
    let input = futures::stream::once(std::future::ready(first)).chain(input);
    let (listens, nobody_listens) = oneshot::channel::<Infallible>();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let hollow = Arc::new(Hollow::default());
    let noticed = hollow.clone();
    let unheard = async move {
        // It can only be dropped.
        let _ = nobody_listens.await;
        if Mutant::UnheardStreams.is_planted() {
            std::future::pending().await
        }
    };
    let outbound = input.take_until(unheard).filter_map(move |request| {
        noticed.look_at(&request);
        let body = pack(&request).map(|body| links.envelope_of(body));
        counter.fetch_add(1, Ordering::Relaxed);
        // What cannot be encoded ends as an idle stream, which openraft starts again.
        std::future::ready(body.ok().map(|envelope| wire::AppendStreamRequest {
            envelope: Some(envelope),
        }))
    });
    let answer = time::timeout(IDLE_MAX, client.append_stream(outbound)).await;
    let inbound = match answer {
        Ok(Ok(stream)) => stream.into_inner(),
        Ok(Err(status)) => return Err(failed(&status)),
        Err(_) => {
            return Err(RPCError::Unreachable(Unreachable::from_string(
                "no answer to a stream",
            )));
        }
    };
    let answers = futures::stream::unfold(Some((inbound, sent, 0u64, listens)), move |state| {
        let hollow = hollow.clone();
        async move {
            let (mut inbound, sent, received, listens) = state?;
            if hollow.is_for_ever() {
                let why = "the entries that follow are purged: this stream would never bring them";
                return Some((Err(RPCError::Network(NetworkError::from_string(why))), None));
            }
            loop {
                let item = match time::timeout(IDLE_MAX, inbound.message()).await {
                    Err(_) if sent.load(Ordering::Relaxed) <= received => continue,
                    Err(_) => Err(RPCError::Unreachable(Unreachable::from_string(
                        "the stream fell silent",
                    ))),
                    Ok(Ok(None)) => return None,
                    Ok(Ok(Some(answer))) => {
                        unpack::<StreamAppendResult<C>>(&answer.body).map_err(|status| failed(&status))
                    }
                    Ok(Err(status)) => Err(failed(&status)),
                };
                let goes_on = matches!(item, Ok(Ok(_)));
                return Some((item, goes_on.then_some((inbound, sent, received + 1, listens))));
            }
        }
    });
    let answers: BoxStream<'s, _> = Box::pin(answers);
    Ok(answers)
}

/// Notices a stream whose next entries are gone. openraft reads on where it stands, finds nothing, takes that for
/// nothing to do, and never looks whether it was told to send a snapshot instead: the other node would stay behind for
/// as long as this one leads.
#[derive(Default)]
struct Hollow {
    in_a_row: AtomicU32,
}

impl Hollow {
    fn look_at(&self, request: &AppendEntriesRequest<C>) {
        let index = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index);
        let lacks = request.entries.is_empty() && index(&request.prev_log_id) < index(&request.leader_commit);
        match lacks {
            true => drop(self.in_a_row.fetch_add(1, Ordering::Relaxed)),
            false => self.in_a_row.store(0, Ordering::Relaxed),
        }
    }

    fn is_for_ever(&self) -> bool {
        self.in_a_row.load(Ordering::Relaxed) >= HOLLOW_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::types::{Payload, log_id};

    fn request(prev: u64, entries: u64, committed: u64) -> AppendEntriesRequest<C> {
        let id = |index| log_id(1, 1, index);
        let entry = |index| super::super::types::Entry {
            log_id: id(index),
            payload: openraft::EntryPayload::Normal(Payload(Default::default())),
        };
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(prev)),
            entries: (prev + 1..=prev + entries).map(entry).collect(),
            leader_commit: Some(id(committed)),
        }
    }

    #[test]
    fn a_stream_that_brings_nothing_although_there_is_more_is_noticed() {
        let hollow = Hollow::default();
        for _ in 0..3 {
            // What is committed is told without entries, too.
            (0..HOLLOW_MAX - 1).for_each(|_| hollow.look_at(&request(47, 0, 89)));
            assert!(!hollow.is_for_ever());
            hollow.look_at(&request(47, 2, 89));
        }
        (0..2 * HOLLOW_MAX).for_each(|_| hollow.look_at(&request(89, 0, 89)));
        assert!(!hollow.is_for_ever(), "it has all there is");
        (0..HOLLOW_MAX).for_each(|_| hollow.look_at(&request(47, 0, 89)));
        assert!(hollow.is_for_ever());
    }
}
