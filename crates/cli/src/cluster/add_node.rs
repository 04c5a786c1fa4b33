//! `reeve cluster add-node`: a folder for a new machine, and what to say there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reeve_client::v1;
use reeve_local::{Dial, Doors, NodeConfig};
use serde::Serialize;

use super::change;
use super::init::listen;
use super::look::{Picture, votes};
use crate::fail::Failure;
use crate::files;
use crate::session::{Session, duration};
use crate::show::{Page, Show, time};

/// Prepare one more node: its configuration and a join token, as a folder to carry to its machine
#[derive(Debug, Args)]
#[command(
    override_usage = "reeve cluster add-node [OPTIONS] --dir <DIR>\n       --api <HOST:PORT> --peer <HOST:PORT>",
    after_help = "Examples:\n  reeve cluster add-node --dir n2 --api n2.example:7400 --peer n2.example:7401\n  reeve cluster add-node --dir n2 --api n2.example:7400 --peer n2.example:7401 --wait"
)]
pub struct AddNode {
    /// Folder to write; must not be there yet
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where clients will find it
    #[arg(long, value_name = "HOST:PORT")]
    api: String,
    /// Where other nodes will find it
    #[arg(long, value_name = "HOST:PORT")]
    peer: String,
    /// Where it will answer /livez, /readyz and /metrics
    #[arg(long, default_value = "127.0.0.1:7403", value_name = "HOST:PORT")]
    http: String,
    /// Address to listen at for clients and nodes; the advertised host unless told
    #[arg(long, value_name = "HOST")]
    bind: Option<String>,
    /// The key provider's file on its machine; `root.key` beside the folder unless told
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
    /// How long the token can be used; at most 24h
    #[arg(long, value_parser = duration, default_value = "10m", value_name = "TIME")]
    ttl: Duration,
    /// Wait until it has a vote
    #[arg(long)]
    wait: bool,
}

#[derive(Serialize)]
struct Prepared {
    config: PathBuf,
    token_file: PathBuf,
    token_expire_time: String,
    /// What to say on its machine, in this order.
    commands: [String; 2],
    /// With --wait: the id that it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<u64>,
}

impl Show for Prepared {
    fn page(&self) -> Page {
        match self.node_id {
            Some(id) => format!("node {id} has a vote").into(),
            None => self.commands.join("\n").into(),
        }
    }
}

pub async fn run(args: AddNode, session: &Session) -> Result<(), Failure> {
    let dir = std::path::absolute(&args.dir).map_err(anyhow::Error::from)?;
    if dir.exists() {
        let failure = Failure::usage(
            format!("{} is there already", dir.display()),
            "a node may live in it",
        );
        return Err(failure.fix("name another folder with --dir"));
    }
    let picture = Picture::look(session).await?;
    let token = token(session, args.ttl).await?;
    let config = config(&args, &dir, &picture).write(&dir.join("registry.toml"))?;
    let token_file = dir.join("join.token");
    files::write_secret(&token_file, format!("{}\n", token.token)).map_err(|error| {
        Failure::error(
            format!("{} was not written", token_file.display()),
            error.to_string(),
        )
    })?;
    let run = format!("reeve-registry --config {}", config.display());
    let mut prepared = Prepared {
        commands: [format!("{run} join --token-file {}", token_file.display()), run],
        config,
        token_file,
        token_expire_time: time(token.expire_time),
        node_id: None,
    };
    session.say(&format!(
        "carry {} and root.key to its machine; the token can be used once, until {}; say there:",
        dir.display(),
        prepared.token_expire_time
    ));
    if args.wait {
        session.say(&prepared.table());
        let known: Vec<u64> = picture.best.nodes.iter().map(|node| node.id).collect();
        let voting = change::until(session, "the node's vote", |now| {
            let mut new = now.nodes.iter().filter(|node| !known.contains(&node.id));
            new.find(|node| votes(node) && node.api_address == args.api)
                .map(|node| node.id)
        });
        prepared.node_id = Some(voting.await?);
    }
    session.print(&prepared)
}

async fn token(session: &Session, ttl: Duration) -> Result<v1::CreateJoinTokenResponse, Failure> {
    let asked = v1::CreateJoinTokenRequest {
        request_id: session.request_id(),
        role: v1::Role::Node.into(),
        ttl: Some(prost_types::Duration {
            seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
            nanos: 0,
        }),
        ..Default::default()
    };
    let made = session
        .api()?
        .access()
        .create_join_token(session.ask(asked))
        .await?;
    Ok(made.into_inner())
}

fn config(args: &AddNode, dir: &Path, picture: &Picture) -> NodeConfig {
    let beside = || dir.with_file_name("root.key");
    NodeConfig {
        cluster: picture.best.cluster.clone(),
        node_id: 0,
        data_dir: dir.join("data"),
        dir: dir.to_owned(),
        listen: Doors {
            api: listen(args.bind.as_deref(), &args.api),
            peer: listen(args.bind.as_deref(), &args.peer),
            http: args.http.clone(),
        },
        advertise: Dial {
            api: args.api.clone(),
            peer: args.peer.clone(),
        },
        provider_key: args.root_key.clone().unwrap_or_else(beside),
        peers: Vec::new(),
        seeds: picture
            .best
            .nodes
            .iter()
            .map(|node| node.api_address.clone())
            .collect(),
        settings: Default::default(),
    }
}
