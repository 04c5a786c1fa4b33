//! Where a new database goes, and what keeps it out of where it cannot go.

use std::fmt;

use super::{Group, MemberStatus};
use crate::refusal::Refusal;
use crate::state::State;
use crate::tenant::Class;
use crate::words::Name;

/// Chooses where a new database goes: in its home region, ready, unfenced, with room, the emptiest first.
pub fn place<'a>(state: &'a State, region: &'a Name, class: Class) -> Result<&'a Group, Refusal> {
    let fit = of_region(state, region).filter(|group| obstacle(state, group, class).is_none());
    fit.min_by_key(|group| (state.databases_in(&group.name), group.name.clone()))
        .ok_or_else(|| Refusal::NoCapacity {
            region: region.clone(),
            class: class.word().to_owned(),
        })
}

/// What keeps a new database out of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    Fenced,
    /// Its primary has not said that its PostgreSQL answers, or has said that it does not.
    NotReady(MemberStatus),
    /// It holds what it may hold.
    Full(u32),
    /// A tenant has it for itself.
    Dedicated,
    /// Somebody is there, and the tenant wants to be alone.
    NotEmpty,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Fenced => f.write_str("is fenced"),
            Obstacle::NotReady(MemberStatus::Down) => f.write_str("is down: its PostgreSQL does not answer"),
            Obstacle::NotReady(_) => f.write_str("is not ready yet"),
            Obstacle::Full(capacity) => write!(f, "is full: it holds {capacity} databases"),
            Obstacle::Dedicated => f.write_str("is one tenant's own"),
            Obstacle::NotEmpty => f.write_str("is not empty"),
        }
    }
}

/// Each group of a region with what keeps a new database out of it, by name; those that would take it are left out.
pub fn obstacles<'a>(
    state: &'a State,
    region: &'a Name,
    class: Class,
) -> impl Iterator<Item = (&'a Name, Obstacle)> {
    of_region(state, region).filter_map(move |group| Some((&group.name, obstacle(state, group, class)?)))
}

fn of_region<'a>(state: &'a State, region: &'a Name) -> impl Iterator<Item = &'a Group> {
    state.groups.values().filter(move |group| &group.region == region)
}

fn obstacle(state: &State, group: &Group, class: Class) -> Option<Obstacle> {
    let held = state.databases_in(&group.name);
    let status = group.primary_member().map(|member| member.status);
    match class {
        _ if group.fenced => Some(Obstacle::Fenced),
        _ if status != Some(MemberStatus::Ready) => {
            Some(Obstacle::NotReady(status.unwrap_or(MemberStatus::Joining)))
        }
        Class::Shared if state.has_dedicated(&group.name) => Some(Obstacle::Dedicated),
        Class::Shared if held >= group.capacity as usize => Some(Obstacle::Full(group.capacity)),
        Class::Dedicated if held > 0 => Some(Obstacle::NotEmpty),
        Class::Shared | Class::Dedicated => None,
    }
}
