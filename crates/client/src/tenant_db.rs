//! The tenant of a request, and its database.

use std::sync::Arc;

use sqlx::PgPool;

use crate::{Access, Error, Fleet, Resolution};

/// What a handler holds of its request's tenant.
///
/// A [`TenantLayer`](crate::TenantLayer) puts it into the request's extensions; with the feature `axum` it is an
/// extractor.
#[derive(Clone)]
pub struct TenantDb {
    fleet: Fleet,
    tenant: Arc<Resolution>,
}

impl TenantDb {
    pub(crate) fn new(fleet: Fleet, tenant: Arc<Resolution>) -> TenantDb {
        TenantDb { fleet, tenant }
    }

    /// Who the tenant is and where it lives.
    pub fn tenant(&self) -> &Arc<Resolution> {
        &self.tenant
    }

    /// The primary. Ask for each piece of work anew: after a move or a rotation it is another pool.
    pub async fn write(&self) -> Result<PgPool, Error> {
        self.fleet.pool(&self.tenant, Access::Write).await
    }

    /// A standby when there is one, else the primary.
    pub async fn read(&self) -> Result<PgPool, Error> {
        self.fleet.pool(&self.tenant, Access::Read).await
    }
}
