//! Whether anything changed: the revision, the audit log's heads, and the hash of all that the registry knows.
//!
//! A refusal by the state machine is an entry of its log: with it the State's clock goes on, and that the request was
//! answered is remembered. The hash covers both. So it is compared while no entry was applied, and where one was, that
//! nothing else moved is told by the revision and the audit log: there is no change without a number and a record. What
//! would be written past both shows in the listings of everything, which are compared as long as the revision stands.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reeve_client::Api;
use reeve_client::v1::read_level::Level;
use reeve_client::v1::{
    Alert, Credential, Finding, GetClusterRequest, Group, ListAlertsRequest, ListCredentialsRequest,
    ListFindingsRequest, ListGroupsRequest, ListOperationsRequest, ListPrincipalsRequest, ListRegionsRequest,
    ListShardsRequest, ListTenantsRequest, Operation, Principal, ReadLevel, Region, TailRecordsRequest,
    Tenant,
};
use reeve_domain::audit;

/// Who changes something by itself: the leader's own loops, and the agent that is at work.
const OTHERS: [&str; 2] = ["pilot", "spiffe://hospital/agent/vn-1"];

/// How the registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    revision: u64,
    applied: u64,
    hash: String,
    heads: BTreeMap<String, u64>,
}

/// Everything that can be listed, at a revision; without what goes on by itself, as the time since a heartbeat does.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    revision: u64,
    tenants: Vec<Tenant>,
    regions: Vec<Region>,
    groups: Vec<Group>,
    operations: Vec<Operation>,
    principals: Vec<Principal>,
    credentials: Vec<Credential>,
    findings: Vec<Finding>,
    alerts: Vec<Alert>,
}

/// Lists everything, once nothing changes meanwhile.
pub async fn list(api: &Api) -> Result<Listed> {
    loop {
        let before = look(api).await?.revision;
        let listed = list_at(api, before).await?;
        if look(api).await?.revision == before {
            return Ok(listed);
        }
    }
}

async fn list_at(api: &Api, revision: u64) -> Result<Listed> {
    let with_clients = ListCredentialsRequest {
        include_clients: true,
        ..Default::default()
    };
    let with_closed = ListFindingsRequest {
        include_closed: true,
        ..Default::default()
    };
    let with_resolved = ListAlertsRequest {
        include_resolved: true,
        ..Default::default()
    };
    let (mut groups, mut databases, mut tenants) = (api.groups(), api.databases(), api.tenants());
    let mut listed = Listed {
        revision,
        tenants: tenants
            .list_tenants(ListTenantsRequest::default())
            .await?
            .into_inner()
            .tenants,
        regions: groups
            .list_regions(ListRegionsRequest::default())
            .await?
            .into_inner()
            .regions,
        groups: groups
            .list_groups(ListGroupsRequest::default())
            .await?
            .into_inner()
            .groups,
        operations: (api
            .operations()
            .list_operations(ListOperationsRequest::default())
            .await?)
            .into_inner()
            .operations,
        principals: (api
            .access()
            .list_principals(ListPrincipalsRequest::default())
            .await?)
            .into_inner()
            .principals,
        credentials: databases
            .list_credentials(with_clients)
            .await?
            .into_inner()
            .credentials,
        findings: databases.list_findings(with_closed).await?.into_inner().findings,
        alerts: api.alerts().list_alerts(with_resolved).await?.into_inner().alerts,
    };
    for member in listed.groups.iter_mut().flat_map(|group| &mut group.members) {
        member.last_seen = None;
        member.lag_bytes = 0;
    }
    Ok(listed)
}

/// Holds that the listings are as they were, if no change was numbered since.
pub fn hold_listed(before: &Listed, after: &Listed) -> Result<()> {
    ensure!(
        before.revision != after.revision || before == after,
        "something changed without a number: {before:?} {after:?}"
    );
    Ok(())
}

/// Looks. Asked twice when something changed between the two questions.
pub async fn look(api: &Api) -> Result<Seen> {
    let read = || {
        Some(ReadLevel {
            level: Some(Level::Linearizable(Default::default())),
        })
    };
    loop {
        let asked = GetClusterRequest {
            read: read(),
            with_state_hash: true,
        };
        let cluster = api.cluster().get_cluster(asked).await?.into_inner();
        let listed = api
            .audit()
            .list_shards(ListShardsRequest { read: read() })
            .await?;
        let listed = listed.into_inner();
        let revision = cluster.freshness.context("no freshness")?.revision;
        if listed.freshness.context("no freshness")?.revision == revision {
            let shards = listed.shards.into_iter();
            return Ok(Seen {
                revision,
                applied: cluster.applied_index,
                hash: cluster.state_hash,
                heads: shards.map(|shard| (shard.name, shard.last_sequence)).collect(),
            });
        }
    }
}

/// Holds that nothing changed since, but by others.
pub async fn hold(api: &Api, before: &Seen, after: &Seen) -> Result<()> {
    if before.applied == after.applied {
        ensure!(
            before == after,
            "it changed without an entry: {before:?} {after:?}"
        );
    }
    let mut changes = Vec::new();
    for (shard, last) in &after.heads {
        let first = before.heads.get(shard).map_or(1, |known| known + 1);
        if first <= *last {
            changes.extend(records(api, shard, first).await?);
        }
    }
    // A record that came meanwhile belongs to the next look.
    changes.retain(|change| change.revision.0 <= after.revision);
    if let Some(own) = changes
        .iter()
        .find(|change| !OTHERS.contains(&change.actor.as_str()))
    {
        anyhow::bail!("{} by {} of {}", own.action, own.actor, own.resource);
    }
    let told: Vec<u64> = changes.iter().map(|change| change.revision.0).collect();
    let missing = (before.revision + 1..=after.revision).find(|revision| !told.contains(revision));
    ensure!(missing.is_none(), "change {missing:?} has no record");
    Ok(())
}

async fn records(api: &Api, shard: &str, first: u64) -> Result<Vec<audit::Shown>> {
    let asked = TailRecordsRequest {
        shard: shard.to_owned(),
        from_sequence: first,
        ..Default::default()
    };
    let mut stream = api.audit().tail_records(asked).await?.into_inner();
    let mut all = Vec::new();
    while let Some(told) = stream.message().await? {
        let record = told.record.context("no record")?;
        all.push(audit::decode(&record.canonical)?);
    }
    Ok(all)
}
