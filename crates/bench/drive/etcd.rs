//! The peer: an etcd of three nodes on the same disk, mutual TLS between all, certificates of our own making.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use etcd_client::{Client, GetOptions, KvClient, PutOptions};
use parking_lot::Mutex;
use reeve_cli::bench::load::{Load, drive};
use reeve_cli::bench::tally::Tally;
use reeve_client::{Credentials, KeyRequest};
use reeve_local::{free_ports, until};
use reeve_proto::identity::{
    Connector, Expect, Issuer, Kind, SpiffeId, Tuning, Usage, ca, channel, connector,
};
use tempfile::TempDir;

use crate::plan::NODES;
use crate::registry::Registry;

/// The name that its certificates carry; nobody but us reads it.
const TRUST: &str = "etcd";
const READY_PATIENCE: Duration = Duration::from_secs(30);
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// What it calls itself: `3.4.23`.
pub fn version(program: &Path) -> Result<String> {
    let said = command(program).arg("--version").output();
    let said = said.with_context(|| {
        format!(
            "{} does not run; name etcd's server with --etcd",
            program.display()
        )
    })?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(version
        .with_context(|| format!("{} does not say which etcd it is", program.display()))?
        .to_owned())
}

pub struct Etcd {
    members: Vec<Member>,
    connector: Connector,
    /// One for each tenant of ours, with what a resolve brings.
    pub keys: Vec<String>,
    /// What a change of ours sends.
    pub change: Vec<u8>,
    // Dropped last: the members live in it.
    _dir: TempDir,
}

struct Member {
    program: PathBuf,
    args: Vec<String>,
    door: String,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Etcd {
    /// Starts it, and puts under as many keys as there are tenants the bytes that a resolve brings.
    pub async fn start(program: &Path, registry: &Registry) -> Result<Etcd> {
        let dir = tempfile::Builder::new().prefix("reeve-bench-etcd-").tempdir()?;
        let credentials = certify(dir.path())?;
        let ports = free_ports(2 * NODES)?;
        let (clients, peers) = ports.split_at(NODES);
        let url = |port: &u16| format!("https://127.0.0.1:{port}");
        let cluster: Vec<_> = peers
            .iter()
            .enumerate()
            .map(|(i, port)| format!("m{i}={}", url(port)))
            .collect();
        let members = (0..NODES).map(|i| Member {
            program: program.to_owned(),
            args: arguments(
                dir.path(),
                i,
                &url(&clients[i]),
                &url(&peers[i]),
                &cluster.join(","),
            ),
            door: format!("127.0.0.1:{}", clients[i]),
            log: dir.path().join(format!("m{i}.log")),
            child: Mutex::new(None),
        });
        let etcd = Etcd {
            members: members.collect(),
            connector: connector(&credentials, Expect::AnyNode)?,
            keys: (registry.tenants.iter())
                .map(|tenant| format!("tenant/{}", tenant.id))
                .collect(),
            change: registry.changed(),
            _dir: dir,
        };
        etcd.members.iter().try_for_each(Member::start)?;
        etcd.wait_whole().await?;
        let mut client = etcd.clients(1).await?.remove(0);
        let value = registry.resolved().await?;
        for key in &etcd.keys {
            client.put(key.as_str(), value.clone(), None).await?;
        }
        Ok(etcd)
    }

    /// So many clients, each with a connection of its own, dealt out over the nodes; the leader comes last.
    pub async fn clients(&self, count: usize) -> Result<Vec<Client>> {
        let leader = self.leader().await?;
        let mut doors: Vec<_> = self.members.iter().map(|member| &member.door).collect();
        doors.sort_by_key(|door| **door == self.members[leader].door);
        let mut clients = Vec::new();
        for door in doors.into_iter().cycle().take(count) {
            clients.push(self.dial(door).await?);
        }
        Ok(clients)
    }

    /// Its processes.
    pub fn pids(&self) -> Vec<i32> {
        let running = |member: &Member| {
            member
                .child
                .lock()
                .as_ref()
                .and_then(|child| child.id().try_into().ok())
        };
        self.members.iter().filter_map(running).collect()
    }

    /// A client of each node, in their order.
    pub async fn each(&self) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for member in &self.members {
            clients.push(self.dial(&member.door).await?);
        }
        Ok(clients)
    }

    async fn dial(&self, door: &str) -> Result<Client> {
        let channel = channel(door, self.connector.clone(), &Tuning::default())?;
        Ok(Client::from_channel(etcd_client::Channel::Tonic(channel), None).await?)
    }

