//! DatabaseService: whether each tenant's walls stand, and its credential.

use std::time::Duration;

use reeve_domain::ids::FindingId;
use reeve_domain::isolation::Finding;
use reeve_domain::operation::Scan;
use reeve_domain::words::Name;
use reeve_domain::{Answer, Command, OperationId, Refusal, State, TenantId, health};
use reeve_proto::v1::database_service_server::DatabaseService;
use reeve_proto::{convert, error, v1};
use tonic::{Request, Response, Status};

use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::page::{self, Page};
use crate::edge::read::{self, Level};
use crate::edge::{credentials, find, parse, status};
use crate::policy::{self, Intent, Standing};

pub(super) struct Databases {
    pub desk: Desk,
}

/// Which findings are asked for.
struct Wanted {
    tenant: Option<TenantId>,
    /// The group that the tenant is on: what is everybody's there concerns it, too.
    placed: Option<Name>,
    group: Option<Name>,
    closed: bool,
}

#[tonic::async_trait]
impl DatabaseService for Databases {
    async fn list_findings(
        &self,
        request: Request<v1::ListFindingsRequest>,
    ) -> Result<Response<v1::ListFindingsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let group = parse::name_or_none("group", &wire.group)?;
        let query = format!(
            "findings tenant={} group={} closed={}",
            wire.tenant, wire.group, wire.include_closed
        );
        let page = Page::parse(wire.page_size, &wire.page_token, query)?;
        let after = page::key(page.after.as_deref(), FindingId::parse)?;

        let reading = self.desk.read(&call, level).await?;
        let state = &reading.state;
        let standing = policy::standing(state, &call.caller, call.action())?;
        let wanted = wanted(state, &standing, &wire.tenant, group, wire.include_closed)?;
        let entries = page::behind(&state.findings, after.as_ref())
            .map(|(_, finding)| finding)
            .filter(|finding| wanted.holds(finding) && sees(state, &standing, finding));
        let (shown, next_page_token) = page.cut(entries, |finding| finding.id.to_string());
        Ok(Response::new(v1::ListFindingsResponse {
            findings: shown
                .into_iter()
                .map(|finding| convert::finding(state, finding))
                .collect(),
            next_page_token,
            audited: self.audited(state, &standing, &wanted).await,
            freshness: Some(reading.freshness),
        }))
    }

    async fn scan_isolation(
        &self,
        request: Request<v1::ScanIsolationRequest>,
    ) -> Result<Response<v1::ScanIsolationResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let turn = convert::turn_from_wire(wire.turn.as_ref())?;
        let (tenant, permit) = find::permit_for(&self.desk, &call, "tenant", &wire.tenant).await?;
        let order = Scan {
            tenant,
            operation: OperationId::from_random(rand::random()),
            turn,
        };
        let intent = Intent::new(Command::ScanTenant(order)).once(key);
        let answered = self.desk.propose(&call, permit, intent).await?;
        let Answer::Operation { operation, .. } = &answered.answer else {
            return Err(status::odd_answer("an operation"));
        };
        let found = self.desk.find_operation(&answered.state, operation).await?;
        let sight = self.desk.sight().await;
        Ok(Response::new(v1::ScanIsolationResponse {
            operation: found.map(|operation| sight.operation(&operation)),
        }))
    }

    async fn rotate_credential(
        &self,
        request: Request<v1::RotateCredentialRequest>,
    ) -> Result<Response<v1::RotateCredentialResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let answer = credentials::rotate(&self.desk, &call, wire).await?;
        Ok(Response::new(answer))
    }

    async fn get_health(
        &self,
        request: Request<v1::GetHealthRequest>,
    ) -> Result<Response<v1::GetHealthResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        self.health(&call, wire).await.map(Response::new)
    }

    async fn list_credentials(
        &self,
        request: Request<v1::ListCredentialsRequest>,
    ) -> Result<Response<v1::ListCredentialsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let answer = credentials::list(&self.desk, &call, wire).await?;
        Ok(Response::new(answer))
    }
}

