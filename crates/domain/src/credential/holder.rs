//! Who was given a tenant's password: a rotation waits for them, and for nobody else.
//!
//! A process that was given a version holds it until it says that it does not, or until the login is retired. What one
//! says beyond what it was given counts for nothing.

use serde::{Deserialize, Serialize};

use crate::credential::Slot;
use crate::ids::{Stamp, TenantId};
use crate::refusal::Refusal;
use crate::state::{Change, State};

/// Holders kept of one tenant, and of one principal among them. Beyond that the one that read longest ago is forgotten:
/// of the principal's own first, so that nobody pushes others out.
pub const HOLDERS_MAX: usize = 1_024;
pub const HOLDERS_PER_PRINCIPAL_MAX: usize = 256;
/// The longest name of a process.
pub const INSTANCE_BYTES_MAX: usize = 64;

/// One process, and the versions that it may have connections of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    pub principal: String,
    /// Which of the principal's processes; empty when it does not say.
    pub instance: String,
    pub oldest: u64,
    pub newest: u64,
    /// When it last read.
    pub read: Stamp,
}

/// An order to give a service the password in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    pub tenant: TenantId,
    pub slot: Slot,
    pub version: u64,
    pub instance: String,
}

/// Writes down who is about to be given it.
pub fn read(state: &mut State, at: Stamp, actor: &str, order: &Read) -> Result<Change, Refusal> {
    check_instance(&order.instance)?;
    let credential = &state.tenant(&order.tenant)?.credential;
    if (order.slot, order.version) != (credential.active, credential.version) {
        return Err(Refusal::Fenced(format!(
            "credential version {} in slot {} is asked for; {} in slot {} is in force",
            order.version,
            order.slot.letter(),
            credential.version,
            credential.active.letter()
        )));
    }
    let mut holders = state.holders.get(&order.tenant).cloned().unwrap_or_default();
    match holders.iter_mut().find(|h| is(h, actor, &order.instance)) {
        Some(known) => {
            known.newest = order.version;
            known.read = at;
        }
        None => {
            let own = holders.iter().filter(|h| h.principal == actor).count();
            if own >= HOLDERS_PER_PRINCIPAL_MAX {
                forget_longest_ago(&mut holders, |h| h.principal == actor);
            } else if holders.len() >= HOLDERS_MAX {
                forget_longest_ago(&mut holders, |_| true);
            }
            holders.push(Holding {
                principal: actor.to_owned(),
                instance: order.instance.clone(),
                oldest: order.version,
                newest: order.version,
                read: at,
            });
        }
    }
    keep(state, &order.tenant, holders);
    Ok(Change::tenant(&order.tenant))
}

/// A process's word that it holds nothing older than this version: no connection, and none that it would open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    pub tenant: TenantId,
    pub version: u64,
    pub instance: String,
}

/// Takes it down. Said twice, or by one that holds nothing, it changes nothing.
pub fn acknowledge(state: &mut State, actor: &str, order: &Acknowledge) -> Result<Change, Refusal> {
    check_instance(&order.instance)?;
    let current = state.tenant(&order.tenant)?.credential.version;
    // A process that is done says the version behind the present one.
    if order.version > current + 1 {
        return Err(Refusal::field(
            "version",
            format!("{} was never published; {current} is in force", order.version),
        ));
    }
    let mut holders = state.holders.get(&order.tenant).cloned().unwrap_or_default();
    let Some(known) = holders.iter_mut().find(|h| is(h, actor, &order.instance)) else {
        return Ok(Change::none());
    };
    if known.oldest >= order.version {
        return Ok(Change::none());
    }
    known.oldest = order.version;
    keep(state, &order.tenant, holders);
    Ok(Change::tenant(&order.tenant))
}

/// The holders that may still have connections of a version before this one. Who lost all rights has none to wait for.
pub fn behind<'a>(state: &'a State, tenant: &TenantId, version: u64) -> impl Iterator<Item = &'a Holding> {
    let has_rights = |holding: &&Holding| {
        let known = state.principals.get(&holding.principal);
        known.is_some_and(|principal| !principal.revoked)
    };
    let holders = state.holders.get(tenant).into_iter().flatten();
    holders.filter(move |h| h.oldest < version).filter(has_rights)
}

/// Whether everybody that is known has said that nothing before this version is held.
pub fn settled(state: &State, tenant: &TenantId, version: u64) -> bool {
    behind(state, tenant, version).next().is_none()
}

/// Whether somebody may hold a version of whom nothing was written down: it is older than the writing down.
pub(crate) fn may_be_unknown(state: &State, published: Stamp) -> bool {
    state
        .cluster
        .holders_since
        .is_some_and(|since| published <= since)
}

/// Nothing before this version is of use to anybody any more.
pub(crate) fn forget_older(state: &mut State, tenant: &TenantId, version: u64) {
    let mut holders = state.holders.get(tenant).cloned().unwrap_or_default();
    for holding in &mut holders {
        holding.oldest = holding.oldest.max(version);
    }
    keep(state, tenant, holders);
}

fn keep(state: &mut State, tenant: &TenantId, mut holders: Vec<Holding>) {
    holders.retain(|holding| holding.oldest <= holding.newest);
    match holders.is_empty() {
        true => state.holders.remove(tenant),
        false => state.holders.insert(tenant.clone(), holders),
    };
}

fn forget_longest_ago(holders: &mut Vec<Holding>, among: impl Fn(&Holding) -> bool) {
    let those = (0..holders.len()).filter(|i| among(&holders[*i]));
    if let Some(longest_ago) = those.min_by_key(|i| holders[*i].read) {
        holders.remove(longest_ago);
    }
}

fn is(holding: &Holding, principal: &str, instance: &str) -> bool {
    holding.principal == principal && holding.instance == instance
}

fn check_instance(instance: &str) -> Result<(), Refusal> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match instance.len() <= INSTANCE_BYTES_MAX && instance.bytes().all(plain) {
        true => Ok(()),
        false => Err(Refusal::field(
            "instance",
            format!("is at most {INSTANCE_BYTES_MAX} letters, digits, '-', '_' and '.'"),
        )),
    }
}
