//! One agent's session: orders down, reports and heartbeats up.
//!
//! ```text
//! agent ── Hello, Beat, StepReport ──► uplink ──► sightings (leader's memory) | commands (log)
//!                  Findings, Health ──────┴─► lanes, so that no beat waits ──────────┘
//!       ◄── Welcome, BeatAck, ReportAck, StepOrder ── outbox ◄── orders ◄── State, whenever it changes
//! ```
//! Orders are State: whichever node an agent dials, it hears the steps that are open for it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use reeve_domain::group::{Group, Member, MemberStatus, ReportMember};
use reeve_domain::operation::Direction;
use reeve_domain::plan::operations;
use reeve_domain::words::Name;
use reeve_domain::{Command, OperationId, Refusal, State, health, isolation, version};
use reeve_proto::convert::{self, Told as Fares};
use reeve_proto::error::{self, Reason};
use reeve_proto::v1::session_request::{Beat, Findings, Health, Hello, Message as Up};
use reeve_proto::v1::session_response::{BeatAck, FindingsAck, Message as Down, ReportAck, Welcome};
use reeve_proto::v1::{MemberFacts, SessionRequest, SessionResponse, StepReport};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::edge::admit::Call;
use crate::edge::agent::lane::{Lane, lane};
use crate::edge::agent::records::{self, Told};
use crate::edge::desk::Desk;
use crate::edge::{parse, status};
use crate::pilot::{self, Measured};
use crate::policy::{self, Intent};

/// Messages that wait for the agent; a slow one slows its own session down and nobody else's.
const QUEUE_MAX: usize = 64;
/// The first message must come within this.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// A session that says nothing for so long is ended; beats come every second.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Each report and each transition may take this long to be committed.
const PROPOSE_PATIENCE: Duration = Duration::from_secs(10);
/// A look at the rights even when nothing changed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// One try at one step, sent once on a stream.
type Try = (OperationId, u32, u32, Direction, u64);
type Outbox = mpsc::Sender<Result<SessionResponse, Status>>;

/// What one session works with.
#[derive(Clone)]
pub(super) struct Session {
    desk: Desk,
    call: Call,
    agent: Name,
}

impl Session {
    /// Who it is: the certificate says so, and nothing that is sent can say otherwise.
    pub(super) fn begin(desk: Desk, call: Call) -> Result<Session, Status> {
        policy::standing(&desk.state(), &call.caller, call.action())?;
        let Some(agent) = call.caller.agent() else {
            return Err(error::status(
                Reason::PermissionDenied,
                "only an agent has a session",
                &[],
            ));
        };
        Ok(Session { desk, call, agent })
    }

