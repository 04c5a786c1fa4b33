//! Where a request goes, and why.

use reeve_client::v1;
use serde::Serialize;

use super::group::Endpoint;
use super::tenant::Claim;
use super::{Freshness, Page, Show, pairs, plain};

#[derive(Debug, Serialize)]
pub struct Resolved {
    pub tenant_id: String,
    pub slug: String,
    pub state: String,
    pub region: String,
    pub group: String,
    pub epoch: u64,
    pub placement_number: u64,
    pub database: String,
    pub role: String,
    pub credential_version: u64,
    pub write: Option<Endpoint>,
    pub read: Vec<Endpoint>,
    pub schema_version: u32,
    pub claims: Vec<Claim>,
    pub mod_revision: u64,
    pub explanation: Vec<String>,
    pub freshness: Freshness,
}

impl Resolved {
    pub fn of(answer: v1::ResolveResponse) -> Resolved {
        let found = answer.resolution.unwrap_or_default();
        Resolved {
            state: plain(found.state().as_str_name(), "STATE_"),
            tenant_id: found.tenant_id,
            slug: found.slug,
            region: found.region,
            group: found.group,
            epoch: found.epoch,
            placement_number: found.placement_number,
            database: found.database,
            role: found.role,
            credential_version: found.credential_version,
            write: found.write.map(Endpoint::from),
            read: found.read.into_iter().map(Endpoint::from).collect(),
            schema_version: found.schema_version,
            claims: found.claims.into_iter().map(Claim::from).collect(),
            mod_revision: found.mod_revision,
            explanation: answer.explanation,
            freshness: Freshness::of(answer.freshness),
        }
    }
}

impl Show for Resolved {
    fn page(&self) -> Page {
        let write = self.write.as_ref().map(ToString::to_string).unwrap_or_default();
        let read: Vec<_> = self.read.iter().map(ToString::to_string).collect();
        let found = pairs([
            ("tenant", format!("{} ({})", self.slug, self.tenant_id)),
            ("state", self.state.clone()),
            ("region", self.region.clone()),
            ("group", format!("{}, epoch {}", self.group, self.epoch)),
            ("write", write),
            ("read", read.join(", ")),
            (
                "database",
                format!("{}, placement {}", self.database, self.placement_number),
            ),
            (
                "role",
                format!("{}, credential {}", self.role, self.credential_version),
            ),
            ("schema", self.schema_version.to_string()),
            (
                "revision",
                format!("{}, changed at {}", self.freshness.revision, self.mod_revision),
            ),
        ]);
        match self.explanation.is_empty() {
            true => found,
            false => Page::sentences(self.explanation.join("\n")).and(found),
        }
    }
}
