//! What an agent tells of what it sees, and what it hears of that.

use reeve_proto::v1::session_request::{Findings, Message as Up};
use reeve_proto::v1::session_response::{FindingsAck, Message as Down};

use super::hand::{Hand, said};
use super::*;

/// Tells a round that found one thing of this name; the answer to it.
async fn found(hand: &mut Hand, round: u64, subject: String) -> FindingsAck {
    let found = v1::FoundFinding {
        rule: "F5".into(),
        subject,
        ..Default::default()
    };
    let findings = Findings {
        round,
        found: vec![found],
        scope: None,
    };
    hand.up.send(said(Up::Findings(findings))).await.unwrap();
    loop {
        if let Down::FindingsAck(ack) = hand.next().await {
            return ack;
        }
    }
}

#[tokio::test]
async fn a_round_that_is_turned_away_is_answered_so_and_not_as_if_it_were_known() {
    let world = World::founded().await;
    let mut hand = Hand::dial(join_agent(&world, "vn-1").await).await;
    let taken = found(&mut hand, 1, "unknown role intruder".into()).await;
    assert_eq!((taken.round, taken.refused.as_str()), (1, ""));
    assert_eq!(world.state().findings.len(), 1);
    let refused = found(&mut hand, 2, "x".repeat(1_000)).await;
    assert_eq!(refused.round, 2);
    assert!(!refused.refused.is_empty(), "it is not there");
    assert_eq!(world.state().findings.len(), 1);
}
