//! Where services reach the instance: one place for each network they may stand in.
//!
//! A place is told to the registry once PostgreSQL's certificate holds its host: whoever is sent there can verify it.

use std::fmt;

use reeve_proto::identity::ca;
use reeve_proto::v1::Endpoint;
use serde::{Deserialize, Serialize};

use crate::config::Postgres;

/// Networks besides the one of `postgres.network`.
const FURTHER_MAX: usize = 8;
const NETWORK_BYTES_MAX: usize = 63;
const HOST_BYTES_MAX: usize = 253;

/// Where services of one network reach it: `[postgres.networks.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    pub host: String,
    pub port: u16,
}

/// An address, and the network it is good in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub network: String,
    pub host: String,
    pub port: u16,
}

/// Why the places cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Error {
    field: String,
    why: String,
}

impl Error {
    fn new(field: impl Into<String>, why: impl Into<String>) -> Error {
        Error {
            field: field.into(),
            why: why.into(),
        }
    }
}

impl Place {
    /// As the wire writes it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            network: self.network.clone(),
            host: self.host.clone(),
            port: u32::from(self.port),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.network, self.host, self.port)
    }
}

/// Reads the places out of the settings; the one of `postgres.network` comes first.
pub fn read(postgres: &Postgres) -> Result<Vec<Place>, Error> {
    let own = Place {
        network: postgres.network.clone(),
        host: postgres.advertise_host.clone(),
        port: match postgres.advertise_port {
            0 => postgres.port,
            port => port,
        },
    };
    check_network("postgres.network", &own.network)?;
    check_host("postgres.advertise_host", &own.host)?;
    let further = &postgres.networks;
    if further.len() > FURTHER_MAX {
        let why = format!("has {}; at most {FURTHER_MAX} are allowed", further.len());
        return Err(Error::new("postgres.networks", why));
    }
    let mut places = vec![own];
    for (network, reach) in further {
        let field = format!("postgres.networks.{network}");
        check_network(&field, network)?;
        if *network == postgres.network {
            let why = "is the network of postgres.network already; its address is advertise_host and advertise_port";
            return Err(Error::new(field, why));
        }
        check_host(&format!("{field}.host"), &reach.host)?;
        if reach.port == 0 {
            return Err(Error::new(format!("{field}.port"), "must be 1 to 65535"));
        }
        places.push(Place {
            network: network.clone(),
            host: reach.host.clone(),
            port: reach.port,
        });
    }
    Ok(places)
}

fn check_network(field: &str, name: &str) -> Result<(), Error> {
    let is_whole = (1..=NETWORK_BYTES_MAX).contains(&name.len());
    match is_whole && name.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(Error::new(
            field,
            "a network's name has 1 to 63 visible ASCII characters",
        )),
    }
}

/// What the registry takes as an address and writes into a certificate.
fn check_host(field: &str, host: &str) -> Result<(), Error> {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':');
    let is_whole = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_letter);
    match is_whole && ca::check_host(host).is_ok() {
        true => Ok(()),
        false => Err(Error::new(
            field,
            "must be a DNS name or an address, without a port",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(networks: &[(&str, &str, u16)]) -> Postgres {
        let reach = |(name, host, port): &(&str, &str, u16)| {
            let host = (*host).to_owned();
            ((*name).to_owned(), Reach { host, port: *port })
        };
        Postgres {
            networks: networks.iter().map(reach).collect(),
            ..Postgres::default()
        }
    }

    #[test]
    fn the_default_comes_first_and_the_others_by_name() {
        let mut postgres = with(&[("vpn", "10.8.0.7", 15432), ("a", "db.a.example", 5432)]);
        postgres.network = "zone".into();
        postgres.advertise_host = "::1".into();
        postgres.advertise_port = 6000;
        let told: Vec<String> = read(&postgres).unwrap().iter().map(Place::to_string).collect();
        assert_eq!(
            told,
            ["zone=::1:6000", "a=db.a.example:5432", "vpn=10.8.0.7:15432"]
        );
    }

    #[test]
    fn what_cannot_be_told_names_its_field() {
        let field = |postgres: &Postgres| read(postgres).unwrap_err().field;
        let long = "n".repeat(64);
        for name in ["", "a b", "mạng", long.as_str()] {
            let one = with(&[(name, "h.example", 1)]);
            assert_eq!(field(&one), format!("postgres.networks.{name}"));
        }
        assert!(read(&with(&[(&long[1..], "h.example", 65535)])).is_ok());
        for host in ["", "a b", "h.example:5432", "h_x/", "*.example"] {
            let one = with(&[("vpn", host, 1)]);
            assert_eq!(field(&one), "postgres.networks.vpn.host", "{host}");
        }
        assert_eq!(
            field(&with(&[("vpn", "h.example", 0)])),
            "postgres.networks.vpn.port"
        );
        assert_eq!(
            field(&with(&[("default", "h.example", 1)])),
            "postgres.networks.default"
        );
        let mut own = with(&[]);
        own.network = String::new();
        assert_eq!(field(&own), "postgres.network");
        own.network = "default".into();
        own.advertise_host = "db 1".into();
        assert_eq!(field(&own), "postgres.advertise_host");
    }

    #[test]
    fn there_are_at_most_eight_further_ones() {
        let names: Vec<String> = (0..9).map(|i| format!("n{i}")).collect();
        let all: Vec<_> = names.iter().map(|n| (n.as_str(), "h.example", 1)).collect();
        assert!(read(&with(&all[..8])).is_ok());
        assert_eq!(read(&with(&all)).unwrap_err().field, "postgres.networks");
    }
}
