//! One node as a whole: its rooms are built, its doors open, and both close in order.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use reeve_domain::NodeId;
use reeve_domain::health::Terms;
use reeve_proto::identity::{
    Bounds, ClientAuth, Credentials, Expect, Kind, Tuning, channel, connector, incoming, server_config,
};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Server};
use tracing::{info, warn};

use crate::archive::{Archive, Cipher};
use crate::asks::{Answers, Asked};
use crate::authority::{Authority, renew};
use crate::config::{Config, RaftProfile};
use crate::consensus::{Consensus, Dialer, DiskSettings, Fatal, Settings, Timing};
use crate::hub::Hub;
use crate::pilot::{self, SightingsBoard, VitalsBoard};
use crate::rooms::Rooms;
use crate::sink::Sink;
use crate::stop::{self, Part, Parts};
use crate::telemetry::{self, Metrics};
use crate::vault::{KeyProvider, RootKey, Sealer, open_or_make};
use crate::{backup, descriptors, edge, fill, found, http, join, notify, rejoin, scrub};

/// Runs until a signal, then hands over and drains. Consensus and the door for peers run on `home`.
pub async fn run(config: Config, home: Handle) -> anyhow::Result<()> {
    rejoin::check(&config.data_dir)?;
    let node_id = node_id(&config)?;
    renew::finish(&config.identity).context("identity: a renewal that was cut short cannot be finished")?;
    let credentials =
        Credentials::from_files(&config.identity.cert, &config.identity.key, &config.identity.ca)
            .context("identity: the certificate files cannot be used")?;
    check_identity(&credentials, &config, node_id)?;
    let root: Arc<dyn KeyProvider> = Arc::new(RootKey::read(&config.keys.path).context("keys.path")?);

    let bootstrap = found::read(&config.data_dir)?;
    if bootstrap.is_some() {
        Consensus::make_folder(&config.data_dir, &config.cluster, node_id).context("data_dir")?;
    }
    Consensus::check_folder(&config.data_dir, &config.cluster, node_id).context("data_dir")?;
    let (rooms, answers) = {
        let (config, credentials, root) = (config.clone(), credentials.clone(), root.clone());
        let built = home.spawn(async move { build(&config, node_id, &credentials, root).await });
        built.await.context("the rooms could not be built")??
    };
    let parts = Parts::default();
    let leaving = parts.calls.stop.clone();
    let bearer = edge::Bearer::new(rooms.clone(), &config.limits, leaving.clone());
    answers.open(Asked {
        authority: rooms.authority.clone(),
        sightings: rooms.sightings.clone(),
        vitals: rooms.vitals.clone(),
        carrier: Arc::new(bearer),
    });
    let door = serve_peers(
        config.listen.peer,
        rooms.clone(),
        credentials.clone(),
        parts.peers.clone(),
    );
    home.spawn(door).await.context("listen.peer")??;
    if let Some(bootstrap) = bootstrap {
        found::found(&rooms.consensus, root.as_ref(), bootstrap, &config.data_dir).await?;
    }
    serve_api(&config, &rooms, &credentials, &parts.calls).await?;
    let probes = parts.peers.clone();
    parts.peers.tasks.spawn(serve_http(
        config.listen.http,
        rooms.clone(),
        leaving,
        probes.stop,
    ));
    spawn_loops(&config, &rooms, credentials, node_id, &parts.loops);
    info!(node = node_id, api = %config.listen.api, peer = %config.listen.peer, "the node is up");

    wait_for_stop().await?;
    stop::in_order(&rooms, parts, Duration::from_millis(config.runtime.drain_ms)).await
}

/// What goes on beside the doors.
fn spawn_loops(config: &Config, rooms: &Rooms, credentials: Credentials, node_id: u64, loops: &Part) {
    let (tasks, stop) = (&loops.tasks, &loops.stop);
    tasks.spawn(fill::run(rooms.clone(), stop.clone()));
    tasks.spawn(scrub::run(rooms.clone(), config.scrub, stop.clone()));
    telemetry::spawn(rooms, credentials.clone(), config.data_dir.clone(), tasks, stop);
    tasks.spawn(renew::run(
        credentials,
        config.identity.clone(),
        node_id,
        config.api_address(),
        stop.clone(),
    ));
    pilot::spawn(rooms, config.rotation, tasks, stop);
    tasks.spawn(notify::run(rooms.clone(), config.alerts.clone(), stop.clone()));
    tasks.spawn(backup::schedule::run(
        rooms.clone(),
        config.backup.clone(),
        stop.clone(),
    ));
}

