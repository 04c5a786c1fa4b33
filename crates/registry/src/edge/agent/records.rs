//! What an agent is to keep of what it hosts: what it lacks, in the order of revisions, signed by this node.
//!
//! The order is a promise: an agent that holds a record of one revision was handed everything before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use reeve_domain::group::Group;
use reeve_domain::record::{self, Said};
use reeve_domain::words::Name;
use reeve_domain::{Revision, Stamp, State, Tenant, TenantId};
use reeve_proto::convert::BadField;
use reeve_proto::error::{self, Reason};
use reeve_proto::identity::Credentials;
use reeve_proto::identity::record as signed;
use reeve_proto::v1::{HeldRecord, Records};
use tonic::Status;

/// Between two looks at the least, so that a flood of changes is handed out together.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Of the time of one thread, signing for one agent takes no more than this part: under a flood of changes only the last
/// of each tenant is signed.
const PART: u32 = 50;
/// Records in one message.
const BATCH_MAX: usize = 64;
/// Records that an agent may say it holds.
const HELD_MAX: usize = 50_000;

/// What an agent was told, by its own word and by this session.
pub(in crate::edge) struct Told {
    group: Revision,
    tenants: BTreeMap<TenantId, Revision>,
    /// What was looked at last.
    seen: Option<OrdMap<TenantId, Arc<Tenant>>>,
}

impl Told {
    /// Reads what an agent says that it holds. What it says of things that are gone needs no answer.
    pub(in crate::edge) fn parse(held: &[HeldRecord]) -> Result<Told, BadField> {
        if held.len() > HELD_MAX {
            return Err(BadField::new("held_records", "names at most 50000 records"));
        }
        let mut told = Told {
            group: Revision(0),
            tenants: BTreeMap::new(),
            seen: None,
        };
        for (at, record) in held.iter().enumerate().filter(|(_, record)| !record.gone) {
            let revision = Revision(record.revision);
            match record.subject.split_once('/') {
                Some(("group", _)) => told.group = revision,
                Some(("tenant", id)) => {
                    let id = TenantId::parse(id);
                    let bad = |_| BadField::new(format!("held_records[{at}].subject"), "names a tenant");
                    told.tenants.insert(id.map_err(bad)?, revision);
                }
                _ => {
                    let field = format!("held_records[{at}].subject");
                    return Err(BadField::new(field, "is tenant/<id> or group/<name>"));
                }
            }
        }
        Ok(told)
    }

    /// What is newer than what was told, in order and in pieces; it counts as told from now on.
    pub(in crate::edge) fn lacking(
        &mut self,
        state: &State,
        group: &Group,
        agent: &Name,
    ) -> Vec<Vec<(Revision, Said)>> {
        let mut lacking = Vec::new();
        // Only the primary hosts; who else is in the group has nothing to tell.
        if &group.primary != agent {
            return lacking;
        }
        let mut all = Vec::new();
        if group.modified > self.group {
            self.group = group.modified;
            all.extend(record::of_group(state, group));
        }
        for id in self.candidates(state, group) {
            let Some((revision, said)) = record::of_tenant(state, &group.name, &id) else {
                continue;
            };
            if self.tenants.get(&id).is_some_and(|known| *known >= revision) {
                continue;
            }
            match &said {
                Said::Gone(_) => self.tenants.remove(&id),
                Said::Hosts(_) | Said::Group(_) => self.tenants.insert(id, revision),
            };
            all.push((revision, said));
        }
        self.seen = Some(state.tenants.clone());
        all.sort_by_key(|(revision, _)| *revision);
        while !all.is_empty() {
            let rest = all.split_off(all.len().min(BATCH_MAX));
            lacking.push(std::mem::replace(&mut all, rest));
        }
        lacking
    }

    /// Tenants that may have changed for this agent since the last look.
    fn candidates(&self, state: &State, group: &Group) -> BTreeSet<TenantId> {
        let Some(seen) = &self.seen else {
            let placed = state.placed.get(&group.name).into_iter().flatten();
            return placed.chain(self.tenants.keys()).cloned().collect();
        };
        let changed = seen.diff(&state.tenants).filter_map(|change| match change {
            DiffItem::Add(id, _) | DiffItem::Remove(id, _) => Some(id),
            // What was seen was told.
            DiffItem::Update { old, new } if record::says_the_same(old.1, new.1) => None,
            DiffItem::Update { new: (id, _), .. } => Some(id),
        });
        let placed = state.placed.get(&group.name);
        let ours = |id: &&TenantId| {
            self.tenants.contains_key(*id) || placed.is_some_and(|placed| placed.contains(*id))
        };
        changed.filter(ours).cloned().collect()
    }
}

/// The time until the next look, after signing took so long.
pub(super) fn pause(signing: Duration) -> Duration {
    (signing * PART).clamp(PAUSE_MIN, PAUSE_MAX)
}

/// Signs a piece with this node's key.
pub(super) fn sign(
    state: &State,
    agent: &Name,
    batch: Vec<(Revision, Said)>,
    signer: &Credentials,
) -> Result<Records, Status> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let at = Stamp(now.as_ref().map_or(0, Duration::as_millis) as u64);
    let records = batch.into_iter().map(|said| {
        let statement = record::state_to(state, agent, at, said);
        signed::sign(&statement, signer).map(Into::into)
    });
    let records: Result<Vec<_>, _> = records.collect();
    let records = records.map_err(|failed| error::status(Reason::Internal, failed.to_string(), &[]))?;
    Ok(Records { records })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_takes_no_more_than_its_part_of_a_thread() {
        assert_eq!(pause(Duration::ZERO), PAUSE_MIN);
        assert_eq!(pause(Duration::from_millis(20)), Duration::from_secs(1));
        assert_eq!(pause(Duration::from_secs(3)), PAUSE_MAX);
    }
}
