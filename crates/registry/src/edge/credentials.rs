//! DatabaseService's credentials: how old they are, who holds them, and changing one.

use std::time::Duration;

use reeve_domain::operation::Rotate;
use reeve_domain::{Answer, Command, OperationId, TenantId};
use reeve_proto::convert::{self, BadField};
use reeve_proto::v1;
use tonic::Status;

use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::page::{self, Page};
use crate::edge::read::{self, Level};
use crate::edge::{find, parse, status};
use crate::policy::{self, Intent};

const GRACE_DEFAULT: Duration = Duration::from_secs(600);

/// Opens the change of one tenant's credential.
pub(super) async fn rotate(
    desk: &Desk,
    call: &Call,
    wire: v1::RotateCredentialRequest,
) -> Result<v1::RotateCredentialResponse, Status> {
    let key = desk.key(call, &wire)?;
    if wire.leaked && wire.grace.is_some() {
        return Err(BadField::new(
            "grace",
            "is not waited for when the credential is leaked; leave one out",
        )
        .into());
    }
    // What is too long is refused where it is written down, and not made shorter here.
    let grace = parse::length("grace", wire.grace.as_ref(), GRACE_DEFAULT, Duration::MAX)?;
    let turn = convert::turn_from_wire(wire.turn.as_ref())?;
    let etag = parse::etag("etag", wire.etag)?;
    let (tenant, permit) = find::permit_for(desk, call, "tenant", &wire.tenant).await?;
    let state = desk.state();
    let known = state
        .tenants
        .get(&tenant)
        .ok_or_else(|| status::no_tenant(tenant.as_str()))?;
    let next = desk.rooms.authority.next_credential(&tenant, &known.credential);
    let order = Rotate {
        next: next.map_err(|error| status::internal("sealing a credential", &error))?,
        tenant,
        operation: OperationId::from_random(rand::random()),
        etag,
        leaked: wire.leaked,
        grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        turn,
    };
    let intent = Intent::new(Command::RotateCredential(order)).once(key);
    let answered = desk.propose(call, permit, intent).await?;
    let Answer::Operation { operation, .. } = &answered.answer else {
        return Err(status::odd_answer("an operation"));
    };
    let found = desk.find_operation(&answered.state, operation).await?;
    let sight = desk.sight().await;
    Ok(v1::RotateCredentialResponse {
        operation: found.map(|operation| sight.operation(&operation)),
    })
}

/// A page of credentials.
pub(super) async fn list(
    desk: &Desk,
    call: &Call,
    wire: v1::ListCredentialsRequest,
) -> Result<v1::ListCredentialsResponse, Status> {
    let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
    let query = format!(
        "credentials tenant={} clients={}",
        wire.tenant, wire.include_clients
    );
    let page = Page::parse(wire.page_size, &wire.page_token, query)?;
    let after = page::key(page.after.as_deref(), TenantId::parse)?;

    let reading = desk.read(call, level).await?;
    let state = &reading.state;
    let standing = policy::standing(state, &call.caller, call.action())?;
    let only = match wire.tenant.as_str() {
        "" => None,
        text => Some(find::tenant(state, &standing, "tenant", text)?.id.clone()),
    };
    let entries = page::behind(&state.tenants, after.as_ref())
        .map(|(_, tenant)| tenant.as_ref())
        .filter(|tenant| only.as_ref().is_none_or(|id| id == &tenant.id))
        .filter(|tenant| standing.sees(state, tenant));
    let (shown, next_page_token) = page.cut(entries, |tenant| tenant.id.to_string());
    Ok(v1::ListCredentialsResponse {
        credentials: shown
            .into_iter()
            .map(|tenant| convert::credential(state, tenant, wire.include_clients))
            .collect(),
        next_page_token,
        freshness: Some(reading.freshness),
    })
}
