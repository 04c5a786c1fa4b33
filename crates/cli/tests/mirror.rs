//! Programs without a client of Reeve's: psql and psycopg, by a service file and through a real pgbouncer, while the leader
//! dies and the password changes.

mod admin;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use admin::{Admin, onboard};
use anyhow::{Context, Result, bail, ensure};
use reeve_client::v1::operation::State;
use reeve_local::{Fleet, free_ports, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
/// Who is it, and is the way encrypted?
const WHO: &str = "SELECT current_user || CASE WHEN ssl THEN ' by TLS' ELSE '' END \
    FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
/// pgbouncer and PostgreSQL refuse to be root; whoever is root lets this one run them.
const UNPRIVILEGED: &str = "postgres";

/// A process that ends with the test, whichever way that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What asks without a client of Reeve's.
#[derive(Clone, Copy, Debug)]
enum Program {
    Psql,
    Psycopg,
}

/// Connects, asks one question, and goes.
const PSYCOPG: &str = "import sys, psycopg\n\
    with psycopg.connect(sys.argv[1]) as session: print(session.execute(sys.argv[2]).fetchone()[0])";

/// The interpreter that psycopg is installed for.
fn python() -> Result<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/foreign.sh");
    let ran = Command::new(script).stdin(Stdio::null()).output()?;
    ensure!(ran.status.success(), "{}", text(&ran));
    Ok(Path::new(String::from_utf8(ran.stdout)?.trim()).join("python/bin/python"))
}

/// The folder of programs that have no client, and who they are to the fleet.
struct House<'a> {
    fleet: &'a Fleet,
    python: PathBuf,
    folder: tempfile::TempDir,
    bouncer_port: u16,
}

