//! SPIFFE ids of one cluster: `spiffe://<cluster>/{node,agent,svc,person}/<name>`.

use std::{fmt, str::FromStr};

/// Longest cluster or principal name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
const SCHEME: &str = "spiffe://";

/// One identity; a value that exists has passed the grammar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    cluster: String,
    kind: Kind,
}

/// What the identity is, and its name among its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Node(u64),
    Agent(String),
    Service(String),
    Person(String),
}

/// Why a text is no identity of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("identity does not begin with spiffe://")]
    Scheme,
    #[error("identity needs exactly a cluster, a kind and a name")]
    Shape,
    #[error("cluster name {0:?} must be 1 to 63 of a-z, 0-9 and -")]
    Cluster(String),
    #[error("kind {0:?} is not one of node, agent, svc, person")]
    Kind(String),
    #[error("name {0:?} must be 1 to 63 of a-z, 0-9 and -")]
    Name(String),
    #[error("node number {0:?} must be a plain decimal number from 1")]
    Node(String),
}

impl SpiffeId {
    /// Builds an identity from its parts, holding them to the same grammar as `parse`.
    pub fn new(cluster: &str, kind: Kind) -> Result<SpiffeId, Error> {
        if !is_name(cluster) {
            return Err(Error::Cluster(cluster.to_owned()));
        }
        match &kind {
            Kind::Node(0) => return Err(Error::Node("0".to_owned())),
            Kind::Agent(name) | Kind::Service(name) | Kind::Person(name) if !is_name(name) => {
                return Err(Error::Name(name.clone()));
            }
            _ => {}
        }
        Ok(SpiffeId {
            cluster: cluster.to_owned(),
            kind,
        })
    }

    /// Reads `spiffe://<cluster>/<kind>/<name>`; nothing may stand before, between or after.
    pub fn parse(text: &str) -> Result<SpiffeId, Error> {
        let rest = text.strip_prefix(SCHEME).ok_or(Error::Scheme)?;
        let mut parts = rest.split('/');
        let (Some(cluster), Some(kind), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Shape);
        };
        let kind = match kind {
            "node" => Kind::Node(parse_node(name)?),
            "agent" => Kind::Agent(name.to_owned()),
            "svc" => Kind::Service(name.to_owned()),
            "person" => Kind::Person(name.to_owned()),
            other => return Err(Error::Kind(other.to_owned())),
        };
        SpiffeId::new(cluster, kind)
    }

    /// The trust domain, which is the cluster's name.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

impl Kind {
    /// The kind's word inside an identity.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Node(_) => "node",
            Kind::Agent(_) => "agent",
            Kind::Service(_) => "svc",
            Kind::Person(_) => "person",
        }
    }

    /// The name among its kind; a node's number in decimal.
    pub fn name(&self) -> String {
        match self {
            Kind::Node(id) => id.to_string(),
            Kind::Agent(name) | Kind::Service(name) | Kind::Person(name) => name.clone(),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCHEME}{}/{}/{}",
            self.cluster,
            self.kind.word(),
            self.kind.name()
        )
    }
}

impl FromStr for SpiffeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<SpiffeId, Error> {
        SpiffeId::parse(text)
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn parse_node(text: &str) -> Result<u64, Error> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    match text.parse::<u64>() {
        Ok(id) if plain => Ok(id),
        _ => Err(Error::Node(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        for text in [
            "spiffe://hospital/node/1",
            "spiffe://hospital/node/18446744073709551615",
            "spiffe://h-2/agent/vn-1",
            "spiffe://hospital/svc/ehr",
            "spiffe://hospital/person/linh",
        ] {
            assert_eq!(SpiffeId::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_no_identity() {
        let long = format!("spiffe://hospital/svc/{}", "a".repeat(64));
        for text in [
            "",
            "spiffe://",
            "spiffe://hospital",
            "spiffe://hospital/svc",
            "spiffe://hospital/svc/",
            "spiffe:///svc/ehr",
            "spiffe://hospital/svc/ehr/",
            "spiffe://hospital/svc/ehr/x",
            "spiffe://hospital//svc/ehr",
            "SPIFFE://hospital/svc/ehr",
            "spiffe://Hospital/svc/ehr",
            "spiffe://hospital:80/svc/ehr",
            "spiffe://u@hospital/svc/ehr",
            "spiffe://hospital/svc/ehr?x",
            "spiffe://hospital/svc/e%68r",
            "spiffe://hospital/svc/éhr",
            "spiffe://hospital/svc/..",
            "spiffe://hospital/admin/linh",
            "spiffe://hospital/node/0",
            "spiffe://hospital/node/01",
            "spiffe://hospital/node/+1",
            "spiffe://hospital/node/18446744073709551616",
            " spiffe://hospital/node/1",
            "spiffe://hospital/node/1\n",
            long.as_str(),
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{text:?} passed");
        }
    }
}
