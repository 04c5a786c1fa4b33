//! A token's claims, each of them once.
//!
//! JSON lets a name stand twice, and readers differ in which one they take: what one has checked another would not obey.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value};

const REPEATED: &str = "a claim is there twice";

#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// A claim that is a text; none when it is missing or something else.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    pub(super) fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

/// Whether reading failed for a claim that is there twice.
pub(super) fn is_repeated(error: &serde_json::Error) -> bool {
    let told = error.to_string();
    // The second is serde's own, for those claims that the library knows.
    told.starts_with(REPEATED) || told.starts_with("duplicate field")
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Claims, D::Error> {
        from.deserialize_map(Once)
    }
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Claims, A::Error> {
        let mut claims = Map::new();
        while let Some((name, value)) = from.next_entry::<String, Value>()? {
            if claims.insert(name, value).is_some() {
                return Err(de::Error::custom(REPEATED));
            }
        }
        Ok(Claims(claims))
    }
}
