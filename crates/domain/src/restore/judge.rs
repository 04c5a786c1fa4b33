//! Decides, for each tenant and group, between the snapshot and what agents were told later. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Revision, TenantId};
use crate::operation::{Kind, Status as End};
use crate::record::{Hosted, Hosting, Said, Statement, Subject};
use crate::restore::clash::Clash;
use crate::restore::heard::Heard;
use crate::state::State;
use crate::tenant::{Status, Tenant};
use crate::words::{Claim, Name};

/// What is to become of one tenant or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub subject: Subject,
    /// A tenant's slug, or the group's name.
    pub name: String,
    pub fate: Fate,
    pub clashes: Vec<Clash>,
    /// Who told of it, the newest first.
    pub sources: Vec<(Name, Revision)>,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.fate.word())?;
        for (agent, revision) in &self.sources {
            write!(f, "; agent {agent} has revision {revision}")?;
        }
        self.clashes.iter().try_for_each(|clash| write!(f, "; {clash}"))
    }
}

/// How it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The snapshot did not know it.
    CameBack,
    /// The snapshot knew it as it was before.
    Updated,
    /// A person must decide.
    Fenced,
}

impl Fate {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Fate::CameBack => "came back",
            Fate::Updated => "updated",
            Fate::Fenced => "fenced",
        }
    }
}

/// A verdict, and what it takes over.
pub(super) struct Draft {
    pub verdict: Verdict,
    pub take: Take,
    /// How the operation ends that the snapshot has open for it.
    pub end: Option<End>,
}

/// What is newer than the snapshot.
pub(super) enum Take {
    Nothing,
    Tenant(Box<Hosted>),
    Group(Box<Hosting>),
}

/// Ids that were used behind the snapshot and are gone again, and all verdicts: groups before tenants.
pub(super) fn judge(state: &State, statements: &[Statement]) -> (Vec<TenantId>, Vec<Draft>) {
    let heard = Heard::of(statements);
    let groups: Vec<Draft> = heard
        .groups()
        .filter_map(|name| group(state, &heard, name))
        .collect();
    let known_groups: BTreeSet<&Name> = state.groups.keys().chain(heard.groups()).collect();

    let mut tenants = BTreeMap::new();
    let mut gone = Vec::new();
    let ids: BTreeSet<&TenantId> = state.tenants.keys().chain(heard.tenants()).collect();
    for id in ids {
        let told = heard.on(&Subject::Tenant(id.clone()));
        if matches!(told.first().map(|s| &s.said), Some(Said::Gone(_))) && !state.tenants.contains_key(id) {
            gone.push(id.clone());
        } else if let Some(draft) = tenant(state, &heard, id, told, &known_groups) {
            tenants.insert(id.clone(), draft);
        }
    }
    claims(state, &mut tenants);
    (gone, groups.into_iter().chain(tenants.into_values()).collect())
}

/// How many tenants of the snapshot nobody who should know them has told of.
pub(super) fn unsaid(state: &State, statements: &[Statement]) -> u64 {
    let agents: BTreeSet<&Name> = statements.iter().map(|s| &s.agent).collect();
    let subjects: BTreeSet<Subject> = statements.iter().map(|s| s.said.subject()).collect();
    let is_unsaid = |tenant: &&std::sync::Arc<Tenant>| {
        let group = state.groups.get(&tenant.placement.group);
        !subjects.contains(&Subject::Tenant(tenant.id.clone()))
            && group.is_none_or(|group| !agents.contains(&group.primary))
    };
    state.tenants.values().filter(is_unsaid).count() as u64
}

/// The snapshot holds all that was so at its own revision. What was said before decides nothing: it may be of a node
/// that was removed since, or of a time that an earlier restore undid.
fn is_old(state: &State, statement: &Statement) -> bool {
    statement.revision <= state.revision
}

