//! Free TCP ports on the loopback.

use std::collections::BTreeSet;
use std::net::TcpListener;

use anyhow::{Result, bail};

/// Below the range from which the kernel draws the ports of outgoing connections: a process that was
/// killed finds its port still free when it comes back.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const TRIES_MAX: usize = 10_000;

/// Finds so many ports that nobody listens at, all different.
pub fn free(count: usize) -> Result<Vec<u16>> {
    let mut found = BTreeSet::new();
    for _ in 0..TRIES_MAX {
        if found.len() == count {
            return Ok(found.into_iter().collect());
        }
        let port = rand::random_range(RANGE);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            found.insert(port);
        }
    }
    bail!("no {count} free ports between {} and {}", RANGE.start, RANGE.end)
}

/// Whether somebody could listen there now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
