//! The isolation audit on a real PostgreSQL: each violation is seeded, found under its rule, and gone when it is mended.

mod bench;
mod seeds;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bench::{Bench, Case, FORBIDDEN, FORWARD, allowed};
use reeve_agent::host::ident::{Ending, literal};
use reeve_agent::host::{Host, verifier};
use reeve_agent::mend::{self, MENDABLE};
use reeve_agent::senses::isolation::{Auditor, Plan, Tenants, Turn, Whom, look, look_at, plans};
use reeve_agent::steps::Outcome;
use reeve_domain::TenantId;
use reeve_domain::isolation::{Found, Rule};
use seeds::{SEEDS, Seed};
use tokio::time::Instant;

/// Two hospitals side by side.
struct Pair {
    bench: Bench,
    a: Case,
    b: Case,
}

impl Pair {
    async fn new() -> Pair {
        let bench = Bench::new().await;
        let (a, b) = (Case::new(&bench, "ehr"), Case::new(&bench, "ehr"));
        for case in [&a, &b] {
            for step in FORWARD {
                case.forward(step).await.unwrap();
            }
        }
        Pair { bench, a, b }
    }

    fn known(&self) -> BTreeSet<TenantId> {
        [self.a.tenant.id.clone(), self.b.tenant.id.clone()].into()
    }

    fn host(&self) -> &Host {
        &self.bench.host
    }

    /// Everything that a round of the audit finds.
    async fn audit(&self) -> Vec<Found> {
        let plan = Plan {
            every: Duration::from_secs(60),
            databases: 64,
            probes: 0,
            reap_after: None,
            allowed: allowed(),
            repair: BTreeSet::new(),
        };
        let auditor = Auditor::new(self.host().clone(), plan, Arc::new(Quiet(self.known())));
        auditor.round(&mut Turn::default()).await.unwrap().found
    }

    /// As somebody with a superuser's session would.
    async fn say(&self, database: &str, sql: &str) {
        let mut session = self.host().control(database).await.unwrap();
        let said = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&mut session)
            .await;
        said.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The same; what is said in several commands is said one by one, and a reload is waited for.
    async fn say_in_force(&self, database: &str, sql: &str) {
        let before = self.loaded().await;
        match sql.contains("ALTER SYSTEM") {
            true => {
                for one in sql.split(';') {
                    self.say(database, one).await;
                }
            }
            false => self.say(database, sql).await,
        }
        let until = Instant::now() + Duration::from_secs(30);
        while sql.contains("pg_reload_conf") && self.loaded().await == before {
            assert!(Instant::now() < until, "the files were not read again");
        }
    }

    async fn loaded(&self) -> String {
        let mut session = self.host().control("postgres").await.unwrap();
        let loaded = sqlx::query_scalar("SELECT pg_conf_load_time()::text");
        loaded.fetch_one(&mut session).await.unwrap()
    }

    fn named(&self, text: &str) -> String {
        text.replace("{a}", self.a.tenant.id.as_str())
            .replace("{b}", self.b.tenant.id.as_str())
    }

