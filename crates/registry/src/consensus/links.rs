//! Channels to the other nodes: four for each, kept for as long as the address stays.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_proto::internal::v1::Envelope;
use reeve_proto::internal::v1::peer_service_client::PeerServiceClient;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::Dialer;
use super::ground::{self, Wire};

pub(super) type Client = PeerServiceClient<Wire>;

/// The largest message between nodes.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// What a channel is used for. Heartbeats never queue behind data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line {
    Append,
    Beat,
    Snapshot,
    Forward,
}

/// Channels by node and use, each with the address it was dialled at.
type Dialled = HashMap<(u64, Line), (String, Wire)>;

/// The channels of one node.
#[derive(Clone)]
pub(super) struct Links {
    pub(super) node: u64,
    pub(super) cluster: String,
    dialer: Arc<dyn Dialer>,
    channels: Arc<Mutex<Dialled>>,
    /// Where consensus runs: a channel lives where it was dialled, and a busy caller must not take it along. None in
    /// a simulation.
    home: Option<Handle>,
}

impl Links {
    pub(super) fn new(node: u64, cluster: &str, dialer: Arc<dyn Dialer>) -> Links {
        Links {
            node,
            cluster: cluster.to_owned(),
            dialer,
            channels: Arc::default(),
            home: Handle::try_current().ok(),
        }
    }

    pub(super) fn client(&self, to: u64, address: &str, line: Line) -> Client {
        let mut channels = self.channels.lock();
        let known = channels.get(&(to, line)).filter(|(dialed, _)| dialed == address);
        let channel = match known {
            Some((_, channel)) => channel.clone(),
            None => {
                let _home = self.home.as_ref().map(Handle::enter);
                let channel = ground::dial(self.dialer.as_ref(), to, address);
                channels.insert((to, line), (address.to_owned(), channel.clone()));
                channel
            }
        };
        PeerServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn envelope<T: Serialize>(&self, message: &T) -> Result<Option<Envelope>, tonic::Status> {
        Ok(Some(self.envelope_of(pack(message)?)))
    }

    pub(super) fn envelope_of(&self, body: bytes::Bytes) -> Envelope {
        Envelope {
            cluster: self.cluster.clone(),
            from: self.node,
            body,
        }
    }
}

pub(super) fn pack<T: Serialize>(message: &T) -> Result<bytes::Bytes, tonic::Status> {
    let packed = rmp_serde::to_vec_named(message);
    packed
        .map(Into::into)
        .map_err(|error| tonic::Status::internal(format!("cannot encode: {error}")))
}

pub(super) fn unpack<T: DeserializeOwned>(body: &[u8]) -> Result<T, tonic::Status> {
    rmp_serde::from_slice(body)
        .map_err(|error| tonic::Status::invalid_argument(format!("cannot decode a peer's message: {error}")))
}
