//! Regions, and groups of PostgreSQL instances that host tenants' databases.

mod place;

pub use place::{Obstacle, obstacles, place};
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Revision};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::tenant::Class;
use crate::words::Name;

/// A jurisdiction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub name: Name,
    pub display_name: String,
}

/// One primary and its standbys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: Name,
    pub region: Name,
    pub class: Class,
    pub epoch: Epoch,
    /// No answer may name it as a place to write.
    pub fenced: bool,
    pub primary: Name,
    pub members: Vec<Member>,
    /// Databases it may hold at the most.
    pub capacity: u32,
    pub modified: Revision,
}

/// One instance with its agent; both carry the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub name: Name,
    pub status: MemberStatus,
    pub facts: Facts,
}

/// What its agent last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberStatus {
    Joining,
    Ready,
    Down,
}

/// What seldom changes about an instance. A difference is a transition and becomes a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub endpoints: Vec<Endpoint>,
    pub postgres_version: String,
    pub postgres_up: bool,
    pub system_identifier: String,
}

/// Where an instance can be reached from one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub network: String,
    pub host: String,
    pub port: u16,
}

/// Databases a new group may hold.
pub const CAPACITY_DEFAULT: u32 = 2000;
/// Most endpoints an instance may have.
pub const ENDPOINTS_MAX: usize = 16;

impl Group {
    /// The member that may be written to.
    pub fn primary_member(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.name == self.primary)
    }
}

/// Adds a region.
pub fn create_region(state: &mut State, region: Region) -> Result<Change, Refusal> {
    if state.regions.contains_key(&region.name) {
        return Err(Refusal::AlreadyExists(format!("region {}", region.name)));
    }
    let subject = format!("region/{}", region.name);
    state.regions.insert(region.name.clone(), region);
    Ok(Change::of(subject))
}

/// Enrols an agent's instance: a new group, or one more member of a group that exists.
pub fn enrol(state: &mut State, agent: &Name, region: &Name, group: &Name) -> Result<(), Refusal> {
    if !state.regions.contains_key(region) {
        return Err(Refusal::RegionUnknown(region.clone()));
    }
    if let Some(home) = state
        .groups
        .values()
        .find(|g| g.members.iter().any(|m| &m.name == agent))
    {
        if &home.name != group {
            return Err(Refusal::AlreadyExists(format!(
                "agent {agent} in group {}",
                home.name
            )));
        }
        return Ok(());
    }
    let member = Member {
        name: agent.clone(),
        status: MemberStatus::Joining,
        facts: Facts::default(),
    };
    let revision = state.revision.next();
    match state.groups.get(group) {
        // Standbys arrive with replication; until then a second instance would hold none of the data.
        Some(_) => Err(Refusal::AlreadyExists(format!(
            "group {group} with its one member"
        ))),
        None => {
            let group = Group {
                name: group.clone(),
                region: region.clone(),
                class: Class::Shared,
                epoch: Epoch(1),
                fenced: false,
                primary: agent.clone(),
                members: vec![member],
                capacity: CAPACITY_DEFAULT,
                modified: revision,
            };
            state.groups.insert(group.name.clone(), group);
            Ok(())
        }
    }
}

/// What an agent says about its instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportMember {
    pub agent: Name,
    pub facts: Facts,
}

/// Writes down a transition; saying the same again changes nothing.
pub fn report(state: &mut State, order: ReportMember) -> Result<Change, Refusal> {
    if order.facts.endpoints.len() > ENDPOINTS_MAX {
        return Err(Refusal::field(
            "endpoints",
            format!("at most {ENDPOINTS_MAX} are allowed"),
        ));
    }
    let Some(group) = state.group_of_agent(&order.agent).cloned() else {
        return Err(Refusal::GroupNotFound(format!("of agent {}", order.agent)));
    };
    let status = if order.facts.postgres_up {
        MemberStatus::Ready
    } else {
        MemberStatus::Down
    };
    let mut next = group.clone();
    for member in next.members.iter_mut().filter(|m| m.name == order.agent) {
        member.status = status;
        member.facts = order.facts.clone();
    }
    if next == group {
        return Ok(Change::none());
    }
    next.modified = state.revision.next();
    let change = Change::group(&next.name);
    state.groups.insert(next.name.clone(), next);
    Ok(change)
}

/// Fences a group: the epoch grows first, so that no older order can win.
pub fn fence(state: &mut State, name: &Name) -> Result<Change, Refusal> {
    edit(state, name, |group| {
        if group.fenced {
            return false;
        }
        group.fenced = true;
        group.epoch = group.epoch.next();
        true
    })
}

/// Lifts the fence at the present epoch.
pub fn unfence(state: &mut State, name: &Name) -> Result<Change, Refusal> {
    edit(state, name, |group| std::mem::replace(&mut group.fenced, false))
}

fn edit(state: &mut State, name: &Name, change: impl FnOnce(&mut Group) -> bool) -> Result<Change, Refusal> {
    let mut group = state.group(name)?.clone();
    if !change(&mut group) {
        return Ok(Change::none());
    }
    group.modified = state.revision.next();
    state.groups.insert(name.clone(), group);
    Ok(Change::group(name))
}
