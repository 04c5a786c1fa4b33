//! Typed clients of every service, all over the failover channel.

use reeve_proto::{
    identity::{Connector, Credentials, Expect, Tuning, connector, connector::MESSAGE_BYTES_MAX},
    v1::{
        access_service_client::AccessServiceClient, agent_service_client::AgentServiceClient,
        alert_service_client::AlertServiceClient, audit_service_client::AuditServiceClient,
        cluster_service_client::ClusterServiceClient, database_service_client::DatabaseServiceClient,
        group_service_client::GroupServiceClient, operation_service_client::OperationServiceClient,
        resolver_service_client::ResolverServiceClient, tenant_service_client::TenantServiceClient,
    },
};

use crate::{Error, channel::Failover};

/// The whole API. Calls find a node that serves; a changing call is repeated only with its request_id.
#[derive(Clone)]
pub struct Api {
    channel: Failover,
}

impl Api {
    /// Over these nodes, as this identity. Nothing is dialled before the first call.
    pub fn connect(nodes: &[String], credentials: &Credentials) -> Result<Api, Error> {
        let connector = connector(credentials, Expect::AnyNode).map_err(|e| Error::Invalid {
            what: "credentials",
            why: e.to_string(),
        })?;
        Api::over(nodes, &connector, &Tuning::default())
    }

    /// Over these nodes, through a connector of the caller's.
    pub fn over(nodes: &[String], connector: &Connector, tuning: &Tuning) -> Result<Api, Error> {
        Ok(Api {
            channel: Failover::new(nodes, connector, tuning)?,
        })
    }

    /// Over no node: every call fails at once.
    #[cfg(feature = "mock")]
    pub(crate) fn nowhere() -> Api {
        Api {
            channel: Failover::nowhere(),
        }
    }

    /// The service under the clients, for one generated elsewhere.
    pub fn channel(&self) -> &Failover {
        &self.channel
    }
}

/// A new `request_id` for a changing call. Keep it for as long as the call may have to be repeated.
pub fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

macro_rules! services {
    ($($name:ident: $client:ident),* $(,)?) => {
        impl Api {
            $(pub fn $name(&self) -> $client<Failover> {
                $client::new(self.channel.clone())
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX)
            })*
        }
    };
}

services! {
    access: AccessServiceClient,
    agents: AgentServiceClient,
    alerts: AlertServiceClient,
    audit: AuditServiceClient,
    cluster: ClusterServiceClient,
    databases: DatabaseServiceClient,
    groups: GroupServiceClient,
    operations: OperationServiceClient,
    resolver: ResolverServiceClient,
    tenants: TenantServiceClient,
}
