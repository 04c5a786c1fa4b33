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
/// When the server that forked this session read its files, in microseconds.
const LOADED: &str = "SELECT (extract(epoch FROM pg_conf_load_time()) * 1000000)::int8";
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

    /// From where a tenant's services may come that lists these: its own, or the default; and this machine's probe.
    pub fn lets_in(&self, listed: &[Cidr]) -> Vec<Cidr> {
        let settings = &self.inner.settings;
        let from = if listed.is_empty() {
            &settings.default_cidrs
        } else {
            listed
        };
        let own = match settings.own_host().parse::<std::net::IpAddr>() {
            Ok(_) => vec![settings.own_address()],
            Err(_) => ["127.0.0.0/8", "::1/128"].map(str::to_owned).into(),
        };
        let own = own.iter().filter_map(|cidr| Cidr::parse(cidr).ok());
        from.iter().cloned().chain(own).collect()
    }

    /// Whether pg_hba.conf, as it lies on the disk, names the tenant.
    pub fn hba_names(&self, tenant: &TenantId) -> Result<bool, Error> {
        let text = std::fs::read_to_string(self.inner.settings.data_dir.join("pg_hba.conf"))?;
        Ok(text.contains(tenant.as_str()))
    }

    /// All tenants' doors as they shall be.
    pub fn all_doors(&self) -> BTreeMap<TenantId, Vec<Cidr>> {
        self.inner.doors.wanted.lock().clone()
    }

    /// Which of the generated files do not lie there as they were written.
    pub async fn foreign_files(&self) -> Vec<&'static str> {
        // No door is being changed while they are compared.
        let _turn = self.inner.doors.turn.lock().await;
        let settings = &self.inner.settings;
        let wanted = [
            ("pg_hba.conf", Some(self.inner.doors.render(settings))),
            ("pg_ident.conf", self.idents().ok()),
            ("postgresql.conf", Some(self.conf())),
        ];
        let is_foreign = |(name, text): &(&'static str, Option<String>)| {
            let there = std::fs::read(settings.data_dir.join(name)).ok();
            there.is_none() || there.as_deref() != text.as_deref().map(str::as_bytes)
        };
        let foreign = wanted.into_iter().filter(is_foreign);
        foreign.map(|(name, _)| name).collect()
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

    /// Puts all generated files back as they should be, and has PostgreSQL read them.
    pub async fn rewrite(&self) -> Result<(), Error> {
        let _turn = self.inner.doors.turn.lock().await;
        self.configure()?;
        if self.check_and_reload().await.is_ok() {
            return Ok(());
        }
        // What lay there may have locked this agent out: a signal needs no session.
        self.signal_reload()?;
        let look = async {
            while self.check_and_reload().await.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let waited = tokio::time::timeout(IN_FORCE_MAX, look).await;
        waited.map_err(|_| Error::retry("HBA", "the files were put back, and PostgreSQL does not answer"))
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
        let before: i64 = sqlx::query_scalar(LOADED).fetch_one(&mut session).await?;
        sqlx::query("SELECT pg_reload_conf()")
            .execute(&mut session)
            .await?;
        self.wait_until_loaded(before).await
    }

    /// A reload is a signal: a session that begins after it was taken says so, and only then the new rules are those
    /// that a knock meets.
    async fn wait_until_loaded(&self, before: i64) -> Result<(), Error> {
        let look = async {
            loop {
                let mut session = self.control("postgres").await?;
                let loaded: i64 = sqlx::query_scalar(LOADED).fetch_one(&mut session).await?;
                if loaded > before {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match tokio::time::timeout(IN_FORCE_MAX, look).await {
            Ok(result) => result,
            Err(_) => Err(Error::retry("HBA", "the new doors were not read")),
        }
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
