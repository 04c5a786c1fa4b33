//! `reeve cluster recover`: one node's folder is all that is left.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::offline;
use super::restore::{self, Place, must_be_new};
use super::source::Origin;
use crate::fail::Failure;
use crate::session::Session;

/// Make a new cluster from the data folder of the one node that is left; nothing is started
#[derive(Debug, Args)]
#[command(
    override_usage = "reeve cluster recover [OPTIONS] --data-dir <DIR>\n       --root-key <FILE> --dir <DIR>",
    after_help = "Examples:\n  reeve cluster recover --data-dir n2/data --root-key root.key --dir reeve-hospital-2 --admin ann \\\n    --api n2.example:7400 --peer n2.example:7401 --http 127.0.0.1:7403\n\nFirst make sure that no node of the old cluster runs, or ever runs again. Everything in the survivor's log counts,\nalso what it does not know to be committed: it may have been acknowledged. The folder is only read."
)]
pub struct Recover {
    /// The survivor's data folder; its node is stopped
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: Recover, session: &Session) -> Result<(), Failure> {
    let mut file = std::path::absolute(&args.place.dir)
        .map_err(anyhow::Error::from)?
        .into_os_string();
    file.push(".snapshot");
    let file = PathBuf::from(file);
    must_be_new(&args.place.dir)?;
    must_be_new(&file)?;
    let asked: [OsString; 7] = [
        "extract".into(),
        "--data-dir".into(),
        args.data_dir.clone().into(),
        "--root-key".into(),
        args.place.root_key.clone().into(),
        "--file".into(),
        file.clone().into(),
    ];
    let what = format!("nothing was recovered from {}", args.data_dir.display());
    let told = offline::ask(&asked, what)?;
    let (revision, file_shown) = (told.text("revision"), file.display());
    session.say(&format!("revision {revision} is saved in {file_shown}; keep it"));
    restore::from(&Origin::file(&file), args.place, session)
}
