//! Tenants.

use std::collections::BTreeMap;

use reeve_client::v1;
use serde::Serialize;

use super::group::Group;
use super::health::Health;
use super::operation::Operation;
use super::{Freshness, Page, Show, col, cut, lines, pairs, plain, spare, table, time, wide};

#[derive(Clone, Debug, Serialize)]
pub struct Tenant {
    pub id: String,
    pub slug: String,
    pub display_name: String,
    pub state: String,
    pub access_mode: String,
    pub class: String,
    pub home_region: String,
    pub allowed_regions: Vec<String>,
    pub claims: Vec<Claim>,
    pub group: String,
    pub database: String,
    pub schema_channel: String,
    pub schema_applied: u32,
    /// 0: the newest.
    pub schema_target: u32,
    pub allowlist_cidrs: Vec<String>,
    pub connections: u32,
    pub labels: BTreeMap<String, String>,
    pub current_operation: String,
    /// Why a restore fenced it. Left out while nothing did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fenced_because: Vec<String>,
    pub create_time: String,
    pub update_time: String,
    pub etag: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    pub kind: String,
    pub key: String,
}

impl From<v1::Claim> for Claim {
    fn from(claim: v1::Claim) -> Claim {
        Claim {
            kind: plain(claim.kind().as_str_name(), "KIND_"),
            key: claim.key,
        }
    }
}

impl From<v1::Tenant> for Tenant {
    fn from(tenant: v1::Tenant) -> Tenant {
        let place = tenant.placement.clone().unwrap_or_default();
        let schema = tenant.schema.clone().unwrap_or_default();
        let regions = tenant.region_policy.clone().unwrap_or_default();
        Tenant {
            state: plain(tenant.state().as_str_name(), "STATE_"),
            access_mode: plain(tenant.access_mode().as_str_name(), "ACCESS_MODE_"),
            class: plain(tenant.class().as_str_name(), "CLASS_"),
            home_region: regions.home,
            allowed_regions: regions.allowed,
            claims: tenant.claims.into_iter().map(Claim::from).collect(),
            group: place.group,
            database: place.database,
            schema_channel: schema.channel,
            schema_applied: schema.applied_version,
            schema_target: schema.target_version,
            allowlist_cidrs: tenant.allowlist_cidrs,
            connections: tenant.limits.unwrap_or_default().connections,
            labels: tenant.labels.into_iter().collect(),
            current_operation: tenant.current_operation,
            fenced_because: tenant.fenced_because,
            create_time: time(tenant.create_time),
            update_time: time(tenant.update_time),
            etag: tenant.etag,
            id: tenant.id,
            slug: tenant.slug,
            display_name: tenant.display_name,
        }
    }
}

impl Tenant {
    fn schema(&self) -> String {
        let target = if self.schema_target == 0 {
            "newest".to_owned()
        } else {
            self.schema_target.to_string()
        };
        format!(
            "{} at {} (wanted: {target})",
            self.schema_channel, self.schema_applied
        )
    }

    fn domains(&self) -> String {
        let domains = self.claims.iter().filter(|claim| claim.kind == "domain");
        domains
            .map(|claim| claim.key.as_str())
            .collect::<Vec<_>>()
            .join(",")
    }
}

impl Show for Tenant {
    fn page(&self) -> Page {
        let claim = |claim: &Claim| format!("{} {}", claim.kind, claim.key);
        let label = |(name, value): (&String, &String)| format!("{name}={value}");
        pairs([
            ("tenant", self.slug.clone()),
            ("id", self.id.clone()),
            ("name", self.display_name.clone()),
            ("state", self.state.clone()),
            ("access", self.access_mode.clone()),
            ("class", self.class.clone()),
            ("home", self.home_region.clone()),
            ("allowed in", self.allowed_regions.join(", ")),
            ("group", self.group.clone()),
            ("database", self.database.clone()),
            ("schema", self.schema()),
            (
                "claims",
                self.claims.iter().map(claim).collect::<Vec<_>>().join("\n"),
            ),
            ("allowlist", self.allowlist_cidrs.join(", ")),
            ("connections", self.connections.to_string()),
            (
                "labels",
                self.labels.iter().map(label).collect::<Vec<_>>().join(", "),
            ),
            ("operation", self.current_operation.clone()),
            ("fenced because", self.fenced_because.join("\n")),
            ("created", self.create_time.clone()),
            ("changed", self.update_time.clone()),
            ("etag", self.etag.clone()),
        ])
    }
}

#[derive(Debug, Serialize)]
pub struct Tenants {
    pub tenants: Vec<Tenant>,
    pub freshness: Freshness,
}

impl Show for Tenants {
    fn lines(&self) -> Vec<String> {
        lines(&self.tenants)
    }

    fn names(&self) -> Vec<String> {
        self.tenants.iter().map(|one| one.slug.clone()).collect()
    }

    fn page(&self) -> Page {
        let row = |tenant: &Tenant| {
            vec![
                tenant.slug.clone(),
                tenant.id.clone(),
                tenant.state.clone(),
                tenant.home_region.clone(),
                tenant.group.clone(),
                tenant.schema_applied.to_string(),
                tenant.domains(),
                tenant.display_name.clone(),
                tenant.class.clone(),
                tenant.access_mode.clone(),
                tenant.database.clone(),
                tenant.current_operation.clone(),
                tenant.create_time.clone(),
            ]
        };
        table(
            [
                col("TENANT"),
                col("ID"),
                col("STATE"),
                col("REGION"),
                spare("GROUP"),
                spare("SCHEMA"),
                cut("DOMAINS"),
                wide("NAME"),
                wide("CLASS"),
                wide("ACCESS"),
                wide("DATABASE"),
                wide("OPERATION"),
                wide("CREATED"),
            ],
            self.tenants.iter().map(row),
        )
    }
}

/// A tenant, the group it lives in, and what last happened to it.
#[derive(Debug, Serialize)]
pub struct Status {
    pub tenant: Tenant,
    pub health: Option<Health>,
    pub group: Option<Group>,
    pub operation: Option<Operation>,
    pub freshness: Freshness,
}

impl Show for Status {
    fn page(&self) -> Page {
        let tenant = &self.tenant;
        let mut page = Page::from(format!(
            "{}  {}  region {}  schema {}  revision {}",
            tenant.slug,
            tenant.state.to_uppercase(),
            tenant.home_region,
            tenant.schema(),
            self.freshness.revision
        ));
        if !tenant.fenced_because.is_empty() {
            let why = tenant.fenced_because.join("\n- ");
            let fenced = "FENCED by a restore until it is resumed or deleted:";
            page = page.and(format!("{fenced}\n- {why}"));
        }
        if let Some(health) = &self.health {
            page = page.and(health.page());
        }
        if let Some(group) = &self.group {
            page = page.and(group.members_page());
        }
        if let Some(operation) = &self.operation {
            let id = &operation.id;
            let mut title = format!("{} {id}  {}", operation.kind, operation.state);
            if !operation.reason.is_empty() {
                title.push_str(&format!("  {} {}", operation.reason, operation.detail));
            }
            page = page.and(operation.steps_page().under(title.trim_end()));
        }
        page
    }
}
