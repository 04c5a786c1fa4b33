//! `reeve debug`: what somebody who helps needs to see.

mod bundle;

use clap::Subcommand;

use crate::fail::Failure;
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub enum Verb {
    Bundle(bundle::Bundle),
}

pub async fn run(verb: Verb, session: &Session) -> Result<(), Failure> {
    match verb {
        Verb::Bundle(args) => bundle::run(args, session).await,
    }
}
