//! The hand on PostgreSQL: the only place with SQL, paths and processes.
//!
//! ```text
//! settings ─► instance (initdb, start, adopt, stop) ─► control sessions over the Unix socket, as ctl_agent
//! doors (which tenant may come from where) ─► pg_hba.conf: written, checked, reloaded, in force or put back
//! ```

mod conf;
mod doors;
mod error;
mod former;
pub mod hba;
pub mod ident;
mod instance;
mod knock;
mod logins;
mod place;
mod pulse;
mod scram;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_domain::words::Cidr;
use sqlx::Row;
use tokio::process::Child;

pub use error::{Error, sqlstate_of};
pub use knock::{Knock, Said};
pub use pulse::{Look, Pulse};
pub use scram::{random_password, verifier};
pub use session::Statement;

use place::Owner;

/// The database that is there to be left alone.
pub const CANARY: &str = "ctl_canary";

/// How long a look may take, from coming in to the last row.
const LOOK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Where the instance is, and how it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where initdb and postgres are; found in the usual places when unset.
    pub bin_dir: Option<PathBuf>,
    pub data_dir: PathBuf,
    pub socket_dir: PathBuf,
    pub listen: String,
    pub port: u16,
    /// The OS user it runs as when this process is root.
    pub run_as: Option<String>,
    /// Where the agent keeps what the doors should be.
    pub state_dir: PathBuf,
    pub tls: TlsFiles,
    /// Who may connect to a tenant that lists nobody.
    pub default_cidrs: Vec<Cidr>,
}

impl Settings {
    /// Where a probe of this machine reaches the instance.
    pub fn own_host(&self) -> &str {
        match self.listen.as_str() {
            "*" | "0.0.0.0" | "::" => "127.0.0.1",
            listen => listen,
        }
    }

    /// The address that such a probe comes from, as pg_hba.conf writes it.
    fn own_address(&self) -> String {
        match self.own_host().parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V6(address)) => format!("{address}/128"),
            Ok(address) => format!("{address}/32"),
            Err(_) => "samehost".to_owned(),
        }
    }
}

/// PEM files: the server's certificate chain, its key, the root of clients and servers.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

/// What a look at the instance found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub look: Look,
    pub version: String,
    pub system_identifier: String,
    pub connections: u32,
    /// How many it takes at the most.
    pub connections_limit: u32,
    /// How far back the oldest row of any database goes that is not frozen, in transactions.
    pub xid_age: u32,
}

/// One instance. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    owner: Owner,
    bin_dir: PathBuf,
    /// The process this life started; an adopted one is not our child.
    child: Mutex<Option<Child>>,
    doors: doors::Doors,
    logins: logins::Logins,
    /// Starting and stopping, one at a time.
    turn: tokio::sync::Mutex<()>,
    stopping: std::sync::atomic::AtomicBool,
    /// How often this life has started it.
    starts: std::sync::atomic::AtomicU32,
    /// Version and system identifier, once known.
    facts: Mutex<Option<(String, String)>>,
}

/// What PostgreSQL counts, where nobody counts so far.
fn few(many: i64) -> u32 {
    u32::try_from(many.max(0)).unwrap_or(u32::MAX)
}

impl Host {
    /// Makes the instance when there is none, starts or adopts it, and waits until it answers.
    pub async fn start(settings: Settings) -> Result<Host, Error> {
        let owner = Owner::find(settings.run_as.as_deref())?;
        let bin_dir = instance::find_bin_dir(settings.bin_dir.as_deref())?;
        let doors = doors::Doors::open(&settings.state_dir)?;
        let logins = logins::Logins::open(&settings.state_dir)?;
        let host = Host {
            inner: Arc::new(Inner {
                settings,
                owner,
                bin_dir,
                child: Mutex::new(None),
                doors,
                logins,
                turn: tokio::sync::Mutex::new(()),
                stopping: std::sync::atomic::AtomicBool::new(false),
                starts: std::sync::atomic::AtomicU32::new(0),
                facts: Mutex::new(None),
            }),
        };
        host.make_if_empty().await?;
        host.configure()?;
        host.ensure_running().await?;
        host.end_former_sessions().await?;
        host.make_control_roles().await?;
        host.renew_doors().await?;
        host.adopt_logins().await?;
        Ok(host)
    }

    /// The settings it runs by.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// How often this life has started it.
    pub fn starts(&self) -> u32 {
        self.inner.starts.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether it answers.
    pub async fn is_up(&self) -> bool {
        self.health().await.look == Look::Answered
    }

    /// One look: does it answer, who is it, how many are connected.
    pub async fn health(&self) -> Health {
        let look = match tokio::time::timeout(LOOK_PATIENCE, self.look()).await {
            Ok(Ok(health)) => return health,
            Ok(Err(error)) => Look::failed(&error),
            Err(_) => Look::Silent,
        };
        let (version, system_identifier) = self.inner.facts.lock().clone().unwrap_or_default();
        Health {
            look,
            version,
            system_identifier,
            ..Health::default()
        }
    }

    async fn look(&self) -> Result<Health, Error> {
        let mut session = self.control("postgres").await?;
        let row = sqlx::query(
            "SELECT current_setting('server_version'), (SELECT system_identifier::text FROM pg_control_system()), \
             (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
             current_setting('max_connections')::bigint, (SELECT max(age(datfrozenxid))::bigint FROM pg_database)",
        )
        .fetch_one(&mut session)
        .await?;
        let version: String = row.try_get(0)?;
        // "15.18 (Debian 15.18-0+deb12u1)": the number is what others compare.
        let version = version.split_whitespace().next().unwrap_or_default().to_owned();
        let (identifier, connections): (String, i64) = (row.try_get(1)?, row.try_get(2)?);
        *self.inner.facts.lock() = Some((version.clone(), identifier.clone()));
        Ok(Health {
            look: Look::Answered,
            version,
            system_identifier: identifier,
            connections: few(connections),
            connections_limit: few(row.try_get(3)?),
            xid_age: few(row.try_get(4)?),
        })
    }

    /// The control roles, and databases closed to everyone. Once an instance, safe to say again.
    async fn make_control_roles(&self) -> Result<(), Error> {
        let mut session = self.control("postgres").await?;
        let known: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_roles WHERE rolname = 'ctl_owner'")
            .fetch_one(&mut session)
            .await?;
        if known == 0 {
            sqlx::raw_sql(
                "CREATE ROLE ctl_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
            )
            .execute(&mut session)
            .await?;
        }
        sqlx::raw_sql("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
            .execute(&mut session)
            .await?;
        self.make_canary(&mut session).await
    }

    /// A database in which nobody ever has anything to do: whoever comes in is found, and every probe knocks at it.
    async fn make_canary(&self, session: &mut sqlx::PgConnection) -> Result<(), Error> {
        let known: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
            .bind(CANARY)
            .fetch_one(&mut *session)
            .await?;
        if known == 0 {
            self.alone(format!(
                "CREATE DATABASE {CANARY} OWNER ctl_owner TEMPLATE template0 CONNECTION LIMIT 2"
            ))
            .await?;
        }
        let closed = format!("REVOKE ALL ON DATABASE {CANARY} FROM PUBLIC");
        self.in_one_transaction("postgres", &[closed]).await
    }
}
