//! What is left when a fleet's nodes are gone, and what a person does with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use reeve_client::v1;
use reeve_local::init::IdentityFiles;
use reeve_local::{Dial, Doors, Fleet, Node, NodeConfig, free_ports, tenants, until};
use serde_json::Value;
use tokio::task::JoinSet;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Slug and domain of each tenant.
pub type Tenants = Vec<(String, String)>;

/// Clients that go on onboarding tenants until they are told to stop.
pub struct Load {
    acked: Arc<Mutex<Tenants>>,
    clients: JoinSet<()>,
}

impl Load {
    pub fn start(fleet: &Fleet, clients: usize) -> Load {
        let acked: Arc<Mutex<Tenants>> = Arc::default();
        let mut all = JoinSet::new();
        for client in 0..clients {
            let (api, acked) = (fleet.api().clone(), acked.clone());
            all.spawn(async move {
                for number in 0.. {
                    let slug = format!("h-{client}-{number}");
                    let domain = format!("{slug}.example");
                    let order = tenants::order(&slug, &domain, "vn", "ehr");
                    // What was not acknowledged may be there or not.
                    match tenants::create(&api, order).await {
                        Ok(_) => acked.lock().push((slug, domain)),
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            });
        }
        Load { acked, clients: all }
    }

    pub fn acked(&self) -> Tenants {
        self.acked.lock().clone()
    }

    /// Returns when so many were acknowledged.
    pub async fn reach(&self, count: usize) -> Result<()> {
        until("tenants to be acknowledged", PATIENCE, async || {
            Ok((self.acked.lock().len() >= count).then_some(()))
        })
        .await
    }

    pub async fn stop(mut self) {
        self.clients.shutdown().await;
    }
}

/// A folder of a person's own, with what was kept elsewhere: the root key and the admin's identity.
pub struct Ashes {
    dir: tempfile::TempDir,
    admin: IdentityFiles,
    nodes: String,
}

/// A node that ends with this.
pub struct Restored(Child);

impl Drop for Restored {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a restored cluster goes: options of the command line.
pub struct Place(Vec<PathBuf>);

impl Place {
    pub fn owned(&self) -> Vec<PathBuf> {
        self.0.clone()
    }
}

impl Ashes {
    pub fn of(fleet: &Fleet) -> Result<Ashes> {
        let dir = tempfile::tempdir()?;
        fs::copy(fleet.dir().join("root.key"), dir.path().join("root.key"))?;
        Ok(Ashes {
            admin: fleet.admin_files(),
            nodes: fleet.addresses().join(","),
            dir,
        })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn root_key(&self) -> PathBuf {
        self.dir().join("root.key")
    }

    /// The folders of all nodes, and the fleet's own copy of the root key, are gone.
    pub fn lose_everything(&self, fleet: &Fleet) -> Result<()> {
        for node in fleet.nodes() {
            fs::remove_dir_all(fleet.dir().join(format!("n{}", node.id())))?;
        }
        Ok(fs::remove_file(fleet.dir().join("root.key"))?)
    }

    /// All but one node's folder are gone.
    pub fn lose_all_but(&self, fleet: &Fleet, survivor: u64) -> Result<()> {
        for node in fleet.nodes().iter().filter(|node| node.id() != survivor) {
            fs::remove_dir_all(fleet.dir().join(format!("n{}", node.id())))?;
        }
        Ok(())
    }

    /// At the first node's address.
    pub fn place(&self, fleet: &Fleet, dir: &str) -> Place {
        self.place_at(fleet.nodes()[0].address(), dir)
    }

    /// At the address of a node that is lost.
    pub fn place_away_from(&self, fleet: &Fleet, dir: &str, survivor: u64) -> Place {
        let lost = fleet.nodes().iter().find(|node| node.id() != survivor);
        let api = lost.map(|node| node.address().to_owned()).unwrap_or_default();
        self.place_at(&api, dir)
    }

    fn place_at(&self, api: &str, dir: &str) -> Place {
        let [peer, http] = ports();
        let flags = [
            "--root-key".into(),
            self.root_key(),
            "--dir".into(),
            self.dir().join(dir),
            "--admin".into(),
            "ann".into(),
            "--api".into(),
            api.into(),
            "--peer".into(),
            peer.into(),
            "--http".into(),
            http.into(),
            "--no-context".into(),
        ];
        Place(flags.into())
    }

    /// Starts the node that a restore made.
    pub fn start_restored(&self, made: &Value) -> Result<Restored> {
        let config = made["config"].as_str().context("no configuration was made")?;
        self.start(Path::new(config), &[])
    }

    fn start(&self, config: &Path, args: &[&str]) -> Result<Restored> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir().join("nodes.log"))?;
        let child = Command::new(reeve_local::registry_program()?)
            .arg("--config")
            .arg(config)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Restored(child))
    }

    /// Joins one more node, as docs/operations.md says, and starts it.
    pub async fn join(&self, fleet: &Fleet, number: u64) -> Result<Restored> {
        let dir = self.dir().join(format!("joined-{number}"));
        let [api, peer] = ports();
        let [http, _] = ports();
        let config = NodeConfig {
            cluster: fleet.cluster().to_owned(),
            node_id: 0,
            data_dir: dir.join("data"),
            listen: Doors {
                api: api.clone(),
                peer: peer.clone(),
                http,
            },
            advertise: Dial { api, peer },
            provider_key: self.root_key(),
            peers: Vec::new(),
            seeds: fleet.addresses(),
            settings: Default::default(),
            dir: dir.clone(),
        };
        let config = config.write(&dir.join("registry.toml"))?;
        let token = fleet.token(v1::Role::Node, "", "", &[]).await?;
        let file = dir.join("token");
        fs::write(&file, token.to_string())?;
        let file = file.to_string_lossy().into_owned();
        let mut joining = self.start(&config, &["join", "--token-file", &file])?;
        let joined = tokio::task::spawn_blocking(move || joining.0.wait()).await??;
        ensure!(joined.success(), "joining ended with {joined}\n{}", self.log());
        self.start(&config, &[])
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir().join("nodes.log")).unwrap_or_default()
    }
}

