//! Tenants, and what a caller wants of a new one.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use reeve_domain::operation::Turn;
use reeve_domain::tenant::{AccessMode, Class, Setting, Status};
use reeve_domain::words::{Cidr, Claim, Name, Slug};
use reeve_domain::{State, Tenant};

use crate::convert::{
    BadField, claim, claim_from_wire, labels_from_wire, line, not_ready, settings_from_wire, tenant_state,
    time, turn_from_wire,
};
use crate::v1;

/// A tenant as the wire writes it.
pub fn tenant(state: &State, from: &Tenant) -> v1::Tenant {
    let group = state.groups.get(&from.placement.group);
    let access_mode = match from.access_mode {
        AccessMode::ReadWrite => v1::tenant::AccessMode::ReadWrite,
        AccessMode::ReadOnly => v1::tenant::AccessMode::ReadOnly,
        AccessMode::Fenced => v1::tenant::AccessMode::Fenced,
    };
    v1::Tenant {
        id: from.id.to_string(),
        slug: from.slug.to_string(),
        display_name: from.display_name.clone(),
        state: tenant_state(from.status) as i32,
        access_mode: access_mode as i32,
        region_policy: Some(v1::RegionPolicy {
            home: from.regions.first().map(ToString::to_string).unwrap_or_default(),
            allowed: from.regions.iter().map(ToString::to_string).collect(),
        }),
        class: class(from.class) as i32,
        claims: from.claims.iter().map(claim).collect(),
        placement: Some(v1::Placement {
            group: from.placement.group.to_string(),
            region: group.map(|g| g.region.to_string()).unwrap_or_default(),
            database: from.id.to_string(),
            number: from.placement.number.0,
            epoch: group.map(|g| g.epoch.0).unwrap_or_default(),
        }),
        schema: Some(v1::SchemaPolicy {
            channel: from.schema.channel.to_string(),
            target_version: from.schema.target,
            applied_version: from.schema.applied,
            applied_checksum: from.schema.checksum.clone(),
        }),
        allowlist_cidrs: from.allowlist.iter().map(ToString::to_string).collect(),
        limits: Some(v1::Limits {
            connections: from.connections_max,
        }),
        settings: Some(settings(&from.settings)),
        labels: from.labels.clone().into_iter().collect(),
        etag: from.etag(),
        create_time: Some(time::timestamp(from.created)),
        update_time: Some(time::timestamp(from.updated)),
        current_operation: from
            .operation
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        credential_version: from.credential.version,
        mod_revision: from.modified.0,
        legal_hold: from.legal_hold,
        fenced_because: from
            .dispute
            .iter()
            .flat_map(|dispute| &dispute.clashes)
            .map(ToString::to_string)
            .collect(),
        not_ready: from.unready.as_ref().map(not_ready),
    }
}

/// A class as the wire writes it.
pub(super) fn class(class: Class) -> v1::tenant::Class {
    match class {
        Class::Shared => v1::tenant::Class::Shared,
        Class::Dedicated => v1::tenant::Class::Dedicated,
    }
}

/// Reads a class; unset means shared.
pub fn class_from_wire(wire: i32) -> Result<Class, BadField> {
    match v1::tenant::Class::try_from(wire) {
        Ok(v1::tenant::Class::Dedicated) => Ok(Class::Dedicated),
        Ok(v1::tenant::Class::Shared | v1::tenant::Class::Unspecified) => Ok(Class::Shared),
        Err(_) => Err(BadField::new("class", "is SHARED or DEDICATED")),
    }
}

/// Reads a state to filter by; unset, and states that no live tenant has, are none.
pub fn status_from_wire(wire: v1::tenant::State) -> Option<Status> {
    match wire {
        v1::tenant::State::Provisioning => Some(Status::Provisioning),
        v1::tenant::State::Active => Some(Status::Active),
        v1::tenant::State::Suspended => Some(Status::Suspended),
        v1::tenant::State::Deleting => Some(Status::Deleting),
        v1::tenant::State::Failed => Some(Status::Failed),
        v1::tenant::State::Deleted | v1::tenant::State::Unspecified => None,
    }
}

/// What a caller wants of a new tenant, in words that are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub slug: Slug,
    pub display_name: String,
    /// Home first.
    pub regions: Vec<Name>,
    pub class: Class,
    pub claims: Vec<Claim>,
    pub channel: Name,
    pub target: u32,
    pub allowlist: Vec<Cidr>,
    pub connections_max: u32,
    pub settings: BTreeMap<String, Setting>,
    pub labels: BTreeMap<String, String>,
    pub turn: Turn,
}

/// Connections of a tenant that does not say.
const CONNECTIONS_DEFAULT: u32 = 50;
/// Regions that one tenant's data may be in.
const REGIONS_MAX: usize = 64;
/// The longest name for people.
pub const DISPLAY_NAME_BYTES_MAX: usize = 200;

