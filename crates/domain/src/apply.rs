//! The one door to the state: same state, same entry, same result, on every node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access;
use crate::alert;
use crate::audit::{self, Record, Shown};
use crate::command::{Answer, Command, Found, Witness};
use crate::credential;
use crate::digest::{self, Hash};
use crate::entry::{Actor, Entry};
use crate::event::Event;
use crate::group;
use crate::health;
use crate::ids::{Revision, Stamp, TenantId};
use crate::isolation;
use crate::operation::{self, Kind, Limits, Operation};
use crate::policy::{Role, Scope};
use crate::refusal::Refusal;
use crate::request::Remembered;
use crate::resolve::{self, Resolution};
use crate::state::{Change, ENDED_MAX, Node, State};
use crate::tenant;
use crate::version;

/// Operations that the audit log names of one change, besides its own.
const BESIDE_MAX: usize = 16;

/// What an entry did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The state's revision after it; unchanged when nothing happened.
    pub revision: Revision,
    pub outcome: Result<Answer, Refusal>,
    /// Shared by all who keep them: the archive, and the window that watchers read.
    pub events: Arc<[Event]>,
    pub record: Option<Arc<Record>>,
    /// Ended operations that left State for the archive.
    pub retired: Vec<Operation>,
}

/// Applies one committed entry. A refusal leaves the state as it was, but for the memory of having answered.
pub fn apply(state: &mut State, entry: &Entry) -> Applied {
    let at = entry.stamp.max(state.clock);
    state.clock = at;
    state.requests.sweep(at);

    if let Some(key) = &entry.request
        && let Some(recalled) = state.requests.recall(entry.actor.name(), key)
    {
        return match recalled {
            Ok(known) => answer(known.revision, known.outcome.clone()),
            Err(refusal) => answer(state.revision, Err(refusal)),
        };
    }
    if let Err(refusal) = check_standing(state, entry) {
        return answer(state.revision, Err(refusal));
    }

    let applied = match carry_out(state, at, entry) {
        Ok((before, change, given)) if change.happened => commit(&before, state, at, entry, change, given),
        Ok((_, _, given)) => answer(state.revision, Ok(given)),
        Err(refusal) => answer(state.revision, Err(refusal)),
    };
    if let Some(key) = &entry.request {
        let remembered = Remembered {
            hash: key.hash,
            outcome: applied.outcome.clone(),
            revision: applied.revision,
        };
        state.requests.remember(at, entry.actor.name(), key, remembered);
    }
    applied
}

/// What was true when policy said yes must still be true: rights and policy may have changed on the way.
fn check_standing(state: &State, entry: &Entry) -> Result<(), Refusal> {
    if entry.request.is_some() {
        state.requests.check_room(entry.actor.name())?;
    }
    let founded = !state.cluster.id.is_empty();
    if founded {
        version::check(state, &entry.command)?;
    }
    match &entry.actor {
        Actor::Founder if founded => Err(Refusal::AlreadyExists("the cluster".to_owned())),
        Actor::Founder => Ok(()),
        _ if !founded => Err(Refusal::Unauthenticated(entry.actor.name().to_owned())),
        _ if entry.policy_rev != state.policy_rev => Err(Refusal::PolicyChanged),
        Actor::Pilot | Actor::Joiner => Ok(()),
        Actor::Principal(id) => match state.principals.get(id) {
            None => Err(Refusal::Unauthenticated(id.clone())),
            Some(p) if p.revoked || p.rev != entry.principal_rev => {
                Err(Refusal::PrincipalRevoked(id.clone()))
            }
            Some(_) => Ok(()),
        },
    }
}

/// Changes the state, or leaves it as it was. What checks everything before it changes anything does so in place; for
/// all else a copy is changed and takes the state's place. A copy is cheap and its price comes after: whatever part of
/// it is touched must be copied then, and after an entry that went in place most of it has been already.
fn carry_out(state: &mut State, at: Stamp, entry: &Entry) -> Result<(Before, Change, Answer), Refusal> {
    if let Some(subject) = checks_first(&entry.command) {
        let before = Before::of(state, state, &subject);
        let (change, given) = dispatch(state, at, entry)?;
        debug_assert!(!change.happened || change == subject, "{change:?}");
        return Ok((before, change, given));
    }
    let mut next = state.clone();
    let (change, given) = dispatch(&mut next, at, entry)?;
    let before = Before::of(state, &next, &change);
    if change.happened {
        *state = next;
    }
    Ok((before, change, given))
}

