//! How a request says which tenant it means, and what is refused before anybody is asked.
//!
//! ```text
//! Host, headers, bearer token ─► Select::read ─► Wishes (one per kind that is there) ─► resolve each ─► they must agree
//! ```
//! Nothing here waits. A kind that is present and cannot be read refuses the request: it is never passed over in favour
//! of another one.

mod agree;
mod bearer;
mod host;
#[cfg(test)]
mod tests;
mod token;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, Uri};

pub(crate) use self::agree::agree;
pub use self::{
    agree::Mismatch,
    host::{Hosts, Peer},
    token::{InvalidToken, Verified, Verify},
};
use crate::{Refused, Selector};

/// A description of how requests name their tenant.
///
/// ```
/// use http::HeaderName;
/// use reeve_client::select::Select;
///
/// let by_name = Select::domain().or(Select::header(HeaderName::from_static("x-tenant")));
/// # let _ = by_name;
/// ```
/// `a.or(b)` wants one of them, `a.and(b)` both, `a.beside(b)` the first and takes the other when it is there. Behind `or` a
/// token is no authentication: who sends none is let in by the other name. Whichever way, all that a request brings of what is described here must name
/// the same tenant; what is not described is not looked at.
#[derive(Clone)]
pub struct Select(Rule);

#[derive(Clone)]
enum Rule {
    Domain(Hosts),
    Header(HeaderName),
    Token(Arc<dyn Verify>),
    Or(Box<Rule>, Box<Rule>),
    Beside(Box<Rule>, Box<Rule>),
    And(Box<Rule>, Box<Rule>),
}

/// What of a request may name a tenant.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    /// Who is at the other end of the connection, if that is known.
    pub peer: Option<IpAddr>,
}

/// The kinds of names, in words for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    Domain,
    Header,
    Token,
    /// What a layer around this one has found.
    Layer,
}

/// One name of a tenant that a request brought.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Wish {
    pub kind: Kind,
    pub selector: Selector,
    /// What else the token said; none for the other kinds.
    pub token: Option<Verified>,
}

impl Select {
    /// By the name of the host that was asked for: `:authority` or `Host`, and no other header.
    pub fn domain() -> Select {
        Select::domain_of(Hosts::default())
    }

    /// By the name of the host, with hosts that name nobody, or proxies that are trusted.
    pub fn domain_of(hosts: Hosts) -> Select {
        Select(Rule::Domain(hosts))
    }

    /// By a header's value. Whoever can set the header chooses the tenant: see that only your own proxy can, or demand a
    /// token with it.
    pub fn header(name: HeaderName) -> Select {
        Select(Rule::Header(name))
    }

    /// By the bearer token in `Authorization`, once it is verified.
    pub fn token(verify: impl Verify + 'static) -> Select {
        Select(Rule::Token(Arc::new(verify)))
    }

    /// This or the other; both, when both are there.
    pub fn or(self, other: Select) -> Select {
        Select(Rule::Or(self.0.into(), other.0.into()))
    }

    /// This, and the other when it is there: `Select::token(t).beside(Select::domain_of(hosts))` lets nobody in without a
    /// token, whichever host is asked for.
    pub fn beside(self, other: Select) -> Select {
        Select(Rule::Beside(self.0.into(), other.0.into()))
    }

    /// This and the other, and both for the same tenant.
    pub fn and(self, other: Select) -> Select {
        Select(Rule::And(self.0.into(), other.0.into()))
    }

    /// Reads all that a request brings; at least one name comes back.
    pub fn read(&self, head: &Head<'_>) -> Result<Vec<Wish>, Refused> {
        let mut wishes = Vec::new();
        self.0.read(head, &mut wishes)?;
        Ok(wishes)
    }
}

impl Rule {
    /// Adds what is there to the wishes, or says what is missing.
    fn read(&self, head: &Head<'_>, wishes: &mut Vec<Wish>) -> Read {
        let wish = match self {
            Rule::Domain(hosts) => hosts.read(head)?.map(Wish::domain),
            Rule::Header(name) => header(head.headers, name)?.map(Wish::header),
            Rule::Token(verify) => return bearer::read(head.headers, verify.as_ref(), wishes),
            // Both sides are read, so that nothing that is there stays unread.
            Rule::And(left, right) => return both(left.read(head, wishes), right.read(head, wishes)),
            Rule::Beside(left, right) => return first(left.read(head, wishes), right.read(head, wishes)),
            Rule::Or(left, right) => return either(left.read(head, wishes), right.read(head, wishes)),
        };
        wishes.push(wish.ok_or(Refused::Unnamed)?);
        Ok(())
    }
}

type Read = Result<(), Refused>;

/// One of them is enough; but what is there and cannot be read is never made good by the other.
fn either(left: Read, right: Read) -> Read {
    match (left, right) {
        (Err(refused), _) | (_, Err(refused)) if !refused.is_absence() => Err(refused),
        // Of two that are missing the token is the one that a caller can bring.
        (Err(Refused::TokenMissing), Err(_)) => Err(Refused::TokenMissing),
        (Err(_), right) => right,
        (Ok(()), _) => Ok(()),
    }
}

/// The first must be there, and what is there of the other must be readable.
fn first(left: Read, right: Read) -> Read {
    match (left, right) {
        (Err(refused), _) | (_, Err(refused)) if !refused.is_absence() => Err(refused),
        (left, _) => left,
    }
}

fn both(left: Read, right: Read) -> Read {
    match (left, right) {
        (Err(refused), _) | (_, Err(refused)) if !refused.is_absence() => Err(refused),
        (left, right) => left.and(right),
    }
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Selector>, Refused> {
    let Some(value) = only(headers, name)? else {
        return Ok(None);
    };
    let selector = Selector::header(name.as_str(), value);
    selector.map(Some).map_err(|_| Refused::Malformed {
        what: "the tenant's header",
        why: "its value names nobody that could exist",
    })
}

/// The one value of a header. Two are refused even when they are alike: whoever stands in between may read another one.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refused> {
    let refused = |why| Refused::Malformed {
        what: "a header that names the tenant",
        why,
    };
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refused("it is there more than once"));
    }
    let value = value.to_str().map_err(|_| refused("it is no visible ASCII"))?;
    if value.trim().is_empty() {
        return Err(refused("it is empty"));
    }
    Ok(Some(value))
}

impl Wish {
    fn domain(selector: Selector) -> Wish {
        Wish::unsigned(Kind::Domain, selector)
    }

    fn header(selector: Selector) -> Wish {
        Wish::unsigned(Kind::Header, selector)
    }

    fn unsigned(kind: Kind, selector: Selector) -> Wish {
        Wish {
            kind,
            selector,
            token: None,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Domain => "domain",
            Kind::Header => "header",
            Kind::Token => "token",
            Kind::Layer => "layer",
        })
    }
}
