//! Proposals: written here when this node leads, sent to the leader in batches when it does not.
//!
//! ```text
//! propose ─► leads? ──► Gate (again) ─► stamp ─► log
//!              └─ no ─► queue ─► ≤ 512 in a batch, ≤ 4 batches under way ─► the leader's propose_here
//! ```
//! While there is no leader a proposal waits until its deadline. On a change of leader what was under way is
//! given up and sent again: the domain answers a request that it has seen before with its first answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{ClientWriteError, RaftError};
use reeve_domain::version::entry_format;
use reeve_domain::{Entry, Refusal};
use reeve_proto::internal::v1 as wire;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::ground::{self, time};
use super::links::{Line, pack, unpack};
use super::log_time::Asking;
use super::types::{Committed, Payload};
use super::{Consensus, Unavailable};
use crate::mutant::Mutant;

/// Proposals in one batch.
const BATCH_MAX: usize = 512;
/// Bytes in one batch, unless a single proposal is larger.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// An entry is metadata; one that is larger would hold up everything behind it.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Batches under way at once.
const BATCHES_MAX: usize = 4;
/// Proposals that wait to be sent; more are held back at the door.
const QUEUE: usize = 4096;
/// The longest one batch may take before it is given up and sent again.
const BATCH_LIMIT: Duration = Duration::from_secs(5);
/// The pause after a failed try, so that a leader that is just coming up is not stormed.
const PAUSE: Duration = Duration::from_millis(20);

/// An entry on its way to the leader, with what the leader needs to decide again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forwarded {
    pub entry: Entry,
    /// The verified caller, in policy's own words.
    #[serde(with = "serde_bytes")]
    pub caller: Vec<u8>,
}

/// What the leader made of a proposal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Verdict {
    Committed(Committed),
    /// Policy said no, here at the leader.
    Refused(Refusal),
    /// This node does not lead; nothing was written, or it is not known what was.
    Again,
}

struct Queued {
    bytes: Bytes,
    answer: oneshot::Sender<Option<Verdict>>,
}

/// The queue towards the leader.
#[derive(Clone)]
pub(super) struct Forwarder {
    queue: mpsc::Sender<Queued>,
}

impl Forwarder {
    pub(super) fn new() -> (Forwarder, Batches) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Forwarder { queue }, Batches { waiting })
    }

    async fn send(&self, bytes: Bytes) -> Option<Verdict> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Queued { bytes, answer }).await.ok()?;
        answered.await.ok().flatten()
    }
}

/// The task that owns the queue.
pub(super) struct Batches {
    waiting: mpsc::Receiver<Queued>,
}

impl Batches {
    pub(super) async fn run(mut self, consensus: Consensus) {
        let under_way = Arc::new(Semaphore::new(BATCHES_MAX));
        let mut batch = Vec::new();
        while !batch.is_empty() || self.waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let Ok(place) = under_way.clone().acquire_owned().await else {
                return;
            };
            // While this one waited for its place, more may have come.
            while batch.len() < BATCH_MAX {
                let Ok(more) = self.waiting.try_recv() else { break };
                batch.push(more);
            }
            let rest = batch.split_off(fitting(&batch));
            let full = std::mem::replace(&mut batch, rest);
            let consensus = consensus.clone();
            ground::spawn(async move {
                send(&consensus, full).await;
                drop(place);
            });
        }
    }
}

/// How many of them go into one message; at least one.
fn fitting(batch: &[Queued]) -> usize {
    let mut bytes = 0;
    let fits = |queued: &&Queued| {
        bytes += queued.bytes.len();
        bytes <= BATCH_BYTES_MAX
    };
    batch.iter().take_while(fits).count().max(1)
}

/// Sends one batch; when it fails, or the leader changes, everyone is told to try again.
async fn send(consensus: &Consensus, batch: Vec<Queued>) {
    let mut leadership = consensus.leadership();
    let lead = leadership.borrow_and_update().clone();
    let (bytes, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|q| (q.bytes, q.answer)).unzip();
    let results = match lead.leader {
        Some(leader) if leader != consensus.node_id() => {
            let call = call(consensus, leader, bytes);
            tokio::select! {
                biased;
                results = time::timeout(BATCH_LIMIT, call) => results.ok().flatten(),
                // Not every change of the watch is a change of the leader.
                _ = leadership.wait_for(|now| now.leader != lead.leader) => None,
            }
        }
        _ => None,
    };
    let mut results = results.unwrap_or_default().into_iter();
    for answer in answers {
        let verdict = results.next().and_then(|bytes| unpack(&bytes).ok());
        // Whoever asked may have reached its deadline.
        drop(answer.send(verdict));
    }
}

async fn call(consensus: &Consensus, leader: u64, entries: Vec<Bytes>) -> Option<Vec<Bytes>> {
    let address = consensus.address_of(leader)?;
    let mut client = consensus.links().client(leader, &address, Line::Forward);
    let envelope = Some(consensus.links().envelope_of(Bytes::new()));
    let answer = client.propose(wire::ProposeRequest { envelope, entries }).await;
    answer.ok().map(|answer| answer.into_inner().results)
}

