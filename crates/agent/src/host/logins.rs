//! Which tenants' roles may log in, and the sum of the verifier that each was given: on disk before PostgreSQL hears.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use reeve_domain::TenantId;
use sha2::{Digest, Sha256};

use super::ident::{Ending, Ident};
use super::{Error, Host};
use crate::disk;

/// The wanted logins.
pub(super) struct Logins {
    path: PathBuf,
    wanted: Mutex<BTreeMap<String, String>>,
}

impl Logins {
    pub(super) fn open(folder: &Path) -> io::Result<Logins> {
        let path = folder.join("logins.json");
        let wanted = match disk::read_if_there(&path)? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => BTreeMap::new(),
        };
        Ok(Logins {
            path,
            wanted: Mutex::new(wanted),
        })
    }

    fn keep(&self, next: BTreeMap<String, String>) -> io::Result<()> {
        disk::write_durably(&self.path, &serde_json::to_vec(&next)?)?;
        *self.wanted.lock() = next;
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) -> io::Result<()> {
        let mut wanted = self.wanted.lock();
        let mut next = wanted.clone();
        change(&mut next);
        if next != *wanted {
            disk::write_durably(&self.path, &serde_json::to_vec(&next)?)?;
            *wanted = next;
        }
        Ok(())
    }
}

impl Host {
    /// Each role that may log in, with the sum of its verifier.
    pub fn logins(&self) -> BTreeMap<String, String> {
        self.inner.logins.wanted.lock().clone()
    }

    /// An agent whose folder has no word on logins yet takes those that are there, of tenants whose doors are open: it is
    /// an earlier version's folder, or one that was lost.
    pub(super) async fn adopt_logins(&self) -> Result<(), Error> {
        if self.inner.logins.path.exists() {
            return Ok(());
        }
        let mut session = self.control("postgres").await?;
        let there: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT left(rolname, 14), rolname::text, encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex') \
             FROM pg_authid WHERE rolcanlogin AND rolname ~ '^t_[0-9a-f]{12}_(a|b)$' \
             AND rolpassword LIKE 'SCRAM-SHA-256$%'",
        )
        .fetch_all(&mut session)
        .await?;
        let open = self.all_doors();
        let is_open = |id: &str| open.keys().any(|tenant| tenant.as_str() == id);
        let taken = there.into_iter().filter(|(tenant, _, _)| is_open(tenant));
        let taken: BTreeMap<String, String> = taken.map(|(_, role, sum)| (role, sum)).collect();
        if !taken.is_empty() {
            tracing::warn!(
                count = taken.len(),
                "no record of logins was there; those that are there were taken"
            );
        }
        Ok(self.inner.logins.keep(taken)?)
    }

    /// From now on this role may log in with this verifier.
    pub fn want_login(&self, tenant: &TenantId, login: Ending, verifier: &str) -> Result<(), Error> {
        let role = Ident::role(tenant, login).as_str().to_owned();
        let sum = hex::encode(Sha256::digest(verifier));
        Ok(self
            .inner
            .logins
            .change(|wanted| drop(wanted.insert(role, sum)))?)
    }

    /// From now on this role may not.
    pub fn want_login_gone(&self, tenant: &TenantId, login: Ending) -> Result<(), Error> {
        let role = Ident::role(tenant, login);
        Ok(self
            .inner
            .logins
            .change(|wanted| drop(wanted.remove(role.as_str())))?)
    }

    /// From now on no role of the tenant's may.
    pub fn want_no_login(&self, tenant: &TenantId) -> Result<(), Error> {
        let roles = Ending::ALL.map(|ending| Ident::role(tenant, ending).as_str().to_owned());
        let change = |wanted: &mut BTreeMap<String, String>| wanted.retain(|role, _| !roles.contains(role));
        Ok(self.inner.logins.change(change)?)
    }
}
