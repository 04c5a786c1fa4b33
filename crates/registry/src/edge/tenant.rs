//! TenantService: who the tenants are, and bringing them in and out.

use reeve_domain::operation::Allow;
use reeve_domain::tenant::{Delete, Update};
use reeve_domain::words::Name;
use reeve_domain::{Answer, Command, OperationId, State, TenantId};
use reeve_proto::convert::{self, BadField};
use reeve_proto::v1;
use reeve_proto::v1::tenant_service_server::TenantService;
use tonic::{Request, Response, Status};

use crate::edge::desk::{Answered, Desk};
use crate::edge::page::{self, Page};
use crate::edge::read::{self, Level};
use crate::edge::{find, mint, parse, status};
use crate::policy::{self, Intent};

pub(super) struct Tenants {
    pub desk: Desk,
}

#[tonic::async_trait]
impl TenantService for Tenants {
    async fn create_tenant(
        &self,
        request: Request<v1::CreateTenantRequest>,
    ) -> Result<Response<v1::CreateTenantResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let wanted = convert::wanted_from_wire(&wire)?;
        let state = self.desk.state();
        let permit = policy::decide(&state, &call.caller, call.action(), None)?;
        let order = mint::tenant(&self.desk.rooms.authority, wanted)?;
        let intent = Intent::new(Command::CreateTenant(order)).once(key);
        let answered = self
            .desk
            .propose_or_rehearse(&call, permit, intent, wire.validate_only)
            .await?;
        let (operation, tenant) = operation_of(&answered)?;
        Ok(Response::new(v1::CreateTenantResponse {
            operation: self.shown_operation(&answered.state, &operation).await?,
            tenant: shown(&answered.state, &tenant),
        }))
    }

    async fn get_tenant(
        &self,
        request: Request<v1::GetTenantRequest>,
    ) -> Result<Response<v1::GetTenantResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let reading = self.desk.read(&call, level).await?;
        let standing = policy::standing(&reading.state, &call.caller, call.action())?;
        let tenant = find::tenant(&reading.state, &standing, "tenant", &wire.tenant)?;
        Ok(Response::new(v1::GetTenantResponse {
            tenant: Some(convert::tenant(&reading.state, tenant)),
            freshness: Some(reading.freshness),
        }))
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let region = parse::name_or_none("region", &wire.region)?;
        let wanted = filter(&wire)?;
        let query = format!("tenants region={} state={}", wire.region, wire.state);
        let page = Page::parse(wire.page_size, &wire.page_token, query)?;
        let after = page::key(page.after.as_deref(), TenantId::parse)?;

        let reading = self.desk.read(&call, level).await?;
        let state = &reading.state;
        let standing = policy::standing(state, &call.caller, call.action())?;
        let entries = page::behind(&state.tenants, after.as_ref())
            .map(|(_, tenant)| tenant.as_ref())
            .filter(|tenant| standing.sees(state, tenant))
            .filter(|tenant| wanted.is_none_or(|status| tenant.status == status))
            .filter(|tenant| {
                region
                    .as_ref()
                    .is_none_or(|region| region_of(state, tenant) == Some(region))
            });
        let (shown, next_page_token) = page.cut(entries, |tenant| tenant.id.to_string());
        Ok(Response::new(v1::ListTenantsResponse {
            tenants: shown
                .into_iter()
                .map(|tenant| convert::tenant(state, tenant))
                .collect(),
            next_page_token,
            freshness: Some(reading.freshness),
        }))
    }

    async fn update_tenant(
        &self,
        request: Request<v1::UpdateTenantRequest>,
    ) -> Result<Response<v1::UpdateTenantResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let named = wire
            .tenant
            .as_ref()
            .ok_or_else(|| BadField::new("tenant", "is required"))?;
        let text = if named.id.is_empty() {
            &named.slug
        } else {
            &named.id
        };
        let (id, permit) = find::permit_for(&self.desk, &call, "tenant.id", text).await?;
        let order = changes(id, named, &wire.update_mask)?;
        let intent = Intent::new(Command::UpdateTenant(order)).once(key);
        let answered = self.desk.propose(&call, permit, intent).await?;
        Ok(Response::new(v1::UpdateTenantResponse {
            tenant: changed(&answered)?,
            revision: answered.revision.0,
        }))
    }

    async fn suspend_tenant(
        &self,
        request: Request<v1::SuspendTenantRequest>,
    ) -> Result<Response<v1::SuspendTenantResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let reason = parse::reason(wire.reason)?;
        let (tenant, permit) = find::permit_for(&self.desk, &call, "tenant", &wire.tenant).await?;
        let command = Command::SuspendTenant {
            tenant,
            etag: parse::etag("etag", wire.etag)?,
        };
        let intent = Intent::new(command).once(key).because(reason);
        let answered = self.desk.propose(&call, permit, intent).await?;
        Ok(Response::new(v1::SuspendTenantResponse {
            tenant: changed(&answered)?,
        }))
    }

    async fn resume_tenant(
        &self,
        request: Request<v1::ResumeTenantRequest>,
    ) -> Result<Response<v1::ResumeTenantResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let (tenant, permit) = find::permit_for(&self.desk, &call, "tenant", &wire.tenant).await?;
        let command = Command::ResumeTenant {
            tenant,
            etag: parse::etag("etag", wire.etag)?,
        };
        let intent = Intent::new(command).once(key);
        let answered = self.desk.propose(&call, permit, intent).await?;
        Ok(Response::new(v1::ResumeTenantResponse {
            tenant: changed(&answered)?,
        }))
    }

    async fn set_allowlist(
        &self,
        request: Request<v1::SetAllowlistRequest>,
    ) -> Result<Response<v1::SetAllowlistResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let allowlist = convert::allowlist_from_wire(&wire.allowlist_cidrs)?;
        let turn = convert::turn_from_wire(wire.turn.as_ref())?;
        let (tenant, permit) = find::permit_for(&self.desk, &call, "tenant", &wire.tenant).await?;
        let order = Allow {
            tenant,
            operation: OperationId::from_random(rand::random()),
            etag: parse::etag("etag", wire.etag)?,
            allowlist,
            turn,
        };
        let intent = Intent::new(Command::SetAllowlist(order)).once(key);
        let answered = self.desk.propose(&call, permit, intent).await?;
        let (operation, _) = operation_of(&answered)?;
        Ok(Response::new(v1::SetAllowlistResponse {
            operation: self.shown_operation(&answered.state, &operation).await?,
        }))
    }

    async fn delete_tenant(
        &self,
        request: Request<v1::DeleteTenantRequest>,
    ) -> Result<Response<v1::DeleteTenantResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let turn = convert::turn_from_wire(wire.turn.as_ref())?;
        let (tenant, permit) = find::permit_for(&self.desk, &call, "tenant", &wire.tenant).await?;
        let order = Delete {
            tenant,
            operation: OperationId::from_random(rand::random()),
            etag: parse::etag("etag", wire.etag)?,
            confirm: wire.confirm,
            turn,
        };
        let intent = Intent::new(Command::DeleteTenant(order)).once(key);
        let answered = self
            .desk
            .propose_or_rehearse(&call, permit, intent, wire.validate_only)
            .await?;
        let (operation, _) = operation_of(&answered)?;
        Ok(Response::new(v1::DeleteTenantResponse {
            operation: self.shown_operation(&answered.state, &operation).await?,
        }))
    }
}