impl Consensus {
    /// Proposes an entry and waits until it is applied, here or at the leader.
    pub async fn propose(&self, proposal: Forwarded, deadline: Instant) -> Result<Committed, Unavailable> {
        if let Err(refusal) = self.check_version(&self.published().state, &proposal.entry.command) {
            // Here already: a leader of an older release could not even read it.
            return Ok(self.refused(refusal));
        }
        let mut packed = None;
        let attempt = async {
            loop {
                match self.try_propose(&proposal, &mut packed).await? {
                    Some(Verdict::Committed(committed)) => return Ok(committed),
                    Some(Verdict::Refused(refusal)) => return Ok(self.refused(refusal)),
                    Some(Verdict::Again) | None => self.wait_for_leader().await,
                }
            }
        };
        match time::timeout_at(deadline, attempt).await {
            Ok(result) => result,
            Err(_) => Err(Unavailable::NoLeader),
        }
    }

    /// How far each voter's clock is from the one in the middle, in milliseconds; nothing on a node that does not lead.
    pub fn clock_offsets(&self) -> BTreeMap<u64, i64> {
        match self.is_leader() {
            true => self.log_time().offsets(self.asking()),
            false => BTreeMap::new(),
        }
    }

    fn asking(&self) -> Asking {
        Asking {
            node: self.node_id(),
            is_alone: self.is_alone(),
            wall_ms: ground::wall_ms(),
            at: time::now(),
        }
    }

    pub(super) fn refused(&self, refusal: Refusal) -> Committed {
        Committed {
            revision: self.published().state.revision,
            outcome: Err(refusal),
        }
    }

    /// Packs it once, and only when it has to travel.
    async fn try_propose(
        &self,
        proposal: &Forwarded,
        packed: &mut Option<Bytes>,
    ) -> Result<Option<Verdict>, Unavailable> {
        if self.is_leader() {
            return Ok(Some(self.propose_here(proposal.clone()).await));
        }
        let bytes = match packed {
            Some(bytes) => bytes.clone(),
            None => {
                let new =
                    pack(proposal).map_err(|status| Unavailable::Broken(status.message().to_owned()))?;
                packed.insert(new).clone()
            }
        };
        let Some(verdict) = self.forwarder().send(bytes).await else {
            return Ok(None);
        };
        if let Verdict::Committed(committed) = &verdict {
            // Read your own writes: this node answers only once it has the change, too.
            self.wait_for_revision(committed.revision).await;
        }
        Ok(Some(verdict))
    }

    /// A refusal says that nothing has come of a request and nothing will. While an earlier try of it may be in the log
    /// nobody can say so, and it waits for what becomes of that; an earlier try that was carried out has its answer.
    fn refuse(&self, entry: &Entry, refusal: Refusal) -> Verdict {
        if Mutant::RefuseBlindly.is_planted() {
            return Verdict::Refused(refusal);
        }
        let is_settled = self.leadership().borrow().word().is_some();
        if !is_settled || self.under_way().holds(entry) {
            return Verdict::Again;
        }
        // Looked at behind that: what is under way no longer is in it.
        let published = self.published();
        let requests = &published.state.requests;
        let known = entry
            .request
            .as_ref()
            .and_then(|key| requests.recall(entry.actor.name(), key));
        match known {
            Some(Ok(known)) => Verdict::Committed(Committed {
                revision: known.revision,
                outcome: known.outcome.clone(),
            }),
            Some(Err(refusal)) => Verdict::Refused(refusal),
            None => Verdict::Refused(refusal),
        }
    }

    async fn wait_for_leader(&self) {
        time::sleep(PAUSE).await;
        let mut leadership = self.leadership();
        // The watch ends with the node; then the deadline ends the wait.
        let _ = leadership.wait_for(|lead| lead.leader.is_some()).await;
    }

    /// Writes a proposal as the leader: policy once more, the stamp, the log.
    pub(super) async fn propose_here(&self, proposal: Forwarded) -> Verdict {
        if !self.is_leader() {
            return Verdict::Again;
        }
        let published = self.published();
        let is_room = self.disk().refusal().map_or(Ok(()), Err);
        let allowed = is_room
            .and_then(|()| self.check_version(&published.state, &proposal.entry.command))
            .and_then(|()| self.handlers().admit(&published.state, &proposal));
        if let Err(refusal) = allowed {
            return self.refuse(&proposal.entry, refusal);
        }
        let mut entry = proposal.entry;
        entry.format = entry_format(published.state.cluster.version);
        entry.stamp = self.log_time().stamp(published.state.clock, self.asking());
        let Ok(bytes) = rmp_serde::to_vec_named(&entry) else {
            return Verdict::Again;
        };
        if bytes.len() > ENTRY_BYTES_MAX {
            let why = format!("it is {} bytes long; {ENTRY_BYTES_MAX} is the most", bytes.len());
            return Verdict::Refused(Refusal::field("request", why));
        }
        self.under_way().write(self.term(), &entry);
        match self.raft().client_write(Payload(bytes.into())).await {
            Ok(written) => Verdict::Committed(written.data),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Verdict::Again,
            Err(error) => {
                tracing::warn!(%error, "a proposal was not written");
                Verdict::Again
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_what_fits_in_one_message_and_never_nothing() {
        let queued = |bytes: usize| Queued {
            bytes: vec![0; bytes].into(),
            answer: oneshot::channel().0,
        };
        let half = BATCH_BYTES_MAX / 2;
        assert_eq!(fitting(&[queued(half), queued(half), queued(1)]), 2);
        assert_eq!(fitting(&[queued(BATCH_BYTES_MAX + 1), queued(1)]), 1);
        assert_eq!(fitting(&[queued(1), queued(1)]), 2);
    }
}
