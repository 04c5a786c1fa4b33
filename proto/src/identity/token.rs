//! Join tokens: `jt_<id>_<secret>_<pin>`, good once, carrying the root's fingerprint.

use std::{fmt, str::FromStr};

use aws_lc_rs::{constant_time, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::certificate::{Certificate, SpkiPin};

const PREFIX: &str = "jt_";
const ID_CHARS: usize = 12;
const SECRET_CHARS: usize = 43;
const PIN_CHARS: usize = 64;
const TOKEN_CHARS: usize = PREFIX.len() + ID_CHARS + 1 + SECRET_CHARS + 1 + PIN_CHARS;

/// One token. `Display` prints it whole, for the person who hands it over; `Debug` hides the secret.
#[derive(Clone)]
pub struct JoinToken {
    id: String,
    secret: Zeroizing<[u8; 32]>,
    pin: SpkiPin,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("join token must look like jt_<id>_<secret>_<pin>, {TOKEN_CHARS} characters")]
    Shape,
    #[error("join token's {0} is damaged; ask for a new token")]
    Part(&'static str),
    #[error("no randomness to be had")]
    Randomness,
    #[error("root certificate cannot be read")]
    Root,
}

impl JoinToken {
    /// Makes a token for the cluster whose root has this pin.
    pub fn mint(pin: SpkiPin) -> Result<JoinToken, Error> {
        let mut id = [0u8; ID_CHARS / 2];
        let mut secret = Zeroizing::new([0u8; 32]);
        rand::fill(&mut id).map_err(|_| Error::Randomness)?;
        rand::fill(secret.as_mut()).map_err(|_| Error::Randomness)?;
        Ok(JoinToken {
            id: hex::encode(id),
            secret,
            pin,
        })
    }

    /// Reads a token. Only the one spelling that `Display` writes is accepted.
    pub fn parse(text: &str) -> Result<JoinToken, Error> {
        if text.len() != TOKEN_CHARS || !text.is_ascii() {
            return Err(Error::Shape);
        }
        // By position, because the secret's alphabet contains the separator.
        let rest = text.strip_prefix(PREFIX).ok_or(Error::Shape)?;
        let (id, rest) = rest.split_at(ID_CHARS);
        let (secret, rest) = rest.strip_prefix('_').ok_or(Error::Shape)?.split_at(SECRET_CHARS);
        let pin = rest.strip_prefix('_').ok_or(Error::Shape)?;
        if !is_lower_hex(id) {
            return Err(Error::Part("id"));
        }
        let secret = parse_secret(secret).ok_or(Error::Part("secret"))?;
        Ok(JoinToken {
            id: id.to_owned(),
            secret,
            pin: parse_pin(pin).ok_or(Error::Part("pin"))?,
        })
    }

    /// The public part: 12 hexadecimal digits that name the token in lists and in State.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The root's fingerprint that the joiner holds the cluster to.
    pub fn pin(&self) -> SpkiPin {
        self.pin
    }

    /// The secret as it travels in a join call.
    pub fn secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.secret.as_ref()))
    }

    /// SHA-256 of the 32 secret bytes: all that the registry keeps.
    pub fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_ref()).into()
    }

    /// Whether a kept hash is this token's, compared in constant time.
    pub fn matches(&self, secret_hash: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.secret_hash(), secret_hash).is_ok()
    }
}

/// What the registry compares: the hash of a secret as it came in a join call.
pub fn secret_hash_of(secret_text: &str) -> Result<[u8; 32], Error> {
    let secret = parse_secret(secret_text).ok_or(Error::Part("secret"))?;
    Ok(Sha256::digest(secret.as_ref()).into())
}

/// The pin of a root certificate in PEM.
pub fn pin_of(root_pem: &str) -> Result<SpkiPin, Error> {
    let roots = super::credentials::certificates(root_pem, "root").map_err(|_| Error::Root)?;
    Certificate::read(&roots[0])
        .map(|root| root.spki)
        .map_err(|_| Error::Root)
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PREFIX}{}_{}_{}",
            self.id,
            *self.secret_text(),
            hex::encode(self.pin)
        )
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({PREFIX}{}_***)", self.id)
    }
}

impl FromStr for JoinToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<JoinToken, Error> {
        JoinToken::parse(text)
    }
}

fn parse_secret(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

fn parse_pin(text: &str) -> Option<SpkiPin> {
    if !is_lower_hex(text) {
        return None;
    }
    hex::decode(text).ok()?.try_into().ok()
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken::mint([7; 32]).unwrap()
    }

    #[test]
    fn a_printed_token_reads_back() {
        let token = token();
        let again = JoinToken::parse(&token.to_string()).unwrap();
        assert_eq!((again.id(), again.pin()), (token.id(), token.pin()));
        assert!(again.matches(&token.secret_hash()));
        assert_eq!(secret_hash_of(&token.secret_text()).unwrap(), token.secret_hash());
    }

    #[test]
    fn every_flipped_bit_is_refused_or_makes_another_token() {
        let token = token();
        let text = token.to_string().into_bytes();
        for at in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let Ok(flipped) = String::from_utf8(flipped) else {
                continue;
            };
            if let Ok(other) = JoinToken::parse(&flipped) {
                let same = other.id() == token.id()
                    && other.pin() == token.pin()
                    && other.matches(&token.secret_hash());
                assert!(!same, "bit {at} changed nothing");
            }
        }
    }

    #[test]
    fn a_cut_or_padded_token_is_refused() {
        let text = token().to_string();
        for cut in 0..text.len() {
            assert!(JoinToken::parse(&text[..cut]).is_err());
        }
        assert!(JoinToken::parse(&format!("{text}\n")).is_err());
        assert!(JoinToken::parse(&text.to_uppercase()).is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = token();
        let shown = format!("{token:?}");
        assert!(shown.contains(token.id()) && shown.len() < 40, "{shown}");
    }
}
