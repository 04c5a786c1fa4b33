//! `reeve context`: which fleet is meant when none is named.

use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cluster::look;
use crate::context::{self, Contexts};
use crate::fail::{Exit, Failure};
use crate::session::Session;
use crate::show::{self, Page, Show, col, cut, pairs, wide};

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
    /// Show one context: its nodes and its files
    #[command(
        after_help = "Examples:\n  reeve context get\n  reeve context get hospital -o json\n  eval \"$(reeve context get -o env)\" && curl --cacert \"$CA\" --cert \"$CERT\" --key \"$KEY\" https://console.example"
    )]
    Get {
        /// One that `reeve context ls` shows; the one that is meant unless told
        name: Option<String>,
    },
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
        Verb::Get { name } => {
            let (name, context) = match name {
                None => session.context()?,
                Some(name) => match contexts.contexts.remove(&name) {
                    Some(context) => (name, context),
                    None => return Err(unknown(&name, &path)),
                },
            };
            session.print(&One::of(name, context, &contexts))
        }
        Verb::Use { name } => {
            if !contexts.contexts.contains_key(&name) {
                return Err(unknown(&name, &path));
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

fn unknown(name: &str, path: &Path) -> Failure {
    let why = format!("{} does not name it", path.display());
    let failure = Failure::new(Exit::NotFound, format!("there is no context {name}"), why);
    failure.fix("`reeve context ls` shows them")
}

#[derive(Serialize)]
struct One {
    name: String,
    current: bool,
    nodes: Vec<String>,
    ca: String,
    cert: String,
    key: String,
}

impl One {
    fn of(name: String, context: context::Context, contexts: &Contexts) -> One {
        One {
            current: contexts.current.as_ref() == Some(&name),
            name,
            nodes: context.nodes,
            ca: context.ca.display().to_string(),
            cert: context.cert.display().to_string(),
            key: context.key.display().to_string(),
        }
    }
}

impl Show for One {
    fn page(&self) -> Page {
        pairs([
            ("context", self.name.clone()),
            ("current", if self.current { "yes" } else { "no" }.to_owned()),
            ("nodes", self.nodes.join(", ")),
            ("root", self.ca.clone()),
            ("certificate", self.cert.clone()),
            ("key", self.key.clone()),
        ])
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
    #[serde(skip)]
    ca: String,
    #[serde(skip)]
    key: String,
}

impl Listed {
    fn of(contexts: &Contexts) -> Listed {
        let row = |(name, context): (&String, &context::Context)| Row {
            name: name.clone(),
            current: contexts.current.as_ref() == Some(name),
            nodes: context.nodes.clone(),
            cert: context.cert.display().to_string(),
            ca: context.ca.display().to_string(),
            key: context.key.display().to_string(),
        };
        Listed {
            contexts: contexts.contexts.iter().map(row).collect(),
        }
    }
}

impl Show for Listed {
    fn lines(&self) -> Vec<String> {
        show::lines(&self.contexts)
    }

    fn names(&self) -> Vec<String> {
        self.contexts.iter().map(|one| one.name.clone()).collect()
    }

    fn page(&self) -> Page {
        let row = |row: &Row| {
            let mark = if row.current { "*" } else { "" };
            vec![
                mark.to_owned(),
                row.name.clone(),
                row.nodes.join(","),
                row.cert.clone(),
                row.ca.clone(),
                row.key.clone(),
            ]
        };
        show::table(
            [
                col(""),
                col("NAME"),
                cut("NODES"),
                cut("CERTIFICATE"),
                wide("ROOT"),
                wide("KEY"),
            ],
            self.contexts.iter().map(row),
        )
    }
}
