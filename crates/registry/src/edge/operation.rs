//! OperationService: durable jobs, what they wait for, and turning them back.

use std::sync::Arc;

use std::time::Duration;

use futures::stream::BoxStream;
use reeve_domain::operation::{Cancel, Retry, SetLimits};
use reeve_domain::{Command, Event, Operation, OperationId, Refusal, State};
use reeve_proto::convert::{self, BadField};
use reeve_proto::v1::operation_service_server::OperationService;
use reeve_proto::{error, v1};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::edge::admit::Call;
use crate::edge::desk::{Desk, Reading};
use crate::edge::newest::{self, Key};
use crate::edge::page::{self, Page};
use crate::edge::read::{self, Level};
use crate::edge::{find, parse};
use crate::hub::HubItem;
use crate::policy::{self, Intent};

/// The longest wait of one call.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// What an operation waits for may change without an event: an agent falls silent.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// States of one operation that a slow watcher may leave unread; it then misses some in between.
const WATCH_QUEUE: usize = 16;

#[derive(Clone)]
pub(super) struct Operations {
    pub desk: Desk,
}

#[tonic::async_trait]
impl OperationService for Operations {
    async fn get_operation(
        &self,
        request: Request<v1::GetOperationRequest>,
    ) -> Result<Response<v1::GetOperationResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let id = find::operation_id(&wire.operation)?;
        let reading = self.desk.read(&call, level).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let operation = self.found(&reading.state, &id).await?;
        Ok(Response::new(v1::GetOperationResponse {
            operation: Some(self.desk.sight().await.operation(&operation)),
            freshness: Some(reading.freshness),
        }))
    }

    async fn list_operations(
        &self,
        request: Request<v1::ListOperationsRequest>,
    ) -> Result<Response<v1::ListOperationsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let wanted = convert::operation_status_from_wire(wire.state());
        if wanted.is_none() && wire.state != v1::operation::State::Unspecified as i32 {
            return Err(BadField::new("state", "is not a state of an operation").into());
        }
        if !wire.tenant.is_empty() {
            find::check_word("tenant", &wire.tenant)?;
        }
        let query = format!("operations tenant={} state={}", wire.tenant, wire.state);
        let page = Page::parse(wire.page_size, &wire.page_token, query)?;
        let after = page::key(page.after.as_deref(), Key::parse)?;

        let reading = self.desk.read(&call, level).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let about = |o: &&Arc<Operation>| {
            wire.tenant.is_empty() || o.tenant.as_str() == wire.tenant || o.slug.as_str() == wire.tenant
        };
        let operations = &reading.state.operations;
        let order = self.desk.newest.of(operations);
        let entries = newest::behind(operations, &order, after.as_ref())
            .filter(about)
            .filter(|o| wanted.is_none_or(|status| o.status == status));
        let (shown, next_page_token) = page.cut(entries, |o| Key::of(o).to_string());
        let sight = self.desk.sight().await;
        Ok(Response::new(v1::ListOperationsResponse {
            operations: shown.into_iter().map(|o| sight.operation(o)).collect(),
            next_page_token,
            freshness: Some(reading.freshness),
        }))
    }

    async fn wait_operation(
        &self,
        request: Request<v1::WaitOperationRequest>,
    ) -> Result<Response<v1::WaitOperationResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let id = find::operation_id(&wire.operation)?;
        let patience = parse::length("timeout", wire.timeout.as_ref(), WAIT_MAX, WAIT_MAX)?;
        let until = (Instant::now() + patience).min(call.deadline);
        let reading = self.desk.read(&call, Level::Linearizable).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let (operation, reading) = self.ended(&call, &id, reading, until).await?;
        Ok(Response::new(v1::WaitOperationResponse {
            operation: Some(self.desk.sight().await.operation(&operation)),
            freshness: Some(reading.freshness),
        }))
    }

    type WatchOperationStream = BoxStream<'static, Result<v1::WatchOperationResponse, Status>>;

    async fn watch_operation(
        &self,
        request: Request<v1::WatchOperationRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let id = find::operation_id(&wire.operation)?;
        let reading = self.desk.read(&call, Level::Linearizable).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        self.found(&reading.state, &id).await?;
        let (send, receive) = mpsc::channel(WATCH_QUEUE);
        let own = self.clone();
        tokio::spawn(async move {
            if let Err(status) = own.follow(&call, &id, &send).await {
                // The watcher may be gone, and then nobody is there to be told.
                let _ = send.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn cancel_operation(
        &self,
        request: Request<v1::CancelOperationRequest>,
    ) -> Result<Response<v1::CancelOperationResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let operation = find::operation_id(&wire.operation)?;
        let reason = parse::reason(wire.reason)?;
        let order = Cancel {
            operation: operation.clone(),
            reason,
        };
        let changed = self
            .change(&call, key, Command::CancelOperation(order), &operation)
            .await?;
        Ok(Response::new(v1::CancelOperationResponse {
            operation: Some(changed),
        }))
    }

    async fn retry_operation(
        &self,
        request: Request<v1::RetryOperationRequest>,
    ) -> Result<Response<v1::RetryOperationResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let operation = find::operation_id(&wire.operation)?;
        let reason = parse::reason(wire.reason)?;
        let order = Retry {
            operation: operation.clone(),
            reason,
        };
        let changed = self
            .change(&call, key, Command::RetryOperation(order), &operation)
            .await?;
        Ok(Response::new(v1::RetryOperationResponse {
            operation: Some(changed),
        }))
    }

    async fn get_operation_limits(
        &self,
        request: Request<v1::GetOperationLimitsRequest>,
    ) -> Result<Response<v1::GetOperationLimitsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let reading = self.desk.read(&call, level).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let limits = reading.state.cluster.operation_limits();
        Ok(Response::new(v1::GetOperationLimitsResponse {
            limits: Some(convert::operation_limits(limits)),
            queued: reading.state.queued.len() as u32,
            freshness: Some(reading.freshness),
        }))
    }

    async fn set_operation_limits(
        &self,
        request: Request<v1::SetOperationLimitsRequest>,
    ) -> Result<Response<v1::SetOperationLimitsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let limits = wire
            .limits
            .ok_or_else(|| BadField::new("limits", "is required"))?;
        let order = SetLimits {
            limits: convert::wanted_limits_from_wire(limits)?,
            instead_of: wire.instead_of.map(convert::operation_limits_from_wire),
        };
        let state = self.desk.state();
        let permit = policy::decide(&state, &call.caller, call.action(), None)?;
        let intent = Intent::new(Command::SetOperationLimits(order)).once(key);
        let answered = self.desk.propose(&call, permit, intent).await?;
        let limits = answered.state.cluster.operation_limits();
        Ok(Response::new(v1::SetOperationLimitsResponse {
            limits: Some(convert::operation_limits(limits)),
        }))
    }
}

