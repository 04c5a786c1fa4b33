//! Regions, groups, members, endpoints.

use reeve_domain::group::{Endpoint, Group, Member, MemberStatus, Region};
use reeve_domain::plan::Sightings;
use reeve_domain::{Stamp, State};

use crate::convert::time;
use crate::v1;

/// A region as the wire writes it.
pub fn region(region: &Region) -> v1::Region {
    v1::Region {
        name: region.name.to_string(),
        display_name: region.display_name.clone(),
    }
}

/// An endpoint as the wire writes it.
pub fn endpoint(endpoint: &Endpoint) -> v1::Endpoint {
    v1::Endpoint {
        network: endpoint.network.clone(),
        host: endpoint.host.clone(),
        port: u32::from(endpoint.port),
    }
}

/// A member's state; a fenced group's members are fenced whatever they say.
pub fn member_state(group: &Group, member: &Member) -> v1::member::State {
    match member.status {
        _ if group.fenced => v1::member::State::Fenced,
        MemberStatus::Joining => v1::member::State::Joining,
        MemberStatus::Ready => v1::member::State::Ready,
        MemberStatus::Down => v1::member::State::Down,
    }
}

/// A group with what has been seen of its members.
pub fn group(state: &State, group: &Group, sightings: &Sightings, now: Stamp) -> v1::Group {
    let members = group.members.iter().map(|member| {
        let sighting = sightings.agents.get(&member.name);
        v1::Member {
            name: member.name.to_string(),
            state: member_state(group, member) as i32,
            endpoints: member.facts.endpoints.iter().map(endpoint).collect(),
            postgres_version: member.facts.postgres_version.clone(),
            last_seen: sighting
                .map(|s| time::duration(std::time::Duration::from_millis(now.millis_since(s.seen)))),
            lag_bytes: sighting.map_or(0, |s| s.lag_bytes),
        }
    });
    v1::Group {
        name: group.name.to_string(),
        region: group.region.to_string(),
        class: super::tenant::class(group.class) as i32,
        epoch: group.epoch.0,
        fenced: group.fenced,
        primary: group.primary.to_string(),
        members: members.collect(),
        databases: state.databases_in(&group.name) as u32,
        capacity: group.capacity,
        mod_revision: group.modified.0,
    }
}
