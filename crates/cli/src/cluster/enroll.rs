//! `reeve cluster enroll`: a token becomes a certificate and a context.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use reeve_client::{JoinToken, KeyRequest, join};
use serde::Serialize;

use crate::context;
use crate::fail::Failure;
use crate::files;
use crate::session::Session;
use crate::show::{Page, Show, pairs};

/// Get your first certificate with a join token, and a context to use it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve cluster enroll --token-file vera.token --nodes n1.example:7400 --name hospital\n  reeve cluster enroll --token-file kiosk.token --nodes n1.example:7400 --name kiosk --dir /etc/kiosk"
)]
pub struct Enroll {
    /// The file that holds the token; tokens never belong on a command line
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The context to write
    #[arg(long, value_name = "CONTEXT")]
    name: String,
    /// Folder for certificate and key; one beside the context file unless told
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Serialize)]
struct Welcome {
    principal_id: String,
    cluster: String,
    context: String,
    nodes: Vec<String>,
    cert: PathBuf,
}

impl Show for Welcome {
    fn page(&self) -> Page {
        pairs([
            ("you are", self.principal_id.clone()),
            ("cluster", self.cluster.clone()),
            ("context", self.context.clone()),
            ("nodes", self.nodes.join(", ")),
            ("certificate", self.cert.display().to_string()),
        ])
    }
}

pub async fn run(args: Enroll, session: &Session) -> Result<(), Failure> {
    let seeds = session.nodes();
    if seeds.is_empty() {
        let why = "a token does not say where its cluster is";
        return Err(Failure::usage("nobody was asked", why).fix("name a node with --nodes host:port"));
    }
    let token = read_token(&args.token_file)?;
    let dir = match args.dir {
        Some(dir) => dir,
        None => context::path()?.with_file_name(&args.name),
    };
    let own = request(&dir)?;
    let enrolled = join::enroll(seeds, &token, &own).await?;
    let identity = &enrolled.identity;
    let (cert, key, ca) = (
        dir.join("client.crt"),
        dir.join("client.key"),
        dir.join("root.crt"),
    );
    keep(&cert, &identity.chain_pem)?;
    keep(&ca, &identity.root_pem)?;
    let nodes = if enrolled.nodes.is_empty() {
        seeds.to_vec()
    } else {
        enrolled.nodes.clone()
    };
    context::write(&args.name, &nodes, &ca, &cert, &key)?;
    let csr = dir.join("client.csr");
    fs::remove_file(&csr).map_err(|error| wrote(&csr, &error))?;
    session.say(&format!("{} is the current context", args.name));
    session.print(&Welcome {
        principal_id: enrolled.principal_id,
        cluster: identity.cluster.clone(),
        context: args.name,
        nodes,
        cert,
    })
}

fn read_token(file: &Path) -> Result<JoinToken, Failure> {
    let what = || format!("{} holds no token that can be used", file.display());
    let text = fs::read_to_string(file).map_err(|error| Failure::error(what(), error.to_string()))?;
    let bad = |error: &dyn std::fmt::Display| {
        Failure::usage(what(), error.to_string()).fix("ask an admin for a new join token")
    };
    JoinToken::parse(text.trim()).map_err(|error| bad(&error))
}

/// A key and its request, on disk before they are shown: a lost answer is fetched with the same ones.
fn request(dir: &Path) -> Result<KeyRequest, Failure> {
    let (key, csr) = (dir.join("client.key"), dir.join("client.csr"));
    if let (Ok(key_pem), Ok(csr_pem)) = (fs::read_to_string(&key), fs::read_to_string(&csr)) {
        return Ok(KeyRequest {
            key_pem: key_pem.into(),
            csr_pem,
        });
    }
    if key.exists() {
        let failure = Failure::usage(
            format!("{} is there already", key.display()),
            "an identity would be lost",
        );
        return Err(failure.fix("name another folder with --dir"));
    }
    let own =
        KeyRequest::generate().map_err(|error| Failure::error("no key could be made", error.to_string()))?;
    keep(&csr, &own.csr_pem)?;
    keep(&key, &own.key_pem)?;
    Ok(own)
}

fn keep(path: &Path, text: &str) -> Result<(), Failure> {
    files::write_secret(path, text).map_err(|error| wrote(path, &error))
}

fn wrote(path: &Path, error: &std::io::Error) -> Failure {
    Failure::error(format!("{} was not written", path.display()), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_is_asked_for_with_the_same_key_and_an_identity_is_never_lost() {
        let dir = tempfile::tempdir().unwrap();
        let first = request(dir.path()).unwrap();
        let second = request(dir.path()).unwrap();
        assert_eq!(first.csr_pem, second.csr_pem);
        assert_eq!(*first.key_pem, *second.key_pem);
        fs::remove_file(dir.path().join("client.csr")).unwrap();
        let refused = request(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("name another folder"), "{refused}");
    }

    #[test]
    fn a_file_without_a_token_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vera.token");
        assert!(read_token(&file).is_err());
        fs::write(&file, "jt_short").unwrap();
        let refused = read_token(&file).unwrap_err().to_string();
        assert!(refused.contains("vera.token holds no token"), "{refused}");
    }
}
