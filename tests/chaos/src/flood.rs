//! One principal that asks for everything at once, over many connections, and never waits to be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use reeve_client::Credentials;
use reeve_client::v1::cluster_service_client::ClusterServiceClient;
use reeve_client::v1::resolver_service_client::ResolverServiceClient;
use reeve_client::v1::tenant_service_client::TenantServiceClient;
use reeve_client::v1::{
    Claim, GetClusterRequest, ListTenantsRequest, ReadLevel, ResolveRequest, claim, read_level,
};
use reeve_local::Node;
use reeve_proto::error::info;
use reeve_proto::identity::{Expect, Tuning, channel, connector};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Between two calls of one loop; a refusal comes back faster than anything could be made of it.
const PAUSE: Duration = Duration::from_millis(2);
const LARGE_BYTES: usize = 700_000;
/// Where half-open connections come from: another caller's address.
const ELSEWHERE: &str = "127.0.0.2:0";

/// What came of the calls.
#[derive(Debug, Default)]
pub struct Counts {
    pub answered: AtomicU64,
    /// Told what was too much, and when to come back.
    pub refused: AtomicU64,
    /// Told that there is too much, and not when to come back.
    pub rude: AtomicU64,
    /// Ended otherwise: the connection was closed, the deadline passed.
    pub broken: AtomicU64,
    pub half_open: AtomicU64,
}

/// A flood that goes on until it is stopped.
pub struct Flood {
    tasks: JoinSet<()>,
    goes_on: Arc<AtomicBool>,
    pub counts: Arc<Counts>,
}

impl Flood {
    /// So many connections to one node, each with so many calls under way; and half-open ones beside them.
    pub fn begin(node: &Node, who: &Credentials, connections: usize, calls: usize) -> Result<Flood> {
        let mut flood = Flood {
            tasks: JoinSet::new(),
            goes_on: Arc::new(AtomicBool::new(true)),
            counts: Arc::default(),
        };
        for _ in 0..connections {
            let dial = connector(who, Expect::AnyNode)?;
            let channel = channel(node.address(), dial, &Tuning::default())?;
            for number in 0..calls {
                let (channel, goes_on, counts) =
                    (channel.clone(), flood.goes_on.clone(), flood.counts.clone());
                flood.tasks.spawn(async move {
                    while goes_on.load(Relaxed) {
                        counts.note(&call(channel.clone(), number).await);
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        }
        let target = node.address().parse().context("the node's address")?;
        for _ in 0..connections {
            let (goes_on, counts) = (flood.goes_on.clone(), flood.counts.clone());
            flood.tasks.spawn(async move {
                while goes_on.load(Relaxed) {
                    // It is closed from the other side, sooner or later; then comes the next one.
                    if half_open(target).await.is_ok() {
                        counts.half_open.fetch_add(1, Relaxed);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Ok(flood)
    }

    /// Stops it, whatever is under way.
    pub async fn end(mut self) -> Arc<Counts> {
        self.goes_on.store(false, Relaxed);
        self.tasks.shutdown().await;
        self.counts
    }
}

impl Counts {
    fn note(&self, ended: &Result<(), Status>) {
        let count = match ended {
            Ok(()) => &self.answered,
            Err(status) => match status.code() {
                Code::NotFound | Code::InvalidArgument => &self.answered,
                Code::ResourceExhausted if info(status).retry_after.is_some() => &self.refused,
                Code::ResourceExhausted => &self.rude,
                _ => &self.broken,
            },
        };
        count.fetch_add(1, Relaxed);
    }
}

/// One call of a kind that goes by its number.
async fn call(channel: Channel, number: usize) -> Result<(), Status> {
    let linearizable = || {
        Some(ReadLevel {
            level: Some(read_level::Level::Linearizable(Default::default())),
        })
    };
    let claim = |key: String| {
        Some(Claim {
            kind: claim::Kind::Slug.into(),
            key,
        })
    };
    let resolve = |request: ResolveRequest| {
        let mut resolver = ResolverServiceClient::new(channel.clone());
        async move { resolver.resolve(request).await.map(drop) }
    };
    match number % 5 {
        0 => {
            resolve(ResolveRequest {
                claim: claim("nobody".to_owned()),
                ..Default::default()
            })
            .await
        }
        1 => {
            resolve(ResolveRequest {
                claim: claim("nobody".to_owned()),
                read: linearizable(),
                ..Default::default()
            })
            .await
        }
        2 => {
            resolve(ResolveRequest {
                claim: claim("x".repeat(LARGE_BYTES)),
                ..Default::default()
            })
            .await
        }
        3 => {
            let mut tenants = TenantServiceClient::new(channel);
            tenants
                .list_tenants(ListTenantsRequest::default())
                .await
                .map(drop)
        }
        _ => {
            let mut cluster = ClusterServiceClient::new(channel);
            // The dearest answer there is: all that the node knows is read for it.
            let asked = GetClusterRequest {
                with_state_hash: true,
                ..Default::default()
            };
            cluster.get_cluster(asked).await.map(drop)
        }
    }
}

async fn half_open(target: std::net::SocketAddr) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    let elsewhere = ELSEWHERE.parse().map_err(std::io::Error::other)?;
    socket.bind(elsewhere)?;
    let stream = socket.connect(target).await?;
    stream.readable().await
}
