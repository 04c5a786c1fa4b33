//! AgentService: the hands beside the databases. They dial out, to any node.

mod session;

use futures::stream::BoxStream;
use reeve_domain::access::Expect;
use reeve_proto::convert::BadField;
use reeve_proto::error::{self, Reason};
use reeve_proto::v1;
use reeve_proto::v1::agent_service_server::AgentService;
use tonic::{Request, Response, Status, Streaming};

use crate::edge::desk::Desk;
use crate::edge::join::{self, Shown};
use crate::edge::{certificate, parse};
use crate::policy;

/// Names and addresses of one PostgreSQL.
const HOSTS_MAX: usize = 32;
const HOST_BYTES_MAX: usize = 253;

pub(super) struct Agents {
    pub desk: Desk,
}

#[tonic::async_trait]
impl AgentService for Agents {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        parse::csr("csr_pem", &wire.csr_pem)?;
        parse::csr("postgres_csr_pem", &wire.postgres_csr_pem)?;
        let hosts = hosts(wire.postgres_hosts)?;
        let asked = [wire.csr_pem.as_bytes(), wire.postgres_csr_pem.as_bytes()];
        let shown = Shown::parse(&wire.token_id, &wire.token_secret, &asked, Expect::Agent)?;
        let joined = join::redeem(&self.desk, &call, shown).await?;
        let (who, desk) = (joined.redeemed.principal.as_str(), &self.desk);
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
        let hosts = hosts(wire.postgres_hosts)?;
        policy::standing(&self.desk.state(), &call.caller, call.action())?;
        if call.caller.agent().is_none() {
            return Err(error::status(
                Reason::PermissionDenied,
                "only an agent renews here",
                &[],
            ));
        }
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

fn hosts(wire: Vec<String>) -> Result<Vec<String>, BadField> {
    if !(1..=HOSTS_MAX).contains(&wire.len()) {
        return Err(BadField::new("postgres_hosts", "names 1 to 32 hosts"));
    }
    let is_odd = |host: &String| {
        let fits = (1..=HOST_BYTES_MAX).contains(&host.len());
        !fits
            || !host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'))
    };
    match wire.iter().position(is_odd) {
        Some(i) => Err(BadField::new(
            format!("postgres_hosts[{i}]"),
            "is a DNS name or an address",
        )),
        None => Ok(wire),
    }
}
