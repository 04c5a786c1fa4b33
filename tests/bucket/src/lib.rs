//! An S3 server of real HTTP over TLS in this process: it checks signatures, keeps objects as files, and can be told to
//! fail. Tests of backups run against it.
//!
//! ```text
//! TLS ─► HTTP ─► faults ─► signatures (s3s) ─► uploads that are under way ─► files (s3s-fs)
//! ```

mod desk;
mod fault;
mod keys;
mod serve;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::{Fault, Rule};

use desk::Desk;
use fault::Faults;

pub const ACCESS_KEY: &str = "reeve-test-access";
pub const SECRET_KEY: &str = "reeve-test-secret-0123456789";
pub const BUCKET: &str = "backups";

/// How the server is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Plain HTTP without.
    pub tls: bool,
    /// How far a caller's clock may be from the server's. With 0 every caller's is too far.
    pub clock_skew_s: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tls: true,
            clock_skew_s: 900,
        }
    }
}

/// A server that runs until it is dropped.
pub struct Server {
    dir: TempDir,
    address: SocketAddr,
    is_tls: bool,
    faults: Arc<Faults>,
    desk: Desk,
    serving: JoinHandle<()>,
}

impl Server {
    /// With one bucket, which is empty.
    pub async fn start(options: Options) -> Result<Server> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("store").join(BUCKET))?;
        keys::write(dir.path())?;
        let desk = Desk::open(&dir.path().join("store"))?;
        let mut service = S3ServiceBuilder::new(desk.clone());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let mut config = S3Config::default();
        config.presigned_url_max_skew_time_secs = options.clock_skew_s;
        service.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Faults::default());
        let tls = match options.tls {
            true => Some(keys::acceptor(dir.path()).context("the server's certificate")?),
            false => None,
        };
        let serving = tokio::spawn(serve::run(listener, tls, service.build(), faults.clone()));
        Ok(Server {
            dir,
            address,
            is_tls: options.tls,
            faults,
            desk,
            serving,
        })
    }

    pub fn endpoint(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The CA of its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    pub fn access_key_file(&self) -> PathBuf {
        self.dir.path().join("access.key")
    }

    pub fn secret_key_file(&self) -> PathBuf {
        self.dir.path().join("secret.key")
    }

    /// A key that the server does not know.
    pub fn wrong_key_file(&self) -> PathBuf {
        self.dir.path().join("wrong.key")
    }

    /// Where the bucket's objects lie.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("store").join(BUCKET)
    }

    /// The objects below a prefix, in order.
    pub fn objects(&self, prefix: &str) -> Result<Vec<String>> {
        let folder = self.folder().join(prefix);
        let mut names = Vec::new();
        if folder.is_dir() {
            for entry in std::fs::read_dir(folder)? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Puts an object where it was not asked for.
    pub fn plant(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder().join(key);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        Ok(std::fs::write(path, bytes)?)
    }

    /// Keys of uploads that were begun and neither ended nor were given up.
    pub fn uploads(&self) -> Vec<String> {
        self.desk.uploads()
    }

    /// How often each object was written in one request.
    pub fn written(&self) -> BTreeMap<String, usize> {
        self.desk.written()
    }

    /// From now on.
    pub fn fail(&self, rule: Rule) {
        self.faults.add(rule);
    }

    /// Answers everything again.
    pub fn heal(&self) {
        self.faults.clear();
    }

    /// How many requests met a fault.
    pub fn failed(&self) -> usize {
        self.faults.met()
    }

    /// What was asked, as `PUT backups/reeve/name?query`.
    pub fn asked(&self) -> Vec<String> {
        self.faults.asked()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
