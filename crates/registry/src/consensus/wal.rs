//! What the write-ahead log holds: ids in the clear, payloads sealed.

use std::sync::Arc;
use std::time::Instant;

use raft_log::Types;

use super::log::Shared;
use super::mark::End;
use super::types::{C, LogId, Vote, log_id};
use super::{Timer, Work};

/// ((term, node), index): ordered as the ids themselves.
pub(super) type WalLogId = ((u64, u64), u64);
/// ((term, node), committed).
pub(super) type WalVote = ((u64, u64), u64);

/// Type choices for the write-ahead log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Wal;

impl Types for Wal {
    type LogId = WalLogId;
    type LogPayload = Vec<u8>;
    type Vote = WalVote;
    type Callback = Flushed;
    type UserData = String;

    fn log_index(log_id: &WalLogId) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Vec<u8>) -> u64 {
        payload.len() as u64
    }
}

/// What happens when a flush has reached the disk, or failed to.
pub(super) enum Flushed {
    /// Everything that waited for this flush; afterwards what gathered meanwhile is flushed.
    Group(Arc<Shared>, Vec<openraft::storage::IOFlushed<C>>, End),
    /// One waiter.
    One(tokio::sync::oneshot::Sender<std::io::Result<()>>),
    /// Either of them, since when it is under way, and who hears how long it took.
    Timed(Instant, Timer, Box<Flushed>),
}

impl raft_log::Callback for Flushed {
    fn send(self, result: std::io::Result<()>) {
        match self {
            Flushed::Group(shared, waiters, end) => shared.flushed(result, waiters, end),
            // A waiter that gave up has nothing to be told.
            Flushed::One(waiter) => drop(waiter.send(result)),
            Flushed::Timed(began, timer, then) => {
                timer(Work::LogFlush, began.elapsed());
                then.send(result);
            }
        }
    }
}

pub(super) fn to_wal(id: &LogId) -> WalLogId {
    let leader = id.committed_leader_id();
    ((leader.term, leader.node_id), id.index)
}

pub(super) fn from_wal(((term, node), index): WalLogId) -> LogId {
    log_id(term, node, index)
}

pub(super) fn vote_to_wal(vote: &Vote) -> WalVote {
    (
        (vote.leader_id.term, vote.leader_id.node_id),
        u64::from(vote.committed),
    )
}

pub(super) fn vote_from_wal(((term, node_id), committed): WalVote) -> Vote {
    Vote {
        leader_id: openraft::impls::leader_id_adv::LeaderId { term, node_id },
        committed: committed != 0,
    }
}
