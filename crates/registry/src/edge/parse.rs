//! Words that only the doors read; everything else is read by `reeve_proto::convert`.

use std::time::Duration;

use reeve_domain::TenantId;
use reeve_domain::alert::NOTE_BYTES_MAX;
use reeve_domain::credential::{INSTANCE_BYTES_MAX, Slot};
use reeve_domain::words::Name;
use reeve_proto::convert::{self, BadField, DISPLAY_NAME_BYTES_MAX, time};
use reeve_proto::error::{self, Reason};
use reeve_proto::identity::{SpiffeId, ca};
use tonic::Status;

/// The longest reason a caller may give.
const REASON_BYTES_MAX: usize = 500;
/// The longest network name.
const NETWORK_BYTES_MAX: usize = 63;
/// The longest etag: an id and a revision.
const ETAG_BYTES_MAX: usize = 64;
/// The longest word that a program says of itself.
const WORD_BYTES_MAX: usize = 64;
/// The longest `host:port`.
const ADDRESS_BYTES_MAX: usize = 260;
/// The longest certificate request.
const CSR_BYTES_MAX: usize = 8 * 1024;

/// A name that stands in the field it is called by.
pub(super) fn name(field: &str, text: &str) -> Result<Name, BadField> {
    Name::parse(text).map_err(|error| BadField::new(field, error))
}

/// A name that may be left out.
pub(super) fn name_or_none(field: &str, text: &str) -> Result<Option<Name>, BadField> {
    match text {
        "" => Ok(None),
        text => name(field, text).map(Some),
    }
}

/// A tenant's id.
pub(super) fn tenant_id(text: &str) -> Result<TenantId, BadField> {
    TenantId::parse(text).map_err(|error| BadField::new("tenant_id", error))
}

/// A caller's network; empty is the default one.
pub(super) fn network(text: String) -> Result<String, BadField> {
    if !visible(&text, NETWORK_BYTES_MAX) {
        return Err(BadField::new(
            "network",
            "has up to 63 visible ASCII characters; leave it empty for the default",
        ));
    }
    Ok(match text.is_empty() {
        true => "default".to_owned(),
        false => text,
    })
}

/// A login's letter; empty is the active one.
pub(super) fn slot(text: &str) -> Result<Option<Slot>, BadField> {
    match text {
        "" => Ok(None),
        "a" => Ok(Some(Slot::A)),
        "b" => Ok(Some(Slot::B)),
        _ => Err(BadField::new(
            "slot",
            "is \"a\", \"b\" or empty for the active one",
        )),
    }
}

/// Why, in the caller's words.
pub(super) fn reason(text: String) -> Result<String, BadField> {
    convert::line("reason", &text, REASON_BYTES_MAX)?;
    Ok(text)
}

/// A length of time within bounds, or the default when it is not said.
pub(super) fn length(
    field: &str,
    wire: Option<&prost_types::Duration>,
    default: Duration,
    max: Duration,
) -> Result<Duration, BadField> {
    let Some(wire) = wire else {
        return Ok(default);
    };
    let length = time::length(wire).ok_or_else(|| BadField::new(field, "is not a length of time"))?;
    Ok(length.min(max))
}

/// A certificate request, as PEM.
pub(super) fn csr(field: &str, pem: &str) -> Result<(), BadField> {
    if pem.len() > CSR_BYTES_MAX {
        return Err(BadField::new(
            field,
            "is a certificate request in PEM of at most 8 KiB",
        ));
    }
    // Here and not where it is signed: by then a token would be spent on it.
    ca::check_request(pem).map_err(|error| BadField::new(field, error))
}

/// Where a node can be reached: `host:port`.
pub(super) fn address(field: &str, text: String) -> Result<String, BadField> {
    let parts = text.rsplit_once(':');
    let good = parts.is_some_and(|(host, port)| {
        let port = port.parse::<u16>().is_ok_and(|port| port != 0);
        port && !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
    });
    let is_named = parts.is_some_and(|(host, _)| ca::check_host(host.trim_matches(['[', ']'])).is_ok());
    if !good || !is_named || text.len() > ADDRESS_BYTES_MAX {
        return Err(BadField::new(field, "reads host:port"));
    }
    Ok(text)
}

