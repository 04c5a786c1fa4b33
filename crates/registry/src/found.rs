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
    /// Over all of it. Programs of before wrote none.
    #[serde(default)]
    crc32c: Option<u32>,
}

impl Bootstrap {
    /// As init writes it: each field and each region's two names, a zero byte behind each.
    fn sum(&self) -> u32 {
        let node = self.node_id.to_string();
        let fields = [
            self.cluster.as_str(),
            &self.cluster_id,
            &self.root_ca_pem,
            &self.issuing_chain_pem,
            &self.issuing_key_pem,
            &self.admin,
            &node,
            &self.api_address,
            &self.peer_address,
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
    let read: Bootstrap =
        serde_json::from_str(&text).with_context(|| format!("{} is not what init writes", path.display()))?;
    if read.crc32c.is_some_and(|sum| sum != read.sum()) {
        bail!(
            "{} is damaged: its fields have another sum than it says; make the cluster anew, or bring this file from \
             where it was made",
            path.display()
        );
    }
    Ok(Some(read))
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
        version: crate::release::known().max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sum: &str) -> String {
        format!(
            "{{\n  \"cluster\": \"hospital\",\n  \"cluster_id\": \"c1\",\n  \"root_ca_pem\": \"R\\nR\",\n  \
             \"issuing_chain_pem\": \"C\",\n  \"issuing_key_pem\": \"K\",\n  \"admin\": \"spiffe://hospital/person/ann\",\n  \
             \"regions\": [\n    {{\n      \"name\": \"vn\",\n      \"display_name\": \"VN\"\n    }}\n  ],\n  \
             \"node_id\": 1,\n  \"api_address\": \"10.0.0.1:7100\",\n  \"peer_address\": \"10.0.0.1:7101\"{sum}\n}}"
        )
    }

    #[test]
    fn each_bit_of_what_a_cluster_begins_with_is_missed_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path());
        std::fs::write(&file, text("")).unwrap();
        // As programs of before wrote it.
        let sum = read(folder.path()).unwrap().unwrap().sum();
        let whole = text(&format!(",\n  \"crc32c\": {sum}")).into_bytes();
        std::fs::write(&file, &whole).unwrap();
        assert_eq!(read(folder.path()).unwrap().unwrap().crc32c, Some(sum));
        for (at, bit) in (0..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut odd = whole.clone();
            odd[at] ^= 1 << bit;
            std::fs::write(&file, odd).unwrap();
            match read(folder.path()) {
                Ok(read) => assert_eq!(read.unwrap().sum(), sum, "byte {at} bit {bit}: it was believed"),
                Err(error) => assert!(
                    format!("{error:#}").contains("bootstrap.json"),
                    "byte {at} bit {bit}: {error:#}"
                ),
            }
        }
    }
}
