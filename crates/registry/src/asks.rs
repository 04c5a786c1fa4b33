//! What nodes ask each other beside consensus: the leader's memory, its signature, its hand, and pieces of the archive.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use reeve_domain::Revision;
use reeve_domain::health::Vitals;
use reeve_domain::plan::{Sighting, Sightings};
use reeve_domain::words::Name;
use reeve_domain::{Refusal, Stamp, State, TenantId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use crate::archive::{Archive, Change, LIMIT_MAX};
use crate::authority::{Authority, IssueOrder};
use crate::consensus::{Consensus, Forwarded, Handlers};
use crate::pilot::{Beat, Measured, SightingsBoard, VitalsBoard};
use crate::policy::Gate;

/// A question to the leader.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Question {
    /// Sign a certificate.
    Issue(IssueOrder),
    /// An agent was heard.
    Sight(Beat),
    /// Who was heard lately?
    Sightings,
    /// Carry out a call that only the leader can.
    Carry(Carried),
    /// What an agent measured.
    Measured(Vec<Measured>),
    /// What was last measured of a tenant's database?
    Vitals(TenantId),
}

/// A call as another node took it at its door.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// The path of its RPC.
    pub rpc: String,
    /// The verified caller, in policy's own words.
    #[serde(with = "serde_bytes")]
    pub caller: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub message: Vec<u8>,
    /// How long somebody waits for the answer.
    pub patience_ms: u64,
    pub trace_id: String,
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Reply {
    Issued(String),
    Heard,
    Sightings(Vec<Seen>),
    Vitals(Option<Vitals>),
    /// The answer to a call that was carried out.
    Carried(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Why it was not.
    Failed(Failed),
    /// It will not work this way; asking again will not help.
    Refused(String),
}

/// A status on its way to another node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    code: i32,
    message: String,
    #[serde(with = "serde_bytes")]
    details: Vec<u8>,
}

impl From<Status> for Failed {
    fn from(status: Status) -> Failed {
        Failed {
            code: status.code() as i32,
            message: status.message().to_owned(),
            details: status.details().to_vec(),
        }
    }
}

impl From<Failed> for Status {
    fn from(failed: Failed) -> Status {
        Status::with_details(Code::from_i32(failed.code), failed.message, failed.details.into())
    }
}

/// Carries out here what another node took at its door.
#[tonic::async_trait]
pub trait Carrier: Send + Sync {
    async fn carry(&self, call: Carried) -> Result<Vec<u8>, Status>;
}

/// A sighting on its way to another node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    agent: Name,
    seen: Stamp,
    lag_bytes: u64,
    connections: u32,
    /// A node that knows cluster version 1 only cannot read it, and hears of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audited: Option<Stamp>,
}

/// A question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the leader did not answer: {0}")]
    Unanswered(String),
    #[error("{0}")]
    Refused(String),
    #[error("the nodes do not understand each other; run the same version on all of them")]
    Garbled,
}

/// Asks the leader, wherever it is.
pub async fn ask_leader(consensus: &Consensus, question: &Question) -> Result<Reply, AskError> {
    let told = consensus
        .ask(pack(question)?)
        .await
        .map_err(|error| AskError::Unanswered(error.to_string()))?;
    match unpack(&told)? {
        Reply::Refused(why) => Err(AskError::Refused(why)),
        reply => Ok(reply),
    }
}

/// The revisions that a peer's archive holds from one on.
pub async fn fetch_changes(
    consensus: &Consensus,
    node: u64,
    from: Revision,
) -> Result<Vec<Change>, AskError> {
    let range = Range { from };
    let told = consensus.fetch_archive(node, pack(&range)?).await;
    let told = told.map_err(|error| AskError::Unanswered(error.to_string()))?;
    told.iter().map(|bytes| unpack(bytes)).collect()
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: Revision,
}

/// Answers what other nodes ask. The other rooms need consensus, which needs this: they come second.
pub struct Answers {
    archive: Archive,
    rooms: OnceLock<Asked>,
}

/// Who knows what the leader is asked.
pub struct Asked {
    pub authority: Authority,
    pub sightings: SightingsBoard,
    pub vitals: VitalsBoard,
    pub carrier: Arc<dyn Carrier>,
}

impl Answers {
    pub fn new(archive: Archive) -> Answers {
        Answers {
            archive,
            rooms: OnceLock::new(),
        }
    }

    /// From now on questions to the leader are answered.
    pub fn open(&self, asked: Asked) {
        // Only the first call counts, and there is only one.
        let _ = self.rooms.set(asked);
    }

    async fn answer(&self, question: Question) -> Reply {
        let Some(asked) = self.rooms.get() else {
            return Reply::Refused("this node is still starting".to_owned());
        };
        match question {
            Question::Issue(order) => match asked.authority.sign(&order).await {
                Ok(chain) => Reply::Issued(chain),
                Err(error) => Reply::Refused(error.to_string()),
            },
            Question::Sight(beat) => {
                asked.sightings.note(beat);
                Reply::Heard
            }
            Question::Sightings => Reply::Sightings(seen(&asked.sightings.own())),
            Question::Measured(measured) => {
                asked.vitals.note(measured);
                Reply::Heard
            }
            Question::Vitals(tenant) => Reply::Vitals(asked.vitals.own(&tenant)),
            Question::Carry(call) => match asked.carrier.carry(call).await {
                Ok(answer) => Reply::Carried(answer),
                Err(status) => Reply::Failed(status.into()),
            },
        }
    }
}

