//! Two onboardings that go wrong: one cannot succeed and leaves nothing, one loses its agent and succeeds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reeve_client::v1::operation::State;
use reeve_client::v1::{ErrorReason, GetTenantRequest, step};
use reeve_client::{Api, Selector};
use reeve_local::{Postgres, tenants};

use super::Tour;
use super::hospitals::{self, Hospital};
use super::live::Live;
use super::show::say;

const PATIENCE: Duration = Duration::from_secs(60);

impl Tour {
    pub(super) async fn trouble(&mut self) -> Result<()> {
        self.show
            .stage("A migration that breaks, and an agent that dies half-way");
        self.broken().await?;
        self.orphaned().await
    }

    async fn broken(&mut self) -> Result<()> {
        let begun = Instant::now();
        let api = self.fleet.api();
        let mut hospital = Hospital::named("ill-fated", "vn");
        let ended = hospitals::onboard(api, &mut hospital, "ehr-broken", &Live::new()).await?;
        ensure!(
            ended.state() == State::Undone,
            "the broken onboarding ended {:?}",
            ended.state()
        );
        let failed = ended.steps.iter().find(|step| !step.error.is_empty());
        if let Some(step) = failed {
            say(format!(
                "{} failed: {}",
                step.name,
                step.error.lines().next().unwrap_or_default()
            ));
        }
        let left = left_in(self.fleet.postgres("vn-1")?, &hospital.tenant).await?;
        ensure!(left.is_empty(), "the undone onboarding left {left}");
        self.is_forgotten(api, &hospital).await?;
        say("no database, role, door or claim of it is left");
        self.show
            .row_of("broken migration: undone, nothing left", "1", begun.elapsed());
        Ok(())
    }

    /// Nobody holds its name: not as a tenant, not as a claim, and a new order for it would be taken.
    async fn is_forgotten(&self, api: &Api, hospital: &Hospital) -> Result<()> {
        let asked = GetTenantRequest {
            tenant: hospital.tenant.clone(),
            ..Default::default()
        };
        let status = api
            .tenants()
            .get_tenant(asked)
            .await
            .err()
            .context("the undone tenant is still listed")?;
        let reason = reeve_client::reason(&status);
        ensure!(
            reason == Some(ErrorReason::TenantNotFound),
            "the undone tenant is answered with {status}"
        );
        let resolved = self.service.resolve(&Selector::domain(&hospital.domain)?).await;
        ensure!(resolved.is_err(), "the undone tenant still resolves");
        let mut again = tenants::order(&hospital.slug, &hospital.domain, &hospital.region, "ehr");
        again.validate_only = true;
        api.tenants()
            .create_tenant(again)
            .await
            .context("its name is still taken")?;
        Ok(())
    }

    async fn orphaned(&mut self) -> Result<()> {
        let begun = Instant::now();
        let api = self.fleet.api();
        let agent = self.fleet.agent("eu-1")?;
        let order = tenants::order("night-shift", "night-shift.example", agent.region(), "ehr");
        let operation = tenants::create(api, order).await?;
        let mut died_at = None;
        let mut killed = Ok(());
        let ended = tenants::follow(api, &operation.id, PATIENCE, |now| {
            let at = now.steps.iter().find(|step| step.state() == step::State::Open);
            let at = at.filter(|step| died_at.is_none() && matches!(step.name.as_str(), "migrate" | "seed"));
            if let Some(step) = at {
                died_at = Some(step.name.clone());
                killed = agent.kill9();
            }
        })
        .await?;
        killed?;
        let died_at = died_at.context("the onboarding was over before its agent could die")?;
        hospitals::ensure_done(&ended)?;
        say(format!(
            "agent eu-1 was killed during {died_at}, started again, and went on"
        ));
        self.show
            .row_of("agent killed half-way: done", "1", begun.elapsed());
        Ok(())
    }
}

/// What a tenant has in an instance, asked as the instance's owner over its socket.
async fn left_in(postgres: &Postgres, tenant: &str) -> Result<String> {
    let sql = format!(
        "SELECT 'database ' || datname FROM pg_database WHERE datname = '{tenant}'
         UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE '{tenant}%'
         UNION ALL SELECT 'door, line ' || line_number FROM pg_hba_file_rules
                   WHERE '{tenant}' = ANY (database) OR array_to_string(user_name, ' ') LIKE '%{tenant}%'"
    );
    postgres.ask("postgres", &sql).await
}