/// What a command changes, of the frequent ones that touch nothing before they have checked all.
fn checks_first(command: &Command) -> Option<Change> {
    match command {
        Command::UpdateTenant(order) => Some(Change::tenant(&order.tenant)),
        _ => None,
    }
}

/// What a change is compared with afterwards.
struct Before {
    object: Hash,
    /// The tenants that the change may show in, as they resolved.
    resolved: Vec<(TenantId, Option<Resolution>)>,
    has_new_nodes: bool,
    /// Some operation waited for its turn.
    had_queue: bool,
}

impl Before {
    fn of(state: &State, next: &State, change: &Change) -> Before {
        let mut touched: Vec<_> = change.tenant.iter().cloned().collect();
        let beside = change.group.iter().filter_map(|group| next.placed.get(group));
        touched.extend(beside.flatten().cloned());
        let resolved = touched.into_iter().map(|id| {
            let was = state.tenants.get(&id).map(|tenant| resolve::of(state, tenant));
            (id, was)
        });
        Before {
            object: object(state, change),
            resolved: resolved.collect(),
            has_new_nodes: state.nodes != next.nodes,
            had_queue: !state.queued.is_empty(),
        }
    }
}

/// The table of contents.
fn dispatch(state: &mut State, at: Stamp, entry: &Entry) -> Result<(Change, Answer), Refusal> {
    let actor = entry.actor.name();
    let plain = |change: Change| (change, Answer::Done);
    match entry.command.clone() {
        Command::Found(order) => found(state, at, order).map(plain),
        Command::CreateRegion(region) => {
            let name = region.name.clone();
            Ok((group::create_region(state, region)?, Answer::Region(name)))
        }
        Command::MintToken(order) => {
            let id = order.id.clone();
            Ok((access::mint(state, at, order)?, Answer::Token(id)))
        }
        Command::RedeemToken(order) => {
            let (change, redeemed) = access::redeem(state, at, order)?;
            Ok((change, Answer::Redeemed(redeemed)))
        }
        Command::RevokePrincipal { principal } => {
            Ok((access::revoke(state, &principal)?, Answer::Principal(principal)))
        }
        Command::RemoveNode { node } => access::remove_node(state, node).map(plain),
        Command::CreateTenant(order) => {
            let answer = Answer::Operation {
                operation: order.operation.clone(),
                tenant: order.id.clone(),
            };
            Ok((tenant::create(state, at, actor, order)?, answer))
        }
        Command::UpdateTenant(order) => {
            let answer = Answer::Tenant(order.tenant.clone());
            Ok((tenant::update(state, at, order)?, answer))
        }
        Command::SuspendTenant { tenant, etag } => Ok((
            tenant::suspend(state, at, &tenant, &etag)?,
            Answer::Tenant(tenant),
        )),
        Command::ResumeTenant { tenant, etag } => {
            Ok((tenant::resume(state, at, &tenant, &etag)?, Answer::Tenant(tenant)))
        }
        Command::DeleteTenant(order) => {
            let answer = Answer::Operation {
                operation: order.operation.clone(),
                tenant: order.tenant.clone(),
            };
            Ok((tenant::delete(state, at, actor, order)?, answer))
        }
        Command::ReportMember(order) => group::report(state, order).map(plain),
        Command::FenceGroup { group } => Ok((group::fence(state, &group)?, Answer::Group(group))),
        Command::UnfenceGroup { group } => Ok((group::unfence(state, &group)?, Answer::Group(group))),
        Command::ReportStep(report) => operation::report(state, at, report).map(plain),
        Command::TimeoutStep(order) => operation::timeout(state, at, order).map(plain),
        Command::CancelOperation(order) => operation::cancel(state, at, order).map(plain),
        Command::BeginOperation(order) => operation::begin_one(state, at, &order).map(plain),
        Command::SetOperationLimits(order) => operation::set_limits(state, at, &order).map(plain),
        Command::Witness(witness) => Ok(self::witness(state, witness)),
        Command::RaiseVersion(order) => version::raise(state, at, &order).map(plain),
        Command::RetryOperation(order) => operation::retry(state, at, order).map(plain),
        Command::ReportFindings(order) => isolation::report(state, at, order).map(plain),
        Command::ReportReadiness(order) => health::report(state, at, order).map(plain),
        Command::ReportAlerts(order) => alert::report(state, at, order).map(plain),
        Command::NoteTold(order) => alert::note_told(state, order).map(plain),
        Command::AcknowledgeAlert(order) => {
            let answer = Answer::Alert(order.alert.clone());
            Ok((alert::acknowledge(state, at, actor, order)?, answer))
        }
        Command::TestAlert(order) => {
            let (change, id) = alert::test(state, at, order)?;
            Ok((change, Answer::Alert(id)))
        }
        Command::SetAllowlist(order) => {
            let answer = Answer::Operation {
                operation: order.operation.clone(),
                tenant: order.tenant.clone(),
            };
            Ok((operation::allow(state, at, actor, order)?, answer))
        }
        Command::RotateCredential(order) => {
            let tenant = order.tenant.clone();
            let opened = order.operation.clone();
            let change = operation::rotate(state, at, actor, order)?;
            // The one that was opened, or the one that was at work.
            let operation = change.operation.clone().unwrap_or(opened);
            Ok((change, Answer::Operation { operation, tenant }))
        }
        Command::ReadCredential(order) => {
            let change = credential::read(state, at, actor, &order)?;
            Ok((change, Answer::Tenant(order.tenant)))
        }
        Command::AcknowledgeCredential(order) => {
            let change = credential::acknowledge(state, actor, &order)?;
            Ok((change, Answer::Tenant(order.tenant)))
        }
        Command::ScanTenant(order) => {
            let answer = Answer::Operation {
                operation: order.operation.clone(),
                tenant: order.tenant.clone(),
            };
            Ok((operation::scan(state, at, actor, order)?, answer))
        }
        #[cfg(feature = "mutants")]
        Command::Rehearse(region) => {
            let name = region.name.clone();
            Ok((group::create_region(state, region)?, Answer::Region(name)))
        }
    }
}

