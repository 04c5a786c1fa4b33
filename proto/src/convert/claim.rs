//! Claims.

use reeve_domain::words::{Claim, Domain, Slug};

use crate::convert::BadField;
use crate::v1;
use crate::v1::claim::Kind;

/// A claim as the wire writes it.
pub fn claim(claim: &Claim) -> v1::Claim {
    let kind = match claim {
        Claim::Domain(_) => Kind::Domain,
        Claim::Slug(_) => Kind::Slug,
        Claim::Header(_) => Kind::Header,
        Claim::Subject(_) => Kind::Subject,
    };
    v1::Claim {
        kind: kind as i32,
        key: claim.key(),
    }
}

/// Reads a claim; `field` is where it stood.
pub fn claim_from_wire(field: &str, wire: Option<&v1::Claim>) -> Result<Claim, BadField> {
    let wire = wire.ok_or_else(|| BadField::new(field, "is required"))?;
    let key = format!("{field}.key");
    let bad = |error| BadField::new(key.clone(), error);
    match wire.kind() {
        Kind::Domain => Domain::parse(&wire.key).map(Claim::Domain).map_err(bad),
        Kind::Slug => Slug::parse(&wire.key).map(Claim::Slug).map_err(bad),
        Kind::Header => Claim::header(&wire.key).map_err(bad),
        Kind::Subject => Claim::subject(&wire.key).map_err(bad),
        Kind::Unspecified => Err(BadField::new(
            format!("{field}.kind"),
            "is required: DOMAIN, SLUG, HEADER or SUBJECT",
        )),
    }
}
