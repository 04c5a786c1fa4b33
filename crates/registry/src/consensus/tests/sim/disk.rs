//! A node's disk: a log and a vote that forget, in a crash, what was not flushed.
//!
//! ```text
//! append, vote, cut ─► what is read ─┐                      crash: what is durable, and perhaps the first few of
//!                                    └─► flush ─► durable           what waited (none, some, all)
//! ```
//! It orders flushes as the real log does: one is under way, and what comes meanwhile goes with the next.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::exec::{Owner, here, now_ns};
use super::ground::time::sleep;
use super::wire::spawn_as;
use crate::consensus::log::without_gap;
use crate::consensus::types::{C, Entry, LogId, Vote};
use crate::mutant::Mutant;

#[derive(Clone, Default)]
struct Image {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Clone)]
enum Op {
    Vote(Vote),
    Committed(Option<LogId>),
    Append(Entry),
    Cut(u64),
    Purge(LogId),
}

impl Image {
    fn carry_out(&mut self, op: Op) {
        match op {
            Op::Vote(vote) => self.vote = Some(vote),
            Op::Committed(id) => self.committed = id,
            Op::Append(entry) => drop(self.entries.insert(entry.log_id.index, entry)),
            Op::Cut(from) => drop(self.entries.split_off(&from)),
            Op::Purge(id) => {
                self.entries = self.entries.split_off(&(id.index + 1));
                self.purged = self.purged.max(Some(id));
            }
        }
    }

    fn last(&self) -> Option<LogId> {
        let last = self.entries.last_key_value().map(|(_, entry)| entry.log_id);
        last.max(self.purged)
    }
}

enum Waiter {
    Append(IOFlushed<C>),
    Other(oneshot::Sender<()>),
}

#[derive(Default)]
struct State {
    view: Image,
    durable: Image,
    waiting_ops: VecDeque<Op>,
    waiters: Vec<Waiter>,
    in_flight: bool,
    life: u64,
    /// Until then nothing reaches the disk.
    stalled_until: u64,
    slow_ms: u64,
}

impl State {
    fn write(&mut self, op: Op) {
        self.view.carry_out(op.clone());
        self.waiting_ops.push_back(op);
    }
}

/// What survives its node.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// The log of a node that begins a life.
    pub fn open(&self, owner: Owner) -> MemoryLog {
        let mut state = self.0.lock();
        state.life = owner.life;
        MemoryLog {
            disk: self.clone(),
            owner: Owner {
                is_disk: true,
                ..owner
            },
        }
    }

    pub fn purged(&self) -> Option<u64> {
        self.0.lock().view.purged.map(|id| id.index)
    }

    /// Forgets what was not flushed, or part of it; says how much was forgotten.
    pub fn crash(&self) -> (usize, usize) {
        let mut state = self.0.lock();
        state.life = u64::MAX;
        state.waiters.clear();
        state.in_flight = false;
        let ops = std::mem::take(&mut state.waiting_ops);
        let all = ops.len();
        let kept = here().map_or(0, |core| {
            let mut chance = core.chance.lock();
            match chance.between(0..3) {
                0 => 0,
                1 => all,
                _ => chance.between(0..all as u64 + 1) as usize,
            }
        });
        for op in ops.into_iter().take(kept) {
            let is_forgotten = matches!(op, Op::Vote(_)) && Mutant::ForgetVote.is_planted();
            if !is_forgotten {
                state.durable.carry_out(op);
            }
        }
        state.view = state.durable.clone();
        (kept, all)
    }

    pub fn stall(&self, long: Duration) {
        self.0.lock().stalled_until = now_ns() + long.as_nanos() as u64;
    }

    pub fn slow(&self, ms: u64) {
        self.0.lock().slow_ms = ms;
    }

    pub fn heal(&self) {
        let mut state = self.0.lock();
        (state.stalled_until, state.slow_ms) = (0, 0);
    }

    fn flush_waiting(&self, owner: Owner) {
        let mut state = self.0.lock();
        if state.in_flight || state.waiters.is_empty() || state.life != owner.life {
            return;
        }
        state.in_flight = true;
        let count = state.waiting_ops.len();
        let waiters = std::mem::take(&mut state.waiters);
        let disk = self.clone();
        spawn_as(owner, async move {
            disk.take_its_time().await;
            if !disk.flushed(owner, count) {
                return;
            }
            for waiter in waiters {
                match waiter {
                    Waiter::Append(waiter) => waiter.io_completed(Ok(())),
                    Waiter::Other(waiter) => drop(waiter.send(())),
                }
            }
            disk.flush_waiting(owner);
        });
    }

    fn flushed(&self, owner: Owner, count: usize) -> bool {
        let mut state = self.0.lock();
        if state.life != owner.life {
            return false;
        }
        for op in state.waiting_ops.drain(..count).collect::<Vec<_>>() {
            state.durable.carry_out(op);
        }
        state.in_flight = false;
        true
    }

    async fn take_its_time(&self) {
        let slow = self.0.lock().slow_ms;
        let Some(core) = here() else { return };
        let micros = {
            let mut chance = core.chance.lock();
            // As a disk is: quick, and now and then not.
            let rare = if chance.percent(3) { 20_000 } else { 0 };
            chance.between(100..1_500) + rare + chance.between(0..slow * 1_000 + 1)
        };
        sleep(Duration::from_micros(micros)).await;
        loop {
            let until = self.0.lock().stalled_until;
            let left = until.saturating_sub(now_ns());
            if left == 0 {
                return;
            }
            sleep(Duration::from_nanos(left.min(50_000_000))).await;
        }
    }
}

