//! An agent that does what it is told, and a world in which it has something to do.

use std::collections::VecDeque;

use reeve_proto::v1::session_request::{Hello, Message as Up};
use reeve_proto::v1::session_response::Message as Down;
use reeve_proto::v1::step_report::Outcome;
use reeve_proto::v1::tenant_service_client::TenantServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::*;

/// An agent that says of every step that it is done.
pub(super) struct Hand {
    pub up: mpsc::Sender<v1::SessionRequest>,
    down: Streaming<v1::SessionResponse>,
    /// Orders that came while something else was waited for.
    waiting: VecDeque<v1::StepOrder>,
}

impl Hand {
    pub(super) async fn dial(channel: Channel) -> Hand {
        let (up, requests) = mpsc::channel(16);
        let facts = v1::MemberFacts {
            endpoints: vec![v1::Endpoint {
                network: "default".into(),
                host: "127.0.0.1".into(),
                port: 54321,
            }],
            postgres_version: "16.4".into(),
            postgres_up: true,
            system_identifier: "7".into(),
        };
        let hello = Hello {
            boot_id: id(),
            facts: Some(facts),
            ..Default::default()
        };
        up.send(said(Up::Hello(hello))).await.unwrap();
        let mut agent = AgentServiceClient::new(channel);
        let down = agent
            .session(ReceiverStream::new(requests))
            .await
            .unwrap()
            .into_inner();
        let waiting = VecDeque::new();
        let mut hand = Hand { up, down, waiting };
        let Down::Welcome(welcome) = hand.next().await else {
            panic!("no welcome first")
        };
        assert_eq!((welcome.agent.as_str(), welcome.epoch), ("vn-1", 1));
        hand
    }

    pub(super) async fn next(&mut self) -> Down {
        let next = tokio::time::timeout(PATIENCE, self.down.message())
            .await
            .expect("the session is silent");
        next.unwrap().unwrap().message.unwrap()
    }

    pub(super) async fn order(&mut self) -> v1::StepOrder {
        if let Some(order) = self.waiting.pop_front() {
            return order;
        }
        loop {
            if let Down::Order(order) = self.next().await {
                return order;
            }
        }
    }

    pub(super) async fn report(&mut self, order: &v1::StepOrder, outcome: Outcome, epoch: u64) -> String {
        let report = v1::StepReport {
            key: order.key.clone(),
            outcome: outcome as i32,
            epoch,
            schema_version: 3,
            ..Default::default()
        };
        self.up.send(said(Up::Report(report))).await.unwrap();
        loop {
            match self.next().await {
                Down::ReportAck(ack) => {
                    assert_eq!(ack.key, order.key);
                    return ack.refused;
                }
                Down::Order(next) => self.waiting.push_back(next),
                Down::Welcome(_) | Down::BeatAck(_) | Down::Records(_) | Down::FindingsAck(_) => {}
            }
        }
    }

    pub(super) async fn carry_out(&mut self, steps: &[&str]) {
        for step in steps {
            let order = self.order().await;
            assert_eq!(order.name, *step);
            assert_eq!(self.report(&order, Outcome::Done, order.epoch).await, "");
        }
    }
}

pub(super) fn said(message: Up) -> v1::SessionRequest {
    v1::SessionRequest {
        message: Some(message),
    }
}

pub(super) const ONBOARD: [&str; 7] = [
    "create_roles",
    "create_database",
    "open_doors",
    "migrate",
    "seed",
    "probe",
    "audit",
];

/// A world with an agent at work and one tenant being onboarded.
pub(super) async fn onboarding(slug: &str) -> (World, Hand, v1::CreateTenantResponse) {
    onboarding_in(World::founded().await, slug).await
}

/// The same in a world of its own limits.
pub(super) async fn onboarding_in(world: World, slug: &str) -> (World, Hand, v1::CreateTenantResponse) {
    let channel = join_agent(&world, "vn-1").await;
    let hand = Hand::dial(channel).await;
    wait_for(&world, |state| {
        let mut members = state.groups.values().flat_map(|group| &group.members);
        members.any(|member| member.facts.postgres_up)
    })
    .await;
    let mut tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    let created = tenants.create_tenant(wanted(slug)).await.unwrap().into_inner();
    (world, hand, created)
}

pub(super) async fn wait_for(world: &World, holds: impl Fn(&reeve_domain::State) -> bool) {
    let comes_true = async {
        loop {
            let state = world.state();
            if holds(&state) {
                return;
            }
            let newer = world.rooms.consensus.wait_for_revision(state.revision.next());
            newer.await;
        }
    };
    tokio::time::timeout(PATIENCE, comes_true)
        .await
        .expect("it did not come true");
}

pub(super) fn resolve(key: &str) -> v1::ResolveRequest {
    v1::ResolveRequest {
        claim: slug(key),
        ..Default::default()
    }
}
