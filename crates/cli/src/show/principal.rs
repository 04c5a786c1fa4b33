//! Identities, and what they may do.

use reeve_client::v1;
use serde::Serialize;

use super::{Freshness, Page, Show, col, lines, pairs, plain, table, time, to_the_second, wide};

#[derive(Clone, Debug, Serialize)]
pub struct Principal {
    pub id: String,
    pub role: String,
    /// None: all of them.
    pub tenant_ids: Vec<String>,
    pub revoked: bool,
    pub create_time: String,
}

impl From<v1::Principal> for Principal {
    fn from(principal: v1::Principal) -> Principal {
        Principal {
            role: plain(principal.role().as_str_name(), "ROLE_"),
            id: principal.id,
            tenant_ids: principal.tenant_ids,
            revoked: principal.revoked,
            create_time: time(principal.create_time),
        }
    }
}

impl Principal {
    fn state(&self) -> &'static str {
        match self.revoked {
            true => "revoked",
            false => "valid",
        }
    }

    fn tenants(&self) -> String {
        match self.tenant_ids.is_empty() {
            true => "all".to_owned(),
            false => self.tenant_ids.join(","),
        }
    }

    fn pairs(&self) -> [(&'static str, String); 5] {
        [
            ("principal", self.id.clone()),
            ("role", self.role.clone()),
            ("state", self.state().to_owned()),
            ("tenants", self.tenants()),
            ("created", self.create_time.clone()),
        ]
    }
}

impl Show for Principal {
    fn page(&self) -> Page {
        pairs(self.pairs())
    }
}

#[derive(Debug, Serialize)]
pub struct Principals {
    pub principals: Vec<Principal>,
    pub freshness: Freshness,
}

impl Show for Principals {
    fn lines(&self) -> Vec<String> {
        lines(&self.principals)
    }

    fn names(&self) -> Vec<String> {
        self.principals.iter().map(|one| one.id.clone()).collect()
    }

    fn page(&self) -> Page {
        let row = |one: &Principal| {
            vec![
                one.id.clone(),
                one.role.clone(),
                one.state().to_owned(),
                to_the_second(&one.create_time),
                one.tenants(),
            ]
        };
        let head = [
            col("PRINCIPAL"),
            col("ROLE"),
            col("STATE"),
            col("CREATED"),
            wide("TENANTS"),
        ];
        table(head, self.principals.iter().map(row))
    }
}

/// Whom the registry takes somebody for.
#[derive(Debug, Serialize)]
pub struct Yourself {
    pub principal: Principal,
    pub actions: Vec<String>,
}

impl Show for Yourself {
    fn page(&self) -> Page {
        let may = ("may", self.actions.join("\n"));
        pairs(self.principal.pairs().into_iter().chain([may]))
    }
}