fn ports() -> [String; 2] {
    let ports = free_ports(2).unwrap();
    [0, 1].map(|at| format!("127.0.0.1:{}", ports[at]))
}

/// Runs what must succeed; gives back its result.
pub fn reeve(ashes: &Ashes, verb: &str, args: &[impl AsRef<Path>]) -> Result<Value> {
    let args: Vec<PathBuf> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
    reeve_owned(ashes, &[], verb, &args)
}

pub fn reeve_owned(ashes: &Ashes, env: &[(&str, &str)], verb: &str, args: &[PathBuf]) -> Result<Value> {
    let (code, out, err) = run(ashes, env, verb, args)?;
    ensure!(
        code == Some(0),
        "{verb} ended with {code:?}\n{out}\n{err}\n{}",
        ashes.log()
    );
    Ok(serde_json::from_str(&out)?)
}

/// Runs what must succeed; gives back all that it printed.
pub fn text(ashes: &Ashes, verb: &str, args: &[&Path]) -> Result<String> {
    let args: Vec<PathBuf> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let (code, out, err) = run(ashes, &[], verb, &args)?;
    ensure!(code == Some(0), "{verb} ended with {code:?}\n{err}");
    Ok(out)
}

/// Runs what must fail; gives back why it did.
pub fn must_fail(ashes: &Ashes, verb: &str, args: &[impl AsRef<Path>]) -> Result<String> {
    let args: Vec<PathBuf> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
    match run(ashes, &[], verb, &args)? {
        (Some(0), out, _) => bail!("{verb} went well: {out}"),
        (_, _, err) => Ok(err),
    }
}

