//! Every operation ends done or undone, or says which person it waits for; and what it ended leaves no orphan.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::v1::operation::State;
use reeve_client::v1::{ListOperationsRequest, ListTenantsRequest};
use reeve_local::{Fleet, tenants, until};

use super::Mutant;
use crate::history::History;

const PATIENCE: Duration = Duration::from_secs(90);

/// Operations, and what PostgreSQL holds beside what the registry knows.
#[derive(Clone, Debug)]
pub struct Seen {
    pub operations: Vec<Ended>,
    /// Tenants on the roll.
    pub tenants: BTreeSet<String>,
    /// Databases and roles in PostgreSQL, by the tenant they belong to.
    pub things: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub struct Ended {
    pub id: String,
    pub state: State,
    pub waits_for: String,
}

pub const MUTANTS: &[Mutant<Seen>] = &[
    ("an operation still runs", |seen| set_last(seen, State::Running)),
    ("an operation is stuck and says nothing", |seen| {
        set_last(seen, State::Stuck)
    }),
    ("a database or role was left behind", |seen| {
        seen.things.insert("t_ffffffffffff".to_owned());
    }),
    ("a tenant on the roll has no database", |seen| {
        seen.things.pop_first();
    }),
    ("an acknowledged operation was never heard of again", |seen| {
        seen.operations.clear()
    }),
];

fn set_last(seen: &mut Seen, state: State) {
    if let Some(last) = seen.operations.last_mut() {
        *last = Ended {
            id: last.id.clone(),
            state,
            waits_for: String::new(),
        };
    }
}

/// Waits until nothing runs any more, then looks.
pub async fn observe(fleet: &Fleet) -> Result<Seen> {
    let operations = until("all operations to end", PATIENCE, async || {
        let asked = ListOperationsRequest {
            page_size: 1000,
            ..Default::default()
        };
        let listed = fleet
            .api()
            .operations()
            .list_operations(asked)
            .await?
            .into_inner()
            .operations;
        Ok(listed.iter().all(tenants::has_ended).then_some(listed))
    })
    .await?;
    let ended = |operation: &reeve_client::v1::Operation| Ended {
        id: operation.id.clone(),
        state: operation.state(),
        waits_for: format!("{}{}", operation.waits_for, operation.detail),
    };
    let asked = ListTenantsRequest {
        page_size: 1000,
        ..Default::default()
    };
    let listed = fleet
        .api()
        .tenants()
        .list_tenants(asked)
        .await?
        .into_inner()
        .tenants;
    let mut things = BTreeSet::new();
    for agent in fleet.agents() {
        let found = agent.postgres().ask("postgres", THINGS).await?;
        things.extend(found.lines().map(str::to_owned));
    }
    Ok(Seen {
        operations: operations.iter().map(ended).collect(),
        tenants: listed.into_iter().map(|tenant| tenant.id).collect(),
        things,
    })
}

/// Everything in an instance that is named after a tenant.
const THINGS: &str = "SELECT DISTINCT substr(name, 1, 14) FROM (
    SELECT datname::text AS name FROM pg_database UNION ALL SELECT rolname::text FROM pg_roles
) AS named WHERE name ~ '^t_[0-9a-f]{12}'";

pub fn judge(history: &History, seen: &Seen) -> Result<()> {
    for (call, _, operation) in history.acked().filter(|(_, _, operation)| !operation.is_empty()) {
        let found = seen.operations.iter().find(|ended| ended.id == operation);
        let ended = found.with_context(|| format!("{operation} of {} is not known", call.slug))?;
        let is_over = matches!(ended.state, State::Done | State::Undone);
        let waits = ended.state == State::Stuck && !ended.waits_for.is_empty();
        ensure!(
            is_over || waits,
            "{operation} of {} is {:?}",
            call.slug,
            ended.state
        );
    }
    for ended in &seen.operations {
        let says_why = ended.state != State::Stuck || !ended.waits_for.is_empty();
        ensure!(
            ended.state != State::Running && ended.state != State::Undoing && says_why,
            "{ended:?}"
        );
    }
    let orphans: Vec<_> = seen.things.difference(&seen.tenants).collect();
    ensure!(
        orphans.is_empty(),
        "PostgreSQL holds {orphans:?}, and the roll does not"
    );
    let missing: Vec<_> = seen.tenants.difference(&seen.things).collect();
    ensure!(
        missing.is_empty(),
        "the roll names {missing:?}, and PostgreSQL has nothing of them"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, Outcome, Wanted};

    #[test]
    fn an_honest_end_passes_and_every_mutant_is_noticed() {
        let (tenant, operation) = ("t_0123456789ab".to_owned(), "op_0123456789abcdef".to_owned());
        let seen = Seen {
            operations: vec![Ended {
                id: operation.clone(),
                state: State::Done,
                waits_for: String::new(),
            }],
            tenants: [tenant.clone()].into(),
            things: [tenant.clone()].into(),
        };
        let call = Call {
            wanted: Wanted::Create,
            slug: "a".into(),
            request_id: "r".into(),
            outcome: Outcome::Acked { tenant, operation },
        };
        let history = History {
            calls: vec![call],
            ..History::default()
        };
        super::super::hold("operations_end", &history, &seen, judge, MUTANTS).unwrap();
    }
}