    /// Seeds, looks, takes away, looks again: what is left is what was there before.
    async fn seed(&self, seed: &Seed, before: &[Found]) {
        let database = self.named(seed.database);
        self.say_in_force(&database, &self.named(seed.does)).await;
        let found = self.audit().await;
        let subject = self.named(seed.subject);
        let is_it = |found: &&Found| found.rule == seed.rule && found.subject.contains(&subject);
        let it = found.iter().find(is_it);
        let it = it.unwrap_or_else(|| panic!("{:?} {subject}: {found:#?}", seed.rule));
        let expected = match seed.breaks {
            'a' => Some(self.a.tenant.id.clone()),
            'b' => Some(self.b.tenant.id.clone()),
            _ => None,
        };
        assert_eq!(it.tenant, expected, "{it:?}");
        // Who looks for one tenant alone finds the same of what bars it.
        for case in [&self.a, &self.b] {
            let one = &case.tenant.id;
            let alone = look_at(self.host(), &allowed(), one).await.unwrap();
            let alone: BTreeSet<Found> = alone.into_iter().collect();
            let of_all = found.iter().filter(|found| found.bars(one)).cloned();
            assert_eq!(alone, of_all.collect(), "after {}", seed.does);
        }
        if !before.is_empty() {
            // The doors are open: rights alone stand between the two, and but for the one that this gives away they do.
            let door = self.a.tenant.id.as_str();
            let entered = self.bench.enter(&self.b, &self.b.login, door).await.map(drop);
            let expected = match seed.gives_away() {
                true => Ok(()),
                false => Err(FORBIDDEN.to_owned()),
            };
            assert_eq!(entered, expected, "{}", seed.does);
        }
        self.say_in_force(&database, &self.named(seed.undone)).await;
        let left = self.audit().await;
        assert_eq!(left, before, "after {}", seed.undone);
    }
}

/// No step is at work.
struct Quiet(BTreeSet<TenantId>);

impl Tenants for Quiet {
    fn known(&self) -> BTreeSet<TenantId> {
        self.0.clone()
    }

