//! Somebody is killed before and after every single step: the agent, its PostgreSQL, the registry's leader.
//!
//! ```text
//! a step of an operation × before | after | journaled × agent | PostgreSQL | leader: held at that very moment, SIGKILL,
//! go on. Each operation must end done or undone; what is done is there once, what is undone or gone left nothing.
//! ```

mod held;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use held::{AGENT, Case, Held, Victim};
use reeve_client::reason;
use reeve_client::v1::operation::State;
use reeve_client::v1::{
    CancelOperationRequest, Claim, DeleteTenantRequest, ErrorReason, GetTenantRequest, Operation,
    ResolveRequest, ScanIsolationRequest, SetAllowlistRequest, claim, step,
};

const ONBOARD: [&str; 7] = [
    "create_roles",
    "create_database",
    "open_doors",
    "migrate",
    "seed",
    "probe",
    "audit",
];
const BACK: [&str; 4] = ["open_doors", "create_database", "create_roles", "prove_absence"];
const OFFBOARD: [&str; 4] = ["close_doors", "drop_database", "drop_roles", "prove_absence"];

impl Held {
    /// Files of the agent and the instance that name a tenant while it is there.
    fn naming(&self, tenant: &str) -> Result<Vec<String>> {
        let home = self.fleet.dir().join(AGENT);
        let files = [
            home.join("pg/pg_hba.conf"),
            home.join("agent/doors/doors.json"),
            home.join("agent/doors/logins.json"),
        ];
        let names = |path: &Path| -> Result<bool> { Ok(std::fs::read_to_string(path)?.contains(tenant)) };
        let mut naming = Vec::new();
        for path in &files {
            if names(path)? {
                naming.push(
                    path.file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
        Ok(naming)
    }

    /// All of the tenant is there, and all of it once.
    async fn is_whole(&self, ended: &Operation) -> Result<()> {
        let tenant = &ended.tenant_id;
        for step in &ended.steps {
            let proved =
                step.state() == step::State::Done && (step.addressee == "registry" || !step.proof.is_empty());
            ensure!(
                proved,
                "{} is {:?} and proved by {:?}",
                step.name,
                step.state(),
                step.proof
            );
        }
        let roles = format!("SELECT count(*) FROM pg_roles WHERE left(rolname, 14) = '{tenant}'");
        ensure!(self.ask("postgres", &roles).await? == "5", "roles");
        let book = "SELECT kind || ' ' || count(*) || ' ' || count(DISTINCT number) \
                    FROM _reeve.schema_migrations GROUP BY kind ORDER BY kind";
        let applied = self.ask(tenant, book).await?;
        let first = self.first.get_or_init(|| applied.clone());
        ensure!(
            &applied == first,
            "{applied:?} is applied, and {first:?} elsewhere"
        );
        let logins = format!(
            "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE left(rolname, 14) = '{tenant}' AND rolcanlogin"
        );
        ensure!(
            self.ask("postgres", &logins).await? == format!("{tenant}_a"),
            "logins"
        );
        ensure!(self.naming(tenant)?.len() == 3, "{:?}", self.naming(tenant)?);
        Ok(())
    }

    /// Nothing of the tenant is left: no role, database, line, file, claim or secret.
    async fn is_gone(&self, ended: &Operation) -> Result<()> {
        let tenant = &ended.tenant_id;
        let things = format!(
            "SELECT count(*) FROM (SELECT rolname::text AS name FROM pg_roles UNION ALL SELECT datname FROM pg_database \
             UNION ALL SELECT usename FROM pg_stat_activity) AS named WHERE left(name, 14) = '{tenant}'"
        );
        ensure!(
            self.ask("postgres", &things).await? == "0",
            "roles, databases or sessions are left"
        );
        ensure!(
            self.naming(tenant)?.is_empty(),
            "{:?} name it",
            self.naming(tenant)?
        );
        let asked = ResolveRequest {
            claim: Some(Claim {
                kind: claim::Kind::Slug.into(),
                key: ended.tenant_slug.clone(),
            }),
            ..Default::default()
        };
        let resolved = self.fleet.api().resolver().resolve(asked).await;
        let free = resolved.as_ref().err().and_then(reason) == Some(ErrorReason::TenantNotFound);
        ensure!(free, "its claim is held: {resolved:?}");
        Ok(())
    }
}

fn done_or_undone(ended: &Operation, case: &Case) -> Result<State> {
    match ended.state() {
        State::Done => Ok(State::Done),
        // A database that takes long to come back may cost an onboarding its tries: then it was undone whole.
        State::Undone if case.victim == Victim::Postgres => Ok(State::Undone),
        state => bail!("it ended {state:?}: {} {}", ended.reason, ended.detail),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_comes_in_whole_or_not_at_all_whoever_dies_around_whichever_step() -> Result<()> {
    let held = Held::start().await?;
    let mut here = 0;
    for case in Case::all(&ONBOARD, "forward") {
        here += usize::from(held.onboard(&case).await.with_context(|| case.name())?);
    }
    held.nobody_else_is_there(here).await?;
    held.fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_back_leaves_nothing_whoever_dies_around_whichever_step() -> Result<()> {
    let held = Held::start().await?;
    for case in Case::all(&BACK, "undo") {
        held.turn_back(&case).await.with_context(|| case.name())?;
    }
    held.nobody_else_is_there(0).await?;
    held.fleet.shutdown().await
}

/// The tenant is served all the while; its doors are the new ones or the old ones, and the registry says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doors_are_changed_or_changed_back_and_looks_change_nothing_whoever_dies() -> Result<()> {
    let held = Held::start().await?;
    let made = held.ended(&held.create("hue", "ehr").await?.id).await?;
    let tenant = made.tenant_id;
    let mut doors = held.doors(&tenant)?;
    for (i, case) in Case::all(&["change_doors"], "forward").iter().enumerate() {
        let wanted = format!("127.{i}.0.0/16");
        held.hold(case)?;
        let operation = held.allow(&tenant, &wanted).await?;
        held.strike(case).await?;
        let ended = held.ended(&operation.id).await?;
        ensure!(ended.state() == State::Done, "{}: {ended:?}", case.name());
        doors = held.doors(&tenant)?;
        // The agent's own tries come from the first one.
        let open = ["127.0.0.1/32".to_owned(), wanted.clone()];
        let is_open = |cidr: &String| doors.iter().filter(|line| line.contains(cidr.as_str())).count() == 1;
        ensure!(
            doors.len() == 2 && open.iter().all(is_open),
            "{}: {doors:?}",
            case.name()
        );
        ensure!(held.allowlist(&tenant).await? == [wanted], "{}", case.name());
    }
    let before = held.allowlist(&tenant).await?;
    for case in Case::all(&["change_doors"], "undo") {
        held.hold(&Case {
            way: "forward",
            moment: "before",
            ..case
        })?;
        let operation = held.allow(&tenant, "127.99.0.0/16").await?;
        held.is_there().await?;
        held.cancel(&operation.id).await?;
        held.go_on_to(&case)?;
        held.strike(&case).await?;
        let ended = held.ended(&operation.id).await?;
        ensure!(ended.state() == State::Undone, "{}: {ended:?}", case.name());
        ensure!(held.doors(&tenant)? == doors, "{}", case.name());
        ensure!(held.allowlist(&tenant).await? == before, "{}", case.name());
    }
    // Services come from where this test does again.
    let operation = held.allow(&tenant, "127.0.0.0/8").await?;
    ensure!(held.ended(&operation.id).await?.state() == State::Done);
    doors = held.doors(&tenant)?;
    for case in Case::all(&["audit", "probe"], "forward") {
        held.hold(&case)?;
        let operation = held.scan(&tenant).await?;
        held.strike(&case).await?;
        let ended = held.ended(&operation.id).await?;
        ensure!(ended.state() == State::Done, "{}: {ended:?}", case.name());
        ensure!(held.doors(&tenant)? == doors, "{}", case.name());
    }
    held.nobody_else_is_there(1).await?;
    held.fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_leaves_leaves_nothing_whoever_dies_around_whichever_step() -> Result<()> {
    let held = Held::start().await?;
    for case in Case::all(&OFFBOARD, "forward") {
        held.offboard(&case).await.with_context(|| case.name())?;
    }
    held.nobody_else_is_there(0).await?;
    held.fleet.shutdown().await
}

impl Held {
    /// Brings a tenant in; whether it stayed.
    async fn onboard(&self, case: &Case) -> Result<bool> {
        self.hold(case)?;
        let operation = self.create(&case.slug(), "ehr").await?;
        self.strike(case).await?;
        let ended = self.ended(&operation.id).await?;
        match done_or_undone(&ended, case)? {
            State::Done => self.is_whole(&ended).await.map(|()| true),
            _ => self.is_gone(&ended).await.map(|()| false),
        }
    }

    /// A migration that fails is taken back.
    async fn turn_back(&self, case: &Case) -> Result<()> {
        self.hold(case)?;
        let operation = self.create(&case.slug(), "ehr-broken").await?;
        self.strike(case).await?;
        let ended = self.ended(&operation.id).await?;
        ensure!(
            ended.state() == State::Undone && ended.reason == "42P01",
            "{ended:?}"
        );
        self.is_gone(&ended).await
    }

    async fn offboard(&self, case: &Case) -> Result<()> {
        let slug = case.slug();
        let made = self.ended(&self.create(&slug, "ehr").await?.id).await?;
        ensure!(made.state() == State::Done, "{made:?}");
        self.hold(case)?;
        let order = DeleteTenantRequest {
            request_id: reeve_client::request_id(),
            tenant: slug.clone(),
            confirm: slug,
            ..Default::default()
        };
        let answer = self
            .fleet
            .api()
            .tenants()
            .delete_tenant(order)
            .await?
            .into_inner();
        let operation = answer.operation.context("no operation")?;
        self.strike(case).await?;
        let ended = self.ended(&operation.id).await?;
        ensure!(ended.state() == State::Done, "{ended:?}");
        self.is_gone(&ended).await
    }

    async fn allow(&self, tenant: &str, cidr: &str) -> Result<Operation> {
        let order = SetAllowlistRequest {
            request_id: reeve_client::request_id(),
            tenant: tenant.to_owned(),
            allowlist_cidrs: vec![cidr.to_owned()],
            ..Default::default()
        };
        let answer = self.fleet.api().tenants().set_allowlist(order).await?;
        answer.into_inner().operation.context("no operation")
    }

    async fn scan(&self, tenant: &str) -> Result<Operation> {
        let order = ScanIsolationRequest {
            request_id: reeve_client::request_id(),
            tenant: tenant.to_owned(),
            ..Default::default()
        };
        let answer = self.fleet.api().databases().scan_isolation(order).await?;
        answer.into_inner().operation.context("no operation")
    }

    async fn cancel(&self, operation: &str) -> Result<()> {
        let order = CancelOperationRequest {
            request_id: reeve_client::request_id(),
            operation: operation.to_owned(),
            ..Default::default()
        };
        self.fleet.api().operations().cancel_operation(order).await?;
        Ok(())
    }

    async fn allowlist(&self, tenant: &str) -> Result<Vec<String>> {
        let asked = GetTenantRequest {
            tenant: tenant.to_owned(),
            ..Default::default()
        };
        let answer = self.fleet.api().tenants().get_tenant(asked).await?;
        let tenant = answer.into_inner().tenant.context("no tenant")?;
        Ok(tenant.allowlist_cidrs)
    }

    /// The lines that let the tenant's logins in.
    fn doors(&self, tenant: &str) -> Result<Vec<String>> {
        let lines = std::fs::read_to_string(self.fleet.dir().join(AGENT).join("pg/pg_hba.conf"))?;
        let its = lines
            .lines()
            .filter(|line| line.starts_with("hostssl") && line.contains(tenant));
        Ok(its.map(str::to_owned).collect())
    }

    /// What is on the instance is what was onboarded and stayed, and nothing else.
    async fn nobody_else_is_there(&self, tenants: usize) -> Result<()> {
        let databases = "SELECT count(*) FROM pg_database WHERE datname ~ '^t_'";
        let roles = "SELECT count(*) FROM pg_roles WHERE rolname ~ '^t_'";
        ensure!(
            self.ask("postgres", databases).await? == tenants.to_string(),
            "databases"
        );
        ensure!(
            self.ask("postgres", roles).await? == (5 * tenants).to_string(),
            "roles"
        );
        Ok(())
    }
}
