//! Packets that are lost for real, by Debian's nftables in the kernel of this machine: TCP sends them again, later and
//! later, and nobody is told. When all of them are lost, a host is gone: no reset, no farewell, no refusal.
//!
//! Each link has a port of its own, that of its hop: whatever goes to it or comes from it can be lost. The rules are in
//! a table that the kernel takes away with the program that made it, however this process ends.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reeve_local::Fleet;

use crate::world::{Who, World};

/// Of a hundred packets on every link, each way.
const LOST_PERCENT: u8 = 5;
const ALL: u8 = 100;
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Packets are lost for as long as this lives.
pub struct Loss {
    table: String,
    nft: Child,
}

/// Why this machine loses no packets on demand; none when it can.
pub fn missing() -> Option<String> {
    match Loss::on(&BTreeSet::from([1]), 1) {
        Ok(_) => None,
        Err(why) => Some(format!("{why:#}")),
    }
}

impl Loss {
    /// So many of a hundred packets to these ports of the loopback and from them, each by chance. It takes root.
    fn on(ports: &BTreeSet<u16>, percent: u8) -> Result<Loss> {
        let table = format!("reeve_{}", uuid::Uuid::new_v4().simple());
        let mut nft = Command::new("nft")
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("nft (the Debian package nftables) is missing; scripts/setup.sh test installs it")?;
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let ports = ports.join(", ");
        let mut rules = format!("add table inet {table} {{ flags owner; }}\n");
        rules +=
            &format!("add chain inet {table} in {{ type filter hook input priority 0; policy accept; }}\n");
        // nft takes no number that is above all that can be drawn.
        let chance = match percent {
            ALL => String::new(),
            some => format!("numgen random mod {ALL} < {some} "),
        };
        for end in ["dport", "sport"] {
            rules +=
                &format!("add rule inet {table} in iif lo tcp {end} {{ {ports} }} {chance}counter drop\n");
        }
        let mut said = nft.stdin.take().context("nft has no standard input")?;
        said.write_all(rules.as_bytes())?;
        said.flush()?;
        nft.stdin = Some(said);
        let loss = Loss { table, nft };
        let end = Instant::now() + PATIENCE;
        while loss.rules().is_none_or(|rules| !rules.contains(" sport ")) {
            ensure!(
                Instant::now() < end && is_there(&loss.nft),
                "nft did not take its rules; it needs root, and a kernel with nf_tables"
            );
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(loss)
    }

    /// How many were lost so far.
    pub fn lost(&self) -> u64 {
        let rules = self.rules().unwrap_or_default();
        let mut words = rules.split_whitespace();
        let mut lost = 0;
        while let Some(word) = words.next() {
            if word == "packets" {
                lost += words
                    .next()
                    .and_then(|count| count.parse::<u64>().ok())
                    .unwrap_or(0);
            }
        }
        lost
    }

    fn rules(&self) -> Option<String> {
        let listed = Command::new("nft")
            .args(["list", "table", "inet", &self.table])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        listed.status.success().then_some(text)
    }
}

/// It ends at once when the kernel refuses what it asks.
fn is_there(nft: &Child) -> bool {
    std::path::Path::new(&format!("/proc/{}/fd/0", nft.id())).exists()
}

impl Drop for Loss {
    fn drop(&mut self) {
        // The end of its input is the end of the program, and of its table.
        drop(self.nft.stdin.take());
        if let Err(error) = self.nft.wait() {
            eprintln!("packets may go on being lost: {error}");
        }
    }
}

/// The ports of the links for whose two ends this holds.
fn ports(fleet: &Fleet, is_meant: impl Fn(&str) -> bool) -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for name in fleet.hops().names() {
        let (from, to) = name.split_once("->").context("a link without two ends")?;
        if is_meant(from) || is_meant(to) {
            let address = fleet.hops().get(name)?.address();
            let port = address.rsplit_once(':').map(|(_, port)| port.parse());
            ports.insert(port.context("a hop without a port")??);
        }
    }
    Ok(ports)
}

/// Every packet to a node and from it is lost, its clients' too.
pub fn lose_host(fleet: &Fleet, id: u64) -> Result<Loss> {
    let host = format!("n{id}");
    Loss::on(&ports(fleet, |end| end == host)?, ALL)
}

/// Some packets of every link are lost. False when this machine cannot lose any.
pub async fn some(world: &mut World, long: Duration) -> Result<bool> {
    if missing().is_some() {
        return Ok(false);
    }
    let loss = Loss::on(&ports(&world.fleet, |_| true)?, LOST_PERCENT)?;
    tokio::time::sleep(long).await;
    ensure!(loss.lost() > 0, "no packet was lost");
    Ok(true)
}

/// A node's host is gone without a word, for a while, and comes back with nothing but its disk. False when this machine
/// cannot play that.
pub async fn host(world: &mut World, who: Who, long: Duration) -> Result<bool> {
    if missing().is_some() {
        return Ok(false);
    }
    let id = world.id(who).await?;
    let loss = lose_host(&world.fleet, id)?;
    // What the kernel says for a process that has ended is lost as well.
    world.fleet.node(id)?.kill9()?;
    tokio::time::sleep(long).await;
    ensure!(loss.lost() > 0, "nobody missed node {id}");
    drop(loss);
    world.fleet.node(id)?.start()?;
    Ok(true)
}