    /// Runs until either side leaves or the agent loses its rights.
    pub(super) fn spawn(
        self,
        inbound: Streaming<SessionRequest>,
    ) -> BoxStream<'static, Result<SessionResponse, Status>> {
        let (outbox, receive) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = self.listen(inbound, &outbox) => ended,
                () = outbox.closed() => return,
            };
            tracing::debug!(agent = %self.agent, ?ended, "session ended");
            if let Err(status) = ended {
                // The agent may be gone, and then nobody is there to be told.
                let _ = outbox.send(Err(status)).await;
            }
        });
        ReceiverStream::new(receive).boxed()
    }

    async fn listen(&self, mut inbound: Streaming<SessionRequest>, outbox: &Outbox) -> Result<(), Status> {
        let first = next(&mut inbound, HELLO_PATIENCE).await?;
        let Some(Up::Hello(hello)) = first else {
            return Err(error::field("message", "begins with hello"));
        };
        parse::word("hello.boot_id", &hello.boot_id)?;
        parse::word("hello.version", &hello.version)?;
        let held = Told::parse(&hello.held_records)?;
        self.welcome(hello, outbox).await?;
        let orders = self.orders(outbox);
        let records = self.records(held, outbox);
        let (healths, all_healths) = lane();
        let (rounds, all_rounds) = lane();
        let beside = self.beside(all_healths, all_rounds, outbox);
        let uplink = self.uplink(inbound, outbox, healths, rounds);
        tokio::pin!(orders, records, beside, uplink);
        tokio::select! {
            ended = &mut orders => ended,
            ended = &mut records => ended,
            ended = &mut beside => ended,
            ended = &mut uplink => ended,
        }
    }

    async fn welcome(&self, hello: Hello, outbox: &Outbox) -> Result<(), Status> {
        let call = self.call_now();
        // It may have joined through another node a moment ago.
        let state = self
            .desk
            .state_with(&call, |state| state.group_of_agent(&self.agent).is_some())
            .await?;
        let reading = self.desk.stale();
        let group = self.group(&state)?;
        let welcome = Welcome {
            agent: self.agent.to_string(),
            group: group.name.to_string(),
            region: group.region.to_string(),
            epoch: group.epoch.0,
            freshness: Some(reading.freshness),
            takes_health: true,
        };
        tracing::info!(agent = %self.agent, boot = %hello.boot_id, version = %hello.version, "session begins");
        put(outbox, Down::Welcome(welcome)).await?;
        self.transition(hello.facts.as_ref()).await
    }

    /// Sends each try at an open step once, whenever State changes.
    async fn orders(&self, outbox: &Outbox) -> Result<(), Status> {
        let mut sent: BTreeSet<Try> = BTreeSet::new();
        loop {
            let state = self.desk.state();
            policy::standing(&state, &self.call.caller, self.call.action())?;
            let mut open = BTreeSet::new();
            for order in operations::orders_for(&state, &self.agent) {
                let Some(tenant) = state.operations.get(&order.operation).map(|o| &o.tenant) else {
                    continue;
                };
                let key = (
                    order.operation.clone(),
                    order.step,
                    order.attempt,
                    order.direction,
                    order.epoch.0,
                );
                open.insert(key.clone());
                if let Some(tenant) = state.tenants.get(tenant)
                    && !sent.contains(&key)
                {
                    put(outbox, Down::Order(convert::order(&order, tenant))).await?;
                }
            }
            // What is closed is never opened again under the same key, so only open ones are remembered.
            sent = open;
            let _ = tokio::time::timeout(LOOK_AGAIN, self.desk.newer_than(state.revision)).await;
        }
    }

    /// Hands out what the agent is to keep, whenever something of its group changes.
    async fn records(&self, mut told: Told, outbox: &Outbox) -> Result<(), Status> {
        loop {
            let state = self.desk.state();
            policy::standing(&state, &self.call.caller, self.call.action())?;
            let group = self.group(&state)?;
            let mut signing = Duration::ZERO;
            for batch in told.lacking(&state, group, &self.agent) {
                let began = Instant::now();
                let signed = records::sign(&state, &self.agent, batch, &self.desk.rooms.signer)?;
                signing += began.elapsed();
                put(outbox, Down::Records(signed)).await?;
            }
            tokio::time::sleep(records::pause(signing)).await;
            let _ = tokio::time::timeout(LOOK_AGAIN, self.desk.newer_than(state.revision)).await;
        }
    }

    /// Takes what the agent says. What it says again by itself waits for the log beside, so that no beat does.
    async fn uplink(
        &self,
        mut inbound: Streaming<SessionRequest>,
        outbox: &Outbox,
        healths: Lane<Health>,
        rounds: Lane<Findings>,
    ) -> Result<(), Status> {
        loop {
            match next(&mut inbound, SILENCE_MAX).await? {
                None => return Ok(()),
                Some(Up::Hello(_)) => return Err(error::field("message", "hello comes once")),
                Some(Up::Beat(beat)) => self.beat(beat, outbox).await?,
                Some(Up::Report(report)) => self.report(report, outbox).await?,
                Some(Up::Findings(round)) => rounds.put(round),
                Some(Up::Health(told)) => healths.put(told),
            }
        }
    }

    /// Proposes what came of both lanes, each in its order.
    async fn beside(
        &self,
        mut healths: mpsc::Receiver<Health>,
        mut rounds: mpsc::Receiver<Findings>,
        outbox: &Outbox,
    ) -> Result<(), Status> {
        let healths = async {
            while let Some(told) = healths.recv().await {
                self.health(told).await?;
            }
            Ok(())
        };
        let rounds = async {
            while let Some(round) = rounds.recv().await {
                self.findings(round, outbox).await?;
            }
            Ok(())
        };
        tokio::try_join!(healths, rounds).map(drop)
    }

    async fn beat(&self, beat: Beat, outbox: &Outbox) -> Result<(), Status> {
        let last_audit = beat.last_audit.as_ref().and_then(convert::time::length);
        let told = self.desk.state().cluster.version >= version::ISOLATION;
        let sighting = pilot::Beat {
            agent: self.agent.clone(),
            lag_bytes: beat.lag_bytes,
            connections: beat.connections,
            last_audit_ms: last_audit.filter(|_| told).map(|ago| ago.as_millis() as u64),
        };
        let leader_heard = self.desk.sighted(sighting).await;
        let ack = BeatAck {
            sequence: beat.sequence,
            freshness: Some(self.desk.stale().freshness),
            leader_heard,
        };
        put(outbox, Down::BeatAck(ack)).await?;
        self.transition(beat.facts.as_ref()).await
    }

    /// Proposes facts that differ from State's; heartbeats alone never reach the log.
    async fn transition(&self, facts: Option<&MemberFacts>) -> Result<(), Status> {
        let Some(facts) = facts else {
            return Ok(());
        };
        let facts = convert::facts_from_wire(facts)?;
        let state = self.desk.state();
        let group = self.group(&state)?;
        let status = match facts.postgres_up {
            true => MemberStatus::Ready,
            false => MemberStatus::Down,
        };
        let same = |m: &Member| m.name == self.agent && m.facts == facts && m.status == status;
        if group.members.iter().any(same) {
            return Ok(());
        }
        let call = self.call_now();
        let permit = policy::decide(&state, &call.caller, call.action(), None)?;
        let order = ReportMember {
            agent: self.agent.clone(),
            facts,
        };
        match self
            .desk
            .propose(&call, permit, Intent::new(Command::ReportMember(order)))
            .await
        {
            // Without a leader the next beat brings the same facts again; the session goes on.
            Err(status) if status.code() == Code::Unavailable => Ok(()),
            proposed => proposed.map(drop),
        }
    }

    /// Proposes a report. What is refused for good is acknowledged so; what may yet work ends the stream,
    /// so that the agent dials again and says it again.
    async fn report(&self, wire: StepReport, outbox: &Outbox) -> Result<(), Status> {
        let key = wire.key.clone();
        let call = self.call_now();
        let proposed = match convert::report(&self.agent, wire) {
            Ok(report) => {
                let permit = policy::for_step(&self.desk.state(), &call.caller, &report)?;
                let intent = Intent::new(Command::ReportStep(report));
                self.desk.propose(&call, permit, intent).await.map(drop)
            }
            Err(bad) => Err(Status::from(bad)),
        };
        let refused = match proposed {
            Ok(()) => String::new(),
            Err(status) if is_final(&status) => status.message().to_owned(),
            Err(status) => return Err(status),
        };
        put(outbox, Down::ReportAck(ReportAck { key, refused })).await
    }

    /// Proposes what State does not know yet of what a round found. Without an acknowledgement the agent says it again.
    async fn findings(&self, wire: Findings, outbox: &Outbox) -> Result<(), Status> {
        let found = convert::found_from_wire(wire.found)?;
        let scope = convert::scope_from_wire(wire.scope)?;
        let state = self.desk.state();
        if state.cluster.version < version::ISOLATION {
            return Ok(());
        }
        let mut refused = String::new();
        if let Some(order) = isolation::delta(&state, &self.agent, found, &scope) {
            let call = self.call_now();
            let permit = policy::decide(&state, &call.caller, call.action(), None)?;
            let intent = Intent::new(Command::ReportFindings(order));
            match self.desk.propose(&call, permit, intent).await {
                Err(status) if status.code() == Code::Unavailable => return Ok(()),
                // It would come again just the same.
                Err(status) if is_final(&status) => {
                    tracing::warn!(agent = %self.agent, %status, "a round of the audit was turned away");
                    status.message().clone_into(&mut refused);
                }
                proposed => drop(proposed?),
            }
        }
        let round = wire.round;
        put(outbox, Down::FindingsAck(FindingsAck { round, refused })).await
    }

    /// Proposes who became ready, or is not any more, and passes on what was measured. All of it is said again in the next
    /// round, so nothing is acknowledged.
    async fn health(&self, wire: Health) -> Result<(), Status> {
        let told = convert::told_from_wire(wire)?;
        let state = self.desk.state();
        if state.cluster.version < version::TURNS {
            return Ok(());
        }
        let own = self.group(&state)?.name.clone();
        let is_here = |told: &Fares| {
            let tenant = state.tenants.get(&told.tenant);
            tenant.is_some_and(|tenant| tenant.placement.group == own)
        };
        let (mut tried, mut measured) = (Vec::new(), Vec::new());
        for told in told.into_iter().filter(is_here) {
            tried.extend(told.tried.map(|tried| (told.tenant.clone(), tried)));
            measured.push(Measured {
                tenant: told.tenant,
                tried_ago_ms: told.tried_ago.map(|ago| ago.as_millis() as u64),
                audited_ago_ms: told.audited_ago.map(|ago| ago.as_millis() as u64),
                vitals: told.vitals,
            });
        }
        self.desk.rooms.vitals.report(measured).await;
        let Some(order) = health::delta(&state, &self.agent, tried) else {
            return Ok(());
        };
        tracing::info!(agent = %self.agent, turned = order.told(), "readiness");
        let call = self.call_now();
        let permit = policy::decide(&state, &call.caller, call.action(), None)?;
        let intent = Intent::new(Command::ReportReadiness(order));
        match self.desk.propose(&call, permit, intent).await {
            Err(status) if status.code() == Code::Unavailable || is_final(&status) => {
                tracing::debug!(agent = %self.agent, %status, "readiness is not written down; the next round says it again");
                Ok(())
            }
            proposed => proposed.map(drop),
        }
    }

    fn group<'a>(&self, state: &'a State) -> Result<&'a Group, Status> {
        let group = state.group_of_agent(&self.agent);
        group.ok_or_else(|| error::refusal(&Refusal::GroupNotFound(format!("of agent {}", self.agent))))
    }

    /// The same caller, with time for one more proposal: a session outlives any one deadline.
    fn call_now(&self) -> Call {
        Call {
            deadline: Instant::now() + PROPOSE_PATIENCE,
            ..self.call.clone()
        }
    }
}

