//! `reeve cluster`: the registry's nodes, and who may join them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use reeve_client::v1::{CreateJoinTokenRequest, GetClusterRequest, Node, ReadLevel, Role, node, read_level};
use reeve_client::{JoinToken, KeyRequest, join};
use reeve_local::{Dial, Doors, InitOptions, cluster_init, init::Region};
use serde::Serialize;

use crate::args::{Format, Global};
use crate::connect::Connection;
use crate::{context, output};

/// What can be done with the cluster.
#[derive(Subcommand)]
pub enum Verb {
    /// Make a new cluster's authorities, first node and first admin; nothing is started
    #[command(
        after_help = "Example:\n  reeve cluster init --dir ./hospital --name hospital --regions vn,eu --admin ann \\\n    --api n1.example:7400 --peer n1.example:7401"
    )]
    Init(Init),
    /// Show the nodes
    #[command(after_help = "Example:\n  reeve cluster status")]
    Status,
    /// Make a single-use token with which somebody gets its first certificate
    #[command(
        after_help = "Examples:\n  reeve cluster join-token --role node --name n2 --out n2.token\n  reeve cluster join-token --role agent --name vn-1 --region vn --out vn-1.token\n  reeve cluster join-token --role service --name kiosk --tenant cho-ray --out kiosk.token"
    )]
    JoinToken(Token),
    /// Get a certificate with a token, and write a context
    #[command(after_help = "Example:\n  reeve cluster enroll --token-file vera.token --nodes n1.example:7400 --name hospital")]
    Enroll {
        /// The file that holds the token
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// The context's name
        #[arg(long, default_value = "default")]
        name: String,
        /// Where certificate and key go; beside the context file when unset
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// A new cluster.
#[derive(clap::Args)]
pub struct Init {
    /// The folder to write; must hold no cluster yet
    #[arg(long)]
    dir: PathBuf,
    /// The cluster's name: the trust domain of every identity in it
    #[arg(long)]
    name: String,
    /// Regions to begin with
    #[arg(long, value_delimiter = ',')]
    regions: Vec<String>,
    /// The first admin's name
    #[arg(long, default_value = "admin")]
    admin: String,
    /// Where the first node is reached by clients and agents
    #[arg(long, default_value = "127.0.0.1:7400")]
    api: String,
    /// Where the first node is reached by other nodes
    #[arg(long, default_value = "127.0.0.1:7401")]
    peer: String,
    /// Where it listens for clients; the same port on all addresses when unset
    #[arg(long)]
    listen_api: Option<String>,
    /// Where it listens for nodes; the same port on all addresses when unset
    #[arg(long)]
    listen_peer: Option<String>,
    /// Where it listens for probes and metrics
    #[arg(long, default_value = "127.0.0.1:7403")]
    http: String,
}

/// A token to make.
#[derive(clap::Args)]
pub struct Token {
    #[arg(long)]
    role: RoleArg,
    /// What it will be called
    #[arg(long)]
    name: String,
    /// Agents: where its instance stands
    #[arg(long, default_value = "")]
    region: String,
    /// Agents: the group it serves; one named like the agent when unset
    #[arg(long, default_value = "")]
    group: String,
    /// Services: tenants it is limited to (ids or slugs)
    #[arg(long = "tenant")]
    tenants: Vec<String>,
    /// Minutes it may be used
    #[arg(long, default_value_t = 10)]
    ttl_minutes: u32,
    /// Write it there, readable by you alone, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Roles that can join.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleArg {
    Node,
    Agent,
    Service,
    Operator,
    Auditor,
    Admin,
}

impl RoleArg {
    fn wire(self) -> Role {
        match self {
            RoleArg::Node => Role::Node,
            RoleArg::Agent => Role::Agent,
            RoleArg::Service => Role::Service,
            RoleArg::Operator => Role::Operator,
            RoleArg::Auditor => Role::Auditor,
            RoleArg::Admin => Role::Admin,
        }
    }
}

/// Carries a verb out.
pub async fn run(verb: Verb, global: &Global) -> Result<ExitCode> {
    match verb {
        Verb::Init(init) => begin(init)?,
        Verb::Status => status(&Connection::open(global)?).await?,
        Verb::JoinToken(token) => mint(&Connection::open(global)?, token).await?,
        Verb::Enroll { token_file, name, dir } => enroll(global, &token_file, &name, dir).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn begin(init: Init) -> Result<()> {
    if init.regions.is_empty() {
        bail!("--regions must name at least one region");
    }
    let everywhere = |address: &str| {
        let port = address.rsplit_once(':').map(|(_, port)| port).context("an address reads host:port")?;
        anyhow::Ok(format!("0.0.0.0:{port}"))
    };
    let regions = init.regions.iter().map(|name| Region { name: name.clone(), display_name: name.clone() });
    let options = InitOptions {
        cluster: init.name.clone(),
        dir: init.dir.clone(),
        admin: init.admin.clone(),
        regions: regions.collect(),
        listen: Doors {
            api: init.listen_api.map_or_else(|| everywhere(&init.api), Ok)?,
            peer: init.listen_peer.map_or_else(|| everywhere(&init.peer), Ok)?,
            http: init.http,
        },
        advertise: Dial { api: init.api.clone(), peer: init.peer },
        peers: vec![],
        settings: toml::Table::new(),
    };
    let founded = cluster_init(&options)?;
    context::write(&init.name, &[init.api], &founded.admin.ca, &founded.admin.cert, &founded.admin.key)?;
    println!("cluster {} ({})", init.name, founded.cluster_id);
    println!("  root key      {}   take it offline now", founded.root_key.display());
    println!("  provider key  {}   goes to each node, mode 0600; keep a copy", founded.provider_key.display());
    println!("  admin         {}   context {} is ready", founded.admin.cert.display(), init.name);
    println!("Next:\n  reeve-registry --config {}", founded.config.display());
    println!("  reeve cluster status");
    Ok(())
}

#[derive(Serialize)]
struct ClusterRow {
    cluster: String,
    cluster_id: String,
    leader_id: u64,
    term: u64,
    applied_index: u64,
    revision: u64,
    tenants: u64,
    state_hash: String,
    nodes: Vec<NodeRow>,
}

#[derive(Serialize)]
struct NodeRow {
    id: u64,
    role: &'static str,
    api_address: String,
    peer_address: String,
    matched_index: u64,
}

async fn status(connection: &Connection) -> Result<()> {
    let read = Some(ReadLevel { level: Some(read_level::Level::Stale(read_level::Stale {})) });
    let request = GetClusterRequest { read };
    let answer = connection.api.cluster().get_cluster(connection.call(request)).await?.into_inner();
    let row = ClusterRow {
        cluster: answer.cluster,
        cluster_id: answer.cluster_id,
        leader_id: answer.leader_id,
        term: answer.term,
        applied_index: answer.applied_index,
        revision: answer.freshness.map(|f| f.revision).unwrap_or_default(),
        tenants: answer.tenants,
        state_hash: answer.state_hash,
        nodes: answer.nodes.iter().map(node_row).collect(),
    };
    if connection.format == Format::Json {
        return output::json(&row);
    }
    println!(
        "cluster {}  leader {}  term {}  revision {}  tenants {}",
        row.cluster, row.leader_id, row.term, row.revision, row.tenants
    );
    let mut table = output::table(&["NODE", "ROLE", "API", "PEER"]);
    for node in row.nodes {
        table.add_row([node.id.to_string(), node.role.to_owned(), node.api_address, node.peer_address]);
    }
    println!("{table}");
    Ok(())
}

fn node_row(node: &Node) -> NodeRow {
    NodeRow {
        id: node.id,
        role: match node.role() {
            node::Role::Leader => "leader",
            node::Role::Follower => "follower",
            node::Role::Learner => "learner",
            node::Role::Joining => "joining",
            node::Role::Unspecified => "",
        },
        api_address: node.api_address.clone(),
        peer_address: node.peer_address.clone(),
        matched_index: node.matched_index,
    }
}

async fn mint(connection: &Connection, token: Token) -> Result<()> {
    let request = CreateJoinTokenRequest {
        request_id: connection.request_id(),
        role: token.role.wire() as i32,
        name: token.name,
        region: token.region,
        group: token.group,
        tenants: token.tenants,
        ttl: Some(prost_types::Duration { seconds: i64::from(token.ttl_minutes) * 60, nanos: 0 }),
    };
    let made = connection.api.access().create_join_token(connection.call(request)).await?.into_inner();
    match token.out {
        Some(path) => {
            write_private(&path, made.token.as_bytes())?;
            let until = output::rfc3339(made.expire_time.as_ref());
            eprintln!("the token is in {}; it can be used once, until {until}", path.display());
        }
        None => println!("{}", made.token),
    }
    Ok(())
}

async fn enroll(global: &Global, token_file: &Path, name: &str, dir: Option<PathBuf>) -> Result<()> {
    let text = std::fs::read_to_string(token_file)
        .with_context(|| format!("cannot read the token in {}", token_file.display()))?;
    let token = JoinToken::parse(text.trim()).context("the token cannot be read; copy it whole")?;
    if global.nodes.is_empty() {
        bail!("--nodes must name a node to ask, as host:port");
    }
    let dir = match dir {
        Some(dir) => dir,
        None => context::path()?.with_file_name(name),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let request = kept_request(&dir)?;
    let enrolled = join::enroll(&global.nodes, &token, &request).await?;
    let (cert, key, ca) = (dir.join("own.crt"), dir.join("own.key"), dir.join("root.crt"));
    write_private(&cert, enrolled.identity.chain_pem.as_bytes())?;
    write_private(&key, request.key_pem.as_bytes())?;
    write_private(&ca, enrolled.identity.root_pem.as_bytes())?;
    let nodes = if enrolled.nodes.is_empty() { global.nodes.clone() } else { enrolled.nodes };
    context::write(name, &nodes, &ca, &cert, &key)?;
    for left_over in ["new.key", "new.csr"] {
        std::fs::remove_file(dir.join(left_over))?;
    }
    eprintln!("enrolled as {}; context {name} is the current one", enrolled.principal_id);
    Ok(())
}

/// Key and request are kept before they are shown, so that a lost answer is fetched by asking again.
fn kept_request(dir: &Path) -> Result<KeyRequest> {
    let (key, csr) = (dir.join("new.key"), dir.join("new.csr"));
    if let (Ok(key_pem), Ok(csr_pem)) = (std::fs::read_to_string(&key), std::fs::read_to_string(&csr)) {
        return Ok(KeyRequest { key_pem: key_pem.into(), csr_pem });
    }
    let made = KeyRequest::generate()?;
    write_private(&key, made.key_pem.as_bytes())?;
    write_private(&csr, made.csr_pem.as_bytes())?;
    Ok(made)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}
