//! One registry node.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use reeve_client::{Api, Credentials, JoinToken};

use crate::ledger::Ledger;
use crate::os;
use crate::process::Process;

/// A node's process and the ways to reach it.
pub struct Node {
    id: u64,
    config: PathBuf,
    token_file: PathBuf,
    data_dir: PathBuf,
    process: Process,
    api: Api,
    address: String,
    http: String,
}

/// What a node is made of.
pub(crate) struct Parts<'a> {
    pub(crate) id: u64,
    pub(crate) program: &'a Path,
    pub(crate) config: PathBuf,
    pub(crate) dir: &'a Path,
    /// The hop in front of its API.
    pub(crate) address: String,
    pub(crate) http: String,
    pub(crate) admin: &'a Credentials,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) env: Vec<(String, String)>,
}

impl Node {
    pub(crate) fn new(parts: Parts<'_>) -> Result<Node> {
        let name = format!("n{}", parts.id);
        let args = vec!["--config".into(), parts.config.clone().into(), "run".into()];
        let log = parts.dir.join(format!("{name}.log"));
        Ok(Node {
            id: parts.id,
            token_file: parts.dir.join(&name).join("token"),
            process: Process::new(&name, parts.program, args, log, parts.ledger).with_env(parts.env),
            data_dir: parts.dir.join(&name).join("data"),
            api: Api::connect(std::slice::from_ref(&parts.address), parts.admin)?,
            config: parts.config,
            address: parts.address,
            http: parts.http,
        })
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its API through a hop.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// An admin's calls to this node and no other.
    pub fn api(&self) -> Api {
        self.api.clone()
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

    /// A variable of its environment, from its next start on.
    pub fn set_env(&self, key: &str, value: &str) {
        self.process.set_env(key, value);
    }

    pub fn start(&self) -> Result<()> {
        self.process.start()
    }

    /// SIGKILL: no farewell, no flush.
    pub fn kill9(&self) -> Result<()> {
        self.process.kill9()
    }

    /// SIGTERM, and SIGKILL when it does not leave.
    pub async fn stop(&self) -> Result<()> {
        self.process.stop().await
    }

    /// Halts it where it stands.
    pub fn pause(&self) {
        self.process.pause();
    }

    pub fn resume(&self) {
        self.process.resume();
    }

    /// SIGHUP: it renews its certificate now.
    pub fn renew_certificate(&self) {
        self.process.hang_up();
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its certificate chain, as a file.
    pub fn certificate(&self) -> PathBuf {
        self.config.with_file_name("node.crt")
    }

    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.pid()
    }

    /// How its last life ended, if it has ended by itself.
    pub fn exit_code(&self) -> Option<i32> {
        self.process.exit_code()
    }

    /// Where it keeps its log, snapshots and archive.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Everything it printed.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }
}
