//! The token in `Authorization`.

use http::{HeaderMap, header::AUTHORIZATION};

use super::{Kind, Verify, Wish, only};
use crate::Refused;

/// Verifies the bearer token, if there is one. Another scheme is somebody else's, and no token.
pub(super) fn read(headers: &HeaderMap, verify: &dyn Verify, wishes: &mut Vec<Wish>) -> Result<(), Refused> {
    let value = only(headers, &AUTHORIZATION)?;
    let token = value.and_then(bearer).ok_or(Refused::TokenMissing)?;
    let verified = verify.verify(token).map_err(Refused::TokenInvalid)?;
    wishes.push(Wish {
        kind: Kind::Token,
        selector: verified.tenant.clone(),
        token: Some(verified),
    });
    Ok(())
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
