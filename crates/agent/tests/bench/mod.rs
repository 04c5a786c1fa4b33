//! A real PostgreSQL of the test's own, and tenants on it.
#![allow(dead_code, reason = "each test uses its own part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use reeve_agent::config;
use reeve_agent::host::{Host, Settings, TlsFiles, random_password};
use reeve_agent::senses::isolation::Allowed;
use reeve_agent::steps::{Context, Login, Outcome, Slot, TenantSpec, forward, undo};
use reeve_domain::TenantId;
use reeve_domain::words::Cidr;
use reeve_proto::identity::{Issuer, KeyRequest, Kind, SpiffeId, Usage, ca};
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection, Row};
use tempfile::TempDir;

pub const FORWARD: [&str; 7] = [
    "create_roles",
    "create_database",
    "open_doors",
    "migrate",
    "seed",
    "probe",
    "audit",
];
const BACK: [&str; 6] = [
    "probe",
    "seed",
    "migrate",
    "open_doors",
    "create_database",
    "create_roles",
];

/// For want of a right, and for nothing else.
pub const FORBIDDEN: &str = "42501";

pub struct Bench {
    pub host: Host,
    pub settings: Settings,
    schemas: BTreeMap<String, PathBuf>,
    folder: TempDir,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn write_tls(folder: &Path) -> TlsFiles {
    let now = SystemTime::now();
    let root = ca::root("test", now).unwrap();
    let issuing = ca::issuing(&root, "test", now).unwrap();
    let issuer = Issuer::new(&issuing.cert_pem, &issuing.key_pem, &root.cert_pem).unwrap();
    let request = KeyRequest::generate().unwrap();
    let agent = SpiffeId::new("test", Kind::Agent("a".into())).unwrap();
    let usage = Usage::Postgres {
        hosts: vec!["127.0.0.1".into()],
    };
    let issued = issuer
        .issue(&request.csr_pem, &agent, &usage, ca::AGENT_TTL, now)
        .unwrap();
    let files = TlsFiles {
        cert: folder.join("pg.crt"),
        key: folder.join("pg.key"),
        ca: folder.join("root.crt"),
    };
    std::fs::write(&files.cert, issued.chain_pem).unwrap();
    std::fs::write(&files.key, request.key_pem.as_bytes()).unwrap();
    std::fs::write(&files.ca, &root.cert_pem).unwrap();
    files
}

pub fn settings(folder: &Path) -> Settings {
    Settings {
        // Another version than the machine's own, where the tests are run once more for it.
        bin_dir: std::env::var_os("REEVE_TEST_PG_BIN").map(PathBuf::from),
        data_dir: folder.join("pg"),
        socket_dir: folder.join("s"),
        listen: "127.0.0.1".into(),
        port: free_port(),
        run_as: None,
        state_dir: folder.join("state"),
        tls: write_tls(folder),
        default_cidrs: vec![Cidr::parse("127.0.0.1/32").unwrap()],
    }
}

impl Bench {
    /// An instance of the test's own.
    pub async fn new() -> Bench {
        Bench::set(|_| {}).await
    }

    /// The same with its data elsewhere.
    pub async fn with_data_in(data_dir: PathBuf) -> Bench {
        Bench::set(|settings| settings.data_dir = data_dir).await
    }

    async fn set(change: impl FnOnce(&mut Settings)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).unwrap();
        let mut settings = settings(folder.path());
        change(&mut settings);
        let host = Host::start(settings.clone()).await.unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
        let schemas = ["ehr", "ehr-broken"]
            .map(|c| (c.to_owned(), examples.join(c)))
            .into();
        Bench {
            host,
            settings,
            schemas,
            folder,
        }
    }
}