    /// Which member leads.
    async fn leader(&self) -> Result<usize> {
        until("a leader of etcd", READY_PATIENCE, async || {
            for (i, member) in self.members.iter().enumerate() {
                if self
                    .opinion(member)
                    .await
                    .is_ok_and(|(own, leader)| own == leader)
                {
                    return Ok(Some(i));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Until every node answers and knows a leader.
    pub async fn wait_whole(&self) -> Result<()> {
        until("every node of etcd", READY_PATIENCE, async || {
            for member in &self.members {
                member.ensure_running()?;
                let (_, leader) = self.opinion(member).await?;
                ensure!(leader != 0, "{} knows no leader", member.door);
            }
            Ok(Some(()))
        })
        .await
    }

    /// A member's own id, and whom it follows.
    async fn opinion(&self, member: &Member) -> Result<(u64, u64)> {
        let mut client = self.dial(&member.door).await?;
        let status = tokio::time::timeout(STATUS_PATIENCE, client.status()).await??;
        let own = status.header().map_or(0, |header| header.member_id());
        Ok((own, status.leader()))
    }

    /// SIGKILL for the leader; how to start it again.
    pub async fn kill_leader(&self) -> Result<usize> {
        let leader = self.leader().await?;
        self.members[leader].kill()?;
        Ok(leader)
    }

    pub fn restart(&self, member: usize) -> Result<()> {
        self.members[member].start()
    }
}

impl Member {
    fn start(&self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = command(&self.program);
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        *self.child.lock() = Some(child);
        Ok(())
    }

    fn kill(&self) -> Result<()> {
        if let Some(mut child) = self.child.lock().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// An error with the end of its log when it has died.
    fn ensure_running(&self) -> Result<()> {
        let mut child = self.child.lock();
        let ended = child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        let tail = || {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            log.lines().last().unwrap_or_default().to_owned()
        };
        ensure!(ended.is_none(), "an etcd ended: {}", tail());
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It is gone already, or nobody could do more about it.
        let _ = self.kill();
    }
}

/// Reads one key after the other.
pub async fn get(clients: &[Client], keys: &[String], serializable: bool, load: &Load) -> Tally {
    drive(load, |worker| {
        let (client, keys) = (kv(clients, worker), keys.to_vec());
        move |number| {
            let mut client = client.clone();
            let key = keys[number as usize % keys.len()].clone();
            let options = serializable.then(|| GetOptions::new().with_serializable());
            async move {
                let got = client
                    .get(key, options)
                    .await
                    .map_err(|error| reason_of(&error))?;
                (got.count() == 1)
                    .then_some(())
                    .ok_or_else(|| "NOT_FOUND".to_owned())
            }
        }
    })
    .await
}

/// Writes one key after the other.
pub async fn put(clients: &[Client], etcd: &Etcd, load: &Load) -> Tally {
    drive(load, |worker| {
        let (client, keys, value) = (kv(clients, worker), changed(&etcd.keys), etcd.change.clone());
        move |number| {
            let mut client = client.clone();
            let (key, value) = (keys[number as usize % keys.len()].clone(), value.clone());
            async move {
                let put = client.put(key, value, None::<PutOptions>).await;
                put.map(drop).map_err(|error| reason_of(&error))
            }
        }
    })
    .await
}

/// The keys that changes go to; what is read stays as it is.
pub fn changed(keys: &[String]) -> Vec<String> {
    keys.iter().map(|key| format!("changed/{key}")).collect()
}

fn kv(clients: &[Client], worker: usize) -> KvClient {
    clients[worker % clients.len()].kv_client()
}

/// What a failed call is counted under.
pub fn reason_of(error: &etcd_client::Error) -> String {
    match error {
        etcd_client::Error::GRpcStatus(status) => format!("{:?}", status.code()),
        other => other.to_string(),
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if cfg!(target_arch = "aarch64") {
        // 3.4 wants to be asked for it by name there.
        command.env("ETCD_UNSUPPORTED_ARCH", "arm64");
    }
    command
}

fn arguments(dir: &Path, number: usize, client: &str, peer: &str, cluster: &str) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    let (cert, key) = (file(&format!("m{number}.crt")), file(&format!("m{number}.key")));
    let settings = [
        ("name", format!("m{number}")),
        ("data-dir", file(&format!("m{number}"))),
        ("listen-client-urls", client.to_owned()),
        ("advertise-client-urls", client.to_owned()),
        ("listen-peer-urls", peer.to_owned()),
        ("initial-advertise-peer-urls", peer.to_owned()),
        ("initial-cluster", cluster.to_owned()),
        ("initial-cluster-state", "new".to_owned()),
        ("logger", "zap".to_owned()),
        ("log-level", "error".to_owned()),
        ("client-cert-auth", "true".to_owned()),
        ("peer-client-cert-auth", "true".to_owned()),
        ("trusted-ca-file", file("root.crt")),
        ("peer-trusted-ca-file", file("root.crt")),
        ("cert-file", cert.clone()),
        ("key-file", key.clone()),
        ("peer-cert-file", cert),
        ("peer-key-file", key),
    ];
    settings
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

/// A CA, a certificate for each member, and one for us.
fn certify(dir: &Path) -> Result<Credentials> {
    let now = SystemTime::now();
    let root = ca::root(TRUST, now)?;
    let issuing = ca::issuing(&root, TRUST, now)?;
    let issuer = Issuer::new(&issuing.cert_pem, &issuing.key_pem, &root.cert_pem)?;
    fs::write(dir.join("root.crt"), &root.cert_pem)?;
    for number in 0..NODES {
        let usage = Usage::Node {
            hosts: vec!["127.0.0.1".to_owned()],
        };
        let id = SpiffeId::new(TRUST, Kind::Node(number as u64 + 1))?;
        let (chain, key) = leaf(&issuer, &id, &usage, now)?;
        fs::write(dir.join(format!("m{number}.crt")), chain)?;
        fs::write(dir.join(format!("m{number}.key")), key)?;
    }
    let id = SpiffeId::new(TRUST, Kind::Service("bench".to_owned()))?;
    let (chain, key) = leaf(&issuer, &id, &Usage::Client, now)?;
    Ok(Credentials::from_pem(&chain, &key, &root.cert_pem)?)
}

fn leaf(issuer: &Issuer, id: &SpiffeId, usage: &Usage, now: SystemTime) -> Result<(String, String)> {
    let request = KeyRequest::generate()?;
    let issued = issuer.issue(&request.csr_pem, id, usage, ca::default_ttl(id.kind()), now)?;
    Ok((issued.chain_pem, request.key_pem.to_string()))
}
