//! Configuration files, written exactly as a person would write them for a real cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::init::IdentityFiles;
use crate::os;

/// Addresses a node listens at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Doors {
    pub api: String,
    pub peer: String,
    pub http: String,
}

/// Addresses at which others find it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dial {
    pub api: String,
    pub peer: String,
}

/// A registry node's configuration.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub cluster: String,
    pub node_id: u64,
    /// Log, snapshots and archive.
    pub data_dir: PathBuf,
    /// The configuration file and the identity.
    pub dir: PathBuf,
    pub listen: Doors,
    pub advertise: Dial,
    pub provider_key: PathBuf,
    /// Where to reach a peer instead of its own address.
    pub peers: Vec<(u64, String)>,
    /// Nodes to ask when joining.
    pub seeds: Vec<String>,
    /// Further settings, merged over the others.
    pub settings: Table,
}

/// An agent's configuration.
#[derive(Clone, Debug)]
pub(crate) struct AgentConfig {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) nodes: Vec<String>,
    pub(crate) port: u16,
    pub(crate) advertise_port: u16,
    pub(crate) run_as: Option<String>,
    pub(crate) schemas: Vec<(String, PathBuf)>,
    pub(crate) http: String,
    pub(crate) settings: Table,
}

impl NodeConfig {
    pub(crate) fn identity_files(&self) -> IdentityFiles {
        IdentityFiles {
            cert: self.dir.join("node.crt"),
            key: self.dir.join("node.key.pem"),
            ca: self.dir.join("root.crt"),
        }
    }

    /// Writes it and gives back where.
    pub fn write(&self, path: &Path) -> Result<PathBuf> {
        let identity = self.identity_files();
        let mut top = Table::new();
        top.insert("cluster".into(), self.cluster.clone().into());
        top.insert("node_id".into(), integer(self.node_id)?);
        top.insert("data_dir".into(), text(&self.data_dir));
        top.insert("listen".into(), Value::try_from(&self.listen)?);
        // Somebody's own machine: little is kept back.
        let disk = [("reserve_mb", 32), ("ballast_mb", 0)].map(|(key, mb)| (key.to_owned(), Value::from(mb)));
        top.insert("disk".into(), Value::Table(disk.into_iter().collect()));
        top.insert("advertise".into(), Value::try_from(&self.advertise)?);
        let identity = [
            ("cert", identity.cert),
            ("key", identity.key),
            ("ca", identity.ca),
        ];
        top.insert(
            "identity".into(),
            table(identity.map(|(key, path)| (key.to_owned(), text(&path)))),
        );
        let keys = [("provider", "file".into()), ("path", text(&self.provider_key))];
        top.insert(
            "keys".into(),
            table(keys.map(|(key, value)| (key.to_owned(), value))),
        );
        if !self.peers.is_empty() {
            let peers = self
                .peers
                .iter()
                .map(|(id, at)| (id.to_string(), at.clone().into()));
            top.insert("dial".into(), table([("peers".to_owned(), table(peers))]));
        }
        if !self.seeds.is_empty() {
            top.insert(
                "seeds".into(),
                table([("api".to_owned(), self.seeds.clone().into())]),
            );
        }
        merge(&mut top, &self.settings);
        std::fs::create_dir_all(&self.data_dir)
            .with_context(|| format!("making {}", self.data_dir.display()))?;
        os::write(path, &toml::to_string_pretty(&top)?)?;
        Ok(path.to_owned())
    }
}

impl AgentConfig {
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.join("agent")
    }

    pub(crate) fn postgres_dir(&self) -> PathBuf {
        self.dir.join("pg")
    }

    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// Writes it and gives back where.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let mut postgres = vec![
            ("mode", "managed".into()),
            ("data_dir", text(&self.postgres_dir())),
            ("listen", "127.0.0.1".into()),
            ("port", Value::from(i64::from(self.port))),
            ("socket_dir", text(&self.socket_dir())),
            ("network", "default".into()),
            ("advertise_host", "127.0.0.1".into()),
            ("advertise_port", Value::from(i64::from(self.advertise_port))),
        ];
        if let Some(user) = &self.run_as {
            postgres.push(("run_as", user.clone().into()));
        }
        let mut top = Table::new();
        top.insert("name".into(), self.name.clone().into());
        top.insert("data_dir".into(), text(&self.data_dir()));
        top.insert(
            "registry".into(),
            table([("nodes".to_owned(), self.nodes.clone().into())]),
        );
        top.insert(
            "postgres".into(),
            table(postgres.into_iter().map(|(key, v)| (key.to_owned(), v))),
        );
        let schemas = self
            .schemas
            .iter()
            .map(|(channel, dir)| (channel.clone(), text(dir)));
        top.insert("schemas".into(), table(schemas));
        top.insert(
            "http".into(),
            table([("listen".to_owned(), self.http.clone().into())]),
        );
        merge(&mut top, &self.settings);
        let path = self.dir.join("agent.toml");
        os::write(&path, &toml::to_string_pretty(&top)?)?;
        Ok(path)
    }
}

fn merge(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

fn table(pairs: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Table(pairs.into_iter().collect())
}

fn text(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}

fn integer(number: u64) -> Result<Value> {
    Ok(Value::Integer(i64::try_from(number).context("node id")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_merged_into_the_tables_that_exist() {
        let mut base: Table = "[raft]\nprofile = \"lan\"\n[listen]\napi = \"a\""
            .parse()
            .unwrap();
        let more: Table = "[raft]\nsnapshot_entries = 50\n[extra]\nx = 1".parse().unwrap();
        merge(&mut base, &more);
        assert_eq!(base["raft"]["profile"].as_str(), Some("lan"));
        assert_eq!(base["raft"]["snapshot_entries"].as_integer(), Some(50));
        assert_eq!(base["extra"]["x"].as_integer(), Some(1));
    }
}
