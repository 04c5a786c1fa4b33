//! Writes down what was decided between the snapshot and what agents were told later: one revision and one audit
//! record for each.

use std::collections::BTreeMap;

use crate::access;
use crate::apply::Applied;
use crate::audit::{self, Record, Shown};
use crate::command::Answer;
use crate::digest::{self, Hash, Memo};
use crate::event::Event;
use crate::ids::{Epoch, PlacementNumber, Stamp, TenantId};
use crate::operation::{Operation, Status as End};
use crate::policy::{Role, Scope};
use crate::record::{Hosted, Hosting, Subject};
use crate::resolve;
use crate::restore::clash::Dispute;
use crate::restore::judge::{Draft, Fate, Take, Verdict, agent_principal};
use crate::secret::Sealed;
use crate::state::State;
use crate::tenant::{Placement, Status, Tenant};
use crate::version;

/// What is drawn before: keys for the audit records of tenants that come back, and salts.
pub(super) struct Drawn<'a> {
    pub keys: &'a BTreeMap<TenantId, Sealed>,
    pub seed: [u8; 16],
}

/// Writes all of it. Numbers of the snapshot have leapt already, those of the records leap here.
pub(super) fn write(
    state: &mut State,
    at: Stamp,
    leap: u64,
    drafts: Vec<Draft>,
    drawn: &Drawn,
) -> Vec<(Verdict, Applied)> {
    if state.cluster.version >= version::ROTATION {
        // Who was given a password behind the snapshot was written down where nobody can read it.
        state.cluster.holders_since = Some(at);
    }
    // Whoever takes newer claims gives the old ones up first: another may have got them.
    for draft in &drafts {
        if let Take::Tenant(hosted) = &draft.take {
            release(state, &hosted.id);
        }
    }
    let write = |draft| one(state, at, leap, draft, drawn);
    drafts.into_iter().map(write).collect()
}

fn one(state: &mut State, at: Stamp, leap: u64, draft: Draft, drawn: &Drawn) -> (Verdict, Applied) {
    let before = object(state, &draft.verdict.subject);
    // Everything below is of the revision after this one.
    let verdict = draft.verdict;
    match (&verdict.subject, draft.take) {
        (_, Take::Group(hosting)) => write_group(state, at, leap, *hosting, verdict.fate),
        (Subject::Tenant(id), take) => {
            if let Take::Tenant(hosted) = take {
                take_over(state, at, leap, *hosted, draft.end.is_some(), drawn.keys);
            }
            end_operation(state, at, id, draft.end);
            if verdict.fate == Fate::Fenced {
                fence(state, at, id, &verdict);
            }
        }
        (Subject::Group(_), _) => {}
    }
    state.revision = state.revision.next();
    let record = record(state, at, &verdict, before, drawn.seed);
    let applied = Applied {
        revision: state.revision,
        outcome: Ok(Answer::Done),
        events: events(state, &verdict.subject).into(),
        record: Some(record.into()),
        retired: Vec::new(),
    };
    (verdict, applied)
}

fn write_group(state: &mut State, at: Stamp, leap: u64, hosting: Hosting, fate: Fate) {
    let Hosting { mut group, region } = hosting;
    if !state.regions.contains_key(&region.name) {
        state.regions.insert(region.name.clone(), region);
    }
    group.epoch = Epoch(group.epoch.0 + leap);
    let known = state.groups.get(&group.name).cloned();
    if let Some(known) = known {
        let epoch = group.epoch.max(known.epoch);
        if fate == Fate::Fenced {
            group = known;
        }
        group.epoch = epoch;
    }
    group.fenced |= fate == Fate::Fenced;
    group.modified = state.revision.next();
    let principal = agent_principal(state, &group.primary);
    if !state.principals.contains_key(&principal) {
        access::admit(state, at, &principal, Role::Agent, Scope::Fleet);
    }
    state.groups.insert(group.name.clone(), group);
}

fn release(state: &mut State, id: &TenantId) {
    let Some(tenant) = state.tenants.get(id).cloned() else {
        return;
    };
    for claim in &tenant.claims {
        if state.claims.get(claim) == Some(id) {
            state.claims.remove(claim);
        }
    }
}

