//! One node with all its doors in this process, over real mutual TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reeve_domain::audit::Seed;
use reeve_domain::command::Found;
use reeve_domain::entry::FORMAT;
use reeve_domain::group::Region;
use reeve_domain::health::Terms;
use reeve_domain::words::Name;
use reeve_domain::{Actor, Command, Entry, NodeId, Refusal, Stamp, State};
use reeve_proto::identity::{
    ClientAuth, Connector, Credentials, Expect, Issuer, KeyRequest, SpiffeId, Tuning, Usage, ca, channel,
    connector, incoming, pinned, server_config, token,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};

use crate::archive::{Archive, Cipher};
use crate::authority::{Authority, FLEET_AUDIT_KEY, ISSUING_KEY, seal_new_key};
use crate::config::{Limits, Rates};
use crate::consensus::{Consensus, Dialer, DiskSettings, Fatal, Forwarded, Handlers, Settings, Timing};
use crate::edge::{Options, routes};
use crate::hub::Hub;
use crate::pilot::{SightingsBoard, VitalsBoard};
use crate::policy::Gate;
use crate::rooms::Rooms;
use crate::sink::Sink;
use crate::telemetry::{self, Metrics};
use crate::vault::{KeyProvider, RootKey, Sealer};

pub(super) const ADMIN: &str = "spiffe://hospital/person/ann";

pub(super) struct World {
    pub rooms: Rooms,
    pub address: SocketAddr,
    pub root_pem: String,
    /// Tells the doors that the node is about to stop.
    pub leaving: CancellationToken,
    issuer: Issuer,
    folder: TempDir,
}

impl World {
    /// A founded cluster of one node that leads, with its doors open.
    pub(super) async fn founded() -> World {
        World::with(Options::default()).await
    }

    pub(super) async fn with_rates(rates: Rates) -> World {
        World::with_limits(Limits {
            rates,
            ..Limits::default()
        })
        .await
    }

    pub(super) async fn with_limits(limits: Limits) -> World {
        let options = Options {
            limits,
            ..Options::default()
        };
        World::with(options).await
    }

    pub(super) async fn with(options: Options) -> World {
        let now = SystemTime::now();
        let folder = tempfile::tempdir().unwrap();
        let root = ca::root("hospital", now).unwrap();
        let issuing = ca::issuing(&root, "hospital", now).unwrap();
        let issuer = Issuer::new(&issuing.cert_pem, &issuing.key_pem, &root.cert_pem).unwrap();
        let key: Arc<dyn KeyProvider> = Arc::new(RootKey::new(&[5; 32]));

        let usage = Usage::Node {
            hosts: vec!["127.0.0.1".into()],
        };
        let signer = credentials_of(&issuer, &root.cert_pem, "spiffe://hospital/node/1", usage);
        let rooms = rooms(&folder, key.clone(), signer).await;
        rooms.consensus.initialize("127.0.0.1:1").await.unwrap();
        let found = Found {
            cluster: Name::parse("hospital").unwrap(),
            cluster_id: "c1".into(),
            root_ca_pem: root.cert_pem.clone(),
            issuing_chain_pem: format!("{}{}", issuing.cert_pem, root.cert_pem),
            issuing_key: key.seal(ISSUING_KEY, issuing.key_pem.as_bytes()).unwrap(),
            audit_key: seal_new_key(key.as_ref(), FLEET_AUDIT_KEY).unwrap(),
            regions: vec![Region {
                name: Name::parse("vn").unwrap(),
                display_name: "Vietnam".into(),
            }],
            admin: ADMIN.into(),
            node: NodeId(1),
            api_address: "127.0.0.1:7400".into(),
            peer_address: "127.0.0.1:7401".into(),
            version: reeve_domain::Versions::KNOWN.max,
        };
        propose(&rooms, Actor::Founder, Command::Found(found)).await;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = World {
            rooms,
            address,
            root_pem: root.cert_pem,
            leaving: CancellationToken::new(),
            issuer,
            folder,
        };
        let usage = Usage::Node {
            hosts: vec!["127.0.0.1".into()],
        };
        let credentials = world.credentials("spiffe://hospital/node/1", usage);
        let tls = server_config(&credentials, ClientAuth::Optional).unwrap();
        let doors = routes(world.rooms.clone(), options, world.leaving.clone()).unwrap();
        let server = Server::builder()
            .max_concurrent_streams(options.limits.streams_per_connection)
            .add_routes(doors);
        let connections = incoming(listener, tls, &credentials, options.limits.bounds());
        tokio::spawn(server.serve_with_incoming(connections));
        world
    }

    fn credentials(&self, id: &str, usage: Usage) -> Credentials {
        credentials_of(&self.issuer, &self.root_pem, id, usage)
    }

    /// The same, with windows so small that whoever does not read is felt at once.
    pub(super) fn narrow_channel_as(&self, id: &str) -> Channel {
        let connector = connector(&self.credentials(id, Usage::Client), Expect::Node(1)).unwrap();
        let tuning = Tuning {
            stream_window_bytes: 64,
            ..Tuning::default()
        };
        channel(&self.address.to_string(), connector, &tuning).unwrap()
    }

