//! The beginning of a cluster: its certificate authorities, its first node and its first admin.
//!
//! ```text
//! dir/ca/     root.crt root.key        the offline root: take this folder off the machine
//! dir/admin/  admin.crt admin.key root.crt
//! dir/        root.key                 the key provider's file, the same on each node
//! dir/n1/     registry.toml node.crt node.key.pem root.crt data/bootstrap.json
//! ```
//! The first node reads bootstrap.json once, seals what is secret in it, and deletes it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use reeve_proto::identity::{Authority, Issuer, KeyRequest, Kind, SpiffeId, Usage, ca};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::{Dial, Doors, NodeConfig};
use crate::os;

/// What a new cluster shall be.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Its name: the trust domain of every identity in it.
    pub cluster: String,
    /// Where everything is written; must not hold a cluster yet.
    pub dir: PathBuf,
    /// The first admin's name.
    pub admin: String,
    pub regions: Vec<Region>,
    /// Where the first node listens, and under which addresses others find it.
    pub listen: Doors,
    pub advertise: Dial,
    /// Where the first node reaches peers that are not to be dialled at their own address.
    pub peers: Vec<(u64, String)>,
    /// Further settings of the first node, as tables of its configuration file.
    pub settings: toml::Table,
}

/// A jurisdiction to begin with.
#[derive(Clone, Debug, Serialize)]
pub struct Region {
    pub name: String,
    pub display_name: String,
}

/// Where what was made can be found.
#[derive(Clone, Debug)]
pub struct Founded {
    pub cluster_id: String,
    /// Configuration of the first node, ready to run.
    pub config: PathBuf,
    pub admin: IdentityFiles,
    /// Keep it offline.
    pub root_key: PathBuf,
    /// The key provider's file, to be carried to each further node.
    pub provider_key: PathBuf,
}

/// A certificate, its key and the root, as files.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

impl IdentityFiles {
    /// The admin's files under a cluster's folder.
    pub fn admin(dir: &Path) -> IdentityFiles {
        let dir = dir.join("admin");
        IdentityFiles {
            cert: dir.join("admin.crt"),
            key: dir.join("admin.key"),
            ca: dir.join("root.crt"),
        }
    }

    /// Reads them.
    pub fn load(&self) -> Result<reeve_client::Credentials> {
        reeve_client::Credentials::from_files(&self.cert, &self.key, &self.ca)
            .with_context(|| format!("identity {}", self.cert.display()))
    }
}

/// What the first node finds in its data folder, once.
#[derive(Serialize)]
struct Bootstrap<'a> {
    cluster: &'a str,
    cluster_id: &'a str,
    root_ca_pem: &'a str,
    issuing_chain_pem: &'a str,
    issuing_key_pem: &'a str,
    admin: String,
    regions: &'a [Region],
    node_id: u64,
    api_address: &'a str,
    peer_address: &'a str,
    /// Over all of it: a cluster that is founded on a flipped bit would be another one than was asked for.
    crc32c: u32,
}

impl Bootstrap<'_> {
    /// As the registry reads it: each field and each region's two names, a zero byte behind each.
    fn sum(&self) -> u32 {
        let node = self.node_id.to_string();
        let fields = [
            self.cluster,
            self.cluster_id,
            self.root_ca_pem,
            self.issuing_chain_pem,
            self.issuing_key_pem,
            &self.admin,
            &node,
            self.api_address,
            self.peer_address,
        ];
        let regions = self
            .regions
            .iter()
            .flat_map(|r| [r.name.as_str(), r.display_name.as_str()]);
        fields.into_iter().chain(regions).fold(0, |sum, field| {
            crc32c::crc32c_append(crc32c::crc32c_append(sum, field.as_bytes()), &[0])
        })
    }
}

const FIRST_NODE: u64 = 1;

/// Makes a cluster's authorities, first node and first admin; nothing is started.
pub fn cluster_init(options: &InitOptions) -> Result<Founded> {
    let dir = &options.dir;
    let node_dir = dir.join("n1");
    ensure!(
        !dir.join("ca").exists() && !node_dir.exists(),
        "{} holds a cluster already; name another folder",
        dir.display()
    );
    let now = SystemTime::now();
    let root = ca::root(&options.cluster, now).context("the root certificate")?;
    let issuing = ca::issuing(&root, &options.cluster, now).context("the issuing certificate")?;
    let issuer = Issuer::new(&issuing.cert_pem, &issuing.key_pem, &root.cert_pem)?;
    let cluster_id = uuid::Uuid::new_v4().to_string();

    write_root(&dir.join("ca"), &root)?;
    let provider_key = dir.join("root.key");
    os::write_secret(&provider_key, &random_hex())?;
    let config = first_node(options, &node_dir, &provider_key);
    let node = SpiffeId::new(&options.cluster, Kind::Node(FIRST_NODE))?;
    let usage = Usage::Node {
        hosts: hosts(&options.advertise)?,
    };
    certify(&issuer, &node, &usage, &config.identity_files(), &root.cert_pem)?;
    let admin = SpiffeId::new(&options.cluster, Kind::Person(options.admin.clone()))?;
    let admin_files = IdentityFiles::admin(dir);
    certify(&issuer, &admin, &Usage::Client, &admin_files, &root.cert_pem)?;

    let mut bootstrap = Bootstrap {
        cluster: &options.cluster,
        cluster_id: &cluster_id,
        root_ca_pem: &root.cert_pem,
        issuing_chain_pem: &format!("{}{}", issuing.cert_pem, root.cert_pem),
        issuing_key_pem: &issuing.key_pem,
        admin: admin.to_string(),
        regions: &options.regions,
        node_id: FIRST_NODE,
        api_address: &options.advertise.api,
        peer_address: &options.advertise.peer,
        crc32c: 0,
    };
    bootstrap.crc32c = bootstrap.sum();
    let text = Zeroizing::new(serde_json::to_string_pretty(&bootstrap)?);
    os::write_secret(&config.data_dir.join("bootstrap.json"), &text)?;
    let config = config.write(&node_dir.join("registry.toml"))?;
    Ok(Founded {
        cluster_id,
        config,
        admin: admin_files,
        root_key: dir.join("ca/root.key"),
        provider_key,
    })
}

