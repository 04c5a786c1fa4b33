//! A fleet of one agent that can be held still at any moment of any step, and whoever is killed then.
#![allow(dead_code, reason = "each test uses its own part of it")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use reeve_client::reason;
use reeve_client::v1::{ErrorReason, Operation};
use reeve_local::{Builder, Fleet, tenants, until};

pub const PATIENCE: Duration = Duration::from_secs(120);
pub const AGENT: &str = "vn-1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Agent,
    Postgres,
    Leader,
}

/// One field of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub step: &'static str,
    pub way: &'static str,
    pub moment: &'static str,
    pub victim: Victim,
}

impl Case {
    pub fn all(steps: &[&'static str], way: &'static str) -> Vec<Case> {
        let mut all = Vec::new();
        for step in steps {
            for moment in ["before", "after"] {
                for victim in [Victim::Agent, Victim::Postgres, Victim::Leader] {
                    all.push(Case {
                        step,
                        way,
                        moment,
                        victim,
                    });
                }
            }
            // What is in the journal and nowhere else is the agent's own.
            let (moment, victim) = ("journaled", Victim::Agent);
            all.push(Case {
                step,
                way,
                moment,
                victim,
            });
        }
        all
    }

    pub fn name(&self) -> String {
        let victim = format!("{:?}", self.victim).to_lowercase();
        format!("{} {} {} {victim}", self.step, self.way, self.moment)
    }

    /// A tenant's name that says what was done to it.
    pub fn slug(&self) -> String {
        self.name().replace(['_', ' '], "-")
    }
}

/// A fleet of one agent that can be held still.
pub struct Held {
    pub fleet: Fleet,
    folder: tempfile::TempDir,
    /// What the first tenant's book of migrations says; all others' must say the same.
    pub first: std::sync::OnceLock<String>,
}

impl Held {
    pub async fn start() -> Result<Held> {
        Held::in_fleet(Fleet::builder()).await
    }

    /// With nodes of the caller's.
    pub async fn in_fleet(fleet: Builder) -> Result<Held> {
        let folder = tempfile::tempdir()?;
        let examples = reeve_local::examples_dir()?;
        let fleet = fleet
            .regions(["vn"])
            .schema("ehr", examples.join("ehr"))
            .schema("ehr-broken", examples.join("ehr-broken"))
            .agent_env("REEVE_HOLD", &folder.path().to_string_lossy())
            .start()
            .await?;
        Ok(Held {
            fleet,
            folder,
            first: Default::default(),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on the agent stops at that moment.
    pub fn hold(&self, case: &Case) -> Result<()> {
        let moment = format!("{} {} {}", case.step, case.way, case.moment);
        Ok(std::fs::write(self.file("at"), moment)?)
    }

    /// Waits until the agent stands still.
    pub async fn is_there(&self) -> Result<()> {
        until("the agent to come there", PATIENCE, async || {
            Ok(self.file("here").exists().then_some(()))
        })
        .await
    }

    /// Lets the agent go on from where it stands, up to another moment.
    pub fn go_on_to(&self, case: &Case) -> Result<()> {
        std::fs::remove_file(self.file("here"))?;
        self.hold(case)
    }

    /// Lets the agent go on, and holds it no more.
    pub fn release(&self) -> Result<()> {
        std::fs::remove_file(self.file("here"))?;
        Ok(std::fs::remove_file(self.file("at"))?)
    }

    /// Kills the victim while the agent stands still, lets it go on, and has the victim come back.
    pub async fn strike(&self, case: &Case) -> Result<()> {
        self.is_there().await?;
        let agent = self.fleet.agent(AGENT)?;
        match case.victim {
            Victim::Agent => {
                agent.kill9()?;
                self.release()?;
                agent.start()?;
            }
            Victim::Postgres => {
                agent.postgres().kill9()?;
                self.release()?;
            }
            Victim::Leader => {
                let leader = self.fleet.leader().await?;
                leader.kill9()?;
                self.release()?;
                leader.start()?;
            }
        }
        Ok(())
    }

    pub async fn ended(&self, id: &str) -> Result<Operation> {
        let ended = tenants::ended(self.fleet.api(), id, PATIENCE).await?;
        // Who was killed is back before the next one is.
        self.fleet.wait_whole().await?;
        Ok(ended)
    }

    pub async fn ask(&self, database: &str, sql: &str) -> Result<String> {
        let postgres = self.fleet.agent(AGENT)?.postgres();
        until("PostgreSQL to answer", PATIENCE, async || {
            Ok(postgres.ask(database, sql).await.ok())
        })
        .await
    }

    /// Orders a tenant, once the group is known to have come back from what was done to it last.
    pub async fn create(&self, slug: &str, channel: &str) -> Result<Operation> {
        until("room for a tenant", PATIENCE, async || {
            let order = tenants::order(slug, &format!("{slug}.example"), "vn", channel);
            match self.fleet.api().tenants().create_tenant(order).await {
                Ok(answer) => Ok(Some(answer.into_inner().operation.context("no operation")?)),
                Err(refused) if reason(&refused) == Some(ErrorReason::NoCapacity) => Ok(None),
                Err(refused) => Err(refused.into()),
            }
        })
        .await
    }
}
