//! AccessService: who may do what, and who may come in.

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_domain::access::{self, Expect, MintToken};
use reeve_domain::ids::TokenId;
use reeve_domain::policy::{self as rules, Action, Role};
use reeve_domain::words::Name;
use reeve_domain::{Answer, Command, State, TenantId};
use reeve_proto::convert::{self, BadField, time};
use reeve_proto::identity::{JoinToken, Kind};
use reeve_proto::v1::access_service_server::AccessService;
use reeve_proto::{error, v1};
use tonic::{Request, Response, Status};

use crate::edge::desk::Desk;
use crate::edge::join::{self, Shown};
use crate::edge::page::{self, Page};
use crate::edge::read::{self, Level};
use crate::edge::{certificate, find, mint, parse, status};
use crate::policy::{self, Intent, Standing};

const TTL_DEFAULT: Duration = Duration::from_secs(600);
/// Tenants one service may be limited to; more is a fleet.
const SCOPE_MAX: usize = 10_000;
const TTL_MAX: Duration = Duration::from_millis(access::TOKEN_TTL_MS_MAX);

pub(super) struct Access {
    pub desk: Desk,
}

#[tonic::async_trait]
impl AccessService for Access {
    /// The request id is not remembered: only the first answer could hold the secret, so a retry makes
    /// another token and the first one expires unused.
    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let state = self
            .desk
            .state_with(&call, |state| knows_all(state, &wire.tenants))
            .await?;
        let standing = policy::standing(&state, &call.caller, call.action())?;
        let token = mint::join_token(&state)?;
        let order = order(&state, &standing, &wire, &token)?;
        let permit = standing.permit(&state, None)?;
        let answered = self
            .desk
            .propose(&call, permit, Intent::new(Command::MintToken(order)))
            .await?;
        let Answer::Token(id) = &answered.answer else {
            return Err(status::odd_answer("a join token"));
        };
        let minted = answered.state.tokens.get(id);
        Ok(Response::new(v1::CreateJoinTokenResponse {
            token: token.to_string(),
            expire_time: minted.map(|token| time::timestamp(token.expires)),
        }))
    }

    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        parse::csr("csr_pem", &wire.csr_pem)?;
        let shown = Shown::parse(
            &wire.token_id,
            &wire.token_secret,
            &[wire.csr_pem.as_bytes()],
            Expect::ServiceOrPerson,
        )?;
        let joined = join::redeem(&self.desk, &call, shown).await?;
        let chain = certificate::client(&self.desk, &call, &joined.redeemed.principal, &wire.csr_pem).await?;
        let api_addresses = joined.state.nodes.values().map(|node| node.api.clone()).collect();
        Ok(Response::new(v1::EnrollResponse {
            principal_id: joined.redeemed.principal,
            cluster: joined.state.cluster.name.clone(),
            certificate_chain_pem: chain,
            api_addresses,
        }))
    }

    async fn renew_certificate(
        &self,
        request: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::RenewCertificateResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        parse::csr("csr_pem", &wire.csr_pem)?;
        policy::standing(&self.desk.state(), &call.caller, call.action())?;
        if !matches!(
            call.caller.spiffe().map(|id| id.kind()),
            Some(Kind::Service(_) | Kind::Person(_))
        ) {
            let why = "nodes renew with ClusterService.RenewNode, agents with AgentService.Renew";
            return Err(error::status(error::Reason::PermissionDenied, why, &[]));
        }
        let chain = certificate::client(&self.desk, &call, call.caller.id(), &wire.csr_pem).await?;
        Ok(Response::new(v1::RenewCertificateResponse {
            certificate_chain_pem: chain,
        }))
    }

    async fn list_principals(
        &self,
        request: Request<v1::ListPrincipalsRequest>,
    ) -> Result<Response<v1::ListPrincipalsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let page = Page::parse(wire.page_size, &wire.page_token, "principals".to_owned())?;
        let reading = self.desk.read(&call, level).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let entries = page::behind(&reading.state.principals, page.after.as_ref()).map(|(_, known)| known);
        let (shown, next_page_token) = page.cut(entries, |principal| principal.id.clone());
        Ok(Response::new(v1::ListPrincipalsResponse {
            principals: shown.into_iter().map(convert::principal).collect(),
            next_page_token,
            freshness: Some(reading.freshness),
        }))
    }

    async fn revoke_principal(
        &self,
        request: Request<v1::RevokePrincipalRequest>,
    ) -> Result<Response<v1::RevokePrincipalResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let reason = parse::reason(wire.reason)?;
        parse::principal("principal_id", &wire.principal_id)?;
        let permit = policy::decide(&self.desk.state(), &call.caller, call.action(), None)?;
        parse::confirmed(&wire.confirm, &wire.principal_id, "the principal")?;
        let command = Command::RevokePrincipal {
            principal: wire.principal_id,
        };
        let intent = Intent::new(command).once(key).because(reason);
        let answered = self.desk.propose(&call, permit, intent).await?;
        let Answer::Principal(id) = &answered.answer else {
            return Err(status::odd_answer("a principal"));
        };
        Ok(Response::new(v1::RevokePrincipalResponse {
            principal: answered.state.principals.get(id).map(convert::principal),
        }))
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let (call, _) = self.desk.admit(request)?;
        let state = self.desk.state();
        let principal = policy::standing(&state, &call.caller, call.action())?.principal();
        let allowed = Action::ALL
            .into_iter()
            .filter(|action| rules::allows(principal.role, *action));
        Ok(Response::new(v1::WhoAmIResponse {
            principal: Some(convert::principal(principal)),
            actions: allowed.map(|action| action.word().to_owned()).collect(),
        }))
    }
}

