//! The agent's certificates: joined with a token, kept on disk, renewed at half of their life.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reeve_client::{Api, Credentials, JoinToken, KeyRequest, join};
use reeve_domain::TenantId;
use reeve_proto::v1::{ErrorReason, GetCredentialRequest, RenewRequest};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::disk;
use crate::host::{Host, TlsFiles};
use crate::names::Names;
use crate::steps::{Login, Slot, Wanted};

/// Where an agent keeps who it is.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    folder: PathBuf,
}

/// Between two tries to renew.
const RENEW_PAUSE: Duration = Duration::from_secs(30);
/// Says that every file of a swap is on disk.
const SWAP: &str = "swap";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read or write {}", path.display())]
    Disk {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the join token cannot be read; copy it whole")]
    Token(#[source] reeve_proto::identity::token::Error),
    #[error("no key could be made")]
    Key(#[source] rcgen::Error),
    #[error("the registry did not let this agent in")]
    Join(#[source] reeve_client::Error),
    #[error("the certificate files do not belong together")]
    Files(#[source] reeve_proto::identity::credentials::Error),
    #[error("the registry did not renew the certificates")]
    Renew(#[source] Box<tonic::Status>),
}

impl IdentityFiles {
    /// The files of an agent's data folder.
    pub fn of(data_dir: &Path) -> IdentityFiles {
        IdentityFiles {
            folder: data_dir.join("identity"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether this agent has joined.
    pub fn are_there(&self) -> bool {
        ["agent.crt", "agent.key", "root.crt", "pg.crt", "pg.key"]
            .iter()
            .all(|f| self.path(f).is_file())
    }

    /// What PostgreSQL serves TLS with.
    pub fn tls(&self) -> TlsFiles {
        TlsFiles {
            cert: self.path("pg.crt"),
            key: self.path("pg.key"),
            ca: self.path("root.crt"),
        }
    }

    /// The agent's own identity.
    pub fn credentials(&self) -> Result<Credentials, Error> {
        Credentials::from_files(
            &self.path("agent.crt"),
            &self.path("agent.key"),
            &self.path("root.crt"),
        )
        .map_err(Error::Files)
    }

    /// The root that everybody trusts.
    pub fn root_pem(&self) -> Result<String, Error> {
        Ok(self.read("root.crt")?.unwrap_or_default())
    }

    /// The certificate that PostgreSQL serves TLS with, and those above it.
    pub fn postgres_pem(&self) -> Result<String, Error> {
        Ok(self.read("pg.crt")?.unwrap_or_default())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.path(name);
        disk::write_durably(&path, text.as_bytes()).map_err(|source| Error::Disk { path, source })
    }

    fn read(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.path(name);
        let bytes = disk::read_if_there(&path).map_err(|source| Error::Disk { path, source })?;
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Puts files in place of others that belong together: all are on disk before the first is renamed.
    fn swap(&self, files: &[(&str, &str)]) -> Result<(), Error> {
        for (name, text) in files {
            self.write(&format!("{name}.next"), text)?;
        }
        self.write(SWAP, "")?;
        self.finish()
    }

    /// Completes a swap that a crash cut in two; one that was not whole is forgotten.
    pub fn finish(&self) -> Result<(), Error> {
        let whole = self.path(SWAP).exists();
        for name in ["agent.key", "agent.crt", "pg.key", "pg.crt"] {
            let (next, path) = (self.path(&format!("{name}.next")), self.path(name));
            if !next.exists() {
                continue;
            }
            let done = if whole {
                std::fs::rename(&next, &path)
            } else {
                std::fs::remove_file(&next)
            };
            done.map_err(|source| Error::Disk { path, source })?;
        }
        match whole {
            true => std::fs::remove_file(self.path(SWAP)).map_err(|source| Error::Disk {
                path: self.path(SWAP),
                source,
            }),
            false => Ok(()),
        }
    }

    /// The key and request of a join that may have to be said again; made and kept before it is said at all.
    fn request(&self, name: &str) -> Result<KeyRequest, Error> {
        let (key, csr) = (format!("{name}.key.new"), format!("{name}.csr.new"));
        if let (Some(key_pem), Some(csr_pem)) = (self.read(&key)?, self.read(&csr)?) {
            return Ok(KeyRequest {
                key_pem: Zeroizing::new(key_pem),
                csr_pem,
            });
        }
        let made = KeyRequest::generate().map_err(Error::Key)?;
        self.write(&key, &made.key_pem)?;
        self.write(&csr, &made.csr_pem)?;
        Ok(made)
    }

    fn forget_requests(&self) {
        for name in ["agent.key.new", "agent.csr.new", "pg.key.new", "pg.csr.new"] {
            // They are of no use to anyone once the certificates are there.
            let _ = std::fs::remove_file(self.path(name));
        }
    }

    /// Joins with a token. Safe to call again after any crash: the same request gets the same answer.
    pub async fn join(&self, nodes: &[String], token: &str, hosts: &[String]) -> Result<String, Error> {
        let token = JoinToken::parse(token.trim()).map_err(Error::Token)?;
        let (own, postgres) = (self.request("agent")?, self.request("pg")?);
        let joined = join::join_agent(nodes, &token, &own, &postgres, hosts)
            .await
            .map_err(Error::Join)?;
        self.write("root.crt", &joined.identity.root_pem)?;
        self.write("pg.key", &postgres.key_pem)?;
        self.write("pg.crt", &joined.postgres_chain_pem)?;
        self.write("agent.key", &own.key_pem)?;
        self.write("agent.crt", &joined.identity.chain_pem)?;
        self.forget_requests();
        Ok(format!(
            "{} in group {} of region {}",
            joined.agent, joined.group, joined.region
        ))
    }

    /// Renews at half of the certificate's life, and at once while PostgreSQL's holds other names than it must; for ever.
    pub async fn keep_fresh(self, api: Api, credentials: Credentials, host: Host, names: Names) {
        loop {
            if names.are_held() {
                tokio::time::sleep(until_half_life(&credentials, SystemTime::now())).await;
            }
            let renewed = self.renew(&api, &credentials, &host, &names).await;
            match &renewed {
                Ok(()) => info!("certificates renewed"),
                Err(error) => warn!(error = %chain(error), "certificates were not renewed; trying again"),
            }
            if renewed.is_err() || !names.are_held() {
                tokio::time::sleep(RENEW_PAUSE).await;
            }
        }
    }

    async fn renew(&self, api: &Api, own: &Credentials, host: &Host, names: &Names) -> Result<(), Error> {
        let request = KeyRequest::generate().map_err(Error::Key)?;
        let postgres = KeyRequest::generate().map_err(Error::Key)?;
        let order = RenewRequest {
            csr_pem: request.csr_pem.clone(),
            postgres_csr_pem: postgres.csr_pem.clone(),
            postgres_hosts: names.wanted(),
        };
        let renewed = api
            .agents()
            .renew(order)
            .await
            .map_err(|status| Error::Renew(Box::new(status)))?;
        let renewed = renewed.into_inner();
        let root = self.read("root.crt")?.unwrap_or_default();
        own.replace_pem(&renewed.certificate_chain_pem, &request.key_pem, &root)
            .map_err(Error::Files)?;
        let files: [(&str, &str); 4] = [
            ("agent.key", &request.key_pem),
            ("agent.crt", &renewed.certificate_chain_pem),
            ("pg.key", &postgres.key_pem),
            ("pg.crt", &renewed.postgres_certificate_chain_pem),
        ];
        self.swap(&files)?;
        if let Err(error) = host.reload_tls().await {
            warn!(%error, "PostgreSQL did not take its new certificate");
        }
        names.read(&renewed.postgres_certificate_chain_pem);
        Ok(())
    }
}

fn until_half_life(credentials: &Credentials, now: SystemTime) -> Duration {
    let (from, to) = (credentials.not_before(), credentials.not_after());
    let half = from + to.duration_since(from).unwrap_or_default() / 2;
    half.duration_since(now).unwrap_or(Duration::from_secs(1))
}

/// An error with its causes, for one log line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Where tenants' credentials come from.
#[tonic::async_trait]
pub trait CredentialSource: Send + Sync {
    /// A login of a tenant that is placed here.
    async fn fetch(&self, tenant: &TenantId, wanted: Wanted) -> Result<Login, String>;

    /// Whether the registry knows of no such tenant here, now; an error when it does not say.
    async fn is_gone(&self, tenant: &TenantId) -> Result<bool, String>;
}

// Bodies of async traits only delegate: llvm-cov (22.1) crashes on a branch inside one.
#[tonic::async_trait]
impl CredentialSource for Api {
    async fn fetch(&self, tenant: &TenantId, wanted: Wanted) -> Result<Login, String> {
        fetch(self, tenant, wanted).await
    }

    async fn is_gone(&self, tenant: &TenantId) -> Result<bool, String> {
        is_gone(self, tenant).await
    }
}

async fn fetch(api: &Api, tenant: &TenantId, wanted: Wanted) -> Result<Login, String> {
    let (slot, version) = match wanted {
        Wanted::InForce => ("", 0),
        Wanted::Next {
            slot: Slot::A,
            version,
        } => ("a", version),
        Wanted::Next {
            slot: Slot::B,
            version,
        } => ("b", version),
    };
    let request = GetCredentialRequest {
        tenant_id: tenant.to_string(),
        version,
        slot: slot.to_owned(),
        instance: String::new(),
    };
    let answer = api.resolver().get_credential(request).await;
    let answer = answer.map_err(|status| format!("no credential: {}", status.message()))?;
    let answer = answer.into_inner();
    let slot = match answer.role.strip_prefix(tenant.as_str()) {
        Some("_a") => Slot::A,
        Some("_b") => Slot::B,
        _ => return Err("a credential of another role was given".to_owned()),
    };
    Ok(Login {
        slot,
        password: Zeroizing::new(answer.password),
    })
}

async fn is_gone(api: &Api, tenant: &TenantId) -> Result<bool, String> {
    let request = GetCredentialRequest {
        tenant_id: tenant.to_string(),
        ..Default::default()
    };
    match api.resolver().get_credential(request).await {
        Ok(_) => Ok(false),
        Err(status) if reeve_client::reason(&status) == Some(ErrorReason::TenantNotFound) => Ok(true),
        Err(status) => Err(status.message().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_that_a_crash_cut_in_two_is_completed_or_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let files = IdentityFiles::of(folder.path());
        for name in ["agent.key", "agent.crt", "pg.key", "pg.crt"] {
            files.write(name, "old").unwrap();
        }
        let read = |name| files.read(name).unwrap().unwrap();
        files.write("agent.key.next", "new").unwrap();
        files.finish().unwrap();
        assert_eq!(
            (read("agent.key"), files.read("agent.key.next").unwrap()),
            ("old".into(), None)
        );

        for name in ["agent.crt", "pg.key", "pg.crt"] {
            files.write(&format!("{name}.next"), "new").unwrap();
        }
        files.write("agent.key", "new").unwrap();
        files.write(SWAP, "").unwrap();
        files.finish().unwrap();
        for name in ["agent.key", "agent.crt", "pg.key", "pg.crt"] {
            assert_eq!(read(name), "new", "{name}");
        }
        files.finish().unwrap();
        assert_eq!(read("pg.crt"), "new");
    }
}
