//! Every acknowledged change has exactly one record, every chain is whole, and every node keeps the same.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reeve_client::Api;
use reeve_client::v1::{ListShardsRequest, TailRecordsRequest};
use reeve_domain::audit::{Head, Record, Verifier};
use reeve_local::Fleet;
use reeve_proto::convert;

use super::Mutant;
use crate::history::History;

/// The heads, and every record up to them as each node serves it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub heads: BTreeMap<String, Head>,
    pub nodes: Vec<Shards>,
}

/// Records in order, by shard.
pub type Shards = BTreeMap<String, Vec<Record>>;

pub const MUTANTS: &[Mutant<Seen>] = &[
    ("one byte of a record was flipped", |seen| {
        if let Some(record) = longest(seen).and_then(|records| records.last_mut()) {
            let middle = record.canonical.len() / 2;
            record.canonical[middle] ^= 1;
        }
    }),
    ("a record was rewritten with its own hashes", |seen| {
        if let Some(record) = longest(seen).and_then(|records| records.first_mut()) {
            record.leaf[0] ^= 1;
            record.chain[0] ^= 1;
        }
    }),
    ("a record was taken out", |seen| {
        if let Some(records) = longest(seen) {
            records.remove(0);
        }
    }),
    ("the last record is missing on one node", |seen| {
        if let Some(records) = longest(seen) {
            records.pop();
        }
    }),
    ("a record stands twice", |seen| {
        if let Some(records) = longest(seen) {
            let copy = records[0].clone();
            records.insert(0, copy);
        }
    }),
    ("a node lost a whole shard", |seen| {
        seen.nodes[1].pop_first();
    }),
    ("nobody wrote anything down", |seen| {
        seen.heads.clear();
        seen.nodes.iter_mut().for_each(BTreeMap::clear);
    }),
];

fn longest(seen: &mut Seen) -> Option<&mut Vec<Record>> {
    seen.nodes
        .first_mut()?
        .values_mut()
        .max_by_key(|records| records.len())
}

/// Learns the heads, then reads everything up to them from every node.
pub async fn observe(fleet: &Fleet) -> Result<Seen> {
    let listed = fleet
        .api()
        .audit()
        .list_shards(ListShardsRequest::default())
        .await?
        .into_inner()
        .shards;
    let mut heads = BTreeMap::new();
    for shard in listed {
        let chain = shard
            .chain_hash
            .as_slice()
            .try_into()
            .context("a head's hash has 32 bytes")?;
        heads.insert(
            shard.name,
            Head {
                sequence: shard.last_sequence,
                chain,
            },
        );
    }
    let mut nodes = Vec::new();
    for node in fleet.nodes() {
        let api = node.api();
        let mut shards = Shards::new();
        for (name, head) in &heads {
            shards.insert(name.clone(), read(&api, name, head.sequence).await?);
        }
        nodes.push(shards);
    }
    Ok(Seen { heads, nodes })
}

/// Follows the shard as far as it was when its head was learnt.
async fn read(api: &Api, shard: &str, last: u64) -> Result<Vec<Record>> {
    let limit = u32::try_from(last)?;
    let asked = TailRecordsRequest {
        shard: shard.to_owned(),
        from_sequence: 1,
        follow: true,
        limit,
    };
    let mut stream = api.audit().tail_records(asked).await?.into_inner();
    let mut records = Vec::new();
    while let Some(answer) = stream.message().await? {
        records.push(convert::record_from_wire(
            answer.record.context("an answer without a record")?,
        )?);
    }
    Ok(records)
}

pub fn judge(history: &History, seen: &Seen) -> Result<()> {
    for (n, shards) in seen.nodes.iter().enumerate() {
        judge_node(history, &seen.heads, shards).with_context(|| format!("as node {} keeps it", n + 1))?;
    }
    let first = seen.nodes.first().context("no node was asked")?;
    ensure!(
        seen.nodes.iter().all(|shards| shards == first),
        "two nodes keep different records"
    );
    Ok(())
}

fn judge_node(history: &History, heads: &BTreeMap<String, Head>, shards: &Shards) -> Result<()> {
    let mut written: BTreeMap<String, usize> = BTreeMap::new();
    for (name, head) in heads {
        let mut verifier = Verifier::new(name);
        for record in shards
            .get(name)
            .with_context(|| format!("shard {name} is gone"))?
        {
            let shown = verifier.check(record)?;
            *written.entry(shown.request_id).or_default() += 1;
        }
        verifier.finish(head)?;
    }
    for (call, ..) in history.acked() {
        let count = written.get(&call.request_id).copied().unwrap_or_default();
        ensure!(
            count == 1,
            "{:?} of {} has {count} records",
            call.wanted,
            call.slug
        );
    }
    Ok(())
}
