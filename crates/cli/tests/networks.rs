//! One PostgreSQL, two networks: whoever comes over the VPN is sent through its gateway, everybody else is not.

mod admin;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use admin::{Admin, onboard};
use anyhow::{Context, Result, ensure};
use reeve_client::v1::operation::State;
use reeve_client::v1::{ErrorReason, Role};
use reeve_client::{Access, Credentials, Selector};
use reeve_local::{Fleet, Hop, Mode, free_ports, until};

const PATIENCE: Duration = Duration::from_secs(120);
const GROUP: &str = "vn-1";

/// A gateway of the VPN: another address of this machine, which no other certificate names.
async fn gateway(fleet: &Fleet, host: &str) -> Result<Hop> {
    let at: SocketAddr = format!("{host}:{}", free_ports(1)?[0]).parse()?;
    let door = fleet.agent(GROUP)?.postgres().port();
    Hop::open_at(&format!("vpn->pg {GROUP}"), at, door).await
}

/// Writes the VPN's address into the agent's settings, and starts the agent anew.
async fn told_of(fleet: &Fleet, gateway: &Hop) -> Result<()> {
    let agent = fleet.agent(GROUP)?;
    let at: SocketAddr = gateway.address().parse()?;
    let mut settings: toml::Table = fs::read_to_string(agent.config())?.parse()?;
    let vpn = format!("host = \"{}\"\nport = {}", at.ip(), at.port()).parse::<toml::Table>()?;
    let postgres = settings.get_mut("postgres").and_then(toml::Value::as_table_mut);
    let networks = toml::Table::from_iter([("vpn".to_owned(), toml::Value::Table(vpn))]);
    let postgres = postgres.context("settings of PostgreSQL")?;
    postgres.insert("networks".to_owned(), toml::Value::Table(networks));
    agent.stop().await?;
    fs::write(agent.config(), toml::to_string(&settings)?)?;
    agent.start()
}

fn service(fleet: &Fleet, credentials: &Credentials, network: &str) -> Result<reeve_client::Fleet> {
    let builder = reeve_client::Fleet::builder().nodes(fleet.addresses());
    Ok(builder
        .credentials(credentials.clone())
        .network(network)
        .build()?)
}

/// One query in the tenant's database, over TLS that names the server; answers where it went.
async fn asked(service: &reeve_client::Fleet) -> Result<String> {
    let tenant = service.resolve(&Selector::slug("cho-ray")?).await?;
    let pool = service.pool(&tenant, Access::Write).await?;
    let who = "SELECT current_database()::text FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
    let database: String = sqlx::query_scalar(who).fetch_one(&pool).await?;
    ensure!(database == tenant.database(), "came to {database}");
    let write = tenant.write().context("nowhere to write")?;
    Ok(format!("{}:{}", write.host, write.port))
}

fn reeve(fleet: &Fleet, home: &Path, words: &str) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
    command
        .args(words.split(' '))
        .args(["--nodes", &fleet.addresses().join(",")])
        .env("REEVE_CONFIG", home.join("config.toml"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    Ok(command.output()?)
}

fn text(ran: &Output) -> String {
    String::from_utf8_lossy(&[ran.stdout.as_slice(), ran.stderr.as_slice()].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_network_is_sent_to_an_address_of_its_own_and_verifies_it_there() -> Result<()> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/ehr");
    let fleet = Fleet::builder()
        .nodes(1)
        .regions(["vn"])
        .schema("ehr", examples)
        .start()
        .await?;
    let made = onboard(&fleet, "cho-ray").await?;
    ensure!(made.state() == State::Done, "{made:?}");
    let credentials = fleet.enroll(Role::Service, "portal", &[]).await?;
    let (near, far) = (
        service(&fleet, &credentials, "")?,
        service(&fleet, &credentials, "vpn")?,
    );
    let direct = asked(&near).await?;

    // A network that nobody knows is told which there are.
    let builder = reeve_client::Fleet::builder().nodes(fleet.addresses());
    let lost = builder
        .credentials(credentials.clone())
        .network("vpn")
        .watch(false)
        .build()?;
    let unknown = lost.resolve(&Selector::slug("cho-ray")?).await;
    let error = unknown.err().context("resolved in a network that nobody knows")?;
    ensure!(
        error.reason() == Some(ErrorReason::BadField)
            && error
                .to_string()
                .contains("no endpoint in network vpn; it has default"),
        "{error:?}"
    );

    let first = gateway(&fleet, "127.0.0.2").await?;
    told_of(&fleet, &first).await?;
    until("the first gateway", PATIENCE, async || {
        Ok(Some(asked(&far).await?))
    })
    .await?;
    ensure!(asked(&far).await? == first.address() && first.connections() > 0);
    // The gateway alone is closed: who came through it does so no longer, and the others never did.
    first.set(Mode::Cut);
    ensure!(
        asked(&far).await.is_err(),
        "the VPN's session was not in its gateway"
    );
    let newcomer = service(&fleet, &credentials, "")?;
    for one in [&near, &newcomer] {
        let at = asked(one).await?;
        ensure!(at == direct, "sent to {at}, not to {direct}");
    }

    // Another list at the next start: those who watch go the new way.
    let second = gateway(&fleet, "127.0.0.3").await?;
    told_of(&fleet, &second).await?;
    until("the second gateway", PATIENCE, async || {
        let at = asked(&far).await?;
        Ok((at == second.address()).then_some(()))
    })
    .await?;
    ensure!(second.connections() > 0 && asked(&near).await? == direct);

    // Programs without a client choose their network too.
    let admin = Admin::of(&fleet)?;
    let home = tempfile::tempdir()?;
    let path = |name: &str| home.path().join(name).display().to_string();
    let (code, said) = admin.said(&format!(
        "cluster join-token --role service --name house --out {}",
        path("token")
    ))?;
    ensure!(code == Some(0), "{said}");
    let enrolled = reeve(
        &fleet,
        home.path(),
        &format!(
            "cluster enroll --token-file {} --name house --dir {}",
            path("token"),
            path("identity")
        ),
    )?;
    ensure!(enrolled.status.success(), "{}", text(&enrolled));
    let port = second.address().rsplit_once(':').context("a port")?.1.to_owned();
    for (verb, host) in [
        ("service-file", format!("host=127.0.0.3\nport={port}\n")),
        ("pgbouncer-ini", format!("host='127.0.0.3' port={port} ")),
    ] {
        let ran = reeve(
            &fleet,
            home.path(),
            &format!("{verb} {} --network vpn", path(verb)),
        )?;
        ensure!(ran.status.success(), "{}", text(&ran));
        let written = fs::read_to_string(path(verb))?;
        ensure!(written.contains(&host), "{written}");
    }
    let came = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--no-password",
            "-Atc",
            "SELECT 1",
            "service=cho-ray",
        ])
        .env("PGSERVICEFILE", path("service-file"))
        .stdin(Stdio::null())
        .output()?;
    ensure!(text(&came).trim() == "1", "{}", text(&came));
    let refused = reeve(
        &fleet,
        home.path(),
        &format!("service-file {} --network moon", path("moon")),
    )?;
    ensure!(
        refused.status.code() == Some(4) && text(&refused).contains("have an address in network moon"),
        "{}",
        text(&refused)
    );
    ensure!(!home.path().join("moon").exists(), "a file of nobody was written");
    for one in [near, far, lost, newcomer] {
        one.close().await;
    }
    fleet.shutdown().await
}
