//! Ten thousand tenants from one process with five hundred connections, at one real PostgreSQL over TLS.
//!
//! ```text
//! cargo bench -p reeve-client --bench scale                      # 10 000 tenants, 300 databases, 500 connections
//! cargo bench -p reeve-client --bench scale -- --databases 1000  # 7.6 MB of disk each
//! ```
//! Every tenant has a role of its own, and shares a real database with others: a pool belongs to a tenant, a database and
//! a credential, so that it is never shared, and each session is asked who it is. What many databases cost PostgreSQL is
//! not measured here.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed bench")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;

use reeve_client::Limits;
use support::{
    Cluster,
    crowd::{Crowd, Size},
    postgres::Server,
};

/// For how many pools the connections are enough, and how many callers there are.
const VARIANTS: [(u32, usize); 4] = [(1, 64), (1, 400), (4, 64), (4, 400)];

fn number(arguments: &[String], name: &str, default: usize) -> usize {
    let at = arguments.iter().position(|argument| argument == name);
    let given = at.and_then(|at| arguments.get(at + 1));
    given.map_or(default, |given| given.parse().expect(name))
}

fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let says = |word: &str| arguments.iter().any(|argument| argument == word);
    // As a test it only shows that it works.
    let is_test = says("--test") || !says("--bench");
    let (tenants, databases, connections, calls) = match is_test {
        true => (100, 2, 20, 400),
        false => (10_000, 300, 500, 40_000),
    };
    let tenants = number(&arguments, "--tenants", tenants);
    let databases = number(&arguments, "--databases", databases);
    let connections = number(&arguments, "--connections", connections);
    let calls = number(&arguments, "--calls", calls);
    let server = Server::start(&Cluster::new(), 2 * connections as u32 + 50)
        .await
        .unwrap();
    server.populate(tenants, databases).await.unwrap();
    println!(
        "\n{tenants} tenants in {databases} databases, {connections} connections, Zipf; {calls} calls\n"
    );
    println!(
        "| sessions a pool | callers | calls/s | p50 ms | p99 ms | p99.9 ms | exhausted | pool closed, asked again | tenants | most sessions | resident MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (of_a_pool, callers) in VARIANTS {
        let size = Size {
            tenants,
            databases,
            callers,
        };
        let limits = Limits {
            pools_max: connections,
            connections_max: connections as u32,
            connections_per_pool_max: of_a_pool,
            ..Limits::default()
        };
        let crowd = Crowd::new(&server, size, limits);
        let seen = crowd.work(&server, (calls / callers).max(1)).await.unwrap();
        assert!(seen.sessions_max <= connections, "{}", seen.sessions_max);
        let ms = |q| seen.served.value_at_quantile(q) as f64 / 1_000.0;
        println!(
            "| {of_a_pool} | {callers} | {:.0} | {:.2} | {:.2} | {:.2} | {} | {} | {} | {} | {} |",
            seen.served.len() as f64 / seen.took.as_secs_f64(),
            ms(0.5),
            ms(0.99),
            ms(0.999),
            seen.exhausted,
            seen.overtaken,
            seen.tenants,
            seen.sessions_max,
            resident_bytes() / 1_000_000
        );
        crowd.fleet.close().await;
    }
}
