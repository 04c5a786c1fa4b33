//! Who asks, as its connection proved it.

use std::net::SocketAddr;
use std::sync::Arc;

use reeve_domain::digest::Hash;
use reeve_domain::words::Name;
use reeve_proto::identity::{Kind, Peer, SpiffeId};

/// One caller. Without an identity it may only show a join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    spiffe: Option<SpiffeId>,
    /// The identity as State knows it; empty without one.
    id: Arc<str>,
    /// SHA-256 of the certificate it showed.
    pub certificate: Option<Hash>,
    pub address: SocketAddr,
}

impl Caller {
    /// Takes what the handshake found out.
    pub fn of(peer: &Peer) -> Caller {
        Caller::new(peer.spiffe.clone(), peer.cert_sha256, peer.addr)
    }

    /// Takes what another node found out at its own door.
    pub fn new(spiffe: Option<SpiffeId>, certificate: Option<Hash>, address: SocketAddr) -> Caller {
        let id = spiffe
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
            .into();
        Caller {
            spiffe,
            id,
            certificate,
            address,
        }
    }

    /// The identity as State knows it; empty without one.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Who it is.
    pub fn spiffe(&self) -> Option<&SpiffeId> {
        self.spiffe.as_ref()
    }

    /// The agent's name, when it is one.
    pub fn agent(&self) -> Option<Name> {
        match self.spiffe.as_ref()?.kind() {
            Kind::Agent(name) => Name::parse(name).ok(),
            Kind::Node(_) | Kind::Service(_) | Kind::Person(_) => None,
        }
    }

    /// The node's number, when it is one.
    pub fn node(&self) -> Option<u64> {
        match self.spiffe.as_ref()?.kind() {
            Kind::Node(id) => Some(*id),
            Kind::Agent(_) | Kind::Service(_) | Kind::Person(_) => None,
        }
    }
}
