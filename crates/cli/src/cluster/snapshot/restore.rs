//! `reeve cluster snapshot restore`: the first node of a new cluster, from a copy of an old one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::Args;
use reeve_local::{Dial, Doors, NodeConfig};
use serde::Serialize;

use super::super::init::listen;
use super::heard;
use super::offline::{self, Told};
use super::source::Origin;
use crate::context;
use crate::fail::Failure;
use crate::session::Session;
use crate::show::{Page, Show, pairs};

/// Make the first node of a new cluster from a snapshot, in a file or in a bucket; nothing is started
#[derive(Debug, Args)]
#[command(
    override_usage = "reeve cluster snapshot restore [OPTIONS] --root-key <FILE>\n       --dir <DIR> <SOURCE>",
    after_help = "Examples:\n  reeve cluster snapshot restore hospital.snapshot --root-key root.key --dir reeve-hospital-2 --admin ann \\\n    --api n1.example:7400 --peer n1.example:7401 --http 127.0.0.1:7403\n  reeve cluster snapshot restore s3://backups/reeve --settings n1/registry.toml --root-key root.key --dir reeve-hospital-2\n\nFirst make sure that no node of the old cluster runs, or ever runs again."
)]
pub struct Restore {
    #[command(flatten)]
    from: Origin,
    #[command(flatten)]
    place: Place,
}

/// Where the new cluster begins.
#[derive(Debug, Args)]
pub struct Place {
    /// The old cluster's root.key
    #[arg(long, value_name = "FILE")]
    pub root_key: PathBuf,
    /// Folder to write; must not be there yet
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Who is admin afterwards, with a new certificate; everybody else keeps their role
    #[arg(long, default_value = "admin", value_name = "NAME")]
    admin: String,
    /// Folder with files that `reeve-agent records export` wrote: what happened behind the copy comes back from them
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Where clients find the first node: agents and services come back by themselves to an address that they know
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "HOST:PORT")]
    api: String,
    /// Where other nodes find it
    #[arg(long, default_value = "127.0.0.1:7401", value_name = "HOST:PORT")]
    peer: String,
    /// Where it answers /livez, /readyz and /metrics
    #[arg(long, default_value = "127.0.0.1:7403", value_name = "HOST:PORT")]
    http: String,
    /// Address to listen at for clients and nodes; the advertised host unless told
    #[arg(long, value_name = "HOST")]
    bind: Option<String>,
    /// Leave the context file alone
    #[arg(long)]
    no_context: bool,
}

#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    told: Told,
    config: PathBuf,
    admin_cert: PathBuf,
}

impl Show for Made {
    fn page(&self) -> Page {
        let told = &self.told;
        let made = pairs([
            (
                "cluster",
                format!("{} ({})", told.text("cluster"), told.text("cluster_id")),
            ),
            (
                "from",
                format!(
                    "revision {} of {}, saved {}{}",
                    told.text("from_revision"),
                    told.text("from_cluster_id"),
                    told.time("saved_ms"),
                    told.part(" (", "name", ")")
                ),
            ),
            ("begins at", format!("revision {}", told.text("revision"))),
            ("tenants", told.text("tenants")),
            ("operations in flight", told.text("open_operations")),
            ("audit records", told.text("records")),
            (
                "first node",
                format!("{}, id {}", self.config.display(), told.text("node_id")),
            ),
            ("admin", self.admin_cert.display().to_string()),
        ]);
        match told.below("heard") {
            Some(heard) => made.and(heard::page_of(&heard)),
            None => made,
        }
    }
}

pub fn run(args: Restore, session: &Session) -> Result<(), Failure> {
    from(&args.from, args.place, session)
}

/// The new cluster appears under its name when it is whole.
pub(super) fn from(source: &Origin, place: Place, session: &Session) -> Result<(), Failure> {
    let dir = std::path::absolute(&place.dir).map_err(anyhow::Error::from)?;
    must_be_new(&dir)?;
    let mut part = dir.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    must_be_new(&part)?;
    let what = format!("{} was not restored", source.shown());
    let told = make(source, &place, &part, &what);
    if told.is_err() {
        // What stopped it is worth more than what may stop the cleaning up.
        let _ = fs::remove_dir_all(&part);
    }
    let told = told?;
    let moved = fs::rename(&part, &dir).and_then(|()| match dir.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    });
    moved.map_err(|error| Failure::error(&what, error.to_string()))?;

    let config = config(&told, &place, &dir).write(&dir.join(node_of(&told)).join("registry.toml"))?;
    let [cert, key, ca] = ["admin.crt", "admin.key", "root.crt"].map(|name| dir.join("admin").join(name));
    if !place.no_context {
        let name = told.text("cluster");
        context::write(&name, &[place.api], &ca, &cert, &key)?;
        session.say(&format!("{name} is the current context"));
    }
    session.say(&format!(
        "start it with: reeve-registry --config {}",
        config.display()
    ));
    session.print(&Made {
        told,
        config,
        admin_cert: cert,
    })
}

/// Refuses to touch what is there.
pub(super) fn must_be_new(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    let failure = Failure::usage(format!("{} is there already", path.display()), "it would be lost");
    Err(failure.fix("name another one, or move it away"))
}

fn make(source: &Origin, place: &Place, part: &Path, what: &str) -> Result<Told, Failure> {
    let mut asked: Vec<OsString> = vec!["restore".into()];
    asked.extend(source.asked());
    asked.extend([
        "--root-key".into(),
        place.root_key.clone().into(),
        "--out".into(),
        part.into(),
        "--api".into(),
        place.api.clone().into(),
        "--peer".into(),
        place.peer.clone().into(),
        "--admin".into(),
        place.admin.clone().into(),
    ]);
    if let Some(folder) = &place.records {
        asked.extend(["--records".into(), folder.clone().into()]);
    }
    offline::ask(&asked, what)
}

fn node_of(told: &Told) -> String {
    format!("n{}", told.number("node_id"))
}

fn config(told: &Told, place: &Place, dir: &Path) -> NodeConfig {
    let node_dir = dir.join(node_of(told));
    NodeConfig {
        cluster: told.text("cluster"),
        node_id: told.number("node_id"),
        data_dir: node_dir.join("data"),
        dir: node_dir,
        listen: Doors {
            api: listen(place.bind.as_deref(), &place.api),
            peer: listen(place.bind.as_deref(), &place.peer),
            http: place.http.clone(),
        },
        advertise: Dial {
            api: place.api.clone(),
            peer: place.peer.clone(),
        },
        provider_key: dir.join("root.key"),
        peers: Vec::new(),
        seeds: Vec::new(),
        settings: Default::default(),
    }
}