/// The id that the configuration, the bootstrap file or joining gave.
fn node_id(config: &Config) -> anyhow::Result<u64> {
    let joined = join::known_id(&config.data_dir)?;
    match (config.node_id, joined) {
        (0, Some(id)) => Ok(id),
        (0, None) => match found::read(&config.data_dir)? {
            Some(bootstrap) => Ok(bootstrap.node_id),
            None => bail!(
                "node_id: this node has not joined yet; run `reeve-registry --config … join --token-file …`"
            ),
        },
        (set, Some(id)) if set != id => match rejoin::former(&config.data_dir)?.contains(&set) {
            true => {
                warn!(
                    set,
                    id, "this node came back under a new id; the configuration still says the old one"
                );
                Ok(id)
            }
            false => bail!(
                "node_id: the configuration says {set}, joining gave {id} ({} says so, and {} holds no such id); \
                 set it to 0",
                join::id_path(&config.data_dir).display(),
                rejoin::FORMER
            ),
        },
        (set, _) => Ok(set),
    }
}

fn check_identity(credentials: &Credentials, config: &Config, node_id: u64) -> anyhow::Result<()> {
    let (spiffe, cluster) = (credentials.spiffe(), &config.cluster);
    if spiffe.cluster() != cluster {
        bail!(
            "cluster: the certificate is of cluster {}, the configuration says {cluster}",
            spiffe.cluster()
        );
    }
    match spiffe.kind() {
        Kind::Node(id) if *id == node_id => Ok(()),
        _ => bail!(
            "node_id: the certificate is of {spiffe}, and the configuration or {} says node {node_id}",
            join::id_path(&config.data_dir).display()
        ),
    }
}

fn disk(config: &Config) -> DiskSettings {
    DiskSettings {
        reserve_bytes: config.disk.reserve_mb << 20,
        ballast_bytes: config.disk.ballast_mb << 20,
        slow_flush: Duration::from_millis(config.disk.slow_flush_ms),
    }
}

fn settings(config: &Config, node_id: u64, disk: DiskSettings) -> Settings {
    Settings {
        node_id,
        cluster: config.cluster.clone(),
        data_dir: config.data_dir.clone(),
        timing: match config.raft.profile {
            RaftProfile::Lan => Timing::LAN,
            RaftProfile::Wan => Timing::WAN,
        },
        snapshot_entries: config.raft.snapshot_entries,
        trailing_entries: config.raft.trailing_entries,
        compare_every: Duration::from_millis(config.raft.compare_ms),
        disk,
    }
}

