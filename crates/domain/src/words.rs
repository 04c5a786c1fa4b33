//! Words that callers bring, read once at the door: slugs, names, domains, claims, address ranges.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a word was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Too short or too long.
    #[error("has {got} characters; {min} to {max} are allowed")]
    Length {
        /// How many it has.
        got: usize,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A character that may not be there.
    #[error("holds {0:?}; {1}")]
    Letter(char, &'static str),
    /// Not of the form it should have.
    #[error("{0}")]
    Form(&'static str),
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = WordError;

            fn try_from(text: String) -> Result<$name, WordError> {
                $name::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> String {
                word.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

word!(
    /// A tenant's short name: a-z, 0-9 and '-', not at either end, 1 to 40 characters.
    Slug
);
word!(
    /// The name of a region, group, member or channel: as a slug, up to 63 characters.
    Name
);
word!(
    /// A DNS name in lowercase, without a trailing dot.
    Domain
);

impl Slug {
    /// Reads a slug.
    pub fn parse(text: &str) -> Result<Slug, WordError> {
        dashed(text, 40)?;
        Ok(Slug(text.into()))
    }
}

impl Name {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Name, WordError> {
        dashed(text, 63)?;
        Ok(Name(text.into()))
    }
}

impl Domain {
    /// Reads a domain; upper case, a port and a trailing dot are what a Host header brings, and are taken off.
    pub fn parse(text: &str) -> Result<Domain, WordError> {
        let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let host = match text.rsplit_once(':') {
            None => text,
            Some((host, port)) if is_port(port) => host,
            Some(_) => return Err(WordError::Form("has no port behind its ':'")),
        };
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        length(&host, 1, 253)?;
        for label in host.split('.') {
            dashed(label, 63)?;
        }
        if host
            .split('.')
            .next_back()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(WordError::Form("is an address, not a domain"));
        }
        Ok(Domain(host.into()))
    }
}

fn length(text: &str, min: usize, max: usize) -> Result<(), WordError> {
    if !(min..=max).contains(&text.len()) {
        return Err(WordError::Length {
            got: text.len(),
            min,
            max,
        });
    }
    Ok(())
}

fn dashed(text: &str, max: usize) -> Result<(), WordError> {
    length(text, 1, max)?;
    if let Some(odd) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(WordError::Letter(odd, "a-z, 0-9 and '-' are allowed"));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(WordError::Form("starts or ends with '-'"));
    }
    Ok(())
}

/// Something that names one tenant from outside. Those that most tenants have no use for take no more room than the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Claim {
    /// The Host a browser asked for.
    Domain(Domain),
    /// The tenant's own short name.
    Slug(Slug),
    /// A header and its value.
    Header(Box<HeaderClaim>),
    /// A token's issuer and subject, joined by '|'.
    Subject(Box<SubjectClaim>),
}

/// `Name: value`, the name in lowercase.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderClaim {
    name: String,
    value: String,
}

/// Issuer and subject of a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectClaim {
    issuer: String,
    subject: String,
}

