//! `reeve debug bundle`: how the registry is, as one file that may be given away.
//!
//! What goes in is chosen, one by one; nothing is taken whole and cleaned afterwards. So a new secret somewhere else
//! is not in it by itself.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::cluster::check::{self, Checked};
use crate::fail::Failure;
use crate::session::Session;
use crate::show::{self, Page, Show};
use crate::{files, group};

/// What is said in the file itself of what is not in it.
const LEFT_OUT: &str = "\
Left out on purpose:
  keys, certificates, tokens, passwords, sealed secrets
  tenants: their names, domains, databases and credentials (their number is in status.json)
  operations, and the audit log (`reeve audit export` gives it to an auditor)
  the nodes' logs, which lie on their machines
Addresses of nodes and of PostgreSQL instances are in it.
";

/// Save how the registry is as one file to be given away: no keys, no secrets, nothing about tenants
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve debug bundle reeve.tar.gz\n  reeve debug bundle reeve.tar.gz && tar -tzf reeve.tar.gz"
)]
pub struct Bundle {
    /// The file to write, a tar of files in JSON, compressed
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Made {
    file: PathBuf,
    parts: Vec<Said>,
}

/// One part, and why it is missing when it is.
#[derive(Debug, Serialize)]
struct Said {
    name: &'static str,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
}

impl Show for Made {
    fn page(&self) -> Page {
        let rows = self.parts.iter().map(|part| {
            let what = match &part.missing {
                Some(why) => format!("missing: {why}"),
                None => part.what.to_owned(),
            };
            vec![part.name.to_owned(), what]
        });
        show::table(["PART", "WHAT"], rows).and(self.file.display().to_string())
    }
}

type Part = (&'static str, &'static str, Result<String, Failure>);

pub async fn run(args: Bundle, session: &Session) -> Result<(), Failure> {
    let parts = parts(session).await;
    let said: Vec<Said> = parts
        .iter()
        .map(|(name, what, content)| Said {
            name,
            what,
            missing: content.as_ref().err().map(Failure::to_string),
        })
        .collect();
    let packed = pack(&said, &parts)
        .map_err(|error| Failure::error("the bundle cannot be made", error.to_string()))?;
    files::write_secret(&args.file, packed)
        .map_err(|error| Failure::error(format!("writing {}", args.file.display()), error.to_string()))?;
    session.print(&Made {
        file: args.file,
        parts: said,
    })
}

/// Each for itself: what is broken is what one wants to see.
async fn parts(session: &Session) -> Vec<Part> {
    let picture = check::look(session).await;
    let (status, checked) = match &picture {
        Ok(picture) => (
            Ok(show::cluster::Cluster::from(picture).json()),
            Ok(Checked::of(picture).json()),
        ),
        Err(failure) => {
            let again = || Failure::error("no node answered", failure.to_string());
            (Err(again()), Err(again()))
        }
    };
    let groups = group::all(session, "").await.map(|groups| groups.json());
    vec![
        (
            "status.json",
            "every node, as it says it is, and what is not well",
            status,
        ),
        ("check.json", "the questions of `reeve cluster check`", checked),
        (
            "groups.json",
            "groups of PostgreSQL instances, and their members",
            groups,
        ),
        (
            "client.json",
            "this program, and whom it asks",
            Ok(client(session)),
        ),
    ]
}

fn client(session: &Session) -> String {
    let nodes = session.doors().map(|(nodes, _)| nodes).unwrap_or_default();
    let said = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "system": std::env::consts::OS,
        "processor": std::env::consts::ARCH,
        "nodes": nodes,
    });
    said.to_string()
}

fn pack(said: &[Said], parts: &[Part]) -> std::io::Result<Vec<u8>> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut put = |name: &str, content: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        tar.append_data(&mut header, format!("reeve/{name}"), content.as_bytes())
    };
    put("MANIFEST.txt", &manifest(said))?;
    for (name, _, content) in parts {
        if let Ok(content) = content {
            put(name, content)?;
        }
    }
    tar.into_inner()?.finish()
}

fn manifest(said: &[Said]) -> String {
    let lines = said.iter().map(|part| match &part.missing {
        Some(why) => format!("  {}: missing: {why}\n", part.name),
        None => format!("  {}: {}\n", part.name, part.what),
    });
    format!("In this bundle:\n{}\n{LEFT_OUT}", lines.collect::<String>())
}