/// What the record says, but for what only the registry knows. Claims that are taken wait in a dispute.
fn take_over(
    state: &mut State,
    at: Stamp,
    leap: u64,
    hosted: Hosted,
    ends: bool,
    keys: &BTreeMap<TenantId, Sealed>,
) {
    let known = state.tenants.get(&hosted.id).cloned();
    let id = hosted.id.clone();
    let (mut held, mut lost) = (Vec::new(), Vec::new());
    for claim in hosted.claims {
        match state.claims.get(&claim) {
            Some(holder) if *holder != id => lost.push(claim),
            _ => {
                state.claims.insert(claim.clone(), id.clone());
                held.push(claim);
            }
        }
    }
    let goes_on = known.as_ref().filter(|known| known.operation.is_some() && !ends);
    let status = goes_on.map_or(hosted.status, |known| known.status);
    let audit_key = known.as_ref().map(|known| &known.audit_key).or(keys.get(&id));
    // `restore` has looked: a key was drawn for each tenant that was told of.
    let Some(audit_key) = audit_key.cloned() else {
        return;
    };
    if let Some(known) = &known {
        unplace(state, known);
    }
    state.tombstones.remove(&id);
    state.add_tenant(Tenant {
        display_name: known
            .as_ref()
            .map_or_else(|| hosted.slug.to_string(), |known| known.display_name.clone()),
        labels: known
            .as_ref()
            .map(|known| known.labels.clone())
            .unwrap_or_default(),
        operation: known.as_ref().and_then(|known| known.operation.clone()),
        unready: known.as_ref().and_then(|known| known.unready.clone()),
        dispute: (!lost.is_empty()).then(|| Dispute {
            clashes: Vec::new(),
            claims: lost,
        }),
        audit_key,
        id,
        slug: hosted.slug,
        status,
        access_mode: hosted.access_mode,
        regions: hosted.regions,
        class: hosted.class,
        claims: held,
        placement: Placement {
            group: hosted.placement.group,
            number: PlacementNumber(hosted.placement.number.0 + leap),
        },
        schema: hosted.schema,
        allowlist: hosted.allowlist,
        connections_max: hosted.connections_max,
        settings: hosted.settings,
        credential: hosted.credential,
        legal_hold: hosted.legal_hold,
        created: hosted.created,
        updated: at,
        modified: state.revision.next(),
        digest: Memo::default(),
    });
}

fn unplace(state: &mut State, known: &Tenant) {
    if let Some(mut placed) = state.placed.get(&known.placement.group).cloned() {
        placed.remove(&known.id);
        state.placed.insert(known.placement.group.clone(), placed);
    }
}

fn end_operation(state: &mut State, at: Stamp, id: &TenantId, end: Option<End>) {
    let operation = state.tenants.get(id).and_then(|tenant| tenant.operation.clone());
    let operation = operation.and_then(|id| state.operations.get(&id).cloned());
    let (Some(end), Some(operation)) = (end, operation) else {
        return;
    };
    let mut operation = Operation::clone(&operation);
    operation.status = end;
    operation.ended = Some(at);
    operation.wait = None;
    operation.wanted = None;
    operation.locks.clear();
    operation.reason = "RESTORED".to_owned();
    operation.detail = "it ended behind the snapshot, as the records of agents say".to_owned();
    operation.modified = state.revision.next();
    state.store_operation(operation);
    state.free_tenant(id, at);
}

/// Nobody is sent to it until a person has decided.
fn fence(state: &mut State, at: Stamp, id: &TenantId, verdict: &Verdict) {
    // A tenant that is not there has nothing to fence.
    let _ = state.edit_tenant(id, at, |tenant| {
        let claims = tenant
            .dispute
            .take()
            .map(|dispute| dispute.claims)
            .unwrap_or_default();
        tenant.dispute = Some(Dispute {
            clashes: verdict.clashes.clone(),
            claims,
        });
        if tenant.operation.is_none() {
            tenant.status = Status::Suspended;
        }
        Ok(())
    });
}

fn record(state: &mut State, at: Stamp, verdict: &Verdict, before: Hash, seed: [u8; 16]) -> Record {
    let (shard, action) = match &verdict.subject {
        Subject::Tenant(id) => (id.to_string(), "tenant.restore"),
        Subject::Group(_) => ("fleet".to_owned(), "group.restore"),
    };
    let mut salt = [0; 16];
    let drawn = digest::of_bytes(&[&seed, verdict.subject.to_string().as_bytes()]);
    salt.copy_from_slice(&drawn[..16]);
    let after = object(state, &verdict.subject);
    let mut head = state.heads.get(shard.as_str()).copied().unwrap_or_default();
    let shown = Shown {
        version: 0,
        shard: shard.clone(),
        sequence: 0,
        stamp: at,
        revision: state.revision,
        actor: "founder".to_owned(),
        certificate: None,
        action: action.to_owned(),
        resource: verdict.subject.to_string(),
        outcome: "done".to_owned(),
        reason: verdict.to_string(),
        request_id: String::new(),
        trace_id: String::new(),
        before: digest::of_bytes(&[&salt, &before]),
        after: digest::of_bytes(&[&salt, &after]),
        salt,
        personal: Vec::new(),
        previous: [0; 32],
    };
    let record = audit::append(&mut head, shown);
    state.heads.insert(shard.into(), head);
    record
}

fn object(state: &State, subject: &Subject) -> Hash {
    match subject {
        Subject::Tenant(id) => digest::of(&state.tenants.get(id)),
        Subject::Group(name) => digest::of(&state.groups.get(name)),
    }
}

fn events(state: &State, subject: &Subject) -> Vec<Event> {
    match subject {
        Subject::Tenant(id) => {
            let tenant = state.tenants.get(id);
            tenant
                .map(|tenant| Event::Resolves(Box::new(resolve::of(state, tenant))))
                .into_iter()
                .collect()
        }
        Subject::Group(name) => vec![Event::Group(name.clone())],
    }
}
