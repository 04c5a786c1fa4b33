//! Names that a PostgreSQL's certificate may hold: well formed, and nobody else's.

use std::net::IpAddr;

use reeve_domain::State;
use reeve_proto::convert::BadField;
use reeve_proto::identity::ca;

/// Names and addresses of one PostgreSQL.
const HOSTS_MAX: usize = 32;
const HOST_BYTES_MAX: usize = 253;

/// Reads the names.
pub(super) fn parse(wire: Vec<String>) -> Result<Vec<String>, BadField> {
    if !(1..=HOSTS_MAX).contains(&wire.len()) {
        return Err(BadField::new("postgres_hosts", "names 1 to 32 hosts"));
    }
    let is_odd = |host: &String| {
        let fits = (1..=HOST_BYTES_MAX).contains(&host.len());
        !fits
            || !host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'))
            || ca::check_host(host).is_err()
    };
    match wire.iter().position(is_odd) {
        Some(i) => Err(BadField::new(
            format!("postgres_hosts[{i}]"),
            "is a DNS name or an address",
        )),
        None => Ok(wire),
    }
}

/// Refuses the name of a registry node or of another agent's instance: with it one agent could pose as them.
/// This machine's own names are everybody's: no other machine can be reached by them.
pub(super) fn check_free(state: &State, agent: &str, hosts: &[String]) -> Result<(), BadField> {
    let of = |address: &str| {
        address
            .rsplit_once(':')
            .map_or(address, |(host, _)| host)
            .to_owned()
    };
    let nodes = state
        .nodes
        .values()
        .flat_map(|node| [of(&node.api), of(&node.peer)]);
    let others = state
        .groups
        .values()
        .flat_map(|group| &group.members)
        .filter(|m| m.name.as_str() != agent);
    let instances = others.flat_map(|member| member.facts.endpoints.iter().map(|e| e.host.clone()));
    let taken: Vec<String> = nodes
        .chain(instances)
        .filter(|host| !is_own_machine(host))
        .collect();
    let trim = |host: &str| host.trim_matches(['[', ']']).to_ascii_lowercase();
    match hosts
        .iter()
        .position(|host| taken.iter().any(|taken| trim(taken) == trim(host)))
    {
        Some(i) => Err(BadField::new(
            format!("postgres_hosts[{i}]"),
            "is the name of a registry node or of another agent's PostgreSQL",
        )),
        None => Ok(()),
    }
}

fn is_own_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_domain::NodeId;
    use reeve_domain::state::Node;

    #[test]
    fn nobody_gets_a_certificate_in_anothers_name() {
        let mut state = State::default();
        let node = |id, host: &str| Node {
            id: NodeId(id),
            api: format!("{host}:7400"),
            peer: format!("{host}:7401"),
            joined: Default::default(),
        };
        state.nodes.insert(NodeId(1), node(1, "n1.example"));
        state.nodes.insert(NodeId(2), node(2, "127.0.0.1"));
        let check = |host: &str| check_free(&state, "vn-1", &[host.to_owned()]).is_ok();
        assert!(!check("n1.example") && !check("N1.Example"));
        assert!(check("127.0.0.1") && check("localhost") && check("db-vn-1.example"));
        assert!(
            parse(vec![]).is_err() && parse(vec!["a b".into()]).is_err() && parse(vec!["a.b".into()]).is_ok()
        );
    }
}
