//! Trouble that passes: a disk that is full, a step that hangs. Each says why, within its time, and goes on once it can.

mod bench;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bench::{Bench, Case, FORWARD, allowed};
use reeve_agent::fence::Fence;
use reeve_agent::identity::CredentialSource;
use reeve_agent::journal::Journal;
use reeve_agent::perform::Performer;
use reeve_agent::steps::{Login, Slot, Wanted};
use reeve_domain::TenantId;
use reeve_proto::v1::step_key::Direction;
use reeve_proto::v1::step_report::Outcome as Reported;
use reeve_proto::v1::{StepKey, StepOrder, StepReport, TenantSpec};
use sqlx::Connection;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// A file system in memory, small enough to be filled; it ends with this value. It takes root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(folder: PathBuf) -> SmallDisk {
        std::fs::create_dir_all(&folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=192m,mode=0755", "tmpfs"])
            .arg(&folder)
            .status();
        assert!(mounted.unwrap().success(), "mounting takes root");
        SmallDisk(folder)
    }

    /// Until nothing more goes in.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[7; 64 << 10]).is_ok() {}
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still uses it is gone soon, too.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_nothing_is_lost_or_left() {
    let folder = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    let disk = SmallDisk::at(folder.path().join("disk"));
    let bench = Bench::with_data_in(disk.0.join("pg")).await;
    let (served, late) = (Case::new(&bench, "ehr"), Case::new(&bench, "ehr"));
    for step in FORWARD {
        served.forward(step).await.unwrap();
    }
    late.forward("create_roles").await.unwrap();

    disk.fill();
    for _ in 0..2 {
        let error = late.forward("create_database").await.unwrap_err();
        assert!(!error.is_permanent(), "it passes: {error}");
        // Without room for its log PostgreSQL stops altogether; it is started again by the agent, each second.
        let code = error.code().to_owned();
        assert!(
            code.starts_with("53")
                || code.starts_with("57")
                || code.starts_with("58")
                || code == "CONNECTION",
            "{code}: {error}"
        );
    }
    disk.clear();
    bench.host.ensure_running().await.unwrap();
    for step in FORWARD {
        late.forward(step).await.unwrap();
    }
    served.forward("probe").await.unwrap();

    // Nor can anything be taken away while there is no room; afterwards it can, and nothing is left.
    disk.fill();
    // It may work: then it is done already.
    let _ = reeve_agent::steps::undo("create_database", &late.context()).await;
    disk.clear();
    bench.host.ensure_running().await.unwrap();
    late.undo_all().await;
    served.forward("probe").await.unwrap();
}

struct Given(Login);

#[tonic::async_trait]
impl CredentialSource for Given {
    async fn is_gone(&self, _: &TenantId) -> Result<bool, String> {
        Ok(false)
    }

    async fn fetch(&self, _: &TenantId, _: Wanted) -> Result<Login, String> {
        Ok(Login {
            slot: Slot::A,
            password: Zeroizing::new(self.0.password.to_string()),
        })
    }
}

