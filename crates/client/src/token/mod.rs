//! Signed tokens (JWT): which are believed, and which tenant they speak for.
//!
//! ```text
//! token ─► size, kind ─► issuer it names ─► key it names, with that key's one algorithm ─► signature ─► exp, nbf, iss, aud ─► tenant
//! ```
//! Who may sign is known beforehand: nothing that a token says fetches a key or chooses an algorithm. Symmetric keys are
//! refused, because a service that can verify with one can sign with it as well.

mod claims;
mod keys;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use jsonwebtoken::{
    Validation, crypto::aws_lc, dangerous::insecure_decode_claims, decode, decode_header, errors::ErrorKind,
};

use self::{claims::Claims, keys::KeySet};
pub use crate::select::{InvalidToken, Verified, Verify};
use crate::{Error, Selector};

/// Nothing longer is looked at. Headers of most servers end there, too.
pub const BYTES_MAX: usize = 8 * 1024;
/// How far the clocks of issuers may be off.
const LEEWAY_S: u64 = 30;

/// Verifies tokens of the issuers it knows. Clones share their keys.
///
/// ```
/// use reeve_client::{select::Select, token::{InvalidToken, Issuer, TenantClaim, Tokens, Verify}};
///
/// # fn main() -> Result<(), reeve_client::Error> {
/// let jwks = r#"{ "keys": [{
///     "kty": "EC", "crv": "P-256", "kid": "2026-11",
///     "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
///     "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
/// }] }"#;
/// let issuer = Issuer {
///     name: "https://id.example".to_owned(),
///     audience: "ehr".to_owned(),
///     tenant: TenantClaim::OfIssuer("tid".to_owned()),
/// };
/// let tokens = Tokens::default().issuer(issuer, jwks)?;
/// assert_eq!(tokens.verify("no.token.atall").unwrap_err(), InvalidToken::Malformed);
///
/// // A request must come to a tenant's host, with a token of that tenant.
/// let select = Select::domain().and(Select::token(tokens.clone()));
/// // Later, when the issuer has another key; the layer goes on with it.
/// tokens.replace_keys("https://id.example", jwks)?;
/// # let _ = select;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tokens {
    issuers: Arc<BTreeMap<String, Known>>,
}

/// Somebody who signs tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What `iss` must say.
    pub name: String,
    /// What `aud` must contain: this service's own name, never a client's, or tokens that say who somebody is would count
    /// as tokens to come in with.
    pub audience: String,
    /// What names the tenant.
    pub tenant: TenantClaim,
}

/// Which of a token's claims names its tenant.
///
/// The registry knows an issuer's names as `issuer|value`, whichever claim they come from. So an issuer has one claim that
/// names tenants, in all programs: a person's `sub` that reads like a `tid` would otherwise be that tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TenantClaim {
    /// `iss` and `sub`, as [`Selector::subject`]: each subject is a tenant.
    Subject,
    /// `iss` and the value of this claim, as [`Selector::subject`]: the issuer's own name for the tenant.
    OfIssuer(String),
    /// The value of this claim is the tenant's slug: only for an issuer that may speak for all tenants.
    Slug(String),
}

#[derive(Clone)]
struct Known {
    issuer: Issuer,
    keys: Arc<ArcSwap<KeySet>>,
}

impl Tokens {
    /// Believes this issuer, too, by its public keys: the text of a JWKS document.
    pub fn issuer(mut self, issuer: Issuer, jwks: &str) -> Result<Tokens, Error> {
        // The first one wins, and another one that the program chose is as good.
        let _ = aws_lc::DEFAULT_PROVIDER.install_default();
        let keys = Arc::new(ArcSwap::from_pointee(KeySet::parse(jwks)?));
        let name = issuer.name.clone();
        let invalid = |why: &str| Error::Invalid {
            what: "issuer",
            why: format!("{name:?} {why}"),
        };
        // What follows the line is the tenant's part of the name that is resolved.
        if name.is_empty() || name.contains('|') || name.contains(char::is_whitespace) {
            return Err(invalid("is no issuer's name"));
        }
        if self.issuers.contains_key(&name) {
            return Err(invalid("is known already; replace_keys gives it other keys"));
        }
        Arc::make_mut(&mut self.issuers).insert(name, Known { issuer, keys });
        Ok(self)
    }