impl Databases {
    async fn health(&self, call: &Call, wire: v1::GetHealthRequest) -> Result<v1::GetHealthResponse, Status> {
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let reading = self.desk.read(call, level).await?;
        let standing = policy::standing(&reading.state, &call.caller, call.action())?;
        let tenant = find::tenant(&reading.state, &standing, "tenant", &wire.tenant)?;
        let vitals = self.desk.rooms.vitals.read(&tenant.id).await;
        let sight = self.desk.sight().await;
        let terms = self.desk.rooms.terms;
        let all = health::conditions(
            &reading.state,
            tenant,
            &sight.sightings,
            vitals.as_ref(),
            terms,
            sight.now,
        );
        let measured = vitals.as_ref().map(|vitals| sight.now.millis_since(vitals.at));
        Ok(v1::GetHealthResponse {
            grade: convert::grade(health::worst(&all)) as i32,
            conditions: all.into_iter().map(convert::condition).collect(),
            vitals: vitals.as_ref().map(convert::vitals),
            measured: measured.map(|ago| convert::time::duration(Duration::from_millis(ago))),
            not_ready: tenant.unready.as_ref().map(convert::not_ready),
            freshness: Some(reading.freshness),
        })
    }

    /// The instances that are asked about; for whom some tenants are hidden, only those of tenants that it sees.
    async fn audited(&self, state: &State, standing: &Standing<'_>, wanted: &Wanted) -> Vec<v1::Audited> {
        let sight = self.desk.sight().await;
        let seen = |group: &&reeve_domain::group::Group| {
            let placed = state.placed.get(&group.name).into_iter().flatten();
            let mut placed = placed.filter_map(|id| state.tenants.get(id));
            match &wanted.tenant {
                Some(tenant) => placed.any(|here| &here.id == tenant),
                None => standing.sees_everything() || placed.any(|here| standing.sees(state, here)),
            }
        };
        let groups = state.groups.values().filter(|group| wanted.is_on(&group.name));
        let instances = groups.filter(seen).flat_map(|group| {
            let members = group.members.iter();
            members.map(|m| convert::audited(state, &group.name, &m.name, &sight.sightings, sight.now))
        });
        instances.collect()
    }
}

impl Wanted {
    fn holds(&self, finding: &Finding) -> bool {
        let its_own = |id: &TenantId| finding.tenant.as_ref() == Some(id);
        let concerns =
            |id: &TenantId| its_own(id) || (finding.bars(id) && self.placed.as_ref() == Some(&finding.group));
        self.tenant.as_ref().is_none_or(concerns)
            && self.is_on(&finding.group)
            && (self.closed || finding.is_open())
    }

    fn is_on(&self, group: &Name) -> bool {
        self.group.as_ref().is_none_or(|wanted| wanted == group)
    }
}

fn wanted(
    state: &State,
    standing: &Standing<'_>,
    tenant: &str,
    group: Option<Name>,
    closed: bool,
) -> Result<Wanted, Status> {
    let tenant = match tenant {
        "" => None,
        text => Some(find::tenant(state, standing, "tenant", text)?),
    };
    if let Some(unknown) = group.as_ref().filter(|name| !state.groups.contains_key(*name)) {
        return Err(error::refusal(&Refusal::GroupNotFound(unknown.to_string())));
    }
    Ok(Wanted {
        placed: tenant.map(|tenant| tenant.placement.group.clone()),
        tenant: tenant.map(|tenant| tenant.id.clone()),
        group,
        closed,
    })
}

/// A tenant's findings are for who sees the tenant; all others, which may name any, for who sees everything.
fn sees(state: &State, standing: &Standing<'_>, finding: &Finding) -> bool {
    let known = finding.tenant.as_ref().and_then(|id| state.tenants.get(id));
    standing.sees_everything() || known.is_some_and(|tenant| standing.sees(state, tenant))
}
