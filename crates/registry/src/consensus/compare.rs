//! Whether all nodes have come to the same State: now and then all of them hash it at one index of the log.
//!
//! ```text
//! leader: an index soon to come ─(with its word)─► every node: clones its State there, hashes it aside
//!   ▲                                                 │
//!   └───────────────(with the answer)─────────────────┘   a majority agrees ─► the odd one is told, and ends
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::State;
use reeve_domain::digest::{Hash, hex};

use super::folder::REJOIN;
use super::ground::time;
use super::{Consensus, Fatal};
use crate::{files, threads};

/// How far ahead the index lies: nobody shall have passed it when it hears of it.
const AHEAD: u64 = 64;
/// When the log has not moved for so long, all nodes stand still at one place.
const QUIET: Duration = Duration::from_secs(2);
const ANSWERS_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CONDEMNED: &str = "diverged.json";

/// What this node knows of the comparison that is under way.
#[derive(Clone)]
pub(super) struct Compare(Arc<Inner>);

struct Inner {
    /// Where the State is to be hashed; 0 for nowhere.
    wanted: AtomicU64,
    states: mpsc::Sender<(u64, State)>,
    own: Mutex<Option<Mark>>,
    /// Of the leader: what the others answered.
    others: Mutex<BTreeMap<u64, Mark>>,
    /// Of the leader: nodes whose State is another one, and where.
    odd: Mutex<BTreeMap<u64, u64>>,
    folder: PathBuf,
    fatal: Fatal,
}

/// A State's hash at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) index: u64,
    pub(super) hash: Hash,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Same,
    /// These differ from a majority.
    Odd(Vec<u64>),
    /// They differ, and nobody has a majority.
    Torn,
}

/// Compares what the nodes answered; so many vote.
pub(super) fn judge(answers: &BTreeMap<u64, Hash>, voters: usize) -> Found {
    let mut counts: BTreeMap<Hash, usize> = BTreeMap::new();
    for hash in answers.values() {
        *counts.entry(*hash).or_default() += 1;
    }
    if counts.len() <= 1 {
        return Found::Same;
    }
    let Some((right, _)) = counts.iter().find(|(_, count)| **count > voters / 2) else {
        return Found::Torn;
    };
    let odd = answers.iter().filter(|(_, hash)| *hash != right);
    Found::Odd(odd.map(|(node, _)| *node).collect())
}

impl Compare {
    /// Starts the hashing beside everything else.
    pub(super) fn start(folder: &Path, fatal: Fatal) -> io::Result<Compare> {
        let (states, waiting) = mpsc::channel::<(u64, State)>();
        let compare = Compare(Arc::new(Inner {
            wanted: AtomicU64::new(0),
            states,
            own: Mutex::default(),
            others: Mutex::default(),
            odd: Mutex::default(),
            folder: folder.to_owned(),
            fatal,
        }));
        let inner = Arc::downgrade(&compare.0);
        // It ends with the last handle.
        let work = move || {
            threads::step_back();
            for (index, state) in waiting {
                let hash = state.hash();
                let Some(inner) = inner.upgrade() else { return };
                *inner.own.lock() = Some(Mark { index, hash });
            }
        };
        std::thread::Builder::new()
            .name("compare".to_owned())
            .spawn(work)?;
        Ok(compare)
    }

    /// Whether the State is to be hashed once this entry is applied.
    pub(super) fn is_wanted(&self, index: u64) -> bool {
        index > 0 && self.wanted() == index
    }

    /// Takes a State, which costs nothing, to hash it aside.
    pub(super) fn take(&self, index: u64, state: &State) {
        // Whoever hashes ends with the node only.
        let _ = self.0.states.send((index, state.clone()));
    }

    pub(super) fn wanted(&self) -> u64 {
        self.0.wanted.load(Ordering::Relaxed)
    }

    pub(super) fn own(&self) -> Option<Mark> {
        *self.0.own.lock()
    }

    pub(super) fn heard(&self, node: u64, mark: Mark) {
        self.0.others.lock().insert(node, mark);
    }

    /// Where a node was found to differ; 0 when it was not.
    pub(super) fn odd_at(&self, node: u64) -> u64 {
        self.0.odd.lock().get(&node).copied().unwrap_or_default()
    }

    /// Ends this node for good: what it holds is not what the others hold.
    pub(super) fn condemn(&self, index: u64) {
        let own = self.own().map(|mark| hex(&mark.hash)).unwrap_or_default();
        let why = format!(
            "this node's State differs from the others' at log entry {index} (its hash here is {own}); {REJOIN}"
        );
        let text = serde_json::json!({ "index": index, "hash": own, "why": why }).to_string();
        if let Err(error) = files::write(&self.0.folder.join(CONDEMNED), text.as_bytes()) {
            tracing::error!(%error, "that this node diverged could not be noted");
        }
        self.0.fatal.raise(&why);
    }
}