fn knows_all(state: &State, tenants: &[String]) -> bool {
    tenants.iter().all(|text| state.find_tenant(text).is_ok())
}

/// What the token shall be good for.
fn order(
    state: &State,
    standing: &Standing<'_>,
    wire: &v1::CreateJoinTokenRequest,
    token: &JoinToken,
) -> Result<MintToken, Status> {
    let role = convert::role_from_wire(wire.role())?;
    let ttl = parse::length("ttl", wire.ttl.as_ref(), TTL_DEFAULT, TTL_MAX)?;
    let mut tenants = BTreeSet::new();
    for (i, text) in wire.tenants.iter().enumerate() {
        let field = format!("tenants[{i}]");
        tenants.insert(find::tenant(state, standing, &field, text)?.id.clone());
    }
    let is_agent = role == Role::Agent;
    let only = |field: &str, of: &str| BadField::new(field, format!("is for {of} only"));
    if !is_agent && !wire.region.is_empty() {
        return Err(only("region", "agents").into());
    }
    if !is_agent && !wire.group.is_empty() {
        return Err(only("group", "agents").into());
    }
    if role != Role::Service && !tenants.is_empty() {
        return Err(only("tenants", "services").into());
    }
    Ok(MintToken {
        id: TokenId::parse(token.id()).map_err(|error| status::internal("minting a token", &error))?,
        secret_hash: token.secret_hash(),
        role,
        name: name(role, &wire.name)?,
        region: parse::name_or_none("region", &wire.region)?,
        group: parse::name_or_none("group", &wire.group)?,
        tenants: bounded(tenants)?,
        ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(access::TOKEN_TTL_MS_MAX),
    })
}

/// Nodes are numbered by the registry; everybody else brings a name.
fn name(role: Role, text: &str) -> Result<Name, BadField> {
    match (role, text) {
        (Role::Node, "") => parse::name("name", "node"),
        (Role::Node, _) => Err(BadField::new(
            "name",
            "is empty for nodes; the registry numbers them",
        )),
        (_, text) => parse::name("name", text),
    }
}

fn bounded(tenants: BTreeSet<TenantId>) -> Result<BTreeSet<TenantId>, BadField> {
    if tenants.len() > SCOPE_MAX {
        return Err(BadField::new(
            "tenants",
            format!("at most {SCOPE_MAX} are allowed"),
        ));
    }
    Ok(tenants)
}
