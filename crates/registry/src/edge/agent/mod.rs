//! AgentService: the hands beside the databases. They dial out, to any node.

mod hosts;
mod lane;
pub(super) mod records;
mod session;

use futures::stream::BoxStream;
use reeve_domain::access::Expect;
use reeve_proto::error::{self, Reason};
use reeve_proto::v1;
use reeve_proto::v1::agent_service_server::AgentService;
use tonic::{Request, Response, Status, Streaming};

use crate::edge::desk::Desk;
use crate::edge::join::{self, Shown};
use crate::edge::{certificate, parse};
use crate::policy;

pub(super) struct Agents {
    pub desk: Desk,
}

#[tonic::async_trait]
impl AgentService for Agents {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        parse::csr("csr_pem", &wire.csr_pem)?;
        parse::csr("postgres_csr_pem", &wire.postgres_csr_pem)?;
        let hosts = hosts::parse(wire.postgres_hosts)?;
        let named = hosts.join(",");
        let asked = [
            wire.csr_pem.as_bytes(),
            wire.postgres_csr_pem.as_bytes(),
            named.as_bytes(),
        ];
        let shown = Shown::parse(&wire.token_id, &wire.token_secret, &asked, Expect::Agent)?;
        // Before the token is spent on names that it cannot have.
        let state = self.desk.state();
        if let Some(name) = shown.is_for(&state) {
            hosts::check_free(&state, name.as_str(), &hosts)?;
        }
        let joined = join::redeem(&self.desk, &call, shown).await?;
        let (who, desk) = (joined.redeemed.principal.as_str(), &self.desk);
        hosts::check_free(&joined.state, joined.redeemed.name.as_str(), &hosts)?;
        let certificate_chain_pem = certificate::client(desk, &call, who, &wire.csr_pem).await?;
        let postgres_certificate_chain_pem =
            certificate::postgres(desk, &call, who, &wire.postgres_csr_pem, hosts).await?;
        let text = |name: Option<reeve_domain::words::Name>| name.map(String::from).unwrap_or_default();
        Ok(Response::new(v1::JoinResponse {
            agent: joined.redeemed.name.to_string(),
            region: text(joined.redeemed.region),
            group: text(joined.redeemed.group),
            cluster: joined.state.cluster.name.clone(),
            certificate_chain_pem,
            postgres_certificate_chain_pem,
        }))
    }

    type SessionStream = BoxStream<'static, Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (call, inbound) = self.desk.admit(request)?;
        let session = session::Session::begin(self.desk.clone(), call)?;
        Ok(Response::new(session.spawn(inbound)))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        parse::csr("csr_pem", &wire.csr_pem)?;
        parse::csr("postgres_csr_pem", &wire.postgres_csr_pem)?;
        let hosts = hosts::parse(wire.postgres_hosts)?;
        policy::standing(&self.desk.state(), &call.caller, call.action())?;
        let Some(agent) = call.caller.agent() else {
            return Err(error::status(
                Reason::PermissionDenied,
                "only an agent renews here",
                &[],
            ));
        };
        hosts::check_free(&self.desk.state(), agent.as_str(), &hosts)?;
        let (who, desk) = (call.caller.id().to_string(), &self.desk);
        Ok(Response::new(v1::RenewResponse {
            certificate_chain_pem: certificate::client(desk, &call, &who, &wire.csr_pem).await?,
            postgres_certificate_chain_pem: certificate::postgres(
                desk,
                &call,
                &who,
                &wire.postgres_csr_pem,
                hosts,
            )
            .await?,
        }))
    }
}
