//! Where a tenant lives: the registry's answer, read once and strictly.

mod words;

use std::sync::Arc;

use reeve_domain::{Epoch, PlacementNumber, Revision, TenantId};
use reeve_proto::v1::not_ready::Cause;
use reeve_proto::v1::{self, tenant::State};

pub(crate) use self::words::Words;
use crate::{Error, Selector};

/// Everything needed to open connections for one tenant, except the secret.
///
/// A process may remember a hundred thousand: what a group's tenants have in common is held once for all of them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Resolution {
    pub tenant: TenantId,
    pub state: State,
    pub placement: PlacementNumber,
    pub epoch: Epoch,
    pub credential_version: u64,
    pub schema_version: u32,
    /// Revision at which this last changed.
    pub changed: Revision,
    /// Why who goes there would not come in, as its agent has tried; none while all is well.
    pub not_ready: Option<Box<NotReady>>,
    pub(crate) home: Arc<Home>,
    pub(crate) words: Words,
}

/// What all tenants of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Home {
    pub(crate) region: String,
    pub(crate) group: String,
    pub(crate) write: Option<Host>,
    pub(crate) read: Vec<Host>,
    pub(crate) server_ca_pem: String,
}

/// Where a database server listens, as seen from the caller's network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Host {
    pub host: String,
    pub port: u16,
}

/// Why services would not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    /// The tenant's short name.
    pub fn slug(&self) -> &str {
        self.words.slug()
    }

    /// The database to open.
    pub fn database(&self) -> &str {
        self.words.database()
    }

    /// The role to log in as.
    pub fn role(&self) -> &str {
        self.words.role()
    }

    pub fn region(&self) -> &str {
        &self.home.region
    }

    pub fn group(&self) -> &str {
        &self.home.group
    }

    /// The primary; none while the group is fenced.
    pub fn write(&self) -> Option<&Host> {
        self.home.write.as_ref()
    }

    /// Standbys for reading; empty means that the primary serves reads too.
    pub fn read(&self) -> &[Host] {
        &self.home.read
    }

    /// The root that signed the database servers' certificates.
    pub fn server_ca_pem(&self) -> &str {
        &self.home.server_ca_pem
    }

    /// Whether connections may be opened at all.
    pub fn serves(&self) -> bool {
        self.state == State::Active && self.home.write.is_some()
    }

    /// A claim that leads here.
    pub(crate) fn selector(&self) -> Option<Selector> {
        self.words.names().find_map(|(_, name)| Selector::of_key(name))
    }

    /// Placement number, then epoch, then credential: the order in which answers overtake each other.
    pub fn rank(&self) -> (PlacementNumber, Epoch, u64) {
        (self.placement, self.epoch, self.credential_version)
    }

    /// Why it does not serve, for an error.
    pub(crate) fn not_serving(&self) -> Error {
        let state = match self.state {
            State::Active => "no primary is open to this client's network",
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
        let names = wire.claims.iter().filter_map(Selector::from_wire);
        let words = Words::new(&wire.slug, &wire.role, &wire.database, names);
        let words = words.ok_or_else(|| Error::Answer(format!("{tenant} has names that are too long")))?;
        Ok(Resolution {
            tenant,
            state: State::try_from(wire.state).unwrap_or(State::Unspecified),
            placement: PlacementNumber(wire.placement_number),
            epoch: Epoch(wire.epoch),
            credential_version: wire.credential_version,
            schema_version: wire.schema_version,
            changed: Revision(wire.mod_revision),
            not_ready: wire.not_ready.map(|why| Box::new(NotReady::from(why))),
            home: Arc::new(Home {
                region: wire.region,
                group: wire.group,
                write: wire.write.map(Host::try_from).transpose()?,
                read: read?,
                server_ca_pem: wire.server_ca_pem,
            }),
            words,
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
