//! What a fleet shall be.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::Api;
use toml::Table;

use super::recipe::Recipe;
use super::{Fleet, supervise};
use crate::init::IdentityFiles;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::{Binaries, init, os};

/// Hears of each stage that was reached, and how long it took.
pub(super) type OnStage = Box<dyn Fn(&str, Duration) + Send + Sync>;

/// Who is started again when it dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    #[default]
    Nobody,
    Agents,
    Everybody,
}

/// Settings of a fleet that is to be started.
pub struct Builder {
    pub(super) cluster: String,
    pub(super) nodes: u64,
    spares: u64,
    pub(super) regions: Vec<String>,
    pub(super) schemas: Vec<(String, PathBuf)>,
    node_settings: Table,
    node_env: Vec<(Option<u64>, String, String)>,
    pub(super) agent_settings: Table,
    pub(super) agent_env: Vec<(String, String)>,
    pub(super) on_stage: OnStage,
    dir: Option<PathBuf>,
    binaries: Option<Binaries>,
    restart: Restart,
    direct: bool,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            cluster: "dev".to_owned(),
            nodes: 3,
            spares: 0,
            regions: vec!["vn".to_owned()],
            schemas: Vec::new(),
            node_settings: Table::new(),
            node_env: Vec::new(),
            agent_settings: Table::new(),
            agent_env: Vec::new(),
            on_stage: Box::new(|_, _| {}),
            dir: None,
            binaries: None,
            restart: Restart::default(),
            direct: false,
        }
    }

    pub fn cluster(mut self, name: &str) -> Builder {
        self.cluster = name.to_owned();
        self
    }

    /// Registry nodes.
    pub fn nodes(mut self, nodes: u64) -> Builder {
        self.nodes = nodes;
        self
    }

    /// How many more may be added while it runs.
    pub fn spares(mut self, spares: u64) -> Builder {
        self.spares = spares;
        self
    }

    /// Regions; each gets an agent with a PostgreSQL, named `<region>-1`. None: a registry alone.
    pub fn regions<S: Into<String>>(mut self, regions: impl IntoIterator<Item = S>) -> Builder {
        self.regions = regions.into_iter().map(Into::into).collect();
        self
    }

    /// A schema channel and its folder, known to every agent.
    pub fn schema(mut self, channel: &str, dir: impl Into<PathBuf>) -> Builder {
        self.schemas.push((channel.to_owned(), dir.into()));
        self
    }

    /// Keeps the fleet there: nothing is removed at the end, and it comes back from it.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Builder {
        self.dir = Some(dir.into());
        self
    }

    /// Further settings of each node, as in its configuration file.
    pub fn node_settings(mut self, settings: Table) -> Builder {
        self.node_settings = settings;
        self
    }

    /// A variable that every node is started with.
    pub fn node_env(mut self, key: &str, value: &str) -> Builder {
        self.node_env.push((None, key.to_owned(), value.to_owned()));
        self
    }

    /// A variable that one node is started with.
    pub fn node_env_of(mut self, node: u64, key: &str, value: &str) -> Builder {
        self.node_env.push((Some(node), key.to_owned(), value.to_owned()));
        self
    }

    /// Further settings of each agent.
    pub fn agent_settings(mut self, settings: Table) -> Builder {
        self.agent_settings = settings;
        self
    }

    /// A variable that every agent is started with.
    pub fn agent_env(mut self, key: &str, value: &str) -> Builder {
        self.agent_env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The programs to run, instead of those found beside this one.
    pub fn binaries(mut self, binaries: Binaries) -> Builder {
        self.binaries = Some(binaries);
        self
    }

    /// Without hops: no link can be hurt, and nothing of this process stands in the way of what is measured.
    pub fn direct(mut self) -> Builder {
        self.direct = true;
        self
    }

    pub fn restart(mut self, restart: Restart) -> Builder {
        self.restart = restart;
        self
    }

    /// Hears of each stage that was reached.
    pub fn on_stage(mut self, on_stage: impl Fn(&str, Duration) + Send + Sync + 'static) -> Builder {
        self.on_stage = Box::new(on_stage);
        self
    }

    /// Starts it, or starts it again, and returns when every node votes and every agent serves.
    pub async fn start(mut self) -> Result<Fleet> {
        let binaries = self.binaries.take().map_or_else(Binaries::find, Ok)?;
        for (channel, dir) in &mut self.schemas {
            *dir = std::path::absolute(&dir)?;
            let is_there = dir.join("versions.toml").is_file();
            ensure!(
                is_there,
                "schema {channel}: {} holds no versions.toml",
                dir.display()
            );
        }
        let dir = self.make_dir()?;
        if os::is_root() {
            os::ensure_reachable(&dir)?;
        }
        let ledger = std::sync::Arc::new(Ledger::open(&dir, self.dir.is_none())?);
        let kept = Plan::load(&dir)?;
        let is_new = kept.is_none();
        let drawn = || Plan::draw(&self.cluster, self.nodes, self.spares, &self.regions);
        let mut plan = kept.map_or_else(drawn, Ok)?;
        if self.direct {
            plan = plan.direct();
        }
        plan.wait_ports().await?;
        let hops = plan.open_hops().await?;
        let recipe = Recipe {
            program: binaries.registry.clone(),
            settings: std::mem::take(&mut self.node_settings),
            env: std::mem::take(&mut self.node_env),
        };
        match is_new {
            true => self.found(&recipe, &plan, &dir)?,
            false => init::renew_admin(&plan.cluster, &dir, super::start::ADMIN)?,
        }
        let admin = IdentityFiles::admin(&dir).load()?;
        let addresses: Vec<String> = plan.nodes.iter().map(|node| node.address()).collect();
        let api = Api::connect(&addresses, &admin)?;
        let mut fleet = Fleet {
            nodes: recipe.make_all(&plan, &dir, &admin, &ledger)?,
            agents: self.make_agents(&plan, &dir, &binaries, &ledger)?,
            hops,
            admin,
            api,
            supervisor: None,
            ledger,
            dir,
            plan,
            recipe,
        };
        // Dropped on failure, with everything that runs by then.
        match is_new {
            true => fleet.begin(&self).await?,
            false => fleet.come_back(&self).await?,
        }
        fleet.supervisor = supervise::start(self.restart, &fleet.nodes, &fleet.agents);
        Ok(fleet)
    }

    fn make_dir(&self) -> Result<PathBuf> {
        let Some(dir) = &self.dir else {
            let dir = tempfile::Builder::new().prefix("reeve-").tempdir()?;
            let keep = dir.keep();
            // The instance's unprivileged owner must pass through; keys inside have modes of their own.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&keep, mode)?;
            return Ok(keep);
        };
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        dir.canonicalize()
            .with_context(|| format!("finding {}", dir.display()))
    }
}