impl House<'_> {
    fn enrolled<'a>(fleet: &'a Fleet, admin: &Admin<'_>) -> Result<House<'a>> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let house = House {
            fleet,
            python: python()?,
            folder,
            bouncer_port: free_ports(1)?[0],
        };
        let token = house.path("token").display().to_string();
        let (code, said) = admin.said(&format!(
            "cluster join-token --role service --name house --out {token}"
        ))?;
        ensure!(code == Some(0), "{said}");
        let dir = house.path("identity").display().to_string();
        let mut enroll = house.reeve("cluster enroll");
        enroll.args(["--token-file", &token, "--name", "house", "--dir", &dir]);
        let ran = enroll.output()?;
        ensure!(ran.status.success(), "{}", text(&ran));
        Ok(house)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, as the house.
    fn reeve(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
        command
            .args(words.split(' '))
            .args(["--nodes", &self.fleet.addresses().join(",")])
            .env("REEVE_CONFIG", self.path("config.toml"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn psql(&self, to: &str) -> Result<String> {
        self.asked(Program::Psql, to)
    }

    /// What a program is answered to one question; an error when it cannot come in.
    fn asked(&self, by: Program, to: &str) -> Result<String> {
        let mut command = match by {
            Program::Psql => Command::new("psql"),
            Program::Psycopg => Command::new(&self.python),
        };
        match by {
            Program::Psql => command.args(["--no-psqlrc", "--no-password", "-Atc", WHO, to]),
            Program::Psycopg => command.args(["-c", PSYCOPG, to, WHO]),
        };
        let ran = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("PGCONNECT_TIMEOUT", "10")
            .env("PGSERVICEFILE", self.path("pg_service.conf"))
            .stdin(Stdio::null())
            .output()?;
        ensure!(ran.status.success(), "{by:?}, {to}: {}", text(&ran));
        Ok(String::from_utf8(ran.stdout)?.trim().to_owned())
    }

    fn through_pgbouncer(&self, slug: &str) -> String {
        format!("host=127.0.0.1 port={} dbname={slug} user=app", self.bouncer_port)
    }

    /// pgbouncer, as its manual says, with Reeve's part taken in.
    fn pgbouncer(&self) -> Result<Running> {
        let (ini, users) = (self.path("pgbouncer.ini"), self.path("users.txt"));
        fs::write(&users, "\"app\" \"\"\n")?;
        let settings = format!(
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {}\nserver_tls_sslmode = verify-full\nserver_tls_ca_file = {}\npool_mode = transaction\nadmin_users = app\npidfile = {}\nlogfile = {}\n%include {}\n",
            self.bouncer_port,
            users.display(),
            self.path("reeve.ini.crt").display(),
            self.path("run/pid").display(),
            self.path("run/log").display(),
            self.path("reeve.ini").display(),
        );
        fs::write(&ini, settings)?;
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args([
                    "--reuid",
                    UNPRIVILEGED,
                    "--regid",
                    UNPRIVILEGED,
                    "--init-groups",
                    "pgbouncer",
                ]);
                command
            }
            false => Command::new("pgbouncer"),
        };
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = command
            .arg("--quiet")
            .arg(&ini)
            .env("PATH", path)
            .stdin(Stdio::null())
            .spawn();
        Ok(Running(child.context("starting pgbouncer")?))
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn text(ran: &Output) -> String {
    String::from_utf8_lossy(&[ran.stdout.as_slice(), ran.stderr.as_slice()].concat()).into_owned()
}

/// Gives it to whoever runs pgbouncer.
fn give_away(path: &Path) -> Result<()> {
    if is_root() {
        let id = |flag| -> Result<u32> {
            let ran = Command::new("id").args([flag, UNPRIVILEGED]).output()?;
            Ok(String::from_utf8(ran.stdout)?.trim().parse()?)
        };
        chown(path, Some(id("-u")?), Some(id("-g")?))?;
    }
    Ok(())
}

/// The processes that hold a tenant's credential, and whether they are behind.
fn holders(admin: &Admin<'_>, slug: &str) -> Result<Vec<(String, u64)>> {
    let seen = admin.json(&format!("secret age {slug} --clients"), 0)?;
    let clients = seen["credentials"][0]["clients"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let holder = |one: &Value| {
        Some((
            one["instance"].as_str()?.to_owned(),
            one["oldest_version"].as_u64()?,
        ))
    };
    Ok(clients.iter().filter_map(holder).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_without_a_client_follow_a_change_of_password_and_miss_nothing() -> Result<()> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/ehr");
    let fleet = Fleet::builder()
        .regions(["vn"])
        .schema("ehr", examples)
        .start()
        .await?;
    let admin = Admin::of(&fleet)?;
    let made = onboard(&fleet, "cho-ray").await?;
    ensure!(made.state() == State::Done, "{made:?}");
    ensure!(onboard(&fleet, "bach-mai").await?.state() == State::Done);
    let first = format!("{}_a by TLS", made.tenant_id);

    // Who may not read a password writes none, and is told who may.
    let none = tempfile::tempdir()?;
    let file = none.path().join("pg_service.conf");
    let (code, said) = admin.said(&format!("service-file {}", file.display()))?;
    ensure!(
        code == Some(5) && said.contains("--role service"),
        "{code:?} {said}"
    );
    ensure!(!file.exists());

    let house = House::enrolled(&fleet, &admin)?;
    let once = house.path("once.conf");
    let once_only = house
        .reeve("service-file")
        .arg(&once)
        .args(["--tenant", "bach-mai"])
        .output()?;
    ensure!(once_only.status.success(), "{}", text(&once_only));
    let written = fs::read_to_string(&once)?;
    ensure!(
        written.contains("\n[bach-mai]\n") && !written.contains("cho-ray"),
        "{written}"
    );
    ensure!(fs::metadata(&once)?.permissions().mode() & 0o777 == 0o600);
    let nobody = house
        .reeve("service-file")
        .arg(house.path("n"))
        .args(["--tenant", "nobody"])
        .output()?;
    ensure!(nobody.status.code() == Some(3), "{}", text(&nobody));

    let keep = |words: &str, file: &str, then: Option<String>| -> Result<Running> {
        let mut command = house.reeve(words);
        command
            .arg(house.path(file))
            .args(["--watch", "--drain", "1s", "--quiet"]);
        if let Some(then) = then {
            command.args(["--then", &then]);
        }
        Ok(Running(command.spawn()?))
    };
    let _service = keep("service-file", "pg_service.conf", None)?;
    fs::create_dir_all(house.path("run"))?;
    // They are pgbouncer's, and stay so however often they are written.
    for file in ["reeve.ini", "reeve.ini.crt"] {
        fs::write(house.path(file), "")?;
    }
    for given in ["run", "reeve.ini", "reeve.ini.crt"] {
        give_away(&house.path(given))?;
    }
    let reload = format!(
        "if [ -e {} ]; then psql --no-psqlrc 'host=127.0.0.1 port={} dbname=pgbouncer user=app' -c RELOAD; fi && touch {}",
        house.path("run/pid").display(),
        house.bouncer_port,
        house.path("handed").display()
    );
    let _ini = keep("pgbouncer-ini", "reeve.ini", Some(reload))?;
    until("the files", PATIENCE, async || {
        Ok((house.path("pg_service.conf").exists() && house.path("handed").exists()).then_some(()))
    })
    .await?;
    let again = house
        .reeve("service-file --watch")
        .arg(house.path("pg_service.conf"))
        .output()?;
    ensure!(
        again.status.code() == Some(4),
        "two keep one file: {}",
        text(&again)
    );
    let _bouncer = house.pgbouncer()?;
    until("pgbouncer", PATIENCE, async || {
        Ok(house.psql(&house.through_pgbouncer("cho-ray")).ok())
    })
    .await?;
    let ways = ["service=cho-ray".to_owned(), house.through_pgbouncer("cho-ray")];
    let all = || {
        ways.iter()
            .flat_map(|way| [(Program::Psql, way), (Program::Psycopg, way)])
    };
    for (by, way) in all() {
        ensure!(house.asked(by, way)? == first, "{by:?}, {way}");
    }
    ensure!(house.psql("service=bach-mai")?.contains(" by TLS"));

    // While the leader dies and the password changes, everybody who comes comes in.
    let leader = fleet.leader().await?;
    leader.kill9()?;
    let is_over = AtomicBool::new(false);
    let came = std::thread::scope(|threads| -> Result<Vec<String>> {
        let comers: Vec<_> = all()
            .map(|(by, way)| {
                let (house, is_over) = (&house, &is_over);
                threads.spawn(move || -> Result<Vec<String>> {
                    let mut came = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        came.push(house.asked(by, way)?);
                    }
                    Ok(came)
                })
            })
            .collect();
        let rotated = admin.json("secret rotate cho-ray --grace 60s", 0);
        is_over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for comer in comers {
            let Ok(came) = comer.join() else {
                bail!("a thread broke")
            };
            let came = came?;
            ensure!(!came.is_empty(), "somebody never came");
            all.extend(came);
        }
        let rotated = rotated?;
        ensure!(rotated["state"] == "done", "{rotated}");
        // Nobody was waited for in vain: each file said that nothing older is in use.
        let steps = rotated["steps"].as_array().cloned().unwrap_or_default();
        let drained = steps.iter().find(|step| step["name"] == "drain_clients");
        let proof = drained.map(|step| step["proof"].to_string()).unwrap_or_default();
        ensure!(proof.contains("nobody holds anything before v2"), "{proof}");
        Ok(all)
    })?;
    leader.start()?;
    let second = format!("{}_b by TLS", made.tenant_id);
    for who in [&first, &second] {
        ensure!(came.contains(who), "nobody came as {who}: {came:?}");
    }
    for (by, way) in all() {
        ensure!(house.asked(by, way)? == second, "{by:?}, {way}");
    }
    // Nobody was waited for in vain: each file said that nothing older is in use.
    let held = holders(&admin, "cho-ray")?;
    let is_file = |instance: &str| instance.starts_with("file-");
    ensure!(
        held.len() == 2
            && held
                .iter()
                .all(|(instance, oldest)| is_file(instance) && *oldest == 2),
        "{held:?}"
    );

    let (code, said) = admin.said("tenant delete bach-mai --confirm bach-mai")?;
    ensure!(code == Some(0), "{said}");
    until("the service to go", PATIENCE, async || {
        Ok(house
            .psql("service=bach-mai")
            .err()
            .filter(|error| error.to_string().contains("not found")))
    })
    .await?;
    until("pgbouncer's database to go", PATIENCE, async || {
        let refused = house.psql(&house.through_pgbouncer("bach-mai")).err();
        Ok(refused.filter(|error| error.to_string().contains("no such database")))
    })
    .await?;
    ensure!(house.psql("service=cho-ray")? == second);
    fleet.shutdown().await
}