/// The log of one life of a node.
#[derive(Clone)]
pub struct MemoryLog {
    disk: Disk,
    owner: Owner,
}

impl MemoryLog {
    async fn write_and_wait(&self, op: Op) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.disk.0.lock();
            state.write(op);
            state.waiters.push(Waiter::Other(sender));
        }
        self.disk.flush_waiting(self.owner);
        receiver.await.map_err(|_| io::Error::other("the disk is gone"))
    }
}

impl RaftLogReader<C> for MemoryLog {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + std::fmt::Debug + openraft::OptionalSend,
    {
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => *at + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => at.saturating_add(1),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        let state = self.disk.0.lock();
        if from >= to {
            return Ok(Vec::new());
        }
        let entries = state.view.entries.range(from..to);
        Ok(entries.map(|(_, entry)| entry.clone()).collect())
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        Ok(without_gap(from, self.try_get_log_entries(from..to).await?))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.disk.0.lock().view.vote)
    }
}

impl RaftLogStorage<C> for MemoryLog {
    type LogReader = MemoryLog;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let state = self.disk.0.lock();
        Ok(LogState {
            last_log_id: state.view.last(),
            last_purged_log_id: state.view.purged,
        })
    }

    async fn get_log_reader(&mut self) -> MemoryLog {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        if Mutant::ForgetVote.is_planted() {
            self.disk.0.lock().write(Op::Vote(*vote));
            return Ok(());
        }
        self.write_and_wait(Op::Vote(*vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if committed.is_some() {
            self.disk.0.lock().write(Op::Committed(committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.disk.0.lock().view.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + openraft::OptionalSend,
        I::IntoIter: openraft::OptionalSend,
    {
        let is_hasty = Mutant::AnswerBeforeFlush.is_planted();
        let (sender, _) = oneshot::channel();
        {
            let mut state = self.disk.0.lock();
            for entry in entries {
                let last = state.view.last().map(|id| id.index);
                if last.is_some_and(|last| entry.log_id.index != last + 1) {
                    let why = format!("entry {} does not follow {last:?}", entry.log_id.index);
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
                }
                state.write(Op::Append(entry));
            }
            if is_hasty {
                state.waiters.push(Waiter::Other(sender));
                callback.io_completed(Ok(()));
            } else {
                state.waiters.push(Waiter::Append(callback));
            }
        }
        self.disk.flush_waiting(self.owner);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.as_ref().map_or(0, |id| id.index + 1);
        let is_there = self.disk.0.lock().view.entries.range(from..).next().is_some();
        match is_there {
            true => self.write_and_wait(Op::Cut(from)).await,
            false => Ok(()),
        }
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.disk.0.lock().write(Op::Purge(upto));
        Ok(())
    }
}