fn run(
    ashes: &Ashes,
    env: &[(&str, &str)],
    verb: &str,
    args: &[PathBuf],
) -> Result<(Option<i32>, String, String)> {
    let identity: [OsString; 8] = [
        "--nodes".into(),
        ashes.nodes.clone().into(),
        "--ca".into(),
        ashes.admin.ca.clone().into(),
        "--cert".into(),
        ashes.admin.cert.clone().into(),
        "--key".into(),
        ashes.admin.key.clone().into(),
    ];
    let ran = Command::new(env!("CARGO_BIN_EXE_reeve"))
        .args(verb.split(' '))
        .args(args)
        .args(["-o", "json"])
        .args(identity)
        .envs(env.iter().copied())
        .env("REEVE_CONFIG", ashes.dir().join("config.toml"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok((ran.status.code(), text(&ran.stdout), text(&ran.stderr)))
}

/// A root key that is somebody else's.
pub fn write_key(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, "5a".repeat(32))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

pub async fn cluster(fleet: &Fleet) -> Result<v1::GetClusterResponse> {
    let asked = v1::GetClusterRequest::default();
    Ok(fleet.api().cluster().get_cluster(asked).await?.into_inner())
}

/// The newest revision that any node has told.
pub async fn newest_revision(fleet: &Fleet) -> Result<u64> {
    let mut newest = 0;
    for node in fleet.nodes() {
        newest = newest.max(revision_of(node).await?);
    }
    Ok(newest)
}

/// The revision that one node is at.
pub async fn revision_of(node: &Node) -> Result<u64> {
    let asked = v1::GetClusterRequest::default();
    let told = node.api().cluster().get_cluster(asked).await?.into_inner();
    Ok(told.freshness.map_or(0, |freshness| freshness.revision))
}

/// The revision of the answer that says where a domain is served.
pub async fn resolved_at(fleet: &Fleet, domain: &str) -> Result<u64> {
    let claim = v1::Claim {
        kind: v1::claim::Kind::Domain.into(),
        key: domain.to_owned(),
    };
    until(&format!("{domain} to resolve"), PATIENCE, async || {
        let asked = v1::ResolveRequest {
            claim: Some(claim.clone()),
            ..Default::default()
        };
        let answer = fleet.api().resolver().resolve(asked).await?.into_inner();
        Ok(answer.freshness.map(|freshness| freshness.revision))
    })
    .await
}

/// Waits until each of these tenants is there and active: what was in flight has ended.
pub async fn present(fleet: &Fleet, wanted: &Tenants) -> Result<()> {
    until("every acknowledged tenant to be active", PATIENCE, async || {
        let mut found = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let asked = v1::ListTenantsRequest {
                page_token,
                ..Default::default()
            };
            let page = fleet.api().tenants().list_tenants(asked).await?.into_inner();
            found.extend(
                page.tenants
                    .into_iter()
                    .map(|tenant| (tenant.slug.clone(), tenant.state())),
            );
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let missing: Vec<_> = wanted
            .iter()
            .filter(|(slug, _)| !found.contains_key(slug))
            .collect();
        ensure!(missing.is_empty(), "{missing:?} are gone");
        let active = |slug: &String| found.get(slug) == Some(&v1::tenant::State::Active);
        Ok(wanted.iter().all(|(slug, _)| active(slug)).then_some(()))
    })
    .await
}

/// What is in a folder, byte for byte.
pub fn sum_of_folder(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(sum_of_folder(&path)?),
            false => {
                files.insert(path.clone(), fs::read(&path)?);
            }
        }
    }
    Ok(files)
}

/// Scheduled copies that have their names, the oldest first.
pub fn kept(shelf: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(shelf)
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "snapshot"))
        .collect();
    files.sort();
    files
}

/// The options of a command as docs/operations.md shows it.
pub fn documented(verb: &str) -> Result<Vec<String>> {
    let page = include_str!("../../../../docs/operations.md").replace("\\\n", " ");
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("reeve {verb} ")));
    let line = line.with_context(|| format!("docs/operations.md does not show {verb}"))?;
    let options = line.split_whitespace().filter(|word| word.starts_with("--"));
    Ok(options.map(str::to_owned).collect())
}