impl Operations {
    /// Changes an operation; what it looks like then.
    async fn change(
        &self,
        call: &Call,
        key: reeve_domain::request::Key,
        command: Command,
        id: &OperationId,
    ) -> Result<v1::Operation, Status> {
        let permit = policy::decide(&self.desk.state(), &call.caller, call.action(), None)?;
        let intent = Intent::new(command).once(key);
        let answered = self.desk.propose(call, permit, intent).await?;
        let operation = self.found(&answered.state, id).await?;
        Ok(self.desk.sight().await.operation(&operation))
    }

    async fn found(&self, state: &State, id: &OperationId) -> Result<Operation, Status> {
        let found = self.desk.find_operation(state, id).await?;
        found.ok_or_else(|| error::refusal(&Refusal::OperationNotFound(id.to_string())))
    }

    /// The operation when it has ended, or as it is when the time is over.
    async fn ended(
        &self,
        call: &Call,
        id: &OperationId,
        mut reading: Reading,
        until: Instant,
    ) -> Result<(Operation, Reading), Status> {
        loop {
            let operation = self.found(&reading.state, id).await?;
            if operation.has_ended() {
                return Ok((operation, reading));
            }
            let mut news = match self.desk.rooms.hub.watch(reading.state.revision) {
                Ok(news) => news,
                // So many changes have passed that what is known now is the better beginning.
                Err(_) => {
                    reading = self.desk.stale();
                    continue;
                }
            };
            let Ok(item) = timeout_at(until, about(&mut news, id)).await else {
                return Ok((operation, reading));
            };
            reading = match item {
                Some(revision) => self.desk.read(call, Level::AtLeast(revision)).await?,
                None => self.desk.stale(),
            };
        }
    }

    /// Sends the operation each time it looks different, until it ends.
    async fn follow(&self, call: &Call, id: &OperationId, send: &WatchSender) -> Result<(), Status> {
        let mut sent = None;
        loop {
            let reading = self.desk.stale();
            policy::standing(&reading.state, &call.caller, call.action())?;
            let operation = self.found(&reading.state, id).await?;
            let shown = self.desk.sight().await.operation(&operation);
            if sent.as_ref() != Some(&shown) {
                let message = v1::WatchOperationResponse {
                    operation: Some(shown.clone()),
                    freshness: Some(reading.freshness),
                };
                if send.send(Ok(message)).await.is_err() {
                    return Ok(());
                }
                sent = Some(shown);
            }
            if operation.has_ended() {
                return Ok(());
            }
            if let Ok(mut news) = self.desk.rooms.hub.watch(reading.state.revision) {
                tokio::select! {
                    () = send.closed() => return Ok(()),
                    revision = about(&mut news, id) => match revision {
                        Some(revision) => self.desk.reach(revision).await,
                        None => tokio::time::sleep(LOOK_AGAIN).await,
                    },
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
        }
    }
}

type WatchSender = mpsc::Sender<Result<v1::WatchOperationResponse, Status>>;

/// The next revision that touched the operation; none when the stream cannot tell any more.
async fn about(news: &mut crate::hub::HubStream, id: &OperationId) -> Option<reeve_domain::Revision> {
    loop {
        let HubItem::Batch(batch) = news.next().await? else {
            return None;
        };
        let touched = |event: &Event| matches!(event, Event::Operation(about) if about == id);
        if batch.events.iter().any(touched) {
            return Some(batch.revision);
        }
    }
}
