//! `reeve cluster snapshot verify`: believes nothing of a file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::offline;
use crate::fail::Failure;
use crate::session::Session;

/// Check a snapshot file: every block, State, every audit chain; no registry is asked
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve cluster snapshot verify hospital.snapshot --root-key reeve-hospital/root.key\n  reeve cluster snapshot verify hospital.snapshot\n\nWithout the root key only structure and sums are checked, and nothing is said of what is in it."
)]
pub struct Verify {
    /// A file that `reeve cluster snapshot save` wrote
    file: PathBuf,
    /// The cluster's root.key
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
}

pub fn run(args: Verify, session: &Session) -> Result<(), Failure> {
    let shown = args.file.display();
    let mut asked: Vec<OsString> = vec!["verify".into(), "--file".into(), args.file.clone().into()];
    if let Some(key) = &args.root_key {
        asked.extend(["--root-key".into(), key.clone().into()]);
    }
    let told = offline::ask(&asked, format!("{shown} is not whole, or not to be read"))?;
    match args.root_key {
        Some(_) => session.say(&format!("{shown} is whole, and so is what is in it")),
        None => session.say(&format!(
            "{shown} is as it was written; name --root-key to check what is in it"
        )),
    }
    session.print(&told)
}
