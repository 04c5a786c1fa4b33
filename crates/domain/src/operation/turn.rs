//! Whose turn it is: an operation waits until its tenant is free, and then until its server and its region have room.
//!
//! ```text
//! queued, behind another one of its tenant ──(that one ended)──► queued, holds its tenant ──(room)──► running
//!                      └──(what it wants is not possible any more)──► undone
//! ```
//! Of those that could begin the most urgent one does, and of these the oldest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{OperationId, Stamp, TenantId};
use crate::operation::{Goal, Kind, Operation, Status, allow, rotate, scan};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::tenant::{self, Tenant};
use crate::version;
use crate::words::Name;

/// Which of those that wait goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Somebody is in danger while it waits.
    Urgent,
    /// A person asked for it.
    #[default]
    Normal,
    /// A schedule did.
    Background,
}

impl Priority {
    pub(crate) fn is_normal(&self) -> bool {
        *self == Priority::Normal
    }
}

/// How an order takes its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// It waits when another operation holds its tenant; otherwise it is refused.
    pub queue: bool,
    pub priority: Priority,
}

impl Turn {
    /// Nothing was said.
    pub fn is_plain(&self) -> bool {
        *self == Turn::default()
    }
}

/// How many operations are at work at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// On any one server.
    pub per_server: u32,
    /// In any one region.
    pub per_region: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            per_server: 8,
            per_region: 64,
        }
    }
}

impl Limits {
    /// What they may be on one server.
    pub const PER_SERVER: std::ops::RangeInclusive<u32> = 1..=64;
    /// The same of a region.
    pub const PER_REGION: std::ops::RangeInclusive<u32> = 1..=1_000;
}

/// Operations that may wait for their turn, in all.
pub const QUEUED_MAX: usize = 10_000;
/// Urgent ones that may wait beside them: a crowd keeps nobody in danger out.
pub const QUEUED_URGENT_MAX: usize = 1_000;
/// Of one tenant, behind the one that holds it.
pub const QUEUED_PER_TENANT_MAX: usize = 8;
/// Its tenant is gone, or is in a state in which it makes no sense any more.
const IMPOSSIBLE: &str = "NOT_POSSIBLE_ANY_MORE";

/// An order to set the limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLimits {
    pub limits: Limits,
    /// What they were when they were read; unset: whatever they are.
    pub instead_of: Option<Limits>,
}

/// Sets the limits, and begins what has room now. What is at work goes on.
pub fn set_limits(state: &mut State, at: Stamp, order: &SetLimits) -> Result<Change, Refusal> {
    let Limits {
        per_server,
        per_region,
    } = order.limits;
    for (field, got, may_be) in [
        ("per_server", per_server, Limits::PER_SERVER),
        ("per_region", per_region, Limits::PER_REGION),
    ] {
        if !may_be.contains(&got) {
            let why = format!("is {got}; {} to {} are allowed", may_be.start(), may_be.end());
            return Err(Refusal::field(field, why));
        }
    }
    let are = state.cluster.operation_limits();
    if order.instead_of.is_some_and(|read| read != are) {
        let now = format!("{} per server, {} per region", are.per_server, are.per_region);
        return Err(Refusal::EtagMismatch(now));
    }
    if order.limits == are {
        return Ok(Change::none());
    }
    state.cluster.limits = Some(order.limits).filter(|limits| *limits != Limits::default());
    begin_ready(state, at);
    Ok(Change::of("operations/limits".to_owned()))
}

/// The pilot's word that an operation need not wait: whoever it waits for in its region is not heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    pub operation: OperationId,
}

/// Begins it if it has its tenant and its server has room, whatever else is at work in its region.
pub fn begin_one(state: &mut State, at: Stamp, order: &Begin) -> Result<Change, Refusal> {
    let known = state.operations.get(&order.operation);
    let Some(operation) = known
        .filter(|o| o.status == Status::Queued)
        .map(|o| Operation::clone(o))
    else {
        return Ok(Change::none());
    };
    let load = Load::of(state, |_| true);
    if !holds_its_tenant(state, &operation) || matches!(load.full(state, &operation), Some(Full::Server(_))) {
        return Err(Refusal::Fenced("its turn has not come".to_owned()));
    }
    let change = Change::tenant(&operation.tenant).with_operation(&operation.id);
    begin(state, at, operation);
    Ok(change)
}

