//! `reeve context`: which fleet is meant when none is named.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::context::{self, Contexts};
use crate::fail::{Exit, Failure};
use crate::session::Session;
use crate::show::{self, Show};

#[derive(Debug, Args)]
pub struct Context {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the contexts
    #[command(after_help = "Examples:\n  reeve context ls\n  reeve context ls -o json")]
    Ls,
    /// Choose the context that is meant when none is named
    #[command(after_help = "Examples:\n  reeve context use dev")]
    Use {
        /// One that `reeve context ls` shows
        name: String,
    },
}

pub fn run(command: Context, session: &Session) -> Result<(), Failure> {
    let path = context::path()?;
    let mut contexts = Contexts::load(&path)?;
    match command.verb {
        Verb::Ls => session.print(&Listed::of(&contexts)),
        Verb::Use { name } => {
            if !contexts.contexts.contains_key(&name) {
                let why = format!("{} does not name it", path.display());
                let failure = Failure::new(Exit::NotFound, format!("there is no context {name}"), why);
                return Err(failure.fix("`reeve context ls` shows them"));
            }
            contexts.current = Some(name.clone());
            contexts.save(&path)?;
            session.say(&format!("{name} is the current context"));
            Ok(())
        }
    }
}

#[derive(Serialize)]
struct Listed {
    contexts: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    current: bool,
    nodes: Vec<String>,
    cert: String,
}

impl Listed {
    fn of(contexts: &Contexts) -> Listed {
        let row = |(name, context): (&String, &context::Context)| Row {
            name: name.clone(),
            current: contexts.current.as_ref() == Some(name),
            nodes: context.nodes.clone(),
            cert: context.cert.display().to_string(),
        };
        Listed {
            contexts: contexts.contexts.iter().map(row).collect(),
        }
    }
}

impl Show for Listed {
    fn table(&self) -> String {
        let row = |row: &Row| {
            let mark = if row.current { "*" } else { "" };
            vec![
                mark.to_owned(),
                row.name.clone(),
                row.nodes.join(","),
                row.cert.clone(),
            ]
        };
        show::table(
            &["", "NAME", "NODES", "CERTIFICATE"],
            self.contexts.iter().map(row),
        )
    }
}