impl Claim {
    /// Reads `X-Tenant: cho-ray`.
    pub fn header(text: &str) -> Result<Claim, WordError> {
        let (name, value) = text
            .split_once(':')
            .ok_or(WordError::Form("a header claim reads 'Name: value'"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        length(&name, 1, 64)?;
        length(&value, 1, 128)?;
        if let Some(odd) = name
            .chars()
            .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'))
        {
            return Err(WordError::Letter(odd, "a header name has a-z, 0-9, '-' and '_'"));
        }
        visible(&value)?;
        Ok(Claim::Header(Box::new(HeaderClaim { name, value })))
    }

    /// Reads `issuer|subject`.
    pub fn subject(text: &str) -> Result<Claim, WordError> {
        let (issuer, subject) = text
            .split_once('|')
            .ok_or(WordError::Form("a subject claim reads 'issuer|subject'"))?;
        for part in [issuer, subject] {
            length(part, 1, 255)?;
            visible(part)?;
        }
        Ok(Claim::Subject(Box::new(SubjectClaim {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        })))
    }

    /// The key as a caller would write it.
    pub fn key(&self) -> String {
        match self {
            Claim::Domain(domain) => domain.to_string(),
            Claim::Slug(slug) => slug.to_string(),
            Claim::Header(header) => format!("{}: {}", header.name, header.value),
            Claim::Subject(subject) => format!("{}|{}", subject.issuer, subject.subject),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Claim::Domain(_) => "domain",
            Claim::Slug(_) => "slug",
            Claim::Header(_) => "header",
            Claim::Subject(_) => "subject",
        };
        write!(f, "{kind} {}", self.key())
    }
}

fn visible(text: &str) -> Result<(), WordError> {
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        Some(odd) => Err(WordError::Letter(odd, "visible ASCII is allowed")),
        None => Ok(()),
    }
}

/// An address range, written `10.1.0.0/16`; host bits must be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads a range. A bare address is the range of it alone.
    pub fn parse(text: &str) -> Result<Cidr, WordError> {
        const FORM: WordError = WordError::Form("an address range reads 10.1.0.0/16 or 2001:db8::/32");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| FORM)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| FORM)?,
            Some(_) => return Err(FORM),
            None => bits_max,
        };
        if prefix > bits_max {
            return Err(FORM);
        }
        let cidr = Cidr { address, prefix };
        if !cidr.host_bits_are_zero() {
            return Err(WordError::Form("an address range has bits set behind its prefix"));
        }
        Ok(cidr)
    }

    /// Whether the address lies in it; an IPv4 address written as an IPv6 one is the same address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = |bits_max: u32| bits_max - u32::from(self.prefix);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                (u32::from(range) ^ u32::from(address))
                    .checked_shr(shift(32))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                (u128::from(range) ^ u128::from(address))
                    .checked_shr(shift(128))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }

    fn host_bits_are_zero(&self) -> bool {
        let prefix = u32::from(self.prefix);
        match self.address {
            IpAddr::V4(v4) => u32::from(v4).checked_shl(prefix).unwrap_or(0) == 0,
            IpAddr::V6(v6) => u128::from(v6).checked_shl(prefix).unwrap_or(0) == 0,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Cidr {
    type Error = WordError;

    fn try_from(text: String) -> Result<Cidr, WordError> {
        Cidr::parse(&text)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_read_as_a_host_header_brings_them() {
        for text in [
            "choray.ehr.vn",
            "ChoRay.EHR.vn",
            "choray.ehr.vn.",
            "choray.ehr.vn:8443",
        ] {
            assert_eq!(
                Domain::parse(text).map(String::from),
                Ok("choray.ehr.vn".to_owned())
            );
        }
        for odd in [
            "",
            "a..b",
            "-a.vn",
            "10.0.0.1",
            "a b.vn",
            "bệnh-viện.vn",
            "a.vn:443:443",
            &"a.".repeat(130),
        ] {
            assert!(Domain::parse(odd).is_err(), "{odd}");
        }
        for odd in ["a.vn:", "a.vn:x", "a.vn:+1", "a.vn:65536", "a.vn::"] {
            let refused = Domain::parse(odd).unwrap_err();
            assert_eq!(refused, WordError::Form("has no port behind its ':'"), "{odd}");
        }
    }

    #[test]
    fn slugs_are_narrow() {
        assert!(Slug::parse("cho-ray").is_ok());
        for odd in ["", "-a", "a-", "A", "a_b", "a;b", "a'b", &"a".repeat(41)] {
            assert!(Slug::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn ranges_have_no_host_bits() {
        assert_eq!(
            Cidr::parse("10.1.0.0/16").map(|c| c.to_string()),
            Ok("10.1.0.0/16".into())
        );
        assert_eq!(Cidr::parse("::1").map(|c| c.to_string()), Ok("::1/128".into()));
        assert!(Cidr::parse("0.0.0.0/0").is_ok());
        for odd in [
            "10.1.0.1/16",
            "10.1.0.0/33",
            "10.1/16",
            "10.1.0.0/+8",
            "x",
            "2001:db8::1/32",
        ] {
            assert!(Cidr::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        let holds = |range: &str, address: &str| {
            Cidr::parse(range).map(|r| r.contains(address.parse().unwrap_or(IpAddr::from([0; 4]))))
        };
        for (range, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.0.7", "10.1.0.7", "10.1.0.6"),
            ("10.0.0.0/8", "::ffff:10.9.9.9", "::a09:909"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
        ] {
            assert_eq!(holds(range, inside), Ok(true), "{inside} in {range}");
            assert_eq!(holds(range, outside), Ok(false), "{outside} in {range}");
        }
    }

    #[test]
    fn header_and_subject_claims_are_read_and_shown_alike() {
        let header = Claim::header("X-Tenant:  cho-ray ");
        assert_eq!(header.map(|c| c.key()), Ok("x-tenant: cho-ray".to_owned()));
        assert!(Claim::header("no colon").is_err());
        assert!(Claim::header("bad name!: x").is_err());
        assert_eq!(
            Claim::subject("https://id.vn|42").map(|c| c.key()),
            Ok("https://id.vn|42".to_owned())
        );
        assert!(Claim::subject("nobody").is_err());
    }
}
