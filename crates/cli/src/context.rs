//! Contexts: which fleet, as whom. One file, many fleets.
//!
//! ```toml
//! current = "dev"
//! [contexts.dev]
//! nodes = ["127.0.0.1:7400"]
//! ca = "…/root.crt"
//! cert = "…/admin.crt"
//! key = "…/admin.key"
//! ```

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::files;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that is meant when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// One fleet and one identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub nodes: Vec<String>,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Contexts {
    /// Reads the file; a missing one has no contexts.
    pub fn load(path: &Path) -> Result<Contexts> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contexts::default()),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let contexts = toml::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(contexts)
    }

    /// Writes the file, for its owner alone.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = toml::to_string_pretty(self)?;
        files::write_secret(path, &text).with_context(|| format!("writing {}", path.display()))
    }
}

/// Where the file is: `$REEVE_CONFIG`, or below the home folder.
pub fn path() -> Result<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = set("REEVE_CONFIG") {
        return Ok(path);
    }
    let home = set("HOME");
    let home =
        home.context("neither REEVE_CONFIG nor HOME is set; name the nodes and the certificate by flags")?;
    Ok(home.join(".config/reeve/config.toml"))
}

/// Adds a context, or replaces the one of that name, and makes it the current one.
pub fn write(name: &str, nodes: &[String], ca: &Path, cert: &Path, key: &Path) -> Result<()> {
    let context = Context {
        nodes: nodes.to_vec(),
        ca: std::path::absolute(ca)?,
        cert: std::path::absolute(cert)?,
        key: std::path::absolute(key)?,
    };
    add(&path()?, name, context)
}

fn add(path: &Path, name: &str, context: Context) -> Result<()> {
    let mut contexts = Contexts::load(path)?;
    contexts.contexts.insert(name.to_owned(), context);
    contexts.current = Some(name.to_owned());
    contexts.save(path)
}

/// Forgets a context whose cluster is gone.
pub fn forget(name: &str) -> Result<()> {
    forget_in(&path()?, name)
}

fn forget_in(path: &Path, name: &str) -> Result<()> {
    let mut contexts = Contexts::load(path)?;
    contexts.contexts.remove(name);
    if contexts.current.as_deref() == Some(name) {
        contexts.current = None;
    }
    contexts.save(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn context(node: &str) -> Context {
        Context {
            nodes: vec![node.to_owned()],
            ca: "/x/root.crt".into(),
            cert: "/x/admin.crt".into(),
            key: "/x/admin.key".into(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reeve/config.toml");
        assert_eq!(Contexts::load(&path).unwrap(), Contexts::default());
        add(&path, "hospital", context("n1:7400")).unwrap();
        add(&path, "dev", context("127.0.0.1:7400")).unwrap();
        let read = Contexts::load(&path).unwrap();
        assert_eq!(read.current.as_deref(), Some("dev"));
        assert_eq!(read.contexts["hospital"], context("n1:7400"));
        assert_eq!(read.contexts["dev"], context("127.0.0.1:7400"));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_misspelt_field_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "curent = \"dev\"\n").unwrap();
        let error = format!("{:#}", Contexts::load(&path).unwrap_err());
        assert!(error.contains("curent"), "{error}");
    }

    #[test]
    fn a_forgotten_context_is_not_the_current_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let context = Context {
            nodes: vec![],
            ca: "ca".into(),
            cert: "cert".into(),
            key: "key".into(),
        };
        let contexts = [
            ("dev".to_owned(), context.clone()),
            ("hospital".to_owned(), context),
        ]
        .into();
        Contexts {
            current: Some("dev".into()),
            contexts,
        }
        .save(&path)
        .unwrap();
        forget_in(&path, "dev").unwrap();
        let left = Contexts::load(&path).unwrap();
        assert_eq!((left.current, left.contexts.len()), (None, 1));
    }
}