/// A tenant's name for people.
pub(super) fn display_name(text: &str) -> Result<String, BadField> {
    const FIELD: &str = "tenant.display_name";
    if text.is_empty() {
        return Err(BadField::new(FIELD, "is required when update_mask names it"));
    }
    convert::line(FIELD, text, DISPLAY_NAME_BYTES_MAX)?;
    Ok(text.to_owned())
}

/// What a tenant was when it was read; empty is whatever it is.
pub(super) fn etag(field: &str, text: String) -> Result<String, BadField> {
    match visible(&text, ETAG_BYTES_MAX) {
        true => Ok(text),
        false => Err(BadField::new(
            field,
            "is as it was read with the tenant, or empty",
        )),
    }
}

/// What harms many at once, or cannot be undone, names its object twice.
pub(super) fn confirmed(given: &str, wanted: &str, what: &str) -> Result<(), Status> {
    match given == wanted {
        true => Ok(()),
        false => {
            let message = format!("confirm must repeat {wanted}, {what}");
            Err(error::status(Reason::ConfirmationMissing, message, &[]))
        }
    }
}

/// A principal's id.
pub(super) fn principal(field: &str, text: &str) -> Result<(), BadField> {
    let read = SpiffeId::parse(text).map(drop);
    read.map_err(|error| BadField::new(field, format!("reads spiffe://<cluster>/<kind>/<name>: {error}")))
}

/// Which of a caller's processes asks; empty counts all of them as one.
pub(super) fn instance(text: String) -> Result<String, BadField> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match text.len() <= INSTANCE_BYTES_MAX && text.bytes().all(is_plain) {
        true => Ok(text),
        false => Err(BadField::new(
            "instance",
            format!("is at most {INSTANCE_BYTES_MAX} letters, digits, '-', '_' and '.'"),
        )),
    }
}

/// What somebody writes beside an alert.
pub(super) fn note(text: String) -> Result<String, BadField> {
    convert::line("note", &text, NOTE_BYTES_MAX)?;
    Ok(text)
}

/// A word that a program says of itself, for the log.
pub(super) fn word(field: &str, text: &str) -> Result<(), BadField> {
    match visible(text, WORD_BYTES_MAX) {
        true => Ok(()),
        false => Err(BadField::new(
            field,
            format!("has up to {WORD_BYTES_MAX} visible ASCII characters"),
        )),
    }
}

fn visible(text: &str, bytes_max: usize) -> bool {
    text.len() <= bytes_max && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_is_wrong_is_named() {
        assert_eq!(name("group", "Nope!").unwrap_err().field, "group");
        assert_eq!(name_or_none("region", ""), Ok(None));
        assert_eq!(tenant_id("t_1").unwrap_err().field, "tenant_id");
        assert_eq!(slot("c").unwrap_err().field, "slot");
        assert_eq!(network("a b".into()).unwrap_err().field, "network");
        assert_eq!(network(String::new()), Ok("default".into()));
        assert_eq!(reason("two\nlines".into()).unwrap_err().field, "reason");
        assert_eq!(csr("csr_pem", "x").unwrap_err().field, "csr_pem");
        assert_eq!(display_name("").unwrap_err().field, "tenant.display_name");
        for odd in ["", "host", "host:", ":7400", "host:0", "host:99999", "a/b:1"] {
            assert_eq!(
                address("api_address", odd.into()).unwrap_err().field,
                "api_address"
            );
        }
        assert!(address("api_address", "[::1]:7400".into()).is_ok());
    }

    #[test]
    fn lengths_are_bounded() {
        let second = Duration::from_secs(1);
        let ask = |wire: Option<prost_types::Duration>| length("ttl", wire.as_ref(), second, 10 * second);
        let wire = |seconds| prost_types::Duration { seconds, nanos: 0 };
        assert_eq!(ask(None), Ok(second));
        assert_eq!(ask(Some(wire(3))), Ok(3 * second));
        assert_eq!(ask(Some(wire(60))), Ok(10 * second));
        assert_eq!(ask(Some(wire(-1))).unwrap_err().field, "ttl");
    }
}