#[tonic::async_trait]
impl Handlers for Answers {
    fn admit(&self, state: &State, proposal: &Forwarded) -> Result<(), Refusal> {
        Gate.admit(state, proposal)
    }

    async fn ask(&self, question: Bytes) -> Result<Bytes, String> {
        let question = unpack(&question).map_err(|error| error.to_string())?;
        pack(&self.answer(question).await).map_err(|error| error.to_string())
    }

    fn archive_is_whole(&self) -> bool {
        self.archive.seems_whole()
    }

    async fn fetch_archive(&self, range: Bytes) -> Result<Vec<Bytes>, String> {
        let range: Range = unpack(&range).map_err(|error| error.to_string())?;
        let archive = self.archive.clone();
        let read = tokio::task::spawn_blocking(move || archive.changes(range.from, LIMIT_MAX)).await;
        let changes = read
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        changes
            .iter()
            .map(|change| pack(change).map_err(|error| error.to_string()))
            .collect()
    }
}

fn seen(sightings: &Sightings) -> Vec<Seen> {
    let all = sightings.agents.iter().map(|(agent, sighting)| Seen {
        agent: agent.clone(),
        seen: sighting.seen,
        lag_bytes: sighting.lag_bytes,
        connections: sighting.connections,
        audited: sighting.audited,
    });
    all.collect()
}

impl FromIterator<Seen> for SightingsOf {
    fn from_iter<T: IntoIterator<Item = Seen>>(all: T) -> SightingsOf {
        let agents = all.into_iter().map(|seen| {
            let Seen {
                agent,
                seen,
                lag_bytes,
                connections,
                audited,
            } = seen;
            (
                agent,
                Sighting {
                    seen,
                    lag_bytes,
                    connections,
                    audited,
                },
            )
        });
        SightingsOf(Sightings {
            agents: agents.collect(),
        })
    }
}

/// Sightings as they came from the leader.
pub struct SightingsOf(pub Sightings);

fn pack<T: Serialize>(value: &T) -> Result<Bytes, AskError> {
    rmp_serde::to_vec_named(value)
        .map(Bytes::from)
        .map_err(|_| AskError::Garbled)
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AskError> {
    rmp_serde::from_slice(bytes).map_err(|_| AskError::Garbled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gold;

    /// A question that is not understood is not answered: nodes of two releases ask each other, too.
    #[test]
    fn every_question_and_reply_is_read_as_it_was_written() {
        let agent = Name::parse("vn-1").unwrap();
        let order = r#"{"csr_pem":"csr","principal":"spiffe://hospital/svc/portal","usage":"Client"}"#;
        let beat = Beat {
            agent: agent.clone(),
            lag_bytes: 7,
            connections: 3,
            last_audit_ms: None,
        };
        let vitals = Vitals {
            at: Stamp(9),
            tried: Some(Stamp(8)),
            audited: None,
            tried_ms: Some(12),
            connections: 3,
            slow_statements: 1,
            oldest_transaction_s: 7,
            hits_permille: Some(998),
            deadlocks: 2,
            xid_age: 1_000,
            size_bytes: Some(1 << 20),
            live_rows: Some(10),
            dead_rows: Some(1),
        };
        let measured = Measured {
            tenant: TenantId::from_random(1),
            tried_ago_ms: Some(5),
            audited_ago_ms: None,
            vitals: vitals.clone(),
        };
        let questions = [
            Question::Issue(serde_json::from_str(order).unwrap()),
            Question::Sight(beat),
            Question::Sightings,
            Question::Carry(Carried {
                rpc: "/reeve.v1.ClusterService/RemoveNode".to_owned(),
                caller: vec![1, 2],
                message: vec![3, 4],
                patience_ms: 5,
                trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            }),
            Question::Measured(vec![measured]),
            Question::Vitals(TenantId::from_random(1)),
        ];
        let seen = Seen {
            agent,
            seen: Stamp(9),
            lag_bytes: 7,
            connections: 3,
            audited: None,
        };
        let replies = [
            Reply::Issued("chain".to_owned()),
            Reply::Heard,
            Reply::Sightings(vec![seen]),
            Reply::Vitals(Some(vitals)),
            Reply::Carried(vec![1, 2]),
            Reply::Failed(Status::with_details(Code::NotFound, "no node 9", vec![3, 4].into()).into()),
            Reply::Refused("no".to_owned()),
        ];
        keep("question.v1", &questions);
        keep("reply.v1", &replies);
        // What came with cluster version 2.
        let beat = r#"{"agent":"vn-1","lag_bytes":7,"connections":3,"last_audit_ms":1500}"#;
        gold::kept("message.v2/beat", &serde_json::from_str::<Beat>(beat).unwrap());
        let seen = r#"{"agent":"vn-1","seen":9,"lag_bytes":7,"connections":3,"audited":8}"#;
        gold::kept("message.v2/seen", &serde_json::from_str::<Seen>(seen).unwrap());
        gold::kept("message.v1/archive_range", &Range { from: Revision(9) });
    }

    fn keep<T: Serialize + DeserializeOwned + std::fmt::Debug>(name: &str, all: &[T]) {
        for one in all {
            let read = gold::kept(&format!("{name}/{}", gold::word(one)), one);
            assert_eq!(format!("{read:?}"), format!("{one:?}"));
        }
        let words: Vec<String> = all.iter().map(gold::word).collect();
        assert_eq!(
            words,
            gold::variants::<T>(),
            "{name}: a variant without its golden file"
        );
    }
}