/// Whether an order may have its tenant now: false when it is to wait behind what holds it.
pub(crate) fn is_free(state: &State, tenant: &Tenant, turn: Turn) -> Result<bool, Refusal> {
    let Some(holder) = tenant.operation.clone() else {
        return Ok(true);
    };
    if !turn.queue {
        return Err(Refusal::OperationInProgress {
            tenant: tenant.id.clone(),
            operation: holder,
        });
    }
    if queued_of(state, &tenant.id).count() >= QUEUED_PER_TENANT_MAX {
        return Err(Refusal::QueueFull {
            of: format!("tenant {}", tenant.id),
            max: QUEUED_PER_TENANT_MAX,
        });
    }
    Ok(false)
}

/// Writes a new operation down, and begins it if it is its turn. Nobody who waited can begin because it came.
pub(crate) fn enter(state: &mut State, at: Stamp, operation: Operation) -> Result<(), Refusal> {
    let is_limited = state.cluster.version >= version::TURNS;
    if holds_its_tenant(state, &operation) {
        if !is_limited || Load::of(state, |_| true).full(state, &operation).is_none() {
            begin(state, at, operation);
            return Ok(());
        }
    } else {
        pass_on(state, &operation);
    }
    let beside = match operation.priority {
        Priority::Urgent => QUEUED_URGENT_MAX,
        Priority::Normal | Priority::Background => 0,
    };
    if state.queued.len() >= QUEUED_MAX + beside {
        return Err(Refusal::QueueFull {
            of: "the fleet".to_owned(),
            max: QUEUED_MAX,
        });
    }
    state.store_operation(operation);
    Ok(())
}

/// What waits before a more urgent one is as urgent as that.
fn pass_on(state: &mut State, behind: &Operation) {
    let is_slower = |o: &&Operation| o.status == Status::Queued && o.priority > behind.priority;
    if let Some(slower) = state.holder(&behind.tenant).filter(is_slower).cloned() {
        state.store_operation(Operation {
            priority: behind.priority,
            ..slower
        });
    }
}

/// What waits for its turn is urgent now.
pub(crate) fn hurry(state: &mut State, at: Stamp, mut operation: Operation) -> Change {
    operation.priority = Priority::Urgent;
    operation.modified = state.revision.next();
    let tenant = operation.tenant.clone();
    let change = Change::tenant(&tenant).with_operation(&operation.id);
    pass_on(state, &operation);
    state.store_operation(operation);
    go_on(state, at, &tenant);
    change
}

/// Something of this tenant's holds no place any more: on to whoever waits for it.
pub(crate) fn go_on(state: &mut State, at: Stamp, tenant: &TenantId) {
    if state.queued.is_empty() {
        return;
    }
    hand_on(state, at, tenant);
    begin_ready(state, at);
}

/// Those of a tenant that wait for their turn, the next one first.
pub(crate) fn queued_of<'a>(state: &'a State, tenant: &'a TenantId) -> impl Iterator<Item = &'a Operation> {
    state.queued_operations().filter(move |o| &o.tenant == tenant)
}

/// Gives a tenant that nobody holds to the next one of its own. What is not possible any more ends.
fn hand_on(state: &mut State, at: Stamp, tenant: &TenantId) {
    loop {
        let known = state.tenants.get(tenant);
        if known.is_some_and(|known| known.operation.is_some()) {
            return;
        }
        let Some(next) = queued_of(state, tenant).next().cloned() else {
            return;
        };
        match hold(state, at, &next) {
            Ok(()) => return,
            Err(refusal) => {
                let mut ended = next;
                ended.reason = IMPOSSIBLE.to_owned();
                ended.detail = refusal.to_string();
                end_unbegun(state, at, ended);
            }
        }
    }
}

/// The operation has its tenant, if that still makes sense.
fn hold(state: &mut State, at: Stamp, operation: &Operation) -> Result<(), Refusal> {
    let held = state.edit_tenant(&operation.tenant, at, |tenant| match operation.kind {
        Kind::Offboard => tenant::hold_to_delete(tenant, &operation.id),
        Kind::Scan => scan::hold(tenant, &operation.id),
        Kind::Allow => allow::hold(tenant, &operation.id),
        Kind::Rotate => rotate::hold(tenant, &operation.id, operation.wanted.as_ref()),
        // It made its tenant, and holds it from there.
        Kind::Onboard => Ok(()),
    });
    held.map(drop)
}

/// Nothing of it was begun, so there is nothing to take back.
fn end_unbegun(state: &mut State, at: Stamp, mut operation: Operation) {
    operation.status = Status::Undone;
    operation.ended = Some(at);
    operation.locks.clear();
    operation.wanted = None;
    operation.modified = state.revision.next();
    state.store_operation(operation);
}

