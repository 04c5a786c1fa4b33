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

/// Every record of every shard, as each node serves them, and the heads.
#[derive(Clone, Debug)]
pub struct Seen {
    pub nodes: Vec<BTreeMap<String, Shard>>,
}

#[derive(Clone, Debug)]
pub struct Shard {
    pub head: Head,
    pub records: Vec<Record>,
}

pub const MUTANTS: &[Mutant<Seen>] = &[
    ("one byte of a record was flipped", |seen| {
        if let Some(record) = some_record(seen) {
            let middle = record.canonical.len() / 2;
            record.canonical[middle] ^= 1;
        }
    }),
    ("a record was taken out", |seen| {
        if let Some(shard) = longest(seen) {
            shard.records.remove(0);
        }
    }),
    ("the last record was cut off", |seen| {
        if let Some(shard) = longest(seen) {
            shard.records.pop();
        }
    }),
    ("a record stands twice", |seen| {
        if let Some(shard) = longest(seen) {
            let copy = shard.records[0].clone();
            shard.records.insert(0, copy);
        }
    }),
    ("the end of a chain was rewritten on one node", |seen| {
        if let Some(shard) = longest(seen) {
            shard.records.pop();
            if let Some(last) = shard.records.last() {
                shard.head = Head { sequence: last.sequence, chain: last.chain };
            }
        }
    }),
    ("a whole shard is missing", |seen| seen.nodes.iter_mut().for_each(|shards| shards.clear())),
];

fn longest(seen: &mut Seen) -> Option<&mut Shard> {
    seen.nodes.first_mut()?.values_mut().max_by_key(|shard| shard.records.len())
}

fn some_record(seen: &mut Seen) -> Option<&mut Record> {
    longest(seen)?.records.last_mut()
}

/// Reads everything from every node.
pub async fn observe(fleet: &Fleet) -> Result<Seen> {
    let mut nodes = Vec::new();
    for node in fleet.nodes() {
        let api = node.api();
        let listed = api.audit().list_shards(ListShardsRequest::default()).await?.into_inner().shards;
        let mut shards = BTreeMap::new();
        for shard in listed {
            let chain = shard.chain_hash.as_slice().try_into().context("a head's hash has 32 bytes")?;
            let head = Head { sequence: shard.last_sequence, chain };
            let records = read(&api, &shard.name, head.sequence).await?;
            shards.insert(shard.name, Shard { head, records });
        }
        nodes.push(shards);
    }
    Ok(Seen { nodes })
}

/// Up to the head that was seen: records go on being written.
async fn read(api: &Api, shard: &str, last: u64) -> Result<Vec<Record>> {
    let limit = u32::try_from(last)?;
    let asked = TailRecordsRequest { shard: shard.to_owned(), from_sequence: 1, follow: true, limit };
    let mut stream = api.audit().tail_records(asked).await?.into_inner();
    let mut records = Vec::new();
    while let Some(answer) = stream.message().await? {
        records.push(convert::record_from_wire(answer.record.context("an answer without a record")?)?);
    }
    Ok(records)
}

pub fn judge(history: &History, seen: &Seen) -> Result<()> {
    for (n, shards) in seen.nodes.iter().enumerate() {
        judge_node(history, shards).with_context(|| format!("as node {} keeps it", n + 1))?;
    }
    let first = seen.nodes.first().context("no node was asked")?;
    for (name, shard) in first {
        for other in seen.nodes.iter().filter_map(|shards| shards.get(name)) {
            let common = shard.records.len().min(other.records.len());
            ensure!(shard.records[..common] == other.records[..common], "two nodes keep different {name}");
        }
    }
    Ok(())
}

fn judge_node(history: &History, shards: &BTreeMap<String, Shard>) -> Result<()> {
    let mut written: BTreeMap<String, usize> = BTreeMap::new();
    for (name, shard) in shards {
        let mut verifier = Verifier::new(name);
        for record in &shard.records {
            let shown = verifier.check(record)?;
            *written.entry(shown.request_id).or_default() += 1;
        }
        verifier.finish(&shard.head)?;
    }
    for (call, ..) in history.acked() {
        let count = written.get(&call.request_id).copied().unwrap_or_default();
        ensure!(count == 1, "{:?} of {} has {count} records", call.wanted, call.slug);
    }
    Ok(())
}