    fn touched_since(&self, _: Instant) -> BTreeSet<TenantId> {
        BTreeSet::new()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_instance_has_no_finding_and_each_violation_has_its_own() {
    let pair = Pair::new().await;
    let clean = pair.audit().await;
    assert!(clean.is_empty(), "{clean:#?}");
    let mut seeded = BTreeSet::new();
    for seed in &SEEDS {
        pair.seed(seed, &[]).await;
        seeded.insert(seed.rule);
    }
    // Those that no single statement makes have tests of their own below.
    let own = [Rule::Session, Rule::Clear, Rule::Hba, Rule::Password];
    // The prober's: its own test seeds one, the other is a matter of counting.
    let probers = [Rule::Leak, Rule::Unproved];
    seeded.extend(own.into_iter().chain(probers));
    assert_eq!(seeded, Rule::ALL.into(), "a rule that is not seeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_door_open_each_violation_is_found_all_the_same_and_rights_alone_hold() {
    let pair = Pair::new().await;
    pair.bench.open_every_door().await;
    let open = pair.audit().await;
    assert!(
        !open.is_empty() && open.iter().all(|found| found.rule == Rule::Hba),
        "the doors, and nothing else: {open:#?}"
    );
    for seed in &SEEDS {
        pair.seed(seed, &open).await;
    }
    assert_eq!(SEEDS.iter().filter(|seed| seed.gives_away()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_keeps_its_tenant_out_and_no_other() {
    let pair = Pair::new().await;
    pair.say("postgres", &pair.named("GRANT CONNECT ON DATABASE {a} TO {b}_a"))
        .await;
    let error = pair.a.forward("audit").await.unwrap_err();
    assert!(!error.is_permanent() && error.code() == "FINDING", "{error}");
    assert!(error.to_string().contains("F1: database"), "{error}");
    assert!(matches!(pair.b.forward("audit").await.unwrap(), Outcome::Done(_)));
    // What is everybody's wall keeps everybody out.
    pair.say("postgres", "CREATE ROLE intruder SUPERUSER").await;
    let found = look_at(pair.host(), &allowed(), &pair.b.tenant.id).await.unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(pair.b.forward("audit").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_should_not_be_are_found_while_they_last() {
    let pair = Pair::new().await;
    let (a, b) = (pair.a.tenant.id.clone(), pair.b.tenant.id.clone());
    // Both walls are taken away, as a superuser could: CONNECT, and the rules at the door.
    pair.say("postgres", &pair.named("GRANT CONNECT ON DATABASE {a} TO {b}_a"))
        .await;
    let hba = pair.bench.settings.data_dir.join("pg_hba.conf");
    let before = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("host all all 127.0.0.1/32 scram-sha-256\n{before}")).unwrap();
    pair.say("postgres", "SELECT pg_reload_conf()").await;
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(pair.bench.settings.port)
        .username(&format!("{b}_a"))
        .password(&pair.b.login.password)
        .database(a.as_str())
        .ssl_mode(sqlx::postgres::PgSslMode::Disable);
    // A reload is a signal: it is in force when somebody comes in.
    let until = Instant::now() + Duration::from_secs(30);
    let session = loop {
        match sqlx::ConnectOptions::connect(&options).await {
            Ok(session) => break session,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    let found = pair.audit().await;
    let has = |rule: Rule, subject: &str| {
        let is = found
            .iter()
            .any(|f| f.rule == rule && f.subject.contains(subject));
        assert!(is, "{rule} {subject}: {found:#?}");
    };
    has(Rule::Session, &format!("role {b}_a: is in database {a}"));
    has(
        Rule::Clear,
        &format!("role {b}_a: connected from 127.0.0.1 without TLS"),
    );
    has(Rule::Hba, "pg_hba.conf is not what was written");
    has(
        Rule::Hba,
        "host all all 127.0.0.1 scram-sha-256: lets in without TLS",
    );
    has(
        Rule::Hba,
        "host all all 127.0.0.1 scram-sha-256: lets any role in",
    );
    has(Rule::Grant, "CONNECT");

    // All of it can be mended without a person: the doors, the grant, and the session that came through.
    let every = MENDABLE.into();
    mend::instance(pair.host(), &allowed(), &every).await.unwrap();
    for tenant in [&a, &b] {
        mend::tenant(pair.host(), &allowed(), tenant, &every, None)
            .await
            .unwrap();
    }
    drop(session);
    let left = pair.audit().await;
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_may_do_to_itself_is_found_and_mended() {
    let pair = Pair::new().await;
    let tenant = &pair.a.tenant.id;
    let mut own = pair
        .host()
        .as_tenant(tenant, Ending::A, &pair.a.login.password)
        .await
        .unwrap();
    for sql in [
        "ALTER ROLE CURRENT_USER PASSWORD 'mine'",
        "ALTER ROLE CURRENT_USER SET work_mem = '1GB'",
    ] {
        sqlx::raw_sql(sql).execute(&mut own).await.unwrap();
    }
    let rules = |found: Vec<Found>| found.iter().map(|f| f.rule).collect::<BTreeSet<_>>();
    let found = pair.audit().await;
    assert!(
        found.iter().all(|f| f.tenant.as_ref() == Some(tenant)),
        "{found:#?}"
    );
    assert_eq!(rules(found), [Rule::RoleSetting, Rule::Password].into());

    let every = MENDABLE.into();
    mend::tenant(pair.host(), &allowed(), tenant, &every, Some(&pair.a.login))
        .await
        .unwrap();
    let left = pair.audit().await;
    assert!(left.is_empty(), "{left:#?}");
    pair.a.forward("probe").await.unwrap();

    // A verifier of the right password that somebody else made is not the one that was given.
    let other = format!(
        "ALTER ROLE {tenant}_a PASSWORD {}",
        literal(&verifier(&pair.a.login.password))
    );
    pair.say("postgres", &other).await;
    assert_eq!(rules(pair.audit().await), [Rule::Password].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_named_with_whose_it_could_be() {
    let pair = Pair::new().await;
    let only_a = BTreeSet::from([pair.a.tenant.id.clone()]);
    let found = look(pair.host(), &allowed(), Whom::All(&only_a)).await.unwrap();
    let b = &pair.b.tenant.id;
    assert_eq!(found.len(), 6, "five roles and a database: {found:#?}");
    for found in &found {
        assert_eq!((found.rule, found.tenant.as_ref()), (Rule::Unknown, Some(b)));
        assert!(found.subject.starts_with("nobody's "), "{found:?}");
    }
    // The house's own are let be once they are named.
    for sql in ["CREATE ROLE monitoring LOGIN", "CREATE DATABASE house"] {
        pair.say("postgres", sql).await;
    }
    // Nobody knows them, everybody may connect, and the database is not ours.
    let mut of_the_house = allowed();
    assert_eq!(
        look(pair.host(), &of_the_house, Whom::All(&pair.known()))
            .await
            .unwrap()
            .len(),
        5
    );
    of_the_house.roles.push("monitoring".into());
    of_the_house.databases.push("house".into());
    let left = look(pair.host(), &of_the_house, Whom::All(&pair.known()))
        .await
        .unwrap();
    let subjects: BTreeSet<&str> = left.iter().map(|f| f.subject.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "database house: CONNECT to PUBLIC",
            "database house: TEMPORARY to PUBLIC"
        ]
        .into(),
        "a database that is open to everybody is one, whoever made it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_that_lock_the_agent_itself_out_are_put_back() {
    let pair = Pair::new().await;
    let hba = pair.bench.settings.data_dir.join("pg_hba.conf");
    let before = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, "local all all reject\nhost all all all reject\n").unwrap();
    pair.say("postgres", "SELECT pg_reload_conf()").await;
    let until = Instant::now() + Duration::from_secs(30);
    while pair.host().control("postgres").await.is_ok() {
        assert!(Instant::now() < until, "nobody was locked out");
    }
    assert_eq!(pair.host().foreign_files().await, ["pg_hba.conf"]);
    mend::instance(pair.host(), &allowed(), &[Rule::Hba].into())
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&hba).unwrap(), before);
    let left = pair.audit().await;
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hides_behind_what_a_neighbour_heaps_up() {
    let pair = Pair::new().await;
    let mut known = pair.known().into_iter();
    let (heaped, hidden) = (known.next().unwrap(), known.next().unwrap());
    let heap = "DO $$ BEGIN FOR i IN 1..2001 LOOP EXECUTE format('CREATE ROLE s_%s IN ROLE {t}', i); END LOOP; END $$";
    pair.say("postgres", &heap.replace("{t}", heaped.as_str())).await;
    pair.say("postgres", &format!("CREATE ROLE behind IN ROLE {hidden}"))
        .await;

    let found = pair.audit().await;
    let of = |tenant: &TenantId| {
        let is_of = |f: &&Found| f.rule == Rule::Membership && f.tenant.as_ref() == Some(tenant);
        found.iter().filter(is_of).count()
    };
    assert_eq!(
        (of(&heaped), of(&hidden)),
        (1999, 1),
        "of each tenant and of all there are bounds"
    );
    let again = pair.audit().await;
    assert!(
        found.iter().all(|one| again.contains(one)),
        "the next round tells another part of it"
    );
}

/// A new instance, of whose catalogs the planner knows nothing, is what a busy one looks like to it when its statistics are
/// old.
#[tokio::test(flavor = "multi_thread")]
async fn no_look_goes_through_all_roles_for_each_membership() {
    let pair = Pair::new().await;
    let known = pair.known();
    for whom in [Whom::All(&known), Whom::One(&pair.a.tenant.id)] {
        let plans = plans(pair.host(), &allowed(), whom).await.unwrap();
        assert!(plans.iter().any(|(rule, _)| *rule == Rule::Membership));
        for (rule, plan) in plans {
            for inner in inner_sides(&plan) {
                // Beside what a row itself holds there is no other way; beside a table there is.
                let is_of_a_row = inner.contains("Function Scan") || inner.contains("Values Scan");
                assert!(is_of_a_row, "{rule:?}: {inner}\n{plan}");
            }
        }
    }
}

/// What a plan goes through again for each row.
fn inner_sides(plan: &str) -> Vec<&str> {
    let lines: Vec<&str> = plan.lines().collect();
    let depth = |line: &str| line.find("->");
    let loops = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains("Nested Loop"));
    let sides = loops.filter_map(|(at, line)| {
        let (own, rest) = (depth(line).map_or(-1, |depth| depth as isize), &lines[at + 1..]);
        let below = rest
            .iter()
            .filter_map(|line| Some((depth(line)? as isize, *line)));
        let below: Vec<(isize, &str)> = below.take_while(|(depth, _)| *depth > own).collect();
        let first = below.first()?.0;
        below
            .iter()
            .filter(|(depth, _)| *depth == first)
            .nth(1)
            .map(|(_, line)| *line)
    });
    sides.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_others_chose_break_nothing() {
    let pair = Pair::new().await;
    let odd = "x\"; DROP ROLE ctl_owner; --\u{1F600}";
    let quoted = odd.replace('"', "\"\"");
    pair.say("postgres", &format!("CREATE ROLE \"{quoted}\"")).await;
    pair.say(
        "postgres",
        &pair.named(&format!("GRANT CONNECT ON DATABASE {{a}} TO \"{quoted}\"")),
    )
    .await;
    let found = pair.audit().await;
    let told = found.iter().filter(|f| f.subject.contains("DROP ROLE"));
    assert_eq!(told.count(), 2, "{found:#?}");
    mend::tenant(pair.host(), &allowed(), &pair.a.tenant.id, &MENDABLE.into(), None)
        .await
        .unwrap();
    let left = pair.audit().await;
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0].rule, Rule::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_each_way_out_and_goes_none() {
    let pair = Pair::new().await;
    let leaks = [
        (
            "ALTER ROLE {a}_a CREATEDB",
            "CREATE DATABASE postgres",
            "ALTER ROLE {a}_a NOCREATEDB",
        ),
        (
            "ALTER ROLE {a}_a CREATEROLE",
            "CREATE ROLE ctl_owner",
            "ALTER ROLE {a}_a NOCREATEROLE",
        ),
        (
            "GRANT ALTER SYSTEM ON PARAMETER work_mem TO {a}_a",
            "ALTER SYSTEM",
            "REVOKE ALTER SYSTEM ON PARAMETER work_mem FROM {a}_a",
        ),
        (
            "GRANT CREATE ON DATABASE {a} TO {a}_a",
            "CREATE SCHEMA reeve_probe",
            "REVOKE CREATE ON DATABASE {a} FROM {a}_a",
        ),
        (
            "GRANT {a}_ddl TO {a}_a",
            "SET ROLE {a}_ddl",
            "REVOKE {a}_ddl FROM {a}_a",
        ),
    ];
    for (given, way, taken) in leaks {
        pair.say("postgres", &pair.named(given)).await;
        let leak = pair.a.forward("probe").await.unwrap_err();
        // Attributes of the login are seen before anything is tried.
        let told = leak.to_string();
        assert!(leak.is_permanent() && leak.code() == "LEAK", "{given}: {leak}");
        assert!(
            told.contains(&pair.named(way)) || told.contains("may too much"),
            "{given}: {told}"
        );
        pair.say("postgres", &pair.named(taken)).await;
        let left = pair.audit().await;
        assert!(left.is_empty(), "{given}: {left:#?}");
    }
    // What a tenant set for itself, or made, has no say.
    let mut own = pair
        .host()
        .as_tenant(&pair.a.tenant.id, Ending::A, &pair.a.login.password)
        .await
        .unwrap();
    for sql in [
        "ALTER ROLE CURRENT_USER SET default_transaction_read_only = on",
        "ALTER ROLE CURRENT_USER SET search_path = public, pg_catalog",
    ] {
        sqlx::raw_sql(sql).execute(&mut own).await.unwrap();
    }
    pair.say(
        pair.a.tenant.id.as_str(),
        "CREATE FUNCTION public.pg_database_size(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'; \
         CREATE FUNCTION public.pg_create_physical_replication_slot(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    )
    .await;
    pair.a.forward("probe").await.unwrap();
}