    /// Puts other keys in the place of an issuer's. When they cannot be used, those of before stay.
    pub fn replace_keys(&self, issuer: &str, jwks: &str) -> Result<(), Error> {
        let known = self.issuers.get(issuer).ok_or_else(|| Error::Invalid {
            what: "issuer",
            why: format!("{issuer} is not known"),
        })?;
        known.keys.store(Arc::new(KeySet::parse(jwks)?));
        Ok(())
    }
}

impl Verify for Tokens {
    fn verify(&self, token: &str) -> Result<Verified, InvalidToken> {
        if token.len() > BYTES_MAX {
            return Err(InvalidToken::TooLong);
        }
        let header = decode_header(token).map_err(|e| why(&e))?;
        if header.crit.is_some() {
            return Err(InvalidToken::Critical);
        }
        if !header.typ.as_deref().is_none_or(is_to_come_in_with) {
            return Err(InvalidToken::Kind);
        }
        // Read before it is verified, and only to choose who must have signed it.
        let claimed: Claims = insecure_decode_claims(token).map_err(|e| why(&e))?;
        let known = claimed.text("iss").and_then(|iss| self.issuers.get(iss));
        let known = known.ok_or(InvalidToken::Issuer)?;
        let keys = known.keys.load();
        let key = keys.find(header.kid.as_deref()).ok_or(InvalidToken::UnknownKey)?;
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&known.issuer.name]);
        validation.set_audience(&[&known.issuer.audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_S;
        let claims = decode::<Claims>(token, &key.key, &validation)
            .map_err(|e| why(&e))?
            .claims;
        let tenant = known.issuer.tenant(&claims).ok_or(InvalidToken::Claim)?;
        Ok(Verified {
            tenant,
            claims: claims.into_map(),
        })
    }
}

impl Issuer {
    fn tenant(&self, claims: &Claims) -> Option<Selector> {
        match &self.tenant {
            TenantClaim::Subject => Selector::subject(&self.name, claims.text("sub")?),
            TenantClaim::OfIssuer(claim) => Selector::subject(&self.name, claims.text(claim)?),
            TenantClaim::Slug(claim) => Selector::slug(claims.text(claim)?),
        }
        .ok()
    }
}

/// Issuers sign other things with the same keys: logouts, events, proofs of possession. Those say so in `typ`.
fn is_to_come_in_with(typ: &str) -> bool {
    const PREFIX: &str = "application/";
    let has_prefix = typ
        .get(..PREFIX.len())
        .is_some_and(|own| own.eq_ignore_ascii_case(PREFIX));
    let kind = if has_prefix { &typ[PREFIX.len()..] } else { typ };
    ["JWT", "at+jwt"]
        .iter()
        .any(|known| kind.eq_ignore_ascii_case(known))
}

fn why(error: &jsonwebtoken::errors::Error) -> InvalidToken {
    match error.kind() {
        ErrorKind::InvalidSignature => InvalidToken::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => InvalidToken::Algorithm,
        ErrorKind::InvalidIssuer => InvalidToken::Issuer,
        ErrorKind::InvalidAudience => InvalidToken::Audience,
        ErrorKind::ExpiredSignature => InvalidToken::Expired,
        ErrorKind::ImmatureSignature => InvalidToken::NotYet,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => InvalidToken::Claim,
        ErrorKind::Json(error) if claims::is_repeated(error) => InvalidToken::Repeated,
        _ => InvalidToken::Malformed,
    }
}
