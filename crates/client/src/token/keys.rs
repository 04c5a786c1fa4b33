//! An issuer's public keys, each with the one algorithm that it is for.

use std::collections::HashMap;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse},
};

use crate::Error;

/// The keys of one issuer; a set is never changed, only replaced.
#[derive(Debug)]
pub(super) struct KeySet {
    /// By their ids; the one without an id under none.
    keys: HashMap<Option<String>, Key>,
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) key: DecodingKey,
    pub(super) algorithm: Algorithm,
}

impl KeySet {
    /// Reads a JWKS document. Keys of kinds that are not known are passed over; one must be left.
    pub(super) fn parse(text: &str) -> Result<KeySet, Error> {
        let set: JwkSet = serde_json::from_str(text).map_err(|e| invalid(e.to_string()))?;
        let mut keys = HashMap::new();
        for jwk in set.keys {
            if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
                return Err(invalid(
                    "a symmetric key is a secret, and none of a service's".into(),
                ));
            }
            let Some(key) = Key::of(&jwk)? else {
                continue;
            };
            let id = jwk.common.key_id;
            let told = format!("two keys have the id {id:?}");
            if keys.insert(id, key).is_some() {
                return Err(invalid(told));
            }
        }
        if keys.is_empty() {
            return Err(invalid("no key in it can verify a signature".into()));
        }
        Ok(KeySet { keys })
    }

    /// The key of this id. A token that names none is for the only key there is.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&Key> {
        match id {
            Some(id) => self.keys.get(&Some(id.to_owned())),
            None if self.keys.len() == 1 => self.keys.values().next(),
            None => None,
        }
    }
}

impl Key {
    /// None for a key that is not for signatures, or of a kind that is not known here.
    fn of(jwk: &Jwk) -> Result<Option<Key>, Error> {
        let verifies = |may: &Vec<KeyOperations>| may.contains(&KeyOperations::Verify);
        let is_for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
            && jwk.common.key_operations.as_ref().is_none_or(verifies);
        if !is_for_signatures {
            return Ok(None);
        }
        let Some((family, usual)) = kind(&jwk.algorithm) else {
            return Ok(None);
        };
        let algorithm = match jwk.common.key_algorithm {
            None => usual,
            Some(named) => match Algorithm::try_from(named) {
                Ok(named) if fits(named, family, usual) => named,
                _ => return Err(invalid(format!("{named:?} is no algorithm for such a key"))),
            },
        };
        let key = DecodingKey::from_jwk(jwk).map_err(|e| invalid(e.to_string()))?;
        Ok(Some(Key { key, algorithm }))
    }
}

/// The family of a key, and the algorithm that it is for unless it says another one.
fn kind(parameters: &AlgorithmParameters) -> Option<(AlgorithmFamily, Algorithm)> {
    match parameters {
        AlgorithmParameters::RSA(_) => Some((AlgorithmFamily::Rsa, Algorithm::RS256)),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some((AlgorithmFamily::Ec, Algorithm::ES256)),
            EllipticCurve::P384 => Some((AlgorithmFamily::Ec, Algorithm::ES384)),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Some((AlgorithmFamily::Ed, Algorithm::EdDSA))
        }
        _ => None,
    }
}

/// A curve has one algorithm; an RSA key may say which of its family's.
fn fits(named: Algorithm, family: AlgorithmFamily, usual: Algorithm) -> bool {
    named.family() == family && (named == usual || family == AlgorithmFamily::Rsa)
}

fn invalid(why: String) -> Error {
    Error::Invalid { what: "JWKS", why }
}
