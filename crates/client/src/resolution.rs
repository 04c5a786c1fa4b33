//! Where a tenant lives: the registry's answer, read once and strictly.

use reeve_domain::{Epoch, PlacementNumber, Revision, TenantId};
use reeve_proto::v1::not_ready::Cause;
use reeve_proto::v1::{self, tenant::State};

use crate::{Error, Selector};

/// Everything needed to open connections for one tenant, except the secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    pub tenant: TenantId,
    pub slug: String,
    pub state: State,
    pub region: String,
    pub group: String,
    pub placement: PlacementNumber,
    pub epoch: Epoch,
    pub database: String,
    pub role: String,
    pub credential_version: u64,
    /// The primary; none while the group is fenced.
    pub write: Option<Host>,
    /// Standbys for reading; empty means that the primary serves reads too.
    pub read: Vec<Host>,
    pub server_ca_pem: String,
    pub schema_version: u32,
    /// Revision at which this last changed.
    pub changed: Revision,
    /// Why who goes there would not come in, as its agent has tried; none while all is well.
    pub not_ready: Option<NotReady>,
    pub(crate) selectors: Vec<Selector>,
}

/// Where a database server listens, as seen from the caller's network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    pub host: String,
    pub port: u16,
}

/// Why services would not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    pub cause: Cause,
    pub detail: String,
}

impl From<v1::NotReady> for NotReady {
    fn from(wire: v1::NotReady) -> NotReady {
        NotReady {
            cause: wire.cause(),
            detail: wire.detail,
        }
    }
}

impl Resolution {
    /// Whether connections may be opened at all.
    pub fn serves(&self) -> bool {
        self.state == State::Active && self.write.is_some()
    }

    /// Placement number, then epoch, then credential: the order in which answers overtake each other.
    pub fn rank(&self) -> (PlacementNumber, Epoch, u64) {
        (self.placement, self.epoch, self.credential_version)
    }

    /// Why it does not serve, for an error.
    pub(crate) fn not_serving(&self) -> Error {
        let state = match self.state {
            State::Active => "no primary is open",
            State::Provisioning => "provisioning",
            State::Suspended => "suspended",
            State::Deleting | State::Deleted => "deleted",
            State::Failed => "failed",
            State::Unspecified => "unknown state",
        };
        Error::NotServing {
            tenant: self.tenant.to_string(),
            state: state.to_owned(),
        }
    }
}

impl TryFrom<v1::Resolution> for Resolution {
    type Error = Error;

    fn try_from(wire: v1::Resolution) -> Result<Resolution, Error> {
        let tenant = TenantId::parse(&wire.tenant_id).map_err(|e| Error::Answer(e.to_string()))?;
        let read: Result<Vec<Host>, Error> = wire.read.into_iter().map(Host::try_from).collect();
        Ok(Resolution {
            tenant,
            state: State::try_from(wire.state).unwrap_or(State::Unspecified),
            slug: wire.slug,
            region: wire.region,
            group: wire.group,
            placement: PlacementNumber(wire.placement_number),
            epoch: Epoch(wire.epoch),
            database: wire.database,
            role: wire.role,
            credential_version: wire.credential_version,
            write: wire.write.map(Host::try_from).transpose()?,
            read: read?,
            server_ca_pem: wire.server_ca_pem,
            schema_version: wire.schema_version,
            changed: Revision(wire.mod_revision),
            not_ready: wire.not_ready.map(NotReady::from),
            selectors: wire.claims.iter().filter_map(Selector::from_wire).collect(),
        })
    }
}

impl TryFrom<v1::Endpoint> for Host {
    type Error = Error;

    fn try_from(wire: v1::Endpoint) -> Result<Host, Error> {
        match u16::try_from(wire.port) {
            Ok(port) if port > 0 && !wire.host.is_empty() => Ok(Host {
                host: wire.host,
                port,
            }),
            _ => Err(Error::Answer(format!(
                "endpoint {}:{} is no host and port",
                wire.host, wire.port
            ))),
        }
    }
}