fn order(case: &Case, step: (u32, &str), attempt: u32, limit: Duration) -> StepOrder {
    StepOrder {
        key: Some(StepKey {
            operation_id: "op_00000000000000aa".into(),
            step: step.0,
            attempt,
            direction: Direction::Forward.into(),
        }),
        name: step.1.into(),
        group: "vn-1".into(),
        epoch: 1,
        timeout: Some(reeve_proto::convert::time::duration(limit)),
        tenant: Some(TenantSpec {
            tenant_id: case.tenant.id.to_string(),
            connection_limit: 5,
            allowlist_cidrs: vec![],
            schema_channel: "ehr".into(),
            schema_version: 0,
            active_slot: "a".into(),
            credential_version: 1,
        }),
        not_before: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_hangs_ends_with_its_time_says_so_and_leaves_no_session_behind() {
    let bench = Bench::new().await;
    let case = Case::new(&bench, "ehr");
    for step in FORWARD {
        case.forward(step).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let given = Given(Login {
        slot: Slot::A,
        password: Zeroizing::new(case.login.password.to_string()),
    });
    let performer = Performer::new(
        bench.host.clone(),
        Journal::open(folder.path()).unwrap(),
        Fence::open(folder.path()).unwrap(),
        case.schemas.clone(),
        Arc::new(given),
        allowed(),
    );
    let database = case.tenant.id.to_string();
    let mut holder = bench.host.control(&database).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE _reeve.schema_migrations")
        .execute(&mut holder)
        .await
        .unwrap();
    let limit = Duration::from_secs(2);
    let began = Instant::now();
    let hung: StepReport = performer
        .perform(&order(&case, (3, "migrate"), 1, limit))
        .await
        .unwrap();
    assert!(began.elapsed() >= limit, "it had its time");
    assert_eq!(hung.outcome(), Reported::Retry, "{hung:?}");
    assert_eq!(hung.code, "TIMEOUT");
    assert_eq!(hung.error, "not done within 2 s");
    // Asked again, the journal answers: it is not done twice.
    let again = performer
        .perform(&order(&case, (3, "migrate"), 1, limit))
        .await
        .unwrap();
    assert_eq!(again, hung);

    holder.close().await.unwrap();
    let done = performer
        .perform(&order(&case, (3, "migrate"), 2, limit * 30))
        .await
        .unwrap();
    assert_eq!(done.outcome(), Reported::AlreadyTrue, "{done:?}");
    let mut session = bench.host.control("postgres").await.unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'reeve-migrate'")
            .fetch_one(&mut session)
            .await
            .unwrap();
    assert_eq!(left, 0, "the session of the try that hung");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_the_agents_own_disk_does_not_take_is_never_said_to_be_done() {
    let bench = Bench::new().await;
    let case = Case::new(&bench, "ehr");
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::at(folder.path().join("disk"));
    let performer = Arc::new(Performer::new(
        bench.host.clone(),
        Journal::open(&disk.0).unwrap(),
        Fence::open(&disk.0).unwrap(),
        case.schemas.clone(),
        Arc::new(Given(Login {
            slot: Slot::A,
            password: Zeroizing::new(case.login.password.to_string()),
        })),
        allowed(),
    ));
    let limit = Duration::from_secs(3);
    let ask = |step, attempt| {
        let (performer, order) = (performer.clone(), order(&case, step, attempt, limit));
        async move { performer.perform(&order).await.unwrap() }
    };
    // Not even that there is a new epoch can be kept: nothing is done.
    disk.fill();
    let refused = ask((0, "create_roles"), 1).await;
    assert_eq!(
        (refused.outcome(), refused.code.as_str()),
        (Reported::Retry, "AGENT_DISK"),
        "{refused:?}"
    );
    assert!(
        refused.error.contains("the new epoch") && refused.error.contains("No space"),
        "{refused:?}"
    );
    assert_eq!(
        roles_of(&bench, &case).await,
        0,
        "an order was obeyed before its epoch was kept"
    );

    disk.clear();
    let done = ask((0, "create_roles"), 2).await;
    assert_eq!(done.outcome(), Reported::Done, "{done:?}");
    assert!(roles_of(&bench, &case).await > 0);
    disk.fill();
    let lost = ask((1, "create_database"), 1).await;
    assert_eq!(
        (lost.outcome(), lost.code.as_str()),
        (Reported::Retry, "AGENT_DISK"),
        "{lost:?}"
    );
    assert!(lost.error.contains("the outcome"), "{lost:?}");
    let told = ask((0, "create_roles"), 2).await;
    assert_eq!(told, done, "what was kept before is known");

    // Room again before the time is over: it costs no try. It was done before, and is not done twice.
    let waits = tokio::spawn(ask((1, "create_database"), 2));
    disk.clear();
    let found = waits.await.unwrap();
    assert_eq!(found.outcome(), Reported::AlreadyTrue, "{found:?}");
    let reopened = Journal::open(&disk.0).unwrap();
    assert_eq!(
        reopened.recall(found.key.as_ref().unwrap()),
        Some(found),
        "what was said is on disk"
    );
}

async fn roles_of(bench: &Bench, case: &Case) -> i64 {
    let mut session = bench.host.control("postgres").await.unwrap();
    let roles = sqlx::query_scalar("SELECT count(*) FROM pg_roles WHERE rolname LIKE $1 || '%'");
    let roles = roles.bind(case.tenant.id.to_string());
    roles.fetch_one(&mut session).await.unwrap()
}
