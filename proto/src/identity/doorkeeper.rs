//! How many connections a door holds, and how many handshakes at once: in all, and for each caller.
//!
//! Whoever finds the door full is let in for a moment, so that it can be told why and when to come back; when even
//! those places are taken, its connection is closed unheard. Whoever connects and says nothing takes no turn for a
//! handshake, and makes room for the next one. Agents and nodes have places that nobody else takes: a hospital's hand is
//! let in although the door is full of callers.
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

use super::spiffe::{Kind, SpiffeId};
use crate::seats::{Bound, Full, Seat, Seats};

/// Connections at once that are only told that the door is full; in all, and from one network.
const TOLD_MAX: usize = 256;
const TOLD_EACH: usize = 64;
/// Connections of agents and nodes beside all others, in all and of one principal. The door's owner leaves descriptors for
/// them.
pub const RESERVED_MAX: usize = 512;
const RESERVED_EACH: usize = 16;
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
    told: Seats<IpAddr>,
    reserved: Seats<SpiffeId>,
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
    Told(Seat<IpAddr>),
    Reserved(Seat<SpiffeId>),
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
        let told_each = bound("connections that are told", TOLD_EACH);
        let reserved = bound("connections of agents and nodes", RESERVED_MAX);
        let reserved_each = bound("connections of one agent or node", RESERVED_EACH);
        let lines = (0..LINES).map(|_| Arc::new(Semaphore::new(bounds.handshakes_per_address)));
        Doorkeeper(Arc::new(Shared {
            by_address: Seats::new(connections, by_address),
            by_principal: Seats::new(connections, by_principal),
            nameless: Seats::new(nameless, nameless_each),
            silent: Silent::new(bounds.connections_silent),
            told: Seats::new(told, told_each),
            reserved: Seats::new(reserved, reserved_each),
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
            Err(full) => self.tell(full, address),
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
            return Some(self.reserved(principal).unwrap_or(held));
        };
        let seated = match principal {
            Some(id) => (self.0.by_principal.take(id.clone())).map(|seat| Seated::Named(shaking, seat)),
            None => (self.0.nameless.take(network(address))).map(|seat| Seated::Nameless(shaking, seat)),
        };
        match seated {
            Ok(_seats) => Some(Held { _seats, excess: None }),
            Err(full) => self.reserved(principal).or_else(|| self.tell(full, address)),
        }
    }

    fn tell(&self, full: Full, address: IpAddr) -> Option<Held> {
        Some(Held {
            _seats: Seated::Told(self.0.told.take(network(address)).ok()?),
            excess: Some(full),
        })
    }

    /// A place that is kept for those without whom tenants are alone.
    fn reserved(&self, principal: Option<&SpiffeId>) -> Option<Held> {
        let hand = principal.filter(|id| matches!(id.kind(), Kind::Agent(_) | Kind::Node(_)))?;
        Some(Held {
            _seats: Seated::Reserved(self.0.reserved.take(hand.clone()).ok()?),
            excess: None,
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
    fn agents_and_nodes_are_let_in_although_the_door_is_full() {
        let keeper = keeper(|b| (b.connections, b.connections_per_principal) = (1, 1));
        let addresses: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let [flooder, other] = addresses;
        let come = |address, who: &str| {
            let id = SpiffeId::parse(who).unwrap();
            keeper.recognise(keeper.admit(address)?, address, Some(&id))
        };
        let _full = come(flooder, "spiffe://clinic/svc/web");
        assert_eq!(
            setting(come(other, "spiffe://clinic/svc/web")),
            Some("limits.connections")
        );
        assert_eq!(
            setting(come(other, "spiffe://clinic/person/ann")),
            Some("limits.connections")
        );
        let hands = (0..RESERVED_EACH).map(|_| come(other, "spiffe://clinic/agent/vn-1"));
        let hands: Vec<_> = hands.collect();
        assert!(
            hands
                .iter()
                .all(|held| held.as_ref().is_some_and(|held| held.excess.is_none()))
        );
        assert_eq!(
            setting(come(other, "spiffe://clinic/agent/vn-1")),
            Some("limits.connections"),
            "one agent has its share of them"
        );
        assert_eq!(setting(come(other, "spiffe://clinic/node/2")), None);
    }

    #[test]
    fn a_network_that_floods_a_full_door_does_not_keep_others_from_being_heard() {
        let keeper = keeper(|b| b.connections = 0);
        let [flooder, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let told: Vec<_> = (0..TOLD_MAX).map_while(|_| keeper.admit(flooder)).collect();
        assert_eq!(told.len(), TOLD_EACH);
        assert!(keeper.admit(other).is_some());
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
