//! Which tenant may come from where: wanted state on disk, and pg_hba.conf made to match it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::TenantId;
use reeve_domain::words::Cidr;
use sqlx::Row;

use super::knock::{Knock, Said};
use super::{Error, Host, Settings, hba};
use crate::disk;

/// The wanted doors.
pub(super) struct Doors {
    path: PathBuf,
    wanted: Mutex<BTreeMap<TenantId, Vec<Cidr>>>,
    /// One change of the file at a time.
    turn: tokio::sync::Mutex<()>,
}

const IN_FORCE_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Doors {
    pub(super) fn open(folder: &Path) -> io::Result<Doors> {
        let path = folder.join("doors.json");
        let wanted = match disk::read_if_there(&path)? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => BTreeMap::new(),
        };
        Ok(Doors {
            path,
            wanted: Mutex::new(wanted),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    pub(super) fn render(&self, settings: &Settings) -> String {
        hba::render(
            &self.wanted.lock(),
            &settings.default_cidrs,
            &settings.own_address(),
        )
    }

    fn keep(&self, wanted: BTreeMap<TenantId, Vec<Cidr>>) -> io::Result<()> {
        disk::write_durably(&self.path, &serde_json::to_vec(&wanted)?)?;
        *self.wanted.lock() = wanted;
        Ok(())
    }
}

impl Host {
    /// What a tenant's doors are, if it has any.
    pub fn doors_of(&self, tenant: &TenantId) -> Option<Vec<Cidr>> {
        self.inner.doors.wanted.lock().get(tenant).cloned()
    }

    /// Whether pg_hba.conf, as it lies on the disk, names the tenant.
    pub fn hba_names(&self, tenant: &TenantId) -> Result<bool, Error> {
        let text = std::fs::read_to_string(self.inner.settings.data_dir.join("pg_hba.conf"))?;
        Ok(text.contains(tenant.as_str()))
    }

    /// Opens or closes a tenant's doors: written, checked, reloaded, in force; or everything as it was.
    pub async fn set_doors(&self, tenant: &TenantId, cidrs: Option<Vec<Cidr>>) -> Result<(), Error> {
        let _turn = self.inner.doors.turn.lock().await;
        let before = self.inner.doors.wanted.lock().clone();
        let mut wanted = before.clone();
        match cidrs {
            Some(cidrs) => wanted.insert(tenant.clone(), cidrs),
            None => wanted.remove(tenant),
        };
        let open = wanted.contains_key(tenant);
        self.inner.doors.keep(wanted)?;
        let changed = match self.write_hba().await {
            Ok(()) => self.wait_until_in_force(tenant, open).await,
            Err(error) => Err(error),
        };
        if let Err(error) = changed {
            if !open {
                // Shut stays shut: the next try proves it.
                return Err(error.of("the doors are shut, which could not be proved"));
            }
            self.inner.doors.keep(before)?;
            self.write_hba().await?;
            return Err(error.of("the doors were put back as they were"));
        }
        Ok(())
    }

    /// Makes the file what is wanted, after a start.
    pub(super) async fn renew_doors(&self) -> Result<(), Error> {
        let _turn = self.inner.doors.turn.lock().await;
        self.write_hba().await
    }

    /// Writes the file, has PostgreSQL read it with suspicion, and reloads it; a bad one is taken back.
    async fn write_hba(&self) -> Result<(), Error> {
        let settings = &self.inner.settings;
        let path = settings.data_dir.join("pg_hba.conf");
        let before = std::fs::read(&path)?;
        let text = self.inner.doors.render(settings);
        self.inner.owner.file(&path, text.as_bytes())?;
        let checked = self.check_and_reload().await;
        if checked.is_err() {
            self.inner.owner.file(&path, &before)?;
        }
        checked
    }

    async fn check_and_reload(&self) -> Result<(), Error> {
        let mut session = self.control("postgres").await?;
        let bad =
            sqlx::query("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL LIMIT 1")
                .fetch_optional(&mut session)
                .await?;
        if let Some(row) = bad {
            let (line, error): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
            return Err(Error::permanent(
                "HBA",
                format!("pg_hba.conf line {line}: {error}"),
            ));
        }
        sqlx::query("SELECT pg_reload_conf()")
            .execute(&mut session)
            .await?;
        Ok(())
    }

    /// A reload is a signal: the rules are in force when a knock at the door says so.
    async fn wait_until_in_force(&self, tenant: &TenantId, open: bool) -> Result<(), Error> {
        let knock = Knock::at(&self.inner.settings, tenant);
        let look = async {
            loop {
                match knock.go().await? {
                    Said::AsksForPassword if open => return Ok(()),
                    Said::Refused(code) if !open && code == "28000" => return Ok(()),
                    _ => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        match tokio::time::timeout(IN_FORCE_MAX, look).await {
            Ok(result) => result,
            Err(_) => Err(Error::retry("HBA", "the new doors are not in force")),
        }
    }
}
