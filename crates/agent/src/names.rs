//! The names that PostgreSQL's certificate holds, and those it must hold.
//!
//! ```text
//! settings ─► wanted ─┐ differ: renewed at once
//! pg.crt ──► held ────┴─► places whose host is held ─► told to the registry
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_proto::identity::certificate;

use crate::config::Config;
use crate::place::Place;

/// What listens at every address has no address of its own.
const EVERYWHERE: [&str; 3] = ["*", "0.0.0.0", "::"];

/// The names of one instance; a clone sees what the others learn.
#[derive(Clone, Debug)]
pub struct Names {
    places: Arc<[Place]>,
    wanted: Arc<BTreeSet<String>>,
    held: Arc<Mutex<BTreeSet<String>>>,
}

impl Names {
    /// What the settings ask for; nothing is held before a certificate was read.
    pub fn of(config: &Config) -> Names {
        let places = config.places();
        let listen = Some(config.postgres.listen.as_str()).filter(|at| !EVERYWHERE.contains(at));
        let hosts = places.iter().map(|place| place.host.as_str());
        let wanted = hosts.chain(["localhost", "127.0.0.1"]).chain(listen);
        Names {
            wanted: Arc::new(wanted.map(plain).collect()),
            places: places.into(),
            held: Arc::default(),
        }
    }

    /// What a certificate is asked for with.
    pub fn wanted(&self) -> Vec<String> {
        self.wanted.iter().cloned().collect()
    }

    /// Takes in what the certificate in force holds; one that cannot be read holds nothing.
    pub fn read(&self, chain_pem: &str) {
        let hosts = certificate::hosts(chain_pem).unwrap_or_default();
        *self.held.lock() = hosts.iter().map(|host| plain(host)).collect();
    }

    /// Whether the certificate holds all that is wanted, and nothing else.
    pub fn are_held(&self) -> bool {
        *self.held.lock() == *self.wanted
    }

    /// The places that a service can verify.
    pub fn verifiable(&self) -> Vec<Place> {
        let held = self.held.lock();
        let places = self
            .places
            .iter()
            .filter(|place| held.contains(&plain(&place.host)));
        places.cloned().collect()
    }
}

/// One way to write a host.
fn plain(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Reach;

    fn names(vpn: Option<&str>) -> Names {
        let mut config = Config::default();
        config.postgres.listen = "0.0.0.0".into();
        config.postgres.advertise_host = "DB.example".into();
        let reach = |host: &str| Reach {
            host: host.to_owned(),
            port: 15432,
        };
        config.postgres.networks = vpn
            .map(|host| ("vpn".to_owned(), reach(host)))
            .into_iter()
            .collect();
        Names::of(&config)
    }

    fn certificate(hosts: &[String]) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(hosts.to_vec()).unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    fn told(names: &Names) -> Vec<String> {
        let places = names.verifiable();
        places.iter().map(|place| place.network.clone()).collect()
    }

    #[test]
    fn a_place_is_told_once_the_certificate_holds_its_host() {
        let before = certificate(&names(None).wanted());
        let names = names(Some("0:0::8"));
        assert_eq!(names.wanted(), ["127.0.0.1", "::8", "db.example", "localhost"]);
        assert!(told(&names).is_empty() && !names.are_held());
        names.read(&before);
        assert_eq!(told(&names), ["default"]);
        assert!(!names.are_held());
        names.read(&certificate(&names.wanted()));
        assert_eq!(told(&names), ["default", "vpn"]);
        assert!(names.are_held());
    }

    #[test]
    fn a_certificate_with_a_name_too_many_or_none_at_all_is_not_right() {
        let now = names(None);
        now.read(&certificate(&names(Some("10.8.0.7")).wanted()));
        assert!(!now.are_held());
        assert_eq!(told(&now), ["default"]);
        now.read("nonsense");
        assert!(!now.are_held() && told(&now).is_empty());
    }
}
