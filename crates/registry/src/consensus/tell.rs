//! What the leader tells all others ten times a second, and what it hears back: how fresh it is, whose disk is full,
//! whose clock says what, who is whole.

use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use reeve_proto::internal::v1 as wire;

use super::compare::Mark;
use super::ground::{self, time};
use super::leadership::Leadership;
use super::links::Line;
use super::wholes::Question;
use super::{Consensus, Health};

/// How often the leader tells the others how fresh it is, and the durable mark is written.
const LEAD_PERIOD: Duration = Duration::from_millis(100);

impl Consensus {
    /// Tells the others how fresh the leader is, and writes the durable mark.
    pub(super) async fn tell(self) {
        let mut beat = time::interval(LEAD_PERIOD);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let save_mark = self.0.save_mark.clone();
            if let Ok(Err(error)) = ground::spawn_blocking(move || save_mark()).await {
                tracing::warn!(%error, "the durable mark was not written");
            }
            if self.is_leader() {
                self.tell_once();
            }
        }
    }

    fn tell_once(&self) {
        let metrics = self.0.raft.metrics().borrow_watched().clone();
        let Some(word) = Leadership::of(&metrics).word() else {
            return;
        };
        let quorum_age_ms = word.quorum_age.as_millis() as u64 + 1;
        self.0
            .freshness
            .said(metrics.current_term, word.committed_index, quorum_age_ms);
        let known = self.known_to_tell();
        self.0
            .log_time
            .group(metrics.membership_config.voter_ids().collect());
        for (id, node) in metrics
            .membership_config
            .nodes()
            .filter(|(id, _)| **id != self.node_id())
        {
            let mut client = self.0.links.client(*id, &node.addr, Line::Beat);
            let told = wire::LeadRequest {
                envelope: Some(self.0.links.envelope_of(Bytes::new())),
                term: metrics.current_term,
                committed_index: word.committed_index,
                quorum_age_ms,
                clock_ms: self.0.freshness.clock_of(*id),
                compare_index: self.0.compare.wanted(),
                odd_index: self.0.compare.odd_at(*id),
                known: known.clone(),
            };
            let (freshness, compare, id) = (self.0.freshness.clone(), self.0.compare.clone(), *id);
            let (disk, programs) = (self.0.disk.clone(), self.0.programs.clone());
            let (wholes, log_time) = (self.0.wholes.clone(), self.0.log_time.clone());
            let question = Question {
                term: metrics.current_term,
                at: time::now(),
                last_index: metrics.last_log_index.unwrap_or_default(),
            };
            self.spawn(async move {
                // Silence is what staleness is made of; nobody needs to be told twice.
                if let Ok(Ok(heard)) = time::timeout(Duration::from_secs(1), client.lead(told)).await {
                    let heard = heard.into_inner();
                    freshness.keep_clock(id, heard.clock_ms);
                    log_time.heard(id, heard.wall_ms, time::now());
                    programs.heard(id, &heard, question.at);
                    wholes.heard(id, question, &heard);
                    let (full, slow) = (heard.disk_full, heard.disk_slow);
                    disk.heard(id, Health { full, slow });
                    if let Ok(hash) = heard.compared_hash.as_ref().try_into() {
                        let index = heard.compared_index;
                        compare.heard(id, Mark { index, hash });
                    }
                }
            });
        }
    }
}
