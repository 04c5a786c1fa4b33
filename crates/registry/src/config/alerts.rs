//! Who is told of alerts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use super::Error;
use crate::wire::is_here;

/// A webhook that the leader tells of each alert that is raised or resolved. All nodes should name the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// `https://host/path`; plain http only on this machine. Empty: nobody is told. It may hold a key, and is never shown.
    pub webhook: String,
    /// PEM; when set, these CAs are trusted and no others.
    pub ca_file: PathBuf,
    /// What is sent as `Authorization: Bearer …`; read anew each time.
    pub token_file: PathBuf,
    /// A webhook that sends and takes nothing for so long is given up, and told again later.
    pub patience_ms: u64,
    /// Where whoever is woken finds the runbooks: `https://host/folder`, with a page `NAME.md` for each kind of alert.
    /// Empty: the page is named as it lies in the project, `docs/runbooks/NAME.md`.
    pub runbooks: String,
}

impl Default for Alerts {
    fn default() -> Alerts {
        Alerts {
            webhook: String::new(),
            ca_file: PathBuf::new(),
            token_file: PathBuf::new(),
            patience_ms: 10_000,
            runbooks: String::new(),
        }
    }
}

impl Alerts {
    pub(super) fn validate(&self) -> Result<(), Error> {
        if !(100..=60_000).contains(&self.patience_ms) {
            return Err(Error::field("alerts.patience_ms", "must be 100 to 60000"));
        }
        self.validate_runbooks()?;
        if self.webhook.is_empty() {
            return Ok(());
        }
        let wrong = |why: &str| Err(Error::field("alerts.webhook", why));
        let Ok(url) = Url::parse(&self.webhook) else {
            return wrong("is no URL; write https://host/path");
        };
        match url.scheme() {
            "https" => {}
            "http" if is_here(url.host()) => {}
            "http" => {
                return wrong(
                    "is plain http, where everybody on the way can read and change what passes; use https",
                );
            }
            _ => return wrong("is neither https://host/path nor, on this machine, http://localhost/path"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("holds a name or a password; put a token into alerts.token_file");
        }
        if url.fragment().is_some() {
            return wrong("has a #fragment, which is never sent; leave it away");
        }
        Ok(())
    }

    fn validate_runbooks(&self) -> Result<(), Error> {
        let wrong = |why: &str| Err(Error::field("alerts.runbooks", why));
        if self.runbooks.is_empty() {
            return Ok(());
        }
        let Ok(url) = Url::parse(&self.runbooks) else {
            return wrong("is no URL; write https://host/folder");
        };
        if !matches!(url.scheme(), "https" | "http") {
            return wrong("is neither https://host/folder nor http://host/folder");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("has a ?query or a #fragment; a page's name is put behind it, so name a folder");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("holds a name or a password, and is told to whoever reads an alert");
        }
        Ok(())
    }

    /// Where the runbook of a kind of alert is.
    pub fn runbook(&self, kind: &str) -> String {
        match self.runbooks.trim_end_matches('/') {
            "" => format!("docs/runbooks/{kind}.md"),
            folder => format!("{folder}/{kind}.md"),
        }
    }
}