/// Gives the admin a new certificate from the root kept in `dir/ca`: for one that has expired.
pub fn renew_admin(cluster: &str, dir: &Path, admin: &str) -> Result<()> {
    let read = |name: &str| {
        let path = dir.join("ca").join(name);
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let root = Authority {
        cert_pem: read("root.crt")?,
        key_pem: Zeroizing::new(read("root.key")?),
    };
    let issuing = ca::issuing(&root, cluster, SystemTime::now())?;
    let issuer = Issuer::new(&issuing.cert_pem, &issuing.key_pem, &root.cert_pem)?;
    let admin = SpiffeId::new(cluster, Kind::Person(admin.to_owned()))?;
    certify(
        &issuer,
        &admin,
        &Usage::Client,
        &IdentityFiles::admin(dir),
        &root.cert_pem,
    )
}

fn write_root(dir: &Path, root: &Authority) -> Result<()> {
    os::write_secret(&dir.join("root.key"), &root.key_pem)?;
    os::write(&dir.join("root.crt"), &root.cert_pem)
}

fn first_node(options: &InitOptions, dir: &Path, provider_key: &Path) -> NodeConfig {
    NodeConfig {
        cluster: options.cluster.clone(),
        node_id: FIRST_NODE,
        data_dir: dir.join("data"),
        dir: dir.to_owned(),
        listen: options.listen.clone(),
        advertise: options.advertise.clone(),
        provider_key: provider_key.to_owned(),
        peers: options.peers.clone(),
        seeds: Vec::new(),
        settings: options.settings.clone(),
    }
}

fn certify(issuer: &Issuer, id: &SpiffeId, usage: &Usage, files: &IdentityFiles, root: &str) -> Result<()> {
    let request = KeyRequest::generate()?;
    let ttl = ca::default_ttl(id.kind());
    let issued = issuer
        .issue(&request.csr_pem, id, usage, ttl, SystemTime::now())
        .with_context(|| format!("certificate of {id}"))?;
    os::write_secret(&files.key, &request.key_pem)?;
    os::write(&files.cert, &issued.chain_pem)?;
    os::write(&files.ca, root)
}

/// The names a node's certificate carries: the hosts it is advertised under.
fn hosts(advertise: &Dial) -> Result<Vec<String>> {
    let mut hosts = Vec::new();
    for address in [&advertise.api, &advertise.peer] {
        let (host, _) = address
            .rsplit_once(':')
            .with_context(|| format!("{address:?} is not host:port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

fn random_hex() -> Zeroizing<String> {
    let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
    Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &Path) -> InitOptions {
        InitOptions {
            cluster: "hospital".into(),
            dir: dir.to_owned(),
            admin: "admin".into(),
            regions: vec![Region {
                name: "vn".into(),
                display_name: "Vietnam".into(),
            }],
            listen: Doors {
                api: "127.0.0.1:7400".into(),
                peer: "127.0.0.1:7401".into(),
                http: "127.0.0.1:7403".into(),
            },
            advertise: Dial {
                api: "n1.example:7400".into(),
                peer: "[::1]:7401".into(),
            },
            peers: vec![(2, "127.0.0.1:9000".into())],
            settings: toml::Table::new(),
        }
    }

    #[test]
    fn a_cluster_is_begun_once() {
        let dir = tempfile::tempdir().unwrap();
        let founded = cluster_init(&options(dir.path())).unwrap();
        let admin = founded.admin.load().unwrap();
        assert_eq!(admin.spiffe().to_string(), "spiffe://hospital/person/admin");
        assert_eq!(std::fs::read_to_string(&founded.provider_key).unwrap().len(), 64);
        let config: toml::Table = std::fs::read_to_string(&founded.config).unwrap().parse().unwrap();
        assert_eq!(config["node_id"].as_integer(), Some(1));
        assert_eq!(config["dial"]["peers"]["2"].as_str(), Some("127.0.0.1:9000"));
        assert!(dir.path().join("n1/data/bootstrap.json").exists());
        let again = cluster_init(&options(dir.path())).unwrap_err();
        assert!(again.to_string().contains("holds a cluster already"), "{again}");
    }

    #[test]
    fn an_admin_is_renewed_under_the_same_root() {
        let dir = tempfile::tempdir().unwrap();
        let founded = cluster_init(&options(dir.path())).unwrap();
        let before = founded.admin.load().unwrap();
        renew_admin("hospital", dir.path(), "admin").unwrap();
        let after = founded.admin.load().unwrap();
        assert_eq!(before.spiffe(), after.spiffe());
        assert_ne!(before.serial(), after.serial());
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let founded = cluster_init(&options(dir.path())).unwrap();
        for secret in [&founded.root_key, &founded.provider_key, &founded.admin.key] {
            let mode = std::fs::metadata(secret).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", secret.display());
        }
    }
}
