//! The token in `Authorization`.

use http::{HeaderMap, header::AUTHORIZATION};

use super::{InvalidToken, Kind, Verify, Wish, only};
use crate::Refused;

/// Verifies the bearer token, if there is one. Another scheme is somebody else's, and no token.
pub(super) fn read(headers: &HeaderMap, verify: &dyn Verify, wishes: &mut Vec<Wish>) -> Result<(), Refused> {
    let value = only(headers, &AUTHORIZATION)?;
    let after = value.and_then(after_bearer).ok_or(Refused::TokenMissing)?;
    // One space and one word: what another reader might take for a token is none that is passed over here.
    let token = after.strip_prefix(' ').map(|rest| rest.trim_matches(' '));
    let is_word = |token: &&str| !token.is_empty() && !token.contains(char::is_whitespace);
    let token = token
        .filter(is_word)
        .ok_or(Refused::TokenInvalid(InvalidToken::Malformed))?;
    let verified = verify.verify(token).map_err(Refused::TokenInvalid)?;
    wishes.push(Wish {
        kind: Kind::Token,
        selector: verified.tenant.clone(),
        token: Some(verified),
    });
    Ok(())
}

/// What follows the scheme, when it is this one.
fn after_bearer(value: &str) -> Option<&str> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = value.find(|c| !is_letter(c)).unwrap_or(value.len());
    let (scheme, after) = value.split_at(end);
    scheme.eq_ignore_ascii_case("bearer").then_some(after)
}
