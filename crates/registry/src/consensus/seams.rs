//! What consensus needs of the other rooms, in its own words: it knows none of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reeve_domain::{Applied, Refusal, Revision, State};
use tonic::transport::Channel;

use super::Forwarded;

/// Hears of everything that was applied, in order, before anyone is answered.
pub trait AppliedSink: Send + Sync {
    /// These were applied; called on the applying task, and with it on the thread of consensus: it may wait for nothing
    /// but room in the archive's queue (docs/architecture.md, "Threads").
    fn applied(&self, batch: &[Arc<Applied>]);
    /// The state was replaced by a snapshot's; what lies between was not heard.
    fn installed(&self, state: &State);
    /// Everything up to this revision must survive a power cut once this returns.
    fn make_durable(&self, upto: Revision) -> std::io::Result<()>;
    /// Who hears how long this node's disk took. The log keeps it: it must not lead back to consensus.
    fn timer(&self) -> Timer {
        Arc::new(|_, _| {})
    }
}

/// Called where the disk was waited for, also on the log's own thread: it must not wait itself.
pub type Timer = Arc<dyn Fn(Work, Duration) + Send + Sync>;

/// What this node's disk is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// From handing a flush to the log's writer to its callback.
    LogFlush,
    SnapshotWrite,
    /// Read whole, checked and taken in.
    SnapshotInstall,
}

/// What other rooms answer when nodes ask each other.
#[async_trait]
pub trait Handlers: Send + Sync {
    /// Decides policy again, as the leader, for a proposal that came from another node.
    fn admit(&self, state: &State, proposal: &Forwarded) -> Result<(), Refusal>;
    /// Answers a question to the leader.
    async fn ask(&self, question: Bytes) -> Result<Bytes, String>;
    /// Answers for a range of the archive.
    async fn fetch_archive(&self, range: Bytes) -> Result<Vec<Bytes>, String>;
    /// Whether nothing is missing in this node's archive; it must not wait.
    fn archive_is_whole(&self) -> bool;
}

/// Opens channels to peers; TLS and proxies are its business.
pub trait Dialer: Send + Sync {
    /// A lazy channel to a node that is said to be at this address.
    fn channel(&self, node: u64, address: &str) -> Channel;
    /// In memory instead, to a node of the same simulation.
    #[cfg(test)]
    fn line(&self, _node: u64) -> Option<super::tests::sim::wire::Line> {
        None
    }
}
