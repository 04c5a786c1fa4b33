//! How many connections a door holds, and how many handshakes at once: in all, and for each caller.
//!
//! Whoever finds the door full is let in for a moment, so that it can be told why and when to come back; when even
//! those places are taken, its connection is closed unheard. Whoever connects and says nothing takes no turn for a
//! handshake, and makes room for the next one.
//!
//! ```text
//! accepted ─► seat of its address ─► silent (bounded; the oldest leaves) ─► hello ─► turn ─► handshake ─► seat of its name
//! ```

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

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
    pub connections_nameless_per_address: usize,
    /// That have not said what a handshake begins with.
    pub connections_silent: usize,
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
            connections_nameless_per_address: 200,
            connections_silent: 1_024,
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
    nameless: Seats<IpAddr>,
    silent: Silent,
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
    Nameless(Seat<IpAddr>, Seat<IpAddr>),
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
        let nameless_each = bound(
            "limits.connections_nameless_per_address",
            bounds.connections_nameless_per_address,
        );
        let told = bound("connections that are told", TOLD_MAX);
        let lines = (0..LINES).map(|_| Arc::new(Semaphore::new(bounds.handshakes_per_address)));
        Doorkeeper(Arc::new(Shared {
            by_address: Seats::new(connections, by_address),
            by_principal: Seats::new(connections, by_principal),
            nameless: Seats::new(nameless, nameless_each),
            silent: Silent::new(bounds.connections_silent),
            told: Seats::new(told, told),
            handshakes: Arc::new(Semaphore::new(bounds.handshakes)),
            lines: lines.collect(),
            hasher: RandomState::new(),
            patience: bounds.handshake_patience,
        }))
    }

    /// A place for a connection from here; none when it cannot even be told that there is no place.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Held> {
        match self.0.by_address.take(network(address)) {
            Ok(seat) => Some(Held {
                _seats: Seated::Shaking(seat),
                excess: None,
            }),
            Err(full) => self.tell(full),
        }
    }

    /// Counts it for its principal, too, now that it is known; none when it cannot even be told that it is too many.
    pub(super) fn recognise(
        &self,
        held: Held,
        address: IpAddr,
        principal: Option<&SpiffeId>,
    ) -> Option<Held> {
        let Seated::Shaking(shaking) = held._seats else {
            return Some(held);
        };
        let seated = match principal {
            Some(id) => (self.0.by_principal.take(id.clone())).map(|seat| Seated::Named(shaking, seat)),
            None => (self.0.nameless.take(network(address))).map(|seat| Seated::Nameless(shaking, seat)),
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

    /// Hears what a handshake begins with, and goes on with it when its turn has come: first among those of its address,
    /// then among all. Who is silent takes no turn.
    pub(super) async fn shake<H, T, F: Future<Output = io::Result<T>>>(
        &self,
        address: IpAddr,
        hello: impl Future<Output = io::Result<H>>,
        hands: impl FnOnce(H) -> F,
    ) -> io::Result<T> {
        let line = self.0.hasher.hash_one(network(address)) as usize % LINES;
        let in_turn = async {
            let heard = self.0.silent.until(hello).await?;
            let _own = turn(&self.0.lines[line]).await?;
            let _one = turn(&self.0.handshakes).await?;
            hands(heard).await
        };
        tokio::time::timeout(self.0.patience, in_turn).await?
    }
}

/// Connections that have said nothing yet. One who means it speaks at once, so the oldest makes room for the newest.
struct Silent {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    /// Whoever is taken out is told to leave.
    all: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Silent {
    fn new(most: usize) -> Silent {
        Silent {
            most,
            waiting: Mutex::default(),
        }
    }

    /// Waits for the first word, unless so many others come meanwhile that it has to leave.
    async fn until<T>(&self, word: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let (_place, leaves) = self.enter();
        tokio::select! {
            biased;
            heard = word => heard,
            _ = leaves => Err(io::Error::new(io::ErrorKind::TimedOut, "it said nothing, and others came")),
        }
    }

    fn enter(&self) -> (Place<'_>, oneshot::Receiver<()>) {
        let (stays, leaves) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        while waiting.all.len() >= self.most {
            waiting.all.pop_first();
        }
        waiting.last += 1;
        let number = waiting.last;
        waiting.all.insert(number, stays);
        let place = Place { silent: self, number };
        (place, leaves)
    }
}

struct Place<'a> {
    silent: &'a Silent,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.silent.waiting.lock().all.remove(&self.number);
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

    fn keeper(bounds: impl FnOnce(&mut Bounds)) -> Doorkeeper {
        let mut own = Bounds::default();
        bounds(&mut own);
        Doorkeeper::new(own)
    }

    fn setting(held: Option<Held>) -> Option<&'static str> {
        held.expect("it is told").excess.map(|full| full.setting)
    }

    #[test]
    fn one_network_has_its_share_and_another_finds_room() {
        let keeper = keeper(|b| (b.connections, b.connections_per_address) = (10, 1));
        let [one, neighbour, other] =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        let _held = keeper.admit(one);
        assert_eq!(
            setting(keeper.admit(neighbour)),
            Some("limits.connections_per_address")
        );
        assert_eq!(setting(keeper.admit(other)), None);
    }

    #[test]
    fn one_address_does_not_take_all_places_of_those_without_a_name() {
        let keeper = keeper(|b| (b.connections_nameless, b.connections_nameless_per_address) = (2, 1));
        let addresses: [IpAddr; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap());
        let come = |address| keeper.recognise(keeper.admit(address)?, address, None);
        let [first, second, third] = addresses;
        let _first = come(first);
        assert_eq!(
            setting(come(first)),
            Some("limits.connections_nameless_per_address")
        );
        let held = come(second);
        assert_eq!(held.as_ref().map(|held| held.excess), Some(None));
        assert_eq!(setting(come(third)), Some("limits.connections_nameless"));
    }

    #[tokio::test]
    async fn who_is_silent_makes_room_for_the_next_and_who_spoke_stays() {
        let silent = Silent::new(2);
        let mut waiting: Vec<_> = (0..3)
            .map(|_| Box::pin(silent.until(std::future::pending::<io::Result<()>>())))
            .collect();
        for place in &mut waiting {
            assert!(futures::poll!(place.as_mut()).is_pending());
        }
        assert!(
            futures::poll!(waiting[0].as_mut()).is_ready(),
            "the oldest leaves"
        );
        assert!(futures::poll!(waiting[1].as_mut()).is_pending());
        assert_eq!(
            silent.until(async { Ok(7) }).await.unwrap(),
            7,
            "who speaks at once is heard"
        );
        assert!(
            futures::poll!(waiting[1].as_mut()).is_ready(),
            "and was one of two meanwhile"
        );
        assert!(futures::poll!(waiting[2].as_mut()).is_pending());
        drop(waiting);
        assert!(silent.waiting.lock().all.is_empty());
    }
}