/// Refuses the folder of a node that differed from the others.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    let file = folder.join(CONDEMNED);
    match std::fs::read(&file) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let why = format!("{} stands in the way: {text}; {REJOIN}", file.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Consensus {
    /// A word of the leader's: where to hash, and whether this node was found to differ.
    pub(super) fn hear_compare(&self, wanted: u64, odd_at: u64) {
        if odd_at > 0 {
            return self.compare().condemn(odd_at);
        }
        if wanted != self.compare().wanted() {
            self.want(wanted);
        }
    }

    fn want(&self, index: u64) {
        self.compare().0.wanted.store(index, Ordering::Relaxed);
        let published = self.published();
        if published.applied_index == index {
            self.compare().take(index, &published.state);
        }
    }

    /// The leader's loop.
    pub(super) async fn keep_comparing(self) {
        let mut beat = time::interval(self.compare_period());
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            beat.tick().await;
            if self.is_leader() {
                self.compare_once().await;
            }
        }
    }

    async fn compare_once(&self) {
        let mut index = self.published().applied_index + AHEAD;
        self.want(index);
        if !self.comes_to(index).await {
            index = self.published().applied_index;
            self.want(index);
        }
        let voters = self.voters();
        let complete = || self.answers(index).len() == voters.len();
        self.until(ANSWERS_MAX, complete).await;
        let answers = self.answers(index);
        match judge(&answers, voters.len()) {
            Found::Same => tracing::debug!(index, nodes = answers.len(), "the nodes agree"),
            Found::Torn => tracing::error!(
                index,
                ?answers,
                "the nodes differ, and no majority says who is right"
            ),
            Found::Odd(nodes) => {
                tracing::error!(
                    index,
                    ?nodes,
                    "these nodes differ from the others and are stopped"
                );
                if nodes.contains(&self.node_id()) {
                    return self.compare().condemn(index);
                }
                let odd = nodes.into_iter().map(|node| (node, index)).collect();
                *self.compare().0.odd.lock() = odd;
            }
        }
    }

    fn own_hash(&self, index: u64) -> Option<Hash> {
        self.compare()
            .own()
            .filter(|mark| mark.index == index)
            .map(|mark| mark.hash)
    }

    /// What is known of the voters at an index.
    fn answers(&self, index: u64) -> BTreeMap<u64, Hash> {
        let others = self.compare().0.others.lock().clone();
        let at = others.into_iter().filter(|(_, mark)| mark.index == index);
        let own = self.own_hash(index).map(|hash| (self.node_id(), hash));
        let voters = self.voters();
        at.map(|(node, mark)| (node, mark.hash))
            .chain(own)
            .filter(|(node, _)| voters.contains(node))
            .collect()
    }

    /// Waits for the log to come to an index; gives up when it stands still.
    async fn comes_to(&self, index: u64) -> bool {
        let (mut at, mut since) = (0, time::now());
        while self.own_hash(index).is_none() {
            let applied = self.published().applied_index;
            if applied != at {
                (at, since) = (applied, time::now());
            } else if since.elapsed() > QUIET {
                return false;
            }
            time::sleep(LOOK_EVERY).await;
        }
        true
    }

    async fn until(&self, patience: Duration, holds: impl Fn() -> bool) -> bool {
        let end = time::now() + patience;
        while time::now() < end {
            if holds() {
                return true;
            }
            time::sleep(LOOK_EVERY).await;
        }
        holds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(of: &[(u64, u8)]) -> BTreeMap<u64, Hash> {
        of.iter().map(|(node, byte)| (*node, [*byte; 32])).collect()
    }

    #[test]
    fn the_odd_one_is_who_differs_from_a_majority() {
        assert_eq!(judge(&answers(&[(1, 7), (2, 7), (3, 7)]), 3), Found::Same);
        assert_eq!(judge(&answers(&[(1, 7)]), 3), Found::Same);
        assert_eq!(judge(&answers(&[(1, 7), (2, 8), (3, 7)]), 3), Found::Odd(vec![2]));
        assert_eq!(
            judge(&answers(&[(1, 7), (2, 8)]), 3),
            Found::Torn,
            "one is silent"
        );
        assert_eq!(judge(&answers(&[(1, 7), (2, 8), (3, 9)]), 3), Found::Torn);
        let five = answers(&[(1, 7), (2, 8), (3, 7), (4, 7), (5, 9)]);
        assert_eq!(judge(&five, 5), Found::Odd(vec![2, 5]));
        assert_eq!(
            judge(&answers(&[(1, 7), (2, 8), (3, 7)]), 5),
            Found::Torn,
            "two of five are no majority"
        );
    }

    #[test]
    fn a_condemned_folder_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        std::fs::write(folder.path().join(CONDEMNED), "it differed").unwrap();
        let refused = check(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("it differed"), "{refused}");
    }
}
