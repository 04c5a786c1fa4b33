//! `reeve context`: which fleet is meant when none is named.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cluster::look;
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
    /// Ask the cluster for its nodes, and write them into the current context
    #[command(after_help = "Examples:\n  reeve context refresh\n  reeve context refresh --context hospital")]
    Refresh,
}

pub async fn run(command: Context, session: &Session) -> Result<(), Failure> {
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
        Verb::Refresh => {
            let (name, mut context) = session.context()?;
            let asked = session.ask(look::stale());
            let cluster = session.api()?.cluster().get_cluster(asked).await?.into_inner();
            // Who was struck off the roll is shown for a moment longer, without an address.
            let addresses = cluster.nodes.into_iter().map(|node| node.api_address);
            context.nodes = addresses.filter(|address| !address.is_empty()).collect();
            session.say(&format!("{name} names {}", context.nodes.join(", ")));
            contexts.contexts.insert(name, context);
            Ok(contexts.save(&path)?)
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
    fn names(&self) -> Vec<String> {
        self.contexts.iter().map(|one| one.name.clone()).collect()
    }

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