impl Bench {
    /// Lets everybody to every door, whatever the wall's files say.
    pub async fn open_every_door(&self) {
        let open =
            "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";
        let hba = self.settings.data_dir.join("pg_hba.conf");
        let closed = std::fs::read_to_string(&hba).unwrap();
        // The wall's own last word would come before what is added.
        let kept: Vec<&str> = closed.lines().filter(|line| !line.contains("reject")).collect();
        std::fs::write(&hba, format!("{}\n{open}", kept.join("\n"))).unwrap();
        let mut session = self.host.control("postgres").await.unwrap();
        let loaded = "SELECT pg_conf_load_time()::text";
        let before: String = sqlx::query_scalar(loaded).fetch_one(&mut session).await.unwrap();
        sqlx::query("SELECT pg_reload_conf()")
            .execute(&mut session)
            .await
            .unwrap();
        loop {
            let mut session = self.host.control("postgres").await.unwrap();
            let now: String = sqlx::query_scalar(loaded).fetch_one(&mut session).await.unwrap();
            if now != before {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// As a tenant's login at some database; the code that it is turned away with.
    pub async fn enter(&self, case: &Case, login: &Login, database: &str) -> Result<PgConnection, String> {
        let role = match login.slot {
            Slot::A => format!("{}_a", case.tenant.id),
            Slot::B => format!("{}_b", case.tenant.id),
        };
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.settings.port)
            .username(&role)
            .password(&login.password)
            .database(database)
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert(&self.settings.tls.ca);
        let entered = options.connect().await;
        entered.map_err(|error| {
            let code = error
                .as_database_error()
                .and_then(|e| e.code())
                .map(|c| c.into_owned());
            code.unwrap_or_else(|| error.to_string())
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        quit(&self.settings.data_dir);
    }
}

/// Ends an instance at once, whatever became of the test.
fn quit(data_dir: &Path) {
    let Ok(text) = std::fs::read_to_string(data_dir.join("postmaster.pid")) else {
        return;
    };
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
    }
}

pub struct Case {
    pub tenant: TenantSpec,
    pub login: Login,
    pub schemas: BTreeMap<String, PathBuf>,
    pub host: Host,
    allowed: Allowed,
}

impl Case {
    pub fn new(bench: &Bench, channel: &str) -> Case {
        let tenant = TenantSpec {
            id: TenantId::from_random(rand::random()),
            connection_limit: 5,
            allowlist: vec![],
            channel: channel.into(),
            target_version: 0,
            active_slot: Slot::A,
            credential_version: 1,
        };
        let login = Login {
            slot: Slot::A,
            password: random_password(),
        };
        Case {
            tenant,
            login,
            schemas: bench.schemas.clone(),
            host: bench.host.clone(),
            allowed: allowed(),
        }
    }

    /// A channel of the test's own.
    pub fn with_files(mut self, bench: &Bench, name: &str, files: &[(&str, &str)]) -> Case {
        let folder = bench.folder.path().join(format!("{name}-{}", self.tenant.id));
        std::fs::create_dir_all(&folder).unwrap();
        let mut manifest = format!("channel = \"{name}\"\n");
        for ((file, sql), number) in files.iter().zip(1..) {
            std::fs::write(folder.join(file), sql).unwrap();
            let sum = hex::encode(Sha256::digest(sql));
            manifest += &format!(
                "[[version]]\nnumber = {number}\nname = \"n\"\nfile = \"{file}\"\nsha256 = \"{sum}\"\n"
            );
        }
        std::fs::write(folder.join("versions.toml"), manifest).unwrap();
        self.schemas.insert(name.to_owned(), folder);
        self.tenant.channel = name.to_owned();
        self
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            host: &self.host,
            tenant: &self.tenant,
            login: Some(&self.login),
            schemas: &self.schemas,
            allowed: &self.allowed,
        }
    }

    pub async fn forward(&self, step: &str) -> Result<Outcome, reeve_agent::host::Error> {
        forward(step, &self.context()).await
    }

    pub async fn undo_all(&self) {
        for step in BACK {
            undo(step, &self.context()).await.unwrap();
        }
        forward("prove_absence", &self.context()).await.unwrap();
    }

    pub async fn query(&self, sql: &'static str) -> Vec<String> {
        use reeve_agent::host::ident::Ending;
        let mut session = self
            .host
            .as_tenant(&self.tenant.id, Ending::A, &self.login.password)
            .await
            .unwrap();
        let rows = sqlx::query(sql).fetch_all(&mut session).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>(0)).collect()
    }
}

/// What the agent's defaults let be there.
pub fn allowed() -> Allowed {
    config::Config::default().allowed()
}