async fn build(
    config: &Config,
    node_id: u64,
    credentials: &Credentials,
    root: Arc<dyn KeyProvider>,
) -> anyhow::Result<(Rooms, Arc<Answers>)> {
    let disk = disk(config);
    Consensus::make_room(&config.data_dir, disk).context("data_dir")?;
    let sealer = open_or_make(&config.data_dir, &config.cluster, root.as_ref())?;
    let settings = settings(config, node_id, disk);
    let fatal = Fatal::exit();
    // Both take seconds when there are many tenants.
    let (archive, recalled) = thread::scope(|side| {
        let recalled = side.spawn(|| Consensus::recall(&settings, &sealer, &fatal));
        let cipher = Arc::new(ArchiveCipher::new(sealer.clone()));
        let archive = Archive::open(config.data_dir.join("archive"), cipher);
        (
            archive,
            recalled.join().unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    let archive = archive.context("the archive cannot be opened")?;
    let recalled = recalled.context("consensus cannot be opened")?;
    let metrics = Arc::new(Metrics::new(node_id, &config.cluster));
    let hub = Hub::default();
    let answers = Arc::new(Answers::new(archive.clone()));
    let sink = Sink {
        archive: archive.clone(),
        hub: hub.clone(),
        metrics: metrics.clone(),
    };
    let dialer = PeerDialer {
        credentials: credentials.clone(),
        elsewhere: config.dialled()?,
    };
    let consensus = Consensus::open(
        settings,
        recalled,
        Arc::new(dialer),
        Arc::new(sink),
        answers.clone(),
        fatal,
    )
    .await
    .context("consensus cannot be opened")?;
    let published = consensus.clone();
    archive
        .follow(move || Arc::new(published.published().state.clone()))
        .context("the archive")?;
    let rooms = Rooms {
        authority: Authority::new(root, consensus.clone()),
        sightings: SightingsBoard::new(consensus.clone()),
        vitals: VitalsBoard::new(consensus.clone()),
        terms: Terms {
            credential_ms: config.rotation.every_ms,
        },
        consensus,
        hub,
        archive,
        metrics,
        signer: credentials.clone(),
        node_id: NodeId(node_id),
        cluster: config.cluster.clone(),
    };
    Ok((rooms, answers))
}

/// Peers: node certificates only.
async fn serve_peers(
    listen: std::net::SocketAddr,
    rooms: Rooms,
    credentials: Credentials,
    part: Part,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen.peer: cannot listen at {listen}"))?;
    let tls = server_config(&credentials, ClientAuth::NodesOnly)?;
    let connections = incoming(listener, tls, &credentials, Bounds::default());
    let server = Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .add_service(rooms.consensus.peer_service(true));
    let until = part.stop.cancelled_owned();
    part.tasks.spawn(async move {
        if let Err(error) = server.serve_with_incoming_shutdown(connections, until).await {
            warn!(%error, "the peer door is closed");
        }
    });
    Ok(())
}

/// Clients, agents, people, and those who join.
async fn serve_api(
    config: &Config,
    rooms: &Rooms,
    credentials: &Credentials,
    part: &Part,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen.api)
        .await
        .with_context(|| format!("listen.api: cannot listen at {}", config.listen.api))?;
    let tls = server_config(credentials, ClientAuth::Optional)?;
    let bounds = Bounds {
        connections: descriptors::for_connections(config.limits.connections),
        ..config.limits.bounds()
    };
    let connections = incoming(listener, tls, credentials, bounds);
    let options = edge::Options {
        empty: config.bench.empty,
        limits: config.limits,
    };
    let routes = edge::routes(rooms.clone(), options, part.stop.clone())?;
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .max_concurrent_streams(config.limits.streams_per_connection)
        .max_connection_age(Duration::from_secs(1800))
        .add_routes(routes);
    let until = part.stop.clone().cancelled_owned();
    part.tasks.spawn(async move {
        if let Err(error) = server.serve_with_incoming_shutdown(connections, until).await {
            warn!(%error, "the API door is closed");
        }
    });
    Ok(())
}

async fn serve_http(
    listen: std::net::SocketAddr,
    rooms: Rooms,
    leaving: CancellationToken,
    stop: CancellationToken,
) {
    if let Err(error) = http::serve(listen, rooms, leaving, stop).await {
        warn!(%error, %listen, "the door for probes and metrics is closed");
    }
}

async fn wait_for_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Channels to peers over mutual TLS, at the address that the configuration prefers.
struct PeerDialer {
    credentials: Credentials,
    elsewhere: std::collections::BTreeMap<u64, String>,
}

impl Dialer for PeerDialer {
    fn channel(&self, node: u64, address: &str) -> Channel {
        let address = self.elsewhere.get(&node).map_or(address, String::as_str);
        let dialled = connector(&self.credentials, Expect::Node(node))
            .map_err(|error| error.to_string())
            .and_then(|dial| channel(address, dial, &Tuning::default()).map_err(|error| error.to_string()));
        match dialled {
            Ok(channel) => channel,
            Err(error) => {
                warn!(node, address, error, "a peer's address cannot be dialled");
                // Leads nowhere, and fails each call with a reason: the others are served meanwhile.
                Channel::from_static("http://127.0.0.1:1").connect_lazy()
            }
        }
    }
}

/// The archive's values under the node's data key.
pub(crate) struct ArchiveCipher(Sealer);

impl ArchiveCipher {
    pub(crate) fn new(sealer: Sealer) -> ArchiveCipher {
        ArchiveCipher(sealer)
    }
}

impl Cipher for ArchiveCipher {
    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, String> {
        self.0.seal(place, plain).map_err(|error| error.to_string())
    }

    fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
        self.0.open(place, sealed).map_err(|error| error.to_string())
    }
}
