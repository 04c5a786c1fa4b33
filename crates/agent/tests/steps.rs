//! Every step on a real PostgreSQL: forwards, back, twice, and against hostile tenants.

mod bench;

use bench::{Bench, Case, FORWARD, settings};
use reeve_agent::host::{Host, Knock, Look, Said};
use reeve_agent::steps::Outcome;
use reeve_domain::words::Cidr;
use sha2::{Digest, Sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_hospital_comes_and_goes_and_leaves_nothing() {
    let bench = Bench::new().await;
    let case = Case::new(&bench, "ehr");
    for step in FORWARD {
        assert!(
            matches!(case.forward(step).await.unwrap(), Outcome::Done(_)),
            "{step}"
        );
    }
    for step in ["create_roles", "create_database", "open_doors", "migrate", "seed"] {
        assert!(
            matches!(case.forward(step).await.unwrap(), Outcome::AlreadyTrue(_)),
            "{step} was not true"
        );
    }
    let Outcome::Done(proof) = case.forward("probe").await.unwrap() else {
        panic!("a probe is always done anew")
    };
    for expected in [
        "in as the tenant over TLSv1.3",
        "refused (28000): without TLS",
        "refused (28000): physical replication",
    ] {
        assert!(
            proof.lines.iter().any(|line| line == expected),
            "{expected}: {proof:?}"
        );
    }
    let tables = case
        .query("SELECT count(*)::text FROM information_schema.tables WHERE table_schema = 'public'")
        .await;
    assert!(tables[0].parse::<u32>().unwrap() >= 25, "{tables:?}");

    for step in ["close_doors", "drop_database", "drop_roles", "prove_absence"] {
        case.forward(step).await.unwrap();
        case.forward(step).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_migration_is_final_and_its_undoing_leaves_nothing() {
    let bench = Bench::new().await;
    let case = Case::new(&bench, "ehr-broken");
    for step in ["create_roles", "create_database", "open_doors"] {
        case.forward(step).await.unwrap();
    }
    let error = case.forward("migrate").await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert!(
        error.to_string().contains("V003") && error.code() == "42P01",
        "{error}"
    );
    let login: Vec<String> = case
        .query("SELECT rolcanlogin::text FROM pg_roles WHERE rolname = current_database() || '_mig'")
        .await;
    assert_eq!(login, ["false"], "the migration role stayed open");
    case.undo_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_left_over_is_named() {
    let bench = Bench::new().await;
    let case = Case::new(&bench, "ehr");
    case.forward("prove_absence").await.unwrap();
    case.host
        .alone(format!("CREATE ROLE \"{}_x\"", case.tenant.id))
        .await
        .unwrap();
    let error = case.forward("prove_absence").await.unwrap_err();
    assert!(error.to_string().contains("1 roles"), "{error}");
    case.host
        .alone(format!("DROP ROLE \"{}_x\"", case.tenant.id))
        .await
        .unwrap();
    case.forward("create_roles").await.unwrap();
    case.forward("create_database").await.unwrap();
    let error = case.forward("prove_absence").await.unwrap_err();
    assert!(error.to_string().contains("5 roles, a database"), "{error}");
    case.undo_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_reaches_no_other_by_any_way() {
    let bench = Bench::new().await;
    let (a, b) = (Case::new(&bench, "ehr"), Case::new(&bench, "ehr"));
    for case in [&a, &b] {
        for step in ["create_roles", "create_database", "open_doors"] {
            case.forward(step).await.unwrap();
        }
    }
    let own = Knock::at(&bench.settings, &a.tenant.id);
    assert_eq!(
        own.go().await.unwrap(),
        Said::AsksForPassword,
        "the positive control"
    );
    let refused = |knock: Knock| async move { knock.go().await.unwrap() };
    let wall = Said::Refused("28000".into());
    assert_eq!(
        refused(Knock {
            database: b.tenant.id.to_string(),
            ..own.clone()
        })
        .await,
        wall
    );
    assert_eq!(
        refused(Knock {
            database: "postgres".into(),
            ..own.clone()
        })
        .await,
        wall
    );
    assert_eq!(
        refused(Knock {
            tls: false,
            ..own.clone()
        })
        .await,
        wall
    );
    for kind in ["true", "database"] {
        let said = refused(Knock {
            replication: Some(kind),
            ..own.clone()
        })
        .await;
        // A walsender for its own database passes the rules and fails at the missing attribute, after the password.
        assert!(said == wall || kind == "database", "{kind}: {said:?}");
    }
    // The second wall alone: without CONNECT, a role is turned away even where the rules would let it in.
    let mut session = a.host.control("postgres").await.unwrap();
    let may: bool = sqlx::query_scalar("SELECT has_database_privilege($1, $2, 'CONNECT')")
        .bind(format!("{}_a", a.tenant.id))
        .bind(b.tenant.id.to_string())
        .fetch_one(&mut session)
        .await
        .unwrap();
    assert!(!may);
    assert_eq!(
        own.go().await.unwrap(),
        Said::AsksForPassword,
        "the positive control"
    );
    a.undo_all().await;
    b.undo_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_migration_never_becomes_a_superuser() {
    let bench = Bench::new().await;
    let attacks = [
        "RESET ROLE; ALTER ROLE CURRENT_USER SUPERUSER;",
        "SET SESSION AUTHORIZATION ctl_agent; CREATE TABLE x ();",
        "COPY (SELECT 1) TO PROGRAM 'id';",
        "CREATE EXTENSION dblink;",
        "GRANT CONNECT ON DATABASE postgres TO PUBLIC;",
        "CREATE ROLE intruder SUPERUSER;",
        "SELECT pg_read_file('/etc/passwd');",
        "COMMIT; CREATE TABLE outside_of_it ();",
    ];
    for attack in attacks {
        let case = Case::new(&bench, "ehr").with_files(&bench, "hostile", &[("V001__x.sql", attack)]);
        for step in ["create_roles", "create_database", "open_doors"] {
            case.forward(step).await.unwrap();
        }
        let result = case.forward("migrate").await;
        let refused = result.as_ref().is_err_and(|error| error.is_permanent());
        // A GRANT that grants nothing is only a warning to PostgreSQL; then nothing must have been granted.
        assert!(refused || attack.starts_with("GRANT"), "{attack}: {result:?}");
        let mut session = case.host.control("postgres").await.unwrap();
        let mighty: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_roles WHERE (rolsuper OR rolcreaterole OR rolreplication) AND rolname <> 'ctl_agent'",
        )
        .fetch_one(&mut session)
        .await
        .unwrap();
        assert_eq!(mighty, 0, "{attack}");
        let open: bool = sqlx::query_scalar("SELECT has_database_privilege($1, 'postgres', 'CONNECT')")
            .bind(format!("{}_a", case.tenant.id))
            .fetch_one(&mut session)
            .await
            .unwrap();
        assert!(!open, "{attack}");
        case.undo_all().await;
    }
}

/// Everything of a tenant's that PostgreSQL runs by itself: triggers, defaults, rules, and a trigger on the agent's book;
/// and what takes the names of PostgreSQL's own.
const TRAPS: &str = r"
    CREATE SCHEMA traps;
    CREATE TABLE traps.sprung (by_role text, said text);
    CREATE FUNCTION traps.reach(what text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE tries text[] := ARRAY['RESET ROLE', 'SET ROLE NONE', 'SET SESSION AUTHORIZATION DEFAULT',
        'SET SESSION AUTHORIZATION ctl_agent', 'ALTER ROLE CURRENT_USER SUPERUSER', 'CREATE ROLE intruder SUPERUSER',
        'GRANT ctl_owner TO CURRENT_USER', $q$COPY (SELECT 1) TO PROGRAM 'true'$q$];
        one text;
    BEGIN
        FOREACH one IN ARRAY tries LOOP
            BEGIN EXECUTE one; EXCEPTION WHEN OTHERS THEN NULL; END;
        END LOOP;
        INSERT INTO traps.sprung VALUES (session_user, what);
        RETURN what;
    END $$;
    CREATE FUNCTION traps.fire() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM traps.reach(TG_TABLE_NAME); RETURN NEW; END $$;
    CREATE TABLE traps.bait (id int, note text DEFAULT traps.reach('default'));
    CREATE TRIGGER t BEFORE INSERT ON traps.bait FOR EACH ROW EXECUTE FUNCTION traps.fire();
    CREATE RULE r AS ON INSERT TO traps.bait DO ALSO SELECT traps.reach('rule');
    CREATE TRIGGER t AFTER INSERT ON _reeve.schema_migrations FOR EACH ROW EXECUTE FUNCTION traps.fire();
    CREATE FUNCTION public.shadow(name, name) RETURNS boolean LANGUAGE sql AS $$ SELECT traps.reach('operator') IS NULL $$;
    CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.shadow);
    CREATE VIEW public.pg_extension AS SELECT traps.reach('view')::name AS extname;
    CREATE FUNCTION public.format(text, name) RETURNS text LANGUAGE sql AS $$ SELECT traps.reach('function') $$;
";

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_code_runs_only_as_the_tenant_whoever_looks_or_takes_it_out() {
    let bench = Bench::new().await;
    let files = [
        ("V001__traps.sql", TRAPS),
        ("V002__bait.sql", "INSERT INTO traps.bait (id) VALUES (1);"),
    ];
    let case = Case::new(&bench, "ehr").with_files(&bench, "traps", &files);
    for step in ["create_roles", "create_database", "open_doors", "migrate"] {
        case.forward(step).await.unwrap();
    }
    let mut session = case.host.control(case.tenant.id.as_str()).await.unwrap();
    let mut sprung = async || -> Vec<(String, String)> {
        let all = sqlx::query_as("SELECT DISTINCT by_role, said FROM traps.sprung ORDER BY 1, 2");
        all.fetch_all(&mut session).await.unwrap()
    };
    let migrator = format!("{}_mig", case.tenant.id);
    let by_migrator = ["bait", "default", "rule", "schema_migrations"];
    let expected: Vec<_> = by_migrator.map(|said| (migrator.clone(), said.to_owned())).into();
    assert_eq!(
        sprung().await,
        expected,
        "the traps work, and spring for the tenant's own role"
    );
    // The audit and the probe look at it, and nothing springs for them.
    for step in ["probe", "audit"] {
        case.forward(step).await.unwrap();
    }
    assert_eq!(sprung().await, expected);
    drop(session);
    for step in ["close_doors", "drop_database", "drop_roles", "prove_absence"] {
        case.forward(step).await.unwrap();
    }
    let mut session = case.host.control("postgres").await.unwrap();
    let mighty: Vec<String> =
        sqlx::query_scalar("SELECT rolname::text FROM pg_roles WHERE rolsuper OR rolname = 'intruder'")
            .fetch_all(&mut session)
            .await
            .unwrap();
    assert_eq!(mighty, ["ctl_agent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_changed_missing_or_twice_is_refused_and_nothing_runs() {
    let bench = Bench::new().await;
    let good: &[(&str, &str)] = &[
        ("V001__a.sql", "CREATE TABLE a ();"),
        ("V002__b.sql", "CREATE TABLE b ();"),
    ];
    let case = Case::new(&bench, "ehr").with_files(&bench, "own", good);
    for step in ["create_roles", "create_database", "open_doors", "migrate"] {
        case.forward(step).await.unwrap();
    }
    let folder = case.schemas["own"].clone();
    let manifest = std::fs::read_to_string(folder.join("versions.toml")).unwrap();
    let refused = |why: &'static str| {
        let case = &case;
        async move {
            let error = case.forward("migrate").await.unwrap_err();
            assert!(
                error.is_permanent() && error.to_string().contains(why),
                "{why}: {error}"
            );
        }
    };
    std::fs::write(folder.join("V002__b.sql"), "CREATE TABLE c ();").unwrap();
    refused("was changed after it was listed").await;
    let sum = hex::encode(Sha256::digest("CREATE TABLE c ();"));
    let old = hex::encode(Sha256::digest("CREATE TABLE b ();"));
    std::fs::write(folder.join("versions.toml"), manifest.replace(&old, &sum)).unwrap();
    refused("was applied with another content").await;
    std::fs::write(
        folder.join("versions.toml"),
        manifest.replace("number = 2", "number = 3"),
    )
    .unwrap();
    refused("version 2 is missing").await;
    std::fs::write(
        folder.join("versions.toml"),
        manifest.replace("number = 2", "number = 1"),
    )
    .unwrap();
    refused("missing, twice or out of order").await;
    std::fs::write(
        folder.join("versions.toml"),
        manifest.replace("V002__b.sql", "../V002__b.sql"),
    )
    .unwrap();
    refused("leads out of the folder").await;
    case.undo_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_an_earlier_life_left_is_adopted_and_a_dead_one_started() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let settings = settings(folder.path());
    let pid = || {
        std::fs::read_to_string(folder.path().join("pg/postmaster.pid"))
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    let first = Host::start(settings.clone()).await.unwrap();
    let before = pid();
    drop(first);
    let second = Host::start(settings.clone()).await.unwrap();
    assert_eq!(pid(), before, "it was started twice");
    let health = second.health().await;
    assert!(
        health.look == Look::Answered
            && health.version.starts_with("1")
            && !health.system_identifier.is_empty(),
        "{health:?}"
    );
    assert_eq!(
        (second.starts(), health.connections_limit),
        (0, 300),
        "{health:?}"
    );
    // Databases were made since the instance was.
    assert!((1..1_000_000).contains(&health.xid_age), "{health:?}");

    let raw: i32 = before.parse().unwrap();
    let process = rustix::process::Pid::from_raw(raw).unwrap();
    let signal = |which| rustix::process::kill_process(process, which).unwrap();
    // One that says nothing may be busy, and is not yet one that is gone.
    signal(rustix::process::Signal::STOP);
    assert_eq!(second.health().await.look, Look::Silent);
    signal(rustix::process::Signal::CONT);
    assert_eq!(second.health().await.look, Look::Answered);
    signal(rustix::process::Signal::KILL);
    let gone = || {
        !std::path::Path::new(&format!("/proc/{raw}/stat")).exists()
            || std::fs::read_to_string(format!("/proc/{raw}/stat")).is_ok_and(|s| s.contains(") Z "))
    };
    while !gone() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    second.ensure_running().await.unwrap();
    assert_ne!(pid(), before);
    assert_eq!(second.starts(), 1);
    second.stop().await.unwrap();
    assert_eq!(second.health().await.look, Look::Refused);
    second.ensure_running().await.unwrap();
    assert!(!second.is_up().await, "a stopped one was started again");
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_that_postgresql_cannot_read_are_put_back() {
    let bench = Bench::new().await;
    let case = Case::new(&bench, "ehr");
    for step in ["create_roles", "create_database", "open_doors"] {
        case.forward(step).await.unwrap();
    }
    // The file is made to fail where it is written: a folder stands in the draft's place.
    let draft = bench.settings.data_dir.join("pg_hba.draft");
    let before = std::fs::read_to_string(bench.settings.data_dir.join("pg_hba.conf")).unwrap();
    std::fs::create_dir(&draft).unwrap();
    let other = Case::new(&bench, "ehr");
    let error = other.host.set_doors(&other.tenant.id, Some(vec![])).await;
    std::fs::remove_dir(&draft).unwrap();
    assert!(error.is_err());
    assert_eq!(other.host.doors_of(&other.tenant.id), None);
    let after = std::fs::read_to_string(bench.settings.data_dir.join("pg_hba.conf")).unwrap();
    assert!(after.contains(case.tenant.id.as_str()) && before.contains(case.tenant.id.as_str()));
    assert!(!after.contains(other.tenant.id.as_str()));
    case.undo_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_holds_its_own_role_locked_is_put_out_all_the_same() {
    use reeve_agent::host::ident::Ending;
    let bench = Bench::new().await;
    let case = Case::new(&bench, "ehr");
    for step in ["create_roles", "create_database", "open_doors"] {
        case.forward(step).await.unwrap();
    }
    let mut session = case
        .host
        .as_tenant(&case.tenant.id, Ending::A, &case.login.password)
        .await
        .unwrap();
    sqlx::raw_sql(
        "SET idle_in_transaction_session_timeout = 0; BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'",
    )
    .execute(&mut session)
    .await
    .unwrap();
    assert!(matches!(
        case.forward("close_doors").await.unwrap(),
        Outcome::Done(_)
    ));
    assert!(
        sqlx::query("SELECT 1").execute(&mut session).await.is_err(),
        "its session goes on"
    );
    case.undo_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_cannot_keep_a_tenants_roles_alive() {
    let bench = Bench::new().await;
    let gone = Case::new(&bench, "ehr");
    gone.forward("create_roles").await.unwrap();
    gone.forward("create_database").await.unwrap();
    let grant = format!(
        "CREATE TABLE kept (id int); GRANT SELECT ON kept TO {0}_a, {0}; \
         ALTER TABLE kept ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON kept TO {0}_a USING (true);",
        gone.tenant.id
    );
    let neighbour = Case::new(&bench, "ehr").with_files(&bench, "grants", &[("V001__x.sql", &grant)]);
    for step in ["create_roles", "create_database", "open_doors", "migrate"] {
        neighbour.forward(step).await.unwrap();
    }
    gone.undo_all().await;
    neighbour.undo_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_lists_only_others_is_probed_and_closed_all_the_same() {
    let bench = Bench::new().await;
    let mut case = Case::new(&bench, "ehr");
    case.tenant.allowlist = vec![Cidr::parse("10.9.0.0/16").unwrap()];
    for step in FORWARD {
        case.forward(step).await.unwrap();
    }
    case.undo_all().await;
}