fn found(state: &mut State, at: Stamp, order: Found) -> Result<Change, Refusal> {
    for region in order.regions {
        group::create_region(state, region)?;
    }
    state.cluster.name = order.cluster.to_string();
    state.cluster.id = order.cluster_id;
    state.cluster.version = order.version;
    state.cluster.root_ca_pem = order.root_ca_pem;
    state.cluster.issuing_chain_pem = order.issuing_chain_pem;
    state.cluster.issuing_key = Some(order.issuing_key);
    state.cluster.audit_key = Some(order.audit_key);
    state.policy_rev = 1;
    let node = Node {
        id: order.node,
        api: order.api_address,
        peer: order.peer_address,
        joined: at,
    };
    state.next_node = order.node.next();
    let principal = format!("spiffe://{}/node/{}", state.cluster.name, order.node);
    state.nodes.insert(order.node, node);
    access::admit(state, at, &principal, Role::Node, Scope::Fleet);
    access::admit(state, at, &order.admin, Role::Admin, Scope::Fleet);
    Ok(Change::of("cluster".to_owned()))
}

fn witness(state: &State, witness: Witness) -> (Change, Answer) {
    let mut change = Change::of(witness.resource);
    change.tenant = witness.tenant;
    let shard = shard_of(&change);
    let sequence = state.heads.get(shard.as_str()).map_or(0, |h| h.sequence) + 1;
    (change, Answer::Witnessed { shard, sequence })
}

/// Turns a change into its revision, its audit record and its events.
fn commit(
    before: &Before,
    state: &mut State,
    at: Stamp,
    entry: &Entry,
    change: Change,
    given: Answer,
) -> Applied {
    state.revision = state.revision.next();
    let record = record(before, state, at, entry, &change);
    let retired = retire(state);
    let events = events(before, state, entry, &change);
    Applied {
        revision: state.revision,
        outcome: Ok(given),
        events: events.into(),
        record: Some(Arc::new(record)),
        retired,
    }
}

fn shard_of(change: &Change) -> String {
    change
        .tenant
        .as_ref()
        .map_or_else(|| "fleet".to_owned(), ToString::to_string)
}

fn record(before: &Before, state: &mut State, at: Stamp, entry: &Entry, change: &Change) -> Record {
    let shard = shard_of(change);
    let salt = entry.seed.salt;
    let (action, detail) = action_of(&entry.command);
    let mut head = state.heads.get(shard.as_str()).copied().unwrap_or_default();
    let shown = Shown {
        version: 0,
        shard: shard.clone(),
        sequence: 0,
        stamp: at,
        revision: state.revision,
        actor: entry.actor.name().to_owned(),
        certificate: entry.seed.certificate,
        action,
        resource: change.resource.clone(),
        outcome: "done".to_owned(),
        reason: {
            let told = if detail.is_empty() {
                &entry.seed.reason
            } else {
                &detail
            };
            let told = format!("{told}{}", beside(&turned(before, state, change)));
            told.trim_start_matches("; ").to_owned()
        },
        request_id: entry
            .request
            .as_ref()
            .map_or_else(String::new, |k| k.id.as_str().to_owned()),
        trace_id: entry.seed.trace_id.clone(),
        before: salted(&salt, before.object),
        after: salted(&salt, object(state, change)),
        salt,
        personal: entry.seed.personal.as_ref().map_or_else(Vec::new, personal_bytes),
        previous: [0; 32],
    };
    let record = audit::append(&mut head, shown);
    state.heads.insert(shard.into(), head);
    record
}

