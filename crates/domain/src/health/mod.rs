//! Whether a tenant's database takes its services in, as its agent has tried it; and whether all is well with it.

mod safety;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use safety::{Condition, Grade, Terms, Vitals, conditions, worst};
pub(crate) use safety::{MEASURED_MS, PROVED_MS, XID_BAD, XID_WARNING};

use crate::ids::{Epoch, Stamp, TenantId};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::tenant::Status;
use crate::words::Name;

/// Why a service would not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Nobody answers at the door, or not in time.
    Unreachable,
    /// The door is shut: by rule, by right, by password.
    TurnedAway,
    /// As many are in as may be.
    Full,
    /// The database has another schema version than the registry says.
    Schema,
}

impl Cause {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Unreachable => "unreachable",
            Cause::TurnedAway => "turned away",
            Cause::Full => "full",
            Cause::Schema => "another schema version",
        }
    }
}

/// A tenant whose services would not come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unready {
    pub since: Stamp,
    pub cause: Cause,
    pub detail: String,
}

/// What a try came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// In over TLS, as itself; the schema version that it found there, if it may know.
    In {
        schema_version: Option<u32>,
    },
    Not(Cause, String),
}

/// A transition of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turned {
    pub tenant: TenantId,
    /// Unset: it is ready.
    pub cause: Option<Cause>,
    pub detail: String,
}

/// An agent's word on who became ready, and who is not any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportReadiness {
    pub agent: Name,
    /// Of its group, when it was said.
    pub epoch: Epoch,
    pub turned: Vec<Turned>,
}

/// Tenants that one report may name; the others come with the next one.
pub const TURNED_MAX: usize = 500;
/// The longest detail kept.
pub const DETAIL_BYTES_MAX: usize = 200;
/// The longest line that the audit log has of one report: as many tenants as one may name have room.
const TOLD_BYTES_MAX: usize = 10_000;

impl ReportReadiness {
    /// What it says, in a line for the audit log: who became what. It names all of them, for as long as there is room.
    pub fn told(&self) -> String {
        let mut by_word: BTreeMap<&str, Vec<&TenantId>> = BTreeMap::new();
        for turned in &self.turned {
            let word = turned.cause.map_or("ready", Cause::word);
            by_word.entry(word).or_default().push(&turned.tenant);
        }
        let mut told = String::new();
        let mut left = self.turned.len();
        for (word, tenants) in by_word {
            let mut mark = format!("{}{word}: ", if told.is_empty() { "" } else { "; " });
            for tenant in tenants {
                let name = format!("{mark}{tenant}");
                if told.len() + name.len() > TOLD_BYTES_MAX {
                    return format!("{told}; {left} more");
                }
                told.push_str(&name);
                mark = ", ".to_owned();
                left -= 1;
            }
        }
        told
    }
}

/// What of an agent's tries State does not know yet; none when it knows all. Only transitions are written down.
pub fn delta(state: &State, agent: &Name, tried: Vec<(TenantId, Tried)>) -> Option<ReportReadiness> {
    let group = state.group_of_agent(agent)?;
    let turned = tried.into_iter().filter_map(|(id, tried)| {
        let tenant = state.tenants.get(&id)?;
        let is_here = tenant.placement.group == group.name;
        // While something is done to it nobody needs to come in.
        if !is_here || tenant.status != Status::Active {
            return None;
        }
        let (cause, detail) = match tried {
            Tried::In { schema_version } => {
                match schema_version.filter(|found| *found != tenant.schema.applied) {
                    None => (None, String::new()),
                    Some(found) => {
                        let applied = tenant.schema.applied;
                        let why = format!("version {found} is in the database, {applied} in the registry");
                        (Some(Cause::Schema), why)
                    }
                }
            }
            Tried::Not(cause, detail) => (Some(cause), detail),
        };
        let known = tenant.unready.as_ref().map(|unready| unready.cause);
        let turned = Turned {
            tenant: id,
            cause,
            detail: clip(&detail),
        };
        (known != cause).then_some(turned)
    });
    let turned: Vec<Turned> = turned.take(TURNED_MAX).collect();
    (!turned.is_empty()).then(|| ReportReadiness {
        agent: agent.clone(),
        epoch: group.epoch,
        turned,
    })
}

/// Writes transitions down. What is said again, or of a tenant that is not there, changes nothing.
pub fn report(state: &mut State, at: Stamp, order: ReportReadiness) -> Result<Change, Refusal> {
    if order.turned.len() > TURNED_MAX {
        let why = format!("has {}; at most {TURNED_MAX} are allowed", order.turned.len());
        return Err(Refusal::field("turned", why));
    }
    let Some(group) = state.group_of_agent(&order.agent) else {
        return Err(Refusal::GroupNotFound(format!("of agent {}", order.agent)));
    };
    if group.epoch != order.epoch {
        return Err(Refusal::Fenced(format!(
            "group {} is at epoch {}",
            group.name, group.epoch
        )));
    }
    let group = group.name.clone();
    let placed: BTreeSet<TenantId> = state.placed.get(&group).into_iter().flatten().cloned().collect();
    let mut change = Change::none();
    for turned in order.turned {
        let Some(tenant) = state
            .tenants
            .get(&turned.tenant)
            .filter(|t| placed.contains(&t.id))
        else {
            continue;
        };
        if tenant.unready.as_ref().map(|unready| unready.cause) == turned.cause {
            continue;
        }
        let since = tenant.unready.as_ref().map_or(at, |unready| unready.since);
        state.edit_tenant(&turned.tenant, at, |tenant| {
            tenant.unready = turned.cause.map(|cause| Unready {
                since,
                cause,
                detail: clip(&turned.detail),
            });
            Ok(())
        })?;
        change = Change::group(&group);
    }
    Ok(change)
}

fn clip(text: &str) -> String {
    let mut end = text.len().min(DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
