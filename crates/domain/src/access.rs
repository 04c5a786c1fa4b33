//! Principals, and the join tokens with which they come in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::Hash;
use crate::group;
use crate::ids::{NodeId, Revision, Stamp, TenantId, TokenId};
use crate::policy::{Role, Scope};
use crate::refusal::Refusal;
use crate::state::{Change, Node, State};
use crate::version::Versions;
use crate::words::Name;

/// Somebody who may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// spiffe://<cluster>/{node,agent,svc,person}/<name>
    pub id: String,
    pub role: Role,
    pub scope: Scope,
    pub revoked: bool,
    pub created: Stamp,
    /// Grows with every change of its rights; commands carry it and are checked again at apply.
    pub rev: u64,
    pub modified: Revision,
}

/// A single-use invitation. Only the hash of its secret is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinToken {
    pub id: TokenId,
    pub secret_hash: Hash,
    pub role: Role,
    pub name: Name,
    pub region: Option<Name>,
    pub group: Option<Name>,
    pub tenants: BTreeSet<TenantId>,
    pub expires: Stamp,
    /// The CSR it was spent on, and what it brought: the same CSR may ask again after a lost reply.
    pub spent: Option<Spent>,
}

/// What a token was spent on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    pub csr_hash: Hash,
    pub at: Stamp,
    pub node: Option<NodeId>,
}

/// Most tokens that may be open at once.
pub const TOKENS_MAX: usize = 10_000;
/// The longest a token may live.
pub const TOKEN_TTL_MS_MAX: u64 = 24 * 3_600_000;

/// An order to make a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintToken {
    pub id: TokenId,
    pub secret_hash: Hash,
    pub role: Role,
    pub name: Name,
    pub region: Option<Name>,
    pub group: Option<Name>,
    pub tenants: BTreeSet<TenantId>,
    pub ttl_ms: u64,
}

impl MintToken {
    fn into_token(self, at: Stamp) -> JoinToken {
        JoinToken {
            id: self.id,
            secret_hash: self.secret_hash,
            role: self.role,
            name: self.name,
            region: self.region,
            group: self.group,
            tenants: self.tenants,
            expires: at.plus_millis(self.ttl_ms),
            spent: None,
        }
    }
}

/// Writes a token down; expired ones make room. Said twice it is one token: the order has no request id to know it by.
pub fn mint(state: &mut State, at: Stamp, order: MintToken) -> Result<Change, Refusal> {
    if order.ttl_ms == 0 || order.ttl_ms > TOKEN_TTL_MS_MAX {
        return Err(Refusal::field("ttl", "must be between 1 ms and 24 h"));
    }
    if let Some(region) = &order.region
        && !state.regions.contains_key(region)
    {
        return Err(Refusal::RegionUnknown(region.clone()));
    }
    if order.role == Role::Agent && order.region.is_none() {
        return Err(Refusal::field("region", "an agent's token names its region"));
    }
    if let Some(missing) = order.tenants.iter().find(|t| !state.tenants.contains_key(*t)) {
        return Err(Refusal::TenantNotFound(missing.to_string()));
    }
    state.tokens = state
        .tokens
        .iter()
        .filter(|(_, t)| t.expires > at)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let id = order.id.clone();
    let token = order.into_token(at);
    if let Some(known) = state.tokens.get(&id) {
        // Its proposer did not hear the answer and asked once more: nobody else knows the secret.
        return if known.secret_hash == token.secret_hash {
            Ok(Change::none())
        } else {
            Err(Refusal::AlreadyExists(format!("token {id}")))
        };
    }
    if state.tokens.len() >= TOKENS_MAX {
        let why = format!("{TOKENS_MAX} are open; wait until some are used or have expired");
        return Err(Refusal::field("token", why));
    }
    let subject = format!("token/{id}");
    state.tokens.insert(id, token);
    Ok(Change::of(subject))
}

/// An order to spend a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedeemToken {
    pub id: TokenId,
    pub secret_hash: Hash,
    pub csr_hash: Hash,
    /// Nodes only.
    pub node: Option<NodeAddresses>,
    pub expect: Expect,
}

/// Which door the token was shown at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    Node,
    Agent,
    ServiceOrPerson,
}

/// Where a node can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddresses {
    pub api: String,
    pub peer: String,
    /// What its program knows.
    pub known: Versions,
}

/// What a spent token brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redeemed {
    pub principal: String,
    pub role: Role,
    pub name: Name,
    pub region: Option<Name>,
    pub group: Option<Name>,
    pub node: Option<NodeId>,
}

