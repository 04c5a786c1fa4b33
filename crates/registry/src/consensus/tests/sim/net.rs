//! The network between the nodes, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_proto::internal::v1::peer_service_server::PeerServiceServer;

use super::exec::{Owner, here, now_ns};
use super::ground::time::sleep;
use super::history::{Event, note};
use crate::consensus::PeerServer;

/// What TCP waits before it sends again.
const RESEND_MS: std::ops::Range<u64> = 200..700;
/// How often a message looks whether its way is open again.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// A node's door, in one of its lives.
#[derive(Clone)]
pub struct Door {
    pub owner: Owner,
    pub service: PeerServiceServer<PeerServer>,
}

/// All links; each way of a link has faults of its own.
#[derive(Clone, Default)]
pub struct Net(Arc<Mutex<Links>>);

#[derive(Default)]
struct Links {
    doors: BTreeMap<u64, Door>,
    cut: BTreeSet<(u64, u64)>,
    slow_ms: BTreeMap<(u64, u64), u64>,
    lossy_percent: BTreeMap<(u64, u64), u64>,
    /// Streams of an older number are dead, and nobody was told.
    broken: BTreeMap<(u64, u64), u64>,
    doubles_percent: u64,
}

/// Whoever pings its connection notices after so long that it is dead.
pub const PINGS: Duration = Duration::from_secs(10);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Arrives,
    /// Nobody will ever hear of it.
    Lost,
    /// The sender is told at once.
    Refused,
}

impl Net {
    pub fn open(&self, node: u64, door: Door) {
        self.0.lock().doors.insert(node, door);
    }

    pub fn close(&self, node: u64) {
        self.0.lock().doors.remove(&node);
    }

    pub fn door(&self, node: u64) -> Option<Door> {
        self.0.lock().doors.get(&node).cloned()
    }

    pub fn cut(&self, from: u64, to: u64) {
        self.0.lock().cut.insert((from, to));
    }

    pub fn mend(&self, from: u64, to: u64) {
        self.0.lock().cut.remove(&(from, to));
    }

    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.0.lock().cut.contains(&(from, to))
    }

    pub fn slow(&self, from: u64, to: u64, ms: u64) {
        self.0.lock().slow_ms.insert((from, to), ms);
    }

    pub fn lossy(&self, from: u64, to: u64, percent: u64) {
        self.0.lock().lossy_percent.insert((from, to), percent);
    }

    pub fn double(&self, percent: u64) {
        self.0.lock().doubles_percent = percent;
    }

    /// The streams on this way are dead from now on; new ones are not.
    pub fn break_streams(&self, from: u64, to: u64) {
        *self.0.lock().broken.entry((from, to)).or_default() += 1;
    }

    /// The number that a stream which begins now gets.
    pub fn epoch(&self, from: u64, to: u64) -> u64 {
        self.0.lock().broken.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Ends every fault.
    pub fn heal(&self) {
        let mut links = self.0.lock();
        links.cut.clear();
        links.slow_ms.clear();
        links.lossy_percent.clear();
        links.doubles_percent = 0;
    }

    /// Whether a message comes twice.
    pub fn doubles(&self) -> bool {
        let percent = self.0.lock().doubles_percent;
        here().is_some_and(|core| core.chance.lock().percent(percent))
    }

    /// How long a message is on its way when nothing goes wrong.
    pub fn delay(&self, from: u64, to: u64) -> Duration {
        let slow = self.0.lock().slow_ms.get(&(from, to)).copied();
        let Some(core) = here() else { return Duration::ZERO };
        let mut chance = core.chance.lock();
        let micros = chance.between(80..1_500);
        // Now and then one is overtaken by many.
        let late = if chance.percent(2) {
            chance.between(1..40)
        } else {
            0
        };
        let slow = slow.map_or(0, |ms| chance.between(ms / 2..ms + 1));
        Duration::from_micros(micros + 1_000 * (late + slow))
    }

    /// Carries a message, however long that takes.
    pub async fn carry(&self, from: u64, to: u64, call: &'static str) -> Fate {
        let fate = self.carry_quietly(from, to).await;
        let fate_name = match fate {
            Fate::Arrives => "arrives",
            Fate::Lost => "lost",
            Fate::Refused => "refused",
        };
        note(Event::Message {
            from,
            to,
            call,
            fate: fate_name,
        });
        fate
    }

    async fn carry_quietly(&self, from: u64, to: u64) -> Fate {
        let Some(core) = here() else { return Fate::Lost };
        let lossy = self.0.lock().lossy_percent.get(&(from, to)).copied();
        if core.chance.lock().percent(lossy.unwrap_or_default()) {
            let (gone, wait) = {
                let mut chance = core.chance.lock();
                (chance.percent(40), chance.between(RESEND_MS))
            };
            if gone {
                return Fate::Lost;
            }
            sleep(Duration::from_millis(wait)).await;
        }
        if self.is_cut(from, to) {
            let drawn = core.chance.lock().between(0..10);
            match drawn {
                0..2 => return Fate::Refused,
                2..7 => return Fate::Lost,
                // TCP tries until the way is open again: what is old arrives late.
                _ => {
                    while self.is_cut(from, to) {
                        sleep(LOOK_EVERY).await;
                    }
                }
            }
        }
        sleep(self.delay(from, to)).await;
        match self.is_cut(from, to) {
            true => Fate::Lost,
            false => Fate::Arrives,
        }
    }

    /// When a message of a stream arrives that is sent now, behind the one before it.
    pub fn arrival(&self, from: u64, to: u64, before: u64) -> u64 {
        let Some(core) = here() else { return 0 };
        let lossy = self.0.lock().lossy_percent.get(&(from, to)).copied();
        let lost = core.chance.lock().percent(lossy.unwrap_or_default());
        let resent = match lost {
            true => core.chance.lock().between(RESEND_MS) * 1_000_000,
            false => 0,
        };
        let at = now_ns() + self.delay(from, to).as_nanos() as u64 + resent;
        at.max(before)
    }

    /// Whether a stream can go on: not while the way is cut.
    pub fn is_open(&self, from: u64, to: u64) -> bool {
        !self.is_cut(from, to)
    }

    pub fn is_dead(&self, from: u64, to: u64, epoch: u64) -> bool {
        self.epoch(from, to) != epoch
    }
}
