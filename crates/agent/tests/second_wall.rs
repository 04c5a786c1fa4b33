//! The second wall alone: with a `pg_hba.conf` that lets everybody to every door, rights by themselves keep each tenant
//! in its own database.

mod bench;

use bench::{Bench, Case, FORBIDDEN, FORWARD};
use reeve_agent::host::CANARY;
use sqlx::{AssertSqlSafe, Connection};

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
    bench.open_every_door().await;

    let elsewhere = [other.tenant.id.as_str(), "postgres", "template1", CANARY];
    for database in elsewhere {
        let refused = bench.enter(&one, &one.login, database).await.map(drop);
        assert_eq!(
            refused,
            Err(FORBIDDEN.to_owned()),
            "{database}: the first wall stands, or the second does not"
        );
    }
    let refused = bench.enter(&one, &one.login, "template0").await.map(drop);
    assert_eq!(refused, Err("55000".to_owned()), "template0 takes no connections");
    let own = bench
        .enter(&one, &one.login, one.tenant.id.as_str())
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
        let entered = bench.enter(&one, &one.login, door).await;
        assert!(entered.is_ok(), "{does}: {:?}", entered.err());
        say(
            &bench,
            database,
            does.replace("GRANT", "REVOKE").replace(" TO ", " FROM "),
        )
        .await;
        let refused = bench.enter(&one, &one.login, door).await.map(drop);
        assert_eq!(refused, Err(FORBIDDEN.to_owned()), "{does} was taken back");
    }
}