fn group(state: &State, heard: &Heard, name: &Name) -> Option<Draft> {
    let subject = Subject::Group(name.clone());
    let told = heard.on(&subject);
    let newest = told.first()?;
    let Said::Group(hosting) = &newest.said else {
        return None;
    };
    let known = state.groups.get(name);
    if is_old(state, newest) {
        return None;
    }
    let mut clashes = Vec::new();
    if heard.is_forked(&subject) {
        clashes.push(forked(newest));
    }
    if let Some(known) = known.filter(|known| known.primary != hosting.group.primary) {
        clashes.push(Clash::Primary {
            agent: newest.agent.clone(),
            revision: newest.revision,
            known: known.primary.clone(),
        });
    }
    let principal = agent_principal(state, &hosting.group.primary);
    let elsewhere = state
        .group_of_agent(&hosting.group.primary)
        .is_some_and(|home| &home.name != name);
    if elsewhere || state.principals.get(&principal).is_some_and(|p| p.revoked) {
        clashes.push(Clash::Revoked {
            agent: hosting.group.primary.clone(),
        });
    }
    let take = Take::Group(hosting.clone());
    Some(draft(
        subject,
        name.to_string(),
        known.is_some(),
        told,
        clashes,
        take,
    ))
}

/// The identity of an agent.
pub(super) fn agent_principal(state: &State, agent: &Name) -> String {
    format!("spiffe://{}/agent/{agent}", state.cluster.name)
}

fn tenant(
    state: &State,
    heard: &Heard,
    id: &TenantId,
    told: &[&Statement],
    groups: &BTreeSet<&Name>,
) -> Option<Draft> {
    let subject = Subject::Tenant(id.clone());
    let known = state.tenants.get(id).map(AsRef::as_ref);
    let Some(newest) = told.first() else {
        return unheard(state, heard, known?);
    };
    if is_old(state, newest) {
        return None;
    }
    let told: Vec<&Statement> = told.iter().copied().filter(|told| !is_old(state, told)).collect();
    let told = told.as_slice();
    let hosted = match (&newest.said, known) {
        (Said::Hosts(hosted), _) => hosted,
        (_, Some(known)) => return gone(state, known, newest, told),
        (_, None) => return None,
    };

    let mut clashes = contradictions(known, newest, hosted, told);
    if heard.is_forked(&subject) {
        clashes.push(forked(newest));
    }
    if !groups.contains(&hosted.placement.group) {
        clashes.push(Clash::NoGroup {
            group: hosted.placement.group.clone(),
        });
    }
    if let Some(at) = state.tombstones.get(id) {
        clashes.push(Clash::Deleted {
            at: *at,
            agent: newest.agent.clone(),
            revision: newest.revision,
        });
    }
    let (end, goes_on) = known.map_or((None, false), |known| end_of(state, known, hosted.status));
    if !goes_on && !matches!(hosted.status, Status::Active | Status::Suspended) {
        clashes.push(Clash::Unfinished {
            status: hosted.status,
            agent: newest.agent.clone(),
            revision: newest.revision,
        });
    }
    let take = Take::Tenant(hosted.clone());
    let mut draft = draft(
        subject,
        hosted.slug.to_string(),
        known.is_some(),
        told,
        clashes,
        take,
    );
    draft.end = end;
    Some(draft)
}

/// What others say of where it is, and what the snapshot has that is newer.
fn contradictions(
    known: Option<&Tenant>,
    newest: &Statement,
    hosted: &Hosted,
    told: &[&Statement],
) -> Vec<Clash> {
    let mut clashes = Vec::new();
    let here = &hosted.placement;
    let two = |other: &crate::tenant::Placement, other_revision| Clash::TwoHosts {
        group: here.group.clone(),
        number: here.number,
        revision: newest.revision,
        other: other.group.clone(),
        other_number: other.number,
        other_revision,
    };
    for statement in &told[1..] {
        if let Said::Hosts(other) = &statement.said
            && other.placement.group != here.group
            && other.placement.number >= here.number
        {
            clashes.push(two(&other.placement, statement.revision));
        }
    }
    let Some(known) = known else {
        return clashes;
    };
    if known.placement.group != here.group && known.placement.number >= here.number {
        clashes.push(two(&known.placement, known.modified));
    } else if known.placement.number > here.number || known.credential.version > hosted.credential.version {
        clashes.push(Clash::Backwards {
            agent: newest.agent.clone(),
            revision: newest.revision,
        });
    }
    clashes
}

