//! Questions of one node to another that are no part of Raft.

use std::time::Duration;

use bytes::Bytes;
use reeve_proto::internal::v1 as wire;

use super::ground::time;
use super::links::Line;
use super::{Consensus, Unavailable};

/// The longest that another node may keep a question.
const ASK_LIMIT: Duration = Duration::from_secs(5);
impl Consensus {
    /// Asks the leader's own memory; on the leader, this node's.
    pub async fn ask(&self, question: Bytes) -> Result<Bytes, Unavailable> {
        if self.is_leader() {
            return self.0.handlers.ask(question).await.map_err(Unavailable::Broken);
        }
        let mut leadership = self.leadership();
        let leader = leadership
            .borrow_and_update()
            .leader
            .ok_or(Unavailable::NoLeader)?;
        let address = self.address_of(leader).ok_or(Unavailable::NoLeader)?;
        let mut client = self.0.links.client(leader, &address, Line::Forward);
        let envelope = Some(self.0.links.envelope_of(question));
        let answer = tokio::select! {
            biased;
            answer = client.ask(wire::AskRequest { envelope }) => answer,
            // One that is frozen does not answer, and another may lead by now.
            _ = leadership.wait_for(|now| now.leader != Some(leader)) => return Err(Unavailable::NoLeader),
            () = time::sleep(ASK_LIMIT) => return Err(Unavailable::NoLeader),
        };
        let answer = answer.map_err(|status| match status.code() {
            tonic::Code::Unavailable => Unavailable::NoLeader,
            _ => Unavailable::Broken(status.message().to_owned()),
        })?;
        Ok(answer.into_inner().body)
    }

    /// Fetches a range of another node's archive.
    pub async fn fetch_archive(&self, from: u64, range: Bytes) -> Result<Vec<Bytes>, Unavailable> {
        let address = self.address_of(from).ok_or(Unavailable::NoLeader)?;
        let mut client = self.0.links.client(from, &address, Line::Snapshot);
        let envelope = Some(self.0.links.envelope_of(range));
        let broken = |status: tonic::Status| Unavailable::Broken(status.message().to_owned());
        let silent = |_| Unavailable::Broken(format!("node {from} fell silent"));
        let asked = client.fetch_archive(wire::FetchArchiveRequest { envelope });
        let answer = time::timeout(ASK_LIMIT, asked).await.map_err(silent)?;
        let mut stream = answer.map_err(broken)?.into_inner();
        let mut found = Vec::new();
        loop {
            let next = time::timeout(ASK_LIMIT, stream.message());
            match next.await.map_err(silent)?.map_err(broken)? {
                Some(item) => found.push(item.body),
                None => return Ok(found),
            }
        }
    }
}
