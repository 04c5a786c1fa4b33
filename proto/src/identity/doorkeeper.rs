//! How many connections a door holds, and how many handshakes at once: in all, and for each caller.
//!
//! Whoever finds the door full is let in for a moment, so that it can be told why and when to come back; when even
//! those places are taken, its connection is closed unheard.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::spiffe::SpiffeId;
use crate::seats::{Bound, Full, Seat, Seats};

/// Connections at once that are only told that the door is full.
const TOLD_MAX: usize = 256;
/// Addresses share these waiting lines by chance.
const LINES: usize = 1_024;

/// The bounds of one door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub connections: usize,
    pub connections_per_address: usize,
    pub connections_per_principal: usize,
    /// Of callers without a certificate, all together.
    pub connections_nameless: usize,
    pub handshakes: usize,
    pub handshakes_per_address: usize,
    /// A handshake that takes longer is dropped, waiting for its turn included.
    pub handshake_patience: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections: 20_000,
            connections_per_address: 10_000,
            connections_per_principal: 10_000,
            connections_nameless: 1_000,
            handshakes: 256,
            handshakes_per_address: 64,
            handshake_patience: Duration::from_secs(3),
        }
    }
}

/// An address as callers are counted: of IPv6, whoever has one address has all of its /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(own) => IpAddr::V6(Ipv6Addr::from_bits(own.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// Counts one door's connections.
#[derive(Clone)]
pub(super) struct Doorkeeper(Arc<Shared>);

struct Shared {
    by_address: Seats<IpAddr>,
    by_principal: Seats<SpiffeId>,
    nameless: Seats<()>,
    told: Seats<()>,
    handshakes: Arc<Semaphore>,
    lines: Vec<Arc<Semaphore>>,
    hasher: RandomState,
    patience: Duration,
}

/// What a connection holds until it is closed.
pub(super) struct Held {
    _seats: Seated,
    /// What was full when it came; its calls are told.
    pub(super) excess: Option<Full>,
}

/// Seats are given back when this is dropped.
#[allow(dead_code, reason = "held, not read")]
enum Seated {
    Shaking(Seat<IpAddr>),
    Named(Seat<IpAddr>, Seat<SpiffeId>),
    Nameless(Seat<IpAddr>, Seat<()>),
    Told(Seat<()>),
}

impl Doorkeeper {
    pub(super) fn new(bounds: Bounds) -> Doorkeeper {
        let bound = |setting, most| Bound { setting, most };
        let connections = bound("limits.connections", bounds.connections);
        let by_address = bound("limits.connections_per_address", bounds.connections_per_address);
        let by_principal = bound(
            "limits.connections_per_principal",
            bounds.connections_per_principal,
        );
        let nameless = bound("limits.connections_nameless", bounds.connections_nameless);
        let told = bound("connections that are told", TOLD_MAX);
        let lines = (0..LINES).map(|_| Arc::new(Semaphore::new(bounds.handshakes_per_address)));
        Doorkeeper(Arc::new(Shared {
            by_address: Seats::new(connections, by_address),
            by_principal: Seats::new(connections, by_principal),
            nameless: Seats::new(nameless, nameless),
            told: Seats::new(told, told),
            handshakes: Arc::new(Semaphore::new(bounds.handshakes)),
            lines: lines.collect(),
            hasher: RandomState::new(),
            patience: bounds.handshake_patience,
        }))
    }

    /// A place for a connection from here; none when it cannot even be told that there is no place.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Held> {
        match self.0.by_address.take(address) {
            Ok(seat) => Some(Held {
                _seats: Seated::Shaking(seat),
                excess: None,
            }),
            Err(full) => self.tell(full),
        }
    }

    /// Counts it for its principal, too, now that it is known; none when it cannot even be told that it is too many.
    pub(super) fn recognise(&self, held: Held, principal: Option<&SpiffeId>) -> Option<Held> {
        let Seated::Shaking(address) = held._seats else {
            return Some(held);
        };
        let seated = match principal {
            Some(id) => (self.0.by_principal.take(id.clone())).map(|seat| Seated::Named(address, seat)),
            None => self
                .0
                .nameless
                .take(())
                .map(|seat| Seated::Nameless(address, seat)),
        };
        match seated {
            Ok(_seats) => Some(Held { _seats, excess: None }),
            Err(full) => self.tell(full),
        }
    }

    fn tell(&self, full: Full) -> Option<Held> {
        Some(Held {
            _seats: Seated::Told(self.0.told.take(()).ok()?),
            excess: Some(full),
        })
    }

    /// Runs a handshake when its turn has come: first among those of its address, then among all.
    pub(super) async fn shake<T>(
        &self,
        address: IpAddr,
        hands: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let line = self.0.hasher.hash_one(address) as usize % LINES;
        let in_turn = async {
            let _own = turn(&self.0.lines[line]).await?;
            let _one = turn(&self.0.handshakes).await?;
            hands.await
        };
        tokio::time::timeout(self.0.patience, in_turn).await?
    }
}

async fn turn(line: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    line.clone().acquire_owned().await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_caller_is_its_whole_network() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::");
        assert_eq!(of("2001:db8:0:1:ffff::1"), "2001:db8:0:1::");
        assert_ne!(of("2001:db8:0:2::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