fn personal_bytes(sealed: &crate::secret::Sealed) -> Vec<u8> {
    let mut out = Vec::new();
    let sealed = sealed.parts();
    for part in [
        sealed.kid.as_bytes(),
        sealed.nonce,
        sealed.aad.as_bytes(),
        sealed.ciphertext,
    ] {
        out.extend((part.len() as u32).to_be_bytes());
        out.extend(part);
    }
    out
}

/// The word of a command in audit records, and what it says of itself.
fn action_of(command: &Command) -> (String, String) {
    let (word, detail) = match command {
        Command::Found(_) => ("cluster.found", String::new()),
        Command::CreateRegion(_) => ("region.create", String::new()),
        Command::MintToken(order) => ("token.mint", format!("{} {}", order.role.word(), order.name)),
        Command::RedeemToken(_) => ("token.redeem", String::new()),
        Command::RevokePrincipal { .. } => ("principal.revoke", String::new()),
        Command::RemoveNode { .. } => ("node.remove", String::new()),
        Command::CreateTenant(order) => ("tenant.create", order.slug.to_string()),
        Command::UpdateTenant(_) => ("tenant.update", String::new()),
        Command::SuspendTenant { .. } => ("tenant.suspend", String::new()),
        Command::ResumeTenant { .. } => ("tenant.resume", String::new()),
        Command::DeleteTenant(_) => ("tenant.delete", String::new()),
        Command::ReportMember(order) => (
            "member.report",
            if order.facts.postgres_up { "up" } else { "down" }.to_owned(),
        ),
        Command::FenceGroup { .. } => ("group.fence", String::new()),
        Command::UnfenceGroup { .. } => ("group.unfence", String::new()),
        Command::ReportStep(report) => (
            "step.report",
            format!(
                "{} step {} attempt {} {:?}",
                report.operation, report.step, report.attempt, report.outcome
            ),
        ),
        Command::TimeoutStep(order) => ("step.timeout", format!("{} step {}", order.operation, order.step)),
        Command::CancelOperation(order) => ("operation.cancel", order.reason.clone()),
        Command::Witness(witness) => (witness.action.as_str(), witness.detail.clone()),
        Command::RaiseVersion(order) => ("cluster.raise_version", format!("to {}", order.to)),
        Command::ReportFindings(order) => ("isolation.report", order.told()),
        Command::ReportReadiness(order) => ("tenant.readiness", order.told()),
        Command::ReportAlerts(order) => ("alert.report", order.told()),
        Command::NoteTold(order) => ("alert.tell", format!("through revision {}", order.through)),
        Command::AcknowledgeAlert(order) => match order.undo {
            true => ("alert.disown", order.note.clone()),
            false => ("alert.acknowledge", order.note.clone()),
        },
        Command::TestAlert(order) => ("alert.test", order.note.clone()),
        Command::ScanTenant(_) => ("isolation.scan", String::new()),
        Command::SetAllowlist(order) => {
            let list: Vec<String> = order.allowlist.iter().map(ToString::to_string).collect();
            ("tenant.allow", list.join(" "))
        }
        Command::RotateCredential(order) => {
            let leaked = if order.leaked { ", leaked" } else { "" };
            let next = format!(
                "to v{} slot {}{leaked}",
                order.next.version,
                order.next.slot.letter()
            );
            ("credential.rotate", next)
        }
        Command::ReadCredential(order) => {
            let what = format!("v{} slot {}", order.version, order.slot.letter());
            (
                "credential.read",
                format!("{what} {}", order.instance).trim_end().to_owned(),
            )
        }
        Command::AcknowledgeCredential(order) => (
            "credential.acknowledge",
            format!("v{} {}", order.version, order.instance)
                .trim_end()
                .to_owned(),
        ),
        Command::RetryOperation(order) => ("operation.retry", order.reason.clone()),
        Command::BeginOperation(order) => ("operation.begin", order.operation.to_string()),
        Command::SetOperationLimits(order) => {
            let Limits {
                per_server,
                per_region,
            } = order.limits;
            (
                "operation.limit",
                format!("{per_server} per server, {per_region} per region"),
            )
        }
        #[cfg(feature = "mutants")]
        Command::Rehearse(_) => ("rehearse", String::new()),
    };
    (word.to_owned(), detail)
}