/// Ends what waited in a copy that a registry was restored from: it may have been called off behind the copy, and
/// nobody would have to be asked. What made its tenant goes on, and so does what only looks, mends or changes back.
pub(crate) fn end_restored(state: &mut State, at: Stamp) {
    let queued: Vec<Operation> = state.queued_operations().cloned().collect();
    for mut operation in queued {
        let holds = holds_its_tenant(state, &operation);
        if holds && operation.kind != Kind::Offboard {
            continue;
        }
        if holds {
            state.free_tenant(&operation.tenant, at);
        }
        operation.reason = "RESTORED".to_owned();
        operation.detail =
            "it waited for its turn in the copy; say it again if it is still wanted".to_owned();
        end_unbegun(state, at, operation);
    }
}

/// Where an operation works.
fn place<'a>(state: &'a State, operation: &Operation) -> Option<(&'a Name, &'a Name)> {
    let tenant = state.tenants.get(&operation.tenant)?;
    let group = state.groups.get(&tenant.placement.group)?;
    Some((&group.primary, &group.region))
}

/// Whether others must wait for it. Who waits for people or for clients may do so for days.
pub(crate) fn is_at_work(operation: &Operation) -> bool {
    let step = operation.open_step().map(|(step, _)| step.goal);
    step.is_some_and(|goal| goal != Goal::DrainClients)
}

/// How many are at work on each server and in each region.
#[derive(Default)]
pub(crate) struct Load<'a> {
    servers: BTreeMap<&'a Name, u32>,
    regions: BTreeMap<&'a Name, u32>,
}

impl<'a> Load<'a> {
    /// Of those that count.
    pub(crate) fn of(state: &'a State, counts: impl Fn(&Name) -> bool) -> Load<'a> {
        let mut load = Load::default();
        for operation in state.begun_operations().filter(|o| is_at_work(o)) {
            load.add(state, operation, &counts);
        }
        load
    }

    /// One more.
    pub(crate) fn add(&mut self, state: &'a State, operation: &Operation, counts: impl Fn(&Name) -> bool) {
        if let Some((server, region)) = place(state, operation) {
            *self.servers.entry(server).or_default() += 1;
            *self.regions.entry(region).or_default() += u32::from(counts(server));
        }
    }

    /// What an operation that holds its tenant has to wait for; none: nothing.
    pub(crate) fn full(&self, state: &'a State, operation: &Operation) -> Option<Full> {
        let limits = state.cluster.operation_limits();
        let (server, region) = place(state, operation)?;
        let of = |load: &BTreeMap<&Name, u32>, name| load.get(name).copied().unwrap_or_default();
        if of(&self.servers, server) >= limits.per_server {
            return Some(Full::Server(server.clone()));
        }
        (of(&self.regions, region) >= limits.per_region).then(|| Full::Region(region.clone()))
    }
}

/// What has as many at work as it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Full {
    Server(Name),
    Region(Name),
}

/// Whether the operation that holds a tenant is begun.
pub(crate) fn is_begun(state: &State, tenant: &TenantId) -> bool {
    let is_held = state
        .tenants
        .get(tenant)
        .is_some_and(|tenant| tenant.operation.is_some());
    is_held
        && state
            .holder(tenant)
            .is_none_or(|holder| holder.status != Status::Queued)
}

/// Whether it has its tenant.
pub(crate) fn holds_its_tenant(state: &State, operation: &Operation) -> bool {
    let tenant = state.tenants.get(&operation.tenant);
    tenant.is_some_and(|tenant| tenant.operation.as_ref() == Some(&operation.id))
}

/// Begins all that have their tenant and room, in one pass.
fn begin_ready(state: &mut State, at: Stamp) {
    let mut load = Load::of(state, |_| true);
    let mut ready = Vec::new();
    for operation in state.queued_operations() {
        if holds_its_tenant(state, operation) && load.full(state, operation).is_none() {
            load.add(state, operation, |_| true);
            ready.push(operation.clone());
        }
    }
    for operation in ready {
        begin(state, at, operation);
    }
}

/// Its turn has come. From here on nobody is sent to a tenant that is taken out.
fn begin(state: &mut State, at: Stamp, mut operation: Operation) {
    if operation.kind == Kind::Offboard {
        // It is there: the operation holds it.
        let _ = state.set_status(&operation.tenant, at, tenant::Status::Deleting);
    }
    operation.status = Status::Running;
    if let Some(first) = operation.steps.first_mut() {
        first.open(at);
    }
    operation.modified = state.revision.next();
    state.store_operation(operation);
}
