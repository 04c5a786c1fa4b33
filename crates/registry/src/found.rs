//! The beginning of a cluster: the first node reads what `reeve cluster init` wrote, once.
//!
//! A crash at any point is safe: the file stays until the cluster is founded, and founding twice is refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use reeve_domain::audit::Seed;
use reeve_domain::command::Found;
use reeve_domain::entry::FORMAT;
use reeve_domain::group::Region;
use reeve_domain::words::Name;
use reeve_domain::{Actor, Command, Entry, NodeId, Refusal, Stamp};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use tracing::info;
use zeroize::Zeroizing;

use crate::authority::{FLEET_AUDIT_KEY, ISSUING_KEY, seal_new_key};
use crate::consensus::{Consensus, Forwarded};
use crate::files;
use crate::vault::KeyProvider;

const PATIENCE: Duration = Duration::from_secs(30);

/// What the first node is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    pub cluster: String,
    pub cluster_id: String,
    pub root_ca_pem: String,
    pub issuing_chain_pem: String,
    #[serde(deserialize_with = "wiped")]
    issuing_key_pem: Zeroizing<String>,
    pub admin: String,
    pub regions: Vec<BootstrapRegion>,
    pub node_id: u64,
    pub api_address: String,
    pub peer_address: String,
}

/// Text that is wiped when dropped.
fn wiped<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

/// A region to begin with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapRegion {
    name: String,
    display_name: String,
}

/// Where it lies.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("bootstrap.json")
}

/// Reads it, when this is a first node's first life.
pub fn read(data_dir: &Path) -> anyhow::Result<Option<Bootstrap>> {
    let path = path(data_dir);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = Zeroizing::new(text);
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| format!("{} is not what init writes", path.display()))
}

/// Founds the cluster, then wipes the file: the issuing key lies sealed in State from now on.
pub async fn found(
    consensus: &Consensus,
    root: &dyn KeyProvider,
    bootstrap: Bootstrap,
    data_dir: &Path,
) -> anyhow::Result<()> {
    consensus.initialize(&bootstrap.peer_address).await?;
    let command = command(root, bootstrap)?;
    let entry = Entry {
        format: FORMAT,
        stamp: Stamp(0),
        actor: Actor::Founder,
        principal_rev: 0,
        policy_rev: 0,
        request: None,
        seed: Seed {
            salt: rand::random(),
            ..Seed::default()
        },
        command: Command::Found(command),
    };
    let proposal = Forwarded {
        entry,
        caller: Vec::new(),
    };
    let said = consensus.propose(proposal, Instant::now() + PATIENCE).await?;
    match said.outcome {
        Ok(_) => info!("the cluster is founded"),
        Err(Refusal::AlreadyExists(_)) => info!("the cluster was founded in an earlier life"),
        Err(refusal) => bail!("the cluster could not be founded: {refusal}"),
    }
    files::wipe(&path(data_dir)).context("cannot wipe bootstrap.json")
}

fn command(root: &dyn KeyProvider, from: Bootstrap) -> anyhow::Result<Found> {
    let region = |r: BootstrapRegion| {
        let name = Name::parse(&r.name).with_context(|| format!("region {:?}", r.name))?;
        anyhow::Ok(Region {
            name,
            display_name: r.display_name,
        })
    };
    Ok(Found {
        cluster: Name::parse(&from.cluster).context("cluster")?,
        cluster_id: from.cluster_id,
        root_ca_pem: from.root_ca_pem,
        issuing_chain_pem: from.issuing_chain_pem,
        issuing_key: root.seal(ISSUING_KEY, from.issuing_key_pem.as_bytes())?,
        audit_key: seal_new_key(root, FLEET_AUDIT_KEY)?,
        regions: from
            .regions
            .into_iter()
            .map(region)
            .collect::<anyhow::Result<_>>()?,
        admin: from.admin,
        node: NodeId(from.node_id),
        api_address: from.api_address,
        peer_address: from.peer_address,
    })
}
