//! Numbers and opaque names that cannot be mixed up.

use std::fmt;
use std::sync::Arc;

use arrayvec::ArrayString;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Milliseconds since the Unix epoch, as the leader wrote them into an entry. Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// How long after `earlier` this is; zero when it is not.
    pub fn millis_since(self, earlier: Stamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This much later.
    pub fn plus_millis(self, millis: u64) -> Stamp {
        Stamp(self.0.saturating_add(millis))
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            pub fn next(self) -> $name {
                $name(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Number of the last applied change: one counter for the whole registry.
    Revision
);
number!(
    /// Fencing number of a group.
    Epoch
);
number!(
    /// Grows with each move or swap of a database.
    PlacementNumber
);
number!(
    /// A registry node. Never used again once removed.
    NodeId
);

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $digits:literal) => {
        $(#[$doc])*
        // Held in place: maps copy their keys with each change, and a shared text would be counted up and down for each.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(ArrayString<{ $prefix.len() + $digits }>);

        impl $name {
            /// Reads an id: the prefix and the exact number of lowercase hex digits.
            pub fn parse(text: &str) -> Result<$name, IdError> {
                let expected = IdError { expected: concat!($prefix, "<", $digits, " hex digits>") };
                let well_formed = text.strip_prefix($prefix).is_some_and(|digits| {
                    digits.len() == $digits && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                });
                match ArrayString::from(text) {
                    Ok(text) if well_formed => Ok($name(text)),
                    _ => Err(expected),
                }
            }

            /// Makes an id from chance that was drawn elsewhere; the digits that do not fit are dropped.
            pub fn from_random(random: u64) -> $name {
                let digits = format!("{random:016x}");
                let mut text = ArrayString::from($prefix).unwrap_or_default();
                text.push_str(&digits[16 - $digits..]);
                $name(text)
            }

            /// The text of it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                from.deserialize_str(Text($name::parse))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

/// Reads a text where it lies, by its parser.
struct Text<P>(P);

impl<T, E: fmt::Display, P: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<P> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<D: de::Error>(self, text: &str) -> Result<T, D> {
        (self.0)(text).map_err(D::custom)
    }
}

hex_id!(
    /// A tenant; also the name of its database and of its group role.
    TenantId,
    "t_",
    12
);
hex_id!(
    /// An operation.
    OperationId,
    "op_",
    16
);
hex_id!(
    /// A finding: of the same thing on the same instance always the same.
    FindingId,
    "f_",
    16
);
hex_id!(
    /// An alert: of the same thing about the same subject always the same.
    AlertId,
    "a_",
    16
);
hex_id!(
    /// A join token's public half.
    TokenId,
    "",
    12
);

/// An id that does not have its shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {expected}")]
pub struct IdError {
    expected: &'static str,
}

/// What a caller calls one mutating request, so that it can be sent again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RequestId(Arc<str>);

impl RequestId {
    const BYTES_MAX: usize = 64;

    /// Reads a request id: 1 to 64 visible ASCII characters; a UUID is usual.
    pub fn parse(text: &str) -> Result<RequestId, RequestIdError> {
        if !(1..=Self::BYTES_MAX).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(RequestIdError);
        }
        Ok(RequestId(text.into()))
    }

    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request id that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request_id has 1 to 64 visible ASCII characters; use a UUID")]
pub struct RequestIdError;

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<RequestId, D::Error> {
        from.deserialize_str(Text(RequestId::parse))
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> String {
        id.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_shape() {
        assert_eq!(
            TenantId::from_random(0x0123_4567_89ab_cdef).as_str(),
            "t_456789abcdef"
        );
        assert!(TenantId::parse("t_456789abcdef").is_ok());
        for odd in [
            "",
            "t_",
            "t_456789ABCDEF",
            "t_456789abcde",
            "t_456789abcdef0",
            "x_456789abcdef",
            "t_4567;9abcdef",
        ] {
            assert!(TenantId::parse(odd).is_err(), "{odd}");
        }
        assert_eq!(OperationId::from_random(1).as_str(), "op_0000000000000001");
    }

    #[test]
    fn request_ids_are_bounded() {
        assert!(RequestId::parse("4f0c").is_ok());
        assert!(RequestId::parse("").is_err());
        assert!(RequestId::parse(&"x".repeat(65)).is_err());
        assert!(RequestId::parse("a b").is_err());
    }

    #[test]
    fn stamps_never_run_back() {
        assert_eq!(Stamp(5).millis_since(Stamp(9)), 0);
        assert_eq!(Stamp(9).millis_since(Stamp(5)), 4);
    }
}
