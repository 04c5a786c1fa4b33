//! Who was heard lately: the leader's memory. It is never in the log, and gone with the leader.

use std::time::Duration;

use reeve_domain::Stamp;
use reeve_domain::plan::{Sighting, Sightings};
use reeve_domain::words::Name;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Shared, wall};
use crate::asks::{Question, Reply, SightingsOf, ask_leader};
use crate::consensus::Consensus;

/// What a heartbeat says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beat {
    pub agent: Name,
    pub lag_bytes: u64,
    pub connections: u32,
    /// Since its isolation audit last came to the end of a round. A node that knows cluster version 1 only cannot read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_audit_ms: Option<u64>,
}

/// How old a follower's copy may be.
const COPY_AGE_MAX: Duration = Duration::from_millis(900);
/// How long after somebody last asked a follower keeps its copy fresh.
const WANTED_FOR: Duration = Duration::from_secs(30);
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// A leader that takes longer to answer has other worries.
const PATIENCE: Duration = Duration::from_secs(1);

/// A cloneable handle on the board of one node.
#[derive(Clone)]
pub struct SightingsBoard {
    consensus: Consensus,
    own: Shared<Own>,
    copy: Shared<Copied>,
    wanted: std::sync::Arc<Notify>,
}

/// What this node heard while it led in this term.
#[derive(Default)]
struct Own {
    term: u64,
    sightings: Sightings,
}

/// What the leader last told a follower.
#[derive(Default)]
struct Copied {
    sightings: Sightings,
    at: Option<Instant>,
    wanted: Option<Instant>,
}

impl SightingsBoard {
    pub fn new(consensus: Consensus) -> SightingsBoard {
        SightingsBoard {
            consensus,
            own: Shared::default(),
            copy: Shared::default(),
            wanted: Default::default(),
        }
    }

    /// Passes a heartbeat on to the leader; false when no leader heard it.
    pub async fn report(&self, beat: Beat) -> bool {
        if self.consensus.is_leader() {
            self.note(beat);
            return true;
        }
        let asked = tokio::time::timeout(PATIENCE, ask_leader(&self.consensus, &Question::Sight(beat))).await;
        matches!(asked, Ok(Ok(Reply::Heard)))
    }

    /// Who was heard: the leader's memory, or on a follower a copy of it.
    pub async fn read(&self) -> Sightings {
        if self.consensus.is_leader() {
            return self.own();
        }
        let is_fresh = self.copy.lock().at.is_some_and(|at| at.elapsed() < COPY_AGE_MAX);
        if !is_fresh {
            self.fetch().await;
        }
        self.copy.lock().sightings.clone()
    }

    /// The same without waiting: on a follower the last copy, which is kept fresh while somebody asks.
    pub fn snapshot(&self) -> Sightings {
        if self.consensus.is_leader() {
            return self.own();
        }
        let mut copy = self.copy.lock();
        copy.wanted = Some(Instant::now());
        self.wanted.notify_one();
        copy.sightings.clone()
    }

    /// What this node itself heard as the leader of the present term.
    pub fn own(&self) -> Sightings {
        self.this_term(|own| own.sightings.clone())
    }

    /// Writes a heartbeat down in this node's own memory.
    pub fn note(&self, beat: Beat) {
        let Beat {
            agent,
            lag_bytes,
            connections,
            last_audit_ms,
        } = beat;
        let seen = wall();
        let sighting = Sighting {
            seen,
            lag_bytes,
            connections,
            audited: last_audit_ms.map(|ago| Stamp(seen.0.saturating_sub(ago))),
        };
        self.this_term(|own| own.sightings.agents.insert(agent, sighting));
    }

    /// What was heard in an earlier term is forgotten: who was silent since cannot be told.
    fn this_term<T>(&self, look: impl FnOnce(&mut Own) -> T) -> T {
        let term = self.consensus.term();
        let mut own = self.own.lock();
        if own.term != term {
            *own = Own {
                term,
                sightings: Sightings::default(),
            };
        }
        look(&mut own)
    }

    async fn fetch(&self) {
        let asked = tokio::time::timeout(PATIENCE, ask_leader(&self.consensus, &Question::Sightings)).await;
        if let Ok(Ok(Reply::Sightings(seen))) = asked {
            let SightingsOf(sightings) = seen.into_iter().collect();
            let mut copy = self.copy.lock();
            (copy.sightings, copy.at) = (sightings, Some(Instant::now()));
        }
    }

    fn is_wanted(&self) -> bool {
        self.copy
            .lock()
            .wanted
            .is_some_and(|at| at.elapsed() < WANTED_FOR)
    }
}

/// Keeps a follower's copy fresh while somebody asks for it.
pub(super) async fn refresh(board: SightingsBoard, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = board.wanted.notified() => {}
        }
        while board.is_wanted() && !stop.is_cancelled() {
            if !board.consensus.is_leader() {
                board.fetch().await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REFRESH_EVERY) => {}
            }
        }
    }
}