/// How the operation ends that the snapshot has open, now that the tenant was heard of in this status; and whether it
/// goes on instead.
fn end_of(state: &State, known: &Tenant, status: Status) -> (Option<End>, bool) {
    let Some(operation) = known.operation.as_ref().and_then(|id| state.operations.get(id)) else {
        return (None, false);
    };
    match (operation.kind, status) {
        (Kind::Onboard, Status::Provisioning) | (Kind::Offboard, Status::Deleting) => (None, true),
        // What it published is kept by the record; whichever login rests then is taken away, forwards or back.
        (Kind::Rotate, Status::Active | Status::Suspended) => (None, true),
        (Kind::Onboard, Status::Active | Status::Suspended) => (Some(End::Done), false),
        (Kind::Offboard, Status::Active | Status::Suspended) => (Some(End::Undone), false),
        _ => (Some(End::Stuck), false),
    }
}

/// The snapshot has it, and its host heard later that it is gone. An offboarding that is open proves it by itself.
fn gone(state: &State, known: &Tenant, newest: &Statement, told: &[&Statement]) -> Option<Draft> {
    let operation = known.operation.as_ref().and_then(|id| state.operations.get(id));
    if operation.is_some_and(|operation| operation.kind == Kind::Offboard) {
        return None;
    }
    let clash = Clash::Gone {
        agent: newest.agent.clone(),
        revision: newest.revision,
    };
    let mut draft = untouched(known, told, clash);
    draft.end = operation.map(|_| End::Stuck);
    Some(draft)
}

/// An agent is told everything in order: what it does not hold although it heard later things was not there.
fn unheard(state: &State, heard: &Heard, known: &Tenant) -> Option<Draft> {
    let agent = &state.groups.get(&known.placement.group)?.primary;
    let revision = heard.reach_of(agent).filter(|reach| *reach > known.modified)?;
    let clash = Clash::Unheard {
        agent: agent.clone(),
        revision,
    };
    let mut draft = untouched(known, &[], clash);
    draft.end = known.operation.as_ref().map(|_| End::Stuck);
    Some(draft)
}

/// No two tenants that may resolve hold one claim: all that want it are fenced.
fn claims(state: &State, drafts: &mut BTreeMap<TenantId, Draft>) {
    let mut wanted: BTreeMap<Claim, BTreeSet<TenantId>> = BTreeMap::new();
    for (id, draft) in drafts.iter() {
        let Take::Tenant(hosted) = &draft.take else {
            continue;
        };
        for claim in &hosted.claims {
            wanted.entry(claim.clone()).or_default().insert(id.clone());
        }
    }
    for (claim, wanting) in &mut wanted {
        let holder = state.claims.get(claim);
        let keeps = |id: &&TenantId| !matches!(drafts.get(*id).map(|d| &d.take), Some(Take::Tenant(_)));
        wanting.extend(holder.filter(keeps).cloned());
    }
    for (claim, wanting) in wanted.into_iter().filter(|(_, wanting)| wanting.len() > 1) {
        for id in &wanting {
            for other in wanting.iter().filter(|other| *other != id) {
                let clash = Clash::Claim {
                    claim: claim.clone(),
                    other: other.clone(),
                };
                match (drafts.get_mut(id), state.tenants.get(id)) {
                    (Some(draft), _) => {
                        draft.verdict.fate = Fate::Fenced;
                        draft.verdict.clashes.push(clash);
                    }
                    (None, Some(known)) => {
                        drafts.insert(id.clone(), untouched(known, &[], clash));
                    }
                    (None, None) => {}
                }
            }
        }
    }
}

fn forked(newest: &Statement) -> Clash {
    Clash::Forked {
        agent: newest.agent.clone(),
        revision: newest.revision,
    }
}

fn untouched(known: &Tenant, told: &[&Statement], clash: Clash) -> Draft {
    let subject = Subject::Tenant(known.id.clone());
    draft(
        subject,
        known.slug.to_string(),
        true,
        told,
        vec![clash],
        Take::Nothing,
    )
}

fn draft(
    subject: Subject,
    name: String,
    known: bool,
    told: &[&Statement],
    clashes: Vec<Clash>,
    take: Take,
) -> Draft {
    let fate = match (clashes.is_empty(), known) {
        (false, _) => Fate::Fenced,
        (true, true) => Fate::Updated,
        (true, false) => Fate::CameBack,
    };
    let sources = told.iter().map(|s| (s.agent.clone(), s.revision)).collect();
    Draft {
        verdict: Verdict {
            subject,
            name,
            fate,
            clashes,
            sources,
        },
        take,
        end: None,
    }
}
