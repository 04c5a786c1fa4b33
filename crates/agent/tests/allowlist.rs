//! From where a tenant's services may come: changed on a running instance, for those who are inside, too.

mod bench;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use bench::{Bench, Case, FORWARD};
use reeve_agent::host::{Host, Knock, Said};
use reeve_agent::steps::Outcome;
use reeve_domain::TenantId;
use reeve_domain::words::Cidr;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};
use tokio::net::{TcpListener, TcpSocket};

fn cidrs(all: &[&str]) -> Vec<Cidr> {
    all.iter().map(|cidr| Cidr::parse(cidr).unwrap()).collect()
}

/// A port on this machine behind which everything comes from 127.0.0.2.
async fn elsewhere(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
                let mut to = socket
                    .connect(SocketAddr::from(([127, 0, 0, 1], to)))
                    .await
                    .unwrap();
                // Either side may hang up; that is what the test looks at.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    port
}

async fn log_in(bench: &Bench, case: &Case, port: u16) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(&format!("{}_a", case.tenant.id))
        .password(&case.login.password)
        .database(case.tenant.id.as_str())
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(&bench.settings.tls.ca);
    options.connect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_shrinks_ends_the_sessions_that_do_not_fit_and_one_that_grows_lets_in() {
    let bench = Bench::new().await;
    let (mut case, neighbour) = (Case::new(&bench, "ehr"), Case::new(&bench, "ehr"));
    case.tenant.allowlist = cidrs(&["127.0.0.2/32", "2001:db8::/32"]);
    for case in [&case, &neighbour] {
        for step in FORWARD {
            case.forward(step).await.unwrap();
        }
    }
    let far = elsewhere(bench.settings.port).await;
    let mut outside = log_in(&bench, &case, far).await.unwrap();
    let mut inside = log_in(&bench, &case, bench.settings.port).await.unwrap();
    let mut beside = log_in(&bench, &neighbour, bench.settings.port).await.unwrap();
    let from: String = sqlx::query_scalar("SELECT host(inet_client_addr())")
        .fetch_one(&mut outside)
        .await
        .unwrap();
    assert_eq!(from, "127.0.0.2");

    case.tenant.allowlist = cidrs(&["10.0.0.0/8", "2001:db8::/32"]);
    let Outcome::Done(proof) = case.forward("change_doors").await.unwrap() else {
        panic!("doors are always set anew")
    };
    assert!(
        proof.lines[0].contains("2 ranges") && proof.lines[0].contains("1 sessions"),
        "{proof:?}"
    );
    assert!(
        sqlx::query("SELECT 1").execute(&mut outside).await.is_err(),
        "it goes on"
    );
    for session in [&mut inside, &mut beside] {
        sqlx::query("SELECT 1").execute(session).await.unwrap();
    }
    let refused = log_in(&bench, &case, far).await.unwrap_err();
    assert_eq!(
        refused.as_database_error().and_then(|e| e.code()).as_deref(),
        Some("28000")
    );
    case.forward("probe").await.unwrap();

    case.tenant.allowlist = cidrs(&["127.0.0.0/8"]);
    case.forward("change_doors").await.unwrap();
    log_in(&bench, &case, far).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_tenants_are_as_good_as_five() {
    const TENANTS: u64 = 5_000;
    let bench = Bench::new().await;
    let doors: BTreeMap<TenantId, Vec<Cidr>> = (1..=TENANTS)
        .map(|serial| {
            (
                TenantId::from_random(serial),
                cidrs(&["10.1.0.0/16", "2001:db8::/32"]),
            )
        })
        .collect();
    let file = bench.settings.state_dir.join("doors.json");
    std::fs::create_dir_all(&bench.settings.state_dir).unwrap();
    std::fs::write(file, serde_json::to_vec(&doors).unwrap()).unwrap();
    let host = Host::start(bench.settings.clone()).await.unwrap();
    let last = TenantId::from_random(TENANTS);
    let knock = Knock::at(&bench.settings, &last);
    // The tenant has no role; the rules speak before that is looked up, and a stranger's are the wall's.
    assert_eq!(knock.go().await.unwrap(), Said::AsksForPassword);
    let stranger = Knock::at(&bench.settings, &TenantId::from_random(TENANTS + 1));
    assert_eq!(stranger.go().await.unwrap(), Said::Refused("28000".into()));

    let began = Instant::now();
    host.set_doors(&last, Some(cidrs(&["10.2.0.0/16"])))
        .await
        .unwrap();
    let changed = began.elapsed();
    let began = Instant::now();
    const KNOCKS: u32 = 50;
    for _ in 0..KNOCKS {
        knock.go().await.unwrap();
    }
    let lines = std::fs::read_to_string(bench.settings.data_dir.join("pg_hba.conf")).unwrap();
    println!(
        "{TENANTS} tenants, {} lines: changed in {changed:?}, a knock takes {:?}",
        lines.lines().count(),
        began.elapsed() / KNOCKS
    );
    host.set_doors(&last, None).await.unwrap();
    assert_eq!(knock.go().await.unwrap(), Said::Refused("28000".into()));
}
