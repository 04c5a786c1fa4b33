//! `reeve cluster snapshot save`: one sealed file with State and the whole audit log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use reeve_client::v1;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::restore::must_be_new;
use crate::fail::{Exit, Failure};
use crate::session::Session;
use crate::show::{Page, Show, bytes, pairs};

/// A node that dies, or whose archive has a hole, is left for another; the file is begun anew.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// The last block, which holds the sum over all before it: kind, length, checksum, sum.
const SUM_BLOCK_BYTES: u64 = 9 + 32;

/// Save the whole registry, with its audit log, to one sealed file
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve cluster snapshot save hospital.snapshot\n  reeve cluster snapshot save hospital.snapshot --nodes n2.example:7400 -o json\n\nThe file says nothing without root.key: keep both, and not in the same place."
)]
pub struct Save {
    /// Where to; appears when it is whole, and must not be there yet
    file: PathBuf,
}

#[derive(Serialize)]
struct Saved {
    file: PathBuf,
    cluster: String,
    cluster_id: String,
    revision: u64,
    tenants: u64,
    changes: u64,
    node_id: u64,
    bytes: u64,
    sha256: String,
}

impl Show for Saved {
    fn page(&self) -> Page {
        pairs([
            ("file", self.file.display().to_string()),
            ("cluster", format!("{} ({})", self.cluster, self.cluster_id)),
            ("revision", self.revision.to_string()),
            ("tenants", self.tenants.to_string()),
            ("changes", self.changes.to_string()),
            ("from node", self.node_id.to_string()),
            ("size", bytes(self.bytes)),
            ("sha256", self.sha256.clone()),
        ])
    }
}

pub async fn run(args: Save, session: &Session) -> Result<(), Failure> {
    must_be_new(&args.file)?;
    let mut part = args.file.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let mut attempt = 1;
    let saved = loop {
        match receive(&part, &args.file, session).await {
            Err(failure) if failure.exit == Exit::Unavailable && attempt < ATTEMPTS_MAX => {
                session.say(&format!("{}; trying again", failure.what));
                attempt += 1;
                tokio::time::sleep(failure.pause.unwrap_or(PAUSE)).await;
            }
            ended => break ended,
        }
    };
    if saved.is_err() {
        // What stopped it is worth more than what may stop the cleaning up.
        let _ = fs::remove_file(&part);
    }
    session.print(&saved?)
}

async fn receive(part: &Path, file: &Path, session: &Session) -> Result<Saved, Failure> {
    let wrote =
        |error: io::Error| Failure::error(format!("{} was not written", file.display()), error.to_string());
    let cut = |why: &str| Failure::new(Exit::Unavailable, "the snapshot came in part", why);
    let asked = session.ask(v1::SaveSnapshotRequest {});
    let mut stream = session.api()?.cluster().save_snapshot(asked).await?.into_inner();
    let first = stream.message().await?.and_then(|first| first.about);
    let about = first.ok_or_else(|| cut("the node did not say what it sends"))?;

    let bar = bar(about.changes, session);
    let mut to = OpenOptions::new();
    let mut to = to
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(part)
        .map_err(wrote)?;
    let mut sum = Vec::new();
    while let Some(piece) = stream.message().await? {
        to.write_all(&piece.data).map_err(wrote)?;
        bar.set_position(piece.saved_changes);
        sum = piece.sha256;
    }
    bar.finish_and_clear();
    if sum.is_empty() {
        return Err(cut("the node stopped before the end"));
    }
    to.sync_all().map_err(wrote)?;
    let length = to.metadata().map_err(wrote)?.len();
    if read_back(part, length).map_err(wrote)? != sum {
        let why = "its bytes have another sum than the node says; the disk or the link changed them";
        return Err(Failure::error(format!("{} was not written", file.display()), why));
    }
    fs::rename(part, file).map_err(wrote)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(wrote)?;
    folder.sync_all().map_err(wrote)?;
    Ok(Saved {
        file: file.to_owned(),
        cluster: about.cluster,
        cluster_id: about.cluster_id,
        revision: about.revision,
        tenants: about.tenants,
        changes: about.changes,
        node_id: about.node_id,
        bytes: length,
        sha256: hex::encode(sum),
    })
}

/// The sum of what is on the disk, up to the block that holds it.
fn read_back(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut sum = Sha256::new();
    let mut body = BufReader::new(File::open(path)?).take(length.saturating_sub(SUM_BLOCK_BYTES));
    io::copy(&mut body, &mut sum)?;
    Ok(sum.finalize().to_vec())
}

fn bar(changes: u64, session: &Session) -> ProgressBar {
    if !session.is_watched() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} changes  {elapsed}");
    let bar = ProgressBar::new(changes);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
