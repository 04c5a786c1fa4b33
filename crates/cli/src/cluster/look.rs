//! All nodes at once: one says who there is, then each is asked itself, so that no leader is needed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use reeve_client::{Api, v1};
use tonic::Request;

use crate::fail::Failure;
use crate::session::Session;

/// A node that is well answers within milliseconds; nobody waits longer for one that is not.
const NODE_PATIENCE: Duration = Duration::from_secs(3);
/// The same where it reads all that it knows.
const READING_PATIENCE: Duration = Duration::from_secs(30);

/// What every node said.
pub struct Picture {
    /// Of the best informed: the leader where there is one.
    pub best: v1::GetClusterResponse,
    pub answers: BTreeMap<u64, Answer>,
    pub now: SystemTime,
}

/// What one node said of itself, or why it did not.
pub type Answer = Result<v1::GetClusterResponse, String>;

impl Picture {
    pub async fn look(session: &Session) -> Result<Picture, Failure> {
        Picture::taken(session, stale(), NODE_PATIENCE).await
    }

    /// With the hash of what each node knows, so that they can be compared; it takes as long as reading all of it.
    pub async fn look_closely(session: &Session) -> Result<Picture, Failure> {
        let asked = v1::GetClusterRequest {
            with_state_hash: true,
            ..stale()
        };
        Picture::taken(session, asked, READING_PATIENCE).await
    }

    async fn taken(
        session: &Session,
        question: v1::GetClusterRequest,
        patience: Duration,
    ) -> Result<Picture, Failure> {
        let mut client = session.api()?.cluster();
        let first = client.get_cluster(session.ask(stale())).await?.into_inner();
        let (_, credentials) = session.doors()?;
        let asked = first.nodes.iter().map(async |node| {
            let answer = match Api::connect(std::slice::from_ref(&node.api_address), &credentials) {
                Ok(api) => ask(&api, question, patience).await,
                Err(error) => Err(error.to_string()),
            };
            // Somebody else may live at its address by now.
            let is_other = |said: &v1::GetClusterResponse| own_id(said) != node.id;
            let answer = match answer {
                Ok(said) if is_other(&said) => Err(format!("node {} answers at its address", own_id(&said))),
                answer => answer,
            };
            (node.id, answer)
        });
        let answers: BTreeMap<u64, Answer> = join_all(asked).await.into_iter().collect();
        Ok(Picture::of(first, answers, SystemTime::now()))
    }

    pub fn of(first: v1::GetClusterResponse, answers: BTreeMap<u64, Answer>, now: SystemTime) -> Picture {
        let best = answers.values().flatten().max_by_key(|said| rank(said));
        let best = match best {
            Some(best) if rank(best) >= rank(&first) => best.clone(),
            _ => first,
        };
        Picture { best, answers, now }
    }

    /// What a node said of itself.
    pub fn said(&self, node: u64) -> Option<&v1::GetClusterResponse> {
        self.answers.get(&node)?.as_ref().ok()
    }

    pub fn vitals(&self, node: u64) -> Option<&v1::Vitals> {
        self.said(node)?.vitals.as_ref()
    }

    /// The one that a quorum follows. A node goes on naming a leader that is gone: that one does not count.
    pub fn leader(&self) -> Option<u64> {
        let heard = self
            .best
            .vitals
            .as_ref()
            .is_some_and(|vitals| vitals.hears_quorum);
        (heard && self.best.leader_id > 0).then_some(self.best.leader_id)
    }

    pub fn voters(&self) -> impl Iterator<Item = &v1::Node> {
        self.best.nodes.iter().filter(|node| votes(node))
    }

    /// Entries that a node lacks, as the leader sees it, or as it says itself.
    pub fn lag(&self, node: &v1::Node) -> Option<u64> {
        let last = self.best.vitals.as_ref()?.last_index;
        let own = || Some(self.vitals(node.id)?.last_index);
        let holds = match node.matched_index {
            0 => own()?,
            matched => matched,
        };
        Some(last.saturating_sub(holds))
    }
}

pub fn votes(node: &v1::Node) -> bool {
    matches!(node.role(), v1::node::Role::Leader | v1::node::Role::Follower)
}

fn own_id(said: &v1::GetClusterResponse) -> u64 {
    said.freshness.as_ref().map_or(0, |freshness| freshness.node_id)
}

/// Who hears a quorum knows more than who does not, the leader most; a later term is later news.
fn rank(said: &v1::GetClusterResponse) -> (bool, u64, bool) {
    let hears = said.vitals.as_ref().is_some_and(|vitals| vitals.hears_quorum);
    (hears, said.term, said.leader_id == own_id(said))
}

/// Also without a quorum: that is when it is asked for.
pub fn stale() -> v1::GetClusterRequest {
    let read = v1::ReadLevel {
        level: Some(v1::read_level::Level::Stale(v1::read_level::Stale {})),
    };
    v1::GetClusterRequest {
        read: Some(read),
        ..Default::default()
    }
}

async fn ask(api: &Api, question: v1::GetClusterRequest, patience: Duration) -> Answer {
    let mut request = Request::new(question);
    request.set_timeout(patience);
    let mut client = api.cluster();
    match tokio::time::timeout(patience, client.get_cluster(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
    }
}
