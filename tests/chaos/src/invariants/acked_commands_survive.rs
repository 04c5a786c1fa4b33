//! What the registry acknowledged is there, on every node, once and as the last acknowledged wish left it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reeve_client::Api;
use reeve_client::v1::read_level::Level;
use reeve_client::v1::tenant::State;
use reeve_client::v1::{GetClusterRequest, ListOperationsRequest, ListTenantsRequest, ReadLevel};
use reeve_local::{Fleet, until};

use super::Mutant;
use crate::history::{History, Wanted};

const PATIENCE: Duration = Duration::from_secs(60);

/// What each node says, and a hash of all it knows.
#[derive(Clone, Debug)]
pub struct Seen {
    pub nodes: Vec<View>,
}

#[derive(Clone, Debug)]
pub struct View {
    /// Tenant ids and states by slug; more than one would be one too many.
    pub tenants: BTreeMap<String, Vec<(String, State)>>,
    pub operations: Vec<String>,
    pub state_hash: String,
}

pub const MUTANTS: &[Mutant<Seen>] = &[
    ("an acknowledged tenant is gone from one node", |seen| {
        seen.nodes[0].tenants.pop_first();
    }),
    ("a tenant was made twice", |seen| {
        if let Some(ids) = seen.nodes[1].tenants.values_mut().next() {
            ids.push(("t_000000000000".to_owned(), State::Active));
        }
    }),
    ("an acknowledged operation is gone", |seen| {
        seen.nodes[2].operations.pop();
    }),
    ("an acknowledged resume was lost", |seen| {
        let first = seen.nodes[2].tenants.values_mut().flatten().next();
        if let Some((_, state)) = first {
            *state = State::Suspended;
        }
    }),
    ("one node knows something else", |seen| {
        seen.nodes[1].state_hash.push('0')
    }),
];

/// Asks every node for everything, each at the freshest level.
pub async fn observe(fleet: &Fleet) -> Result<Seen> {
    let hashes = agreed(fleet).await?;
    let mut nodes = Vec::new();
    for (node, state_hash) in fleet.nodes().iter().zip(hashes) {
        let api = node.api();
        nodes.push(View {
            tenants: tenants(&api).await?,
            operations: operations(&api).await?,
            state_hash,
        });
    }
    Ok(Seen { nodes })
}

pub fn judge(history: &History, seen: &Seen) -> Result<()> {
    for (n, view) in seen.nodes.iter().enumerate() {
        judge_view(history, view).with_context(|| format!("as node {} sees it", n + 1))?;
    }
    let first = seen.nodes.first().context("no node was asked")?;
    ensure!(
        seen.nodes.iter().all(|view| view.state_hash == first.state_hash),
        "the nodes' states differ"
    );
    Ok(())
}

fn judge_view(history: &History, view: &View) -> Result<()> {
    for (call, tenant, operation) in history.acked() {
        if !operation.is_empty() {
            ensure!(
                view.operations.iter().any(|id| id == operation),
                "{operation} of {} is gone",
                call.slug
            );
        }
        let found = view
            .tenants
            .get(&call.slug)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let wish = history.last_wish(&call.slug);
        match (wish, found) {
            (Some(Wanted::Delete), []) => {}
            (Some(Wanted::Delete), _) => bail!("{} was deleted and is there", call.slug),
            (_, []) => bail!("{} was acknowledged and is gone", call.slug),
            (_, [(id, state)]) => {
                ensure!(
                    id == tenant,
                    "{} is {id} and was acknowledged as {tenant}",
                    call.slug
                );
                let is_suspended = *state == State::Suspended;
                ensure!(
                    is_suspended == (wish == Some(Wanted::Suspend)),
                    "{} is {state:?}",
                    call.slug
                );
            }
            (_, many) => bail!("{} is there {} times", call.slug, many.len()),
        }
    }
    Ok(())
}

/// The state's hash on every node, taken at one and the same revision.
async fn agreed(fleet: &Fleet) -> Result<Vec<String>> {
    until("all nodes at one revision", PATIENCE, async || {
        let mut views = Vec::new();
        for node in fleet.nodes() {
            let level = ReadLevel {
                level: Some(Level::Stale(Default::default())),
            };
            let cluster = node
                .api()
                .cluster()
                .get_cluster(GetClusterRequest {
                    read: Some(level),
                    with_state_hash: true,
                })
                .await?;
            let cluster = cluster.into_inner();
            views.push((cluster.freshness.unwrap_or_default().revision, cluster.state_hash));
        }
        let is_one = views.windows(2).all(|pair| pair[0].0 == pair[1].0);
        Ok(is_one.then(|| views.into_iter().map(|(_, hash)| hash).collect()))
    })
    .await
}

async fn tenants(api: &Api) -> Result<BTreeMap<String, Vec<(String, State)>>> {
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let asked = ListTenantsRequest {
            page_size: 1000,
            page_token,
            ..Default::default()
        };
        let page = api.tenants().list_tenants(asked).await?.into_inner();
        for tenant in page.tenants {
            let state = tenant.state();
            found.entry(tenant.slug).or_default().push((tenant.id, state));
        }
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

async fn operations(api: &Api) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = ListOperationsRequest {
            page_size: 1000,
            page_token,
            ..Default::default()
        };
        let page = api.operations().list_operations(asked).await?.into_inner();
        found.extend(page.operations.into_iter().map(|operation| operation.id));
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, Outcome};

    #[test]
    fn an_honest_registry_passes_and_every_mutant_is_noticed() {
        let (tenant, operation) = ("t_0123456789ab".to_owned(), "op_0123456789abcdef".to_owned());
        let view = View {
            tenants: [("a".to_owned(), vec![(tenant.clone(), State::Active)])].into(),
            operations: vec![operation.clone()],
            state_hash: "00".into(),
        };
        let call = |wanted, operation: &str| Call {
            wanted,
            slug: "a".into(),
            request_id: "r".into(),
            outcome: Outcome::Acked {
                tenant: tenant.clone(),
                operation: operation.to_owned(),
            },
        };
        let calls = vec![
            call(Wanted::Create, &operation),
            call(Wanted::Suspend, ""),
            call(Wanted::Resume, ""),
        ];
        let history = History {
            calls,
            ..History::default()
        };
        let seen = Seen { nodes: vec![view; 3] };
        super::super::hold("acked_commands_survive", &history, &seen, judge, MUTANTS).unwrap();
    }
}