/// Reads address ranges.
pub fn allowlist_from_wire(wire: &[String]) -> Result<Vec<Cidr>, BadField> {
    let read = wire.iter().enumerate().map(|(i, cidr)| {
        let bad = |error| BadField::new(format!("allowlist_cidrs[{i}]"), error);
        Cidr::parse(cidr).map_err(bad)
    });
    read.collect()
}

/// Reads what a caller wants.
pub fn wanted_from_wire(wire: &v1::CreateTenantRequest) -> Result<Wanted, BadField> {
    let slug = Slug::parse(&wire.slug).map_err(|e| BadField::new("slug", e))?;
    let policy = wire
        .region_policy
        .as_ref()
        .ok_or_else(|| BadField::new("region_policy.home", "is required"))?;
    let home = Name::parse(&policy.home).map_err(|e| BadField::new("region_policy.home", e))?;
    let got = policy.allowed.len();
    if got > REGIONS_MAX {
        let why = format!("has {got}; at most {REGIONS_MAX} are allowed");
        return Err(BadField::new("region_policy.allowed", why));
    }
    let mut regions = vec![home];
    for (i, region) in policy.allowed.iter().enumerate() {
        let region =
            Name::parse(region).map_err(|e| BadField::new(format!("region_policy.allowed[{i}]"), e))?;
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    let mut claims = Vec::new();
    for (i, wire) in wire.claims.iter().enumerate() {
        claims.push(claim_from_wire(&format!("claims[{i}]"), Some(wire))?);
    }
    let schema = wire
        .schema
        .as_ref()
        .ok_or_else(|| BadField::new("schema.channel", "is required"))?;
    let channel = Name::parse(&schema.channel).map_err(|e| BadField::new("schema.channel", e))?;
    let allowlist = allowlist_from_wire(&wire.allowlist_cidrs)?;
    line("display_name", &wire.display_name, DISPLAY_NAME_BYTES_MAX)?;
    let connections = wire.limits.as_ref().map_or(0, |l| l.connections);
    Ok(Wanted {
        display_name: if wire.display_name.is_empty() {
            slug.to_string()
        } else {
            wire.display_name.clone()
        },
        slug,
        regions,
        class: class_from_wire(wire.class)?,
        claims,
        channel,
        target: schema.target_version,
        allowlist,
        connections_max: if connections == 0 {
            CONNECTIONS_DEFAULT
        } else {
            connections
        },
        settings: settings_from_wire("settings", wire.settings.as_ref())?,
        labels: labels_from_wire("labels", &wire.labels)?,
        turn: turn_from_wire(wire.turn.as_ref())?,
    })
}

/// Settings as the wire writes them.
pub fn settings(from: &BTreeMap<String, Setting>) -> prost_types::Struct {
    let value = |setting: &Setting| match setting {
        Setting::Bool(b) => Kind::BoolValue(*b),
        Setting::Int(i) => Kind::NumberValue(*i as f64),
        Setting::Text(text) => Kind::StringValue(text.clone()),
    };
    let fields = from
        .iter()
        .map(|(k, v)| (k.clone(), prost_types::Value { kind: Some(value(v)) }));
    prost_types::Struct {
        fields: fields.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::CreateTenantRequest {
        v1::CreateTenantRequest {
            slug: "cho-ray".into(),
            region_policy: Some(v1::RegionPolicy {
                home: "vn".into(),
                allowed: vec!["vn".into(), "eu".into()],
            }),
            schema: Some(v1::SchemaPolicy {
                channel: "ehr".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let wanted = wanted_from_wire(&request()).unwrap();
        assert_eq!(wanted.connections_max, 50);
        assert_eq!(wanted.display_name, "cho-ray");
        assert_eq!(wanted.regions.len(), 2);
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let named = |change: fn(&mut v1::CreateTenantRequest)| {
            let mut wire = request();
            change(&mut wire);
            wanted_from_wire(&wire).unwrap_err().field
        };
        assert_eq!(named(|r| r.slug = "Chợ Rẫy".into()), "slug");
        assert_eq!(named(|r| r.region_policy = None), "region_policy.home");
        assert_eq!(named(|r| r.schema = None), "schema.channel");
        assert_eq!(
            named(|r| r.allowlist_cidrs = vec!["10.0.0.0/8".into(), "10.0.0.1/8".into()]),
            "allowlist_cidrs[1]"
        );
        assert_eq!(named(|r| r.claims = vec![v1::Claim::default()]), "claims[0].kind");
        let odd = prost_types::Value {
            kind: Some(Kind::NumberValue(0.5)),
        };
        let settings = prost_types::Struct {
            fields: [("beds".to_owned(), odd)].into(),
        };
        assert_eq!(
            settings_from_wire("settings", Some(&settings)).unwrap_err().field,
            "settings.beds"
        );
    }

    #[test]
    fn settings_go_there_and_back() {
        let given: BTreeMap<_, _> = [
            ("beds".to_owned(), Setting::Int(900)),
            ("teaching".to_owned(), Setting::Bool(true)),
            ("lang".to_owned(), Setting::Text("vi".into())),
        ]
        .into();
        assert_eq!(settings_from_wire("settings", Some(&settings(&given))), Ok(given));
    }
}
