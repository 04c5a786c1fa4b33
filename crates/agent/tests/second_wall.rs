//! The second wall alone: with a `pg_hba.conf` that lets everybody to every door, rights by themselves keep each tenant
//! in its own database.

mod bench;

use bench::{Bench, Case, FORWARD};
use reeve_agent::host::CANARY;
use reeve_agent::steps::Login;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

/// For want of a right, and for nothing else.
const FORBIDDEN: &str = "42501";

async fn open_every_door(bench: &Bench) {
    let open = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";
    let hba = bench.settings.data_dir.join("pg_hba.conf");
    let closed = std::fs::read_to_string(&hba).unwrap();
    // The wall's own last word would come before what is added.
    let kept: Vec<&str> = closed.lines().filter(|line| !line.contains("reject")).collect();
    std::fs::write(&hba, format!("{}\n{open}", kept.join("\n"))).unwrap();
    let mut session = bench.host.control("postgres").await.unwrap();
    let loaded = "SELECT pg_conf_load_time()::text";
    let before: String = sqlx::query_scalar(loaded).fetch_one(&mut session).await.unwrap();
    sqlx::query("SELECT pg_reload_conf()")
        .execute(&mut session)
        .await
        .unwrap();
    loop {
        let mut session = bench.host.control("postgres").await.unwrap();
        let now: String = sqlx::query_scalar(loaded).fetch_one(&mut session).await.unwrap();
        if now != before {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// As a tenant's login at some database; the code that it is turned away with.
async fn enter(bench: &Bench, case: &Case, login: &Login, database: &str) -> Result<PgConnection, String> {
    let role = match login.slot {
        reeve_agent::steps::Slot::A => format!("{}_a", case.tenant.id),
        reeve_agent::steps::Slot::B => format!("{}_b", case.tenant.id),
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(bench.settings.port)
        .username(&role)
        .password(&login.password)
        .database(database)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(&bench.settings.tls.ca);
    let entered = options.connect().await;
    entered.map_err(|error| {
        let code = error
            .as_database_error()
            .and_then(|e| e.code())
            .map(|c| c.into_owned());
        code.unwrap_or_else(|| error.to_string())
    })
}

async fn say(bench: &Bench, database: &str, sql: String) {
    let mut session = bench.host.control(database).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut session)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_alone_keep_each_tenant_at_home() {
    let bench = Bench::new().await;
    let (one, other) = (Case::new(&bench, "ehr"), Case::new(&bench, "ehr"));
    for case in [&one, &other] {
        for step in FORWARD {
            case.forward(step).await.unwrap();
        }
    }
    open_every_door(&bench).await;

    let elsewhere = [other.tenant.id.as_str(), "postgres", "template1", CANARY];
    for database in elsewhere {
        let refused = enter(&bench, &one, &one.login, database).await.map(drop);
        assert_eq!(
            refused,
            Err(FORBIDDEN.to_owned()),
            "{database}: the first wall stands, or the second does not"
        );
    }
    let refused = enter(&bench, &one, &one.login, "template0").await.map(drop);
    assert_eq!(refused, Err("55000".to_owned()), "template0 takes no connections");
    let own = enter(&bench, &one, &one.login, one.tenant.id.as_str())
        .await
        .unwrap();
    own.close().await.unwrap();

    // Each right that the wall is made of, given away: then it does not stand alone, and this test would see it.
    let given = [
        (
            "postgres",
            format!("GRANT CONNECT ON DATABASE {} TO PUBLIC", other.tenant.id),
            other.tenant.id.as_str(),
        ),
        (
            "postgres",
            format!("GRANT {} TO {}_a", other.tenant.id, one.tenant.id),
            other.tenant.id.as_str(),
        ),
        (
            "postgres",
            "GRANT CONNECT ON DATABASE postgres TO PUBLIC".to_owned(),
            "postgres",
        ),
    ];
    for (database, does, door) in given {
        say(&bench, database, does.clone()).await;
        let entered = enter(&bench, &one, &one.login, door).await;
        assert!(entered.is_ok(), "{does}: {:?}", entered.err());
        say(
            &bench,
            database,
            does.replace("GRANT", "REVOKE").replace(" TO ", " FROM "),
        )
        .await;
        let refused = enter(&bench, &one, &one.login, door).await.map(drop);
        assert_eq!(refused, Err(FORBIDDEN.to_owned()), "{does} was taken back");
    }
}
