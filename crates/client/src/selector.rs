//! How a request says which tenant it means.

use reeve_domain::words::{Claim, Domain, Slug};
use reeve_proto::{convert, v1};

use crate::Error;

/// A parsed claim with the key it is cached under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    claim: Claim,
    key: String,
}

impl Selector {
    /// The Host a browser asked for; port, upper case and trailing dot are taken off.
    pub fn domain(host: &str) -> Result<Selector, Error> {
        Domain::parse(host)
            .map(|d| Selector::of(Claim::Domain(d)))
            .map_err(|e| invalid("domain", e))
    }

    /// A header and its value.
    pub fn header(name: &str, value: &str) -> Result<Selector, Error> {
        Claim::header(&format!("{name}: {value}"))
            .map(Selector::of)
            .map_err(|e| invalid("header", e))
    }

    /// The tenant's own short name.
    pub fn slug(slug: &str) -> Result<Selector, Error> {
        Slug::parse(slug)
            .map(|s| Selector::of(Claim::Slug(s)))
            .map_err(|e| invalid("slug", e))
    }

    /// A token's issuer and subject.
    pub fn subject(issuer: &str, subject: &str) -> Result<Selector, Error> {
        Claim::subject(&format!("{issuer}|{subject}"))
            .map(Selector::of)
            .map_err(|e| invalid("subject", e))
    }

    /// Reads what a person types: `domain:a.example`, `header:X-Tenant: a`, `subject:iss|sub`, `slug:a`;
    /// without a prefix, a text with a dot is a domain and any other a slug.
    pub fn parse(text: &str) -> Result<Selector, Error> {
        let is_kind = |kind: &str| matches!(kind, "domain" | "header" | "subject" | "slug");
        match text.split_once(':').filter(|(kind, _)| is_kind(kind)) {
            Some(("domain", host)) => Selector::domain(host),
            Some(("header", header)) => Claim::header(header)
                .map(Selector::of)
                .map_err(|e| invalid("header", e)),
            Some(("subject", subject)) => Claim::subject(subject)
                .map(Selector::of)
                .map_err(|e| invalid("subject", e)),
            Some((_, slug)) => Selector::slug(slug),
            None if text.contains('.') => Selector::domain(text),
            None => Selector::slug(text),
        }
    }

    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn to_wire(&self) -> v1::Claim {
        convert::claim(&self.claim)
    }

    /// None for a kind that a newer registry knows and this client does not.
    pub(crate) fn from_wire(claim: &v1::Claim) -> Option<Selector> {
        convert::claim_from_wire("claims", Some(claim))
            .ok()
            .map(Selector::of)
    }

    /// The selector of a key.
    pub(crate) fn of_key(key: &str) -> Option<Selector> {
        let (kind, text) = key.split_once(' ')?;
        let claim = match kind {
            "domain" => Claim::Domain(Domain::parse(text).ok()?),
            "slug" => Claim::Slug(Slug::parse(text).ok()?),
            "header" => Claim::header(text).ok()?,
            "subject" => Claim::subject(text).ok()?,
            _ => return None,
        };
        Some(Selector::of(claim))
    }

    pub(crate) fn of(claim: Claim) -> Selector {
        Selector {
            key: claim.to_string(),
            claim,
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.key)
    }
}

impl std::str::FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Selector, Error> {
        Selector::parse(text)
    }
}

fn invalid(what: &'static str, why: impl std::fmt::Display) -> Error {
    Error::Invalid {
        what,
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_has_one_key() {
        let same = |a: &str, b: &str| {
            assert_eq!(
                Selector::parse(a).unwrap(),
                Selector::parse(b).unwrap(),
                "{a} and {b}"
            );
        };
        same("Cho-Ray.Example:8443", "domain:cho-ray.example.");
        same("header:X-Tenant: cho-ray", "header:x-tenant:cho-ray");
        same("cho-ray", "slug:cho-ray");
        assert_ne!(
            Selector::parse("cho-ray").unwrap(),
            Selector::parse("header:x: cho-ray").unwrap()
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "",
            "a b",
            "10.0.0.1",
            "header:none",
            "slug:A",
            "subject:x",
            "domain:-a.example",
        ] {
            assert!(Selector::parse(text).is_err(), "{text:?} passed");
        }
    }

    #[test]
    fn the_wire_brings_back_the_same_selector() {
        for text in ["a.example", "a", "header:x-t: v", "subject:https://id.vn|42"] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(Selector::of_key(selector.key()), Some(selector.clone()));
            assert_eq!(Selector::from_wire(&selector.to_wire()), Some(selector));
        }
    }
}