/// Whether saying it again would bring the same answer: the state machine refused, or it cannot be read.
fn is_final(status: &Status) -> bool {
    matches!(
        error::info(status).reason,
        Reason::BadField
            | Reason::Fenced
            | Reason::OperationNotFound
            | Reason::OperationEnded
            | Reason::TenantNotFound
            | Reason::GroupNotFound
            | Reason::WrongState
    )
}

/// The next message; none when the agent closed its side.
async fn next(inbound: &mut Streaming<SessionRequest>, patience: Duration) -> Result<Option<Up>, Status> {
    let silent = |_| {
        error::status(
            Reason::WrongState,
            "the session was silent for too long; dial again",
            &[],
        )
    };
    let message = tokio::time::timeout(patience, inbound.message()).await;
    let message = message.map_err(silent)?.map_err(status::unreadable)?;
    match message {
        None => Ok(None),
        Some(SessionRequest { message: None }) => Err(error::field("message", "is empty")),
        Some(SessionRequest { message }) => Ok(message),
    }
}

async fn put(outbox: &Outbox, message: Down) -> Result<(), Status> {
    let response = SessionResponse {
        message: Some(message),
    };
    // A closed outbox ends the session from the outside; there is nothing to add.
    outbox
        .send(Ok(response))
        .await
        .map_err(|_| Status::cancelled("the agent left"))
}
