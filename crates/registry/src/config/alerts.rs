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
}

impl Default for Alerts {
    fn default() -> Alerts {
        Alerts {
            webhook: String::new(),
            ca_file: PathBuf::new(),
            token_file: PathBuf::new(),
            patience_ms: 10_000,
        }
    }
}

impl Alerts {
    pub(super) fn validate(&self) -> Result<(), Error> {
        if !(100..=60_000).contains(&self.patience_ms) {
            return Err(Error::field("alerts.patience_ms", "must be 100 to 60000"));
        }
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
}
