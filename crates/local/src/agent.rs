//! One agent with its PostgreSQL instance.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use reeve_client::JoinToken;

use crate::config::AgentConfig;
use crate::ledger::Ledger;
use crate::os;
use crate::postgres::Postgres;
use crate::process::Process;

/// An agent's process; its instance lives on when it dies.
pub struct Agent {
    name: String,
    region: String,
    config: PathBuf,
    token_file: PathBuf,
    process: Process,
    postgres: Postgres,
}

impl Agent {
    pub(crate) fn new(
        region: &str,
        config: &AgentConfig,
        program: &Path,
        log: PathBuf,
        ledger: Arc<Ledger>,
    ) -> Result<Agent> {
        let path = config.write()?;
        let postgres = Postgres::new(
            &config.name,
            config.postgres_dir(),
            config.socket_dir(),
            config.port,
            config.advertise_port,
        );
        ledger.postgres(postgres.data_dir())?;
        let args = vec!["--config".into(), path.clone().into(), "run".into()];
        Ok(Agent {
            name: config.name.clone(),
            region: region.to_owned(),
            token_file: config.dir.join("token"),
            process: Process::new(&format!("agent-{}", config.name), program, args, log, ledger),
            config: path,
            postgres,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// Its settings, for its program's other verbs.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Gets its identity with a token, as on a real machine.
    pub(crate) async fn join(&self, token: &JoinToken) -> Result<()> {
        os::write_secret(&self.token_file, &token.to_string())?;
        let args: [OsString; 5] = [
            "--config".into(),
            self.config.clone().into(),
            "join".into(),
            "--token-file".into(),
            self.token_file.clone().into(),
        ];
        self.process.run_once(args.into()).await
    }

    pub fn start(&self) -> Result<()> {
        self.process.start()
    }

    /// SIGKILL: no farewell, no flush. Its PostgreSQL goes on.
    pub fn kill9(&self) -> Result<()> {
        self.process.kill9()
    }

    pub async fn stop(&self) -> Result<()> {
        self.process.stop().await
    }

    pub fn pause(&self) {
        self.process.pause();
    }

    pub fn resume(&self) {
        self.process.resume();
    }

    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Everything it printed.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }
}
