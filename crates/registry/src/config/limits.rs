//! How much of everything a node takes at once, and how fast callers may come. docs/limits.md explains each.

use std::num::NonZeroU32;
use std::time::Duration;

use reeve_proto::identity::Bounds;
use serde::{Deserialize, Serialize};

use super::Error;

/// All limits of the API door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    pub connections_per_principal: usize,
    /// Of callers that show no certificate, all together.
    pub connections_nameless: usize,
    pub connections_nameless_per_address: usize,
    /// That have not begun their handshake; one more, and the oldest is closed.
    pub connections_silent: usize,
    /// Handshakes under way; others wait for their turn.
    pub handshakes: usize,
    pub handshakes_per_address: usize,
    /// The longest handshake, waiting for its turn included.
    pub handshake_ms: u64,
    /// Calls and streams of one connection; its HTTP/2 holds more of them back.
    pub streams_per_connection: u32,
    /// Calls under way, streams not counted.
    pub calls: usize,
    pub calls_per_principal: usize,
    /// Calls with a join token under way.
    pub joins: usize,
    pub joins_per_address: usize,
    /// Questions for health and reflection under way.
    pub probes: usize,
    /// Of one principal, or of one address of callers that show no certificate.
    pub probes_per_caller: usize,
    /// Renewals of agents' and nodes' certificates under way.
    pub renewals: usize,
    pub renewals_per_principal: usize,
    /// One request.
    pub request_bytes: usize,
    /// One request with a join token.
    pub request_bytes_joiner: usize,
    /// All requests under way.
    pub request_bytes_total: usize,
    pub request_bytes_per_principal: usize,
    /// Agents' sessions and renewals, beside all others.
    pub request_bytes_agents: usize,
    /// The longest time from a call's head to the end of its request.
    pub request_ms: u64,
    /// Open watches, waits and copies.
    pub streams: usize,
    pub streams_per_principal: usize,
    /// Agents' sessions.
    pub sessions: usize,
    pub sessions_per_agent: usize,
    /// Whole listings that begin a watch and are sent at once; others wait for their turn.
    pub listings: usize,
    pub listings_per_principal: usize,
    pub rates: Rates,
}

/// Calls a second, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

/// The rates of each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Answered from memory.
    pub read: Rate,
    /// Proposed to the log.
    pub write: Rate,
    /// Secrets, and who may enter.
    pub secret: Rate,
    /// Join calls of one address.
    pub join: Rate,
}

impl Rate {
    pub(crate) const fn new(per_second: u32, burst: u32) -> Rate {
        let (Some(per_second), Some(burst)) = (NonZeroU32::new(per_second), NonZeroU32::new(burst)) else {
            // Evaluated while compiling, with the numbers below.
            panic!("a rate of nothing");
        };
        Rate { per_second, burst }
    }
}

impl Default for Rates {
    fn default() -> Rates {
        const READ: Rate = Rate::new(200_000, 200_000);
        const WRITE: Rate = Rate::new(20_000, 20_000);
        const SECRET: Rate = Rate::new(500, 5_000);
        const JOIN: Rate = Rate::new(20, 60);
        Rates {
            read: READ,
            write: WRITE,
            secret: SECRET,
            join: JOIN,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        let doors = Bounds::default();
        Limits {
            connections: doors.connections,
            connections_per_address: doors.connections_per_address,
            connections_per_principal: doors.connections_per_principal,
            connections_nameless: doors.connections_nameless,
            connections_nameless_per_address: doors.connections_nameless_per_address,
            connections_silent: doors.connections_silent,
            handshakes: doors.handshakes,
            handshakes_per_address: doors.handshakes_per_address,
            handshake_ms: doors.handshake_patience.as_millis() as u64,
            streams_per_connection: 1_024,
            calls: 8_192,
            calls_per_principal: 4_096,
            joins: 512,
            joins_per_address: 64,
            probes: 1_024,
            probes_per_caller: 64,
            renewals: 256,
            renewals_per_principal: 4,
            request_bytes: 1 << 20,
            request_bytes_joiner: 64 << 10,
            request_bytes_total: 256 << 20,
            request_bytes_per_principal: 64 << 20,
            request_bytes_agents: 32 << 20,
            request_ms: 10_000,
            streams: 40_000,
            streams_per_principal: 20_000,
            sessions: 10_000,
            sessions_per_agent: 4,
            listings: 8,
            listings_per_principal: 4,
            rates: Rates::default(),
        }
    }
}

impl Limits {
    /// The bounds of the API door's connections.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            connections: self.connections,
            connections_per_address: self.connections_per_address,
            connections_per_principal: self.connections_per_principal,
            connections_nameless: self.connections_nameless,
            connections_nameless_per_address: self.connections_nameless_per_address,
            connections_silent: self.connections_silent,
            handshakes: self.handshakes,
            handshakes_per_address: self.handshakes_per_address,
            handshake_patience: Duration::from_millis(self.handshake_ms),
        }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        let numbers = [
            ("limits.connections", self.connections),
            ("limits.connections_per_address", self.connections_per_address),
            ("limits.connections_per_principal", self.connections_per_principal),
            ("limits.connections_nameless", self.connections_nameless),
            (
                "limits.connections_nameless_per_address",
                self.connections_nameless_per_address,
            ),
            ("limits.connections_silent", self.connections_silent),
            ("limits.handshakes", self.handshakes),
            ("limits.handshakes_per_address", self.handshakes_per_address),
            ("limits.handshake_ms", self.handshake_ms as usize),
            (
                "limits.streams_per_connection",
                self.streams_per_connection as usize,
            ),
            ("limits.calls", self.calls),
            ("limits.calls_per_principal", self.calls_per_principal),
            ("limits.joins", self.joins),
            ("limits.joins_per_address", self.joins_per_address),
            ("limits.probes", self.probes),
            ("limits.probes_per_caller", self.probes_per_caller),
            ("limits.renewals", self.renewals),
            ("limits.renewals_per_principal", self.renewals_per_principal),
            ("limits.request_bytes", self.request_bytes),
            ("limits.request_bytes_joiner", self.request_bytes_joiner),
            ("limits.request_ms", self.request_ms as usize),
            ("limits.streams", self.streams),
            ("limits.streams_per_principal", self.streams_per_principal),
            ("limits.sessions", self.sessions),
            ("limits.sessions_per_agent", self.sessions_per_agent),
            ("limits.listings", self.listings),
            ("limits.listings_per_principal", self.listings_per_principal),
        ];
        for (field, number) in numbers {
            if number == 0 {
                return Err(Error::field(field, "must be at least 1"));
            }
        }
        let hold_one = [
            ("limits.request_bytes_total", self.request_bytes_total),
            (
                "limits.request_bytes_per_principal",
                self.request_bytes_per_principal,
            ),
            ("limits.request_bytes_agents", self.request_bytes_agents),
        ];
        for (field, bytes) in hold_one {
            if bytes < self.request_bytes {
                let why = format!("must be at least one request's {} bytes", self.request_bytes);
                return Err(Error::field(field, why));
            }
        }
        Ok(())
    }
}
