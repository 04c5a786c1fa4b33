//! What a tenant that is gone left is taken away whole, or not at all; and nothing of what was kept under another name.

mod bench;

use std::sync::Arc;

use bench::{Bench, Case, FORWARD, allowed};
use reeve_agent::fence::Fence;
use reeve_agent::identity::CredentialSource;
use reeve_agent::journal::Journal;
use reeve_agent::perform::Performer;
use reeve_agent::steps::{Login, Wanted};
use reeve_domain::TenantId;

/// A registry that knows of no tenant.
struct Nobody;

#[tonic::async_trait]
impl CredentialSource for Nobody {
    async fn is_gone(&self, _: &TenantId) -> Result<bool, String> {
        Ok(true)
    }

    async fn fetch(&self, _: &TenantId, _: Wanted) -> Result<Login, String> {
        Err("there is none".to_owned())
    }
}

async fn say(bench: &Bench, database: &str, sql: String) {
    let mut session = bench.host.control(database).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut session)
        .await
        .unwrap();
}

/// Of the catalog of one database.
async fn count(bench: &Bench, database: &str, of: &'static str, like: &str) -> i64 {
    let mut session = bench.host.control(database).await.unwrap();
    let counting = sqlx::query_scalar(of).bind(like);
    counting.fetch_one(&mut session).await.unwrap()
}

const ROLES: &str = "SELECT count(*) FROM pg_roles WHERE rolname LIKE $1 || '%'";
const DATABASES: &str = "SELECT count(*) FROM pg_database WHERE datname = $1";
const OWNED: &str = "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = $1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_offboards_a_tenant_loses_nothing_that_was_kept_under_another_name() {
    let bench = Bench::new().await;
    let case = Case::new(&bench, "ehr");
    for step in FORWARD {
        case.forward(step).await.unwrap();
    }
    let id = case.tenant.id.clone();
    let (name, owner) = (id.as_str(), format!("{id}_ddl"));
    let kept = count(&bench, name, OWNED, &owner).await;
    assert!(kept > 0, "it has tables");
    let rename = format!("ALTER DATABASE {name} RENAME TO kept");
    say(&bench, "postgres", rename).await;
    for step in ["close_doors", "drop_database"] {
        case.forward(step).await.unwrap();
    }
    for _ in 0..2 {
        let refused = case.forward("drop_roles").await.unwrap_err();
        assert_eq!((refused.code(), refused.is_permanent()), ("OWNS", true));
        assert_eq!(count(&bench, "kept", OWNED, &owner).await, kept);
        assert_eq!(count(&bench, "postgres", ROLES, name).await, 5);
    }
    // A person gives it another owner, and says `reeve op retry`.
    say(&bench, "kept", format!("REASSIGN OWNED BY {owner} TO ctl_owner")).await;
    case.forward("drop_roles").await.unwrap();
    assert_eq!(count(&bench, "kept", OWNED, "ctl_owner").await, kept);
    assert_eq!(count(&bench, "postgres", ROLES, name).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_its_roles_own_anything_elsewhere_nothing_of_it_is_taken_away() {
    let bench = Bench::new().await;
    let case = Case::new(&bench, "ehr");
    for step in FORWARD {
        case.forward(step).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let performer = Performer::new(
        bench.host.clone(),
        Journal::open(folder.path()).unwrap(),
        Fence::open(folder.path()).unwrap(),
        case.schemas.clone(),
        Arc::new(Nobody),
        allowed(),
    );
    let id = case.tenant.id.clone();
    let (name, owner) = (id.as_str(), format!("{id}_ddl"));
    let kept = count(&bench, name, OWNED, &owner).await;
    assert!(kept > 0, "it has tables");

    // Somebody keeps its data under another name, and another database has its old one.
    say(
        &bench,
        "postgres",
        format!("ALTER DATABASE {name} RENAME TO kept"),
    )
    .await;
    say(
        &bench,
        "postgres",
        format!("CREATE DATABASE {name} OWNER {owner}"),
    )
    .await;
    for why in [
        "objects in database kept",
        "database kept, objects in database kept",
    ] {
        let refused = performer.reap(&id).await.unwrap_err();
        assert_eq!(refused.code(), "OWNS");
        assert_eq!(
            refused.to_string(),
            format!("its roles own what is elsewhere: {why}")
        );
        assert_eq!(count(&bench, "kept", OWNED, &owner).await, kept, "its tables");
        assert_eq!(count(&bench, "postgres", ROLES, name).await, 5);
        assert_eq!(count(&bench, "postgres", DATABASES, name).await, 1);
        assert!(bench.host.doors_of(&id).is_some(), "it was not begun at all");
        say(
            &bench,
            "postgres",
            format!("ALTER DATABASE kept OWNER TO {owner}"),
        )
        .await;
    }

    // What is elsewhere has another owner now: the rights that are left there hold nobody up.
    say(
        &bench,
        "postgres",
        "ALTER DATABASE kept OWNER TO ctl_owner".to_owned(),
    )
    .await;
    say(&bench, "kept", format!("REASSIGN OWNED BY {owner} TO ctl_owner")).await;
    performer.reap(&id).await.unwrap();
    assert_eq!(count(&bench, "postgres", ROLES, name).await, 0);
    assert_eq!(count(&bench, "postgres", DATABASES, name).await, 0);
    assert_eq!(
        count(&bench, "kept", OWNED, "ctl_owner").await,
        kept,
        "its tables"
    );
}