impl Tenants {
    async fn shown_operation(
        &self,
        state: &State,
        id: &OperationId,
    ) -> Result<Option<v1::Operation>, Status> {
        let Some(operation) = self.desk.find_operation(state, id).await? else {
            return Ok(None);
        };
        Ok(Some(self.desk.sight().await.operation(&operation)))
    }
}

fn shown(state: &State, id: &TenantId) -> Option<v1::Tenant> {
    state.tenants.get(id).map(|tenant| convert::tenant(state, tenant))
}

fn changed(answered: &Answered) -> Result<Option<v1::Tenant>, Status> {
    match &answered.answer {
        Answer::Tenant(id) => Ok(shown(&answered.state, id)),
        _ => Err(status::odd_answer("a change of a tenant")),
    }
}

fn operation_of(answered: &Answered) -> Result<(OperationId, TenantId), Status> {
    match &answered.answer {
        Answer::Operation { operation, tenant } => Ok((operation.clone(), tenant.clone())),
        _ => Err(status::odd_answer("an operation")),
    }
}

fn region_of<'a>(state: &'a State, tenant: &reeve_domain::Tenant) -> Option<&'a Name> {
    state
        .groups
        .get(&tenant.placement.group)
        .map(|group| &group.region)
}

/// Reads the state to filter by; one that no tenant on the roll has is a mistake worth hearing of.
fn filter(wire: &v1::ListTenantsRequest) -> Result<Option<reeve_domain::tenant::Status>, BadField> {
    let wanted = convert::status_from_wire(wire.state());
    if wanted.is_none() && wire.state != v1::tenant::State::Unspecified as i32 {
        return Err(BadField::new(
            "state",
            "is not a state that a listed tenant can have",
        ));
    }
    Ok(wanted)
}

/// Takes from the tenant what the mask names, and nothing else.
fn changes(tenant: TenantId, from: &v1::Tenant, mask: &[String]) -> Result<Update, BadField> {
    let mut update = Update {
        tenant,
        etag: parse::etag("tenant.etag", from.etag.clone())?,
        display_name: None,
        labels: None,
        settings: None,
    };
    if mask.is_empty() {
        return Err(BadField::new(
            "update_mask",
            "is required: display_name, labels or settings",
        ));
    }
    for (i, path) in mask.iter().enumerate() {
        match path.as_str() {
            "display_name" => update.display_name = Some(parse::display_name(&from.display_name)?),
            "labels" => update.labels = Some(convert::labels_from_wire("tenant.labels", &from.labels)?),
            "settings" => {
                update.settings = Some(convert::settings_from_wire(
                    "tenant.settings",
                    from.settings.as_ref(),
                )?)
            }
            _ => {
                return Err(BadField::new(
                    format!("update_mask[{i}]"),
                    "may name display_name, labels or settings",
                ));
            }
        }
    }
    Ok(update)
}