    fn dial(&self, connector: Connector) -> Channel {
        channel(&self.address.to_string(), connector, &Tuning::default()).unwrap()
    }

    /// A channel with a certificate of this name; whether the cluster knows it is another matter.
    pub(super) fn channel_as(&self, id: &str) -> Channel {
        self.dial(connector(&self.credentials(id, Usage::Client), Expect::Node(1)).unwrap())
    }

    /// A channel without a certificate, as a joiner has it.
    pub(super) fn channel_as_nobody(&self) -> Channel {
        self.dial(pinned(token::pin_of(&self.root_pem).unwrap()).unwrap())
    }

    /// Keeps the gauges of this node true until the test ends.
    pub(super) fn watch_gauges(&self) {
        let usage = Usage::Node {
            hosts: vec!["127.0.0.1".into()],
        };
        let credentials = self.credentials("spiffe://hospital/node/1", usage);
        let folder = self.folder.path().join("raft");
        telemetry::spawn(
            &self.rooms,
            credentials,
            folder,
            &Default::default(),
            &Default::default(),
        );
    }

    /// The State of now.
    pub(super) fn state(&self) -> State {
        self.rooms.consensus.published().state.clone()
    }
}

fn credentials_of(issuer: &Issuer, root_pem: &str, id: &str, usage: Usage) -> Credentials {
    let request = KeyRequest::generate().unwrap();
    let id = SpiffeId::parse(id).unwrap();
    let hour = Duration::from_secs(3600);
    let issued = issuer
        .issue(&request.csr_pem, &id, &usage, hour, SystemTime::now())
        .unwrap();
    Credentials::from_pem(&issued.chain_pem, &request.key_pem, root_pem).unwrap()
}

async fn rooms(folder: &TempDir, key: Arc<dyn KeyProvider>, signer: Credentials) -> Rooms {
    let archive = Archive::open(folder.path().join("archive"), Arc::new(Plain)).unwrap();
    let hub = Hub::default();
    let settings = Settings {
        node_id: 1,
        cluster: "hospital".into(),
        data_dir: folder.path().join("raft"),
        timing: Timing::LAN,
        snapshot_entries: 10_000,
        trailing_entries: 1_000,
        compare_every: Duration::from_secs(600),
        disk: DiskSettings {
            reserve_bytes: 1 << 20,
            ballast_bytes: 0,
            slow_flush: Duration::from_secs(10),
        },
    };
    let metrics = Arc::new(Metrics::new(1, "hospital"));
    let sink = Sink {
        archive: archive.clone(),
        hub: hub.clone(),
        metrics: metrics.clone(),
    };
    Consensus::make_folder(&settings.data_dir, "hospital", 1).unwrap();
    let fatal = Fatal::new(|why| panic!("{why}"));
    let recalled = Consensus::recall(&settings, &Sealer::new(&[1; 32]), &fatal).unwrap();
    let consensus = Consensus::open(
        settings,
        recalled,
        Arc::new(Alone),
        Arc::new(sink),
        Arc::new(Gated),
        fatal,
    );
    let consensus = consensus.await.unwrap();
    Rooms {
        authority: Authority::new(key, consensus.clone()),
        sightings: SightingsBoard::new(consensus.clone()),
        vitals: VitalsBoard::new(consensus.clone()),
        terms: Terms { credential_ms: 0 },
        metrics,
        signer,
        node_id: NodeId(1),
        cluster: "hospital".into(),
        consensus,
        hub,
        archive,
    }
}

async fn propose(rooms: &Rooms, actor: Actor, command: Command) {
    let entry = Entry {
        format: FORMAT,
        stamp: Stamp(0),
        actor,
        principal_rev: 0,
        policy_rev: 0,
        request: None,
        seed: Seed::default(),
        command,
    };
    let proposal = Forwarded {
        entry,
        caller: Vec::new(),
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let committed = rooms.consensus.propose(proposal, deadline).await.unwrap();
    committed.outcome.unwrap();
}

struct Gated;

#[tonic::async_trait]
impl Handlers for Gated {
    fn admit(&self, state: &State, proposal: &Forwarded) -> Result<(), Refusal> {
        Gate.admit(state, proposal)
    }

    async fn ask(&self, _question: Bytes) -> Result<Bytes, String> {
        Err("there is one node".to_owned())
    }

    async fn fetch_archive(&self, _range: Bytes) -> Result<Vec<Bytes>, String> {
        Err("there is one node".to_owned())
    }

    fn archive_is_whole(&self) -> bool {
        true
    }
}

struct Alone;

impl Dialer for Alone {
    fn channel(&self, _node: u64, address: &str) -> Channel {
        Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy()
    }
}

struct Plain;

impl Cipher for Plain {
    fn seal(&self, _place: &[u8], plain: &[u8]) -> Result<Vec<u8>, String> {
        Ok(plain.to_vec())
    }

    fn open(&self, _place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
        Ok(sealed.to_vec())
    }
}
