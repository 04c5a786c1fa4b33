//! `reeve cluster snapshot verify`: believes nothing of a file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::offline;
use super::source::Origin;
use crate::fail::Failure;
use crate::session::Session;

/// Check a snapshot, in a file or in a bucket: every block, State, every audit chain; no registry is asked
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve cluster snapshot verify hospital.snapshot --root-key reeve-hospital/root.key\n  reeve cluster snapshot verify hospital.snapshot\n  reeve cluster snapshot verify s3://backups/reeve --settings n1/registry.toml --root-key root.key\n\nWithout the root key only structure and sums are checked, and nothing is said of what is in it."
)]
pub struct Verify {
    #[command(flatten)]
    from: Origin,
    /// The cluster's root.key
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
}

pub fn run(args: Verify, session: &Session) -> Result<(), Failure> {
    let shown = args.from.shown();
    let mut asked: Vec<OsString> = vec!["verify".into()];
    asked.extend(args.from.asked());
    if let Some(key) = &args.root_key {
        asked.extend(["--root-key".into(), key.clone().into()]);
    }
    let told = offline::ask(&asked, format!("{shown} is not whole, or not to be read"))?;
    let shown = match told.text("name") {
        name if name.is_empty() => shown,
        name => format!("{name} of {shown}"),
    };
    match args.root_key {
        Some(_) => session.say(&format!("{shown} is whole, and so is what is in it")),
        None => session.say(&format!(
            "{shown} is as it was written; name --root-key to check what is in it"
        )),
    }
    session.print(&told)
}
