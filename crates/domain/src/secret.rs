//! Sealed secrets: the domain carries them and can never open them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An envelope made before it was proposed. What it is bound to binds it to its place, so that two cannot be swapped.
///
/// It is one piece of memory: a registry holds three for each tenant.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    version: u32,
    kid_end: u32,
    nonce_end: u32,
    aad_end: u32,
    /// Its parts, one behind the other.
    bytes: Box<[u8]>,
}

/// The parts of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename = "Sealed")]
pub struct Parts<'a> {
    /// Which key sealed it.
    pub kid: &'a str,
    /// Layout of the envelope.
    pub version: u32,
    /// Never used twice with one key.
    pub nonce: &'a [u8],
    /// What it was bound to, for example `credential/t_0123456789ab/a/1`.
    pub aad: &'a str,
    /// Ciphertext and tag.
    pub ciphertext: &'a [u8],
}

/// The parts as they are read.
#[derive(Deserialize)]
#[serde(rename = "Sealed", deny_unknown_fields)]
struct Read<'a> {
    #[serde(borrow)]
    kid: Cow<'a, str>,
    version: u32,
    nonce: Vec<u8>,
    #[serde(borrow)]
    aad: Cow<'a, str>,
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// None when it is longer than any secret is.
    pub fn new(parts: Parts<'_>) -> Option<Sealed> {
        let Parts {
            kid,
            version,
            nonce,
            aad,
            ciphertext,
        } = parts;
        let bytes = [kid.as_bytes(), nonce, aad.as_bytes(), ciphertext].concat();
        let kid_end = u32::try_from(kid.len()).ok()?;
        let nonce_end = kid_end.checked_add(u32::try_from(nonce.len()).ok()?)?;
        let aad_end = nonce_end.checked_add(u32::try_from(aad.len()).ok()?)?;
        Some(Sealed {
            version,
            kid_end,
            nonce_end,
            aad_end,
            bytes: bytes.into(),
        })
    }

    /// All of it.
    pub fn parts(&self) -> Parts<'_> {
        let (head, ciphertext) = self.bytes.split_at(self.aad_end as usize);
        let (head, aad) = head.split_at(self.nonce_end as usize);
        let (kid, nonce) = head.split_at(self.kid_end as usize);
        Parts {
            kid: text(kid),
            version: self.version,
            nonce,
            aad: text(aad),
            ciphertext,
        }
    }
}

/// What was put in as text.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().fmt(f)
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.parts().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sealed, D::Error> {
        let read = Read::deserialize(deserializer)?;
        let parts = Parts {
            kid: &read.kid,
            version: read.version,
            nonce: &read.nonce,
            aad: &read.aad,
            ciphertext: &read.ciphertext,
        };
        Sealed::new(parts).ok_or_else(|| de::Error::custom("a sealed secret of gigabytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts<'_> = Parts {
        kid: "file/0a1b",
        version: 1,
        nonce: &[1, 200],
        aad: "credential/t_0123456789ab/a/1",
        ciphertext: &[0, 255, 7],
    };

    #[test]
    fn its_parts_come_out_as_they_went_in() {
        let sealed = Sealed::new(PARTS).unwrap();
        assert_eq!(sealed.parts(), PARTS);
        let empty = Parts {
            kid: "",
            version: 0,
            nonce: &[],
            aad: "",
            ciphertext: &[],
        };
        assert_eq!(Sealed::new(empty).unwrap().parts(), empty);
        assert_ne!(Sealed::new(empty).unwrap(), sealed);
    }

    /// As each release has written it.
    #[derive(Serialize)]
    struct Written {
        kid: String,
        version: u32,
        nonce: Vec<u8>,
        aad: String,
        ciphertext: Vec<u8>,
    }

    #[test]
    fn it_is_written_as_its_parts_are() {
        let sealed = Sealed::new(PARTS).unwrap();
        let written = Written {
            kid: PARTS.kid.to_owned(),
            version: PARTS.version,
            nonce: PARTS.nonce.to_vec(),
            aad: PARTS.aad.to_owned(),
            ciphertext: PARTS.ciphertext.to_vec(),
        };
        for (new, before) in [
            (rmp_serde::to_vec(&sealed), rmp_serde::to_vec(&written)),
            (
                rmp_serde::to_vec_named(&sealed),
                rmp_serde::to_vec_named(&written),
            ),
        ] {
            let bytes = new.unwrap();
            assert_eq!(bytes, before.unwrap());
            assert_eq!(rmp_serde::from_slice::<Sealed>(&bytes).unwrap(), sealed);
            // From a reader nothing can be borrowed.
            assert_eq!(
                rmp_serde::from_read::<_, Sealed>(bytes.as_slice()).unwrap(),
                sealed
            );
        }
        let more = std::collections::BTreeMap::from([("kid", "k"), ("more", "m")]);
        assert!(rmp_serde::from_slice::<Sealed>(&rmp_serde::to_vec(&more).unwrap()).is_err());
    }
}