fn object(state: &State, change: &Change) -> Hash {
    let tenant = change.tenant.as_ref().and_then(|id| state.tenants.get(id));
    let operation = change.operation.as_ref().and_then(|id| state.operations.get(id));
    let group = change.group.as_ref().and_then(|name| state.groups.get(name));
    let reckon = || digest::of(&(&change.resource, tenant, operation, group));
    match tenant {
        Some(alone) if operation.is_none() && group.is_none() && is_named(&change.resource, &alone.id) => {
            let hash = alone.digest.get_or_reckon(reckon);
            debug_assert_eq!(hash, reckon(), "{} was changed without a copy", alone.id);
            hash
        }
        _ => reckon(),
    }
}

fn is_named(resource: &str, tenant: &TenantId) -> bool {
    resource.strip_prefix("tenant/") == Some(tenant.as_str())
}

fn salted(salt: &[u8; 16], object: Hash) -> Hash {
    digest::of_bytes(&[salt, &object])
}

/// Ended operations beyond the limit leave, oldest first.
fn retire(state: &mut State) -> Vec<Operation> {
    let mut retired = Vec::new();
    while state.ended.len() > ENDED_MAX {
        let Some(oldest) = state.ended.get_min().cloned() else {
            break;
        };
        state.ended.remove(&oldest);
        let left = state.operations.remove(&oldest.1);
        retired.extend(left.map(Arc::unwrap_or_clone));
    }
    retired
}

fn events(before: &Before, state: &State, entry: &Entry, change: &Change) -> Vec<Event> {
    let mut events: Vec<_> = change.group.iter().cloned().map(Event::Group).collect();
    for (id, was) in &before.resolved {
        let is = state.tenants.get(id).map(|tenant| resolve::of(state, tenant));
        match (was, is) {
            (was, Some(is)) if was.as_ref() != Some(&is) => events.push(Event::Resolves(Box::new(is))),
            (Some(_), None) => events.push(Event::Gone(id.clone())),
            _ => {}
        }
    }
    events.extend(change.operation.clone().map(Event::Operation));
    for operation in turned(before, state, change) {
        events.push(Event::Operation(operation.id.clone()));
        // Nobody is sent to it any more, whoever's change that came with.
        let leaves = operation.kind == Kind::Offboard && change.tenant.as_ref() != Some(&operation.tenant);
        let tenant = state.tenants.get(&operation.tenant).filter(|_| leaves);
        events.extend(tenant.map(|tenant| Event::Resolves(Box::new(resolve::of(state, tenant)))));
    }
    match &entry.command {
        Command::RedeemToken(_) | Command::RevokePrincipal { .. } => {
            let id = change.resource.trim_start_matches("principal/");
            events.push(Event::Access(id.to_owned()));
        }
        _ => {}
    }
    if before.has_new_nodes {
        events.push(Event::Node);
    }
    events
}

/// Operations whose turn came with the change, or never will.
fn turned<'a>(before: &Before, state: &'a State, change: &Change) -> Vec<&'a Operation> {
    if !before.had_queue {
        return Vec::new();
    }
    let ended = state.ended.iter().rev().take_while(|(at, _)| *at == state.clock);
    let all = state.open.iter().chain(ended.map(|(_, id)| id));
    let known = all.filter_map(|id| state.operations.get(id)).map(AsRef::as_ref);
    let now = known.filter(|operation: &&Operation| operation.modified == state.revision);
    now.filter(|operation| Some(&operation.id) != change.operation.as_ref())
        .collect()
}

/// What came with a change besides, as the audit log tells it.
fn beside(turned: &[&Operation]) -> String {
    let told = turned
        .iter()
        .take(BESIDE_MAX)
        .map(|operation| match operation.status {
            operation::Status::Undone => format!("; {} not possible", operation.id),
            _ => format!("; {} begun", operation.id),
        });
    let mut told: String = told.collect();
    if turned.len() > BESIDE_MAX {
        told.push_str(&format!("; {} more", turned.len() - BESIDE_MAX));
    }
    told
}

fn answer(revision: Revision, outcome: Result<Answer, Refusal>) -> Applied {
    Applied {
        revision,
        outcome,
        events: Arc::default(),
        record: None,
        retired: Vec::new(),
    }
}
