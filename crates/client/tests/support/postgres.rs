//! A real PostgreSQL over TLS, with many roles and databases and nothing else of a fleet.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use reeve_client::{KeyRequest, v1};
use reeve_proto::identity::Usage;
use sqlx::{
    Connection, Executor, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::Cluster;

/// Of every role; logging in costs the same with any other.
pub const PASSWORD: &str = "a-password-as-long-as-the-registry-makes-it";
const PATIENCE: Duration = Duration::from_secs(60);
const OWNER: &str = "postgres";

pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
    pub port: u16,
    root_pem: String,
}

impl Server {
    /// An instance that takes so many connections, without a thought for power cuts.
    pub async fn start(cluster: &Cluster, connections_max: u32) -> Result<Server> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let port = reeve_local::free_ports(1)?[0];
        let own = KeyRequest::generate()?;
        let hosts = vec!["127.0.0.1".to_owned()];
        let chain = cluster.issue(&own.csr_pem, "agent/stand", &Usage::Postgres { hosts });
        let data = folder.path().join("data");
        give(&["-d", "-m", "700"], &[&data])?;
        let mut initdb = as_owner("initdb")?;
        initdb.args([
            "-A",
            "scram-sha-256",
            "--auth-local=trust",
            "-N",
            "-U",
            OWNER,
            "-D",
        ]);
        let made = initdb.arg(&data).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
             max_connections = {connections_max}\nssl = on\nfsync = off\nsynchronous_commit = off\n\
             full_page_writes = off\nautovacuum = off\nmax_wal_size = 2GB\nlog_min_messages = fatal\n",
            data.display()
        );
        for (name, text) in [
            ("postgresql.conf", settings.as_str()),
            ("server.crt", &chain),
            ("server.key", &own.key_pem),
        ] {
            let file = folder.path().join(name);
            fs::write(&file, text)?;
            give(&["-m", "600"], &[&file, &data.join(name)])?;
        }
        let mut postgres = as_owner("postgres")?;
        let child = postgres.arg("-D").arg(&data).stderr(Stdio::null()).spawn()?;
        let server = Server {
            child,
            folder,
            port,
            root_pem: cluster.root.cert_pem.clone(),
        };
        reeve_local::until("PostgreSQL to answer", PATIENCE, async || {
            Ok(Some(server.superuser().await?))
        })
        .await?;
        Ok(server)
    }

    /// A session of the owner's, over the socket: it counts as nobody's connection.
    pub async fn superuser(&self) -> Result<PgConnection> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.folder.path().join("data"))
            .port(self.port)
            .username(OWNER)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable);
        Ok(PgConnection::connect_with(&options).await?)
    }

    /// Makes tenants with a role each, spread over as many databases. No role may enter another's.
    pub async fn populate(&self, tenants: usize, databases: usize) -> Result<()> {
        let mut owner = self.superuser().await?;
        // The verifier is made once: thousands of them would take minutes.
        let first = format!("CREATE ROLE pattern PASSWORD '{PASSWORD}'");
        owner.execute(sqlx::AssertSqlSafe(first)).await?;
        let roles = format!(
            "DO $$ DECLARE secret text := (SELECT rolpassword FROM pg_authid WHERE rolname = 'pattern'); \
             BEGIN FOR n IN 0..{} LOOP \
             EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', 'tenant_' || n, secret); END LOOP; END $$",
            tenants - 1
        );
        owner.execute(sqlx::AssertSqlSafe(roles)).await?;
        for number in 0..databases {
            let name = database(number);
            let made = format!("CREATE DATABASE {name} TEMPLATE template0 STRATEGY wal_log");
            owner.execute(sqlx::AssertSqlSafe(made)).await?;
            let shut = format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC");
            owner.execute(sqlx::AssertSqlSafe(shut)).await?;
        }
        let doors = format!(
            "DO $$ BEGIN FOR n IN 0..{} LOOP \
             EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', 'd_' || n % {databases}, 'tenant_' || n); \
             END LOOP; END $$",
            tenants - 1
        );
        owner.execute(sqlx::AssertSqlSafe(doors)).await?;
        Ok(())
    }

    /// A tenant as a node would describe it: a role of its own, in one of so many databases.
    pub fn tenant(&self, number: usize, databases: usize) -> v1::Resolution {
        v1::Resolution {
            tenant_id: format!("t_{number:012x}"),
            slug: slug(number),
            state: v1::tenant::State::Active.into(),
            epoch: 1,
            placement_number: 1,
            database: database(number % databases),
            role: role(number),
            credential_version: 1,
            write: Some(v1::Endpoint {
                network: "default".into(),
                host: "127.0.0.1".into(),
                port: self.port.into(),
            }),
            server_ca_pem: self.root_pem.clone(),
            claims: vec![v1::Claim {
                kind: v1::claim::Kind::Slug.into(),
                key: slug(number),
            }],
            mod_revision: 5,
            ..Default::default()
        }
    }

    /// Sessions over TCP that were open at one moment, as the kernel sees them. Its table is read piece by piece while
    /// sessions come and go, so only those count that are in two readings: they were open between the two.
    pub fn open_sessions(&self) -> Result<usize> {
        let (before, after) = (self.sighted()?, self.sighted()?);
        Ok(before.intersection(&after).count())
    }

    /// Our ends of established connections, by their inodes.
    fn sighted(&self) -> Result<HashSet<String>> {
        let remote = format!("{:04X}", self.port);
        let table = fs::read_to_string("/proc/self/net/tcp")?;
        let ours = table.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (_, port) = words.get(2)?.split_once(':')?;
            (port == remote && *words.get(3)? == "01")
                .then(|| words.get(9).map(|inode| (*inode).to_owned()))?
        });
        Ok(ours.collect())
    }

    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once and with all of its children, whatever they do.
        let _ = Command::new("kill")
            .args(["-QUIT", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

pub fn slug(number: usize) -> String {
    format!("hospital-{number}")
}

pub fn role(number: usize) -> String {
    format!("tenant_{number}")
}

pub fn database(number: usize) -> String {
    format!("d_{number}")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A program of PostgreSQL's, as somebody that it accepts.
fn as_owner(program: &str) -> Result<Command> {
    let versions = fs::read_dir("/usr/lib/postgresql")?.flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin").join(program))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    let program = found.pop().with_context(|| format!("there is no {program}"))?;
    let mut command = match is_root() {
        false => Command::new(program),
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", OWNER, "--regid", OWNER, "--init-groups", "--"]);
            command.arg(program);
            command
        }
    };
    command.current_dir("/");
    Ok(command)
}

/// Makes a folder, or copies a file, for the instance's owner.
fn give(how: &[&str], what: &[&Path]) -> Result<()> {
    let mut install = Command::new("install");
    if is_root() {
        install.args(["-o", OWNER, "-g", OWNER]);
    }
    let status = install.args(how).args(what).status()?;
    ensure!(status.success(), "install {how:?} {what:?}");
    Ok(())
}
