//! A node's own certificate: renewed at half of its life, or at once on SIGHUP, and swapped without a restart.
//!
//! The node asks at its own API door, so that policy and audit see its renewal like everybody else's.

use std::path::Path;
use std::time::{Duration, SystemTime};

use reeve_proto::identity::{Credentials, Expect, KeyRequest, Tuning, channel, connector};
use reeve_proto::v1::RenewNodeRequest;
use reeve_proto::v1::cluster_service_client::ClusterServiceClient;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Identity;
use crate::files;

/// Between two tries; half of a certificate's life holds hundreds of them.
const RETRY: Duration = Duration::from_secs(30);
/// Clocks jump: nobody sleeps longer than this without looking again.
const LOOK_EVERY: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(15);

/// Renews for as long as the node runs.
pub async fn run(
    credentials: Credentials,
    identity: Identity,
    node: u64,
    api: String,
    stop: CancellationToken,
) {
    let mut asked = match signal(SignalKind::hangup()) {
        Ok(asked) => asked,
        Err(error) => return warn!(%error, "certificates are not renewed: no signal can be heard"),
    };
    let mut is_asked = false;
    loop {
        let pause = until_half_life(&credentials, SystemTime::now());
        if !is_asked && pause > Duration::ZERO {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = asked.recv() => is_asked = true,
                () = tokio::time::sleep(pause.min(LOOK_EVERY)) => {}
            }
            continue;
        }
        match renew(&credentials, &identity, node, &api).await {
            Ok(()) => {
                is_asked = false;
                info!("this node's certificate was renewed");
            }
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "this node's certificate could not be renewed yet"
                );
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }
}

fn until_half_life(credentials: &Credentials, now: SystemTime) -> Duration {
    let (begin, end) = (credentials.not_before(), credentials.not_after());
    let half = begin + end.duration_since(begin).unwrap_or_default() / 2;
    half.duration_since(now).unwrap_or_default()
}

async fn renew(credentials: &Credentials, identity: &Identity, node: u64, api: &str) -> anyhow::Result<()> {
    let request = KeyRequest::generate()?;
    let dial = connector(credentials, Expect::Node(node))?;
    let mut client = ClusterServiceClient::new(channel(api, dial, &Tuning::default())?);
    let order = RenewNodeRequest {
        csr_pem: request.csr_pem.clone(),
    };
    let answer = tokio::time::timeout(PATIENCE, client.renew_node(order)).await??;
    let chain = answer.into_inner().certificate_chain_pem;
    let root = std::fs::read_to_string(&identity.ca)?;
    credentials.replace_pem(&chain, &request.key_pem, &root)?;
    swap(identity, &chain, &request.key_pem)?;
    Ok(())
}

/// Puts a chain and its key in place of the old ones. Both drafts are on the disk before the first rename,
/// so that `finish` can complete what a crash cut in two.
pub fn swap(identity: &Identity, chain: &str, key: &str) -> std::io::Result<()> {
    files::write(&draft(&identity.cert), chain.as_bytes())?;
    files::write(&draft(&identity.key), key.as_bytes())?;
    files::rename(&draft(&identity.key), &identity.key)?;
    files::rename(&draft(&identity.cert), &identity.cert)
}

/// Completes or forgets a swap that a crash interrupted.
pub fn finish(identity: &Identity) -> std::io::Result<()> {
    let (cert, key) = (draft(&identity.cert), draft(&identity.key));
    if !cert.exists() {
        return Ok(());
    }
    // With the new key already in its place, the new chain is the one that fits.
    let fits = Credentials::from_files(&cert, &identity.key, &identity.ca).is_ok();
    if fits {
        return files::rename(&cert, &identity.cert);
    }
    for left_over in [cert, key] {
        if left_over.exists() {
            std::fs::remove_file(left_over)?;
        }
    }
    Ok(())
}

fn draft(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}
