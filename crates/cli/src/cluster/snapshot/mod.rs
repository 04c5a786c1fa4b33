//! `reeve cluster snapshot` and `reeve cluster recover`: copies of the registry itself, and beginning anew from one.
//!
//! Saving asks a node. Everything else needs no node, and is done by `reeve-registry snapshot …`, which stands beside
//! this program: this one links neither log nor archive.

mod heard;
mod offline;
pub mod recover;
mod restore;
mod save;
mod source;
mod verify;

use clap::Subcommand;

use crate::fail::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub enum Verb {
    Save(save::Save),
    Verify(verify::Verify),
    Restore(restore::Restore),
}

pub async fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    match verb {
        Verb::Save(args) => save::run(args, session).await,
        Verb::Verify(args) => verify::run(args, session),
        Verb::Restore(args) => restore::run(args, session),
    }
}
