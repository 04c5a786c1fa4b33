//! A new node's first certificate: shows a join token to any node, over TLS that the token pins.
//!
//! Key and request are on disk before they are shown, so that a lost answer is fetched by asking again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use reeve_proto::identity::{Credentials, JoinToken, KeyRequest, Tuning, channel, pinned};
use reeve_proto::v1::JoinNodeRequest;
use reeve_proto::v1::cluster_service_client::ClusterServiceClient;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::consensus::Consensus;
use crate::{files, release};

const PATIENCE: Duration = Duration::from_secs(30);

/// Key and request, in the data folder until the answer is there.
pub const REQUEST: [&str; 2] = ["join.key", "join.csr"];

/// Who this node is from now on.
pub struct Joined {
    pub id: u64,
    /// The nodes that were on the roll then.
    pub roll: Vec<u64>,
}

/// Holds to it what can be held before anybody is asked.
pub fn check(config: &Config, token_file: &Path) -> anyhow::Result<()> {
    read_token(config, token_file).map(drop)
}

fn read_token(config: &Config, token_file: &Path) -> anyhow::Result<JoinToken> {
    let text = std::fs::read_to_string(token_file)
        .with_context(|| format!("cannot read the join token in {}", token_file.display()))?;
    let token = JoinToken::parse(Zeroizing::new(text).trim())
        .context("the join token cannot be read; copy it whole")?;
    if config.seeds.api.is_empty() {
        bail!(
            "seeds.api: must name at least one node to ask, as host:port; \
             in the configuration, or with --set 'seeds.api=[\"HOST:PORT\"]'"
        );
    }
    Ok(token)
}

/// Joins, and says under which id.
pub async fn join(config: &Config, token_file: &Path) -> anyhow::Result<Joined> {
    join_if(config, token_file, |_| Ok(())).await
}

/// The same, unless the id that came back is none to take. Nothing of it is on the disk before that is decided.
pub async fn join_if(
    config: &Config,
    token_file: &Path,
    accept: impl FnOnce(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Joined> {
    if let Some(id) = known_id(&config.data_dir)? {
        bail!("this node has joined already, as node {id}");
    }
    let token = read_token(config, token_file)?;
    let request = request(&config.data_dir)?;
    let order = JoinNodeRequest {
        token_id: token.id().to_owned(),
        token_secret: token.secret_text().to_string(),
        csr_pem: request.csr_pem.clone(),
        api_address: config.api_address(),
        peer_address: config.peer_address(),
        version_min: release::known().min,
        version_max: release::known().max,
    };
    let answer = ask(config, &token, order).await?;
    if answer.cluster != config.cluster {
        bail!(
            "cluster: the token is of cluster {}, the configuration says {}",
            answer.cluster,
            config.cluster
        );
    }
    let root = root_of(&answer.certificate_chain_pem)?;
    let credentials = Credentials::from_pem(&answer.certificate_chain_pem, &request.key_pem, &root)
        .context("the certificate that came back does not fit")?;
    let pin = reeve_proto::identity::token::pin_of(&root)?;
    if pin != token.pin() {
        bail!("the certificate does not lead to the root that the token names");
    }
    accept(answer.node_id)?;
    Consensus::make_folder(&config.data_dir, &config.cluster, answer.node_id)?;
    files::write(&config.identity.ca, root.as_bytes())?;
    files::write(&config.identity.key, request.key_pem.as_bytes())?;
    files::write(&config.identity.cert, answer.certificate_chain_pem.as_bytes())?;
    files::write(&id_path(&config.data_dir), answer.node_id.to_string().as_bytes())?;
    wipe_request(&config.data_dir)?;
    let spiffe = credentials.spiffe();
    tracing::info!(%spiffe, "joined");
    Ok(Joined {
        id: answer.node_id,
        roll: answer.nodes.iter().map(|node| node.id).collect(),
    })
}

/// Takes key and request away, should they be there: nobody is to be shown them again.
pub fn wipe_request(data_dir: &Path) -> anyhow::Result<()> {
    for left_over in request_paths(data_dir) {
        if left_over.exists() {
            files::wipe(&left_over)?;
        }
    }
    Ok(())
}

/// The id that joining gave.
pub fn known_id(data_dir: &Path) -> anyhow::Result<Option<u64>> {
    let path = id_path(data_dir);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim()
        .parse()
        .map(Some)
        .with_context(|| format!("{} holds no node id, but {text:?}", path.display()))
}

pub(crate) fn id_path(data_dir: &Path) -> PathBuf {
    data_dir.join("node_id")
}

fn request_paths(data_dir: &Path) -> [PathBuf; 2] {
    REQUEST.map(|name| data_dir.join(name))
}

fn request(data_dir: &Path) -> anyhow::Result<KeyRequest> {
    let [key, csr] = request_paths(data_dir);
    if key.exists() && csr.exists() {
        let key_pem = Zeroizing::new(std::fs::read_to_string(key)?);
        return Ok(KeyRequest {
            key_pem,
            csr_pem: std::fs::read_to_string(csr)?,
        });
    }
    let made = KeyRequest::generate()?;
    files::write(&key, made.key_pem.as_bytes())?;
    files::write(&csr, made.csr_pem.as_bytes())?;
    Ok(made)
}

/// Asks each seed in turn until one answers; a clear no ends it.
async fn ask(
    config: &Config,
    token: &JoinToken,
    order: JoinNodeRequest,
) -> anyhow::Result<reeve_proto::v1::JoinNodeResponse> {
    let dial = pinned(token.pin())?;
    let mut last = None;
    for seed in &config.seeds.api {
        let mut client = ClusterServiceClient::new(channel(seed, dial.clone(), &Tuning::default())?);
        match tokio::time::timeout(PATIENCE, client.join_node(order.clone())).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) if status.code() == tonic::Code::Unavailable => {
                last = Some(format!("{seed}: {}", status.message()));
            }
            Ok(Err(status)) => bail!("{}", status.message()),
            Err(_) => last = Some(format!("{seed}: no answer within {} s", PATIENCE.as_secs())),
        }
    }
    bail!("no seed answered; {}", last.unwrap_or_default())
}

/// The last certificate of a chain.
fn root_of(chain_pem: &str) -> anyhow::Result<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let at = chain_pem.rfind(BEGIN).context("no certificate came back")?;
    Ok(chain_pem[at..].to_owned())
}
