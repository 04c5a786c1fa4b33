//! Certificates: signed by the leader, written down before they leave.

use reeve_domain::Command;
use reeve_domain::command::Witness;
use reeve_domain::policy::Action;
use reeve_proto::error;
use reeve_proto::identity::{Certificate, SpiffeId, Usage};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::Status;

use crate::authority::IssueError;
use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::status;
use crate::policy::{self, CERTIFICATE_ISSUE, Intent};

/// For a service, a person, or an agent's calls.
pub(super) async fn client(desk: &Desk, call: &Call, principal: &str, csr: &str) -> Result<String, Status> {
    issue(desk, call, principal, csr, Usage::Client).await
}

/// For a registry node.
pub(super) async fn node(
    desk: &Desk,
    call: &Call,
    principal: &str,
    csr: &str,
    addresses: [&str; 2],
) -> Result<String, Status> {
    let mut hosts: Vec<_> = addresses
        .into_iter()
        .map(|address| host(address).to_owned())
        .collect();
    hosts.dedup();
    issue(desk, call, principal, csr, Usage::Node { hosts }).await
}

/// For the PostgreSQL beside an agent.
pub(super) async fn postgres(
    desk: &Desk,
    call: &Call,
    principal: &str,
    csr: &str,
    hosts: Vec<String>,
) -> Result<String, Status> {
    issue(desk, call, principal, csr, Usage::Postgres { hosts }).await
}

async fn issue(desk: &Desk, call: &Call, principal: &str, csr: &str, usage: Usage) -> Result<String, Status> {
    let id = SpiffeId::parse(principal).map_err(|error| status::internal("naming a certificate", &error))?;
    let what = match &usage {
        Usage::Node { hosts } => format!("node {}", hosts.join(" ")),
        Usage::Client => "client".to_owned(),
        Usage::Postgres { hosts } => format!("postgres {}", hosts.join(" ")),
    };
    let signed = desk.rooms.authority.issue(csr, &id, usage);
    let signed = tokio::time::timeout_at(call.deadline, signed)
        .await
        .map_err(|_| status::no_leader())?;
    let chain = signed.map_err(not_signed)?;
    record(
        desk,
        call,
        principal,
        &format!("serial {} {what}", serial(&chain)?),
    )
    .await?;
    Ok(chain)
}

fn not_signed(error: IssueError) -> Status {
    match error {
        IssueError::Refused(why) => error::field("csr_pem", why),
        IssueError::Unanswered(_) | IssueError::NotLeader(_) => status::no_leader(),
    }
}

/// Without its record committed, a certificate stays here and is forgotten.
async fn record(desk: &Desk, call: &Call, principal: &str, detail: &str) -> Result<(), Status> {
    let state = desk.state();
    let permit = match call.caller.spiffe() {
        Some(_) if call.action() != Action::Join => {
            policy::decide(&state, &call.caller, call.action(), None)?
        }
        _ => policy::for_joiner(&state, &call.caller),
    };
    let witness = Witness {
        action: CERTIFICATE_ISSUE.to_owned(),
        resource: format!("principal/{principal}"),
        tenant: None,
        detail: detail.to_owned(),
    };
    desk.propose(call, permit, Intent::new(Command::Witness(witness)))
        .await?;
    Ok(())
}

/// The serial of a chain's leaf, as revocation lists write it.
fn serial(chain_pem: &str) -> Result<String, Status> {
    let unreadable =
        |error: &(dyn std::error::Error + 'static)| status::internal("reading a certificate", error);
    let leaf = CertificateDer::from_pem_slice(chain_pem.as_bytes()).map_err(|error| unreadable(&error))?;
    let leaf = Certificate::read(&leaf).map_err(|error| unreadable(&error))?;
    Ok(hex::encode(leaf.serial))
}

/// The host of `host:port`.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_port_and_brackets() {
        assert_eq!(host("n1.example:7400"), "n1.example");
        assert_eq!(host("[::1]:7400"), "::1");
        assert_eq!(host("127.0.0.1:7400"), "127.0.0.1");
    }
}
