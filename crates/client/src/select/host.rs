//! The host that a request was meant for.

use std::{collections::HashSet, net::IpAddr};

use http::{HeaderName, header::HOST};
use reeve_domain::words::{Cidr, Claim, Domain};

use super::{Head, only};
use crate::{Error, Refused, Selector};

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who is at the other end of a connection. A server that accepts connections by itself puts it into each request's
/// extensions; those of axum (`into_make_service_with_connect_info`) and tonic are found without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Which hosts name a tenant, and whose word is taken for them.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    shared: HashSet<Domain>,
    proxies: Vec<Cidr>,
}

impl Hosts {
    /// A host that all tenants share, such as `api.example`: it names none of them, and something else must.
    pub fn shared(mut self, host: &str) -> Result<Hosts, Error> {
        let host = Domain::parse(host).map_err(|e| invalid("shared host", e))?;
        self.shared.insert(host);
        Ok(self)
    }

    /// An address or range of proxies whose `X-Forwarded-Host` is believed, instead of `Host`: they must overwrite what
    /// callers send of it. From everybody else it is not looked at; from whom nobody knows who it is it is refused.
    pub fn behind(mut self, proxies: &str) -> Result<Hosts, Error> {
        let proxies = Cidr::parse(proxies).map_err(|e| invalid("proxies", e))?;
        self.proxies.push(proxies);
        Ok(self)
    }

    /// The tenant's domain; none when the host is shared, or missing.
    pub(super) fn read(&self, head: &Head<'_>) -> Result<Option<Selector>, Refused> {
        let Some(host) = self.host(head)? else {
            return Ok(None);
        };
        if is_address(host) {
            return Err(Refused::Misdirected);
        }
        let domain = Domain::parse(host).map_err(|_| refused("it is no domain"))?;
        if self.shared.contains(&domain) {
            return Ok(None);
        }
        Ok(Some(Selector::of(Claim::Domain(domain))))
    }

    fn host<'a>(&self, head: &Head<'a>) -> Result<Option<&'a str>, Refused> {
        let asked = asked(head)?;
        if !self.proxies.is_empty() && head.peer.is_none() && head.headers.contains_key(FORWARDED) {
            // To pass it over would pass over a name, and to believe it would believe anybody.
            return Err(refused("who forwards it is not known"));
        }
        let is_trusted = |peer: IpAddr| self.proxies.iter().any(|range| range.contains(peer));
        if head.peer.is_some_and(is_trusted) {
            // Several proxies in a row join theirs by commas, which no domain has.
            return Ok(only(head.headers, &FORWARDED)?.or(asked));
        }
        Ok(asked)
    }
}

/// `:authority`, or the authority of an absolute target, or `Host`. Two that differ are an attack or a defect.
fn asked<'a>(head: &Head<'a>) -> Result<Option<&'a str>, Refused> {
    let host = only(head.headers, &HOST)?;
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(refused("the request's target says another one"))
        }
        (authority, host) => Ok(authority.or(host)),
    }
}

/// An address is a fine host, but nobody's name.
fn is_address(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.starts_with('[') || name.parse::<IpAddr>().is_ok()
}

fn refused(why: &'static str) -> Refused {
    Refused::Malformed {
        what: "the host",
        why,
    }
}

fn invalid(what: &'static str, why: impl std::fmt::Display) -> Error {
    Error::Invalid {
        what,
        why: why.to_string(),
    }
}
