//! A replication stream over real HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use openraft::raft::AppendEntriesRequest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::cluster::{Cluster, Plain};
use crate::consensus::links::{Line, Links};
use crate::consensus::network::pipeline;
use crate::consensus::types::Vote;

#[tokio::test]
async fn a_stream_takes_no_more_requests_when_nobody_hears_its_answers() {
    let cluster = Cluster::founded(1_000).await;
    let links = Links::new(2, "test", Arc::new(Plain));
    let client = links.client(1, &cluster.address(1).to_string(), Line::Append);
    let (requests, taken) = mpsc::channel(4);
    // A newer leader that has nothing: its stream stays open.
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(9, 2),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    requests.send(request).await.unwrap();
    let stream = pipeline(links, client, ReceiverStream::new(taken));
    let mut answers = stream.await.unwrap();
    let answer = answers.next().await.expect("an answer").expect("a whole one");
    assert!(answer.is_ok(), "{answer:?}");
    assert!(!requests.is_closed(), "it listens");
    drop(answers);
    let ended = tokio::time::timeout(Duration::from_secs(20), requests.closed());
    ended.await.expect("it goes on taking requests");
}