/// Spends a token on exactly one CSR and writes its principal down.
pub fn redeem(state: &mut State, at: Stamp, order: RedeemToken) -> Result<(Change, Redeemed), Refusal> {
    let Some(token) = state.tokens.get(&order.id).cloned() else {
        return Err(Refusal::TokenInvalid);
    };
    let right_door = match order.expect {
        Expect::Node => token.role == Role::Node,
        Expect::Agent => token.role == Role::Agent,
        Expect::ServiceOrPerson => !matches!(token.role, Role::Node | Role::Agent),
    };
    // Not a comparison of secrets: both sides are SHA-256 of 256 random bits.
    if token.secret_hash != order.secret_hash || !right_door {
        return Err(Refusal::TokenInvalid);
    }
    if token.expires <= at {
        return Err(Refusal::TokenExpired);
    }
    if let Some(spent) = &token.spent {
        if spent.csr_hash != order.csr_hash {
            return Err(Refusal::TokenUsed);
        }
        let redeemed = redeemed(state, &token, spent.node);
        return Ok((Change::none(), redeemed));
    }

    let node = match (token.role, order.node) {
        (Role::Node, Some(addresses)) => Some(add_node(state, addresses)?),
        (Role::Node, None) => return Err(Refusal::field("peer_address", "a node must say where it is")),
        _ => None,
    };
    let redeemed = redeemed(state, &token, node);
    if let Some(known) = state.principals.get(&redeemed.principal)
        && known.role != token.role
    {
        return Err(Refusal::AlreadyExists(format!(
            "{} as {}",
            redeemed.principal,
            known.role.word()
        )));
    }
    if token.role == Role::Agent {
        let region = token.region.clone().ok_or(Refusal::TokenInvalid)?;
        let group = token.group.clone().unwrap_or_else(|| token.name.clone());
        group::enrol(state, &token.name, &region, &group)?;
    }
    let scope = if token.tenants.is_empty() {
        Scope::Fleet
    } else {
        Scope::Tenants(token.tenants.clone())
    };
    admit(state, at, &redeemed.principal, token.role, scope);

    let mut token = token;
    token.spent = Some(Spent {
        csr_hash: order.csr_hash,
        at,
        node,
    });
    state.tokens.insert(order.id, token);
    let mut change = Change::of(format!("principal/{}", redeemed.principal));
    if let Some(group) = &redeemed.group {
        change = change.with_group(group);
    }
    Ok((change, redeemed))
}

fn redeemed(state: &State, token: &JoinToken, node: Option<NodeId>) -> Redeemed {
    let cluster = &state.cluster.name;
    let principal = match token.role {
        Role::Node => format!("spiffe://{cluster}/node/{}", node.unwrap_or_default()),
        Role::Agent => format!("spiffe://{cluster}/agent/{}", token.name),
        Role::Service => format!("spiffe://{cluster}/svc/{}", token.name),
        _ => format!("spiffe://{cluster}/person/{}", token.name),
    };
    let group =
        (token.role == Role::Agent).then(|| token.group.clone().unwrap_or_else(|| token.name.clone()));
    Redeemed {
        principal,
        role: token.role,
        name: token.name.clone(),
        region: token.region.clone(),
        group,
        node,
    }
}

fn add_node(state: &mut State, addresses: NodeAddresses) -> Result<NodeId, Refusal> {
    let (known, is) = (addresses.known, state.cluster.version);
    if !known.holds(is) {
        return Err(Refusal::ProgramVersionUnfit { known, is });
    }
    let id = state.next_node;
    state.next_node = id.next();
    state.nodes.insert(
        id,
        Node {
            id,
            api: addresses.api,
            peer: addresses.peer,
            joined: state.clock,
        },
    );
    Ok(id)
}

/// Writes a principal down, or gives one that comes back its new rights.
pub fn admit(state: &mut State, at: Stamp, id: &str, role: Role, scope: Scope) {
    let rev = state.principals.get(id).map_or(1, |p| p.rev + 1);
    let principal = Principal {
        id: id.to_owned(),
        role,
        scope,
        revoked: false,
        created: at,
        rev,
        modified: state.revision.next(),
    };
    state.principals.insert(id.to_owned(), principal);
}

/// Takes all rights away.
pub fn revoke(state: &mut State, id: &str) -> Result<Change, Refusal> {
    let Some(mut principal) = state.principals.get(id).cloned() else {
        return Err(Refusal::PrincipalNotFound(id.to_owned()));
    };
    if principal.revoked {
        return Ok(Change::none());
    }
    let other_admin = state
        .principals
        .values()
        .any(|p| p.role == Role::Admin && !p.revoked && p.id != principal.id);
    if principal.role == Role::Admin && !other_admin {
        return Err(Refusal::LastAdmin(id.to_owned()));
    }
    principal.revoked = true;
    principal.rev += 1;
    principal.modified = state.revision.next();
    state.principals.insert(id.to_owned(), principal);
    Ok(Change::of(format!("principal/{id}")))
}

/// Takes a node off the roll; its id is never used again.
pub fn remove_node(state: &mut State, id: NodeId) -> Result<Change, Refusal> {
    if !state.nodes.contains_key(&id) {
        return Err(Refusal::NodeNotFound(id.0));
    }
    if state.nodes.len() == 1 {
        return Err(Refusal::WrongState {
            tenant: format!("node {id}"),
            state: "the only node".to_owned(),
            next: "add another one first".to_owned(),
        });
    }
    state.nodes.remove(&id);
    let principal = format!("spiffe://{}/node/{id}", state.cluster.name);
    if let Some(mut known) = state.principals.get(&principal).cloned() {
        known.revoked = true;
        known.rev += 1;
        known.modified = state.revision.next();
        state.principals.insert(principal, known);
    }
    Ok(Change::of(format!("node/{id}")))
}
